//! What moves now: how many copies are to arrive, the bytes that are yet to be sent for them, and how long that takes.

use std::collections::{BTreeMap, BTreeSet};

use skerry_core::ids::NodeId;
use skerry_core::map::Role;
use skerry_core::node::Status;
use skerry_core::quorum::layout::Stage;

use crate::health::{ShardNow, is_heard, shards_now};

/// The copies and bytes that are on the move now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnderWay {
    /// Shards whose copies are not yet where they belong.
    pub shards: usize,
    /// Number of copies that have yet to arrive.
    pub replicas: usize,
    /// Yet to be sent for them. `None` = unknown: a leader that sends, or a node that is to receive, is silent; or copies
    /// of a Quorum table arrive, of whose size nobody tells.
    pub bytes: Option<u64>,
    /// In which all of it can have been sent, as the limit of bytes a second allows: at least 1. `None` = unknown.
    pub seconds: Option<u64>,
}

impl UnderWay {
    /// Looks at every shard. `None` = nothing moves.
    pub fn of(status: &Status) -> Option<Self> {
        let moving: Vec<_> = shards_now(status).into_iter().filter(|s| !s.record.is_settled()).collect();
        if moving.is_empty() {
            return None;
        }
        let coming: Vec<_> = moving.iter().map(|s| (s, arriving(s))).filter(|(_, nodes)| !nodes.is_empty()).collect();
        let sent_by = to_send(status, &coming);
        let bytes = sent_by.as_ref().map(|by| by.values().sum());
        let most = sent_by.map(|by| by.into_values().max().unwrap_or(0));
        Some(Self {
            shards: moving.len(),
            replicas: coming.iter().map(|(_, nodes)| nodes.len()).sum(),
            bytes,
            // The limit is each node's own, so the one that has most to send is the last to end.
            seconds: most.map(|most| most.div_ceil(status.map.limits.0.bytes_per_second.max(1)).max(1)),
        })
    }
}

/// Nodes that are to have a copy, and have none yet that votes or has all that is committed. A copy of a Quorum table
/// that comes new is there once reads have turned to it.
fn arriving(shard: &ShardNow<'_>) -> BTreeSet<NodeId> {
    let copies = shard.stage() == Some(Stage::WriteBoth);
    let is_there = |node: &NodeId| {
        let mut members = shard.descriptor.members.iter().filter(|m| m.replica.node == *node);
        members.any(|m| match m.role {
            Role::Voter => true,
            Role::Incoming if !copies => true,
            Role::Incoming | Role::Learner | Role::Outgoing => shard.in_sync().contains(&m.replica.id),
        })
    };
    shard.record.target.iter().copied().filter(|node| !is_there(node)).collect()
}

/// The bytes that each leader is yet to send. `None` = unknown.
fn to_send(status: &Status, coming: &[(&ShardNow<'_>, BTreeSet<NodeId>)]) -> Option<BTreeMap<NodeId, u64>> {
    // Each of them once: there may be a thousand, and a hundred thousand shards.
    let receivers: BTreeSet<NodeId> = coming.iter().flat_map(|(_, nodes)| nodes.iter().copied()).collect();
    if !receivers.iter().all(|node| is_heard(status, *node)) {
        return None;
    }
    let mut by: BTreeMap<NodeId, u64> = BTreeMap::new();
    for (shard, nodes) in coming {
        let (report, leader) = (shard.report?, shard.leader()?);
        let left = report.bytes.saturating_mul(nodes.len() as u64).saturating_sub(report.moving.0);
        let all = by.entry(leader).or_default();
        *all = all.saturating_add(left);
    }
    Some(by)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use skerry_core::ids::ReplicaId;
    use skerry_core::map::NodeState::Active;
    use skerry_core::map::{Member, Replica};

    use super::*;
    use crate::testing::{change, node, put_quorum_table, shard, status};

    /// Shards of 3 MiB on three nodes; the first so many are to have a copy on the fourth, and node 1 leads all.
    fn moving(shards: u64) -> Status {
        let nodes = (1..=4).map(|id| node(id, "a", Active)).collect();
        let at = |id| shard(id, 1, &[1, 2, 3], if id <= shards { &[1, 2, 4] } else { &[1, 2, 3] });
        let mut status = status(nodes, (1..=9).map(at).collect());
        Arc::make_mut(&mut status.map).limits.0.bytes_per_second = 1 << 20;
        status
    }

    #[test]
    fn nothing_moves_at_rest() {
        assert_eq!(UnderWay::of(&moving(0)), None);
    }

    #[test]
    fn time_is_that_of_the_node_that_has_most_to_send() {
        let mut status = moving(3);
        let under_way = UnderWay::of(&status).unwrap();
        assert_eq!((under_way.shards, under_way.replicas), (3, 3));
        assert_eq!((under_way.bytes, under_way.seconds), (Some(9 << 20), Some(9)));
        status.shards[0].0.leader.0 = 2;
        status.shards[1].0.moving = (1 << 20, 3 << 20);
        let under_way = UnderWay::of(&status).unwrap();
        assert_eq!((under_way.bytes, under_way.seconds), (Some(8 << 20), Some(5)));
    }

    #[test]
    fn copy_that_votes_already_is_there() {
        let mut status = moving(1);
        status.shards[0].0.descriptor.members[2].replica.node = NodeId(4);
        let under_way = UnderWay::of(&status).unwrap();
        assert_eq!((under_way.replicas, under_way.bytes, under_way.seconds), (0, Some(0), Some(1)));
    }

    #[test]
    fn copy_in_sync_is_there_though_it_does_not_vote_yet() {
        let mut status = moving(1);
        let report = &mut status.shards[0].0;
        report
            .descriptor
            .members
            .push(Member { replica: Replica { node: NodeId(4), id: ReplicaId(4) }, role: Role::Learner });
        assert_eq!(UnderWay::of(&status).unwrap().replicas, 1);
        status.shards[0].0.in_sync.push(ReplicaId(4));
        assert_eq!(UnderWay::of(&status).unwrap().replicas, 0);
    }

    #[test]
    fn time_is_unknown_while_a_sender_or_receiver_is_silent() {
        let mut no_leader = moving(2);
        no_leader.shards.remove(0);
        let mut no_receiver = moving(2);
        no_receiver.nodes.retain(|(report, _)| report.node != NodeId(4));
        for status in [no_leader, no_receiver] {
            let under_way = UnderWay::of(&status).unwrap();
            assert_eq!((under_way.shards, under_way.bytes, under_way.seconds), (2, None, None));
        }
    }

    #[test]
    fn copy_of_a_quorum_table_is_there_once_reads_have_turned_to_it() {
        let mut status = moving(0);
        assert_eq!(UnderWay::of(&status), None);
        put_quorum_table(&mut status, "cart", &[&[1, 2, 3]]);
        assert_eq!(UnderWay::of(&status), None);
        let replicas = |status: &Status| UnderWay::of(status).map(|u| (u.shards, u.replicas, u.bytes));
        change(&mut status, Stage::WriteBoth, (3, 4));
        assert_eq!(replicas(&status), Some((1, 1, None)));
        change(&mut status, Stage::ReadNew, (3, 4));
        assert_eq!(replicas(&status), Some((1, 0, Some(0))));
    }
}
