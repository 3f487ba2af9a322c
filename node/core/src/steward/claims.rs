//! Leaders that the map does not name. A recovery of the system shard may go on from records that are older than the shards:
//! what the lost majority noted since is not known, and copies that it has added may lead by now.
//!
//! No node is believed by its word alone that it leads with such a copy, since copies elsewhere would be ended by it. Every
//! node tells of its copies that are ahead of its map, and where one of another node names the leader's copy as a voter, what
//! the leader tells is noted.

use super::reports::claims::is_newer;
use super::{LOST_SILENCE_MS, RecoveryRefusal, View};
use crate::ids::{NodeId, ShardId};
use crate::map::{Descriptor, Map, Member, NodeState, Replica, Role, ShardRecord};
use crate::message::{CopyReport, LEADERLESS_MAX, NodeReport, ShardReport};
use crate::planted::{Planted, is_planted};

fn is_voter_of(members: &[Member], copy: Replica) -> bool {
    members.iter().any(|member| member.replica == copy && member.role != Role::Learner)
}

/// True if the map may have older records than there are shards: the system shard was recovered.
pub(super) fn may_be_behind(map: &Map) -> bool {
    map.recoveries.contains_key(&ShardId::SYSTEM)
}

/// What is to be noted of shards whose leaders the map does not name.
pub(super) fn backed<'a>(view: &View<'a>) -> impl Iterator<Item = &'a Descriptor> {
    let claims = view.reports.claims();
    claims.shards().filter_map(move |shard| {
        let record = view.map.shards.get(&shard).filter(|record| view.map.is_live(record))?;
        let told = told_copies(view, shard);
        let is_backed = |node: NodeId, report: &ShardReport| {
            let copy = Replica { node, id: report.leader };
            let names = |(other, told): &(NodeId, &CopyReport)| *other != node && is_voter_of(&told.members, copy);
            told.iter().any(names) || is_planted(Planted::ClaimBelieved)
        };
        let newer = claims.of(shard, view.now_ms).into_iter().filter(|(_, report)| is_newer(report, record));
        newer.filter(|(node, report)| is_backed(*node, report)).map(|(_, report)| &report.descriptor).next_back()
    })
}

/// What nodes that are heard of tell of their copies of a shard: of those without a leader, and those ahead of their maps.
fn told_copies<'a>(view: &View<'a>, shard: ShardId) -> Vec<(NodeId, &'a CopyReport)> {
    let heard = view.map.nodes.keys().filter_map(|&node| view.heard(node));
    let copies = heard.flat_map(|report| {
        let told = report.leaderless.iter().chain(&report.ahead);
        told.map(|copy| (report.node, copy))
    });
    copies.filter(|(_, copy)| copy.shard == shard).collect()
}

/// A node that leads a shard with a copy which the map does not name, as it says, and what it says.
pub(super) fn claimant<'a>(view: &View<'a>, record: &ShardRecord) -> Option<(NodeId, &'a ShardReport)> {
    let claims = view.reports.claims().of(record.descriptor.shard, view.now_ms);
    claims.into_iter().rfind(|(_, report)| is_newer(report, record))
}

/// The copies of a shard that are ahead of the map, where that may be behind: those that any node has.
///
/// # Errors
///
/// If a node that may have one is not heard of and is not named as lost, is named as lost and heard, or has not told yet.
pub(super) fn ahead(
    view: &View<'_>,
    shard: ShardId,
    lost: &[NodeId],
) -> Result<Vec<(NodeId, CopyReport)>, RecoveryRefusal> {
    if !may_be_behind(view.map) || is_planted(Planted::AheadNotAwaited) {
        return Ok(Vec::new());
    }
    for node in view.map.nodes.values().filter(|node| node.state != NodeState::Removed).map(|record| record.id) {
        let is_silent = view.heard(node).is_none() && view.silent_ms(node) >= LOST_SILENCE_MS;
        match view.heard(node) {
            _ if lost.contains(&node) && is_silent => {}
            _ if lost.contains(&node) => return Err(RecoveryRefusal::Alive { node }),
            None => return Err(RecoveryRefusal::Unseen { shard, node }),
            Some(report) if !tells_of(view, report, shard) => return Err(RecoveryRefusal::Untold { shard, node }),
            Some(_) => {}
        }
    }
    let told = view.map.nodes.keys().filter_map(|&node| view.heard(node));
    let copies = told.flat_map(|report| report.ahead.iter().map(|copy| (report.node, copy)));
    Ok(copies.filter(|(_, copy)| copy.shard == shard).map(|(node, copy)| (node, copy.clone())).collect())
}

/// True if a node knows of the last recovery of the system shard, and has room to tell of this shard.
fn tells_of(view: &View<'_>, report: &NodeReport, shard: ShardId) -> bool {
    let knows = report.map_epoch.recoveries() == view.map.epoch.recoveries();
    let has_room =
        |copies: &[CopyReport]| copies.len() < LEADERLESS_MAX || copies.last().is_some_and(|last| last.shard >= shard);
    knows && has_room(&report.leaderless) && has_room(&report.ahead)
}

/// What the only voter of a shard tells of itself, which the map does not name and nobody else speaks of: a person may have
/// the shard go on from it, once nothing is left of the copies that the map does name.
///
/// # Errors
///
/// If its node is named as lost. Otherwise the shard is led.
pub(super) fn only_copy(
    view: &View<'_>,
    record: &ShardRecord,
    (node, report): (NodeId, &ShardReport),
    ahead: &[(NodeId, CopyReport)],
    lost: &[NodeId],
) -> Result<CopyReport, RecoveryRefusal> {
    let shard = record.descriptor.shard;
    if lost.contains(&node) {
        return Err(RecoveryRefusal::Alive { node });
    }
    let mut others = report.descriptor.members.iter().filter(|member| member.replica.id != report.leader);
    let is_alone = others.all(|member| member.role == Role::Learner);
    let is_gone = |copy: Replica| {
        let is_silent = view.heard(copy.node).is_none() && lost.contains(&copy.node);
        is_silent || view.tells_lost(copy, shard)
    };
    let are_gone = record.descriptor.members.iter().all(|member| is_gone(member.replica));
    let is_alone_told = told_copies(view, shard).iter().all(|(other, _)| *other == node);
    let itself = ahead.iter().find(|(other, copy)| (*other, copy.replica) == (node, report.leader));
    let only = itself.filter(|_| is_alone && are_gone && is_alone_told);
    only.map(|(_, copy)| copy.clone()).ok_or(RecoveryRefusal::Led { shard, node })
}
