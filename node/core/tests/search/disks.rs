//! A store and a log that lose what was not synced, or keep it, as the scheduler says.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use skerry_core::engine::{Engine, EngineError, EngineWrite, shard_key, state};
use skerry_core::ids::ShardId;
use skerry_core::log::{LogCut, LogWrite, RecoveredLog};
use skerry_core::node::LogBatch;
use skerry_core::replica::state::ReplicaState;

#[derive(Default)]
struct Inner {
    now: BTreeMap<Bytes, Bytes>,
    durable: BTreeMap<Bytes, Bytes>,
    unsynced: VecDeque<Vec<EngineWrite>>,
    synced: u64,
}

/// The store of one node: after a crash it holds a prefix of the batches, at least what was synced.
#[derive(Default)]
pub(crate) struct Store(RefCell<Inner>);

fn apply(map: &mut BTreeMap<Bytes, Bytes>, batch: Vec<EngineWrite>) {
    for write in batch {
        match write {
            EngineWrite::Put(key, value) => drop(map.insert(key, value)),
            EngineWrite::Delete(key) => drop(map.remove(&key)),
        }
    }
}

impl Store {
    /// Batches written so far: what a sync that begins now covers.
    pub(crate) fn written(&self) -> u64 {
        let inner = self.0.borrow();
        inner.synced + inner.unsynced.len() as u64
    }

    /// A sync that began at `written` batches has finished.
    pub(crate) fn finish_sync(&self, written: u64) {
        let mut inner = self.0.borrow_mut();
        while inner.synced < written {
            let Some(batch) = inner.unsynced.pop_front() else { break };
            apply(&mut inner.durable, batch);
            inner.synced += 1;
        }
    }

    /// The machine lost what was not synced.
    pub(crate) fn lose_unsynced(&self) {
        let mut inner = self.0.borrow_mut();
        inner.unsynced.clear();
        inner.now = inner.durable.clone();
    }

    /// What a crash now would leave at least of a shard's copy.
    pub(crate) fn durable_state(&self, shard: ShardId) -> Option<ReplicaState> {
        let inner = self.0.borrow();
        inner.durable.get(&shard_key(shard, state::REPLICA, &[])).and_then(|bytes| ReplicaState::decode(bytes).ok())
    }
}

impl Engine for Store {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.0.borrow().now.get(key).cloned())
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        if start >= end {
            return Ok(());
        }
        for (key, value) in self.0.borrow().now.range::<[u8], _>((Bound::Included(start), Bound::Excluded(end))) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, batch: Vec<EngineWrite>) -> Result<(), EngineError> {
        let mut inner = self.0.borrow_mut();
        apply(&mut inner.now, batch.clone());
        inner.unsynced.push_back(batch);
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.finish_sync(self.written());
        Ok(())
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        Ok(0)
    }
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
