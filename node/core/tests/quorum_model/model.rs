//! What can happen next to a cluster. Every decision is the core's.

use skerry_core::ids::{Generation, ReplicaId};
use skerry_core::quorum::copies::Known;
use skerry_core::quorum::floor::{Floor, Source, Verdict};
use skerry_core::quorum::stage::{Layout, Stage, Step};
use skerry_core::time::Version;

use crate::relaxed::Relaxed;
use crate::scenario::{Place, Scenario, copy, index};
use crate::state::{COPIES, Replica, State};

/// The version up to which floors go: that of both writes.
pub(crate) const FLOOR: u8 = 2;

/// Something that happened, to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Step(u8),
    Adopt { copy: usize, generation: u8 },
    Keep(usize),
    Take { copy: usize, write: u8, generation: u8 },
    AcknowledgeAgain { copy: usize, write: u8 },
    Flush(usize),
    TakeOver { copy: usize, from: usize },
    Copy { copy: usize, from: usize },
    Crash(usize),
    Lose(usize),
    Down(usize),
    Send { copy: usize, version: u8 },
    Deliver { copy: usize, version: u8 },
    BeginRound(u8),
    Bar(usize),
    Gather(usize),
    Spread(usize),
    Floor(usize),
    Forget(usize),
    Answer { copy: usize, generation: u8 },
}

/// A scenario with all that is worked out beforehand.
pub(crate) struct Model {
    pub(crate) scenario: Scenario,
    pub(crate) places: Vec<Place>,
    pub(crate) alike: Vec<Vec<usize>>,
    /// States in which nothing is promised, nor can be, are left out: see [`Self::is_idle`].
    skips_idle: bool,
}

/// What happened, what is then, and, if a rule was broken on the way, which.
pub(crate) type Next = (Event, State, Option<String>);

impl Model {
    pub(crate) fn new(scenario: Scenario, progress: bool) -> Self {
        let (places, alike) = (scenario.places(), scenario.alike());
        let skips_idle = !scenario.has_floors && !progress;
        Self { scenario, places, alike, skips_idle }
    }

    pub(crate) fn is(&self, relaxed: Relaxed) -> bool {
        self.scenario.relaxed == Some(relaxed)
    }

    pub(crate) fn place(&self, state: &State) -> &Place {
        &self.places[usize::from(state.layout)]
    }

    /// The layout of a generation, on the way to where the state is.
    pub(crate) fn layout(&self, state: &State, generation: u8) -> &Layout {
        let place = self.place(state).path[usize::from(generation) - 1];
        &self.places[usize::from(place)].layout
    }

    pub(crate) fn generation(&self, state: &State) -> u8 {
        u8::try_from(self.place(state).path.len()).unwrap()
    }

    /// The copy's layout, if it has one and acts.
    pub(crate) fn held<'a>(&'a self, state: &State, i: usize) -> Option<&'a Layout> {
        let Replica { held, is_lost, is_down, .. } = state.replicas[i];
        (held > 0 && !is_lost && !is_down).then(|| self.layout(state, held))
    }

    /// Everything that can happen next.
    pub(crate) fn next(&self, state: &State, next: &mut Vec<Next>) {
        self.steps(state, next);
        self.faults(state, next);
        for i in 0..COPIES {
            self.adopt(state, i, next);
            if self.held(state, i).is_some() {
                self.writes(state, i, next);
                self.copying(state, i, next);
                self.reads(state, i, next);
            }
        }
        if self.scenario.has_floors {
            self.floors(state, next);
        }
    }

    fn steps(&self, state: &State, next: &mut Vec<Next>) {
        let place = self.place(state);
        for (step, to) in &place.steps {
            let is_allowed = |lie: &Lie| place.layout.after(step, &View { model: self, state, lie }).is_ok();
            if self.lies(step).iter().any(is_allowed) {
                let mut after = *state;
                after.layout = *to;
                let change = self.places[usize::from(*to)].layout.change.as_ref();
                let is_copying =
                    |stage| stage == Stage::WriteBoth || stage == Stage::ReadNew && self.scenario.turns_back;
                if !change.is_some_and(|change| is_copying(change.stage)) {
                    after.replicas.iter_mut().for_each(|replica| replica.copied_by = 0);
                }
                next.push((Event::Step(*to), after, None));
            }
        }
    }

    /// What the one who decides on the step may wrongly believe.
    fn lies(&self, step: &Step) -> Vec<Lie> {
        let of_each = |lie: fn(ReplicaId) -> Lie| (0..COPIES).map(|i| lie(copy(i))).collect();
        let (is_closing, is_copying) = (matches!(step, Step::NewOnly | Step::Back), *step == Step::ReadNew);
        match self.scenario.relaxed {
            Some(Relaxed::BarrierShort) if is_closing => of_each(Lie::Holds),
            Some(Relaxed::RevertWithoutBarrier) if *step == Step::Back => vec![Lie::AllHold],
            Some(Relaxed::SourceShort) if is_copying => of_each(Lie::Source),
            Some(Relaxed::StayersNotCopied) if is_copying => vec![Lie::StayersCopied],
            _ => vec![Lie::None],
        }
    }

    fn adopt(&self, state: &State, i: usize, next: &mut Vec<Next>) {
        let replica = state.replicas[i];
        let is_waiting = replica.waiting != [0; 2] && !self.is(Relaxed::HeldBeforeApplied);
        let is_over = self.held(state, i).is_some_and(|layout| !names(layout, i));
        if replica.is_lost || replica.is_down || is_waiting || is_over {
            return;
        }
        for generation in replica.held + 1..=self.generation(state) {
            let layout = self.layout(state, generation);
            if replica.held == 0 && !names(layout, i) {
                continue;
            }
            let mut after = *state;
            let adopts = &mut after.replicas[i];
            adopts.held = generation;
            if !self.is(Relaxed::LayoutInMemory) {
                adopts.held_kept = generation;
            }
            let turned =
                || layout.change.as_ref().is_some_and(|c| c.reads_since > c.began) && !layout.answers_reads(copy(i));
            let is_wiped = self.is(Relaxed::WipedAtTheTurn) && !layout.current.members.contains(&copy(i)) && turned();
            if !names(layout, i) || is_wiped {
                (adopts.record, adopts.waiting) = (0, [0; 2]);
            }
            next.push((Event::Adopt { copy: i, generation }, after, None));
        }
        if (replica.held_kept, replica.bar_kept) != (replica.held, replica.bar) {
            let mut after = *state;
            (after.replicas[i].held_kept, after.replicas[i].bar_kept) = (replica.held, replica.bar);
            next.push((Event::Keep(i), after, None));
        }
    }

    /// A coordinator's write arrives. Without floors, having a write that does not count can only help, so it is left out.
    fn writes(&self, state: &State, i: usize, next: &mut Vec<Next>) {
        let replica = state.replicas[i];
        let generation = replica.held;
        let takes_writes = self.layout(state, generation).takes_writes(copy(i));
        for write in 0..if takes_writes { self.scenario.writes } else { 0 } {
            let version = u8::try_from(write + 1).unwrap();
            let has_succeeded = state.succeeded >> write & 1 == 1;
            let counts = !has_succeeded && state.counts[write] == generation;
            let is_taken = self.verdict(state, i, Source::Write, version) == Verdict::Take;
            let mut after = *state;
            if replica.record >= version && counts && !replica.acknowledged[write] && is_taken {
                after.replicas[i].acknowledged[write] = true;
                self.succeed(&mut after, write);
                next.push((Event::AcknowledgeAgain { copy: i, write: version }, after, None));
            }
            let is_of_use = counts || self.scenario.has_floors;
            if replica.record < version && replica.waiting[write] == 0 && is_taken && is_of_use {
                after.replicas[i].waiting[write] = generation;
                if self.is(Relaxed::AcknowledgedEarly) && counts {
                    after.replicas[i].acknowledged[write] = true;
                    self.succeed(&mut after, write);
                }
                if !self.scenario.flushes {
                    self.flush(&mut after, i);
                }
                next.push((Event::Take { copy: i, write: version, generation }, after, None));
            }
        }
        if replica.waiting != [0; 2] {
            let mut after = *state;
            self.flush(&mut after, i);
            next.push((Event::Flush(i), after, None));
        }
    }

    fn flush(&self, state: &mut State, i: usize) {
        for write in 0..self.scenario.writes {
            if state.replicas[i].waiting[write] == 0 {
                continue;
            }
            let has_succeeded = state.succeeded >> write & 1 == 1;
            let counts = !has_succeeded && state.replicas[i].waiting[write] == state.counts[write];
            let flushed = &mut state.replicas[i];
            flushed.record = flushed.record.max(u8::try_from(write + 1).unwrap());
            flushed.waiting[write] = 0;
            flushed.acknowledged[write] |= counts;
            self.succeed(state, write);
        }
    }

    /// Notes if the write has succeeded by now. Its acknowledgements are of no more use then.
    fn succeed(&self, state: &mut State, write: usize) {
        let generation = state.counts[write];
        let has_it = |id: ReplicaId| state.replicas[index(id)].acknowledged[write];
        let exists = (1..=self.generation(state)).contains(&generation);
        if exists && self.layout(state, generation).is_written(has_it) {
            state.succeeded |= 1 << write;
            state.replicas.iter_mut().for_each(|replica| replica.acknowledged[write] = false);
        }
    }

    /// True if the write has not succeeded and cannot any more: too many copies have moved on. Nothing is promised then.
    /// What can become of the layouts alone is found where the write is that counts at the last of them.
    pub(crate) fn is_idle(&self, state: &State) -> bool {
        let can = |write: usize| {
            let at = state.counts[write];
            let may_come = |id: ReplicaId| {
                let replica = &state.replicas[index(id)];
                let is_open = replica.held <= at || replica.waiting[write] == at;
                replica.acknowledged[write] || is_open && !replica.is_lost
            };
            at >= self.generation(state) || self.layout(state, at).is_written(may_come)
        };
        let mut tried = (0..self.scenario.writes).filter(|write| state.counts[*write] > 0);
        self.skips_idle && !tried.any(|write| state.succeeded >> write & 1 == 1 || can(write))
    }

    fn copying(&self, state: &State, i: usize, next: &mut Vec<Next>) {
        let replica = state.replicas[i];
        let Some(change) = &self.layout(state, replica.held).change else { return };
        let old = &self.layout(state, replica.held).current;
        let is_complete = || old.is_copied(copy(i), change.began, &View { model: self, state, lie: &Lie::None });
        if change.stage != Stage::WriteBoth || !change.next.members.contains(&copy(i)) || is_complete() {
            return;
        }
        for from in old.members.iter().map(|&member| index(member)).filter(|&from| from != i) {
            let source = state.replicas[from];
            let is_equal = source.held == replica.held || self.is(Relaxed::SourceAtEarlierLayout) && source.held > 0;
            if !is_equal || self.held(state, from).is_none() {
                continue;
            }
            let mut after = *state;
            if replica.is_bare {
                let mut taken = bounds(&replica);
                taken.take_over(&bounds(&source));
                let copies = &mut after.replicas[i];
                copies.is_bare = taken.is_bare();
                copies.floor = taken.floor() > Version(0);
                copies.bar = taken.bar() > Version(0) && (copies.floor || !self.is(Relaxed::BarNotTakenOver));
                copies.bar_kept = copies.bar;
                next.push((Event::TakeOver { copy: i, from }, after, None));
            } else if source.copied_by >> i & 1 == 0 {
                if self.verdict(state, i, Source::Copy, source.record) == Verdict::Take {
                    after.replicas[i].record = replica.record.max(source.record);
                }
                after.replicas[from].copied_by |= 1 << i;
                next.push((Event::Copy { copy: i, from }, after, None));
            }
        }
    }

    /// What the copy does with something of the version.
    pub(crate) fn verdict(&self, state: &State, i: usize, source: Source, version: u8) -> Verdict {
        if !self.scenario.has_floors {
            return Verdict::Take;
        }
        let is_ignored = match source {
            Source::Write => self.is(Relaxed::BarIgnored),
            Source::Copy => self.is(Relaxed::FloorIgnored),
        };
        let source = if self.is(Relaxed::BarRefusesRepairs) { Source::Write } else { source };
        let view = View { model: self, state, lie: &Lie::None };
        let layout = self.layout(state, state.replicas[i].held);
        let is_complete = layout.current.members.contains(&copy(i))
            || layout.answers_reads(copy(i))
            || layout.change.as_ref().is_some_and(|change| layout.current.is_copied(copy(i), change.began, &view));
        match bounds(&state.replicas[i]).verdict(source, Version(version.into()), is_complete) {
            Verdict::TooOld(_) | Verdict::Covered if is_ignored => Verdict::Take,
            verdict => verdict,
        }
    }

    fn faults(&self, state: &State, next: &mut Vec<Next>) {
        for i in (0..COPIES).filter(|&i| self.held(state, i).is_some_and(|layout| names(layout, i))) {
            let replica = state.replicas[i];
            let mut crashed = replica;
            (crashed.held, crashed.bar, crashed.waiting) = (replica.held_kept, replica.bar_kept, [0; 2]);
            if crashed != replica {
                let mut after = *state;
                after.replicas[i] = crashed;
                next.push((Event::Crash(i), after, None));
            }
            if state.losses_left > 0 {
                let mut after = *state;
                let Replica { copied_by, acknowledged, .. } = replica;
                after.replicas[i] = Replica { is_lost: true, copied_by, acknowledged, ..Replica::default() };
                after.losses_left -= 1;
                for write in 0..self.scenario.writes {
                    let is_there = after.replicas.iter().any(|other| usize::from(other.record) > write);
                    after.gone |= u8::from(state.succeeded >> write & 1 == 1 && !is_there) << write;
                }
                next.push((Event::Lose(i), after, None));
            }
            if state.downs_left > 0 {
                let mut after = *state;
                after.replicas[i].is_down = true;
                after.downs_left -= 1;
                next.push((Event::Down(i), after, None));
            }
        }
    }
}

/// The copy's bounds as the core has them.
pub(crate) fn bounds(replica: &Replica) -> Floor {
    let mut bounds = if replica.is_bare { Floor::bare() } else { Floor::default() };
    if replica.bar {
        bounds.raise_bar(Version(FLOOR.into()));
    }
    if replica.floor {
        bounds.raise_floor(Version(FLOOR.into()));
    }
    bounds
}

pub(crate) fn names(layout: &Layout, i: usize) -> bool {
    layout.current.members.contains(&copy(i))
        || layout.change.as_ref().is_some_and(|c| c.next.members.contains(&copy(i)))
}

/// What one who decides may wrongly believe.
enum Lie {
    None,
    Holds(ReplicaId),
    AllHold,
    Source(ReplicaId),
    StayersCopied,
}

/// What the copies have told.
struct View<'a> {
    model: &'a Model,
    state: &'a State,
    lie: &'a Lie,
}

impl Known for View<'_> {
    fn held(&self, copy: ReplicaId) -> Generation {
        let is_lie = matches!(self.lie, Lie::Holds(id) if *id == copy) || matches!(self.lie, Lie::AllHold);
        let held = self.state.replicas[index(copy)].held;
        Generation(if is_lie { self.model.generation(self.state) } else { held }.into())
    }

    fn is_lost(&self, copy: ReplicaId) -> bool {
        self.state.replicas[index(copy)].is_lost
    }

    fn has_copied(&self, by: ReplicaId, from: ReplicaId, _: Generation) -> bool {
        let is_lie = match self.lie {
            Lie::Source(id) => *id == from,
            Lie::StayersCopied => self.model.place(self.state).layout.current.members.contains(&by),
            Lie::None | Lie::Holds(_) | Lie::AllHold => false,
        };
        is_lie || self.state.replicas[index(from)].copied_by >> index(by) & 1 == 1
    }
}
