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
use crate::planted::{Planted, is_planted};
use crate::replica::Replica;
use crate::time::SILENT_TICKS;

/// Of so many ticks a quiescent copy counts one. Even so its time-out is a few seconds: what all else forgets is slow,
/// and not stuck.
const QUIESCENT_PACE: u64 = 5;

/// How busy a copy is.
#[derive(Debug)]
pub(super) struct Quiescence {
    /// Spreads the ticks that count over time, from shard to shard.
    phase: u64,
    is_quiescent: bool,
    /// The tick of the last thing that happened.
    busy: u64,
}

impl Quiescence {
    /// A copy at full pace.
    pub(super) fn new(shard: ShardId) -> Self {
        Self { phase: shard.0, is_quiescent: false, busy: 0 }
    }
}

impl Replica {
    /// True while this copy counts few of the ticks.
    pub(crate) fn is_quiescent(&self) -> bool {
        self.quiescence.is_quiescent
    }

    /// True if raft counts this tick.
    pub(super) fn counts_tick(&self) -> bool {
        let Quiescence { phase, is_quiescent, .. } = self.quiescence;
        !is_quiescent || self.ticks.wrapping_add(phase).is_multiple_of(QUIESCENT_PACE)
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
        if self.ticks - self.quiescence.busy < wait {
            return;
        }
        // Looked at again after as long.
        self.quiescence.busy = self.ticks;
        self.quiescence.is_quiescent = is_settled && self.is_idle() && self.is_watched(liveness);
    }

    /// True if nobody waits for this copy, nor this copy for anybody.
    fn is_idle(&self) -> bool {
        let raft = &self.raw.raft;
        let (last, committed, applied) =
            (raft.raft_log.last_index(), raft.raft_log.committed, self.applier.state.applied.0);
        let has_all = last == committed && committed == applied && self.told_committed.1 <= committed;
        let is_waited_for = !self.writes.is_empty()
            || !self.system_commands.is_empty()
            || !self.outstanding.is_empty()
            || !self.proposed.is_empty()
            || !self.sends.is_empty()
            || self.reads.len() > 0;
        let is_whole = !self.is_blank() && self.held_until.is_none();
        // The system shard is one, and whoever waits for anything else waits for it.
        let may_rest = self.descriptor().shard != ShardId::SYSTEM && !self.descriptor().is_joint();
        may_rest && is_whole && has_all && !is_waited_for && (!self.is_leader() || self.leads_in_sync())
    }

    /// True if every member has every entry, and is heard of.
    fn leads_in_sync(&self) -> bool {
        let raft = &self.raw.raft;
        let last = raft.raft_log.last_index();
        raft.lead_transferee.is_none()
            && last >= self.members_known_from
            && raft.prs().iter().all(|(_, p)| p.matched == last)
            && self.in_sync().len() == self.descriptor().members.len()
    }

    /// True if the nodes that this copy depends on will be missed: a follower's leader, a leader's followers.
    fn is_watched(&self, liveness: &Liveness) -> bool {
        if self.is_leader() {
            return self.nodes().all(|node| liveness.is_heard(node));
        }
        self.raw.raft.leader_id != 0 && self.leader_node().is_some_and(|node| liveness.is_heard(node))
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
        self.quiescence.busy = self.ticks;
        if !std::mem::take(&mut self.quiescence.is_quiescent) {
            return;
        }
        if self.is_leader() {
            let (tick, members) = (self.ticks, &self.applier.state.descriptor.members);
            let present = members.iter().map(|m| m.replica).filter(|copy| liveness.is_heard(copy.node));
            self.heard.extend(present.map(|copy| (copy.id, tick)));
            self.raw.ping();
        } else if let Some(silent) = self.leader_node().map(|node| liveness.silent_ticks(node)) {
            // Not more than a follower waits before it may vote again; how much longer it waits to stand is drawn.
            let silent = if is_planted(Planted::PatienceForgotten) { SILENT_TICKS } else { silent };
            let waited = usize::try_from(silent.min(SILENT_TICKS)).unwrap_or(0);
            let raft = &mut self.raw.raft;
            raft.election_elapsed = raft.election_elapsed.max(waited);
        }
    }

    /// A node has fallen silent, or another process speaks for it.
    pub(crate) fn lost_sight(&mut self, node: NodeId, liveness: &Liveness) {
        if !self.nodes().any(|member| member == node) {
            return;
        }
        self.wake(liveness);
        let members = &self.applier.state.descriptor.members;
        for copy in members.iter().map(|m| m.replica).filter(|copy| copy.node == node) {
            self.heard.remove(&copy.id);
        }
    }
}

#[cfg(test)]
mod tests;
