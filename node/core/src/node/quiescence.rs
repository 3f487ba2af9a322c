//! What a node does for its quiescent copies: tells the others that it lives, and brings the copies back to full pace
//! when a request comes, or when a node that they depend on is silent or was started anew.

use std::collections::BTreeSet;

use crate::ids::{NodeId, ShardId};
use crate::message::PeerMessage;
use crate::node::Node;
use crate::replica::Replica;

/// Ticks between two beats: three may be lost before a node counts as silent.
const BEAT_TICKS: u64 = 4;

impl Node {
    /// A copy that something happens to.
    pub(super) fn awake(&mut self, shard: ShardId) -> Option<&mut Replica> {
        let replica = self.replicas.get_mut(&shard)?;
        replica.wake(&self.heard);
        Some(replica)
    }

    /// One word for all quiescent copies that this node shares with another.
    pub(super) fn beat(&mut self) {
        if !self.ticks.is_multiple_of(BEAT_TICKS) {
            return;
        }
        let quiescent = self.replicas.values().filter(|r| r.is_quiescent());
        let mut peers: BTreeSet<NodeId> = quiescent.flat_map(Replica::nodes).collect();
        peers.remove(&self.identity.node);
        self.send.extend(peers.into_iter().map(|node| (node, PeerMessage::Beat)));
    }

    /// A node has fallen silent, or another process speaks for it: what it was known to have may be gone, and every shard
    /// that it has a copy of looks after itself.
    pub(super) fn lost_sight(&mut self, node: NodeId) {
        for (shard, replica) in &mut self.replicas {
            replica.lost_sight(node, &self.heard);
            if replica.has_work() {
                self.dirty.insert(*shard);
            }
        }
    }
}
