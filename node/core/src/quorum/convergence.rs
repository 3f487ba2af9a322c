//! Owner of all by which the copies of a quorum shard become equal, at one copy: comparisons, copying into a copy that comes
//! new, and rounds that raise the floor. It sees the copy as it is durable, and gives back what is to be done.
//!
//! Everything is of one generation: with another layout all is forgotten and begun anew. Nothing of it is on disk but what
//! goes through the copy's log. What is lost on the way, or answered by nobody, is sent again, and given up after a while;
//! whatever comes late, twice or from a stranger has no effect.

mod answering;
mod comparing;
mod copy;
mod copying;
mod numbers;
mod pace;
mod rounds;
mod schedule;
mod written;

#[cfg(test)]
mod tests;

pub use copy::{Copy, Do, Then};
pub use pace::Pace;

use answering::Answering;
use comparing::{Comparing, Ended, Handed, Why};
use copying::Copying;
use numbers::Numbers;
use rounds::Rounds;
use schedule::Schedule;

use super::layout::Part;
use super::merkle::compare::{Ask, View};
use super::message::Body;
use crate::ids::ReplicaId;
use crate::time::TICK_MS;

/// Ticks after the last question of a comparison for which what was learnt by it is kept: where clients write there is a round
/// each minute, and all that differs would have to be read again.
const KEPT_TICKS: u64 = 300_000 / TICK_MS;

/// What one copy does to become equal to the others. It lives in memory only.
#[derive(Debug)]
pub struct Convergence {
    numbers: Numbers,
    /// When it last compared, or was asked to. `None` = not yet.
    compared_at: Option<u64>,
    answering: Answering,
    comparing: Comparing,
    schedule: Schedule,
    copying: Copying,
    rounds: Rounds,
}

impl Convergence {
    /// `seed` differs from copy to copy and from start to start: no number of an earlier start may come back.
    pub fn new(seed: u64) -> Self {
        let mut numbers = Numbers::new(seed);
        Self {
            compared_at: None,
            answering: Answering::default(),
            comparing: Comparing::new(numbers.next()),
            schedule: Schedule::default(),
            copying: Copying::default(),
            rounds: Rounds::default(),
            numbers,
        }
    }

    /// The copies that lack nothing of what this one held when it compared all records with them: since it has started, and
    /// since any of them was silent last.
    pub fn handed_over(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.schedule.handed_over()
    }

    /// The node of another copy has fallen silent, or another process speaks for it now: nobody counts as one that has all
    /// before all are compared with anew. `last` = index of the last entry that is to be in this copy's log.
    pub fn lost_sight(&mut self, of: ReplicaId, ticks: u64, last: u64) {
        self.schedule.lost_sight(of, (ticks, last), &mut self.numbers);
    }

    /// True if it compares, or has lately: what it has learnt of its records by that will be asked for again.
    pub fn is_comparing(&self, ticks: u64) -> bool {
        self.compared_at.is_some_and(|at| ticks < at.saturating_add(KEPT_TICKS))
    }

    /// To be called with each tick.
    pub fn tick<V: View>(&mut self, copy: &Copy<'_, V>) -> Vec<Do> {
        let mut out = Vec::new();
        if copy.layout.part(copy.id) == Part::Over {
            return out;
        }
        self.answering.tick(copy.ticks);
        let ended = self.comparing.tick(copy, &mut out);
        self.ended(ended, copy, &mut out);
        self.schedule.tick(&mut self.numbers, copy);
        self.copying.tick(copy, &mut out);
        let is_comparing = matches!(self.comparing.why(), Some(Why::Gather(_) | Why::Spread(_)));
        self.rounds.tick(is_comparing, &mut self.numbers, copy, &mut out);
        self.begin(copy, &mut out);
        out
    }

    /// A message of this kind has come from another copy, of the generation that this one holds. All others are ignored.
    pub fn hear<V: View>(&mut self, from: ReplicaId, body: Body, copy: &Copy<'_, V>) -> Vec<Do> {
        let mut out = Vec::new();
        if copy.layout.part(copy.id) == Part::Over || !copy.is_peer(from) {
            return out;
        }
        match body {
            Body::Compare(comparison, number, ask) => {
                self.compared_at = Some(copy.ticks);
                self.schedule.asked(from, copy.ticks);
                self.answer(from, (comparison, number), &ask, copy, &mut out);
            }
            Body::Compared(comparison, number, answer) => {
                self.compared_at = Some(copy.ticks);
                let told = self.comparing.hear(from, (comparison, number), answer, copy, &mut out);
                self.answering.absence(self.numbers.next(), told.absence, copy, &mut out);
                self.ended(told.ended, copy, &mut out);
            }
            Body::Push(number, entries) => self.answering.push(from, number, entries, copy, &mut out),
            Body::Pushed(number) => {
                let ended = self.comparing.pushed(from, number, copy, &mut out);
                self.ended(ended, copy, &mut out);
            }
            Body::BoundsWanted => out.extend(copying::bounds(from, copy).map(|bounds| Do::Send(from, bounds))),
            Body::Bounds(bounds) => self.copying.hear(from, bounds, &mut self.numbers, copy, &mut out),
            Body::Bar(at) => {
                self.rounds.barred_by_other(copy);
                self.answering.bar(from, at, copy, &mut out);
            }
            Body::Barred(at) => self.rounds.barred(from, at, copy, &mut out),
            Body::Elapsed(at) => self.answering.elapsed(from, at, copy, &mut out),
            Body::Floor(at) => self.answering.floor(from, self.numbers.next(), at, copy, &mut out),
            Body::Write(..)
            | Body::Said(..)
            | Body::Read(..)
            | Body::Page(..)
            | Body::Newer(..)
            | Body::Repair(..)
            | Body::Repaired(_)
            | Body::Hints(_)
            | Body::Hinted(_) => {}
        }
        self.begin(copy, &mut out);
        out
    }

    /// An entry that was journaled with this is applied.
    pub fn applied<V: View>(&mut self, then: Then, copy: &Copy<'_, V>) -> Vec<Do> {
        let mut out = Vec::new();
        if copy.layout.part(copy.id) == Part::Over {
            return out;
        }
        match then {
            Then::Nothing => {}
            Then::Tell(to, body) => self.answering.tell(to, body, copy, &mut out),
            Then::Continue(number) => {
                self.answering.applied(number);
                self.copying.applied(number);
                self.rounds.applied(number, copy, &mut out);
                let ended = self.comparing.applied(number, copy, &mut out);
                self.ended(ended, copy, &mut out);
            }
        }
        self.begin(copy, &mut out);
        out
    }

    /// The copy holds another layout. What was under way is given up.
    pub fn layout_changed<V: View>(&mut self, copy: &Copy<'_, V>) -> Vec<Do> {
        let mut out = Vec::new();
        self.answering = Answering::default();
        self.copying = Copying::default();
        self.rounds.give_up();
        self.schedule.layout_changed();
        let given_up = self.comparing.give_up();
        if copy.layout.part(copy.id) != Part::Over {
            self.ended(given_up, copy, &mut out);
            self.copying.tick(copy, &mut out);
            self.begin(copy, &mut out);
        }
        out
    }

    fn answer<V: View>(
        &mut self,
        from: ReplicaId,
        (comparison, number): (u64, u64),
        ask: &Ask,
        copy: &Copy<'_, V>,
        out: &mut Vec<Do>,
    ) {
        // One without bounds takes nothing: all that it lacks would be pushed in vain.
        if copy.floor.is_bare() {
            return;
        }
        let Some(answer) = comparing::answered(ask, copy) else { return };
        if let Ask::Slices(_, absence) = ask {
            self.answering.absence(self.numbers.next(), *absence, copy, out);
        }
        out.push(Do::Send(from, Body::Compared(comparison, number, answer)));
    }

    fn ended<V: View>(&mut self, ended: Option<Ended>, copy: &Copy<'_, V>, out: &mut Vec<Do>) {
        let Some(ended) = ended else { return };
        self.schedule.ended(&ended, copy, &mut self.numbers);
        // Whatever was kept for it and is lost has been handed over, though this copy may lack something itself.
        if ended.is_whole || ended.handed == Handed::Over {
            out.push(Do::Compared { with: ended.with, mark: ended.mark });
        }
        match ended.why {
            Why::Copying => self.copying.ended(&ended, &mut self.numbers, copy, out),
            Why::Due | Why::Gather(_) | Why::Spread(_) => self.rounds.ended(&ended, copy, out),
        }
    }

    /// Begins the next comparison if there is none: whoever copies does nothing else, and rounds wait for all.
    fn begin<V: View>(&mut self, copy: &Copy<'_, V>, out: &mut Vec<Do>) {
        if !self.comparing.is_free() || copy.floor.is_bare() {
            return;
        }
        let copying = || self.copying.next(copy).map(|source| (source, Why::Copying));
        let due = || self.schedule.next(copy).map(|peer| (peer, Why::Due));
        if let Some((with, why)) = copying().or_else(|| self.rounds.next(copy)).or_else(due) {
            self.compared_at = Some(copy.ticks);
            self.comparing.begin(self.numbers.next(), with, why, copy, out);
        }
    }
}
