//! Rounds that raise the floor, as far as this copy coordinates them. It does if it has the lowest id of those that are
//! heard of, the layout is settled, all members are heard of, and something was written since the last one, or has ended.
//!
//! A member is gathered from by a comparison that was begun after its bar was told, and is sent what was gathered by another
//! one, begun when all were gathered from. Two coordinators at a time do no harm: every member answers both, and
//! each round stands for itself.

use std::collections::BTreeMap;

use super::comparing::{Ended, RESEND_TICKS, Why};
use super::copy::{Copy, Do, Then};
use super::numbers::Numbers;
use super::written::Written;
use crate::ids::ReplicaId;
use crate::planted::{Planted, is_planted};
use crate::quorum::floor::Floor;
use crate::quorum::journal::Journaled;
use crate::quorum::merkle::compare::View;
use crate::quorum::message::Body;
use crate::quorum::round::{Order, Reached, Round};
use crate::time::{TICK_MS, Version};

/// Ticks without progress after which a round is given up. Comparisons give up by themselves; this is for bars that nobody
/// confirms, and for members that do not come back.
const PATIENCE_TICKS: u64 = 60_000 / TICK_MS;
/// Ticks until the next comparison after one that was given up.
const RETRY_TICKS: u64 = 2_000 / TICK_MS;
/// How often the time is doubled until the next comparison with a member, if one was in vain since the disk of one of both is
/// nearly full: all that it lacks is looked through each time.
const FULL_DOUBLED_MAX: u32 = 4;
/// Ticks from one look at what was written to the next one: the sum is of all leaves.
const LOOK_TICKS: u64 = 1_000 / TICK_MS;

/// Rounds that this copy coordinates.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    going: Option<Going>,
    written: Written,
    /// When the next round may begin. `None` = the copy has just started.
    next_at: Option<u64>,
    look_at: u64,
    /// The members with whom comparisons were in vain, since the disk of one of both is nearly full.
    full: BTreeMap<ReplicaId, InVain>,
}

/// Comparisons of rounds with one member that were in vain, one after the other.
#[derive(Debug, Clone, Copy, Default)]
struct InVain {
    times: u32,
    /// As long as the disk is nearly full nothing is compared before.
    until: u64,
}

#[derive(Debug)]
struct Going {
    round: Round,
    /// Of the round, and of the bar of this copy itself.
    number: u64,
    progress: u64,
    sent: u64,
    rests_until: u64,
    /// The bar of this copy itself is raised, or about to be.
    is_barred: bool,
}

impl Rounds {
    /// Begins a round if one is due; sends bars again; gives up what gets nowhere. `is_comparing` = one of the round's
    /// comparisons is under way.
    pub(super) fn tick<V: View>(
        &mut self,
        is_comparing: bool,
        numbers: &mut Numbers,
        copy: &Copy<'_, V>,
        out: &mut Vec<Do>,
    ) {
        let next_at = *self.next_at.get_or_insert(copy.ticks.saturating_add(copy.pace.round_ticks));
        if copy.ticks >= self.look_at {
            self.look_at = copy.ticks.saturating_add(LOOK_TICKS);
            self.written.look(copy.tree, copy.floor, copy.wall_ms);
        }
        if let Some(going) = &mut self.going {
            if is_comparing {
                going.progress = copy.ticks;
            }
            let is_late = copy.ticks >= going.progress.saturating_add(PATIENCE_TICKS);
            if is_late || going.round.generation != copy.generation() {
                self.going = None;
            } else if copy.ticks >= going.sent.saturating_add(RESEND_TICKS) {
                going.bars(copy, out);
            }
        } else if copy.ticks >= next_at && is_coordinator(copy) {
            self.begin(numbers, copy, out);
        }
    }

    fn begin<V: View>(&mut self, numbers: &mut Numbers, copy: &Copy<'_, V>, out: &mut Vec<Do>) {
        let at = Version::at_ms(copy.wall_ms.saturating_sub(copy.pace.behind_ms));
        let may_end =
            copy.ends_ms.is_some_and(|ends| (copy.floor.floor().wall_ms() + 1..=at.wall_ms()).contains(&ends));
        // Where a clock has gone back, the last write may be of a later time than any that was seen since. If the last one is
        // of a clock that is far ahead it tells nothing of those before it; a pass over all records does.
        let is_above = |version: Version| copy.floor.floor() < version && version <= at;
        let covers_last = self.written.is_covered() && (is_above(copy.last) || copy.above.is_some_and(is_above));
        if at <= copy.floor.floor() || !(self.written.is_due(at) || may_end || covers_last) {
            return;
        }
        let Some(round) = Round::begin(copy.layout, at) else { return };
        self.next_at = Some(copy.ticks.saturating_add(copy.pace.round_ticks));
        self.full.retain(|member, _| copy.layout.current.members.contains(member));
        let (number, progress) = (numbers.next(), copy.ticks);
        let going =
            self.going.insert(Going { round, number, progress, sent: progress, rests_until: 0, is_barred: false });
        going.bars(copy, out);
        self.bar_own(copy, out);
    }

    /// The bar of this copy itself, once all others have told of theirs. Were it the first, a clock that is far ahead would
    /// end this copy's writes for as long, since nobody else takes stamps that are above it.
    fn bar_own<V: View>(&mut self, copy: &Copy<'_, V>, out: &mut Vec<Do>) {
        let Some(going) = &mut self.going else { return };
        let is_open = |(member, _): &(ReplicaId, Reached)| {
            *member != copy.id && going.round.order(*member) == Some(Order::Bar) && !is_planted(Planted::OwnBarFirst)
        };
        if going.is_barred || going.round.members.iter().any(is_open) {
            return;
        }
        going.is_barred = true;
        if copy.floor.bar() >= going.round.at {
            self.told(copy.id, Reached::Bar, copy, out);
        } else {
            out.push(Do::Journal(Journaled::Bar(going.round.at), Then::Continue(going.number)));
        }
    }

    /// A round is forgotten.
    pub(super) fn give_up(&mut self) {
        self.going = None;
    }

    /// Another copy coordinates a round: none is needed for a while.
    pub(super) fn barred_by_other<V: View>(&mut self, copy: &Copy<'_, V>) {
        let next_at = self.next_at.unwrap_or(0).max(copy.ticks.saturating_add(copy.pace.round_ticks));
        self.next_at = Some(next_at);
    }

    /// A member's bar is durable.
    pub(super) fn barred<V: View>(&mut self, by: ReplicaId, at: Version, copy: &Copy<'_, V>, out: &mut Vec<Do>) {
        if self.going.as_ref().is_some_and(|going| going.round.at == at) {
            self.told(by, Reached::Bar, copy, out);
            self.bar_own(copy, out);
        }
    }

    /// What has this number is applied.
    pub(super) fn applied<V: View>(&mut self, number: u64, copy: &Copy<'_, V>, out: &mut Vec<Do>) {
        let is_it = |going: &Going| going.number == number && copy.floor.bar() >= going.round.at;
        if self.going.as_ref().is_some_and(is_it) {
            self.told(copy.id, Reached::Bar, copy, out);
        }
    }

    /// The next comparison.
    pub(super) fn next<V: View>(&self, copy: &Copy<'_, V>) -> Option<(ReplicaId, Why)> {
        let going = self.going.as_ref().filter(|going| copy.ticks >= going.rests_until)?;
        let wants = |(member, _): &(ReplicaId, Reached)| {
            let why = match going.round.order(*member)? {
                Order::Gather => Why::Gather(going.number),
                Order::Spread => Why::Spread(going.number),
                Order::Bar | Order::Floor => return None,
            };
            let in_vain = self.full.get(member).is_some_and(|in_vain| copy.ticks < in_vain.until);
            let rests = in_vain && !copy.has_room_with(*member) && !is_planted(Planted::FullComparedEachRound);
            (*member != copy.id && (copy.is_heard)(*member) && !rests).then_some((*member, why))
        };
        going.round.members.iter().find_map(wants)
    }

    /// A comparison has ended.
    pub(super) fn ended<V: View>(&mut self, ended: &Ended, copy: &Copy<'_, V>, out: &mut Vec<Do>) {
        if ended.is_whole {
            self.full.remove(&ended.with);
        }
        let going = self.going.as_mut();
        let (number, reached) = match (ended.why, &going) {
            (Why::Gather(number), _) => (number, Reached::Gathered),
            (Why::Spread(number), _) => (number, Reached::Spread),
            (Why::Due, Some(going)) if is_planted(Planted::GatheredBeforeBar) => (going.number, Reached::Gathered),
            (Why::Due | Why::Copying, _) => return,
        };
        let Some(going) = going.filter(|going| going.number == number) else { return };
        if ended.is_whole {
            self.told(ended.with, reached, copy, out);
        } else if !copy.has_room_with(ended.with) {
            // The next one may find room.
            self.going = None;
            let in_vain = self.full.entry(ended.with).or_default();
            let wait = copy.pace.round_ticks << in_vain.times.min(FULL_DOUBLED_MAX);
            *in_vain = InVain { times: in_vain.times.saturating_add(1), until: copy.ticks.saturating_add(wait) };
        } else {
            going.rests_until = copy.ticks.saturating_add(RETRY_TICKS);
        }
    }

    /// A member has reached something. This copy has gathered what it holds itself, and what was gathered is here.
    fn told<V: View>(&mut self, by: ReplicaId, reached: Reached, copy: &Copy<'_, V>, out: &mut Vec<Do>) {
        let Some(going) = &mut self.going else { return };
        if !going.told(by, reached, copy) {
            return;
        }
        if reached == Reached::Bar && going.round.is_barred() {
            let elapsed = Floor::elapsed_by(going.round.at);
            out.push(Do::Journal(Journaled::Elapsed(elapsed), Then::Nothing));
            out.extend(others(copy).map(|member| Do::Send(member, Body::Elapsed(elapsed))));
        }
        for own in [Reached::Gathered, Reached::Spread] {
            going.told(copy.id, own, copy);
        }
        if going.round.is_complete() {
            let at = going.round.at;
            self.going = None;
            out.push(Do::Journal(Journaled::Floor(at), Then::Nothing));
            out.extend(others(copy).map(|member| Do::Send(member, Body::Floor(at))));
        }
    }
}

impl Going {
    /// Sends bars to those who have not told of theirs.
    fn bars<V: View>(&mut self, copy: &Copy<'_, V>, out: &mut Vec<Do>) {
        self.sent = copy.ticks;
        let is_due = |member: &ReplicaId| *member != copy.id && self.round.order(*member) == Some(Order::Bar);
        let members = self.round.members.iter().map(|(member, _)| *member).filter(is_due);
        out.extend(members.map(|member| Do::Send(member, Body::Bar(self.round.at))));
    }

    fn told<V: View>(&mut self, by: ReplicaId, reached: Reached, copy: &Copy<'_, V>) -> bool {
        let counts = self.round.told(by, self.round.at, copy.generation(), reached);
        if counts {
            self.progress = copy.ticks;
        }
        counts
    }
}

/// The other members of a settled layout.
fn others<'a, V: View>(copy: &'a Copy<'_, V>) -> impl Iterator<Item = ReplicaId> + 'a {
    copy.layout.current.members.iter().copied().filter(|member| *member != copy.id)
}

/// True if the copy is the one to begin rounds, and all others are there to take part.
fn is_coordinator<V: View>(copy: &Copy<'_, V>) -> bool {
    let members = &copy.layout.current.members;
    let is_lowest = members.iter().all(|member| *member >= copy.id);
    let is_there = |member: &ReplicaId| *member == copy.id || (copy.is_heard)(*member);
    copy.layout.change.is_none() && members.contains(&copy.id) && is_lowest && members.iter().all(is_there)
}
