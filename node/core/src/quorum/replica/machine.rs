//! What a copy holds: its records, their sums, and its state. Entries of the log are applied here, in order, by the bounds
//! of that moment, and nothing else is ever answered from.
//!
//! Several entries become one batch of the store. Until [`Machine::flush`] the store does not have it, and only what
//! applies entries knows of it.

use bytes::Bytes;

use super::ends::Ends;
use super::recent::Recent;
use super::records::Records;
use super::state::QuorumState;
use crate::engine::{Engine, EngineError, EngineWrite, data_key};
use crate::planted::{Planted, is_planted};
use crate::quorum::floor::{Floor, Refused, Swept};
use crate::quorum::journal::Journaled;
use crate::quorum::layout::Layout;
use crate::quorum::merge::taken;
use crate::quorum::merkle::{Grid, Tree};
use crate::record::{Stamp, Stored};
use crate::time::Version;

/// Bytes of changes that become one batch of the store, about: what a store takes in one go without making others wait.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Records that one step of a pass over all of them looks at, and their bytes: about a millisecond's reading.
pub(super) const SLICE_RECORDS: usize = 64;
pub(super) const SLICE_BYTES: usize = 256 << 10;

/// What became of an entry's records: for each whether the copy holds something else by it, or why it was not taken.
pub(super) type Taken = Vec<Result<bool, Refused>>;

/// Owner of what a copy holds.
#[derive(Debug)]
pub(super) struct Machine {
    state: QuorumState,
    tree: Tree,
    ends: Ends,
    /// What the store is to have with the next batch.
    batch: Vec<EngineWrite>,
    batch_bytes: usize,
    /// Records in that batch, and others that were written lately.
    recent: Recent,
    /// The state is another than the store has.
    is_changed: bool,
}

impl Machine {
    /// What the store has, as of the state's applied index.
    pub(super) fn open(state: QuorumState, engine: &dyn Engine) -> Result<Self, EngineError> {
        let (start, end) = state.range();
        // Where keys begin alike some leaves have far more records than others: those are compared piece by piece.
        let grid = Grid::even(start, end.map(|end| &end[..]));
        let tree = Tree::open(state.shard(), grid, engine)?;
        let (batch, recent, ends) = Default::default();
        Ok(Self { state, tree, ends, batch, batch_bytes: 0, recent, is_changed: false })
    }

    pub(super) fn state(&self) -> &QuorumState {
        &self.state
    }

    pub(super) fn layout(&self) -> &Layout {
        self.state.layout()
    }

    pub(super) fn floor(&self) -> &Floor {
        self.state.floor()
    }

    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// What comparisons have learnt of the records may take so much memory.
    pub(super) fn limit_pieces(&mut self, memory_max: usize) {
        self.tree.limit_pieces(memory_max);
    }

    /// Records that were written lately may take so much memory.
    pub(super) fn limit_recent(&mut self, bytes_max: usize) {
        self.recent.limit(bytes_max);
    }

    /// What is applied, to be looked at. Nothing may be between two entries.
    pub(super) fn records<'a>(&'a self, engine: &'a dyn Engine) -> Records<'a> {
        Records::new((&self.state, &self.recent), engine)
    }

    /// Applies the log's next entry.
    ///
    /// # Errors
    ///
    /// Of the store, and of records in it that this release cannot read.
    pub(super) fn apply(&mut self, index: u64, entry: &Journaled, engine: &dyn Engine) -> Result<Taken, EngineError> {
        let mut results = Vec::new();
        match entry {
            Journaled::Writes(writes) => {
                for (key, record, stamp) in writes {
                    results.push(self.take(key, record, Some(*stamp), engine)?);
                }
            }
            Journaled::Copies(copies) => {
                for (key, record) in copies {
                    results.push(self.take(key, record, None, engine)?);
                }
            }
            Journaled::Layout(layout) => self.state.hold(layout.clone()),
            Journaled::Bar(at) => self.state.floor_mut().raise_bar(*at),
            Journaled::Floor(at) => self.state.floor_mut().raise_floor(*at),
            Journaled::Elapsed(at) => self.state.floor_mut().raise_elapsed(*at),
            Journaled::Bounds(from) => self.state.floor_mut().take_over(from),
            Journaled::Copied { from, since } => self.state.has_copied_from(*from, *since),
        }
        self.state.stand_at(index);
        self.is_changed = true;
        if self.batch_bytes >= BATCH_BYTES_MAX {
            self.flush(engine)?;
        }
        Ok(results)
    }

    /// `stamp` = of the write that the record comes with. `None` = another copy holds the record.
    fn take(
        &mut self,
        key: &Bytes,
        record: &Bytes,
        stamp: Option<Stamp>,
        engine: &dyn Engine,
    ) -> Result<Result<bool, Refused>, EngineError> {
        let record = Stored::decode(record).map_err(EngineError::unreadable)?;
        let record = self.state.floor().without_ended(record);
        let held = self.records(engine).read_sized(key)?;
        let (held, held_bytes) = held.map_or((None, 0), |(held, bytes)| (Some(held), bytes));
        let (floor, is_complete) = (self.state.floor(), self.state.is_complete());
        let judged = match stamp {
            Some(stamp) => floor.take_write(stamp, held.as_ref(), record, is_complete),
            None if is_planted(Planted::JudgedEarly) => Ok(Some(record)),
            None => floor.take_copy(held.as_ref(), record, is_complete),
        };
        let record = match judged {
            Ok(record) => record,
            Err(refused) => return Ok(Err(refused)),
        };
        let merged = match record.map(|record| taken(held.as_ref(), &record)).transpose() {
            Ok(merged) => merged.flatten(),
            Err(too_much) => return Ok(Err(too_much.into())),
        };
        let Some(merged) = merged else { return Ok(Ok(false)) };
        self.put(key, (held.as_ref(), held_bytes), Some(merged));
        Ok(Ok(true))
    }

    /// True if the copy has all of a record that another copy holds: taken once more it would change nothing.
    ///
    /// # Errors
    ///
    /// Of the store, and of records that this release cannot read.
    pub(super) fn has(&self, key: &Bytes, record: &Bytes, engine: &dyn Engine) -> Result<bool, EngineError> {
        let record = Stored::decode(record).map_err(EngineError::unreadable)?;
        let held = self.records(engine).read(key)?;
        let left = self.state.floor().take_copy(held.as_ref(), record, self.state.is_complete());
        Ok(left.is_ok_and(|left| left.is_none_or(|left| taken(held.as_ref(), &left) == Ok(None))))
    }

    /// A key's record, of so many bytes as it is stored, becomes another one with the next batch.
    fn put(&mut self, key: &Bytes, (old, old_bytes): (Option<&Stored>, usize), new: Option<Stored>) {
        self.tree.changed(key, old, new.as_ref());
        let size = |record: Option<(&Stored, usize)>| {
            let counted = record.filter(|(record, _)| record.values().any(|value| !value.is_tombstone));
            counted.map_or(0, |(_, bytes)| (key.len() + bytes) as u64)
        };
        let encoded = new.as_ref().map(Stored::encode);
        let bytes = encoded.as_ref().map_or(0, Bytes::len);
        let before = size(old.map(|old| (old, old_bytes)));
        let after = size(new.as_ref().map(|new| (new, bytes)));
        let version = new.as_ref().map(|new| new.newest.stamp.version).unwrap_or_default();
        self.state.record_changed(before, after, version);
        new.iter().for_each(|new| self.ends.takes(new, self.state.floor().floor()));
        let at = data_key(self.state.table(), key);
        self.batch_bytes += at.len() + bytes;
        self.batch.push(match encoded {
            Some(stored) => {
                self.recent.put(key, stored.clone());
                EngineWrite::Put(at, stored)
            }
            None => {
                self.recent.remove(key);
                EngineWrite::Delete(at)
            }
        });
    }

    /// The store gets what was applied, as one batch.
    ///
    /// # Errors
    ///
    /// Of the store.
    pub(super) fn flush(&mut self, engine: &dyn Engine) -> Result<(), EngineError> {
        if !self.is_changed {
            return Ok(());
        }
        let mut batch = std::mem::take(&mut self.batch);
        batch.extend(self.tree.batch(self.state.applied()));
        batch.push(self.state.write());
        (self.batch_bytes, self.is_changed) = (0, false);
        engine.write(batch)?;
        self.recent.flushed();
        if self.tree.is_due() { self.save(engine) } else { Ok(()) }
    }

    /// The sums themselves instead of what batches add to them: before a sync, so that a start has little to add.
    ///
    /// # Errors
    ///
    /// Of the store.
    pub(super) fn save(&mut self, engine: &dyn Engine) -> Result<(), EngineError> {
        let writes = self.tree.save();
        if writes.is_empty() { Ok(()) } else { engine.write(writes) }
    }

    /// Milliseconds since 1970 at which the next of the values ends. `None` = none does, or it is not known yet.
    pub(super) fn ends_ms(&self) -> Option<u64> {
        self.ends.next_ms()
    }

    /// The lowest version of its values above its floor. `None` = there is none, or it is not known yet.
    pub(super) fn lowest_above(&self) -> Option<Version> {
        self.ends.lowest_above()
    }

    /// True if some of the values that have their bytes may have ended by the clocks of all copies.
    pub(super) fn has_ended(&self) -> bool {
        self.ends.may_have_ended(self.floor().elapsed().wall_ms())
    }

    /// Deletes, and values that have ended, go that are at or below the floor: of the next records from a key on. Each copy
    /// does that by itself, and not by its log: what is gone so counts as deleted for whoever asks. Gives the key to go on
    /// from; `None` = that was all.
    ///
    /// # Errors
    ///
    /// Of the store, and of records in it that this release cannot read.
    pub(super) fn sweep(
        &mut self,
        from: &Bytes,
        wall_ms: u64,
        engine: &dyn Engine,
    ) -> Result<Option<Bytes>, EngineError> {
        let (records, next) = self.records(engine).slice(from, SLICE_RECORDS, SLICE_BYTES)?;
        if from.is_empty() {
            self.ends.begin();
        }
        for (key, held) in records {
            let left = match self.state.floor().swept(&held, wall_ms) {
                Swept::Stays => {
                    self.ends.leaves(&held, self.state.floor().floor());
                    continue;
                }
                Swept::Becomes(left) => Some(*left),
                Swept::Goes => None,
            };
            self.put(&key, (Some(&held), held.encode().len()), left);
            self.is_changed = true;
        }
        if next.is_none() {
            self.ends.end();
        }
        self.flush(engine)?;
        Ok(next)
    }

    /// Goes on with the pass over all records that gives the sums, if the store had none. Returns whether there is one yet.
    ///
    /// # Errors
    ///
    /// Of the store, and of records in it that this release cannot read.
    pub(super) fn pass(&mut self, engine: &dyn Engine) -> Result<bool, EngineError> {
        let Some(from) = self.tree.passed().cloned() else { return Ok(false) };
        let (records, next) = self.records(engine).slice(&from, SLICE_RECORDS, SLICE_BYTES)?;
        self.tree.pass(records.iter().map(|(key, record)| (&key[..], record)), next.clone());
        Ok(next.is_some())
    }
}

#[cfg(test)]
mod tests;
