//! Which ranges of keys something on this node holds, by where they begin.
//!
//! The overlap rule: no two of these overlap, and nothing is made or wiped against another. A shard that was split, or a
//! copy of which only remains are left, has a range in common with shards of other ids; so it is never by a shard's id
//! that records are told to be nobody's.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::ids::{ReplicaId, ShardId, TableId};
use crate::map::Descriptor;

/// Keys of one table that follow one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// Table that the keys are of.
    pub table: TableId,
    /// First encoded key of the range.
    pub start: Bytes,
    /// First encoded key beyond; `None` = the table's end.
    pub end: Option<Bytes>,
}

impl KeyRange {
    /// The range of keys that a shard holds, by its descriptor.
    pub fn of(descriptor: &Descriptor) -> Self {
        let Descriptor { table, start, end, .. } = descriptor;
        Self { table: *table, start: start.clone(), end: end.clone() }
    }

    /// True if some key is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let is_one = !self.is_empty() && !other.is_empty() && self.table == other.table;
        is_one && is_below(&self.start, other.end.as_deref()) && is_below(&other.start, self.end.as_deref())
    }

    fn is_empty(&self) -> bool {
        !is_below(&self.start, self.end.as_deref())
    }
}

fn is_below(key: &[u8], end: Option<&[u8]>) -> bool {
    end.is_none_or(|end| key < end)
}

/// What is stored in a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// The records of a replica.
    Records,
    /// Pieces of a snapshot that is not complete, or records that a replica gave up for one.
    Remains,
    /// What nobody owns any more and is being wiped.
    Garbage,
}

/// A range of the store in which a replica's data lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Keys that the range covers.
    pub range: KeyRange,
    /// Shard of the replica that the data is of, or was of.
    pub shard: ShardId,
    /// Id of the replica that the data is of, or was of.
    pub replica: ReplicaId,
    /// What is stored in the range.
    pub content: Content,
}

impl Held {
    /// Shard and replica id that the data is of, or was of.
    pub fn copy(&self) -> (ShardId, ReplicaId) {
        (self.shard, self.replica)
    }
}

/// The ranges that are held, at most one for each copy.
#[derive(Debug, Default)]
pub struct Ranges {
    /// Table and first key of the range that each copy holds.
    of: BTreeMap<(ShardId, ReplicaId), (TableId, Bytes)>,
    /// The ranges by table and first key. None of these overlap.
    by_start: BTreeMap<(TableId, Bytes), Held>,
    /// What overlaps one of those, against the rule. It is never forgotten for that.
    crowded: Vec<Held>,
}

impl Ranges {
    /// Notes what a copy holds, in place of what it held before.
    pub fn put(&mut self, held: Held) {
        self.remove(held.copy());
        if held.range.is_empty() {
            return;
        }
        if self.find(&held.range, |_| true).is_some() {
            self.crowded.push(held);
            return;
        }
        let place = (held.range.table, held.range.start.clone());
        self.of.insert(held.copy(), place.clone());
        self.by_start.insert(place, held);
    }

    /// The copy holds nothing any more.
    pub fn remove(&mut self, copy: (ShardId, ReplicaId)) {
        if let Some(place) = self.of.remove(&copy) {
            self.by_start.remove(&place);
        }
        self.crowded.retain(|held| held.copy() != copy);
    }

    /// One that overlaps a range, among those that count.
    pub fn find(&self, range: &KeyRange, counts: impl Fn(&Held) -> bool) -> Option<&Held> {
        let place = (range.table, range.start.clone());
        let before = self.by_start.range(..=&place).next_back();
        let after = self.by_start.range((Bound::Excluded(&place), Bound::Unbounded));
        let after =
            after.take_while(|((table, start), _)| *table == range.table && is_below(start, range.end.as_deref()));
        let mut near = before.into_iter().chain(after).map(|(_, held)| held).chain(&self.crowded);
        near.find(|held| counts(held) && held.range.overlaps(range))
    }

    /// All of them, in no certain order.
    pub fn iter(&self) -> impl Iterator<Item = &Held> {
        self.by_start.values().chain(&self.crowded)
    }
}

#[cfg(test)]
mod tests;
