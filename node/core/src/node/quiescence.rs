//! What a node does for its quiescent copies: tells the others that it lives, and brings the copies back to full pace
//! when a node that they depend on is silent or was started anew.

use crate::ids::NodeId;
use crate::message::{Beat, PeerMessage};
use crate::node::Node;
use crate::time::Now;

/// Ticks between two beats: three may be lost before a node counts as silent.
const BEAT_TICKS: u64 = 4;

impl Node {
    /// One word for all copies that this node shares with another. At once when the disk has become full, or has stalled:
    /// what others send meanwhile is of its reserve, or waits.
    pub(super) fn beat(&mut self, own: Now) {
        if !self.ticks.is_multiple_of(BEAT_TICKS) && !self.disk.take_news() {
            return;
        }
        let (disk_full, disk_stalled) = (self.disk.is_full(), self.disk.log().is_stalled());
        let beat = Beat { disk_full, disk_stalled, wall_ms: Some(own.wall_ms) };
        let mut peers = self.replicas.peer_nodes();
        peers.extend(self.quorum_peers());
        peers.remove(&self.identity.node);
        self.others.confirm_clock(own);
        self.outbox.send_all(peers.into_iter().map(|node| (node, PeerMessage::Beat(beat))));
    }

    /// Notes what a look at this node's disk has found: whether it is full, and the bytes that store and log take.
    pub(super) fn disk_seen(&mut self, full: bool, bytes: u64) {
        self.disk.seen(full, bytes);
        self.others.own_disk_seen(full);
    }

    /// A node has fallen silent, or another process speaks for it.
    pub(super) fn lost_sight(&mut self, node: NodeId) {
        self.others.lost_sight(node);
        self.replicas.lost_sight(node, self.others.liveness());
        self.lost_sight_of_copies(node);
    }
}
