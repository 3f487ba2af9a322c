//! What happened, in words: one line each.

use crate::alike::Names;
use crate::model::{Event, Model};
use crate::rules::letter;
use crate::state::State;

impl Model {
    /// What happened to the state, as a line.
    pub(crate) fn tell(&self, state: &State, event: Event, names: &Names) -> String {
        let name = |i: usize| letter(names[i]);
        let generation = |i: usize| state.replicas[i].held;
        match event {
            Event::Step(to) => {
                let layout = &self.places[usize::from(to)].layout;
                let stage = layout.change.as_ref().map_or("Settled".to_owned(), |change| format!("{:?}", change.stage));
                format!("the layout becomes {stage} at generation {}", layout.generation.0)
            }
            Event::Adopt { copy, generation } => format!("{} holds generation {generation}", name(copy)),
            Event::Keep(copy) => format!("{} has on disk what it told", name(copy)),
            Event::Take { copy, write, generation } => {
                format!("{} takes write {write} at generation {generation}, not on disk yet", name(copy))
            }
            Event::AcknowledgeAgain { copy, write } => {
                format!("{} has write {write}, and acknowledges it at generation {}", name(copy), generation(copy))
            }
            Event::Flush(copy) => format!("{} has on disk what it took, and acknowledges it", name(copy)),
            Event::TakeOver { copy, from } => format!("{} takes over the bounds of {}", name(copy), name(from)),
            Event::Copy { copy, from } => format!("{} copies from {}", name(copy), name(from)),
            Event::Crash(copy) => format!("{} crashes, and is back with what is on its disk", name(copy)),
            Event::Lose(copy) => format!("{} loses its disk", name(copy)),
            Event::Down(copy) => format!("{} is silent from here on", name(copy)),
            Event::Send { copy, version } => format!("a repair with version {version} leaves {}", name(copy)),
            Event::Deliver { copy, version } => format!("a repair with version {version} arrives at {}", name(copy)),
            Event::BeginRound(generation) => format!("a round begins at generation {generation}"),
            Event::Bar(copy) => format!("{} has the bar", name(copy)),
            Event::Gather(copy) => {
                format!("the round gathers {}'s version {}", name(copy), state.replicas[copy].record)
            }
            Event::Spread(copy) => format!("{} has version {}, which was gathered", name(copy), state.gathered),
            Event::Floor(copy) => format!("{} has the floor", name(copy)),
            Event::Forget(copy) => format!("{} forgets the tombstone", name(copy)),
            Event::Answer { copy, generation } => {
                let shown = self.shows(state, copy);
                format!("{} answers a read at generation {generation} with version {shown}", name(copy))
            }
        }
    }
}
