//! What can happen next to a cluster. Every decision is the core's.

use skerry_core::quorum::layout::Layout;

use crate::relaxed::Relaxed;
use crate::scenario::{Place, Scenario, copy};
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
    pub(crate) skips_idle: bool,
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
}

pub(crate) fn names(layout: &Layout, i: usize) -> bool {
    layout.current.members.contains(&copy(i))
        || layout.change.as_ref().is_some_and(|c| c.next.members.contains(&copy(i)))
}
