//! The states that were visited, in the order in which they were found.

use crate::state::Packed;

/// All states so far, each once.
pub(crate) struct Visited {
    states: Vec<Packed>,
    /// From which state each was found.
    parents: Vec<u32>,
    /// Places in `states` plus one, by hash; zero is free. Its length is a power of two.
    slots: Vec<u32>,
}

impl Visited {
    pub(crate) fn new() -> Self {
        Self { states: Vec::new(), parents: Vec::new(), slots: vec![0; 1 << 16] }
    }

    pub(crate) fn len(&self) -> usize {
        self.states.len()
    }

    pub(crate) fn state(&self, at: usize) -> &Packed {
        &self.states[at]
    }

    pub(crate) fn parent(&self, at: usize) -> usize {
        self.parents[at] as usize
    }

    pub(crate) fn find(&self, state: &Packed) -> Option<usize> {
        self.slot(state).1
    }

    /// Adds the state if it is new. Returns whether it is.
    pub(crate) fn insert(&mut self, state: Packed, parent: usize) -> bool {
        if self.states.len() * 2 > self.slots.len() {
            self.grow();
        }
        let (slot, known) = self.slot(&state);
        if known.is_some() {
            return false;
        }
        self.states.push(state);
        self.parents.push(u32::try_from(parent).unwrap());
        self.slots[slot] = u32::try_from(self.states.len()).unwrap();
        true
    }

    fn slot(&self, state: &Packed) -> (usize, Option<usize>) {
        let mask = self.slots.len() - 1;
        let mut at = hash(state) & mask;
        while self.slots[at] > 0 {
            let known = self.slots[at] as usize - 1;
            if self.states[known] == *state {
                return (at, Some(known));
            }
            at = (at + 1) & mask;
        }
        (at, None)
    }

    fn grow(&mut self) {
        self.slots = vec![0; self.slots.len() * 4];
        for known in 0..self.states.len() {
            let (slot, _) = self.slot(&self.states[known]);
            self.slots[slot] = u32::try_from(known + 1).unwrap();
        }
    }
}

fn hash(state: &Packed) -> usize {
    let mix = |hash: u64, word: &u64| (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let hash = state.iter().fold(0, mix).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(hash >> 32 ^ hash).unwrap()
}
