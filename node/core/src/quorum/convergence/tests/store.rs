//! A copy of the tests: what it holds durably, and what its log has not yet.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::super::{Convergence, Copy, Do, Pace, Then};
use crate::engine::Engine;
use crate::ids::{Generation, ReplicaId, ShardId};
use crate::quorum::copies::{Copies, Known};
use crate::quorum::floor::{Floor, Swept};
use crate::quorum::hints::Hints;
use crate::quorum::journal::Journaled;
use crate::quorum::layout::{Layout, Part};
use crate::quorum::merge::taken;
use crate::quorum::merkle::compare::{View, Visit};
use crate::quorum::merkle::span::Span;
use crate::quorum::merkle::{Grid, Tree};
use crate::quorum::message::Body;
use crate::record::{Actor, Context, Stamp, Stored, Value};
use crate::replica::tests::Memory;
use crate::time::Version;

pub(super) const SHARD: ShardId = ShardId(3);
pub(super) const WALL_MS: u64 = 1_000_000_000;

/// What a copy has on disk.
pub(super) struct Store {
    pub(super) id: ReplicaId,
    /// `None` = it has none yet.
    pub(super) layout: Option<Layout>,
    pub(super) floor: Floor,
    pub(super) copied: BTreeMap<ReplicaId, Generation>,
    pub(super) records: BTreeMap<Bytes, Stored>,
    pub(super) tree: Tree,
    pub(super) hints: Hints,
    pub(super) engine: Memory,
    /// The highest stamp that was ever here, by key.
    pub(super) highest: BTreeMap<Bytes, Stamp>,
    /// All values that were ever here, and whether each is a delete.
    pub(super) had: BTreeMap<(Bytes, Stamp), bool>,
    /// The highest floor that it had before it was complete: what is below may have been deleted before it came.
    pub(super) floor_when_new: Version,
    /// Copies whose disks are nearly full.
    pub(super) full: Vec<ReplicaId>,
    /// Records that were looked at, and their bytes.
    pub(super) records_read: Cell<usize>,
    pub(super) bytes_read: Cell<usize>,
    /// Entries of its log that were applied.
    pub(super) applied: u64,
}

/// The time of a call, and who is heard of.
pub(super) struct Moment<'a> {
    pub(super) ticks: u64,
    pub(super) wall_ms: u64,
    pub(super) is_heard: &'a dyn Fn(ReplicaId) -> bool,
}

/// A copy that runs.
pub(super) struct Member {
    pub(super) store: Store,
    pub(super) convergence: Convergence,
    pub(super) log: VecDeque<(Journaled, Then)>,
}

/// One write, by the rule that the last writer wins.
pub(super) fn record(version: Version, by: u64, value: &'static [u8]) -> Stored {
    let actor = Actor { replica: ReplicaId(by), ..Actor::default() };
    let stamp = Stamp { version, actor };
    let is_tombstone = value.is_empty();
    let value = Value { stamp, by_last_writer: true, is_tombstone, value: value.into(), ..Value::default() };
    Stored::new(value, Context::of_last_writer(stamp))
}

pub(super) fn copies(members: impl IntoIterator<Item = u64>) -> Copies {
    Copies { members: members.into_iter().map(ReplicaId).collect(), write: 2, read: 2 }
}

impl Store {
    pub(super) fn new(id: u64, grid: Grid) -> Self {
        let engine = Memory::default();
        Self {
            id: ReplicaId(id),
            layout: None,
            floor: Floor::bare(),
            copied: BTreeMap::new(),
            records: BTreeMap::new(),
            tree: Tree::new(SHARD, grid),
            hints: Hints::open(SHARD, &engine).expect("it is in memory"),
            engine,
            highest: BTreeMap::new(),
            had: BTreeMap::new(),
            floor_when_new: Version(0),
            full: Vec::new(),
            records_read: Cell::new(0),
            bytes_read: Cell::new(0),
            applied: 0,
        }
    }

    /// A copy of the shard's first layout.
    pub(super) fn first(id: u64, layout: &Layout, grid: Grid) -> Self {
        Self { layout: Some(layout.clone()), floor: Floor::default(), ..Self::new(id, grid) }
    }

    pub(super) fn generation(&self) -> Generation {
        self.layout.as_ref().map_or(Generation(0), |layout| layout.generation)
    }

    /// The layout that it acts on.
    pub(super) fn acts(&self) -> Option<&Layout> {
        self.layout.as_ref().filter(|layout| layout.part(self.id) != Part::Over)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.acts().is_some_and(|layout| layout.is_complete(self.id, self))
    }

    pub(super) fn put(&mut self, key: &Bytes, record: &Stored) {
        let old = self.records.get(key);
        let Ok(Some(merged)) = taken(old, record) else { return };
        self.tree.changed(key, old, Some(&merged));
        let highest = self.highest.entry(key.clone()).or_default();
        *highest = merged.newest.stamp.max(*highest);
        self.had.insert((key.clone(), merged.newest.stamp), merged.newest.is_tombstone);
        self.records.insert(key.clone(), merged);
    }

    /// An entry is durable in the log, and is applied.
    pub(super) fn apply(&mut self, entry: Journaled) {
        let is_complete = self.is_complete();
        self.applied += 1;
        match entry {
            Journaled::Writes(entries) => {
                for (key, record, stamp) in entries {
                    let record = self.floor.without_ended(Stored::decode(&record).expect("it was written"));
                    if let Ok(Some(record)) = self.floor.take_write(stamp, self.records.get(&key), record, is_complete)
                    {
                        self.put(&key, &record);
                    }
                }
            }
            Journaled::Copies(entries) => {
                for (key, record) in entries {
                    let record = self.floor.without_ended(Stored::decode(&record).expect("it was written"));
                    if let Ok(Some(record)) = self.floor.take_copy(self.records.get(&key), record, is_complete) {
                        self.put(&key, &record);
                    }
                }
            }
            Journaled::Layout(layout) => {
                assert!(layout.generation > self.generation());
                self.layout = Some(layout);
            }
            Journaled::Bar(at) => self.floor.raise_bar(at),
            Journaled::Floor(at) => self.floor.raise_floor(at),
            Journaled::Elapsed(at) => self.floor.raise_elapsed(at),
            Journaled::Bounds(bounds) => self.floor.take_over(&bounds),
            Journaled::Copied { from, since } => {
                self.copied.insert(from, since);
            }
        }
        if !self.is_complete() {
            self.floor_when_new = self.floor.floor();
        }
    }

    /// A pass over all records.
    pub(super) fn sweep(&mut self, wall_ms: u64) {
        for (key, record) in self.records.clone() {
            let left = match self.floor.swept(&record, wall_ms) {
                Swept::Stays => continue,
                Swept::Becomes(left) => Some(*left),
                Swept::Goes => None,
            };
            self.tree.changed(&key, Some(&record), left.as_ref());
            match left {
                Some(left) => drop(self.records.insert(key, left)),
                None => drop(self.records.remove(&key)),
            }
        }
    }

    /// A record is looked at. Its bytes.
    fn read(&self, key: &[u8], record: &Stored) -> usize {
        let bytes = key.len() + record.values().map(|value| value.value.len()).sum::<usize>();
        self.records_read.set(self.records_read.get() + 1);
        self.bytes_read.set(self.bytes_read.get() + bytes);
        bytes
    }

    /// A hint for a copy is lost: all must be compared with it.
    pub(super) fn lost(&mut self, to: ReplicaId) {
        let record = record(Version(1), 0, b"v");
        let kept =
            self.hints.keep(to, [(&b"k"[..], record.clone())], Generation(0), &self.engine).expect("it is in memory");
        self.engine.write(kept).expect("it is in memory");
        let turn = self.hints.turn(to, b"", Generation(1), Version(0), &self.engine).expect("it is in memory");
        self.engine.write(turn.writes).expect("it is in memory");
    }

    /// True if a write was here, or what replaced it, or if that was deleted before the copy came.
    pub(super) fn knows(&self, key: &Bytes, stamp: Stamp) -> bool {
        let had = self.highest.get(key).is_some_and(|highest| *highest >= stamp);
        had || stamp.version <= self.floor_when_new
    }

    /// When the next value ends of those that end above the floor.
    fn ends_ms(&self) -> Option<u64> {
        let ends = self.records.values().flat_map(Stored::values).filter_map(|value| value.expires_ms);
        ends.filter(|at| *at > self.floor.floor().wall_ms()).min()
    }

    fn last(&self) -> Version {
        self.highest.values().map(|highest| highest.version).max().unwrap_or_default()
    }

    /// The lowest version above its floor.
    fn above(&self) -> Option<Version> {
        let versions = self.records.values().flat_map(Stored::values).map(|value| value.stamp.version);
        versions.filter(|version| *version > self.floor.floor()).min()
    }

    fn copy<'a>(
        &'a self,
        layout: &'a Layout,
        moment: &'a Moment<'_>,
        (is_full, waiting): (&'a dyn Fn(ReplicaId) -> bool, usize),
    ) -> Copy<'a, Self> {
        Copy {
            id: self.id,
            layout,
            floor: &self.floor,
            is_complete: self.is_complete(),
            copied: &self.copied,
            ends_ms: self.ends_ms(),
            last: self.last(),
            above: self.above(),
            log: (self.applied, self.applied + waiting as u64),
            tree: &self.tree,
            view: self,
            hints: &self.hints,
            wall_ms: moment.wall_ms,
            ticks: moment.ticks,
            pace: Pace::default(),
            is_heard: moment.is_heard,
            is_full,
            is_own: &|key| key.len() == 8,
        }
    }
}

impl Known for Store {
    fn held(&self, copy: ReplicaId) -> Generation {
        if copy == self.id { self.generation() } else { Generation(0) }
    }

    fn is_lost(&self, _: ReplicaId) -> bool {
        false
    }

    fn has_copied(&self, by: ReplicaId, from: ReplicaId, since: Generation) -> bool {
        by == self.id && self.copied.get(&from).is_some_and(|copied| *copied >= since)
    }
}

impl View for Store {
    fn walk(&self, span: &Span, visit: &mut Visit<'_>) {
        for (key, record) in self.records.range(span.start.clone()..).take_while(|(key, _)| span.contains(key)) {
            let bytes = self.read(key, record);
            if visit(key, record, bytes).is_break() {
                break;
            }
        }
    }

    fn get(&self, key: &[u8]) -> Option<Stored> {
        let record = self.records.get(key);
        let _read = record.map(|record| self.read(key, record));
        record.cloned()
    }

    fn absence(&self) -> Version {
        self.floor.absence(self.is_complete())
    }
}

impl Member {
    pub(super) fn new(store: Store, seed: u64) -> Self {
        Self { store, convergence: Convergence::new(seed), log: VecDeque::new() }
    }

    /// What it sends.
    pub(super) fn act(
        &mut self,
        moment: &Moment<'_>,
        act: impl FnOnce(&mut Convergence, &Copy<'_, Store>) -> Vec<Do>,
    ) -> Vec<(ReplicaId, Body)> {
        let Some(layout) = self.store.layout.clone() else { return Vec::new() };
        let full = self.store.full.clone();
        let is_full = |copy| full.contains(&copy);
        let does = act(&mut self.convergence, &self.store.copy(&layout, moment, (&is_full, self.log.len())));
        let mut sent = Vec::new();
        for what in does {
            match what {
                Do::Send(to, body) => sent.push((to, body)),
                Do::Journal(entry, then) => self.log.push_back((entry, then)),
                Do::Compared { with, mark } => {
                    let writes = mark.map(|mark| self.store.hints.compared(with, mark)).unwrap_or_default();
                    self.store.engine.write(writes).expect("it is in memory");
                }
            }
        }
        sent
    }

    pub(super) fn tick(&mut self, moment: &Moment<'_>) -> Vec<(ReplicaId, Body)> {
        self.act(moment, Convergence::tick)
    }

    pub(super) fn hear(&mut self, from: u64, body: Body, moment: &Moment<'_>) -> Vec<(ReplicaId, Body)> {
        self.act(moment, |convergence, copy| convergence.hear(ReplicaId(from), body, copy))
    }

    /// The next entry of the log is durable.
    pub(super) fn durable(&mut self, moment: &Moment<'_>) -> Vec<(ReplicaId, Body)> {
        let Some((entry, then)) = self.log.pop_front() else { return Vec::new() };
        let is_layout = matches!(entry, Journaled::Layout(_));
        self.store.apply(entry);
        let mut sent = self.act(moment, |convergence, copy| convergence.applied(then, copy));
        if is_layout {
            sent.extend(self.act(moment, Convergence::layout_changed));
        }
        sent
    }
}
