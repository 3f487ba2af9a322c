//! One copy of the tests' world: its store, what its log does not have durably yet, and what it coordinates.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::super::floor::{Floor, Refused};
use super::super::hints::{Hint, Hints};
use super::super::merge::{merge, taken};
use super::super::merkle::compare::{Comparison, View};
use super::super::merkle::node::Entry;
use super::super::merkle::{Grid, Tree};
use super::super::page::Page;
use super::super::prepare::StampClock;
use super::super::read::ReadRound;
use super::super::write::WriteRound;
use super::world::Known;
use crate::engine::{Engine, EngineWrite, data_end, data_key, encoded_key};
use crate::ids::{Generation, Incarnation, ReplicaId, ShardId, TableId};
use crate::record::{Actor, Stamp, Stored};
use crate::replica::tests::Memory;
use crate::time::Version;

const SHARD: ShardId = ShardId(3);
const TABLE: TableId = TableId(1);
/// Entries of a page, so that reads meet pages of different lengths.
const PAGE_MAX: usize = 2;

/// What a record was sent for, and what is told when it is durable.
#[derive(Debug, Clone)]
pub(super) enum For {
    /// A write of this number and stamp.
    Write(u64, Stamp),
    /// A read of this number repairs it.
    Repair(u64),
    /// It was kept for the copy.
    Hint(Hint),
    /// A comparison found it; nobody waits.
    Push,
}

/// What the copy's log has not durably yet.
pub(super) struct Pending {
    pub(super) entries: Vec<(Bytes, Stored)>,
    pub(super) what: For,
    /// Whom to tell, and the generation at which it came. `None` = nobody.
    pub(super) told: Option<(usize, Generation)>,
    /// The copy's bounds when it came.
    pub(super) judged_by: Floor,
}

/// A write that the copy coordinates.
pub(super) struct Writing {
    pub(super) round: WriteRound,
    pub(super) key: Bytes,
    pub(super) record: Stored,
    pub(super) stamp: Stamp,
}

/// A read that the copy coordinates.
pub(super) struct Reading {
    pub(super) round: ReadRound,
    pub(super) start: Bytes,
    /// What it must show.
    pub(super) known: Known,
    /// What it shows is shown by all later ones, too. While copies change, that is so for what is acknowledged alone.
    pub(super) shown_stays: bool,
}

pub(super) struct Copy {
    pub(super) id: ReplicaId,
    starts: u64,
    /// The layout that it holds durably; 0 = none.
    pub(super) held: Generation,
    /// Its disk is gone, and its id with it.
    pub(super) is_lost: bool,
    pub(super) floor: Floor,
    pub(super) is_complete: bool,
    /// From whom it has copied during the change, and at which layout.
    pub(super) copied: BTreeMap<ReplicaId, Generation>,
    pub(super) engine: Memory,
    pub(super) tree: Tree,
    pub(super) hints: Hints,
    pub(super) clock: StampClock,
    pub(super) pending: Vec<Pending>,
    applied: u64,
    pub(super) writes: BTreeMap<u64, Writing>,
    pub(super) reads: BTreeMap<u64, Reading>,
    /// With whom, and under which number.
    pub(super) comparison: Option<(usize, u64, Comparison)>,
}

fn grid() -> Grid {
    Grid::At([b"b", b"c"].map(|key| Bytes::from_static(key)).to_vec())
}

impl Copy {
    pub(super) fn new(id: ReplicaId, is_first: bool) -> Self {
        let engine = Memory::default();
        let mut tree = Tree::new(SHARD, grid());
        engine.write(tree.save()).expect("it is in memory");
        let hints = Hints::open(SHARD, &engine).expect("it is in memory");
        let clock = StampClock::new(Actor { replica: id, incarnation: Incarnation(1) });
        let (writes, reads) = Default::default();
        Self {
            id,
            starts: 1,
            held: Generation(u64::from(is_first)),
            is_lost: false,
            floor: if is_first { Floor::default() } else { Floor::bare() },
            is_complete: is_first,
            copied: BTreeMap::new(),
            engine,
            tree,
            hints,
            clock,
            pending: Vec::new(),
            applied: 0,
            writes,
            reads,
            comparison: None,
        }
    }

    /// The node ends and starts again: what was not durable is gone, and so is all that it coordinated.
    pub(super) fn restart(&mut self) {
        self.starts += 1;
        self.clock = StampClock::new(Actor { replica: self.id, incarnation: Incarnation(self.starts) });
        self.pending.clear();
        self.writes.clear();
        self.reads.clear();
        self.comparison = None;
        self.hints = Hints::open(SHARD, &self.engine).expect("it is in memory");
        self.tree = Tree::open(SHARD, grid(), &self.engine).expect("it is in memory");
        assert_eq!(self.tree.passed(), None, "nothing is scanned again");
        assert_eq!(self.tree.root(), self.counted().root());
    }

    /// The copy is over: all that it had is wiped.
    pub(super) fn wipe(&mut self) {
        *self = Self { held: self.held, starts: self.starts, clock: self.clock, ..Self::new(self.id, false) };
    }

    /// The tree, counted anew.
    pub(super) fn counted(&self) -> Tree {
        let mut tree = Tree::new(SHARD, grid());
        self.records().iter().for_each(|(key, record)| tree.changed(key, None, Some(record)));
        tree
    }

    pub(super) fn records(&self) -> Vec<(Bytes, Stored)> {
        let mut records = Vec::new();
        let mut visit = |key: &[u8], value: &[u8]| {
            let record = Stored::decode(&Bytes::copy_from_slice(value)).expect("it was written");
            records.push((Bytes::copy_from_slice(encoded_key(key)), record));
            ControlFlow::Continue(())
        };
        self.engine.scan(&data_key(TABLE, b""), &data_end(TABLE, None), &mut visit).expect("it is in memory");
        records
    }

    /// What the copy coordinates on: with what its log does not have durably yet.
    pub(super) fn known(&self, key: &[u8]) -> Option<Stored> {
        let mut held = self.get(key);
        for pending in &self.pending {
            for (_, record) in pending.entries.iter().filter(|(of, _)| *of == key) {
                if let Ok(Some(record)) = self.judge(&self.floor, &pending.what, held.as_ref(), record) {
                    held = Some(held.map_or_else(|| record.clone(), |held| merge(&held, &record)));
                }
            }
        }
        held
    }

    fn judge(
        &self,
        floor: &Floor,
        what: &For,
        held: Option<&Stored>,
        record: &Stored,
    ) -> Result<Option<Stored>, Refused> {
        match what {
            For::Write(_, stamp) => floor.take_write(*stamp, held, record.clone()),
            For::Hint(_) => floor.take_write(record.newest.stamp, held, record.clone()),
            For::Repair(_) | For::Push => floor.take_copy(held, record.clone(), self.is_complete),
        }
    }

    /// What the copy holds of a key becomes this.
    pub(super) fn put(&mut self, key: &Bytes, record: Option<&Stored>) {
        let old = self.get(key);
        self.tree.changed(key, old.as_ref(), record);
        let at = data_key(TABLE, key);
        let mut batch =
            vec![record.map_or_else(
                || EngineWrite::Delete(at.clone()),
                |record| EngineWrite::Put(at.clone(), record.encode()),
            )];
        self.applied += 1;
        batch.extend(self.tree.batch(self.applied));
        self.engine.write(batch).expect("it is in memory");
    }

    /// What waits is durable in the log now: it is applied by the bounds that the copy has by now, and told.
    pub(super) fn durable(&mut self, is_early: bool) -> Vec<(usize, For, Generation, Option<Refused>)> {
        let mut told = Vec::new();
        for Pending { entries, what, told: whom, judged_by } in std::mem::take(&mut self.pending) {
            let (mut batch, mut refused) = (Vec::new(), None);
            let floor = if is_early { judged_by } else { self.floor };
            for (key, record) in entries {
                let held = self.get(&key);
                let record = self.judge(&floor, &what, held.as_ref(), &record);
                refused = refused.or(record.as_ref().err().copied());
                let record = record.ok().flatten();
                let taken = record.map(|record| taken(held.as_ref(), &record).expect("no limit is met"));
                if let Some(merged) = taken.flatten() {
                    self.tree.changed(&key, held.as_ref(), Some(&merged));
                    batch.push(EngineWrite::Put(data_key(TABLE, &key), merged.encode()));
                }
            }
            self.applied += 1;
            batch.extend(self.tree.batch(self.applied));
            self.engine.write(batch).expect("it is in memory");
            told.extend(whom.map(|(to, generation)| (to, what, generation, refused)));
        }
        if self.applied.is_multiple_of(5) {
            self.engine.write(self.tree.save()).expect("it is in memory");
        }
        told
    }

    /// A page from a key on: of what is durable.
    pub(super) fn page(&self, start: &[u8]) -> Page {
        let mut rest = self.records().into_iter().filter(|(key, _)| **key >= *start);
        let entries = rest.by_ref().take(PAGE_MAX).collect();
        Page { entries, next: rest.next().map(|(key, _)| key), absence: self.absence() }
    }
}

impl View for Copy {
    fn leaf(&self, leaf: u16) -> Vec<Entry> {
        let records = self.records();
        let of_leaf = records.iter().filter(|(key, _)| self.tree.grid().leaf(key) == leaf);
        of_leaf.map(|(key, record)| Entry::of(key, record)).collect()
    }

    fn get(&self, key: &[u8]) -> Option<Stored> {
        let stored = self.engine.get(&data_key(TABLE, key)).expect("it is in memory");
        stored.map(|stored| Stored::decode(&stored).expect("it was written"))
    }

    fn absence(&self) -> Version {
        self.floor.absence(self.is_complete)
    }
}
