//! What a transfer sends: a shard's records and request ids as they are at one applied index, though the shard goes on.
//!
//! The store has no snapshots: whatever would be overwritten ahead of the cursor is kept here as it was (its
//! pre-image), and read in its place.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use bytes::Bytes;

use super::Pace;
use crate::engine::{Engine, EngineError, data_end, data_key};
use crate::map::Descriptor;
use crate::planted::{Planted, is_planted};
use crate::replica::state_machine::requests;

/// All of a transfer, in the parts that its progress is counted in.
pub(super) const WHOLE: u64 = 1 << 10;

/// Memory that a pre-image takes beside its record, about.
pub(super) const PREIMAGE_BYTES: usize = 128;

/// Records and request ids that are still to be read.
#[derive(Debug)]
pub(super) struct Source {
    first: Bytes,
    cursor: Bytes,
    end: Bytes,
    /// True once all records are read; request ids may be left.
    is_read: bool,
    preimages: BTreeMap<Bytes, Option<Bytes>>,
    preimage_bytes: usize,
    requests: VecDeque<(Bytes, Bytes)>,
}

impl Source {
    /// What the store holds of a shard now.
    pub(super) fn new(descriptor: &Descriptor, engine: &dyn Engine) -> Result<Self, EngineError> {
        let mut requests = VecDeque::new();
        let (first, end) = requests::stored_range(descriptor.shard);
        engine.scan(&first, &end, &mut |key, value| {
            requests.push_back((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            ControlFlow::Continue(())
        })?;
        if is_planted(Planted::RequestsMissingInSnapshot) {
            requests.clear();
        }
        let first = data_key(descriptor.table, &descriptor.start);
        Ok(Self {
            cursor: first.clone(),
            first,
            end: data_end(descriptor.table, descriptor.end.as_deref()),
            is_read: false,
            preimages: BTreeMap::new(),
            preimage_bytes: 0,
            requests,
        })
    }

    /// Memory that is kept of records that were overwritten, about.
    pub(super) fn preimage_bytes(&self) -> usize {
        self.preimage_bytes
    }

    /// True once every record and request id is read.
    pub(super) fn is_exhausted(&self) -> bool {
        self.is_read && self.requests.is_empty()
    }

    /// How many parts of [`WHOLE`] are read, about, by the place in the shard's range.
    pub(super) fn parts_read(&self) -> u64 {
        if self.is_read { WHOLE } else { parts_between(&self.first, &self.end, &self.cursor) }
    }

    /// Keeps what is about to be overwritten, if it was not read yet.
    pub(super) fn note(&mut self, key: &Bytes, engine: &dyn Engine) -> Result<(), EngineError> {
        if self.is_wanted(key) && !is_planted(Planted::SnapshotWithoutPreimage) {
            let old = engine.get(key)?;
            if old.is_some() || !is_planted(Planted::PreimageOfAbsentForgotten) {
                self.preimage_bytes += weight(key, old.as_ref());
                self.preimages.insert(key.clone(), old);
            }
        }
        Ok(())
    }

    /// Memory that what is stored under a key now would take, if it were overwritten.
    pub(super) fn would_keep(&self, key: &Bytes, engine: &dyn Engine) -> Result<usize, EngineError> {
        Ok(if self.is_wanted(key) { weight(key, engine.get(key)?.as_ref()) } else { 0 })
    }

    /// True for what is not read yet and not kept.
    fn is_wanted(&self, key: &Bytes) -> bool {
        let is_ahead = !self.is_read && *key >= self.cursor && *key < self.end;
        is_ahead && !self.preimages.contains_key(key)
    }

    /// What the next piece holds.
    pub(super) fn next(&mut self, engine: &dyn Engine, pace: &Pace) -> Result<Vec<(Bytes, Bytes)>, EngineError> {
        let mut records = Vec::new();
        if !self.is_read {
            records = self.read(engine, pace)?;
        }
        let mut bytes: usize = records.iter().map(|(k, v)| k.len() + v.len()).sum();
        while self.is_read && bytes < pace.piece_bytes {
            let Some((key, value)) = self.requests.pop_front() else { break };
            bytes += key.len() + value.len();
            records.push((key, value));
        }
        Ok(records)
    }

    /// The next records as they were at the snapshot's index: the store's, with the pre-images in their place.
    fn read(&mut self, engine: &dyn Engine, pace: &Pace) -> Result<Vec<(Bytes, Bytes)>, EngineError> {
        let (mut found, mut bytes) = (BTreeMap::new(), 0);
        let mut upto = None;
        engine.scan(&self.cursor, &self.end, &mut |key, value| {
            bytes += key.len() + value.len();
            found.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
            if bytes < pace.piece_bytes && found.len() < pace.piece_records {
                return ControlFlow::Continue(());
            }
            upto = Some(successor(key));
            ControlFlow::Break(())
        })?;
        self.is_read = upto.is_none();
        let upto = upto.unwrap_or_else(|| self.end.clone());
        let later = self.preimages.split_off(&upto);
        for (key, value) in std::mem::replace(&mut self.preimages, later) {
            self.preimage_bytes -= weight(&key, value.as_ref());
            match value {
                Some(value) => found.insert(key, value),
                None => found.remove(&key),
            };
        }
        self.cursor = upto;
        Ok(found.into_iter().collect())
    }
}

/// Where a key lies between two others, in parts of [`WHOLE`]: right where keys are hashes, a guess where they are words.
fn parts_between(first: &[u8], end: &[u8], key: &[u8]) -> u64 {
    let alike = first.iter().zip(end).take_while(|(a, b)| a == b).count();
    let place = |key: &[u8]| (alike..alike + 8).fold(0_u128, |n, at| n << 8 | u128::from(*key.get(at).unwrap_or(&0)));
    let (first, end, key) = (place(first), place(end), place(key));
    let parts = key.saturating_sub(first) * u128::from(WHOLE) / end.saturating_sub(first).max(1);
    u64::try_from(parts).unwrap_or(WHOLE).min(WHOLE)
}

/// Memory that a pre-image takes, about.
pub(super) fn weight(key: &Bytes, value: Option<&Bytes>) -> usize {
    key.len() + value.map_or(0, Bytes::len) + PREIMAGE_BYTES
}

fn successor(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineWrite;
    use crate::ids::{ShardId, TableId};
    use crate::replica::tests::Memory;

    const TABLE: TableId = TableId(1);
    const PACE: Pace = Pace { budget: 0, piece_bytes: 1_000, piece_records: 1 };

    fn key(name: &str) -> Bytes {
        data_key(TABLE, name.as_bytes())
    }

    fn write(engine: &Memory, name: &str, value: &'static str) {
        engine.write(vec![EngineWrite::Put(key(name), Bytes::from_static(value.as_bytes()))]).expect("it is in memory");
    }

    /// Two records, and the first of them is read.
    fn half_read(engine: &Memory) -> Source {
        ["a", "b"].iter().for_each(|name| write(engine, name, "old"));
        let descriptor = Descriptor { shard: ShardId(1), table: TABLE, ..Descriptor::default() };
        let mut source = Source::new(&descriptor, engine).expect("it is in memory");
        assert_eq!(source.next(engine, &PACE).expect("it is in memory"), [(key("a"), Bytes::from_static(b"old"))]);
        source
    }

    #[test]
    fn what_is_overwritten_ahead_of_the_cursor_is_read_as_it_was_and_kept_no_longer() {
        let engine = Memory::default();
        let mut source = half_read(&engine);
        source.note(&key("b"), &engine).expect("it is in memory");
        write(&engine, "b", "new");
        assert!(source.preimage_bytes() > 0 && source.parts_read() < WHOLE);
        assert_eq!(source.next(&engine, &PACE).expect("it is in memory"), [(key("b"), Bytes::from_static(b"old"))]);
        assert_eq!(source.preimage_bytes(), 0);
    }

    #[test]
    fn what_would_be_kept_is_what_is_stored_ahead_of_the_cursor_and_is_not_kept() {
        let engine = Memory::default();
        let mut source = half_read(&engine);
        let would = |source: &Source, name| source.would_keep(&key(name), &engine).expect("it is in memory");
        let expected = would(&source, "b");
        assert_eq!((would(&source, "a"), expected), (0, key("b").len() + 3 + PREIMAGE_BYTES));
        source.note(&key("b"), &engine).expect("it is in memory");
        assert_eq!((would(&source, "b"), source.preimage_bytes()), (0, expected));
    }

    #[test]
    fn nothing_is_kept_of_what_was_read_already() {
        let engine = Memory::default();
        let mut source = half_read(&engine);
        source.note(&key("a"), &engine).expect("it is in memory");
        assert_eq!(source.preimage_bytes(), 0);
        while !source.is_exhausted() {
            source.next(&engine, &PACE).expect("it is in memory");
        }
        source.note(&key("b"), &engine).expect("it is in memory");
        assert_eq!((source.preimage_bytes(), source.parts_read()), (0, WHOLE));
    }
}
