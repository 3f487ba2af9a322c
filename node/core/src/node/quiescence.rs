//! What a node does for its quiescent copies: tells the others that it lives, and brings the copies back to full pace
//! when a request comes, or when a node that they depend on is silent or was started anew.

use std::collections::BTreeSet;

use crate::ids::{NodeId, ShardId};
use crate::message::{Beat, PeerMessage};
use crate::node::Node;
use crate::replica::Replica;
use crate::time::Now;

/// Ticks between two beats: three may be lost before a node counts as silent.
const BEAT_TICKS: u64 = 4;

impl Node {
    /// A copy that something happens to.
    pub(super) fn awake(&mut self, shard: ShardId) -> Option<&mut Replica> {
        let replica = self.replicas.get_mut(&shard)?;
        replica.wake(&self.liveness);
        Some(replica)
    }

    /// One word for all copies that this node shares with another. At once when the disk has become full, or has stalled:
    /// what others send meanwhile is of its reserve, or waits.
    pub(super) fn beat(&mut self, now: Now) {
        if !self.ticks.is_multiple_of(BEAT_TICKS) && !std::mem::take(&mut self.beats_soon) {
            return;
        }
        let beat = Beat { disk_full: self.disk_full, disk_stalled: self.log.is_stalled(), wall_ms: Some(now.wall_ms) };
        let mut peers: BTreeSet<NodeId> = self.replicas.values().flat_map(Replica::peer_nodes).collect();
        peers.remove(&self.identity.node);
        self.clocks.confirm(now);
        self.send.extend(peers.into_iter().map(|node| (node, PeerMessage::Beat(beat))));
    }

    pub(super) fn beat_heard(&mut self, from: NodeId, beat: Beat, now: Now) {
        if let Some(disk_full) = beat.disk_full {
            self.liveness.hear_disk(from, disk_full);
        }
        self.liveness.hear_stall(from, beat.disk_stalled);
        if let Some(wall_ms) = beat.wall_ms {
            self.clocks.hear(from, wall_ms, now);
        }
    }

    /// The disk was looked at.
    pub(super) fn disk_seen(&mut self, full: bool, bytes: u64) {
        self.beats_soon |= self.disk_full != Some(full);
        (self.disk_full, self.disk_bytes) = (Some(full), bytes);
        self.liveness.hear_disk(self.identity.node, full);
    }

    /// A node has fallen silent, or another process speaks for it: what it was known to have may be gone, and every shard
    /// that it has a copy of looks after itself.
    pub(super) fn lost_sight(&mut self, node: NodeId) {
        self.clocks.forget(node);
        for (shard, replica) in &mut self.replicas {
            replica.lost_sight(node, &self.liveness);
            if replica.has_work() {
                self.dirty.insert(*shard);
            }
        }
    }
}
