//! What a node does on its own: syncs its store, lets the log forget what the store has, streams snapshots within the
//! budget, wipes what nobody owns.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::engine::{Engine, EngineError};
use crate::ids::{ReplicaId, ShardId};
use crate::log::{LogCut, LogWrite};
use crate::node::Node;
use crate::planted::{Planted, is_planted};
use crate::replica::{Collected, Pace, Replica, TimeLimit};
use crate::time::{Now, TICK_MS};

/// What the older entries of a log are there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LogUse {
    NotNeeded,
    ByCopyThatLags,
    BySnapshot,
}

impl LogUse {
    fn of(replica: &Replica) -> Self {
        match replica.is_transferring() {
            true => Self::BySnapshot,
            false if replica.is_log_needed() => Self::ByCopyThatLags,
            false => Self::NotNeeded,
        }
    }
}

/// The first shard after the last one that wants a turn, round and round: so each gets one before another gets two,
/// whichever want none in between.
fn next_in_turn<T>(shards: &BTreeMap<ShardId, T>, last: ShardId, wants: impl Fn(&T) -> bool) -> Option<ShardId> {
    let after = shards.range((Bound::Excluded(last), Bound::Unbounded));
    let mut turns = after.chain(shards.range(..=last)).filter(|(_, shard)| wants(shard));
    turns.next().map(|(shard, _)| *shard)
}

impl Node {
    pub(super) fn keep_up(&mut self, engine: &dyn Engine, now: Now) -> Result<(), EngineError> {
        self.wants_sync |= self.unsynced && self.ticks.is_multiple_of(self.config.sync_ticks);
        self.collect_garbage(engine)?;
        let rate = self.map.limits.0.bytes_per_second;
        self.measure();
        self.bound_preimages();
        self.snapshot_budget = self.snapshot_budget.saturating_add(rate.saturating_mul(TICK_MS) / 1000).min(rate);
        self.pump_snapshots(engine, now)?;
        self.sweep(engine, TimeLimit(self.clocks.confirmed_ms(now)).limited(now))
    }

    /// One slice of one shard a tick: what has ended is deleted where this node leads.
    fn sweep(&mut self, engine: &dyn Engine, now: Now) -> Result<(), EngineError> {
        let Some(shard) = next_in_turn(&self.replicas, self.swept, |replica| replica.wants_sweep(now)) else {
            return Ok(());
        };
        self.swept = shard;
        if let Some(replica) = self.replicas.get_mut(&shard)
            && replica.sweep(engine, now)?
        {
            replica.wake(&self.liveness);
            self.dirty.insert(shard);
        }
        Ok(())
    }

    fn pump_snapshots(&mut self, engine: &dyn Engine, now: Now) -> Result<(), EngineError> {
        let mut out = Collected::default();
        let is_full = |node| self.liveness.is_full(node) && !is_planted(Planted::SnapshotToFullDisk);
        let mut pace = Pace {
            budget: self.snapshot_budget,
            piece_bytes: self.config.snapshot_piece_bytes,
            piece_records: self.config.snapshot_piece_records,
        };
        let sending = self.replicas.iter().filter(|(_, replica)| replica.is_sending());
        let mut sending: Vec<ShardId> = sending.map(|(shard, _)| *shard).collect();
        // Each is the first in turn: where the budget is small, the first takes all of it.
        let turn = usize::try_from(self.ticks).unwrap_or(0).checked_rem(sending.len()).unwrap_or(0);
        sending.rotate_left(turn);
        for shard in sending {
            if let Some(replica) = self.replicas.get_mut(&shard) {
                replica.pump_snapshots(engine, now, &mut pace, &is_full, &mut out)?;
            }
        }
        self.snapshot_budget = pace.budget;
        self.send.append(&mut out.send);
        Ok(())
    }

    /// One sync at a time; what is written while it runs waits for the next.
    pub(super) fn begin_sync(&mut self) -> Option<u64> {
        if !self.wants_sync || self.syncing.is_some() {
            return None;
        }
        self.marks += 1;
        self.wants_sync = false;
        self.unsynced = false;
        self.syncing = Some(self.marks);
        self.log.syncing(true);
        for replica in self.replicas.values_mut() {
            replica.sync_begins(self.marks);
        }
        Some(self.marks)
    }

    pub(super) fn engine_durable(&mut self, mark: u64, now: Now) {
        if self.syncing == Some(mark) {
            self.syncing = None;
            self.log.syncing(false);
        }
        let mut out = Collected::default();
        for (shard, replica) in &mut self.replicas {
            replica.sync_finished(mark, now);
            replica.install_received(&mut out);
            self.dirty.insert(*shard);
        }
        self.send.append(&mut out.send);
        let durable = self.destroyed.extract_if(.., |(m, ..)| *m <= mark).map(|(_, shard, replica)| (shard, replica));
        self.next_destroyed_write.extend(durable);
    }

    /// Ends of copies that the store has made durable, for the log.
    pub(super) fn destroyed_writes(&mut self) -> Vec<LogWrite> {
        let ends: Vec<(ShardId, ReplicaId)> = std::mem::take(&mut self.next_destroyed_write);
        ends.into_iter()
            .map(|(shard, replica)| LogWrite {
                shard,
                replica,
                reset: None,
                entries: Vec::new(),
                hard_state: None,
                destroyed: true,
            })
            .collect()
    }

    /// Hands leadership of every shard to another copy that is in sync, where there is one.
    pub(super) fn step_aside(&mut self) {
        for (shard, replica) in &mut self.replicas {
            // Better one whose disk has stalled than none.
            let fit = replica.transfer_targets(|node| !self.liveness.is_stalled(node)).into_iter();
            if let Some(transfer_target) = fit.chain(replica.transfer_targets(|_| true)).next() {
                replica.wake(&self.liveness);
                replica.transfer(transfer_target);
                self.dirty.insert(*shard);
            }
        }
    }

    /// A period has passed for the log's writes. The others hear at once of a disk that stalls, or answers again.
    pub(super) fn watch_log(&mut self) {
        if self.log.tick() {
            self.liveness.hear_stall(self.identity.node, self.log.is_stalled());
            self.beats_soon = true;
            self.told.tell_soon();
        }
    }

    /// While this node's disk has stalled, what others can lead goes to them.
    pub(super) fn give_way(&mut self) {
        if !self.log.is_stalled() {
            return;
        }
        for (shard, replica) in &mut self.replicas {
            replica.give_way(&self.liveness);
            if replica.has_work() {
                self.dirty.insert(*shard);
            }
        }
    }

    /// The transfer that keeps the most is given up, and raft starts another. The last resort: writes wait for transfers
    /// before, and only those under way come on top.
    fn bound_preimages(&mut self) {
        let unbounded = is_planted(Planted::PreimagesUnbounded);
        let mut kept = self.memory.held().preimages;
        while kept > self.config.preimage_bytes_max && !unbounded {
            let largest = self.replicas.values_mut().max_by_key(|replica| replica.largest_burden());
            let freed = largest.map_or(0, Replica::give_up_largest_send);
            if freed == 0 {
                break;
            }
            kept -= freed;
        }
    }

    pub(super) fn cuts(&mut self) -> Vec<LogCut> {
        if !self.ticks.is_multiple_of(8) {
            return Vec::new();
        }
        let mut cuts = Vec::new();
        self.forget(|_| true, usize::MAX, &mut cuts);
        // What nobody needs now goes first, so that a copy that lags or is being built does not start anew for it.
        let mut order = [LogUse::NotNeeded, LogUse::ByCopyThatLags, LogUse::BySnapshot];
        if is_planted(Planted::NeededLogsCutFirst) {
            order.reverse();
        }
        for log_use in order {
            self.cut_to_share(log_use, &mut cuts);
        }
        cuts
    }

    /// While the logs take too much together, those that nobody needs get half of it, and all others the other half: those
    /// from which copies go on that snapshots bring up, if there are any, a quarter of their own.
    fn cut_to_share(&mut self, log_use: LogUse, cuts: &mut Vec<LogCut>) {
        let all = self.config.log_memory_bytes_max;
        if self.memory.held().log <= all || is_planted(Planted::LogMemoryUnbounded) {
            return;
        }
        let count = |log_use| self.replicas.values().filter(|replica| LogUse::of(replica) == log_use).count();
        let is_half = log_use != LogUse::BySnapshot && (log_use == LogUse::NotNeeded || count(LogUse::BySnapshot) == 0);
        let most = all / if is_half { 2 } else { 4 } / count(log_use).max(1);
        self.forget(|replica| LogUse::of(replica) == log_use, most, cuts);
        // What is left waits for the store.
        self.wants_sync |= self.unsynced;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_gets_its_turn_whichever_others_want_one_now_and_then() {
        // The first and the last wait for their deletes in every other tick.
        let (mut last, mut turns) = (ShardId(0), BTreeMap::<ShardId, u32>::new());
        for tick in 0..12 {
            let wants = |shard| shard == ShardId(5) || (shard == ShardId(4)) == (tick % 2 == 0);
            let shards = [4, 5, 6].map(|shard| (ShardId(shard), wants(ShardId(shard)))).into();
            last = next_in_turn(&shards, last, |wants| *wants).expect("one always wants it");
            *turns.entry(last).or_default() += 1;
        }
        assert!(turns[&ShardId(5)] >= 4, "{turns:?}");
        assert_eq!(next_in_turn(&BTreeMap::from([(ShardId(4), true)]), ShardId(4), |wants| *wants), Some(ShardId(4)));
        assert_eq!(next_in_turn(&BTreeMap::from([(ShardId(4), false)]), ShardId(4), |wants| *wants), None);
    }
}
