//! A shared log in memory: what is durable, and what was handed in since. A crash keeps some of the latter, in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use skerry_core::ids::ShardId;
use skerry_core::log::{LogCut, LogWrite, RecoveredLog};
use skerry_core::node::{LogBatch, Recovered};

/// The log of one host.
#[derive(Default)]
pub(crate) struct MemoryLog {
    durable: BTreeMap<ShardId, RecoveredLog>,
    pending: VecDeque<LogBatch>,
}

impl MemoryLog {
    pub(crate) fn append(&mut self, batch: LogBatch) {
        self.pending.push_back(batch);
    }

    pub(crate) fn make_durable(&mut self, sequence: u64) {
        while self.pending.front().is_some_and(|b| b.sequence <= sequence) {
            let Some(batch) = self.pending.pop_front() else { break };
            batch.writes.into_iter().for_each(|write| fold(&mut self.durable, write));
        }
    }

    /// A torn tail: a prefix of the groups that were under way may have reached the disk.
    pub(crate) fn crash(&mut self, rng: &mut ChaCha8Rng) {
        let survives = rng.random_range(0..=self.pending.len());
        let batches: Vec<_> = self.pending.drain(..).take(survives).collect();
        for write in batches.into_iter().flat_map(|b| b.writes) {
            fold(&mut self.durable, write);
        }
    }

    pub(crate) fn cut(&mut self, cut: &LogCut) {
        if let Some(log) =
            self.durable.get_mut(&cut.shard).filter(|l| l.replica == cut.replica && l.start.0 < cut.start.0)
        {
            log.entries.retain(|e| e.index > cut.start.0);
            log.start = cut.start;
        }
    }

    /// What a new process finds; `damaged` = the shards that a flipped bit may have hit.
    pub(crate) fn recover(&self, damaged: BTreeSet<ShardId>) -> Recovered {
        Recovered { logs: self.durable.clone(), lost: damaged, ..Recovered::default() }
    }

    pub(crate) fn shards(&self) -> Vec<ShardId> {
        self.durable.keys().copied().collect()
    }
}

fn fold(logs: &mut BTreeMap<ShardId, RecoveredLog>, write: LogWrite) {
    let log =
        logs.entry(write.shard).or_insert_with(|| RecoveredLog { replica: write.replica, ..RecoveredLog::default() });
    if write.replica < log.replica {
        return;
    }
    if write.destroyed {
        logs.remove(&write.shard);
        return;
    }
    if write.replica > log.replica {
        *log = RecoveredLog { replica: write.replica, ..RecoveredLog::default() };
    }
    if let Some(start) = write.reset {
        log.start = start;
        log.entries.clear();
    }
    for entry in write.entries {
        log.entries.retain(|e| e.index < entry.index);
        if entry.index > log.start.0 {
            assert_eq!(entry.index, log.start.0 + log.entries.len() as u64 + 1, "a log has no gaps");
            log.entries.push(entry);
        }
    }
    if let Some(state) = write.hard_state {
        log.hard_state = state;
    }
}
