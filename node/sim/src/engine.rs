//! A store in memory that forgets as a real one may: after a crash it holds a prefix of what was written, at least up
//! to the last finished sync.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use skerry_core::engine::{Engine, EngineError, EngineWrite, shard_key, state};
use skerry_core::ids::{ReplicaId, ShardId};
use skerry_core::replica::state::ReplicaState;

#[derive(Default)]
struct Inner {
    now: BTreeMap<Bytes, Bytes>,
    durable: BTreeMap<Bytes, Bytes>,
    unsynced: VecDeque<Vec<EngineWrite>>,
    /// Batches that became durable so far.
    synced: u64,
}

/// The store of one host.
#[derive(Default)]
pub(crate) struct MemoryEngine(RefCell<Inner>);

fn apply(map: &mut BTreeMap<Bytes, Bytes>, batch: Vec<EngineWrite>) {
    for write in batch {
        match write {
            EngineWrite::Put(key, value) => drop(map.insert(key, value)),
            EngineWrite::Delete(key) => drop(map.remove(&key)),
        }
    }
}

impl MemoryEngine {
    /// Another store that holds what this one holds now.
    pub(crate) fn fork(&self) -> Self {
        let now = self.0.borrow().now.clone();
        Self(RefCell::new(Inner { now, ..Inner::default() }))
    }

    /// Batches written so far: what a sync that begins now will cover.
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

    /// The process died and the machine lost what was not synced, or part of it.
    pub(crate) fn crash(&self, rng: &mut ChaCha8Rng) {
        let mut inner = self.0.borrow_mut();
        let survives = rng.random_range(0..=inner.unsynced.len());
        for _ in 0..survives {
            let Some(batch) = inner.unsynced.pop_front() else { break };
            apply(&mut inner.durable, batch);
            inner.synced += 1;
        }
        inner.unsynced.clear();
        inner.now = inner.durable.clone();
    }

    /// The applied index of a copy that a crash now would leave at least.
    pub(crate) fn durably_applied(&self, shard: ShardId, replica: ReplicaId) -> Option<u64> {
        let inner = self.0.borrow();
        let stored = inner.durable.get(&shard_key(shard, state::REPLICA, &[]))?;
        ReplicaState::decode(stored).ok().filter(|s| s.replica == replica).map(|s| s.applied.0)
    }
}

impl Engine for MemoryEngine {
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
