//! A store in memory that forgets as a real one may: after a crash it holds a prefix of what was written, at least up
//! to the last finished sync. It can be told to fail, and knows a hash of each shard's records at any time.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use skerry_core::engine::{Engine, EngineError, EngineWrite, data_end, data_key, family, shard_key, state};
use skerry_core::ids::{ReplicaId, ShardId};
use skerry_core::map::Descriptor;
use skerry_core::replica::state::ReplicaState;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

#[derive(Default)]
struct Inner {
    now: BTreeMap<Bytes, Bytes>,
    durable: BTreeMap<Bytes, Bytes>,
    unsynced: VecDeque<Vec<EngineWrite>>,
    /// Batches that became durable so far.
    synced: u64,
    /// Sums of hashes of the records in ranges that somebody asked about, by first key.
    digests: BTreeMap<Bytes, Digest>,
    /// Calls after which it fails, for good.
    fails_after: Option<u32>,
    /// Number of records of tables that were put so far.
    puts: u64,
}

struct Digest {
    end: Bytes,
    sum: u64,
}

impl Inner {
    /// Applies a batch to what readers see.
    fn change(&mut self, batch: &[EngineWrite]) {
        for write in batch {
            let (key, new) = match write {
                EngineWrite::Put(key, value) => (key, Some(value)),
                EngineWrite::Delete(key) => (key, None),
            };
            self.puts += u64::from(new.is_some() && key.first() == Some(&family::DATA));
            let old = match new {
                Some(value) => self.now.insert(key.clone(), value.clone()),
                None => self.now.remove(key),
            };
            if key.first() != Some(&family::DATA) {
                continue;
            }
            let of_key = self.digests.range_mut::<Bytes, _>(..=key).next_back().filter(|(_, d)| *key < d.end);
            if let Some((_, digest)) = of_key {
                digest.sum = digest.sum.wrapping_sub(old.map_or(0, |value| hash(key, &value)));
                digest.sum = digest.sum.wrapping_add(new.map_or(0, |value| hash(key, value)));
            }
        }
    }

    /// Counts a call. An error = this one fails, and all that follow.
    fn call(&mut self) -> Result<(), EngineError> {
        match &mut self.fails_after {
            None => Ok(()),
            Some(0) => Err(EngineError { message: "the disk fails".to_owned(), is_damage: false }),
            Some(calls) => {
                *calls -= 1;
                Ok(())
            }
        }
    }
}

fn hash(key: &[u8], value: &[u8]) -> u64 {
    xxh3_64_with_seed(value, xxh3_64(key))
}

/// The store of one host, in memory.
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
        inner.digests.clear();
        inner.fails_after = None;
        inner.now = inner.durable.clone();
    }

    /// It fails after so many calls more.
    pub(crate) fn fail_after(&self, calls: u32) {
        self.0.borrow_mut().fails_after = Some(calls);
    }

    /// It fails no more, if it has not yet.
    pub(crate) fn mend(&self) {
        self.0.borrow_mut().fails_after = None;
    }

    /// Number of records of tables that were put so far.
    pub(crate) fn puts(&self) -> u64 {
        self.0.borrow().puts
    }

    /// True if a crash now would leave a tombstone of this copy, or of a later one.
    pub(crate) fn is_durably_entombed(&self, shard: ShardId, replica: ReplicaId) -> bool {
        let inner = self.0.borrow();
        let stored = inner.durable.get(&shard_key(shard, state::TOMBSTONE, &[]));
        let latest = stored.and_then(|bytes| bytes.first_chunk::<8>()).map(|bytes| u64::from_be_bytes(*bytes));
        latest.is_some_and(|latest| latest >= replica.0)
    }

    /// A hash of the shard's records: equal for equal records.
    pub(crate) fn digest(&self, shard: &Descriptor) -> u64 {
        let inner = &mut *self.0.borrow_mut();
        let (start, end) = (data_key(shard.table, &shard.start), data_end(shard.table, shard.end.as_deref()));
        if let Some(digest) = inner.digests.get(&start).filter(|digest| digest.end == end) {
            return digest.sum;
        }
        let records = inner.now.range::<Bytes, _>(&start..&end);
        let sum = records.fold(0_u64, |sum, (key, value)| sum.wrapping_add(hash(key, value)));
        inner.digests.insert(start, Digest { end, sum });
        sum
    }

    /// Every copy's state as a process that starts now would find it.
    pub(crate) fn states(&self) -> Vec<ReplicaState> {
        let inner = self.0.borrow();
        let (from, to) = ([family::SHARD], [family::SHARD + 1]);
        let range = inner.now.range::<[u8], _>((Bound::Included(&from[..]), Bound::Excluded(&to[..])));
        let states = range.filter(|(key, _)| key.get(9) == Some(&state::REPLICA));
        states.filter_map(|(_, value)| ReplicaState::decode(value).ok()).collect()
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
        let mut inner = self.0.borrow_mut();
        inner.call()?;
        Ok(inner.now.get(key).cloned())
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        self.0.borrow_mut().call()?;
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
        inner.call()?;
        inner.change(&batch);
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
