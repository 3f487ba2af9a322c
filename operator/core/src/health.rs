//! How the database's shards stand now, from its steward's status.
//!
//! The copies of a Leader shard are told of by its leader. Nobody leads a Quorum shard: its record in the map is exact,
//! and says which copies have all that they should. Whether they are there, and lack nothing that another one has, is what
//! their nodes tell of them. What is not told counts for nothing.

mod needs;
mod quorum;
mod rest;

use std::collections::BTreeMap;

use skerry_core::ids::{NodeId, ReplicaId, ShardId};
use skerry_core::map::{Descriptor, Role, ShardRecord};
use skerry_core::message::{NodeReport, ShardReport};
use skerry_core::node::Status;
use skerry_core::quorum::copies::Copies;
use skerry_core::quorum::layout::Stage;

pub(crate) use needs::{Need, alone_on, coming_to, needs_of, writing_on};
pub use needs::{does_without, needing};
use quorum::{Nodes, QuorumNow};
pub use rest::unrest;
pub(crate) use rest::{all_speak, is_short_of_room_alone, unrest_without};

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
            Some(quorum) => quorum.in_step(),
            None => self.report.map_or(&[], |r| &r.in_sync),
        }
    }

    /// The copies that count for reads and writes now.
    pub(crate) fn present(&self) -> &[ReplicaId] {
        self.quorum.as_ref().map_or_else(|| self.in_sync(), |quorum| quorum.present())
    }

    /// True if it is of a Quorum table.
    pub fn is_quorum(&self) -> bool {
        self.quorum.is_some()
    }

    /// How far a Quorum shard is whose copies change, or W and R. `None` = nothing of it does, or it has a leader.
    pub fn stage(&self) -> Option<Stage> {
        self.quorum.as_ref()?.layout().change.as_ref().map(|change| change.stage)
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
            Some(quorum) => quorum.survives(),
            None => self.leader().is_some(),
        }
    }

    /// True if its copies can be brought elsewhere: it has a leader, or enough of the copies of a Quorum shard are there for a
    /// change of them to begin, and to come to its end.
    pub(crate) fn can_move(&self) -> bool {
        self.quorum.as_ref().map_or_else(|| self.leader().is_some(), |quorum| quorum.can_move())
    }

    /// True if it is served, and its copies are where they belong and in sync.
    pub fn is_at_rest(&self) -> bool {
        self.is_served() && self.record.is_settled() && self.in_sync().len() >= self.record.target.len()
    }

    /// True if it is short of copies for no other reason than that disks have no room for what others have.
    fn is_short_of_room(&self) -> bool {
        self.quorum.as_ref().is_some_and(|quorum| quorum.is_short_of_room())
    }

    /// The nodes whose disks have no room for what other copies of a Quorum shard have.
    fn full(&self) -> impl Iterator<Item = NodeId> {
        self.quorum.iter().flat_map(|quorum| quorum.full())
    }

    /// What it takes for reads and writes: a majority of each configuration in force, or W and R of the sets.
    pub(crate) fn needed(&self) -> Vec<Needed> {
        let Some(quorum) = &self.quorum else {
            return [[Role::Voter, Role::Incoming], [Role::Voter, Role::Outgoing]].map(|of| self.majority(of)).into();
        };
        let of = |set: &Copies, at_least| Needed { copies: set.members.clone(), at_least };
        let read = quorum.layout().read_set();
        quorum.layout().write_sets().map(|set| of(set, set.write)).chain([of(read, read.read)]).collect()
    }

    /// What must be left for reads and writes to go on, and for no write to be lost that was acknowledged: of a Quorum shard it
    /// may be on W copies alone, whichever these are.
    pub(crate) fn needed_to_keep_all(&self) -> Vec<Needed> {
        let mut all = self.needed();
        let writes = self.quorum.as_ref().map_or(0, |quorum| quorum.layout().write_sets().count());
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
            .layout()
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
                set.at_least = without_one(set.at_least, set.copies.len());
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

/// So many of a Quorum shard's copies must be left where one is given up; see [`ShardNow::needed_without_one`].
fn without_one(at_least: usize, copies: usize) -> usize {
    at_least.max(copies / 2 + 1).min(copies.saturating_sub(1)).max(1)
}

impl Needed {
    /// True if enough of the copies are so.
    fn is_met(&self, counts: impl Fn(ReplicaId) -> bool) -> bool {
        self.copies.iter().filter(|copy| counts(**copy)).count() >= self.at_least
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
    last_word(status, node).is_some()
}

/// What the node has told of itself lately. `None` = it was not heard of.
pub(crate) fn last_word(status: &Status, node: NodeId) -> Option<&NodeReport> {
    let fresh = status.nodes.iter().find(|(report, age)| report.node == node && *age <= FRESH_MS);
    fresh.map(|(report, _)| report)
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

#[cfg(test)]
mod tests;
