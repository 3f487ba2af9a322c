//! Hints: what a coordinator keeps for a copy that has not confirmed a write, to send it later (hinted handoff, as in
//! Dynamo and Cassandra). They make copies equal soon, and nothing rests on them: none counts toward W, and whatever is
//! not kept, or lost with a crash before a sync, is found by comparing trees ([`super::merkle`]).
//!
//! They lie in the family of shards' states, one for each copy and key: the newest that is known. What does not fit sets a
//! durable mark that all records must be compared with that copy.

mod turn;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;

pub use turn::Turn;

use super::merge::merge;
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

/// Owner of what is known of one copy's hints. Every change comes as writes, to be made in one batch with what caused it.
#[derive(Debug)]
pub struct Hints {
    shard: ShardId,
    targets: BTreeMap<ReplicaId, Target>,
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
        let mut hints = Self { shard, targets: BTreeMap::new() };
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

    /// Keeps a hint, merged with the one that is there. If it does not fit, all must be compared with the copy.
    ///
    /// # Errors
    ///
    /// Of the store.
    pub fn keep(
        &mut self,
        to: ReplicaId,
        key: &[u8],
        record: &Stored,
        generation: Generation,
        engine: &dyn Engine,
    ) -> Result<Vec<EngineWrite>, EngineError> {
        let at = self.key(to, key);
        let old = engine.get(&at)?;
        let held = old.as_ref().and_then(|old| Stored::decode(&old.slice(GENERATION_BYTES.min(old.len())..)).ok());
        let record = held.map_or_else(|| record.clone(), |held| merge(&held, record));
        let value = [&generation.0.to_be_bytes()[..], &record.encode()].concat();
        let target = self.targets.entry(to).or_default();
        let old_bytes = old.as_ref().map_or(0, |old| (key.len() + old.len()) as u64);
        let bytes = target.bytes.saturating_sub(old_bytes) + (key.len() + value.len()) as u64;
        if bytes > HINT_BYTES_MAX {
            return Ok(vec![self.lose(to)]);
        }
        target.hints += u64::from(old.is_none());
        target.bytes = bytes;
        Ok(vec![EngineWrite::Put(at, value.into())])
    }

    /// A copy has confirmed a hint that it was sent. One that was kept since, for the same key, stays.
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
        let at = self.key(to, &sent.key);
        let held = engine.get(&at)?.filter(|held| held.get(GENERATION_BYTES..) == Some(&sent.record[..]));
        let Some(held) = held else { return Ok(Vec::new()) };
        self.forget(to, sent.key.len() + held.len());
        Ok(vec![EngineWrite::Delete(at)])
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
        let start = self.key(gone, &[]);
        let (mut writes, mut bytes) = (Vec::new(), Vec::new());
        engine.scan(&start, &prefix_end(&start).unwrap_or_default(), &mut |at, value| {
            writes.push(EngineWrite::Delete(Bytes::copy_from_slice(at)));
            bytes.push(at.len().saturating_sub(SHARD_KEY_BYTES + 8) + value.len());
            if writes.len() < TURN_HINTS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        bytes.into_iter().for_each(|bytes| self.forget(gone, bytes));
        if writes.len() < TURN_HINTS_MAX {
            writes.push(EngineWrite::Delete(shard_key(self.shard, state::COMPARE, &gone.0.to_be_bytes())));
            self.targets.remove(&gone);
        }
        Ok(writes)
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

#[cfg(test)]
mod tests;
