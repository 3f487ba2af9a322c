//! What goes wrong: a crash loses what is not on disk, a disk is lost, a copy is silent for ever.

use crate::model::{Event, Model, Next, names};
use crate::state::{COPIES, Replica, State};

impl Model {
    pub(crate) fn faults(&self, state: &State, next: &mut Vec<Next>) {
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
