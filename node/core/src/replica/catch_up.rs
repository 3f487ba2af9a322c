//! Brings a copy up by a snapshot to where it can go on with the log, however fast clients write.
//!
//! A snapshot is the state at one index, and its receiver needs every entry after it. Writes could outrun it in two ways:
//! the log forgets those entries while the snapshot is under way, or what is kept of overwritten records fills its room.
//! So the log is kept from the snapshot's index on, and clients' writes wait while they would fill the room for either
//! faster than the transfer gets on. A transfer sends each record once and each piece of it lets more writes through: both
//! end. What a copy lacks then is no more than the room for the log, which it gets at the pace of the network.
//!
//! All this only for a copy that gets on: one that has taken nothing for three seconds neither has the log kept nor holds
//! up a write. Compare hashicorp/consul#9609, cockroachdb/cockroach#11667 and tikv/tikv#10491.

use std::collections::BTreeMap;

use crate::ids::ReplicaId;
use crate::planted::{Planted, is_planted};
use crate::replica::{Replica, SnapshotSend};
use crate::time::Now;

/// A copy that has taken nothing for so long does not get on: six repetitions of what was not acknowledged.
pub(super) const GETS_ON_MS: u64 = 3_000;
/// One that has not even accepted the offer: its node may have to delete the remains of another first, for long.
pub(super) const ACCEPTS_MS: u64 = 1_000;
/// One that has taken everything makes it durable, and gets on for so long.
pub(super) const SYNCS_MS: u64 = 5_000;
/// All of a transfer, in the parts that its progress is counted in.
pub(super) const WHOLE: u64 = 1 << 10;

/// Memory that the transfers of one shard may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TransferRoom {
    /// Of the log from their snapshots on, in bytes.
    pub(crate) log: usize,
    /// What they keep of records that were overwritten, in bytes.
    pub(crate) preimages: usize,
}

/// Owner of what is known of copies that snapshots bring up.
#[derive(Debug)]
pub(super) struct CatchUp {
    room: TransferRoom,
    /// As of the last tick.
    now_ms: u64,
    /// Copies that stand at their snapshot, and follow.
    installed: BTreeMap<ReplicaId, Installed>,
}

#[derive(Debug, Clone, Copy)]
struct Installed {
    /// What it is known to have.
    matched: u64,
    /// When that was last more than before.
    at_ms: u64,
    /// Once it has this it has caught up: the log's end at the last tick.
    goal: u64,
}

impl CatchUp {
    pub(super) fn new() -> Self {
        let room = TransferRoom { log: usize::MAX, preimages: usize::MAX };
        Self { room, now_ms: 0, installed: BTreeMap::new() }
    }

    /// A copy stands at a snapshot of this index.
    pub(super) fn installed(&mut self, copy: ReplicaId, index: u64, now_ms: u64) {
        self.installed.insert(copy, Installed { matched: index, at_ms: now_ms, goal: u64::MAX });
    }

    /// Those that are to be followed no more are forgotten.
    pub(super) fn retain(&mut self, stays: impl Fn(&ReplicaId) -> bool) {
        self.installed.retain(|copy, _| stays(copy));
    }

    /// A period has passed: forgets copies that have all that the log had at the last one, and those that do not get on.
    /// `last` = the log's end, `matched` = what a copy is known to have; `None` = it is no member.
    fn settle(&mut self, now_ms: u64, last: u64, matched: impl Fn(ReplicaId) -> Option<u64>) {
        self.now_ms = now_ms;
        self.installed.retain(|copy, installed| {
            let Some(matched) = matched(*copy) else { return false };
            if matched > installed.matched {
                (installed.matched, installed.at_ms) = (matched, now_ms);
            }
            let has_caught_up = installed.matched >= installed.goal;
            installed.goal = last;
            !has_caught_up && now_ms.saturating_sub(installed.at_ms) <= GETS_ON_MS
        });
    }

    /// The lowest index that one of them has.
    fn lowest(&self) -> Option<u64> {
        self.installed.values().map(|installed| installed.matched).min()
    }
}

/// Of some room, what may be used by the time that so many parts of a transfer are done: half of it at once, the rest in
/// step with the transfer, so that writes become slower before they wait for its end.
fn allowed(room: usize, parts: u64) -> usize {
    let half = room / 2;
    let rest = half as u128 * u128::from(parts.min(WHOLE)) / u128::from(WHOLE);
    half.saturating_add(usize::try_from(rest).unwrap_or(usize::MAX))
}

impl Replica {
    /// True if a snapshot brings a copy up, or one has and the copy follows.
    pub(crate) fn is_transferring(&self) -> bool {
        self.is_sending() || !self.catch_up.installed.is_empty()
    }

    /// What this shard's transfers may take, until told otherwise.
    pub(crate) fn give_room(&mut self, room: TransferRoom) {
        self.catch_up.room = room;
    }

    /// A period has passed.
    pub(super) fn follow_catch_ups(&mut self, now: Now) {
        let raft = &self.raw.raft;
        let matched = |copy: ReplicaId| raft.prs().get(copy.0).map(|progress| progress.matched);
        self.catch_up.settle(now.monotonic_ms, raft.raft_log.last_index(), matched);
    }

    /// Transfers that get on.
    fn live_sends(&self) -> impl Iterator<Item = &SnapshotSend> {
        self.sends.values().filter(|send| send.gets_on(self.catch_up.now_ms))
    }

    /// Whether a transfer does not get on, and what it keeps of records that were overwritten.
    pub(super) fn burden_of(&self, send: &SnapshotSend) -> (bool, usize) {
        (!send.gets_on(self.catch_up.now_ms), send.preimage_bytes())
    }

    /// The lowest index after which a copy that gets on needs the log. `None` = none does.
    pub(super) fn log_needed_after(&self) -> Option<u64> {
        self.live_sends().map(SnapshotSend::index).chain(self.catch_up.lowest()).min()
    }

    /// True while clients' writes wait for a transfer: what is kept for it fills its room faster than it gets on. `beside` =
    /// bytes of entries that were proposed and are not in the log yet.
    pub(super) fn writes_wait(&self, beside: usize) -> bool {
        let Some(needed_after) = self.log_needed_after() else { return false };
        if is_planted(Planted::WritesOutrunSnapshot) {
            return false;
        }
        let parts = self.live_sends().map(SnapshotSend::parts_done).min().unwrap_or(WHOLE);
        let (log, room) = (self.raw.store(), self.catch_up.room);
        if log.bytes_after(needed_after).saturating_add(beside) > allowed(room.log, parts) {
            return true;
        }
        // What is under way may overwrite about as much as it writes.
        let under_way = log.bytes_after(self.applier.state.applied.0).saturating_add(beside);
        let kept: usize = self.live_sends().map(SnapshotSend::preimage_bytes).sum();
        !self.sends.is_empty() && kept.saturating_add(under_way) > allowed(room.preimages, parts)
    }
}

#[cfg(test)]
mod tests;
