//! A store in memory that forgets as a real one may: after a crash it holds a prefix of what was written, at least up
//! to the last finished sync. It can be told to fail, and knows a hash of each shard's records at any time.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bytes::Bytes;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use skerry_core::engine::{Engine, EngineError, EngineWrite, data_end, data_key, family, shard_key, state};
use skerry_core::ids::{ReplicaId, ShardId};
use skerry_core::map::Descriptor;
use skerry_core::quorum::replica::QuorumState;
use skerry_core::replica::state::ReplicaState;
use skerry_core::testing::MemoryEngine;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

#[derive(Default)]
struct Watched {
    /// Sums of hashes of the records in ranges that somebody asked about, by first key.
    digests: BTreeMap<Bytes, Digest>,
    /// Calls after which it fails, for good.
    fails_after: Option<u32>,
    /// Number of records of tables that were put so far.
    puts: u64,
    /// The number of syncs that succeed before one fails. `None` = none fails.
    syncs_before_failure: Option<u32>,
    /// A sync has failed.
    has_failed_sync: bool,
}

struct Digest {
    end: Bytes,
    sum: u64,
}

impl Watched {
    /// A key was changed, that had this value before.
    fn changed(&mut self, write: &EngineWrite, old: Option<&Bytes>) {
        let (key, new) = match write {
            EngineWrite::Put(key, value) => (key, Some(value)),
            EngineWrite::Delete(key) => (key, None),
        };
        if key.first() != Some(&family::DATA) {
            return;
        }
        self.puts += u64::from(new.is_some());
        let of_key = self.digests.range_mut::<Bytes, _>(..=key).next_back().filter(|(_, d)| *key < d.end);
        if let Some((_, digest)) = of_key {
            digest.sum = digest.sum.wrapping_sub(old.map_or(0, |value| hash(key, value)));
            digest.sum = digest.sum.wrapping_add(new.map_or(0, |value| hash(key, value)));
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
pub(crate) struct Store {
    memory: MemoryEngine,
    watched: RefCell<Watched>,
}

impl Store {
    /// Another store that holds what this one holds now.
    pub(crate) fn fork(&self) -> Self {
        Self { memory: MemoryEngine::holding(self.memory.records()), ..Self::default() }
    }

    /// Batches written so far: what a sync that begins now will cover.
    pub(crate) fn written(&self) -> u64 {
        self.memory.written()
    }

    /// A sync that began at `written` batches has finished.
    pub(crate) fn finish_sync(&self, written: u64) {
        self.memory.finish_sync(written);
    }

    /// The process died and the machine lost what was not synced, or part of it.
    pub(crate) fn crash(&self, rng: &mut ChaCha8Rng) {
        self.memory.crash(rng.random_range(0..=self.memory.unsynced()));
        let mut watched = self.watched.borrow_mut();
        watched.digests.clear();
        watched.fails_after = None;
    }

    /// It fails after so many calls more.
    pub(crate) fn fail_after(&self, calls: u32) {
        self.watched.borrow_mut().fails_after = Some(calls);
    }

    /// It fails no more, if it has not yet.
    pub(crate) fn mend(&self) {
        self.watched.borrow_mut().fails_after = None;
    }

    /// The sync after so many more fails.
    pub(crate) fn fail_sync_after(&self, syncs: u32) {
        self.watched.borrow_mut().syncs_before_failure = Some(syncs);
    }

    /// No sync fails that has not yet.
    pub(crate) fn spare_syncs(&self) {
        self.watched.borrow_mut().syncs_before_failure = None;
    }

    /// True if a sync has failed since this was asked.
    pub(crate) fn take_failed_sync(&self) -> bool {
        std::mem::take(&mut self.watched.borrow_mut().has_failed_sync)
    }

    /// What is there now, whatever fails.
    pub(crate) fn peek(&self, key: &[u8]) -> Option<Bytes> {
        self.memory.get(key).ok().flatten()
    }

    /// Number of records of tables that were put so far.
    pub(crate) fn puts(&self) -> u64 {
        self.watched.borrow().puts
    }

    /// True if a crash now would leave a tombstone of this copy, or of a later one.
    pub(crate) fn is_durably_entombed(&self, shard: ShardId, replica: ReplicaId) -> bool {
        let stored = self.memory.durable(&shard_key(shard, state::TOMBSTONE, &[]));
        let latest = stored.as_ref().and_then(|bytes| bytes.first_chunk::<8>()).map(|bytes| u64::from_be_bytes(*bytes));
        latest.is_some_and(|latest| latest >= replica.0)
    }

    /// A hash of the shard's records: equal for equal records.
    pub(crate) fn digest(&self, shard: &Descriptor) -> u64 {
        let (start, end) = (data_key(shard.table, &shard.start), data_end(shard.table, shard.end.as_deref()));
        let digests = &mut self.watched.borrow_mut().digests;
        if let Some(digest) = digests.get(&start).filter(|digest| digest.end == end) {
            return digest.sum;
        }
        let mut sum = 0_u64;
        self.visit(&start, &end, |key, value| sum = sum.wrapping_add(hash(key, value)));
        digests.insert(start, Digest { end, sum });
        sum
    }

    /// Every copy's state as a process that starts now would find it.
    pub(crate) fn states(&self) -> Vec<ReplicaState> {
        let mut states = Vec::new();
        self.visit(&[family::SHARD], &[family::SHARD + 1], |key, value| {
            let state = (key.get(9) == Some(&state::REPLICA)).then(|| ReplicaState::decode(value).ok());
            states.extend(state.flatten());
        });
        states
    }

    /// The shards that have a copy here, of either kind.
    pub(crate) fn shards(&self) -> BTreeSet<ShardId> {
        let mut shards: BTreeSet<_> = self.states().into_iter().map(|state| state.descriptor.shard).collect();
        self.visit(&[family::SHARD], &[family::SHARD + 1], |key, _| {
            let shard = key.get(1..9).and_then(|bytes| bytes.first_chunk::<8>());
            let of_quorum = shard.filter(|_| key.get(9) == Some(&state::QUORUM));
            shards.extend(of_quorum.map(|bytes| ShardId(u64::from_be_bytes(*bytes))));
        });
        shards
    }

    /// The applied index of a copy that a crash now would leave at least.
    pub(crate) fn durably_applied(&self, shard: ShardId, replica: ReplicaId) -> Option<u64> {
        if let Some(stored) = self.memory.durable(&shard_key(shard, state::QUORUM, &[])) {
            let state = QuorumState::decode_of(shard, &stored).ok()?;
            return (state.replica() == replica).then(|| state.applied());
        }
        let stored = self.memory.durable(&shard_key(shard, state::REPLICA, &[]))?;
        ReplicaState::decode(&stored).ok().filter(|s| s.replica == replica).map(|s| s.applied.0)
    }

    fn visit(&self, start: &[u8], end: &[u8], mut see: impl FnMut(&[u8], &[u8])) {
        let visited = self.memory.scan(start, end, &mut |key, value| {
            see(key, value);
            ControlFlow::Continue(())
        });
        debug_assert_eq!(visited, Ok(()), "memory does not fail");
    }

    fn call(&self) -> Result<(), EngineError> {
        self.watched.borrow_mut().call()
    }
}

impl Engine for Store {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.call()?;
        self.memory.get(key)
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        self.call()?;
        self.memory.scan(start, end, visit)
    }

    fn write(&self, batch: Vec<EngineWrite>) -> Result<(), EngineError> {
        self.call()?;
        let mut watched = self.watched.borrow_mut();
        self.memory.write_told(batch, |write, before| watched.changed(write, before.as_ref()));
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        let mut watched = self.watched.borrow_mut();
        match &mut watched.syncs_before_failure {
            None => {}
            Some(0) => {
                (watched.syncs_before_failure, watched.has_failed_sync) = (None, true);
                return Err(EngineError::failed("a sync fails"));
            }
            Some(syncs) => *syncs -= 1,
        }
        self.memory.sync()
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        self.memory.disk_bytes()
    }
}
