//! How the database's shards stand now, from its steward's status.

use std::collections::BTreeMap;

use skerry_core::ids::{NodeId, ReplicaId, ShardId};
use skerry_core::map::{Descriptor, NodeState, Role, ShardRecord};
use skerry_core::message::ShardReport;
use skerry_core::node::Status;

/// Reports come twice a second; one older than this says nothing about now.
const FRESH_MS: u64 = 3_000;

/// One shard, from its leader's report where that is fresh, else from the map.
#[derive(Debug, Clone, Copy)]
pub struct ShardNow<'a> {
    /// The shard as the system shard has recorded it, with the nodes that it should be on.
    pub record: &'a ShardRecord,
    /// The shard's descriptor: its members as they are.
    pub descriptor: &'a Descriptor,
    /// `None` = no leader was heard of lately.
    pub report: Option<&'a ShardReport>,
}

impl ShardNow<'_> {
    /// The node that the shard's leader is on. `None` = no leader was heard of lately.
    pub fn leader(&self) -> Option<NodeId> {
        self.descriptor.node_of(self.report?.leader)
    }

    /// The copies known to have all that is committed.
    pub fn in_sync(&self) -> &[ReplicaId] {
        self.report.map_or(&[], |r| &r.in_sync)
    }

    /// True if it is led, and its copies are where they belong and in sync.
    pub fn is_at_rest(&self) -> bool {
        self.leader().is_some() && self.record.is_settled() && self.in_sync().len() >= self.record.target.len()
    }
}

/// Every shard that counts: of the system table and of tables that are not dropped.
pub fn shards_now(status: &Status) -> Vec<ShardNow<'_>> {
    let fresh = |(_, age): &&(ShardReport, u64)| *age <= FRESH_MS;
    let reports: BTreeMap<ShardId, &ShardReport> =
        status.shards.iter().filter(fresh).map(|(r, _)| (r.descriptor.shard, r)).collect();
    let live = status.map.shards.values().filter(|s| s.descriptor.shard == ShardId::SYSTEM || status.map.is_live(s));
    live.map(|record| {
        let report = reports.get(&record.descriptor.shard).copied();
        let newer = report.filter(|r| r.descriptor.generation >= record.descriptor.generation);
        ShardNow { record, descriptor: newer.map_or(&record.descriptor, |r| &r.descriptor), report }
    })
    .collect()
}

/// True if the node was heard of lately.
pub fn is_heard(status: &Status, node: NodeId) -> bool {
    status.nodes.iter().any(|(report, age)| report.node == node && *age <= FRESH_MS)
}

/// True if every shard goes on without this node, as far as is known: it is led from another one, and a majority of each
/// configuration in force is in sync elsewhere. What is not heard does not count.
pub fn does_without(status: &Status, node: NodeId) -> bool {
    let leads = |shard: &ShardNow<'_>| shard.leader() == Some(node);
    needing(status, node).is_empty() && !shards_now(status).iter().any(|shard| is_on(shard, node) && leads(shard))
}

/// Shards that would be without a majority in sync if this node were gone: or that have no leader, which would know.
pub fn needing(status: &Status, node: NodeId) -> Vec<ShardId> {
    needing_of(status, node, |_| true)
}

/// The same, where only copies on nodes count that are up.
pub(crate) fn needing_of(status: &Status, node: NodeId, is_up: impl Fn(NodeId) -> bool) -> Vec<ShardId> {
    let goes_on = |shard: &ShardNow<'_>| {
        let counts = |other: NodeId| other != node && is_up(other);
        let has = |voting: [Role; 2]| has_majority_of(shard, counts, voting);
        shard.leader().is_some() && has([Role::Voter, Role::Incoming]) && has([Role::Voter, Role::Outgoing])
    };
    let needing = shards_now(status).into_iter().filter(|shard| is_on(shard, node) && !goes_on(shard));
    needing.map(|shard| shard.descriptor.shard).collect()
}

/// Shards with a copy on this node, and without a leader.
pub(crate) fn leaderless_on(status: &Status, node: NodeId) -> Vec<ShardId> {
    let leaderless = shards_now(status).into_iter().filter(|shard| is_on(shard, node) && shard.leader().is_none());
    leaderless.map(|shard| shard.descriptor.shard).collect()
}

fn is_on(shard: &ShardNow<'_>, node: NodeId) -> bool {
    shard.descriptor.members.iter().any(|m| m.replica.node == node)
}

fn has_majority_of(shard: &ShardNow<'_>, counts: impl Fn(NodeId) -> bool, voting: [Role; 2]) -> bool {
    let voters = || shard.descriptor.members.iter().filter(|m| voting.contains(&m.role));
    let left = voters().filter(|m| counts(m.replica.node) && shard.in_sync().contains(&m.replica.id));
    2 * left.count() > voters().count()
}

/// What keeps a database from rest, in words. `None` = every shard is where it should be, led, and has its copies in
/// step, and every node was heard of.
pub fn unrest(status: &Status) -> Option<String> {
    let shards = shards_now(status);
    let moving = shards.iter().filter(|s| !s.record.is_settled()).count();
    let behind = shards.iter().filter(|s| s.in_sync().len() < s.record.target.len()).count();
    let (silent, leaderless) = unheard(status, &shards);
    let parts = [
        (silent.len(), "nodes silent", few(&silent)),
        (leaderless.len(), "shards without leader", few(&leaderless)),
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

/// True if every node is heard, and every shard's leader, whether or not shards move or are short of copies.
pub(crate) fn all_speak(status: &Status) -> bool {
    unheard(status, &shards_now(status)) == (vec![], vec![])
}

/// Nodes that are silent, and shards without leader.
fn unheard(status: &Status, shards: &[ShardNow<'_>]) -> (Vec<NodeId>, Vec<ShardId>) {
    let nodes = status.map.nodes.values().filter(|n| n.state != NodeState::Removed).map(|n| n.id);
    let leaderless = shards.iter().filter(|s| s.leader().is_none()).map(|s| s.descriptor.shard);
    (nodes.filter(|node| !is_heard(status, *node)).collect(), leaderless.collect())
}

/// The first few of these, in brackets, and `…` if there are more.
fn few<T: ToString>(of: &[T]) -> String {
    const NAMED_MAX: usize = 3;
    let names: Vec<String> = of.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    format!(" ({}{})", names.join(", "), if of.len() > NAMED_MAX { ", …" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at_rest;

    #[test]
    fn node_can_be_done_without_only_if_majorities_are_led_and_in_sync_elsewhere() {
        let mut status = at_rest(&["a", "b", "c"], 2);
        // Node 1 leads; node 4 holds nothing.
        let without = |status: &Status| [1, 2, 3, 4].map(|id| does_without(status, NodeId(id)));
        assert_eq!(without(&status), [false, true, true, true]);
        status.shards[1].0.in_sync.pop();
        assert_eq!(without(&status), [false, false, true, true]);
        status.shards[1].1 = 10_000;
        assert_eq!(without(&status), [false, false, false, true], "a leader that is silent says nothing");
    }

    #[test]
    fn rest_needs_every_node_and_every_copy() {
        assert_eq!(unrest(&at_rest(&["a", "b", "c"], 1)), None);
        let mut behind = at_rest(&["a", "b", "c"], 1);
        behind.shards[0].0.in_sync.pop();
        assert_eq!(unrest(&behind).as_deref(), Some("1 shards short of copies"));
        let mut silent = at_rest(&["a", "b", "c"], 1);
        silent.nodes.pop();
        assert_eq!(unrest(&silent).as_deref(), Some("1 nodes silent (n3)"));
    }
}
