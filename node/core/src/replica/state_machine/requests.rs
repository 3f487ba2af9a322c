//! The table of request ids: what became of the latest writes, so that a retry takes effect once.
//!
//! Replicated: filled when commands are applied. Bounded by count: the requests that were issued first are forgotten
//! first, and whatever was issued at or before the last forgotten one is refused, never applied again. What is forgotten
//! is decided request by request, so every copy forgets the same, whatever the batches are in which it applies its log.
//! The store keeps the requests in groups, one for each engine batch, and the floor: together they are the whole table.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use crate::codec::{self, Undecodable};
use crate::command::{Outcome, RequestId};
use crate::engine::{Engine, EngineError, EngineWrite, shard_key, state};
use crate::ids::ShardId;
use crate::planted::{Planted, is_planted};
use crate::time::Version;

/// Requests that one shard remembers: about ten seconds of a shard's heaviest load. All copies of a shard must have the
/// same, so it is not a setting; tests make it small.
pub(crate) const REQUESTS_MAX: usize = 65_536;

/// The requests that a shard has applied, with their outcomes, so that a repeated one is not applied again.
#[derive(Debug)]
pub(in crate::replica) struct Requests {
    capacity: usize,
    /// All issued after `floor`.
    outcomes: BTreeMap<RequestId, Outcome>,
    /// The stored groups: the latest issue time in each, and the index that it was applied at.
    groups: BTreeSet<(Version, u64)>,
    floor: Version,
}

/// What is known of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// A request that was not applied before.
    New,
    /// Took its turn before, with this outcome.
    Repeated(Outcome),
    /// The request was issued at or before this version: whether it was applied is no longer remembered.
    TooOld(Version),
}

impl Requests {
    /// A table that remembers so many, at least one, and refuses what was issued at or before `floor`.
    pub(super) fn new(capacity: usize, floor: Version) -> Self {
        Self { capacity: capacity.max(1), outcomes: BTreeMap::new(), groups: BTreeSet::new(), floor }
    }

    /// The table as a shard's stored groups say.
    pub(super) fn load(
        capacity: usize,
        floor: Version,
        shard: ShardId,
        engine: &dyn Engine,
    ) -> Result<Self, EngineError> {
        let mut requests = Self::new(capacity, floor);
        if is_planted(Planted::RequestsForgottenAtOpen) {
            return Ok(requests);
        }
        let mut failed = None;
        let (first, end) = stored_range(shard);
        engine.scan(&first, &end, &mut |key, value| match requests.load_group(key, value) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        })?;
        failed.map_or(Ok(requests), |error| Err(EngineError::unreadable(error)))
    }

    /// An empty table of the same capacity, with its floor at 0.
    pub(super) fn emptied(&self) -> Self {
        Self::new(self.capacity, Version(0))
    }

    /// The same table, for so many requests, as the store has it at `floor`.
    pub(super) fn reloaded(&self, floor: Version, shard: ShardId, engine: &dyn Engine) -> Result<Self, EngineError> {
        Self::load(self.capacity, floor, shard, engine)
    }

    /// Requests issued at or before this version are refused: they may have been forgotten.
    pub(super) fn floor(&self) -> Version {
        self.floor
    }

    /// Number of requests that are remembered.
    pub(super) fn len(&self) -> usize {
        self.outcomes.len()
    }

    /// What is known of a request.
    pub(super) fn lookup(&self, request: &RequestId) -> Known {
        match self.outcomes.get(request) {
            Some(outcome) => Known::Repeated(*outcome),
            None if request.issued <= self.floor => Known::TooOld(self.floor),
            None => Known::New,
        }
    }

    /// Remembers an outcome in memory, and forgets the oldest if that is one too many; [`Self::group`] keeps it.
    pub(super) fn insert(&mut self, request: RequestId, outcome: Outcome) {
        self.outcomes.insert(request, outcome);
        if !is_planted(Planted::EvictionByBatch) {
            self.forget_oldest();
        }
    }

    /// Forgets down to the capacity. Requests that were issued at the same time as the last forgotten one go with it:
    /// the floor, which is all that outlives a restart, does not tell them apart.
    fn forget_oldest(&mut self) {
        while self.outcomes.len() > self.capacity {
            let Some((forgotten, _)) = self.outcomes.pop_first() else { return };
            self.floor = self.floor.max(forgotten.issued);
            if is_planted(Planted::ForgottenOneByOne) {
                continue;
            }
            while self.outcomes.first_key_value().is_some_and(|(request, _)| request.issued <= self.floor) {
                self.outcomes.pop_first();
            }
        }
    }

    /// The writes that keep the outcomes of one engine batch, and drop groups that are forgotten as a whole.
    pub(super) fn group(&mut self, shard: ShardId, index: u64, added: &[(RequestId, Outcome)]) -> Vec<EngineWrite> {
        if is_planted(Planted::EvictionByBatch) {
            self.forget_oldest();
        }
        let mut writes = Vec::new();
        if let Some(latest) = added.iter().map(|(r, _)| r.issued).max().filter(|latest| *latest > self.floor) {
            self.groups.insert((latest, index));
            writes.push(EngineWrite::Put(key(shard, index), codec::encode(&added)));
        }
        while let Some(&(latest, index)) = self.groups.first().filter(|(latest, _)| *latest <= self.floor) {
            writes.push(EngineWrite::Delete(key(shard, index)));
            self.groups.remove(&(latest, index));
        }
        writes
    }

    /// True if a stored group can be read.
    pub(in crate::replica) fn is_group(value: &[u8]) -> bool {
        codec::decode::<Vec<(RequestId, Outcome)>>("request ids", value).is_ok()
    }

    /// Takes in one stored group of requests.
    fn load_group(&mut self, stored_key: &[u8], value: &[u8]) -> Result<(), Undecodable> {
        let outcomes: Vec<(RequestId, Outcome)> = codec::decode("request ids", value)?;
        let index = stored_key.last_chunk::<8>().map(|b| u64::from_be_bytes(*b)).unwrap_or_default();
        if let Some(latest) = outcomes.iter().map(|(r, _)| r.issued).max() {
            self.groups.insert((latest, index));
        }
        self.outcomes.extend(outcomes.into_iter().filter(|(r, _)| r.issued > self.floor));
        Ok(())
    }

    /// Takes the table into a hash that is equal for equal tables.
    pub(super) fn hash(&self, hash: &mut Xxh3) {
        let mut bytes = Vec::with_capacity(64 * self.outcomes.len());
        for (request, outcome) in &self.outcomes {
            bytes.extend([request.issued.0, request.client, request.sequence].iter().flat_map(|n| n.to_be_bytes()));
            bytes.extend_from_slice(&codec::encode(outcome));
        }
        hash.update(&bytes);
        hash.update(&self.floor.0.to_be_bytes());
    }
}

/// The deletes of a shard's stored groups: of a copy that has ended, or of a snapshot that was broken off. Those of a
/// broken-off snapshot would say of commands which a later one has still to apply that they were applied before.
pub(crate) fn deletes(shard: ShardId, engine: &dyn Engine) -> Result<Vec<EngineWrite>, EngineError> {
    let mut writes = Vec::new();
    let (first, end) = stored_range(shard);
    engine.scan(&first, &end, &mut |key, _| {
        writes.push(EngineWrite::Delete(Bytes::copy_from_slice(key)));
        ControlFlow::Continue(())
    })?;
    Ok(writes)
}

/// Where the store has a shard's groups.
pub(in crate::replica) fn stored_range(shard: ShardId) -> (Bytes, Bytes) {
    (shard_key(shard, state::REQUESTS, &[]), shard_key(shard, state::REQUESTS + 1, &[]))
}

fn key(shard: ShardId, index: u64) -> Bytes {
    shard_key(shard, state::REQUESTS, &index.to_be_bytes())
}

#[cfg(test)]
mod tests;
