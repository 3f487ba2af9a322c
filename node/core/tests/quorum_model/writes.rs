//! What can happen next to writes.

use skerry_core::ids::ReplicaId;
use skerry_core::quorum::floor::{Source, Verdict};

use crate::model::{Event, Model, Next};
use crate::relaxed::Relaxed;
use crate::scenario::{copy, index};
use crate::state::State;

impl Model {
    /// A coordinator's write arrives. Without floors, having a write that does not count can only help, so it is left out.
    pub(crate) fn writes(&self, state: &State, i: usize, next: &mut Vec<Next>) {
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
}
