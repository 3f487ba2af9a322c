//! A store and a log that lose what was not synced, or keep it, as the scheduler says.

use std::collections::{BTreeMap, VecDeque};

use skerry_core::engine::{shard_key, state};
use skerry_core::ids::ShardId;
use skerry_core::log::{LogCut, LogWrite, RecoveredLog};
use skerry_core::node::LogBatch;
use skerry_core::replica::state::ReplicaState;
use skerry_core::testing::MemoryEngine;

/// What a crash now would leave at least of a shard's copy.
pub(crate) fn durable_state(store: &MemoryEngine, shard: ShardId) -> Option<ReplicaState> {
    store.durable(&shard_key(shard, state::REPLICA, &[])).and_then(|bytes| ReplicaState::decode(&bytes).ok())
}

/// The shared log of one node.
#[derive(Default)]
pub(crate) struct Log {
    durable: BTreeMap<ShardId, RecoveredLog>,
    pending: VecDeque<LogBatch>,
}

impl Log {
    pub(crate) fn append(&mut self, batch: LogBatch) {
        self.pending.push_back(batch);
    }

    /// Batches of this and lower sequences are on disk.
    pub(crate) fn make_durable(&mut self, sequence: u64) {
        while self.pending.front().is_some_and(|b| b.sequence <= sequence) {
            let Some(batch) = self.pending.pop_front() else { break };
            batch.writes.into_iter().for_each(|write| fold(&mut self.durable, write));
        }
    }

    pub(crate) fn lose_unsynced(&mut self) {
        self.pending.clear();
    }

    pub(crate) fn cut(&mut self, cut: &LogCut) {
        let log = self.durable.get_mut(&cut.shard).filter(|l| l.replica == cut.replica && l.start.0 < cut.start.0);
        if let Some(log) = log {
            log.entries.retain(|e| e.index > cut.start.0);
            log.start = cut.start;
        }
    }

    /// The durable logs, as a new process finds them.
    pub(crate) fn recover(&self) -> BTreeMap<ShardId, RecoveredLog> {
        self.durable.clone()
    }

    pub(crate) fn of(&self, shard: ShardId) -> Option<&RecoveredLog> {
        self.durable.get(&shard)
    }
}

fn fold(logs: &mut BTreeMap<ShardId, RecoveredLog>, write: LogWrite) {
    let fresh = || RecoveredLog { replica: write.replica, ..RecoveredLog::default() };
    let log = logs.entry(write.shard).or_insert_with(fresh);
    if write.replica < log.replica {
        return;
    }
    if write.destroyed {
        logs.remove(&write.shard);
        return;
    }
    if write.replica > log.replica {
        *log = fresh();
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
