//! What a copy does for others: takes what they push, and raises its bounds. Each is answered once it is applied, and at the
//! generation at which it was asked alone. One of a kind at a time: whoever asks meanwhile asks again.

use std::collections::BTreeMap;

use super::copy::{Copy, Do, Then};
use crate::ids::ReplicaId;
use crate::planted::{Planted, is_planted};
use crate::quorum::floor::Floor;
use crate::quorum::journal::Journaled;
use crate::quorum::merkle::compare::View;
use crate::quorum::message::{Body, Entry, PUSH_MAX};
use crate::time::{TICK_MS, Version};

/// Ticks after which what is not applied counts as lost: a log that hangs longer has stopped for good, or took it not.
const LOST_TICKS: u64 = 10_000 / TICK_MS;

/// What waits for the log.
#[derive(Debug, Default)]
pub(super) struct Answering {
    /// The push of each copy, by its number.
    pushes: BTreeMap<ReplicaId, Waiting>,
    /// The bar, and who asked for it.
    bar: Option<(ReplicaId, Version, u64)>,
    floor: Option<Waiting>,
    /// What was last written to the log of what all clocks have passed.
    elapsed: Version,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    number: u64,
    /// The tick at which it counts as lost.
    until: u64,
}

impl Answering {
    /// A copy pushes records. Those that cannot be taken leave it without an answer, and the others are taken.
    pub(super) fn push<V: View>(
        &mut self,
        from: ReplicaId,
        number: u64,
        entries: Vec<Entry>,
        copy: &Copy<'_, V>,
        out: &mut Vec<Do>,
    ) {
        let count = entries.len();
        if !copy.takes() || count > PUSH_MAX || self.pushes.contains_key(&from) {
            return;
        }
        if count == 0 {
            out.push(Do::Send(from, Body::Pushed(number)));
            return;
        }
        self.pushes.insert(from, Waiting { number, until: copy.ticks.saturating_add(LOST_TICKS) });
        let taken = copy.sound(entries);
        let is_all = taken.len() == count;
        if !taken.is_empty() {
            let then = if is_all { Then::Tell(from, Body::Pushed(number)) } else { Then::Nothing };
            out.push(Do::Journal(Journaled::Copies(taken), then));
        }
    }

    /// A round's coordinator wants a bar. No member of a settled layout is without bounds.
    pub(super) fn bar<V: View>(&mut self, from: ReplicaId, at: Version, copy: &Copy<'_, V>, out: &mut Vec<Do>) {
        if !is_of_round(from, copy) || !Floor::is_due(at, copy.bounds_ms()) || self.bar.is_some() {
            return;
        }
        if copy.floor.bar() >= at {
            out.push(Do::Send(from, Body::Barred(at)));
            return;
        }
        self.bar = Some((from, at, copy.ticks.saturating_add(LOST_TICKS)));
        out.push(Do::Journal(Journaled::Bar(at), Then::Tell(from, Body::Barred(at))));
        if is_planted(Planted::BarredEarly) {
            out.push(Do::Send(from, Body::Barred(at)));
        }
    }

    /// A round's coordinator tells what all clocks have passed. What the clock here has not is not believed.
    pub(super) fn elapsed<V: View>(&mut self, from: ReplicaId, at: Version, copy: &Copy<'_, V>, out: &mut Vec<Do>) {
        let is_due = is_of_round(from, copy) && Floor::is_due(at, copy.bounds_ms());
        if is_due && at > copy.floor.elapsed().max(self.elapsed) {
            self.elapsed = at;
            out.push(Do::Journal(Journaled::Elapsed(at), Then::Nothing));
        }
    }

    /// A round's coordinator tells that a round is complete.
    pub(super) fn floor<V: View>(
        &mut self,
        from: ReplicaId,
        number: u64,
        at: Version,
        copy: &Copy<'_, V>,
        out: &mut Vec<Do>,
    ) {
        if is_of_round(from, copy) {
            self.absence(number, at, copy, out);
        }
    }

    /// A copy of the same generation has all at or below this version. What no round can be about yet is not believed.
    pub(super) fn absence<V: View>(&mut self, number: u64, at: Version, copy: &Copy<'_, V>, out: &mut Vec<Do>) {
        let mut raised = *copy.floor;
        if raised.told(at, copy.bounds_ms()) && self.floor.is_none() {
            self.floor = Some(Waiting { number, until: copy.ticks.saturating_add(LOST_TICKS) });
            out.push(Do::Journal(Journaled::Floor(at), Then::Continue(number)));
        }
    }

    /// What somebody waits for is applied. Whatever was asked at another generation, or counts as lost, is not told.
    pub(super) fn tell<V: View>(&mut self, to: ReplicaId, body: Body, copy: &Copy<'_, V>, out: &mut Vec<Do>) {
        let is_waited_for = match &body {
            Body::Pushed(number) => {
                let is_it = self.pushes.get(&to).is_some_and(|waiting| waiting.number == *number);
                is_it && self.pushes.remove(&to).is_some()
            }
            Body::Barred(at) => {
                let is_it = self.bar.is_some_and(|(from, of, _)| from == to && of == *at);
                is_it && self.bar.take().is_some() && copy.floor.bar() >= *at
            }
            Body::Write(..)
            | Body::Said(..)
            | Body::Read(..)
            | Body::Page(..)
            | Body::Newer(..)
            | Body::Repair(..)
            | Body::Repaired(_)
            | Body::Hints(_)
            | Body::Hinted(_)
            | Body::BoundsWanted
            | Body::Bounds(_)
            | Body::Compare(..)
            | Body::Compared(..)
            | Body::Push(..)
            | Body::Bar(_)
            | Body::Floor(_)
            | Body::Elapsed(_) => false,
        };
        if is_waited_for {
            out.push(Do::Send(to, body));
        }
    }

    /// What has this number is applied.
    pub(super) fn applied(&mut self, number: u64) {
        self.floor.take_if(|waiting| waiting.number == number);
    }

    /// What counts as lost is waited for no more.
    pub(super) fn tick(&mut self, ticks: u64) {
        self.pushes.retain(|_, waiting| waiting.until > ticks);
        self.bar.take_if(|(.., until)| *until <= ticks);
        self.floor.take_if(|waiting| waiting.until <= ticks);
    }
}

/// True if the copy and the other one can both have a part in a round: during a change there is none.
fn is_of_round<V: View>(from: ReplicaId, copy: &Copy<'_, V>) -> bool {
    let is_member = |id: &ReplicaId| copy.layout.current.members.contains(id);
    copy.layout.change.is_none() && is_member(&copy.id) && is_member(&from)
}
