//! A copy of a new set, until it is complete: it takes over bounds, if it comes new, and compares with as many of the old set as
//! [`Copies::is_copied`](crate::quorum::copies::Copies::is_copied) needs, all at generations of the change. Its log has
//! that it has copied from one only after all that it has pulled for that is applied.

use std::collections::BTreeMap;

use super::comparing::{Ended, RESEND_TICKS};
use super::copy::{Copy, Do, Then};
use super::numbers::Numbers;
use crate::ids::{Generation, ReplicaId};
use crate::quorum::copies::Known;
use crate::quorum::floor::Floor;
use crate::quorum::journal::Journaled;
use crate::quorum::layout::{Change, Part, Stage};
use crate::quorum::merkle::compare::View;
use crate::quorum::message::Body;
use crate::time::TICK_MS;

/// Ticks for which a source is left alone that was given up: others come first.
const RETRY_TICKS: u64 = 5_000 / TICK_MS;
/// Ticks after which what is not applied counts as lost.
const LOST_TICKS: u64 = 10_000 / TICK_MS;
/// Copies that come together begin with different sources: by their ids, modulo this.
const TURNS: u64 = 3;

/// How far copying is.
#[derive(Debug, Default)]
pub(super) struct Copying {
    /// By source: when it may be asked again.
    sources: BTreeMap<ReplicaId, u64>,
    /// What waits for the log, and the tick at which it counts as lost. Nothing is begun meanwhile.
    waits: Option<(u64, u64)>,
    /// When bounds were asked for last.
    asked_at: Option<u64>,
}

/// What a copy knows of copying: its own.
struct Own<'a> {
    id: ReplicaId,
    generation: Generation,
    copied: &'a BTreeMap<ReplicaId, Generation>,
}

impl Known for Own<'_> {
    fn held(&self, copy: ReplicaId) -> Generation {
        if copy == self.id { self.generation } else { Generation(0) }
    }

    /// Nobody tells a copy; it copies from whom it can, and the map knows when that is all there is.
    fn is_lost(&self, _: ReplicaId) -> bool {
        false
    }

    fn has_copied(&self, by: ReplicaId, from: ReplicaId, since: Generation) -> bool {
        by == self.id && self.copied.get(&from).is_some_and(|copied| *copied >= since)
    }
}

/// The change in which the copy is to copy. `None` = it has, or has not to.
fn change<'a, V: View>(copy: &Copy<'a, V>) -> Option<&'a Change> {
    let own = Own { id: copy.id, generation: copy.generation(), copied: copy.copied };
    let is_for_it = |change: &&Change| {
        let is_now = change.stage == Stage::WriteBoth && change.next.members.contains(&copy.id);
        is_now && !copy.layout.current.is_copied(copy.id, change.began, &own)
    };
    copy.layout.change.as_ref().filter(is_for_it)
}

/// The answer to a copy that asks for bounds. `None` = that is none of this one's.
pub(super) fn bounds<V: View>(of: ReplicaId, copy: &Copy<'_, V>) -> Option<Body> {
    let is_source = copy.layout.current.members.contains(&copy.id) && !copy.floor.is_bare();
    (is_source && copy.layout.part(of) == Part::Comes).then_some(Body::Bounds(*copy.floor))
}

impl Copying {
    /// Asks for bounds, if the copy has none.
    pub(super) fn tick<V: View>(&mut self, copy: &Copy<'_, V>, out: &mut Vec<Do>) {
        self.waits.take_if(|(_, until)| *until <= copy.ticks);
        let is_late = self.asked_at.is_none_or(|asked| copy.ticks >= asked.saturating_add(RESEND_TICKS));
        if !copy.floor.is_bare() || !is_late || self.waits.is_some() || change(copy).is_none() {
            return;
        }
        if let Some(source) = self.source(copy) {
            self.asked_at = Some(copy.ticks);
            // The next time another one is asked.
            self.rest(source, copy);
            out.push(Do::Send(source, Body::BoundsWanted));
        }
    }

    /// A source tells its bounds.
    pub(super) fn hear<V: View>(
        &mut self,
        from: ReplicaId,
        bounds: Floor,
        numbers: &mut Numbers,
        copy: &Copy<'_, V>,
        out: &mut Vec<Do>,
    ) {
        let is_source = copy.layout.current.members.contains(&from);
        let is_asked = is_source && self.asked_at.is_some() && copy.floor.is_bare() && change(copy).is_some();
        let is_due = |at| Floor::is_due(at, copy.bounds_ms());
        let is_sound = !bounds.is_bare() && [bounds.bar(), bounds.floor(), bounds.elapsed()].into_iter().all(is_due);
        if is_asked && is_sound && self.waits.is_none() {
            self.sources.clear();
            let then = self.wait(numbers, copy);
            out.push(Do::Journal(Journaled::Bounds(bounds), then));
        }
    }

    /// The source to compare with next. Nothing is copied to a disk that is nearly full.
    pub(super) fn next<V: View>(&self, copy: &Copy<'_, V>) -> Option<ReplicaId> {
        let is_ready = !copy.floor.is_bare() && self.waits.is_none() && copy.has_room();
        if is_ready { self.source(copy) } else { None }
    }

    /// A comparison with a source has ended.
    pub(super) fn ended<V: View>(
        &mut self,
        ended: &Ended,
        numbers: &mut Numbers,
        copy: &Copy<'_, V>,
        out: &mut Vec<Do>,
    ) {
        self.rest(ended.with, copy);
        if ended.is_whole && change(copy).is_some() {
            let then = self.wait(numbers, copy);
            let copied = Journaled::Copied { from: ended.with, since: copy.generation() };
            out.push(Do::Journal(copied, then));
        }
    }

    /// What has this number is applied.
    pub(super) fn applied(&mut self, number: u64) {
        self.waits.take_if(|(of, _)| *of == number);
    }

    fn wait<V: View>(&mut self, numbers: &mut Numbers, copy: &Copy<'_, V>) -> Then {
        let number = numbers.next();
        self.waits = Some((number, copy.ticks.saturating_add(LOST_TICKS)));
        Then::Continue(number)
    }

    fn rest<V: View>(&mut self, source: ReplicaId, copy: &Copy<'_, V>) {
        let members = &copy.layout.current.members;
        self.sources.retain(|source, _| members.contains(source));
        self.sources.insert(source, copy.ticks.saturating_add(RETRY_TICKS));
    }

    /// A member of the old set that is heard of and not copied from yet: the one that was left alone longest.
    fn source<V: View>(&self, copy: &Copy<'_, V>) -> Option<ReplicaId> {
        let change = change(copy)?;
        let members = &copy.layout.current.members;
        let rests_until = |id: &ReplicaId| self.sources.get(id).copied().unwrap_or(0);
        let is_open = |id: &&ReplicaId| {
            let is_copied = copy.copied.get(*id).is_some_and(|copied| *copied >= change.began);
            **id != copy.id && !is_copied && rests_until(id) <= copy.ticks && (copy.is_heard)(**id)
        };
        let turn = |id: &ReplicaId| (id.0 % TURNS + TURNS - copy.id.0 % TURNS) % TURNS;
        members.iter().filter(is_open).min_by_key(|id| (rests_until(id), turn(id), **id)).copied()
    }
}
