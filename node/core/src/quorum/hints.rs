//! Hints: what a coordinator keeps for a copy that has not confirmed a write, to send it later (hinted handoff, as in
//! Dynamo and Cassandra). They make copies equal soon, and nothing rests on them: none counts toward W, and whatever is
//! not kept, or lost with a crash before a sync, is found by comparing trees ([`super::merkle`]).
//!
//! They lie in the family of shards' states, one for each copy and key: the newest that is known. What does not fit sets a
//! durable mark that all records must be compared with that copy; so does what cannot be read.

mod turn;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;

pub use turn::Turn;

use super::alike::are_alike;
use super::merge::taken;
use crate::engine::{Engine, EngineError, EngineWrite, shard_key, state};
use crate::ids::{Generation, ReplicaId, ShardId};
use crate::key::prefix_end;
use crate::limits::HINT_BYTES_MAX;
use crate::record::Stored;

/// Hints that one turn looks at.
pub const TURN_HINTS_MAX: usize = 256;
/// Bytes that one turn sends; at least one hint is sent.
pub const TURN_BYTES_MAX: usize = 1 << 20;
/// Bytes of a shard's key before the replica's id: family, shard, kind.
const SHARD_KEY_BYTES: usize = 10;
const GENERATION_BYTES: usize = 8;

/// Owner of what is known of one copy's hints. Every change comes as writes, to be made in one batch with what caused it, in
/// the order in which they were given. Until the store has them they count here as if it had.
#[derive(Debug)]
pub struct Hints {
    shard: ShardId,
    targets: BTreeMap<ReplicaId, Target>,
    /// What was given to be written, and the store did not have yet when it was looked at last. `None` = a delete.
    given: BTreeMap<Bytes, Option<Bytes>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Target {
    hints: u64,
    bytes: u64,
    /// Counts what was not kept since all was compared last. 0 = nothing.
    lost: u64,
}

/// What is to be sent to a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// The encoded key of the record, within its table.
    pub key: Bytes,
    /// The record, as it is stored.
    pub record: Bytes,
}

impl Hints {
    /// What the store has of a shard's hints.
    ///
    /// # Errors
    ///
    /// Of the store.
    pub fn open(shard: ShardId, engine: &dyn Engine) -> Result<Self, EngineError> {
        let mut hints = Self { shard, targets: BTreeMap::new(), given: BTreeMap::new() };
        for kind in [state::HINT, state::COMPARE] {
            let start = shard_key(shard, kind, &[]);
            let end = prefix_end(&start).unwrap_or_default();
            engine.scan(&start, &end, &mut |key, value| {
                if let Some((to, rest)) = key[SHARD_KEY_BYTES..].split_first_chunk::<8>() {
                    let target = hints.targets.entry(ReplicaId(u64::from_be_bytes(*to))).or_default();
                    if kind == state::HINT {
                        target.hints += 1;
                        target.bytes += (rest.len() + value.len()) as u64;
                    } else {
                        target.lost = value.first_chunk::<8>().map_or(u64::MAX, |lost| u64::from_be_bytes(*lost));
                    }
                }
                ControlFlow::Continue(())
            })?;
        }
        Ok(hints)
    }

    /// Number and bytes of the hints that wait, for all copies together.
    pub fn waiting(&self) -> (u64, u64) {
        self.targets.values().fold((0, 0), |(hints, bytes), target| (hints + target.hints, bytes + target.bytes))
    }

    /// Copies for which hints wait.
    pub fn targets(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.targets.iter().filter(|(_, target)| target.hints > 0).map(|(to, _)| *to)
    }

    /// True if a copy lacks what was kept for it, or could not be kept.
    pub fn are_due(&self, to: ReplicaId) -> bool {
        self.targets.get(&to).is_some_and(|target| target.hints > 0 || target.lost > 0)
    }

    /// Keeps hints of different keys, each merged with the one that is there. If one does not fit, all must be compared with
    /// the copy.
    ///
    /// # Errors
    ///
    /// Of the store.
    pub fn keep<'a>(
        &mut self,
        to: ReplicaId,
        records: impl IntoIterator<Item = (&'a [u8], Stored)>,
        generation: Generation,
        engine: &dyn Engine,
    ) -> Result<Vec<EngineWrite>, EngineError> {
        // Once for all of them: a batch may have ten thousand keys.
        self.forget_written(engine)?;
        let mut writes = Vec::new();
        for (key, record) in records {
            writes.extend(self.keep_one(to, key, &record, generation, engine)?);
        }
        Ok(writes)
    }

    fn keep_one(
        &mut self,
        to: ReplicaId,
        key: &[u8],
        record: &Stored,
        generation: Generation,
        engine: &dyn Engine,
    ) -> Result<Vec<EngineWrite>, EngineError> {
        let at = self.key(to, key);
        let old = self.held(&at, engine)?;
        let held = old.as_ref().and_then(read);
        let is_unreadable = old.is_some() && held.is_none();
        let generation = held.as_ref().map_or(generation, |(of, _)| generation.max(*of));
        let merged = match held {
            None => Ok(record.clone()),
            Some((_, held)) => taken(Some(&held), record).map(|merged| merged.unwrap_or(held)),
        };
        let Ok(merged) = merged else { return Ok(vec![self.lose(to)]) };
        let value = [&generation.0.to_be_bytes()[..], &merged.encode()].concat();
        let target = self.targets.entry(to).or_default();
        let old_bytes = old.as_ref().map_or(0, |old| (key.len() + old.len()) as u64);
        let bytes = target.bytes.saturating_sub(old_bytes) + (key.len() + value.len()) as u64;
        if bytes > HINT_BYTES_MAX {
            return Ok(vec![self.lose(to)]);
        }
        target.hints += u64::from(old.is_none());
        target.bytes = bytes;
        let mut writes = vec![self.put(at, value.into())];
        writes.extend(is_unreadable.then(|| self.lose(to)));
        Ok(writes)
    }

    /// A copy has confirmed a hint that it was sent, perhaps without bytes that have ended. One that was kept since, for the
    /// same key, stays.
    ///
    /// # Errors
    ///
    /// Of the store.
    pub fn confirmed(
        &mut self,
        to: ReplicaId,
        sent: &Hint,
        engine: &dyn Engine,
    ) -> Result<Vec<EngineWrite>, EngineError> {
        self.forget_written(engine)?;
        let at = self.key(to, &sent.key);
        let held = self.held(&at, engine)?.filter(|held| is_of(held, &sent.record));
        let Some(held) = held else { return Ok(Vec::new()) };
        self.forget(to, sent.key.len() + held.len());
        Ok(vec![self.delete(at)])
    }

    /// A mark that all must be compared with a copy, to be given back when that is done. `None` = it need not.
    pub fn must_compare(&self, with: ReplicaId) -> Option<u64> {
        self.targets.get(&with).map(|target| target.lost).filter(|lost| *lost > 0)
    }

    /// All was compared with a copy, from after the mark was taken on. If more was lost since, the mark stays.
    pub fn compared(&mut self, with: ReplicaId, mark: u64) -> Vec<EngineWrite> {
        match self.targets.get_mut(&with) {
            Some(target) if target.lost == mark => {
                target.lost = 0;
                vec![EngineWrite::Delete(shard_key(self.shard, state::COMPARE, &with.0.to_be_bytes()))]
            }
            _ => Vec::new(),
        }
    }

    /// Ends all for copies that are none of the shard any more: a slice of it. To be called until it gives nothing.
    ///
    /// # Errors
    ///
    /// Of the store.
    pub fn retain(&mut self, members: &[ReplicaId], engine: &dyn Engine) -> Result<Vec<EngineWrite>, EngineError> {
        let Some(&gone) = self.targets.keys().find(|to| !members.contains(to)) else { return Ok(Vec::new()) };
        self.forget_written(engine)?;
        let start = self.key(gone, &[]);
        let end = prefix_end(&start).unwrap_or_default();
        let (mut held, mut looked): (BTreeMap<Bytes, usize>, usize) = (BTreeMap::new(), 0);
        engine.scan(&start, &end, &mut |at, value| {
            held.insert(Bytes::copy_from_slice(at), value.len());
            looked += 1;
            if looked < TURN_HINTS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        for (at, value) in self.given.range(start..end) {
            match value {
                Some(value) => drop(held.insert(at.clone(), value.len())),
                None => drop(held.remove(at)),
            }
        }
        let mut writes = Vec::new();
        for (at, bytes) in held {
            self.forget(gone, at.len().saturating_sub(SHARD_KEY_BYTES + 8) + bytes);
            writes.push(self.delete(at));
        }
        if looked < TURN_HINTS_MAX {
            writes.push(EngineWrite::Delete(shard_key(self.shard, state::COMPARE, &gone.0.to_be_bytes())));
            self.targets.remove(&gone);
        }
        Ok(writes)
    }

    /// What the store will have under a key.
    fn held(&self, at: &Bytes, engine: &dyn Engine) -> Result<Option<Bytes>, EngineError> {
        self.given.get(at).map_or_else(|| engine.get(at), |given| Ok(given.clone()))
    }

    /// Lets go what the store has by now: all of it, if each change is written before the next one is asked for.
    fn forget_written(&mut self, engine: &dyn Engine) -> Result<(), EngineError> {
        let mut waiting = BTreeMap::new();
        for (at, given) in std::mem::take(&mut self.given) {
            if engine.get(&at)? != given {
                waiting.insert(at, given);
            }
        }
        self.given = waiting;
        Ok(())
    }

    fn put(&mut self, at: Bytes, value: Bytes) -> EngineWrite {
        self.given.insert(at.clone(), Some(value.clone()));
        EngineWrite::Put(at, value)
    }

    fn delete(&mut self, at: Bytes) -> EngineWrite {
        self.given.insert(at.clone(), None);
        EngineWrite::Delete(at)
    }

    fn lose(&mut self, to: ReplicaId) -> EngineWrite {
        let target = self.targets.entry(to).or_default();
        target.lost = target.lost.saturating_add(1);
        let lost = Bytes::copy_from_slice(&target.lost.to_be_bytes());
        EngineWrite::Put(shard_key(self.shard, state::COMPARE, &to.0.to_be_bytes()), lost)
    }

    fn forget(&mut self, to: ReplicaId, bytes: usize) {
        let target = self.targets.entry(to).or_default();
        target.hints = target.hints.saturating_sub(1);
        target.bytes = target.bytes.saturating_sub(bytes as u64);
    }

    fn key(&self, to: ReplicaId, key: &[u8]) -> Bytes {
        shard_key(self.shard, state::HINT, &[&to.0.to_be_bytes()[..], key].concat())
    }
}

/// True if a record is what lies under a hint's key.
fn is_of(held: &Bytes, sent: &Bytes) -> bool {
    let are_records_alike = || Some(are_alike(&read(held)?.1, &Stored::decode(sent).ok()?));
    held.get(GENERATION_BYTES..) == Some(&sent[..]) || are_records_alike().unwrap_or(false)
}

/// What lies under a hint's key: the generation at which it was kept, and the record. `None` = it cannot be read.
fn read(value: &Bytes) -> Option<(Generation, Stored)> {
    let generation = value.first_chunk::<GENERATION_BYTES>().map(|bytes| Generation(u64::from_be_bytes(*bytes)))?;
    Some((generation, Stored::decode(&value.slice(GENERATION_BYTES..)).ok()?))
}

#[cfg(test)]
mod tests;
