//! What can happen next to floors and late repairs.

use skerry_core::ids::Generation;
use skerry_core::quorum::floor::{Source, Verdict};
use skerry_core::quorum::round::{Order, Reached, Round};
use skerry_core::time::Version;

use crate::copying::bounds;
use crate::model::{Event, FLOOR, Model, Next, names};
use crate::relaxed::Relaxed;
use crate::scenario::{copy, index};
use crate::state::{COPIES, State};

impl Model {
    /// Without what can have no effect any more: a repair, and a round that is not complete, at a generation that all
    /// members have left behind.
    pub(crate) fn without_leftovers(&self, state: &State) -> State {
        let mut after = *state;
        let is_left = |generation: u8| {
            let is_past = |i: usize| state.replicas[i].held > generation || state.replicas[i].is_lost;
            let acts = |i: &usize| names(self.layout(state, generation), *i);
            (0..COPIES).filter(acts).all(is_past)
        };
        if state.late.0 > 0 && is_left(state.late.0) {
            after.late = (0, 0);
        }
        let counts_later = self.is(Relaxed::RoundMixesLayouts);
        let is_complete = || self.round(state).is_some_and(|round| round.is_complete());
        if state.round > 0 && !counts_later && is_left(state.round) && !is_complete() {
            (after.round, after.gathered) = (0, 0);
            after.replicas.iter_mut().for_each(|replica| replica.reached = 0);
        }
        after
    }

    /// The round as its coordinator has it.
    pub(crate) fn round(&self, state: &State) -> Option<Round> {
        if state.round == 0 {
            return None;
        }
        let layout = self.layout(state, state.round);
        let mut round = Round::begin(layout, Version(FLOOR.into()))?;
        for (member, reached) in &mut round.members {
            *reached = match state.replicas[index(*member)].reached {
                0 => Reached::Nothing,
                1 => Reached::Bar,
                2 => Reached::Gathered,
                _ => Reached::Spread,
            };
        }
        Some(round)
    }

    pub(crate) fn floors(&self, state: &State, next: &mut Vec<Next>) {
        for generation in 1..=self.generation(state) {
            let is_new = state.round != generation || state.replicas.iter().any(|replica| replica.reached > 0);
            if is_new && Round::begin(self.layout(state, generation), Version(FLOOR.into())).is_some() {
                let mut after = *state;
                (after.round, after.gathered) = (generation, 0);
                after.replicas.iter_mut().for_each(|replica| replica.reached = 0);
                next.push((Event::BeginRound(generation), after, None));
            }
        }
        let round = self.round(state);
        for i in (0..COPIES).filter(|&i| self.held(state, i).is_some_and(|layout| names(layout, i))) {
            if let Some(round) = &round {
                self.order(state, i, round, next);
            }
            self.repairs(state, i, next);
            if state.replicas[i].record == FLOOR && bounds(&state.replicas[i]).may_forget(Version(FLOOR.into())) {
                let mut after = *state;
                after.replicas[i].record = 0;
                after.is_forgotten = true;
                next.push((Event::Forget(i), after, None));
            }
        }
    }

    /// The copy carries out what the round asks of it, and the answer arrives.
    fn order(&self, state: &State, i: usize, round: &Round, next: &mut Vec<Next>) {
        let replica = state.replicas[i];
        let is_equal = replica.held == state.round || self.is(Relaxed::RoundMixesLayouts) && replica.held > state.round;
        let mut after = *state;
        let acts = &mut after.replicas[i];
        let (event, reached) = match round.order(copy(i)) {
            Some(Order::Bar) if is_equal && (replica.waiting == [0; 2] || self.is(Relaxed::BarBeforeApplied)) => {
                let mut raised = bounds(&replica);
                raised.raise_bar(round.at);
                acts.bar = raised.bar() >= round.at;
                acts.bar_kept = acts.bar && (!self.is(Relaxed::BarInMemory) || replica.bar_kept);
                (Event::Bar(i), Reached::Bar)
            }
            Some(Order::Gather) if is_equal => {
                after.gathered = after.gathered.max(replica.record);
                (Event::Gather(i), Reached::Gathered)
            }
            Some(Order::Spread) if is_equal => {
                if self.spread(state, i) == Verdict::Take {
                    acts.record = acts.record.max(state.gathered);
                }
                (Event::Spread(i), Reached::Spread)
            }
            _ if round.is_complete() && replica.held >= state.round && !replica.floor && !replica.is_bare => {
                let mut raised = bounds(&replica);
                raised.raise_floor(round.at);
                acts.floor = raised.floor() >= round.at;
                (acts.bar, acts.bar_kept) = (true, true);
                next.push((Event::Floor(i), after, None));
                return;
            }
            _ => return,
        };
        let mut told = round.clone();
        assert!(told.told(copy(i), round.at, Generation(state.round.into()), reached), "{event:?} was due");
        after.replicas[i].reached += 1;
        next.push((event, after, None));
    }

    fn spread(&self, state: &State, i: usize) -> Verdict {
        if self.is(Relaxed::BarRefusesRepairs) {
            Verdict::Take
        } else {
            self.verdict(state, i, Source::Copy, state.gathered)
        }
    }

    /// Repairs leave a copy and arrive at any time after, if at all.
    fn repairs(&self, state: &State, i: usize, next: &mut Vec<Next>) {
        let replica = state.replicas[i];
        let sends = (replica.held, replica.record);
        if replica.record > 0 && state.late != sends {
            let mut after = *state;
            after.late = sends;
            next.push((Event::Send { copy: i, version: replica.record }, after, None));
        }
        let (generation, version) = state.late;
        let is_asked = generation == replica.held && self.layout(state, replica.held).takes_writes(copy(i));
        if is_asked && version > replica.record && self.verdict(state, i, Source::Copy, version) == Verdict::Take {
            let mut after = *state;
            after.replicas[i].record = version;
            next.push((Event::Deliver { copy: i, version }, after, None));
        }
    }
}
