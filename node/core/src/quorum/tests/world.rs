//! The tests' world: three copies of a shard and one that comes for the first of them, and messages between them that may
//! be lost, late or doubled.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::super::copies::Copies;
use super::super::floor::Refused;
use super::super::layout::{Layout, Part};
use super::super::merge::admitted;
use super::super::merkle::compare::{Answer, Ask, Comparison, View, answer};
use super::super::page::Page;
use super::super::prepare::{Coordinator, Write, may_coordinate};
use super::super::read::{ReadRound, ReadStep};
use super::super::shown::{Resolve, shown};
use super::super::write::{Outcome, Said, WriteRound, WriteStep};
use super::copy::{Copy, For, Pending, Reading, Writing};
use super::floors::Gathering;
use crate::engine::Engine;
use crate::ids::{Generation, ReplicaId};
use crate::record::{Context, Stamp, Stored};

pub(super) const COPIES: usize = 4;
/// Ticks after which writes and reads end.
pub(super) const DEADLINE_TICKS: u64 = 40;
pub(super) const WALL_MS: u64 = 1_000_000;
/// By how much the copies' clocks differ.
const SKEW_MS: [u64; COPIES] = [0, 150, 300, 50];
/// Milliseconds after which some values end.
const END_MS: u64 = 400;

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
    /// A copy coordinates writes that it is not sent itself.
    CoordinatesWhatItDoesNotTake,
    /// Copies do not compare what they hold.
    NeverCompared,
    /// What comes is judged by the bounds of the moment in which it comes, not in which it is applied.
    JudgedEarly,
}

pub(super) struct Message {
    pub(super) to: usize,
    from: usize,
    /// Of the request, also in an answer.
    generation: Generation,
    body: Body,
}

#[derive(Clone)]
enum Body {
    Take(For, Vec<(Bytes, Bytes)>),
    Durable(For),
    TooOld(For),
    Newer(u64, Generation),
    Read(u64, Bytes),
    Page(u64, Page),
    Compare(u64, u64, Ask),
    Compared(u64, u64, Answer),
}

pub(super) struct World {
    pub(super) copies: Vec<Copy>,
    pub(super) messages: Vec<Message>,
    pub(super) resolve: Resolve,
    pub(super) now: u64,
    number: u64,
    /// The shard's record at each generation, from 1 on.
    pub(super) layouts: Vec<Layout>,
    /// The copies that the shard may change to.
    pub(super) next: Copies,
    /// Reads see what was acknowledged before.
    pub(super) overlap: bool,
    pub(super) round: Option<Gathering>,
    /// What was let go below a floor, and what that had seen.
    pub(super) let_go: Known,
    /// What each write had seen, exactly: all writes that its client had been shown, and what those had seen.
    pub(super) pasts: BTreeMap<Stamp, BTreeSet<Stamp>>,
    /// What the client has of each key: the context, and the same as a set.
    client: BTreeMap<Bytes, (Context, BTreeSet<Stamp>)>,
    pub(super) known: Known,
    pub(super) reads_answered: u64,
    pub(super) relaxed: Option<Relaxed>,
}

pub(super) fn copies_of(members: std::ops::Range<u64>) -> Copies {
    Copies { members: members.map(ReplicaId).collect(), write: 2, read: 2 }
}

pub(super) fn at(copy: ReplicaId) -> usize {
    usize::try_from(copy.0).expect("there are few")
}

impl World {
    pub(super) fn new(resolve: Resolve) -> Self {
        Self::changing(resolve, copies_of(0..3), copies_of(1..4))
    }

    /// Copies that change from one set to the next one.
    pub(super) fn changing(resolve: Resolve, from: Copies, next: Copies) -> Self {
        let copies = (0..COPIES as u64).map(ReplicaId).map(|id| Copy::new(id, from.members.contains(&id))).collect();
        let (messages, pasts, client, known) = Default::default();
        Self {
            overlap: from.overlap() && next.overlap(),
            next,
            copies,
            messages,
            resolve,
            now: 0,
            number: 0,
            layouts: vec![Layout::settled(Generation(1), from)],
            round: None,
            let_go: Known::new(),
            pasts,
            client,
            known,
            reads_answered: 0,
            relaxed: None,
        }
    }

    pub(super) fn write(&mut self, by: usize, key: Bytes, value: Option<Bytes>, with_seen: bool) {
        self.write_until(by, key, value, with_seen, false);
    }

    pub(super) fn write_until(&mut self, by: usize, key: Bytes, value: Option<Bytes>, with_seen: bool, ends: bool) {
        let Some(layout) = self.acts(by).cloned() else { return };
        let may_coordinate = may_coordinate(self.copies[by].id, &layout, &self.copies[by].floor);
        if !may_coordinate && self.relaxed != Some(Relaxed::CoordinatesWhatItDoesNotTake) {
            return;
        }
        self.number += 1;
        let (seen, stamps) =
            self.client.get(&key).filter(|_| with_seen || value.is_none()).cloned().unwrap_or_default();
        let wall_ms = self.wall_ms(by);
        let expires_ms = ends.then_some(wall_ms + END_MS);
        let write = Write { value, expires_ms, seen: Some(seen), ..Write::default() };
        let (resolve, copy) = (self.resolve, &mut self.copies[by]);
        let held = match self.relaxed {
            Some(Relaxed::OwnWritesForgotten) => copy.get(&key),
            Some(Relaxed::WriteSentAlone) => None,
            _ => copy.known(&key),
        };
        let absence = copy.absence();
        let bar = copy.floor.bar();
        let mut coordinator = Coordinator { resolve, clock: &mut copy.clock, wall_ms, absence, bar };
        let Ok(prepared) = coordinator.prepare(held.as_ref(), write) else { return };
        self.pasts.insert(prepared.stamp, stamps);
        let deadline = self.now + DEADLINE_TICKS;
        let (round, steps) = WriteRound::begin(&layout, None, |_| false, self.now, deadline).expect("it is possible");
        let writing = Writing { round, key, record: prepared.record, stamp: prepared.stamp };
        copy.writes.insert(self.number, writing);
        self.act_on_write(by, self.number, steps);
    }

    pub(super) fn read(&mut self, by: usize, start: Bytes) {
        let Some(layout) = self.acts(by).cloned() else { return };
        self.number += 1;
        // Any two of the three are asked first.
        let nearest: Vec<_> = (0..COPIES).map(|i| ReplicaId(((i + by) % COPIES) as u64)).collect();
        let deadline = self.now + DEADLINE_TICKS;
        let (round, steps) = ReadRound::begin(&layout, &nearest, None, self.now, deadline).expect("it is possible");
        let known = if self.overlap { self.known.clone() } else { Known::new() };
        let shown_stays = self.overlap && layout.change.is_none();
        self.copies[by].reads.insert(self.number, Reading { round, start, known, shown_stays });
        self.act_on_read(by, self.number, steps);
    }

    pub(super) fn compare(&mut self, by: usize, with: usize) {
        if by == with || self.acts(by).is_none() || self.acts(with).is_none() || !self.copies[by].is_complete {
            return;
        }
        self.number += 1;
        let comparison = Comparison::begin(&self.copies[by].tree, &self.copies[by]);
        self.copies[by].comparison = Some((with, self.number, comparison));
        self.ask(by);
    }

    pub(super) fn send_hints(&mut self, by: usize) {
        if self.acts(by).is_none() {
            return;
        }
        let copy = &mut self.copies[by];
        let (generation, floor) = (copy.held, copy.floor.floor());
        let targets: Vec<ReplicaId> = copy.hints.targets().collect();
        for to in targets {
            let turn = copy.hints.turn(to, b"", generation, floor, &copy.engine).expect("in memory");
            copy.engine.write(turn.writes).expect("it is in memory");
            for hint in turn.send {
                let entries = vec![(hint.key.clone(), hint.record.clone())];
                self.messages.push(Message {
                    to: at(to),
                    from: by,
                    generation,
                    body: Body::Take(For::Hint(hint), entries),
                });
            }
        }
    }

    /// The copy's log is durable.
    pub(super) fn durable(&mut self, copy: usize) {
        let is_early = self.relaxed == Some(Relaxed::JudgedEarly);
        for (to, what, generation, refused) in self.copies[copy].durable(is_early) {
            let body = match refused {
                None => Body::Durable(what),
                Some(Refused::TooOld(_)) => Body::TooOld(what),
                Some(Refused::Bare) => continue,
            };
            self.messages.push(Message { to, from: copy, generation, body });
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
        let Message { to, from, generation, body } = self.messages.remove(message);
        if is_doubled {
            self.messages.push(Message { to, from, generation, body: body.clone() });
        }
        let held = self.copies[to].held;
        let is_request = matches!(body, Body::Take(..) | Body::Read(..) | Body::Compare(..));
        if is_request && (generation != held || self.acts(to).is_none()) {
            if let (Body::Take(For::Write(number, _), _), true) = (body, held > generation) {
                self.messages.push(Message { to: from, from: to, generation, body: Body::Newer(number, held) });
            }
            return;
        }
        match body {
            Body::Take(what, entries) => {
                let wall_ms = self.wall_ms(to);
                let admit = |record: &Bytes| admitted(record, wall_ms).expect("clocks differ by little");
                let entries = entries.iter().map(|(key, record)| (key.clone(), admit(record))).collect();
                let told = if self.relaxed == Some(Relaxed::ConfirmedBeforeDurable) {
                    self.messages.push(Message { to: from, from: to, generation, body: Body::Durable(what.clone()) });
                    None
                } else {
                    Some((from, generation))
                };
                let judged_by = self.copies[to].floor;
                self.copies[to].pending.push(Pending { entries, what, told, judged_by });
            }
            Body::Durable(what) => self.confirmed(to, from, generation, &what),
            Body::TooOld(For::Hint(hint)) => {
                let copy = &mut self.copies[to];
                let writes = copy.hints.refused(ReplicaId(from as u64), &hint, &copy.engine).expect("it is in memory");
                copy.engine.write(writes).expect("it is in memory");
            }
            Body::TooOld(For::Write(number, _)) => self.said(to, from, generation, number, Said::TooOld),
            Body::TooOld(_) => panic!("no bar refuses what a copy holds"),
            Body::Newer(number, newer) => self.said(to, from, generation, number, Said::Newer(newer)),
            Body::Read(number, start) => {
                let page = self.copies[to].page(&start);
                self.messages.push(Message { to: from, from: to, generation, body: Body::Page(number, page) });
            }
            Body::Page(number, page) => {
                let Some(reading) = self.copies[to].reads.get_mut(&number) else { return };
                assert!(page.is_sound(&reading.start, None));
                let steps = reading.round.hear(ReplicaId(from as u64), generation, page);
                self.act_on_read(to, number, steps);
            }
            Body::Compare(id, number, ask) => {
                let answer = answer(&ask, &self.copies[to].tree, &self.copies[to]).expect("a copy asks so");
                if let Ask::Slices(_, absence) = ask {
                    self.copies[to].floor.raise_floor(absence);
                }
                self.messages.push(Message {
                    to: from,
                    from: to,
                    generation,
                    body: Body::Compared(id, number, answer),
                });
            }
            Body::Compared(id, number, answer) => self.compared(to, from, id, (number, answer)),
        }
    }

    fn said(&mut self, to: usize, from: usize, generation: Generation, number: u64, said: Said) {
        let Some(writing) = self.copies[to].writes.get_mut(&number) else { return };
        let steps = writing.round.hear(ReplicaId(from as u64), generation, said, self.now);
        self.act_on_write(to, number, steps);
    }

    fn confirmed(&mut self, to: usize, from: usize, generation: Generation, what: &For) {
        let from_id = ReplicaId(from as u64);
        let copy = &mut self.copies[to];
        match what {
            For::Write(number, _) => self.said(to, from, generation, *number, Said::Durable),
            For::Repair(number) => {
                let Some(reading) = copy.reads.get_mut(number) else { return };
                let steps = reading.round.repaired(from_id, generation);
                self.act_on_read(to, *number, steps);
            }
            For::Hint(hint) => {
                let writes = copy.hints.confirmed(from_id, hint, &copy.engine).expect("it is in memory");
                copy.engine.write(writes).expect("it is in memory");
            }
            For::Push => {}
        }
    }

    pub(super) fn act_on_write(&mut self, by: usize, number: u64, steps: Vec<WriteStep>) {
        let copy = &mut self.copies[by];
        let Some(writing) = copy.writes.get(&number) else { return };
        let what = For::Write(number, writing.stamp);
        for step in steps {
            match step {
                // A coordinator knows its own write from now on, in the same step in which it is sent.
                WriteStep::Send(to, generation) if at(to) == by => {
                    let entries = vec![(writing.key.clone(), writing.record.clone())];
                    let (what, told, judged_by) = (what.clone(), Some((by, generation)), copy.floor);
                    copy.pending.push(Pending { entries, what, told, judged_by });
                }
                WriteStep::Send(to, generation) => {
                    let body = Body::Take(what.clone(), vec![(writing.key.clone(), writing.record.encode())]);
                    self.messages.push(Message { to: at(to), from: by, generation, body });
                }
                WriteStep::Answer(Outcome::Written) => {
                    self.known.entry(writing.key.clone()).or_default().insert(writing.stamp);
                }
                // It adopts a newer record by itself.
                WriteStep::Answer(Outcome::Unknown) | WriteStep::Learn(_) => {}
                WriteStep::Hint(to) => {
                    let kept =
                        copy.hints.keep(to, &writing.key, &writing.record, writing.round.generation(), &copy.engine);
                    copy.engine.write(kept.expect("it is in memory")).expect("it is in memory");
                }
            }
        }
        if writing.round.is_over() {
            copy.writes.remove(&number);
        }
    }

    fn act_on_read(&mut self, by: usize, number: u64, steps: Vec<ReadStep>) {
        for step in steps {
            let Some(reading) = self.copies[by].reads.get(&number) else { return };
            let generation = self.copies[by].held;
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
                ReadStep::Learn(_) => panic!("nobody refuses a read"),
            };
            self.messages.push(Message { to: at(to), from: by, generation, body });
        }
    }

    /// A reader is shown a page. It sees all that was acknowledged, or shown to others, before it began.
    fn show(&mut self, reading: &Reading, page: &Page) {
        self.reads_answered += 1;
        let is_within = |key: &Bytes| *key >= reading.start && page.next.as_ref().is_none_or(|next| key < next);
        for (key, known) in reading.known.iter().filter(|(key, _)| is_within(key)) {
            let record = page.entries.iter().find(|(of, _)| of == key).map(|(_, record)| record);
            self.assert_seen(key, record, known);
        }
        for (key, record) in &page.entries {
            let seen = self.seen(record);
            let context = shown(key, Some(record), self.resolve, 0).context;
            self.client.insert(key.clone(), (context, seen));
            let stamps = record.values().map(|value| value.stamp).filter(|_| reading.shown_stays);
            self.known.entry(key.clone()).or_default().extend(stamps);
        }
    }

    /// All writes that are in a record, or were seen by one in it.
    pub(super) fn seen(&self, record: &Stored) -> BTreeSet<Stamp> {
        let stamps: Vec<Stamp> = record.values().map(|value| value.stamp).collect();
        let pasts = stamps.iter().filter_map(|stamp| self.pasts.get(stamp)).flatten();
        pasts.chain(&stamps).copied().collect()
    }

    /// All that is known is there, or was replaced, or let go; and nothing is there that known writes have replaced.
    pub(super) fn assert_seen(&self, key: &Bytes, record: Option<&Stored>, known: &BTreeSet<Stamp>) {
        let seen = record.map(|record| self.seen(record)).unwrap_or_default();
        let by_last_writer = self.resolve == Resolve::LastWriterWins;
        let newest = record.map(|record| record.newest.stamp).filter(|_| by_last_writer);
        let empty = BTreeSet::new();
        let let_go = self.let_go.get(key).unwrap_or(&empty);
        for stamp in known {
            let is_replaced = newest.is_some_and(|newest| *stamp < newest);
            let is_let_go = let_go.contains(stamp) || by_last_writer && let_go.last().is_some_and(|last| last > stamp);
            assert!(is_replaced || is_let_go || seen.contains(stamp), "{stamp:?} is lost: {record:?}");
            assert!(newest.is_none_or(|newest| *stamp <= newest), "{newest:?} comes back after {stamp:?}");
            let replaced = self.pasts.get(stamp).unwrap_or(&empty);
            let returned = record.and_then(|record| record.values().find(|value| replaced.contains(&value.stamp)));
            assert!(returned.is_none(), "{returned:?} comes back after {stamp:?}");
        }
    }

    fn ask(&mut self, by: usize) {
        let Some((with, id, comparison)) = &self.copies[by].comparison else { return };
        let Some((number, ask)) = comparison.ask() else { return };
        let body = Body::Compare(*id, number, ask.clone());
        self.messages.push(Message { to: *with, from: by, generation: self.copies[by].held, body });
    }

    fn compared(&mut self, by: usize, with: usize, id: u64, (number, answer): (u64, Answer)) {
        let Some((_, of, mut comparison)) = self.copies[by].comparison.take() else { return };
        if of == id {
            let copy = &mut self.copies[by];
            let before = comparison.ask().map(|(number, _)| number);
            let found = comparison.hear(number, answer, &copy.tree, copy).expect("it is sound");
            copy.floor.raise_floor(found.absence);
            let (generation, judged_by) = (copy.held, copy.floor);
            let record = |record: &Bytes| Stored::decode(record).expect("it was written");
            let entries: Vec<_> = found.merge.iter().map(|(key, bytes)| (key.clone(), record(bytes))).collect();
            if !entries.is_empty() {
                copy.pending.push(Pending { entries, what: For::Push, told: None, judged_by });
            }
            let held = found.push.iter().filter_map(|key| Some((key.clone(), copy.known(key)?.encode())));
            let push: Vec<_> = held.collect();
            if !push.is_empty() {
                self.messages.push(Message { to: with, from: by, generation, body: Body::Take(For::Push, push) });
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

    /// A copy's layout, if it has one and is not over.
    pub(super) fn acts(&self, copy: usize) -> Option<&Layout> {
        let Copy { held, id, is_lost, .. } = self.copies[copy];
        let layout = self.layouts.get(usize::try_from(held.0).expect("there are few").checked_sub(1)?)?;
        (layout.part(id) != Part::Over && !is_lost).then_some(layout)
    }

    pub(super) fn wall_ms(&self, copy: usize) -> u64 {
        WALL_MS + self.now * 50 + SKEW_MS[copy]
    }
}
