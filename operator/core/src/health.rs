//! How the database's shards stand now, from its steward's status.
//!
//! The copies of a Leader shard are told of by its leader. Nobody leads a Quorum shard: its record in the map is exact,
//! and says which copies have all that they should. Whether they are there, and lack nothing that another one has, is what
//! their nodes tell of them. What is not told counts for nothing.

use std::collections::{BTreeMap, BTreeSet};

use skerry_core::ids::{NodeId, ReplicaId, ShardId};
use skerry_core::map::{Descriptor, Member, NodeState, Role, ShardRecord};
use skerry_core::message::{NodeReport, QuorumReport, ShardReport};
use skerry_core::node::Status;
use skerry_core::quorum::copies::Copies;
use skerry_core::quorum::layout::{Layout, Stage};

use crate::planted::{Planted, is_planted};

/// Reports come twice a second; one older than this says nothing about now.
const FRESH_MS: u64 = 3_000;

/// One shard, from its leader's report where that is fresh, else from the map.
#[derive(Debug, Clone)]
pub struct ShardNow<'a> {
    /// The shard as the system shard has recorded it, with the nodes that it should be on.
    pub record: &'a ShardRecord,
    /// The shard's descriptor: its members as they are.
    pub descriptor: &'a Descriptor,
    /// `None` = no leader was heard of lately, as of a Quorum shard, which has none.
    pub report: Option<&'a ShardReport>,
    quorum: Option<Box<QuorumNow>>,
}

/// What a Quorum shard has beside.
#[derive(Debug, Clone)]
struct QuorumNow {
    layout: Layout,
    /// Its copies that take part in writes and reads now, as far as is known.
    present: Vec<ReplicaId>,
    /// Of these, all that another copy can be made from: all but those that come new and copy yet.
    whole: Vec<ReplicaId>,
    /// Of these, all that hold the shard as it is recorded, and lack nothing that another one has that is there: they have
    /// compared with it since both started and since either was silent, and neither keeps anything for the other.
    in_step: Vec<ReplicaId>,
    /// How many of the old copies do not take part, and are not lost either: they may come back.
    away: usize,
}

/// Copies of a shard of which so many must be in sync for it to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Needed {
    pub(crate) copies: Vec<ReplicaId>,
    pub(crate) at_least: usize,
}

impl ShardNow<'_> {
    /// The node that the shard's leader is on. `None` = no leader was heard of lately, as of a Quorum shard.
    pub fn leader(&self) -> Option<NodeId> {
        self.descriptor.node_of(self.report?.leader)
    }

    /// The copies known to have all that is committed; of a Quorum shard those that are in step.
    pub fn in_sync(&self) -> &[ReplicaId] {
        match &self.quorum {
            Some(quorum) => &quorum.in_step,
            None => self.report.map_or(&[], |r| &r.in_sync),
        }
    }

    /// The copies that count for reads and writes now.
    pub(crate) fn present(&self) -> &[ReplicaId] {
        self.quorum.as_ref().map_or_else(|| self.in_sync(), |quorum| &quorum.present)
    }

    /// True if it is of a Quorum table.
    pub fn is_quorum(&self) -> bool {
        self.quorum.is_some()
    }

    /// How far a Quorum shard is whose copies change, or W and R. `None` = nothing of it does, or it has a leader.
    pub fn stage(&self) -> Option<Stage> {
        self.quorum.as_ref()?.layout.change.as_ref().map(|change| change.stage)
    }

    /// True if it takes reads and writes: it is led, or has W and R of its copies in step.
    pub fn is_served(&self) -> bool {
        match &self.quorum {
            Some(_) => self.needed().iter().all(|needed| needed.is_met(|copy| self.present().contains(&copy))),
            None => self.leader().is_some(),
        }
    }

    /// True if something of it is there that another copy can be made from.
    pub(crate) fn survives(&self) -> bool {
        match &self.quorum {
            Some(quorum) => !quorum.whole.is_empty(),
            None => self.leader().is_some(),
        }
    }

    /// True if its copies can be brought elsewhere: it has a leader, or as many of the old copies of a Quorum shard are there
    /// as have to be copied from, and fewer are away than may answer readers.
    pub(crate) fn can_move(&self) -> bool {
        let Some(QuorumNow { layout, away, .. }) = self.quorum.as_deref() else { return self.leader().is_some() };
        let set = &layout.current;
        let has_left_old = self.stage() == Some(Stage::NewOnly);
        has_left_old || (*away < set.write && *away < set.read && *away < set.members.len())
    }

    /// True if it is served, and its copies are where they belong and in sync.
    pub fn is_at_rest(&self) -> bool {
        self.is_served() && self.record.is_settled() && self.in_sync().len() >= self.record.target.len()
    }

    /// What it takes for reads and writes: a majority of each configuration in force, or W and R of the sets.
    pub(crate) fn needed(&self) -> Vec<Needed> {
        let Some(quorum) = &self.quorum else {
            return [[Role::Voter, Role::Incoming], [Role::Voter, Role::Outgoing]].map(|of| self.majority(of)).into();
        };
        let of = |set: &Copies, at_least| Needed { copies: set.members.clone(), at_least };
        let read = quorum.layout.read_set();
        quorum.layout.write_sets().map(|set| of(set, set.write)).chain([of(read, read.read)]).collect()
    }

    /// What must be left for reads and writes to go on, and for no write to be lost that was acknowledged: of a Quorum shard it
    /// may be on W copies alone, whichever these are.
    pub(crate) fn needed_to_keep_all(&self) -> Vec<Needed> {
        let mut all = self.needed();
        let writes = self.quorum.as_ref().map_or(0, |quorum| quorum.layout.write_sets().count());
        for set in all.iter_mut().take(writes) {
            set.at_least = set.at_least.max(set.copies.len() + 1 - set.at_least);
        }
        all
    }

    /// True if so many of its copies are gone for good that a write may be which was acknowledged, though others are left: at
    /// least W of a set, and a majority, so that what few copies have acknowledged has had others to go to. `is_gone` says
    /// so of a copy's node.
    pub(crate) fn may_lack_writes(&self, is_gone: impl Fn(NodeId) -> bool) -> bool {
        let Some(quorum) = &self.quorum else { return false };
        let is_lost = |copy: &&ReplicaId| self.descriptor.node_of(**copy).is_some_and(&is_gone);
        quorum
            .layout
            .write_sets()
            .any(|set| set.members.iter().filter(is_lost).count() >= set.write.max(set.members.len() / 2 + 1))
    }

    /// What must be left if a node is given up, or taken down by choice. Of a Quorum shard at least a majority, so that
    /// what has succeeded by few copies has had others to go to; but no more than are left of a set where one copy is away:
    /// where writes or reads need every copy, they wait for any node.
    fn needed_without_one(&self) -> Vec<Needed> {
        let mut all = self.needed();
        if self.is_quorum() {
            for set in &mut all {
                let (copies, majority) = (set.copies.len(), set.copies.len() / 2 + 1);
                set.at_least = set.at_least.max(majority).min(copies.saturating_sub(1)).max(1);
            }
        }
        all
    }

    fn majority(&self, of: [Role; 2]) -> Needed {
        let voters = self.descriptor.members.iter().filter(|m| of.contains(&m.role));
        let copies: Vec<ReplicaId> = voters.map(|m| m.replica.id).collect();
        let at_least = copies.len() / 2 + 1;
        Needed { copies, at_least }
    }
}

impl Needed {
    /// True if enough of the copies are so.
    fn is_met(&self, counts: impl Fn(ReplicaId) -> bool) -> bool {
        self.copies.iter().filter(|copy| counts(**copy)).count() >= self.at_least
    }
}

impl QuorumNow {
    /// `None` = its copies follow a leader.
    fn of(record: &ShardRecord, nodes: &Nodes<'_>) -> Option<Self> {
        let layout = record.layout()?;
        let told = |member: &Member| nodes.copy(record, member).filter(|_| nodes.takes_part(record, member));
        let members = record.descriptor.members.iter();
        let there: Vec<(&Member, &QuorumReport)> = members.filter_map(|member| Some((member, told(member)?))).collect();
        let copies = layout.change.as_ref().is_some_and(|change| change.stage == Stage::WriteBoth);
        let is_coming = |member: &Member| copies && member.role == Role::Incoming;
        let whole = there.iter().filter(|(member, copy)| copy.is_complete && !is_coming(member)).map(|(_, copy)| *copy);
        let whole: Vec<&QuorumReport> = whole.collect();
        // Copies that leave compare with the others by themselves.
        let takes: Vec<&QuorumReport> = {
            let takes_writes = layout.write_members();
            let of_writes =
                there.iter().filter(|(member, copy)| !is_coming(member) && takes_writes.contains(&copy.replica));
            of_writes.map(|(_, copy)| *copy).collect()
        };
        let is_even = |copy: &QuorumReport, other: &QuorumReport| {
            let are_even = copy.in_step_with.contains(&other.replica) && other.in_step_with.contains(&copy.replica);
            copy.replica == other.replica || are_even || is_planted(Planted::ReturnedCopyCounts)
        };
        let holds_it = |copy: &QuorumReport| copy.held >= record.descriptor.generation;
        let in_step = whole.iter().filter(|copy| holds_it(copy) && takes.iter().all(|other| is_even(copy, other)));
        let is_lost = |copy: &ReplicaId| nodes.lost.contains(&(record.descriptor.shard, *copy));
        let is_there = |copy: &ReplicaId| there.iter().any(|(member, _)| member.replica.id == *copy);
        Some(Self {
            away: layout.current.members.iter().filter(|copy| !is_there(copy) && !is_lost(copy)).count(),
            present: there.iter().map(|(member, _)| member.replica.id).collect(),
            in_step: in_step.map(|copy| copy.replica).collect(),
            whole: whole.iter().map(|copy| copy.replica).collect(),
            layout,
        })
    }
}

/// What the nodes say of themselves that are heard of, and which copies are lost.
struct Nodes<'a> {
    status: &'a Status,
    heard: BTreeMap<NodeId, &'a NodeReport>,
    copies: BTreeMap<(NodeId, ShardId), &'a QuorumReport>,
    lost: BTreeSet<(ShardId, ReplicaId)>,
}

impl<'a> Nodes<'a> {
    fn of(status: &'a Status) -> Self {
        let fresh = status.nodes.iter().filter(|(_, age)| *age <= FRESH_MS);
        let heard = fresh.map(|(report, _)| (report.node, report)).collect();
        let copies = status.copies.iter().map(|(node, copy)| ((*node, copy.shard), copy)).collect();
        Self { status, heard, copies, lost: status.lost.iter().copied().collect() }
    }

    /// What a copy of a Quorum shard has told last. `None` = nothing: it may not be there.
    fn copy(&self, record: &ShardRecord, member: &Member) -> Option<&'a QuorumReport> {
        let told = self.copies.get(&(member.replica.node, record.descriptor.shard)).copied();
        told.filter(|copy| copy.replica == member.replica.id)
    }

    /// True if a copy of a Quorum shard takes part in its reads and writes, as far as its node tells: it is heard of in
    /// the start that the map has, knows the shard as it is recorded, and its disk answers.
    fn takes_part(&self, record: &ShardRecord, member: &Member) -> bool {
        let node = member.replica.node;
        let is_lost = self.lost.contains(&(record.descriptor.shard, member.replica.id));
        if is_planted(Planted::SilentCopyCounts) {
            return !is_lost;
        }
        let (Some(report), Some(known)) = (self.heard.get(&node), self.status.map.nodes.get(&node)) else {
            return false;
        };
        let knows_it = report.incarnation >= known.incarnation && report.map_epoch >= record.epoch;
        known.state != NodeState::Removed && knows_it && !report.disk_stalled && !is_lost
    }
}

/// Every shard that counts: of the system table and of tables that are not dropped.
pub fn shards_now(status: &Status) -> Vec<ShardNow<'_>> {
    let fresh = |(_, age): &&(ShardReport, u64)| *age <= FRESH_MS;
    let reports: BTreeMap<ShardId, &ShardReport> =
        status.shards.iter().filter(fresh).map(|(r, _)| (r.descriptor.shard, r)).collect();
    let nodes = Nodes::of(status);
    let live = status.map.shards.values().filter(|s| s.descriptor.shard == ShardId::SYSTEM || status.map.is_live(s));
    live.map(|record| {
        let report = reports.get(&record.descriptor.shard).copied().filter(|_| record.quorum.is_none());
        let newer = report.filter(|r| r.descriptor.generation >= record.descriptor.generation);
        let descriptor = newer.map_or(&record.descriptor, |r| &r.descriptor);
        ShardNow { record, descriptor, report, quorum: QuorumNow::of(record, &nodes).map(Box::new) }
    })
    .collect()
}

/// True if the node was heard of lately.
pub fn is_heard(status: &Status, node: NodeId) -> bool {
    status.nodes.iter().any(|(report, age)| report.node == node && *age <= FRESH_MS)
}

/// True if every shard goes on without this node, as far as is known: it is led from another one, and a majority of each
/// configuration in force is in sync elsewhere; or enough copies of each of its sets are. What is not heard does not count.
pub fn does_without(status: &Status, node: NodeId) -> bool {
    let leads = |shard: &ShardNow<'_>| shard.leader() == Some(node);
    needing(status, node).is_empty() && !shards_now(status).iter().any(|shard| is_on(shard, node) && leads(shard))
}

/// Shards that would be without a majority in sync, or without enough copies for W and R, if this node were gone: or that
/// have no leader, which would know.
pub fn needing(status: &Status, node: NodeId) -> Vec<ShardId> {
    needing_of(status, node, |_| true)
}

/// The same, where only copies on nodes count that are up.
pub(crate) fn needing_of(status: &Status, node: NodeId, is_up: impl Fn(NodeId) -> bool) -> Vec<ShardId> {
    let goes_on = |shard: &ShardNow<'_>| {
        let is_elsewhere = |copy: ReplicaId| {
            let home = shard.descriptor.node_of(copy);
            home.is_some_and(|home| home != node && is_up(home)) && shard.in_sync().contains(&copy)
        };
        (shard.is_quorum() || shard.leader().is_some())
            && shard.needed_without_one().iter().all(|needed| needed.is_met(is_elsewhere))
    };
    let needing = shards_now(status).into_iter().filter(|shard| is_on(shard, node) && !goes_on(shard));
    needing.map(|shard| shard.descriptor.shard).collect()
}

/// Quorum shards with a copy on this node, of which so many copies are gone for good that writes may be too.
pub(crate) fn lacking_on(status: &Status, node: NodeId, is_gone: impl Fn(NodeId) -> bool) -> Vec<ShardId> {
    let lacking = shards_now(status).into_iter().filter(|shard| is_on(shard, node) && shard.may_lack_writes(&is_gone));
    lacking.map(|shard| shard.descriptor.shard).collect()
}

/// Shards with a copy on this node, of which nothing is left elsewhere, as far as is known: they have no leader, or no
/// copy of a Quorum table's in step.
pub(crate) fn stranded_on(status: &Status, node: NodeId) -> Vec<ShardId> {
    let stranded = shards_now(status).into_iter().filter(|shard| is_on(shard, node) && !shard.survives());
    stranded.map(|shard| shard.descriptor.shard).collect()
}

fn is_on(shard: &ShardNow<'_>, node: NodeId) -> bool {
    shard.descriptor.members.iter().any(|m| m.replica.node == node)
}

/// What keeps a database from rest, in words. `None` = every shard is where it should be, takes reads and writes, and has
/// its copies in step, and every node was heard of.
pub fn unrest(status: &Status) -> Option<String> {
    let shards = shards_now(status);
    let moving = shards.iter().filter(|s| !s.record.is_settled()).count();
    let behind = shards.iter().filter(|s| s.in_sync().len() < s.record.target.len()).count();
    let Unheard { nodes, leaderless, too_few } = unheard(status, &shards);
    let parts = [
        (nodes.len(), "nodes silent", few(&nodes)),
        (leaderless.len(), "shards without leader", few(&leaderless)),
        (too_few.len(), "shards with fewer copies than reads or writes need", few(&too_few)),
        (moving, "shards moving", String::new()),
        (behind, "shards short of copies", String::new()),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, what, which)| format!("{count} {what}{which}"))
        .collect();
    if parts.is_empty() { None } else { Some(parts.join(", ")) }
}

/// True if every node is heard, and every shard takes reads and writes, whether or not shards move or are short of copies.
pub(crate) fn all_speak(status: &Status) -> bool {
    let Unheard { nodes, leaderless, too_few } = unheard(status, &shards_now(status));
    nodes.is_empty() && leaderless.is_empty() && too_few.is_empty()
}

/// Who does not speak.
struct Unheard {
    nodes: Vec<NodeId>,
    leaderless: Vec<ShardId>,
    /// Quorum shards that do not take reads, or writes.
    too_few: Vec<ShardId>,
}

fn unheard(status: &Status, shards: &[ShardNow<'_>]) -> Unheard {
    let nodes = status.map.nodes.values().filter(|n| n.state != NodeState::Removed).map(|n| n.id);
    let (too_few, leaderless): (Vec<_>, Vec<_>) =
        shards.iter().filter(|s| !s.is_served()).partition(|shard| shard.is_quorum());
    let ids = |shards: Vec<&ShardNow<'_>>| shards.iter().map(|s| s.descriptor.shard).collect();
    Unheard {
        nodes: nodes.filter(|node| !is_heard(status, *node)).collect(),
        leaderless: ids(leaderless),
        too_few: ids(too_few),
    }
}

/// The first few of these, in brackets, and `…` if there are more.
fn few<T: ToString>(of: &[T]) -> String {
    const NAMED_MAX: usize = 3;
    let names: Vec<String> = of.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    format!(" ({}{})", names.join(", "), if of.len() > NAMED_MAX { ", …" } else { "" })
}

#[cfg(test)]
mod tests;
