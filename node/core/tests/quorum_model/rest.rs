//! Where all has come to rest, and what leads there soonest.

use skerry_core::quorum::stage::Step;

use crate::model::{Event, Model};
use crate::scenario::index;
use crate::state::{COPIES, State};

impl Model {
    /// True where everything has come to rest: settled, and all members that act know it. Where floors are the
    /// scenario's matter, they also all have the record or none of them, and have the floor if all of them act.
    pub(crate) fn is_at_rest(&self, state: &State) -> bool {
        let layout = &self.place(state).layout;
        let members: Vec<usize> =
            layout.current.members.iter().map(|m| index(*m)).filter(|i| acts(state, *i)).collect();
        let generation = self.generation(state);
        let is_current = |i: &usize| state.replicas[*i].held == generation;
        let has_put = |i: &usize| state.replicas[*i].record == 1;
        let has_floor = |i: &usize| state.replicas[*i].floor || !self.all_act(state);
        let is_converged =
            |i: &usize| !self.scenario.has_floors || has_floor(i) && members.first().map(has_put) == Some(has_put(i));
        layout.change.is_none() && members.iter().all(|i| is_current(i) && is_converged(i))
    }

    /// How soon something is done where nothing goes wrong; `None` = never.
    pub(crate) fn urgency(&self, state: &State, event: Event) -> Option<u8> {
        let is_older = |version: u8| move |i: usize| state.replicas[i].record <= version || !acts(state, i);
        let is_newest = |version: u8| (0..COPIES).all(is_older(version));
        let is_back = |to: u8| self.place(state).steps.contains(&(Step::Back, to));
        match event {
            Event::Flush(_) => Some(0),
            Event::Adopt { generation, .. } if generation == self.generation(state) => Some(1),
            Event::TakeOver { .. } => Some(2),
            Event::Copy { .. } => Some(3),
            Event::Step(to) if is_back(to) => Some(5),
            Event::Step(_) => Some(4),
            Event::Spread(_) | Event::Gather(_) | Event::Bar(_) | Event::Floor(_) => Some(6),
            Event::Forget(_) => Some(7),
            Event::BeginRound(of) if of == self.generation(state) && of != state.round && self.all_act(state) => {
                Some(8)
            }
            Event::Deliver { .. } => Some(9),
            Event::Send { version, .. } if is_newest(version) => Some(10),
            _ => None,
        }
    }

    fn all_act(&self, state: &State) -> bool {
        self.place(state).layout.current.members.iter().all(|member| acts(state, index(*member)))
    }
}

fn acts(state: &State, i: usize) -> bool {
    !state.replicas[i].is_lost && !state.replicas[i].is_down
}
