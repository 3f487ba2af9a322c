//! The one comparison at a time that a copy asks for, from its first question until both copies hold what the other one
//! held. What is pulled goes through this copy's log, and what is pushed through the other one's, before the next question:
//! so neither has more on its way than one answer, and who is done is done durably.
//!
//! ```text
//!   ask ──► answer ──► pulled is applied ──► pushed is confirmed ──► ask … done
//! ```

use std::collections::VecDeque;

use bytes::Bytes;

use super::copy::{Copy, Do, Then};
use crate::ids::{Generation, ReplicaId};
use crate::planted::{Planted, is_planted};
use crate::quorum::journal::Journaled;
use crate::quorum::merkle::compare::{Answer, Ask, Comparison, Found, Push, RECORD_BYTES_MAX, View, answer};
use crate::quorum::message::{Body, Entry, PUSH_MAX};
use crate::quorum::room::brings_no_value;
use crate::time::{TICK_MS, Version};

/// Ticks after which a question, or a push, is sent again: most answers come within one.
pub(super) const RESEND_TICKS: u64 = 20;
/// Ticks without anything new after which a comparison is given up: the other copy can be heard of and yet not answer, as
/// while its disk hangs.
const PATIENCE_TICKS: u64 = 10_000 / TICK_MS;
/// Ticks after which it is given up in any case. Far more than a whole copy of a shard takes; an end must be.
const LENGTH_TICKS_MAX: u64 = 3_600_000 / TICK_MS;
/// Questions in a row by which nothing was found, and by which nobody had to look through records to answer. Where copies
/// differ something is found a few steps down; where clients write all the time it may be equal by then, and so a few times
/// one after the other.
const BARREN_MAX: u32 = 512;

/// What a comparison is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It is time to.
    Due,
    /// A new copy copies.
    Copying,
    /// The round of this number gathers.
    Gather(u64),
    /// The round of this number spreads.
    Spread(u64),
}

/// What has become of what the other copy lacked when a comparison began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handed {
    /// The other copy durably holds all of it.
    Over,
    /// The other copy lacks something that was found.
    Lacking,
    /// The comparison was given up, and nothing was found by then that is not there.
    Unknown,
}

/// A comparison that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    /// The other copy.
    pub(super) with: ReplicaId,
    pub(super) why: Why,
    /// The hints' mark when it began.
    pub(super) mark: Option<u64>,
    /// The tick at which it began.
    pub(super) began: u64,
    /// Index of the last entry of this copy's log that was applied then: what came after that was not compared.
    pub(super) applied: u64,
    /// Each of both copies durably holds all that the other one held when it began. Else it was given up, or something
    /// could not be taken.
    pub(super) is_whole: bool,
    /// The half of that which matters to the other copy: one whose own disk is full can hand over all that it has.
    pub(super) handed: Handed,
}

/// What an answer has brought.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The other copy's absence; 0 = nothing was said of it.
    pub(super) absence: Version,
    pub(super) ended: Option<Ended>,
}

/// The comparison that is under way, if there is one.
#[derive(Debug, Default)]
pub(super) struct Comparing {
    active: Option<Active>,
    /// Number of the push that was sent last.
    pushes: u64,
}

#[derive(Debug)]
struct Active {
    number: u64,
    with: ReplicaId,
    why: Why,
    mark: Option<u64>,
    generation: Generation,
    /// Id of the grid that it began with.
    grid: u64,
    comparison: Comparison,
    /// Records that are still to be pushed.
    push: VecDeque<Push>,
    waits: Waits,
    times: Times,
    is_whole: bool,
    /// Something was found that the other copy lacks, and was not sent there: it has no room.
    has_left_out: bool,
}

/// For what a comparison waits.
#[derive(Debug)]
enum Waits {
    /// For the answer to its question.
    Answer,
    /// Until what it has pulled is applied.
    Applied,
    /// Until the push of this number, of these keys, is confirmed.
    Pushed(u64, Vec<Bytes>),
}

#[derive(Debug)]
struct Times {
    began: u64,
    /// Index of the last entry of the log that was applied when it began.
    applied: u64,
    sent: u64,
    progress: u64,
    barren: u32,
}

/// The answer to what another copy asks. `None` = no copy asks so.
pub(super) fn answered<V: View>(ask: &Ask, copy: &Copy<'_, V>) -> Option<Answer> {
    answer(ask, copy.tree, copy.view)
}

impl Comparing {
    /// `number` = the pushes are numbered from here on.
    pub(super) fn new(number: u64) -> Self {
        Self { active: None, pushes: number }
    }

    pub(super) fn is_free(&self) -> bool {
        self.active.is_none()
    }

    /// What the comparison under way is for.
    pub(super) fn why(&self) -> Option<Why> {
        self.active.as_ref().map(|active| active.why)
    }

    /// Begins to compare with a copy. Another comparison is forgotten.
    pub(super) fn begin<V: View>(
        &mut self,
        number: u64,
        with: ReplicaId,
        why: Why,
        copy: &Copy<'_, V>,
        out: &mut Vec<Do>,
    ) {
        if copy.tree.passed().is_some() {
            return;
        }
        let active = self.active.insert(Active {
            number,
            with,
            why,
            mark: copy.hints.must_compare(with),
            generation: copy.generation(),
            grid: copy.tree.grid().id(),
            comparison: Comparison::begin(copy.tree, copy.view),
            push: VecDeque::new(),
            waits: Waits::Answer,
            times: Times { began: copy.ticks, applied: copy.log.0, sent: copy.ticks, progress: copy.ticks, barren: 0 },
            is_whole: true,
            has_left_out: false,
        });
        active.send(copy, out);
    }

    /// An answer has come. One to an earlier question is ignored.
    pub(super) fn hear<V: View>(
        &mut self,
        from: ReplicaId,
        (comparison, number): (u64, u64),
        answer: Answer,
        copy: &Copy<'_, V>,
        out: &mut Vec<Do>,
    ) -> Told {
        let is_asked = |active: &&mut Active| active.is_asked(from, comparison, number, copy.generation());
        let Some(active) = self.active.as_mut().filter(is_asked) else { return Told::default() };
        let is_comparable = copy.tree.passed().is_none() && copy.tree.grid().id() == active.grid;
        if !is_comparable {
            return Told { ended: self.end(false), ..Told::default() };
        }
        let Ok(found) = active.comparison.hear(number, answer, copy.tree, copy.view) else {
            return Told { ended: self.end(false), ..Told::default() };
        };
        active.times.progress = copy.ticks;
        let absence = found.absence;
        let is_fruitless = active.take(found, copy, out);
        let ended = if is_fruitless { self.end(false) } else { self.go_on(copy, out) };
        Told { absence, ended }
    }

    /// What was pulled is applied.
    pub(super) fn applied<V: View>(&mut self, number: u64, copy: &Copy<'_, V>, out: &mut Vec<Do>) -> Option<Ended> {
        let waits = |active: &&mut Active| {
            active.number == number && matches!(active.waits, Waits::Applied) && active.generation == copy.generation()
        };
        let active = self.active.as_mut().filter(waits)?;
        active.waits = Waits::Answer;
        active.times.progress = copy.ticks;
        self.go_on(copy, out)
    }

    /// The other copy has what it was pushed.
    pub(super) fn pushed<V: View>(
        &mut self,
        from: ReplicaId,
        number: u64,
        copy: &Copy<'_, V>,
        out: &mut Vec<Do>,
    ) -> Option<Ended> {
        let waits = |active: &&mut Active| {
            let is_this = matches!(active.waits, Waits::Pushed(of, _) if of == number);
            is_this && active.with == from && active.generation == copy.generation()
        };
        let active = self.active.as_mut().filter(waits)?;
        active.waits = Waits::Answer;
        active.times.progress = copy.ticks;
        self.go_on(copy, out)
    }

    /// Sends again what was not answered, and gives up what gets nowhere.
    pub(super) fn tick<V: View>(&mut self, copy: &Copy<'_, V>, out: &mut Vec<Do>) -> Option<Ended> {
        let active = self.active.as_mut()?;
        let times = &active.times;
        let is_late = copy.ticks >= times.progress.saturating_add(PATIENCE_TICKS)
            || copy.ticks >= times.began.saturating_add(LENGTH_TICKS_MAX);
        if is_late || active.generation != copy.generation() || !(copy.is_heard)(active.with) {
            return self.end(false);
        }
        if copy.ticks >= times.sent.saturating_add(RESEND_TICKS) {
            active.send(copy, out);
        }
        None
    }

    /// Gives the comparison up.
    pub(super) fn give_up(&mut self) -> Option<Ended> {
        self.end(false)
    }

    /// The next push or question; the end, if there is none.
    fn go_on<V: View>(&mut self, copy: &Copy<'_, V>, out: &mut Vec<Do>) -> Option<Ended> {
        let active = self.active.as_mut()?;
        if matches!(active.waits, Waits::Applied) {
            return None;
        }
        let piece = active.piece(copy);
        if !piece.is_empty() {
            self.pushes = self.pushes.wrapping_add(1);
            active.waits = Waits::Pushed(self.pushes, piece);
            if is_planted(Planted::PushNotAwaited) {
                active.send(copy, out);
                active.waits = Waits::Answer;
                return self.go_on(copy, out);
            }
        } else if active.comparison.ask().is_none() {
            return self.end(true);
        }
        active.send(copy, out);
        None
    }

    fn end(&mut self, is_done: bool) -> Option<Ended> {
        let active = self.active.take()?;
        let handed = active.handed(is_done);
        let Active { with, why, mark, times, is_whole, .. } = active;
        let Times { began, applied, .. } = times;
        Some(Ended { with, why, mark, began, applied, is_whole: is_whole && is_done, handed })
    }
}

impl Active {
    fn is_asked(&self, from: ReplicaId, comparison: u64, number: u64, generation: Generation) -> bool {
        let is_it = self.with == from && self.number == comparison && self.generation == generation;
        let asked = self.comparison.ask().map(|(number, _)| number);
        is_it && matches!(self.waits, Waits::Answer) && asked == Some(number)
    }

    /// Notes what was found: records that are pulled go to the log. True if it gets nowhere: too many questions have found
    /// nothing, or a new copy has no room for what it copies.
    fn take<V: View>(&mut self, found: Found, copy: &Copy<'_, V>, out: &mut Vec<Do>) -> bool {
        let is_barren = found.push.is_empty() && found.merge.is_empty() && !found.is_work;
        self.times.barren = if is_barren { self.times.barren + 1 } else { 0 };
        self.push.extend(found.push);
        let count = found.merge.len();
        let merge = if copy.takes() { copy.sound(found.merge) } else { Vec::new() };
        let is_short = copy.takes() && merge.len() < count;
        // Who only hands over is done without what others hold.
        self.is_whole &= !is_short || is_planted(Planted::UntakenCounted);
        if !merge.is_empty() {
            out.push(Do::Journal(Journaled::Copies(merge), Then::Continue(self.number)));
            if !is_planted(Planted::PulledNotAwaited) {
                self.waits = Waits::Applied;
            }
        }
        // Without room for what others hold there is nothing to be gained by asking for more of it. What they lack is handed over
        // all the same: deletes make room there, and may be nowhere else.
        let is_without_room = is_short && !copy.has_room();
        let hands_over = self.why != Why::Copying && !is_planted(Planted::FullHandsNothingOver);
        if is_without_room && hands_over {
            self.comparison.only_hand_over(copy.tree, copy.view);
        }
        self.times.barren > BARREN_MAX || is_without_room && !hands_over
    }

    /// The keys that are pushed next: of records that are there. A single record may be longer than all may be together. A
    /// copy without room is sent deletes alone: what was a value when it was found is not read again for it.
    fn piece<V: View>(&mut self, copy: &Copy<'_, V>) -> Vec<Bytes> {
        let (mut piece, mut bytes, is_full) = (Vec::new(), 0, (copy.is_full)(self.with));
        while piece.len() < PUSH_MAX && bytes < RECORD_BYTES_MAX {
            let Some(Push { key, has_value }) = self.push.pop_front() else { break };
            if is_full && has_value {
                self.leave_out();
                continue;
            }
            let record = copy.view.get(&key);
            if record.as_ref().is_some_and(|record| is_full && !brings_no_value(None, record)) {
                self.leave_out();
                continue;
            }
            if let Some(record) = record {
                bytes += key.len() + record.encode().len();
                piece.push(key);
            }
        }
        piece
    }

    fn leave_out(&mut self) {
        (self.is_whole, self.has_left_out) = (false, true);
    }

    /// What has become of what the other copy lacked, when it ends.
    fn handed(&self, is_done: bool) -> Handed {
        let is_on_its_way = !self.push.is_empty() || matches!(self.waits, Waits::Pushed(..));
        match (self.has_left_out || is_on_its_way, is_done) {
            (true, _) => Handed::Lacking,
            (false, true) => Handed::Over,
            (false, false) => Handed::Unknown,
        }
    }

    /// Sends what it waits for, perhaps again.
    fn send<V: View>(&mut self, copy: &Copy<'_, V>, out: &mut Vec<Do>) {
        let body = match &self.waits {
            Waits::Applied => return,
            Waits::Pushed(number, keys) => {
                // As they are now: what has come since it was sent first is no less.
                let entry = |key: &Bytes| copy.view.get(key).map(|record| (key.clone(), record.encode()));
                let entries: Vec<Entry> = keys.iter().filter_map(entry).collect();
                Body::Push(*number, entries)
            }
            Waits::Answer => {
                let Some((number, ask)) = self.comparison.ask() else { return };
                Body::Compare(self.number, number, ask.clone())
            }
        };
        self.times.sent = copy.ticks;
        out.push(Do::Send(self.with, body));
    }
}
