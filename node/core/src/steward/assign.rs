//! Carries targets out: chooses the copies that each shard's leader is to bring about, within the limits of moves.
//!
//! Three duties in order: turn round what is under way to a target that no longer is one (needs no budget: it gives
//! back), build lost copies anew, start moves.

use std::collections::BTreeSet;

use super::View;
use super::budget::Budget;
use super::copies::{Lost, can_assign, changing, copies};
use super::quorum::{can_end, is_in_step};
use crate::ids::{NodeId, ReplicaId};
use crate::map::{Replica, Role, ShardRecord};
use crate::planted::{Planted, is_planted};
use crate::system::SystemCommand;

/// Assignments of one round: a large rebalance starts in slices, so that the system shard stays quick for others.
pub const ASSIGNMENTS_MAX: usize = 16;

/// The assignments that are due now, for all shards but the system shard.
pub fn assign(view: &View<'_>) -> Vec<SystemCommand> {
    let lost = view.lost();
    let damaged = |record: &ShardRecord| {
        record.assigned.iter().any(|replica| lost.contains(&(record.descriptor.shard, replica.id)))
    };
    let mut budget = Budget::of(view, &lost);
    let mut commands = Vec::new();
    let due: Vec<&ShardRecord> = view.map.live_shards().filter(|s| !s.on_target() || damaged(s)).collect();
    let (turned, rest): (Vec<_>, Vec<_>) = due.into_iter().partition(|s| !s.has_assigned() && !s.on_target());
    let (damaged, moving): (Vec<_>, Vec<_>) = rest.into_iter().partition(|s| damaged(s));

    commands.extend(turned.into_iter().filter_map(|record| turn_round(view, record, &lost)).take(ASSIGNMENTS_MAX));
    for record in damaged {
        if commands.len() < ASSIGNMENTS_MAX {
            commands.extend(rebuild(view, record, &lost, &mut budget));
        }
    }
    for record in moving {
        if commands.len() < ASSIGNMENTS_MAX {
            commands.extend(start_move(view, record, &lost, &mut budget));
        }
    }
    commands
}

fn turn_round(view: &View<'_>, record: &ShardRecord, lost: &Lost) -> Option<SystemCommand> {
    let replicas = copies(record, &record.target, lost);
    let may = view.is_recorded(record) && can_assign(view, &replicas) && may_take(view, record, &replicas);
    may.then(|| command(record, replicas))
}

/// New copies in place of the lost ones: at once on the target if the move may start now, else where they were. A quorum
/// shard ends the change that is under way first, or gives it up if a lost copy is in its way.
fn rebuild(view: &View<'_>, record: &ShardRecord, lost: &Lost, budget: &mut Budget) -> Option<SystemCommand> {
    let is_changing = record.quorum.is_some_and(|quorum| quorum.change.is_some());
    if is_changing {
        return None;
    }
    let moved = (!record.on_target()).then(|| start_move(view, record, lost, budget)).flatten();
    moved.or_else(|| {
        let nodes: Vec<NodeId> = record.assigned.iter().map(|r| r.node).collect();
        let replicas = copies(record, &nodes, lost);
        let under_way = if record.assigned_reached() { BTreeSet::new() } else { changing(record, &record.assigned) };
        let more: BTreeSet<NodeId> = &changing(record, &replicas) - &under_way;
        let may = can_change(view, record, &replicas, lost)
            && gained(record, &replicas).all(|node| view.takes_copies(node))
            && may_take(view, record, &replicas)
            && budget.allows(&more);
        may.then(|| {
            budget.take(&more);
            command(record, replicas)
        })
    })
}

/// Starts a move if all it needs is there: a leader, and room and life on the new nodes.
fn start_move(view: &View<'_>, record: &ShardRecord, lost: &Lost, budget: &mut Budget) -> Option<SystemCommand> {
    let replicas = copies(record, &record.target, lost);
    let nodes = changing(record, &replicas);
    let may = record.assigned_reached()
        && can_change(view, record, &replicas, lost)
        && gained(record, &replicas).all(|node| view.takes_copies(node))
        && may_take(view, record, &replicas)
        && may_shrink(view, record, &replicas)
        && budget.allows(&nodes);
    may.then(|| {
        budget.take(&nodes);
        command(record, replicas)
    })
}

/// True unless a node that gets a copy says that it would take no piece of it: its disk is nearly full, or its program
/// cannot read it.
fn may_take(view: &View<'_>, record: &ShardRecord, replicas: &[Replica]) -> bool {
    gained(record, replicas).all(|node| view.may_take(node))
}

/// True if there is a leader to bring changes about, or enough is heard of the copies of a quorum shard for one to begin to
/// these; and the map knows the shard's members as they are.
fn can_change(view: &View<'_>, record: &ShardRecord, replicas: &[Replica], lost: &Lost) -> bool {
    let has_leader = || view.leader(record.descriptor.shard).is_some();
    let can_end = || can_end(view, record, replicas, lost);
    view.is_recorded(record) && if record.quorum.is_some() { can_end() } else { has_leader() }
}

/// Fewer copies outlive fewer losses: some are given up only while all that stay are in sync, as far as is known now.
fn may_shrink(view: &View<'_>, record: &ShardRecord, replicas: &[Replica]) -> bool {
    let voters = record.descriptor.members.iter().filter(|m| m.role == Role::Voter).count();
    let is_there = |replica: &Replica| {
        if record.quorum.is_some() {
            return is_in_step(view, record, replica.id);
        }
        let report = view.leader(record.descriptor.shard).map(|(_, report)| report);
        let in_sync = report.is_some_and(|report| report.in_sync.contains(&replica.id));
        in_sync && view.heard(replica.node).is_some()
    };
    let is_no_loss = replicas.len() >= voters || is_planted(Planted::CopiesGivenUpUnseen);
    is_no_loss || replicas.iter().filter(|r| r.id != ReplicaId::NEW).all(is_there)
}

/// The nodes that get a copy that is not there yet.
fn gained<'a>(record: &'a ShardRecord, replicas: &'a [Replica]) -> impl Iterator<Item = NodeId> + 'a {
    let there = |r: &Replica| record.descriptor.members.iter().any(|m| m.replica == *r);
    replicas.iter().filter(move |r| !there(r)).map(|r| r.node)
}

fn command(record: &ShardRecord, replicas: Vec<Replica>) -> SystemCommand {
    SystemCommand::Assign { shard: record.descriptor.shard, based_on: record.epoch, replicas, target: None }
}
