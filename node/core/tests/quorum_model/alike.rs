//! Copies that can stand for one another are put in order, so that states which differ by their names alone are one.

use crate::model::Model;
use crate::state::{COPIES, State};

/// Which copy stands at each place.
pub(crate) type Names = [usize; COPIES];

impl Model {
    /// The state with its copies in order, and which one stands where. Ties may leave two states where one would do.
    pub(crate) fn in_order(&self, state: &State) -> (State, Names) {
        let mut order: Names = [0, 1, 2, 3, 4];
        for class in &self.alike {
            let key = |i: &usize| {
                let mut replica = state.replicas[*i];
                let copies = replica.copied_by.count_ones();
                replica.copied_by = 0;
                (replica.pack(), copies)
            };
            let mut sorted = class.clone();
            sorted.sort_by_key(key);
            for (place, i) in class.iter().zip(sorted) {
                order[*place] = i;
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
