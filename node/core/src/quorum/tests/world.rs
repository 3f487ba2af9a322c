//! The tests' world: three copies of a shard, and messages between them that may be lost, late or doubled.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::super::merge::admitted;
use super::super::merkle::compare::{Answer, Ask, Comparison, View, answer};
use super::super::needed::{Needed, WriteSets};
use super::super::page::Page;
use super::super::prepare::{Coordinator, Write};
use super::super::read::{ReadRound, ReadSets, ReadStep};
use super::super::shown::{Resolve, shown};
use super::super::write::{Outcome, Said, WriteRound, WriteStep};
use super::copy::{Copy, For, Pending, Reading, Writing};
use crate::engine::Engine;
use crate::ids::{Generation, ReplicaId};
use crate::record::{Context, Stamp, Stored};
use crate::time::Version;

pub(super) const COPIES: usize = 3;
const GENERATION: Generation = Generation(1);
/// Ticks after which writes and reads end.
const DEADLINE_TICKS: u64 = 40;
const WALL_MS: u64 = 1_000_000;
/// By how much the copies' clocks differ.
const SKEW_MS: [u64; COPIES] = [0, 150, 300];

/// What is known of keys: their writes that were acknowledged or shown.
pub(super) type Known = BTreeMap<Bytes, BTreeSet<Stamp>>;

/// A rule of those who run the parts that is broken, to see that it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relaxed {
    /// A copy confirms what its log does not have durably.
    ConfirmedBeforeDurable,
    /// A coordinator does not know its own writes until its store has them.
    OwnWritesForgotten,
    /// A coordinator sends a write without what it holds of the key.
    WriteSentAlone,
    /// Copies do not compare what they hold.
    NeverCompared,
}

pub(super) struct Message {
    to: usize,
    from: usize,
    body: Body,
}

#[derive(Clone)]
enum Body {
    Take(For, Vec<(Bytes, Bytes)>),
    Durable(For),
    Read(u64, Bytes),
    Page(u64, Page),
    Compare(u64, u64, Ask),
    Compared(u64, u64, Answer),
}

pub(super) struct World {
    pub(super) copies: Vec<Copy>,
    pub(super) messages: Vec<Message>,
    pub(super) resolve: Resolve,
    now: u64,
    number: u64,
    /// What each write had seen, exactly: all writes that its client had been shown, and what those had seen.
    pasts: BTreeMap<Stamp, BTreeSet<Stamp>>,
    /// What the client has of each key: the context, and the same as a set.
    client: BTreeMap<Bytes, (Context, BTreeSet<Stamp>)>,
    known: Known,
    pub(super) reads_answered: u64,
    pub(super) relaxed: Option<Relaxed>,
}

fn write_sets() -> WriteSets {
    let members = (0..COPIES as u64).map(ReplicaId).collect();
    WriteSets { generation: GENERATION, sets: vec![Needed { members, count: 2 }] }
}

fn at(copy: ReplicaId) -> usize {
    usize::try_from(copy.0).expect("there are few")
}

impl World {
    pub(super) fn new(resolve: Resolve) -> Self {
        let copies = (0..COPIES as u64).map(|id| Copy::new(ReplicaId(id))).collect();
        let (messages, pasts, client, known) = Default::default();
        Self { copies, messages, resolve, now: 0, number: 0, pasts, client, known, reads_answered: 0, relaxed: None }
    }

    pub(super) fn write(&mut self, by: usize, key: Bytes, value: Option<Bytes>, with_seen: bool) {
        self.number += 1;
        let (seen, stamps) =
            self.client.get(&key).filter(|_| with_seen || value.is_none()).cloned().unwrap_or_default();
        let write = Write { value, seen: Some(seen), ..Write::default() };
        let wall_ms = WALL_MS + self.now * 50 + SKEW_MS[by];
        let (resolve, copy) = (self.resolve, &mut self.copies[by]);
        let held = match self.relaxed {
            Some(Relaxed::OwnWritesForgotten) => copy.get(&key),
            Some(Relaxed::WriteSentAlone) => None,
            _ => copy.known(&key),
        };
        let floor = Version::default();
        let mut coordinator = Coordinator { resolve, clock: &mut copy.clock, wall_ms, floor };
        let Ok(prepared) = coordinator.prepare(held.as_ref(), write) else { return };
        self.pasts.insert(prepared.stamp, stamps);
        let deadline = self.now + DEADLINE_TICKS;
        let (round, steps) =
            WriteRound::begin(write_sets(), None, |_| false, self.now, deadline).expect("it is possible");
        let writing = Writing { round, key, record: prepared.record, stamp: prepared.stamp };
        copy.writes.insert(self.number, writing);
        self.act_on_write(by, self.number, steps);
    }

    pub(super) fn read(&mut self, by: usize, start: Bytes) {
        self.number += 1;
        // Any two of the three are asked first.
        let members = (0..COPIES).map(|i| ReplicaId(((i + by) % COPIES) as u64)).collect();
        let sets = ReadSets { read: Needed { members, count: 2 }, write: write_sets() };
        let deadline = self.now + DEADLINE_TICKS;
        let (round, steps) = ReadRound::begin(sets, None, self.now, deadline).expect("it is possible");
        let known = self.known.clone();
        self.copies[by].reads.insert(self.number, Reading { round, start, known });
        self.act_on_read(by, self.number, steps);
    }

    pub(super) fn compare(&mut self, by: usize, with: usize) {
        if by == with {
            return;
        }
        self.number += 1;
        let comparison = Comparison::begin(&self.copies[by].tree);
        self.copies[by].comparison = Some((with, self.number, comparison));
        self.ask(by);
    }

    pub(super) fn send_hints(&mut self, by: usize) {
        let copy = &mut self.copies[by];
        let targets: Vec<ReplicaId> = copy.hints.targets().collect();
        for to in targets {
            let turn = copy.hints.turn(to, b"", GENERATION, Version::default(), &copy.engine).expect("in memory");
            copy.engine.write(turn.writes).expect("it is in memory");
            for hint in turn.send {
                let entries = vec![(hint.key.clone(), hint.record.clone())];
                self.messages.push(Message { to: at(to), from: by, body: Body::Take(For::Hint(hint), entries) });
            }
        }
    }

    /// The copy's log is durable.
    pub(super) fn durable(&mut self, copy: usize) {
        for (to, what) in self.copies[copy].durable() {
            self.messages.push(Message { to, from: copy, body: Body::Durable(what) });
        }
    }

    pub(super) fn tick(&mut self, ticks: u64) {
        self.now += ticks;
        for by in 0..COPIES {
            let numbers: Vec<u64> = self.copies[by].writes.keys().copied().collect();
            for number in numbers {
                let steps = self.copies[by].writes.get_mut(&number).map(|writing| writing.round.tick(self.now));
                self.act_on_write(by, number, steps.unwrap_or_default());
            }
            let numbers: Vec<u64> = self.copies[by].reads.keys().copied().collect();
            for number in numbers {
                let steps = self.copies[by].reads.get_mut(&number).map(|reading| reading.round.tick(self.now));
                self.act_on_read(by, number, steps.unwrap_or_default());
            }
            self.ask(by);
        }
    }

    /// The first or the last record that is on its way to a copy arrives.
    pub(super) fn take(&mut self, to: usize, is_last: bool) {
        let is_it = |message: &Message| message.to == to && matches!(message.body, Body::Take(..));
        let messages = &self.messages;
        let found = if is_last { messages.iter().rposition(is_it) } else { messages.iter().position(is_it) };
        self.deliver(found.expect("there is one"), false);
    }

    /// All but records arrives.
    pub(super) fn deliver_answers(&mut self) {
        while let Some(at) = self.messages.iter().position(|message| !matches!(message.body, Body::Take(..))) {
            self.deliver(at, false);
        }
    }

    pub(super) fn lose(&mut self, message: usize) {
        self.messages.remove(message);
    }

    /// A message arrives; if it is doubled it will arrive once more.
    pub(super) fn deliver(&mut self, message: usize, is_doubled: bool) {
        let Message { to, from, body } = self.messages.remove(message);
        if is_doubled {
            self.messages.push(Message { to, from, body: body.clone() });
        }
        match body {
            Body::Take(what, entries) => {
                let wall_ms = WALL_MS + self.now * 50 + SKEW_MS[to];
                let admit = |record: &Bytes| admitted(record, wall_ms).expect("clocks differ by little");
                let entries = entries.iter().map(|(key, record)| (key.clone(), admit(record))).collect();
                let told = if self.relaxed == Some(Relaxed::ConfirmedBeforeDurable) {
                    self.messages.push(Message { to: from, from: to, body: Body::Durable(what) });
                    None
                } else {
                    Some((from, what))
                };
                self.copies[to].pending.push(Pending { entries, from: told });
            }
            Body::Durable(what) => self.confirmed(to, from, &what),
            Body::Read(number, start) => {
                let page = self.copies[to].page(&start);
                self.messages.push(Message { to: from, from: to, body: Body::Page(number, page) });
            }
            Body::Page(number, page) => {
                let Some(reading) = self.copies[to].reads.get_mut(&number) else { return };
                assert!(page.is_sound(&reading.start, None));
                let steps = reading.round.hear(ReplicaId(from as u64), GENERATION, page);
                self.act_on_read(to, number, steps);
            }
            Body::Compare(id, number, ask) => {
                let answer = answer(&ask, &self.copies[to].tree, &self.copies[to]).expect("a copy asks so");
                self.messages.push(Message { to: from, from: to, body: Body::Compared(id, number, answer) });
            }
            Body::Compared(id, number, answer) => self.compared(to, from, id, (number, answer)),
        }
    }

    fn confirmed(&mut self, to: usize, from: usize, what: &For) {
        let from_id = ReplicaId(from as u64);
        let copy = &mut self.copies[to];
        match what {
            For::Write(number) => {
                let Some(writing) = copy.writes.get_mut(number) else { return };
                let steps = writing.round.hear(from_id, GENERATION, Said::Durable, self.now);
                self.act_on_write(to, *number, steps);
            }
            For::Repair(number) => {
                let Some(reading) = copy.reads.get_mut(number) else { return };
                let steps = reading.round.repaired(from_id, GENERATION);
                self.act_on_read(to, *number, steps);
            }
            For::Hint(hint) => {
                let writes = copy.hints.confirmed(from_id, hint, &copy.engine).expect("it is in memory");
                copy.engine.write(writes).expect("it is in memory");
            }
            For::Push => {}
        }
    }

    fn act_on_write(&mut self, by: usize, number: u64, steps: Vec<WriteStep>) {
        let copy = &mut self.copies[by];
        let Some(writing) = copy.writes.get(&number) else { return };
        for step in steps {
            match step {
                // A coordinator knows its own write from now on, in the same step in which it is sent.
                WriteStep::Send(to, GENERATION) if at(to) == by => {
                    let entries = vec![(writing.key.clone(), writing.record.clone())];
                    copy.pending.push(Pending { entries, from: Some((by, For::Write(number))) });
                }
                WriteStep::Send(to, GENERATION) => {
                    let body = Body::Take(For::Write(number), vec![(writing.key.clone(), writing.record.encode())]);
                    self.messages.push(Message { to: at(to), from: by, body });
                }
                WriteStep::Answer(Outcome::Written) => {
                    self.known.entry(writing.key.clone()).or_default().insert(writing.stamp);
                }
                WriteStep::Answer(Outcome::Unknown) => {}
                WriteStep::Hint(to) => {
                    let kept = copy.hints.keep(to, &writing.key, &writing.record, GENERATION, &copy.engine);
                    copy.engine.write(kept.expect("it is in memory")).expect("it is in memory");
                }
                WriteStep::Send(..) | WriteStep::Learn(_) => panic!("there is one generation"),
            }
        }
        if writing.round.is_over() {
            copy.writes.remove(&number);
        }
    }

    fn act_on_read(&mut self, by: usize, number: u64, steps: Vec<ReadStep>) {
        for step in steps {
            let Some(reading) = self.copies[by].reads.get(&number) else { return };
            let (to, body) = match step {
                ReadStep::Ask(to, _) => (to, Body::Read(number, reading.start.clone())),
                ReadStep::Repair(to, _) => {
                    let lacking = reading.round.lacking(to).into_iter();
                    let entries = lacking.map(|(key, record)| (key, record.encode())).collect();
                    (to, Body::Take(For::Repair(number), entries))
                }
                ReadStep::Answer(page) => {
                    let reading = self.copies[by].reads.remove(&number).expect("it is there");
                    self.show(&reading, &page);
                    continue;
                }
                ReadStep::Unreachable => {
                    self.copies[by].reads.remove(&number);
                    continue;
                }
                ReadStep::Learn(_) => panic!("there is one generation"),
            };
            self.messages.push(Message { to: at(to), from: by, body });
        }
    }

    /// A reader is shown a page. It sees all that was acknowledged, or shown to others, before it began.
    fn show(&mut self, reading: &Reading, page: &Page) {
        self.reads_answered += 1;
        let is_within = |key: &Bytes| *key >= reading.start && page.next.as_ref().is_none_or(|next| key < next);
        for (key, known) in reading.known.iter().filter(|(key, _)| is_within(key)) {
            let record = page.entries.iter().find(|(of, _)| of == key).map(|(_, record)| record);
            let record = record.unwrap_or_else(|| panic!("{key:?} is known and not shown"));
            self.assert_seen(record, known);
        }
        for (key, record) in &page.entries {
            let seen = self.seen(record);
            let context = shown(key, Some(record), self.resolve, 0).context;
            self.client.insert(key.clone(), (context, seen));
            let stamps = record.values().map(|value| value.stamp);
            self.known.entry(key.clone()).or_default().extend(stamps);
        }
    }

    /// All writes that are in a record, or were seen by one in it.
    fn seen(&self, record: &Stored) -> BTreeSet<Stamp> {
        let stamps: Vec<Stamp> = record.values().map(|value| value.stamp).collect();
        let pasts = stamps.iter().filter_map(|stamp| self.pasts.get(stamp)).flatten();
        pasts.chain(&stamps).copied().collect()
    }

    fn assert_seen(&self, record: &Stored, known: &BTreeSet<Stamp>) {
        let (seen, newest) = (self.seen(record), record.newest.stamp);
        for stamp in known {
            let is_replaced = self.resolve == Resolve::LastWriterWins && *stamp < newest;
            assert!(is_replaced || seen.contains(stamp), "{stamp:?} is lost: {record:?}");
        }
    }

    fn ask(&mut self, by: usize) {
        let Some((with, id, comparison)) = &self.copies[by].comparison else { return };
        let Some((number, ask)) = comparison.ask() else { return };
        let body = Body::Compare(*id, number, ask.clone());
        self.messages.push(Message { to: *with, from: by, body });
    }

    fn compared(&mut self, by: usize, with: usize, id: u64, (number, answer): (u64, Answer)) {
        let Some((_, of, mut comparison)) = self.copies[by].comparison.take() else { return };
        if of == id {
            let copy = &mut self.copies[by];
            let before = comparison.ask().map(|(number, _)| number);
            let found = comparison.hear(number, answer, &copy.tree, copy).expect("it is sound");
            let record = |record: &Bytes| Stored::decode(record).expect("it was written");
            let entries: Vec<_> = found.merge.iter().map(|(key, bytes)| (key.clone(), record(bytes))).collect();
            if !entries.is_empty() {
                copy.pending.push(Pending { entries, from: None });
            }
            let held = found.push.iter().filter_map(|key| Some((key.clone(), copy.known(key)?.encode())));
            let push: Vec<_> = held.collect();
            if !push.is_empty() {
                self.messages.push(Message { to: with, from: by, body: Body::Take(For::Push, push) });
            }
            let is_news = before == Some(number);
            self.copies[by].comparison = Some((with, of, comparison));
            if is_news {
                self.ask(by);
            }
        } else {
            self.copies[by].comparison = Some((with, of, comparison));
        }
    }

    /// Nothing is lost any more, and all copies compare.
    pub(super) fn settle(&mut self) {
        self.quiet(DEADLINE_TICKS + 1);
        (0..COPIES).for_each(|by| self.send_hints(by));
        self.quiet(1);
        let is_left_out = self.relaxed == Some(Relaxed::NeverCompared);
        for (by, with) in [(0, 1), (1, 2), (2, 0), (0, 1), (1, 2)].into_iter().filter(|_| !is_left_out) {
            self.compare(by, with);
            self.quiet(1);
        }
    }

    fn quiet(&mut self, ticks: u64) {
        self.tick(ticks);
        for _ in 0..100_000 {
            (0..COPIES).for_each(|copy| self.durable(copy));
            if self.messages.is_empty() {
                return;
            }
            self.deliver(0, false);
        }
        panic!("messages have no end");
    }

    /// All copies hold the same; no acknowledged write is lost, and nothing that was replaced is there.
    pub(super) fn check(&self) {
        let records = self.copies[0].records();
        for copy in &self.copies {
            assert_eq!(copy.records(), records);
            assert_eq!(copy.tree.root(), copy.counted().root());
            assert_eq!(copy.tree.root(), self.copies[0].tree.root());
            assert_eq!(copy.hints.waiting(), (0, 0));
        }
        for (key, known) in &self.known {
            let record = records.iter().find(|(of, _)| of == key).map(|(_, record)| record);
            self.assert_seen(record.expect("a known key has a record"), known);
        }
        for (_, record) in &records {
            for value in record.values() {
                let past = self.pasts.get(&value.stamp).expect("somebody has written it");
                assert!(record.values().all(|other| !past.contains(&other.stamp)), "what was replaced is there");
            }
        }
    }
}
