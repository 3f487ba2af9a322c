//! What can happen next to the layout, and who knows of it.

use skerry_core::ids::{Generation, ReplicaId};
use skerry_core::quorum::copies::Known;
use skerry_core::quorum::layout::Stage;
use skerry_core::quorum::stage::Step;

use crate::model::{Event, Model, Next, names};
use crate::relaxed::Relaxed;
use crate::scenario::{copy, index};
use crate::state::{COPIES, State};

impl Model {
    pub(crate) fn steps(&self, state: &State, next: &mut Vec<Next>) {
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

    pub(crate) fn adopt(&self, state: &State, i: usize, next: &mut Vec<Next>) {
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
}

/// What one who decides may wrongly believe.
pub(crate) enum Lie {
    None,
    Holds(ReplicaId),
    AllHold,
    Source(ReplicaId),
    StayersCopied,
}

/// What the copies have told.
pub(crate) struct View<'a> {
    pub(crate) model: &'a Model,
    pub(crate) state: &'a State,
    pub(crate) lie: &'a Lie,
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
