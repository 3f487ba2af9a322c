//! How even the placement is: each node with what it holds and leads, from the steward's status.

use serde::{Deserialize, Serialize};
use skerry_core::ids::ShardId;
use skerry_core::map::{NodeRecord, NodeState};
use skerry_core::node::Status;
use skerry_operator_core::{ShardNow, shards_now};

/// The state of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeNow {
    /// Its number in the shard map, which no other node ever gets.
    pub id: u64,
    /// `host:port` where it is reached.
    pub address: String,
    /// The failure domain that it named at its start; empty = none.
    pub zone: String,
    /// True unless the node drains.
    pub is_active: bool,
    /// Copies of the tables' shards on it.
    pub replicas: usize,
    /// Shards that it leads, as far as is known.
    pub leads: usize,
}

/// Every node that was not removed, with what it holds and leads.
pub(super) fn nodes(status: &Status) -> Vec<NodeNow> {
    let shards = shards_now(status);
    let of_tables = || shards.iter().filter(|s| s.descriptor.shard != ShardId::SYSTEM);
    let members = status.map.nodes.values().filter(|n| n.state != NodeState::Removed);
    let node = |node: &NodeRecord| {
        let holds = |s: &&ShardNow<'_>| s.descriptor.members.iter().any(|m| m.replica.node == node.id);
        let leads = |s: &&ShardNow<'_>| s.leader() == Some(node.id);
        NodeNow {
            id: node.id.0,
            address: node.address.clone(),
            zone: node.zone.clone(),
            is_active: node.state == NodeState::Active,
            replicas: of_tables().filter(holds).count(),
            leads: of_tables().filter(leads).count(),
        }
    };
    members.map(node).collect()
}
