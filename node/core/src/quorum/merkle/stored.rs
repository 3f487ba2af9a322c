//! How a tree lies in the store.
//!
//! | key, after [`state::MERKLE`] | value |
//! |---|---|
//! | 0 | id of the grid |
//! | 1, slice | 32 sums |
//! | 2, number of the batch | (leaf, what it adds) each |

use std::ops::ControlFlow;

use bytes::Bytes;

use super::{Grid, LEAVES, SLICE_LEAVES, Tree, UNSAVED_MAX, leaves_of};
use crate::engine::{Engine, EngineError, EngineWrite, shard_key, state};
use crate::ids::ShardId;
use crate::key::prefix_end;

const GRID: u8 = 0;
const SLICE: u8 = 1;
const ADDED: u8 = 2;
const SUM_BYTES: usize = 16;
/// Bytes of a shard's key before the kind of a tree's part: family, shard, kind.
const SHARD_KEY_BYTES: usize = 10;

impl Tree {
    /// The tree that the store has of a shard: of exactly the records that it has. If it has none of this grid, the tree is
    /// at the beginning of a pass over all records.
    ///
    /// # Errors
    ///
    /// Of the store.
    pub fn open(shard: ShardId, grid: Grid, engine: &dyn Engine) -> Result<Self, EngineError> {
        let mut tree = Self::new(shard, grid);
        let start = shard_key(shard, state::MERKLE, &[]);
        let (mut is_of_grid, mut is_of_other) = (false, false);
        engine.scan(&start, &prefix_end(&start).unwrap_or_default(), &mut |key, value| {
            match key[SHARD_KEY_BYTES..] {
                [GRID] => {
                    is_of_grid = *value == tree.grid.id().to_be_bytes();
                    is_of_other = !is_of_grid;
                }
                [SLICE, slice] => {
                    for (leaf, sum) in leaves_of(slice).zip(value.chunks_exact(SUM_BYTES)) {
                        tree.add(leaf, sum_in(sum));
                    }
                }
                [ADDED, ref number @ ..] => {
                    for part in value.chunks_exact(2 + SUM_BYTES) {
                        let leaf = u16::from_be_bytes([part[0], part[1]]);
                        if usize::from(leaf) < LEAVES {
                            tree.add(leaf, sum_in(&part[2..]));
                        }
                    }
                    let number = number.first_chunk::<8>().map_or(0, |number| u64::from_be_bytes(*number));
                    tree.batch = number.max(tree.batch);
                    tree.unsaved.push(Bytes::copy_from_slice(key));
                }
                _ => {}
            }
            ControlFlow::Continue(())
        })?;
        tree.added.clear();
        tree.is_saved = is_of_grid;
        if !is_of_grid {
            let unsaved = std::mem::take(&mut tree.unsaved);
            // What the store has is another grid's, of these records, until one of them changes.
            drop(tree.begin_pass(tree.grid.clone()));
            (tree.unsaved, tree.is_of_other) = (unsaved, is_of_other);
        }
        Ok(tree)
    }

    /// What a batch that changes records has to hold as well. `number` is the copy's applied index; batches that have the
    /// same one are told apart here.
    pub fn batch(&mut self, number: u64) -> Option<EngineWrite> {
        let added = std::mem::take(&mut self.added);
        if !self.is_saved {
            // Additions count for nothing, before the leaves that they are to be added to are there.
            return std::mem::take(&mut self.is_of_other).then(|| EngineWrite::Delete(self.own(&[GRID])));
        }
        if added.is_empty() {
            return None;
        }
        self.batch = number.max(self.batch.saturating_add(1));
        let key = self.own(&[&[ADDED][..], &self.batch.to_be_bytes()].concat());
        let mut value = Vec::with_capacity(added.len() * (2 + SUM_BYTES));
        for (leaf, sum) in added {
            value.extend(leaf.to_be_bytes());
            value.extend(sum.to_be_bytes());
        }
        self.unsaved.push(key.clone());
        Some(EngineWrite::Put(key, value.into()))
    }

    /// True if the leaves are due to be saved though no sync is: a start would have to read many additions.
    pub fn is_due(&self) -> bool {
        self.unsaved.len() >= UNSAVED_MAX
    }

    /// Writes the slices that have changed, and deletes the additions of all batches until now. In one batch with all
    /// changes that the tree was told of and [`Self::batch`] was not called for; before a sync, so that little is left to
    /// be added at a start. Nothing while a pass runs.
    pub fn save(&mut self) -> Vec<EngineWrite> {
        let is_saved = self.is_saved && self.dirty.is_empty() && self.unsaved.is_empty();
        if self.passed.is_some() || is_saved {
            return Vec::new();
        }
        let grid = Bytes::copy_from_slice(&self.grid.id().to_be_bytes());
        let mut writes = vec![EngineWrite::Put(self.own(&[GRID]), grid)];
        for slice in std::mem::take(&mut self.dirty) {
            let mut value = Vec::with_capacity(SLICE_LEAVES * SUM_BYTES);
            leaves_of(slice).for_each(|leaf| value.extend(self.leaf(leaf).to_be_bytes()));
            writes.push(EngineWrite::Put(self.own(&[SLICE, slice]), value.into()));
        }
        writes.extend(self.unsaved.drain(..).map(EngineWrite::Delete));
        self.added.clear();
        (self.is_saved, self.is_of_other) = (true, false);
        writes
    }

    /// The store's tree is none any more.
    pub(super) fn void(&mut self) -> Vec<EngineWrite> {
        (self.is_saved, self.is_of_other) = (false, false);
        let grid = EngineWrite::Delete(self.own(&[GRID]));
        std::iter::once(grid).chain(self.unsaved.drain(..).map(EngineWrite::Delete)).collect()
    }

    fn own(&self, suffix: &[u8]) -> Bytes {
        shard_key(self.shard, state::MERKLE, suffix)
    }
}

fn sum_in(bytes: &[u8]) -> u128 {
    bytes.first_chunk::<SUM_BYTES>().map_or(0, |bytes| u128::from_be_bytes(*bytes))
}
