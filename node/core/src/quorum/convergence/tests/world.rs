//! The tests' world: copies of one shard, and messages between them that may be lost, late or doubled. Layouts change, nodes
//! crash and fall silent, and some writes come to one copy alone.

use bytes::Bytes;

use super::super::numbers::Numbers;
use super::super::{Convergence, Then};
use super::store::{Member, Moment, Store, WALL_MS, copies, record};
use crate::engine::Engine;
use crate::ids::{Generation, ReplicaId};
use crate::quorum::copies::Known;
use crate::quorum::journal::Journaled;
use crate::quorum::layout::{Layout, Part, Stage};
use crate::quorum::merkle::Grid;
use crate::quorum::message::Body;
use crate::quorum::stage::Step;
use crate::time::{TICK_MS, Version};

pub(super) const COPIES: u64 = 5;
/// Enough for most writes to be the last one of their key for a while.
const KEYS: u64 = 300;
/// Milliseconds by which a write may be late: more than a bar is behind.
const LATE_MS: u64 = 90_000;

pub(super) struct Message {
    pub(super) from: ReplicaId,
    pub(super) to: ReplicaId,
    pub(super) generation: Generation,
    pub(super) body: Body,
}

pub(super) struct World {
    pub(super) members: Vec<Member>,
    pub(super) messages: Vec<Message>,
    /// The shard's record at each generation, from 1 on.
    pub(super) layouts: Vec<Layout>,
    pub(super) silent: Vec<bool>,
    /// Those whose logs get nothing durable.
    pub(super) hung: Vec<bool>,
    pub(super) ticks: u64,
    pub(super) drawn: Numbers,
    /// Nothing is lost, doubled or late any more.
    pub(super) is_calm: bool,
    /// How often a floor has risen while things failed.
    pub(super) floors: u64,
    is_turned_back: bool,
    counter: u64,
}

/// What is known of all copies, for steps of a change.
struct Reports<'a>(&'a [Member]);

impl Known for Reports<'_> {
    fn held(&self, copy: ReplicaId) -> Generation {
        self.0[at(copy)].store.generation()
    }

    fn is_lost(&self, _: ReplicaId) -> bool {
        false
    }

    fn has_copied(&self, by: ReplicaId, from: ReplicaId, since: Generation) -> bool {
        self.0[at(by)].store.has_copied(by, from, since)
    }
}

pub(super) fn at(copy: ReplicaId) -> usize {
    usize::try_from(copy.0).expect("there are few")
}

pub(super) fn key(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes())
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let first = Layout::settled(Generation(1), copies(0..3));
        // Few leaves, so that a comparison has few questions.
        let grid = || Grid::At((1..8).map(|leaf| Bytes::copy_from_slice(&[leaf * 32])).collect());
        let store = |id| if id < 3 { Store::first(id, &first, grid()) } else { Store::new(id, grid()) };
        Self {
            members: (0..COPIES).map(|id| Member::new(store(id), seed * 1_000 + id)).collect(),
            messages: Vec::new(),
            layouts: vec![first],
            silent: vec![false; at(ReplicaId(COPIES))],
            hung: vec![false; at(ReplicaId(COPIES))],
            ticks: 0,
            drawn: Numbers::new(seed),
            is_calm: false,
            floors: 0,
            is_turned_back: false,
            counter: 0,
        }
    }

    pub(super) fn wall_ms(&self) -> u64 {
        WALL_MS + self.ticks * TICK_MS
    }

    /// One of so many.
    fn one_of(&mut self, over: usize) -> usize {
        usize::try_from(self.drawn.spread(over as u64)).expect("it is less")
    }

    /// True once in so many times.
    fn is_once_in(&mut self, times: u64) -> bool {
        self.drawn.spread(times) == 0
    }

    /// Something happens at a copy; what it sends is on its way.
    fn at(&mut self, copy: usize, act: impl FnOnce(&mut Member, &Moment<'_>) -> Vec<(ReplicaId, Body)>) {
        let (silent, ticks, wall_ms) = (self.silent.clone(), self.ticks, self.wall_ms());
        let is_heard = |other: ReplicaId| !silent[copy] && !silent[at(other)];
        let member = &mut self.members[copy];
        let floor = member.store.floor.floor();
        let sent = act(member, &Moment { ticks, wall_ms, is_heard: &is_heard });
        let (from, generation) = (member.store.id, member.store.generation());
        self.messages.extend(sent.into_iter().map(|(to, body)| Message { from, to, generation, body }));
        if self.members[copy].store.floor.floor() > floor {
            self.floors += u64::from(!self.is_calm);
            self.check_floor(copy);
        }
    }

    /// All members of the copy's layout have all that any of them had at or below its floor.
    fn check_floor(&self, copy: usize) {
        let store = &self.members[copy].store;
        let floor = store.floor.floor();
        let Some(layout) = store.acts() else { return };
        let members = || layout.current.members.iter().map(|member| &self.members[at(*member)].store);
        for of in members() {
            for (key, stamp) in of.had.keys().filter(|(_, stamp)| stamp.version <= floor) {
                for by in members() {
                    assert!(by.knows(key, *stamp), "{:?} lacks {stamp:?} of {:?} below a floor", by.id, of.id);
                }
            }
        }
    }

    /// A tick passes: copies act, messages arrive, logs become durable.
    pub(super) fn tick(&mut self) {
        self.begin_tick();
        self.end_tick();
    }

    /// The copies act.
    pub(super) fn begin_tick(&mut self) {
        self.ticks += 1;
        for copy in 0..self.members.len() {
            self.at(copy, Member::tick);
        }
    }

    /// What is on its way arrives, some of it, and logs become durable, some of them.
    pub(super) fn end_tick(&mut self) {
        for _ in 0..self.messages.len() {
            if self.messages.is_empty() || !self.is_calm && self.is_once_in(3) {
                continue;
            }
            let place = if self.is_calm { 0 } else { self.one_of(self.messages.len()) };
            self.deliver(place);
        }
        for copy in 0..self.members.len() {
            while !self.hung[copy] && !self.members[copy].log.is_empty() && (self.is_calm || !self.is_once_in(2)) {
                self.at(copy, Member::durable);
            }
        }
    }

    fn deliver(&mut self, place: usize) {
        let Message { from, to, generation, body } = self.messages.remove(place);
        if self.silent[at(from)] || self.silent[at(to)] || !self.is_calm && self.is_once_in(20) {
            return;
        }
        if !self.is_calm && self.is_once_in(20) {
            self.messages.push(Message { from, to, generation, body: body.clone() });
        }
        let store = &self.members[at(to)].store;
        if store.generation() == generation && store.acts().is_some() {
            self.at(at(to), |member, moment| member.hear(from.0, body, moment));
        }
    }

    /// Something happens, or not.
    pub(super) fn happen(&mut self) {
        let copy = self.one_of(self.members.len());
        match self.drawn.spread(2_000) {
            0..160 => self.write(),
            160..168 => self.change(),
            168..268 => self.adopt(copy),
            268..271 => self.silent[copy] = true,
            271..281 => self.silent.fill(false),
            281..289 => self.hung[copy] = true,
            289..305 => self.hung.fill(false),
            305 => self.crash(copy),
            306..316 => self.sweep(copy),
            316..319 => {
                let to = ReplicaId(self.drawn.spread(COPIES));
                self.lose_a_hint(copy, to);
            }
            _ => {}
        }
    }

    pub(super) fn sweep(&mut self, copy: usize) {
        let wall_ms = self.wall_ms();
        self.members[copy].store.sweep(wall_ms);
    }

    /// A write comes to some of those who take it, or to one alone.
    fn write(&mut self) {
        self.counter += 1;
        let (key, is_delete) = (key(self.drawn.spread(KEYS)), self.is_once_in(3));
        let late_ms = if self.is_once_in(2) { self.drawn.spread(LATE_MS) } else { 0 };
        let version = Version(Version::at_ms(self.wall_ms() - late_ms).0 + self.counter);
        let record = record(version, self.drawn.spread(COPIES), if is_delete { b"" } else { b"v" });
        let stamp = record.newest.stamp;
        for copy in 0..self.members.len() {
            let is_named =
                self.members[copy].store.acts().is_some_and(|layout| layout.takes_writes(ReplicaId(copy as u64)));
            if is_named && !self.silent[copy] && !self.is_once_in(3) {
                let entry = Journaled::Writes(vec![(key.clone(), record.encode(), stamp)]);
                self.members[copy].log.push_back((entry, Then::Nothing));
            }
        }
    }

    /// The shard's record takes a step, if one is allowed: to other copies, or back. No id comes back, so no change follows
    /// on one that was given up.
    pub(super) fn change(&mut self) {
        let layout = self.layouts.last().expect("there is one").clone();
        let is_back = !self.is_calm && self.is_once_in(4);
        let lowest = layout.current.members.iter().map(|member| member.0).min().unwrap_or(0);
        let step = match layout.change.as_ref().map(|change| change.stage) {
            None if self.is_calm || self.is_turned_back || lowest + 3 >= COPIES => return,
            None => Step::Begin(copies(lowest + 1..lowest + 4)),
            Some(Stage::WriteBoth | Stage::ReadNew) if is_back => Step::Back,
            Some(Stage::WriteBoth) => Step::ReadNew,
            Some(Stage::ReadNew) => Step::NewOnly,
            Some(Stage::NewOnly) => Step::Settle,
        };
        if let Ok(next) = layout.after(&step, &Reports(&self.members)) {
            self.is_turned_back |= step == Step::Back && next.change.is_none();
            self.layouts.push(next);
        }
    }

    /// The newest layout goes into the copy's log.
    pub(super) fn adopt(&mut self, copy: usize) {
        let layout = self.layouts.last().expect("there is one").clone();
        let member = &mut self.members[copy];
        let is_new = member.store.layout.is_none() && layout.part(member.store.id) != Part::Comes;
        let is_in_log =
            |entry: &(Journaled, Then)| matches!(&entry.0, Journaled::Layout(of) if of.generation >= layout.generation);
        if layout.generation > member.store.generation() && !is_new && !member.log.iter().any(is_in_log) {
            member.log.push_back((Journaled::Layout(layout), Then::Nothing));
        }
    }

    /// What the log had not durably is gone, and so is all that was in memory.
    pub(super) fn crash(&mut self, copy: usize) {
        let seed = self.drawn.next();
        let member = &mut self.members[copy];
        member.log.clear();
        member.convergence = Convergence::new(seed);
    }

    /// A hint of an earlier generation is stale: all must be compared.
    pub(super) fn lose_a_hint(&mut self, copy: usize, to: ReplicaId) {
        let store = &mut self.members[copy].store;
        let record = record(Version(1), 0, b"v");
        let kept = store
            .hints
            .keep(to, [(&key(0)[..], record.clone())], Generation(0), &store.engine)
            .expect("it is in memory");
        store.engine.write(kept).expect("it is in memory");
        let turn = store.hints.turn(to, b"", Generation(1), Version(0), &store.engine).expect("it is in memory");
        store.engine.write(turn.writes).expect("it is in memory");
    }

    /// Nothing fails any more, and the change comes to its end. Returns after so many ticks.
    pub(super) fn settle(&mut self, ticks: u64) {
        self.is_calm = true;
        self.silent.fill(false);
        self.hung.fill(false);
        for i in 0..ticks {
            self.tick();
            if i % 20 == 0 {
                (0..self.members.len()).for_each(|copy| self.adopt(copy));
                self.change();
            }
            if i % 200 == 0 {
                (0..self.members.len()).for_each(|copy| self.sweep(copy));
            }
        }
    }

    /// The copies of the layout that the shard has come to.
    pub(super) fn settled(&self) -> Vec<&Store> {
        let layout = self.layouts.last().expect("there is one");
        assert_eq!(layout.change, None, "the change does not end");
        layout.current.members.iter().map(|member| &self.members[at(*member)].store).collect()
    }

    /// All copies hold the same, and of each key what was written last of all that any of them ever had.
    pub(super) fn check(&self) {
        let stores = self.settled();
        let first = stores[0];
        for store in &stores {
            assert_eq!(store.records, first.records, "{:?} and {:?} differ", store.id, first.id);
            assert_eq!(store.tree.root(), first.tree.root());
            let counted = store
                .records
                .iter()
                .fold(0_u128, |sum, (key, record)| sum.wrapping_add(crate::quorum::merkle::digest(key, record)));
            assert_eq!(store.tree.root(), counted);
        }
        for ((key, stamp), is_delete) in stores.iter().flat_map(|store| &store.had) {
            let held = first.records.get(key).map(|record| record.newest.stamp);
            let last = stores.iter().filter_map(|store| store.highest.get(key)).max();
            let is_forgotten = held.is_none() && *is_delete && last == Some(stamp);
            let is_older = last > Some(stamp);
            assert!(held == Some(*stamp) || is_older || is_forgotten, "{stamp:?} is lost, there is {held:?}");
            assert!(held.is_none_or(|held| Some(&held) == last), "{held:?} comes back after {last:?}");
        }
    }

    /// No hint is left that was lost and not compared.
    pub(super) fn check_marks(&self) {
        let stores = self.settled();
        for (of, with) in stores.iter().flat_map(|of| stores.iter().map(move |with| (of, with))) {
            let mark = of.hints.must_compare(with.id).filter(|_| of.id != with.id);
            assert_eq!(mark, None, "{:?} has not compared with {:?}", of.id, with.id);
        }
    }
}
