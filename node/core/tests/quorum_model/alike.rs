//! Copies that can stand for one another are put in order, so that states which differ by their names alone are one.

use crate::model::Model;
use crate::state::{COPIES, Replica, State};

/// Which copy stands at each place.
pub(crate) type Names = [usize; COPIES];

impl Model {
    /// The state with its copies in order, and which one stands where. Ties may leave two states where one would do.
    pub(crate) fn in_order(&self, state: &State) -> (State, Names) {
        let mut order: Names = [0, 1, 2, 3, 4];
        let state = &if self.scenario.has_floors { self.without_leftovers(state) } else { *state };
        if self.alike.is_empty() {
            return (*state, order);
        }
        let keys = state.replicas.map(|replica| {
            let copies = replica.copied_by.count_ones();
            (Replica { copied_by: 0, ..replica }.pack(), copies)
        });
        for class in &self.alike {
            for end in (1..class.len()).rev() {
                for at in 0..end {
                    if keys[order[class[at]]] > keys[order[class[at + 1]]] {
                        order.swap(class[at], class[at + 1]);
                    }
                }
            }
        }
        let mut after = *state;
        for (place, i) in order.iter().enumerate() {
            after.replicas[place] = state.replicas[*i];
            let by = state.replicas[*i].copied_by;
            let moved = |(place, i): (usize, &usize)| (by >> i & 1) << place;
            after.replicas[place].copied_by = order.iter().enumerate().map(moved).fold(0, |bits, bit| bits | bit);
        }
        (after, order)
    }
}
