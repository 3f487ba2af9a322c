//! What can happen next to the layout, and who knows of it.

use skerry_core::ids::{Generation, ReplicaId};
use skerry_core::quorum::copies::Known;
use skerry_core::quorum::layout::{Part, Stage};

use crate::model::{Event, Model, Next, names};
use crate::relaxed::Relaxed;
use crate::scenario::{copy, index};
use crate::state::State;

impl Model {
    pub(crate) fn steps(&self, state: &State, next: &mut Vec<Next>) {
        let place = self.place(state);
        for (step, to) in &place.steps {
            if place.layout.after(step, &View { state }).is_ok() {
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
            if layout.part(copy(i)) == Part::Over {
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

/// What the copies have told.
pub(crate) struct View<'a> {
    pub(crate) state: &'a State,
}

impl Known for View<'_> {
    fn held(&self, copy: ReplicaId) -> Generation {
        Generation(self.state.replicas[index(copy)].held.into())
    }

    fn is_lost(&self, copy: ReplicaId) -> bool {
        self.state.replicas[index(copy)].is_lost
    }

    fn has_copied(&self, by: ReplicaId, from: ReplicaId, _: Generation) -> bool {
        self.state.replicas[index(from)].copied_by >> index(by) & 1 == 1
    }
}
