//! One copy of the tests' world: its store, what its log does not have durably yet, and what it coordinates.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;

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
use crate::ids::{Incarnation, ReplicaId, ShardId, TableId};
use crate::record::{Actor, Stamp, Stored};
use crate::replica::tests::Memory;

const SHARD: ShardId = ShardId(3);
const TABLE: TableId = TableId(1);
/// Entries of a page, so that reads meet pages of different lengths.
const PAGE_MAX: usize = 2;

/// What a record was sent for, and what is told when it is durable.
#[derive(Debug, Clone)]
pub(super) enum For {
    /// A write of this number.
    Write(u64),
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
    /// Whom to tell. `None` = nobody.
    pub(super) from: Option<(usize, For)>,
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
}

pub(super) struct Copy {
    pub(super) id: ReplicaId,
    starts: u64,
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
    pub(super) fn new(id: ReplicaId) -> Self {
        let engine = Memory::default();
        let mut tree = Tree::new(SHARD, grid());
        engine.write(tree.save()).expect("it is in memory");
        let hints = Hints::open(SHARD, &engine).expect("it is in memory");
        let clock = StampClock::new(Actor { replica: id, incarnation: Incarnation(1) });
        let (writes, reads) = Default::default();
        Self {
            id,
            starts: 1,
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
        let waiting = self.pending.iter().flat_map(|pending| &pending.entries).filter(|(of, _)| *of == key);
        waiting.fold(self.get(key), |held, (_, record)| {
            Some(held.map_or_else(|| record.clone(), |held| merge(&held, record)))
        })
    }

    /// What waits is durable in the log now: it is applied, and told.
    pub(super) fn durable(&mut self) -> Vec<(usize, For)> {
        let mut told = Vec::new();
        for Pending { entries, from } in std::mem::take(&mut self.pending) {
            let mut batch = Vec::new();
            for (key, record) in entries {
                let held = self.get(&key);
                if let Some(merged) = taken(held.as_ref(), &record) {
                    self.tree.changed(&key, held.as_ref(), Some(&merged));
                    batch.push(EngineWrite::Put(data_key(TABLE, &key), merged.encode()));
                }
            }
            self.applied += 1;
            batch.extend(self.tree.batch(self.applied));
            self.engine.write(batch).expect("it is in memory");
            told.extend(from);
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
        Page { entries, next: rest.next().map(|(key, _)| key) }
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
}
