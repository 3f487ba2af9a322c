//! Sums over what a copy holds, so that two copies find what differs without sending all of it (anti-entropy by Merkle
//! trees, as in Dynamo and Cassandra; sums that change with every record instead of hashes of hashes, as in Bellare and
//! Micciancio's incremental hashing, 1997).
//!
//! A shard has 1,024 leaves, each a range of keys, cut evenly: where keys begin alike, one of them may have all records, and
//! is compared piece by piece (`pieces`). A leaf is the sum, modulo 2^128, of a 128-bit hash of each record: of its
//! key, and of stamp and flags of each of its values, deletes included. What was seen does not count: copies that hold the
//! same values have seen the same, but for what one of them has let go below the tombstone floor.
//!
//! Every batch of the store that changes records also has what it adds to which leaf ([`Tree::batch`]), and with each
//! sync the leaves themselves are written and those additions deleted ([`Tree::save`]). So after a crash the leaves are
//! those of the records, whatever prefix of the batches the store has: nothing is scanned again.

pub mod compare;
mod grid;
mod pieces;
pub mod span;
mod stored;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

pub use grid::Grid;
use pieces::{Budget, Pieces, Split, Whole};
use span::{Span, Sum};
use view::View;

use crate::engine::EngineWrite;
use crate::ids::ShardId;
use crate::planted::{Planted, is_planted};
use crate::record::Stored;

/// Leaves of a shard.
pub const LEAVES: usize = 1_024;
/// Leaves that are written and compared together.
pub const SLICE_LEAVES: usize = 32;
/// Slices of a shard.
pub const SLICES: usize = LEAVES / SLICE_LEAVES;
/// Batches after which the leaves are due to be saved, though no sync was.
const UNSAVED_MAX: usize = 1_024;

/// Owner of the sums of one copy. 16 KiB once it has records.
#[derive(Debug, Clone)]
pub struct Tree {
    shard: ShardId,
    grid: Grid,
    /// Empty = all are zero.
    leaves: Vec<u128>,
    pieces: Pieces,
    /// What this batch adds, by leaf.
    added: BTreeMap<u16, u128>,
    /// Keys under which additions lie in the store.
    unsaved: Vec<Bytes>,
    /// Slices that have changed since they were saved.
    dirty: BTreeSet<u8>,
    /// Up to which key a pass over all records has come. `None` = there is none: the leaves are those of all records.
    passed: Option<Bytes>,
    /// The store has the tree, up to what is dirty.
    is_saved: bool,
    /// The store has a tree of another grid, which is void from the next change of a record on.
    is_of_other: bool,
    /// Number of the last batch that has additions.
    batch: u64,
}

/// What one record counts for in its leaf.
pub fn digest(key: &[u8], record: &Stored) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(&(key.len() as u64).to_be_bytes());
    hash.update(key);
    for value in record.values() {
        let is_left_out = value.is_tombstone && is_planted(Planted::DigestWithoutTombstones);
        if is_left_out && record.siblings.is_empty() {
            return 0;
        }
        hash.update(&value.stamp.version.0.to_be_bytes());
        hash.update(&value.stamp.actor.replica.0.to_be_bytes());
        hash.update(&value.stamp.actor.incarnation.0.to_be_bytes());
        // A value that has ended counts the same with its bytes and without: not all copies let go of them at a time.
        let is_delete = value.is_tombstone && value.expires_ms.is_none();
        hash.update(&[u8::from(is_delete), u8::from(value.expires_ms.is_some())]);
    }
    hash.digest128()
}

impl Tree {
    /// The tree of a shard without records. To be saved with the batch that makes the shard.
    pub fn new(shard: ShardId, grid: Grid) -> Self {
        Self {
            shard,
            grid,
            leaves: Vec::new(),
            pieces: Pieces::default(),
            added: BTreeMap::new(),
            unsaved: Vec::new(),
            dirty: BTreeSet::new(),
            passed: None,
            is_saved: false,
            is_of_other: false,
            batch: 0,
        }
    }

    /// How keys lie in leaves. Only trees of one grid can be compared.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The sum of a leaf.
    pub fn leaf(&self, leaf: u16) -> u128 {
        self.leaves.get(usize::from(leaf)).copied().unwrap_or(0)
    }

    /// The sum of a slice's leaves.
    pub fn slice(&self, slice: u8) -> u128 {
        leaves_of(slice).fold(0, |sum, leaf| sum.wrapping_add(self.leaf(leaf)))
    }

    /// The sum of all records.
    pub fn root(&self) -> u128 {
        self.leaves.iter().fold(0, |sum, leaf| sum.wrapping_add(*leaf))
    }

    /// A record has changed: by a write, a repair, a hint or a comparison, or because it was let go below the floor.
    pub fn changed(&mut self, key: &[u8], old: Option<&Stored>, new: Option<&Stored>) {
        if self.passed.as_ref().is_some_and(|passed| *key >= **passed) {
            return;
        }
        let count = |record: Option<&Stored>| record.map_or(0, |record| digest(key, record));
        let (leaf, more) = (self.grid.leaf(key), count(new).wrapping_sub(count(old)));
        self.pieces.changed(leaf, key, more, (old.is_some(), new.is_some()));
        self.add(leaf, more);
    }

    /// What a span of one of the leaves has. `None` = more was to be read than is allowed.
    fn sum(&self, span: &Span, view: &impl View, budget: &mut Budget) -> Option<Sum> {
        self.pieces.sum(&self.whole(span)?, span, view, budget)
    }

    /// What was cut may take so much memory from now on; with 0 it is forgotten, and read again if it is asked for.
    pub fn limit_pieces(&mut self, memory_max: usize) {
        self.pieces.limit(memory_max);
    }

    /// Keeps the memory of what was cut small. To be called between questions.
    fn trim(&self) {
        self.pieces.trim();
    }

    /// Parts a span of one of the leaves.
    fn split(&self, span: &Span, view: &impl View, budget: &mut Budget) -> Split {
        self.whole(span).map_or(Split::Empty, |leaf| self.pieces.split(&leaf, span, view, budget))
    }

    /// The leaf in which a span lies.
    fn whole(&self, span: &Span) -> Option<Whole> {
        let leaf = self.grid.leaf(&span.start);
        Some(Whole { leaf, span: Span::of_leaf(leaf, &self.grid)?, sum: self.leaf(leaf) })
    }

    /// Begins a pass over all records, for another grid. What the store has of the tree is void from the batch on that has
    /// these writes. Until the pass has ended the tree is nobody's to compare; what changes meanwhile counts.
    #[must_use]
    pub fn begin_pass(&mut self, grid: Grid) -> Vec<EngineWrite> {
        self.grid = grid;
        self.leaves.clear();
        self.pieces.clear();
        self.added.clear();
        self.dirty = (0..=u8::MAX).take(SLICES).collect();
        self.passed = Some(Bytes::new());
        self.void()
    }

    /// The next records of the pass: all from where it was up to `next`, as they are after every change that the tree was
    /// told of and before any other. `None` = up to the end.
    pub fn pass<'a>(&mut self, records: impl Iterator<Item = (&'a [u8], &'a Stored)>, next: Option<Bytes>) {
        for (key, record) in records {
            self.add(self.grid.leaf(key), digest(key, record));
        }
        self.passed = next;
    }

    /// Where the pass goes on. `None` = there is none, and the tree can be compared.
    pub fn passed(&self) -> Option<&Bytes> {
        self.passed.as_ref()
    }

    fn add(&mut self, leaf: u16, sum: u128) {
        if sum == 0 {
            return;
        }
        self.leaves.resize(LEAVES, 0);
        let at = &mut self.leaves[usize::from(leaf)];
        *at = at.wrapping_add(sum);
        let added = self.added.entry(leaf).or_default();
        *added = added.wrapping_add(sum);
        self.dirty.insert(slice_of(leaf));
    }
}

fn slice_of(leaf: u16) -> u8 {
    u8::try_from(usize::from(leaf) / SLICE_LEAVES).unwrap_or(u8::MAX)
}

/// The leaves of a slice; none of one that there is not.
fn leaves_of(slice: u8) -> impl Iterator<Item = u16> {
    let first = usize::from(slice) * SLICE_LEAVES;
    let end = (first + SLICE_LEAVES).min(LEAVES);
    (first..end).filter_map(|leaf| u16::try_from(leaf).ok())
}

#[cfg(test)]
mod tests;
