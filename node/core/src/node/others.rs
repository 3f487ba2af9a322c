//! What this node knows of the other nodes beside the map: who is heard of, what their clocks show, what they say of
//! their copies of the system shard, and what was not taken of them.

use std::collections::BTreeMap;

use crate::ids::{Incarnation, NodeId, ReplicaId, ShardId};
use crate::liveness::{Liveness, Speaker};
use crate::map::Replica as Copy;
use crate::message::{Beat, CopyReport, NodeReport};
use crate::node::Refusals;
use crate::steward::{FRESH_MS, LOST_SILENCE_MS, Witness};
use crate::time::{Now, TICK_MS};
use crate::wall::WallClocks;

/// Owner of what others have said.
#[derive(Debug)]
pub(super) struct Others {
    own: NodeId,
    liveness: Liveness,
    clocks: WallClocks,
    /// What they said last of their copies of the system shard.
    system_copies: BTreeMap<NodeId, ToldSystemCopy>,
    refusals: Refusals,
}

/// What another node said of its copy of the system shard.
#[derive(Debug)]
struct ToldSystemCopy {
    leaderless: Option<CopyReport>,
    lost: Vec<ReplicaId>,
    /// When the node said so, in milliseconds on the monotonic clock.
    at_ms: u64,
}

impl Others {
    /// What a node knows at its start: nothing of any other node.
    pub(super) fn new(own: NodeId, incarnation: Incarnation) -> Self {
        Self {
            own,
            liveness: Liveness::new(own, incarnation),
            clocks: WallClocks::default(),
            system_copies: BTreeMap::new(),
            refusals: Refusals::default(),
        }
    }

    /// Which nodes are heard of.
    pub(super) fn liveness(&self) -> &Liveness {
        &self.liveness
    }

    /// What the wall clocks of other nodes show.
    pub(super) fn clocks(&self) -> &WallClocks {
        &self.clocks
    }

    /// A period has passed: the nodes that have just become silent.
    pub(super) fn tick(&mut self) -> Vec<NodeId> {
        self.liveness.tick()
    }

    /// A process of another node has sent something: tells whether it is the node's present process.
    pub(super) fn hear(&mut self, node: NodeId, incarnation: Incarnation) -> Speaker {
        self.liveness.hear(node, incarnation)
    }

    /// A node has fallen silent, or another process speaks for it: what its clock showed counts no more.
    pub(super) fn lost_sight(&mut self, node: NodeId) {
        self.clocks.forget(node);
    }

    /// A beat of another node has arrived: notes its disk and its clock.
    pub(super) fn beat_heard(&mut self, from: NodeId, beat: Beat, now: Now) {
        if let Some(disk_full) = beat.disk_full {
            self.liveness.hear_disk(from, disk_full);
        }
        self.liveness.hear_stall(from, beat.disk_stalled);
        if let Some(wall_ms) = beat.wall_ms {
            self.clocks.hear(from, wall_ms, now);
        }
    }

    /// This node's own disk was looked at.
    pub(super) fn own_disk_seen(&mut self, full: bool) {
        self.liveness.hear_disk(self.own, full);
    }

    /// This node's own disk has stalled, or answers again.
    pub(super) fn own_disk_stalls(&mut self, stalled: bool) {
        self.liveness.hear_stall(self.own, stalled);
    }

    /// This node says what its own wall clock shows.
    pub(super) fn confirm_clock(&mut self, own: Now) {
        self.clocks.confirm(own);
    }

    /// Something that a node sent is not taken.
    pub(super) fn refuse(&mut self, from: NodeId, why: &dyn std::error::Error) {
        self.refusals.note(from, why);
    }

    /// Which messages of other nodes were refused so far.
    pub(super) fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Notes whether a node's copy of the system shard has no leader, or is lost, as that node says itself.
    pub(super) fn system_copy_told(&mut self, report: &NodeReport, now: Now) {
        let leaderless = report.leaderless.iter().find(|copy| copy.shard == ShardId::SYSTEM).cloned();
        let of_system = report.lost.iter().filter(|(shard, _)| *shard == ShardId::SYSTEM);
        let lost: Vec<ReplicaId> = of_system.map(|(_, id)| *id).collect();
        if leaderless.is_none() && lost.is_empty() {
            self.system_copies.remove(&report.node);
        } else {
            let told = ToldSystemCopy { leaderless, lost, at_ms: now.monotonic_ms };
            self.system_copies.insert(report.node, told);
        }
    }

    /// What its node says of a copy of the system shard. `ticks` = those since this process began to listen.
    pub(super) fn witness(&self, copy: Copy, ticks: u64, now: Now) -> Witness {
        let told = self.system_copies.get(&copy.node);
        let told = told.filter(|told| now.monotonic_ms.saturating_sub(told.at_ms) <= FRESH_MS);
        match told.map(|told| (told.leaderless.as_ref(), &told.lost)) {
            Some((Some(leaderless), _)) if leaderless.replica == copy.id => Witness::Leaderless(leaderless.clone()),
            Some((_, lost)) if lost.contains(&copy.id) => Witness::Lost,
            Some(_) => Witness::Unclear,
            None if self.silent_ms(copy.node, ticks) >= LOST_SILENCE_MS => Witness::Silent,
            None => Witness::Unclear,
        }
    }

    /// Milliseconds since the node was heard of, at most those since this process began to listen.
    fn silent_ms(&self, node: NodeId, ticks: u64) -> u64 {
        self.liveness.silent_ticks(node).min(ticks).saturating_mul(TICK_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { monotonic_ms: 100_000, wall_ms: 100_000 };
    const SILENCE_TICKS: u64 = LOST_SILENCE_MS / TICK_MS;
    const COPY: Copy = Copy { node: NodeId(2), id: ReplicaId(2) };

    /// Node 1, which has listened for long and heard of node 2 at its end.
    fn heard() -> Others {
        let mut others = Others::new(NodeId(1), Incarnation(1));
        (0..SILENCE_TICKS).for_each(|_| drop(others.tick()));
        others.hear(COPY.node, Incarnation(1));
        others
    }

    fn says(others: &mut Others, lost: Option<u64>, at_ms: u64) {
        let lost = lost.map(|id| (ShardId::SYSTEM, ReplicaId(id))).into_iter().collect();
        let report = NodeReport { node: COPY.node, lost, ..NodeReport::default() };
        others.system_copy_told(&report, Now { monotonic_ms: at_ms, ..NOW });
    }

    #[test]
    fn what_a_node_says_of_its_copy_counts_for_that_copy_and_while_it_is_fresh() {
        let now = NOW.monotonic_ms;
        let mut others = heard();
        assert!(matches!(others.witness(COPY, SILENCE_TICKS, NOW), Witness::Unclear), "it has said nothing");
        for (lost, at_ms, is_lost) in
            [(2, now, true), (2, now - FRESH_MS, true), (2, now - FRESH_MS - 1, false), (9, now, false)]
        {
            says(&mut others, Some(lost), at_ms);
            let witness = others.witness(COPY, SILENCE_TICKS, NOW);
            assert_eq!(matches!(witness, Witness::Lost), is_lost, "{lost} {at_ms}");
        }
        says(&mut others, Some(2), now);
        says(&mut others, None, now);
        assert!(matches!(others.witness(COPY, SILENCE_TICKS, NOW), Witness::Unclear), "it has taken its word back");
    }

    #[test]
    fn a_node_is_silent_for_as_long_as_this_process_has_listened_at_most() {
        let others = heard();
        let never_heard = Copy { node: NodeId(3), ..COPY };
        assert!(matches!(others.witness(never_heard, SILENCE_TICKS, NOW), Witness::Silent));
        assert!(matches!(others.witness(never_heard, SILENCE_TICKS - 1, NOW), Witness::Unclear));
        assert!(matches!(others.witness(COPY, SILENCE_TICKS, NOW), Witness::Unclear));
    }

    #[test]
    fn a_beat_tells_of_disk_and_clock() {
        let mut others = heard();
        let beat = Beat { disk_full: Some(true), disk_stalled: true, wall_ms: Some(NOW.wall_ms + 90_000) };
        others.beat_heard(COPY.node, beat, NOW);
        assert!(others.liveness().is_full(COPY.node) && others.liveness().is_stalled(COPY.node));
        others.confirm_clock(NOW);
        assert_eq!(others.clocks().confirmed_ms(NOW), NOW.wall_ms + crate::limits::STAMP_AHEAD_MS_MAX);
        others.beat_heard(COPY.node, Beat::default(), NOW);
        assert!(others.liveness().is_full(COPY.node), "unknown changes nothing");
        assert!(!others.liveness().is_stalled(COPY.node));
    }
}
