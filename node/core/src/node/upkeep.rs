//! What a node does on its own: syncs its store, lets the log forget what the store has, streams snapshots within the
//! budget, wipes what nobody owns.

use crate::engine::{Engine, EngineError};
use crate::log::LogCut;
use crate::node::Node;
use crate::replica::TimeLimit;
use crate::time::Now;

/// Ticks between two looks at what logs may forget.
const CUT_TICKS: u64 = 8;

impl Node {
    pub(super) fn keep_up(&mut self, engine: &dyn Engine, now: Now) -> Result<(), EngineError> {
        if self.ticks.is_multiple_of(self.config.sync_ticks) {
            self.disk.syncs().want_if_written();
        }
        self.collect_garbage(engine)?;
        self.replicas.measure(&self.config);
        self.replicas.bound_preimages(self.config.preimage_bytes_max);
        self.replicas.earn_budget(self.map.known().limits.0.bytes_per_second);
        let liveness = self.others.liveness();
        let pieces = self.replicas.pump_snapshots(self.ticks, &self.config, liveness, engine, now)?;
        self.outbox.send_all(pieces);
        let limit = TimeLimit(self.others.clocks().confirmed_ms(now));
        self.replicas.sweep(self.others.liveness(), engine, limit.limited(now))
    }

    /// One sync at a time; what is written while it runs waits for the next.
    pub(super) fn begin_sync(&mut self, engine: &dyn Engine) -> Result<Option<u64>, EngineError> {
        let Some(mark) = self.disk.begin_sync() else { return Ok(None) };
        self.replicas.sync_begins(mark);
        self.replicas.quorums_mut().sync_begins(mark, engine)?;
        Ok(Some(mark))
    }

    pub(super) fn engine_durable(&mut self, mark: u64) {
        self.disk.synced(mark);
        self.outbox.take(&mut self.replicas.synced(mark));
        self.replicas.quorums_mut().synced(mark);
        self.tombstones.synced(mark);
    }

    /// A period has passed for the log's writes. The others hear at once of a disk that stalls, or answers again.
    pub(super) fn watch_log(&mut self) {
        if self.disk.tick() {
            self.others.own_disk_stalls(self.disk.log().is_stalled());
            self.told.tell_soon();
        }
    }

    pub(super) fn cuts(&mut self) -> Vec<LogCut> {
        if !self.ticks.is_multiple_of(CUT_TICKS) {
            return Vec::new();
        }
        let mut cut = self.replicas.cut_logs(&self.config);
        cut.cuts.extend(self.replicas.quorums_mut().cuts());
        if cut.wants_sync {
            self.disk.syncs().want_if_written();
        }
        cut.cuts
    }
}

#[cfg(test)]
mod tests;
