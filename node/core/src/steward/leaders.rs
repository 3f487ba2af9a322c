//! Spreads leaders: moves leadership off draining nodes first, then evens out how many shards each node leads.

use std::collections::BTreeMap;

use super::View;
use super::reports::is_active;
use crate::ids::{NodeId, ReplicaId, ShardId};
use crate::map::{NodeState, Role, ShardRecord};
use crate::message::{PeerMessage, ShardReport};

/// Leaders asked to hand over in one round: each hand-over costs its shard a short pause.
pub const TRANSFERS_MAX: usize = 4;

/// Which leaders are asked to hand over now, and to whom.
pub fn leaders(view: &View<'_>) -> Vec<(NodeId, PeerMessage)> {
    let led = led_shards(view);
    let mut counts: BTreeMap<NodeId, usize> =
        view.map.nodes.keys().filter(|&&node| view.takes_copies(node)).map(|&node| (node, 0)).collect();
    for shard in &led {
        *counts.entry(shard.leader).or_default() += 1;
    }
    let mut transfers = Vec::new();
    for shard in led.iter().filter(|shard| shard.leaves) {
        if transfers.len() == TRANSFERS_MAX {
            break;
        }
        if let Some((node, to)) = shard.best_heir(&counts) {
            transfers.push(shard.transfer(node, to, &mut counts));
        }
    }
    let mut resting: Vec<&Led> =
        led.iter().filter(|shard| !shard.leaves && shard.is_placed && shard.is_settled).collect();
    while transfers.len() < TRANSFERS_MAX {
        let gains = resting.iter().enumerate().filter_map(|(position, shard)| {
            let (node, to) = shard.best_heir(&counts)?;
            let gain = counts.get(&shard.leader)?.checked_sub(*counts.get(&node)?)?;
            (gain >= 2).then_some((gain, position, node, to))
        });
        // The first of the largest gain: the same view always gives the same answer.
        let Some((_, position, node, to)) = gains.min_by_key(|&(gain, position, ..)| (usize::MAX - gain, position))
        else {
            break;
        };
        transfers.push(resting.remove(position).transfer(node, to, &mut counts));
    }
    transfers
}

/// A shard whose leader is known.
struct Led {
    shard: ShardId,
    leader: NodeId,
    /// True if the leader's node is draining.
    leaves: bool,
    /// Not the system shard, whose leader is the steward: it is moved only for a drain.
    is_placed: bool,
    is_settled: bool,
    /// In-step voters that stay, on nodes that are active and heard of, without the leader.
    transfer_targets: Vec<(NodeId, ReplicaId)>,
}

impl Led {
    /// The transfer target whose node leads the fewest shards.
    fn best_heir(&self, counts: &BTreeMap<NodeId, usize>) -> Option<(NodeId, ReplicaId)> {
        self.transfer_targets
            .iter()
            .copied()
            .min_by_key(|(node, _)| (counts.get(node).copied().unwrap_or_default(), *node))
    }

    fn transfer(&self, node: NodeId, to: ReplicaId, counts: &mut BTreeMap<NodeId, usize>) -> (NodeId, PeerMessage) {
        if let Some(count) = counts.get_mut(&self.leader) {
            *count -= 1;
        }
        *counts.entry(node).or_default() += 1;
        (self.leader, PeerMessage::TransferLeader { shard: self.shard, to })
    }
}

fn led_shards(view: &View<'_>) -> Vec<Led> {
    let shards = view.map.shards.values().filter(|record| view.map.is_live(record));
    let led = shards.filter_map(|record| {
        let (leader, report) = view.leader(record.descriptor.shard)?;
        Some(Led {
            shard: record.descriptor.shard,
            leader,
            leaves: view.map.nodes.get(&leader).is_some_and(|node| node.state == NodeState::Draining),
            is_placed: record.descriptor.shard != ShardId::SYSTEM,
            is_settled: record.is_settled() && report.descriptor.generation == record.descriptor.generation,
            transfer_targets: transfer_targets(view, record, leader, report),
        })
    });
    led.collect()
}

fn transfer_targets(
    view: &View<'_>,
    record: &ShardRecord,
    leader: NodeId,
    report: &ShardReport,
) -> Vec<(NodeId, ReplicaId)> {
    let members = report.descriptor.members.iter().filter(|m| m.role == Role::Voter).map(|m| m.replica);
    let fit = members.filter(|replica| {
        replica.node != leader
            && report.in_sync.contains(&replica.id)
            && record.assigned.contains(replica)
            && view.map.nodes.get(&replica.node).is_some_and(is_active)
            && view.heard(replica.node).is_some()
            && view.has_disk(replica.node)
            && view.can_read(replica.node)
    });
    fit.map(|replica| (replica.node, replica.id)).collect()
}
