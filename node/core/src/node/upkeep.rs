//! What a node does on its own: syncs its store, lets the log forget what the store has, streams snapshots within the
//! budget, wipes what nobody owns.

use crate::engine::{Engine, EngineError};
use crate::ids::{ReplicaId, ShardId};
use crate::log::{LogCut, LogWrite};
use crate::node::{Held, Node, TICK_MS};
use crate::planted::{Planted, is_planted};
use crate::replica::{Collected, Pace, Replica};
use crate::time::Now;

impl Node {
    pub(super) fn keep_up(&mut self, engine: &dyn Engine, now: Now) -> Result<(), EngineError> {
        self.wants_sync |= self.unsynced && self.ticks.is_multiple_of(self.config.sync_ticks);
        self.collect_garbage(engine)?;
        let rate = self.map.limits.0.bytes_per_second;
        self.bound_preimages();
        self.snapshot_budget = self.snapshot_budget.saturating_add(rate.saturating_mul(TICK_MS) / 1000).min(rate);
        self.pump_snapshots(engine, now)
    }

    fn pump_snapshots(&mut self, engine: &dyn Engine, now: Now) -> Result<(), EngineError> {
        let mut out = Collected::default();
        let is_full = |node| self.heard.is_full(node) && !is_planted(Planted::SnapshotToFullDisk);
        let mut pace = Pace {
            budget: self.snapshot_budget,
            piece_bytes: self.config.snapshot_piece_bytes,
            piece_records: self.config.snapshot_piece_records,
        };
        for replica in self.replicas.values_mut().filter(|r| r.is_sending()) {
            replica.pump_snapshots(engine, now, &mut pace, &is_full, &mut out)?;
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

    /// Hands leadership of every shard to another copy that is in step, where there is one.
    pub(super) fn step_aside(&mut self) {
        for (shard, replica) in &mut self.replicas {
            // Better one whose disk has stalled than none.
            let fit = replica.heirs(|node| !self.heard.is_stalled(node)).into_iter();
            if let Some(heir) = fit.chain(replica.heirs(|_| true)).next() {
                replica.wake(&self.heard);
                replica.transfer(heir);
                self.dirty.insert(*shard);
            }
        }
    }

    /// A period has passed for the log's writes. The others hear at once of a disk that stalls, or answers again.
    pub(super) fn watch_log(&mut self) {
        if self.log.tick() {
            self.heard.hear_stall(self.identity.node, self.log.is_stalled());
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
            replica.give_way(&self.heard);
            if replica.has_work() {
                self.dirty.insert(*shard);
            }
        }
    }

    /// What the replicas hold in memory for copies that lag.
    pub fn held(&self) -> Held {
        let replicas = self.replicas.values();
        replicas.fold(Held::default(), |held, replica| Held {
            log: held.log + replica.log_bytes(),
            preimages: held.preimages + replica.preimage_bytes(),
        })
    }

    /// The transfer that keeps the most is given up: writes go on, and raft starts another.
    fn bound_preimages(&mut self) {
        let unbounded = is_planted(Planted::PreimagesUnbounded);
        while self.held().preimages > self.config.preimage_bytes_max && !unbounded {
            let largest = self.replicas.values_mut().max_by_key(|replica| replica.preimage_bytes());
            if !largest.is_some_and(Replica::give_up_largest_send) {
                break;
            }
        }
    }

    pub(super) fn cuts(&mut self) -> Vec<LogCut> {
        if !self.ticks.is_multiple_of(8) {
            return Vec::new();
        }
        let keep = self.config.log_keep_bytes;
        let mut cuts: Vec<_> = self.replicas.values_mut().filter_map(|r| r.cut(keep, usize::MAX)).collect();
        // What nobody needs now goes first, so that a copy that lags or is being built does not start anew for it.
        for is_needed in [false, true] {
            self.cut_to_share(is_needed, &mut cuts);
        }
        cuts
    }

    /// While the logs take too much together, those that a copy needs which lags, or all the others, get half of it.
    fn cut_to_share(&mut self, is_needed: bool, cuts: &mut Vec<LogCut>) {
        let (keep, all) = (self.config.log_keep_bytes, self.config.log_memory_bytes_max);
        if self.held().log <= all || is_planted(Planted::LogMemoryUnbounded) {
            return;
        }
        let count = self.replicas.values().filter(|replica| replica.is_log_needed() == is_needed).count();
        let most = all / 2 / count.max(1);
        let these = self.replicas.values_mut().filter(|replica| replica.is_log_needed() == is_needed);
        cuts.extend(these.filter_map(|replica| replica.cut(keep, most)));
        // What is left waits for the store.
        self.wants_sync |= self.unsynced;
    }
}
