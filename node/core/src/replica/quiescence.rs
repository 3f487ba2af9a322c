//! A shard that has nothing to do costs little: its copies are quiescent, and raft counts one tick in five there. What
//! watches over them meanwhile is the nodes' word for themselves: each tells its peers a few times a second that it
//! lives, once for all shards.
//!
//! Whatever happens to a quiescent copy brings it back to full pace at once: a request, any message but a plain
//! heartbeat, a node of the shard that falls silent or starts anew. A follower that comes back since its leader's node is
//! silent has waited for as long as the silence lasts, so a failed leader is followed as soon as that of a busy shard.
//! Leases stay safe: they end by the clock, and a quiescent follower keeps its promise not to vote for longer, never
//! for less. Compare CockroachDB's quiescent ranges and TiKV's hibernated regions.

use crate::ids::{NodeId, ShardId};
use crate::liveness::Liveness;
use crate::message::{RaftEnvelope, RaftKind};
use crate::replica::Replica;

impl Replica {
    /// True while this copy counts few of the ticks.
    pub(crate) fn is_quiescent(&self) -> bool {
        self.consensus.pace().is_quiescent()
    }

    /// At the end of a tick: a copy that has had nothing to do for `quiet_ticks`, a leader for twice as long, goes
    /// quiescent. Followers first: a leader that is slow while a follower is not would look dead to it.
    pub(super) fn settle_pace(&mut self, is_settled: bool, quiet_ticks: u64, liveness: &Liveness) {
        if self.is_quiescent() {
            if !(is_settled && self.is_idle()) {
                self.wake(liveness);
            }
            return;
        }
        let wait = if self.is_leader() { 2 * quiet_ticks } else { quiet_ticks };
        let tick = self.consensus.ticks();
        let is_due = self.consensus.pace_mut().is_rest_due(tick, wait);
        if is_due && is_settled && self.is_idle() && self.is_watched(liveness) {
            self.consensus.pace_mut().rest();
        }
    }

    /// True if nobody waits for this copy, nor this copy for anybody.
    fn is_idle(&self) -> bool {
        // The system shard is one, and whoever waits for anything else waits for it.
        let may_rest = self.descriptor().shard != ShardId::SYSTEM && !self.descriptor().is_joint();
        may_rest
            && !self.is_blank()
            && self.consensus.is_idle(self.machine.applied().0)
            && !self.transfers.is_sending()
            && (!self.is_leader() || self.leads_in_sync())
    }

    /// True if every member has every entry, and is heard of.
    fn leads_in_sync(&self) -> bool {
        !self.consensus.is_handing_over()
            && self.membership.is_known_at(self.consensus.last_index())
            && self.consensus.all_have_all()
            && self.in_sync().len() == self.descriptor().members.len()
    }

    /// True if the nodes that this copy depends on will be missed: a follower's leader, a leader's followers.
    fn is_watched(&self, liveness: &Liveness) -> bool {
        if self.is_leader() {
            return self.nodes().all(|node| liveness.is_heard(node));
        }
        self.leader_node().is_some_and(|node| liveness.is_heard(node))
    }

    /// The nodes of all members.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.descriptor().members.iter().map(|m| m.replica.node)
    }

    /// The nodes of all members, and the leader's: a copy without records knows no other. Its leader sends it none while
    /// it believes that this node's disk is full, as the process before this one may have said.
    pub(crate) fn peer_nodes(&self) -> impl Iterator<Item = NodeId> {
        self.nodes().chain(self.leader_node())
    }

    /// True for what leaders and followers say to one another while nothing happens.
    pub(crate) fn is_routine(&self, envelope: &RaftEnvelope) -> bool {
        let is_heartbeat = matches!(envelope.kind, RaftKind::Heartbeat | RaftKind::HeartbeatResponse);
        is_heartbeat && envelope.context.is_empty() && envelope.term == self.term()
    }

    /// Something happens to this copy: full pace from now on. Cheap where that is so already.
    pub(crate) fn wake(&mut self, liveness: &Liveness) {
        self.consensus.wake(&self.machine.descriptor().members, liveness);
    }

    /// A node has fallen silent, or another process speaks for it.
    pub(crate) fn lost_sight(&mut self, node: NodeId, liveness: &Liveness) {
        if !self.nodes().any(|member| member == node) {
            return;
        }
        self.wake(liveness);
        for copy in self.machine.descriptor().members.iter().map(|m| m.replica).filter(|copy| copy.node == node) {
            self.consensus.lose_sight(copy.id);
        }
    }
}

#[cfg(test)]
mod tests;
