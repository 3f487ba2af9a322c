//! What the scheduler decides: at every place where something may go otherwise than usual it is asked, and mostly says
//! that nothing does. A schedule is the list of the places where it said something else.

use std::collections::BTreeMap;

/// A place in a run where something may go otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// A message of an election or a hand-over.
    Vote,
    /// A message of a snapshot.
    Snapshot,
    /// Any other message between copies.
    Other,
    /// A node's process, in one round.
    Node,
}

/// A generator of numbers that look random: splitmix64.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Less than `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or(0)
    }

    /// True this many times of a thousand.
    fn permille(&mut self, rate: u64) -> bool {
        self.next() % 1_000 < rate
    }
}

/// Of a thousand times, how often something goes otherwise, by place.
pub(crate) type Rates = BTreeMap<Place, u64>;

enum Mode {
    Drawn { random: Random, rates: Rates },
    Given(BTreeMap<usize, usize>),
}

/// The decisions of one run, where things can go one way or another.
pub(crate) struct Choices {
    mode: Mode,
    /// The places where something could have gone otherwise, and the options of each.
    pub(crate) asked: Vec<(Place, usize)>,
    /// Decisions that are not the usual one, at most.
    budget: usize,
    taken: usize,
    /// True once nothing goes otherwise any more.
    pub(crate) is_over: bool,
}

impl Choices {
    /// Decisions by a seed, at most `budget` of them unusual.
    pub(crate) fn drawn(seed: u64, rates: Rates, budget: usize) -> Self {
        Self::new(Mode::Drawn { random: Random::new(seed), rates }, budget)
    }

    /// These decisions, by the number of the place, and else nothing unusual.
    pub(crate) fn given(unusual: BTreeMap<usize, usize>) -> Self {
        Self::new(Mode::Given(unusual), usize::MAX)
    }

    fn new(mode: Mode, budget: usize) -> Self {
        Self { mode, asked: Vec::new(), budget, taken: 0, is_over: false }
    }

    /// Decides: 0 = as usual, or one of the other options below `options`.
    pub(crate) fn choose(&mut self, place: Place, options: usize) -> usize {
        if self.is_over {
            return 0;
        }
        let number = self.asked.len();
        self.asked.push((place, options));
        let chosen = match &mut self.mode {
            Mode::Given(unusual) => unusual.get(&number).copied().filter(|c| *c < options).unwrap_or(0),
            Mode::Drawn { random, rates } => {
                let rate = rates.get(&place).copied().unwrap_or(0);
                if self.taken < self.budget && random.permille(rate) { 1 + random.below(options - 1) } else { 0 }
            }
        };
        self.taken += usize::from(chosen != 0);
        chosen
    }
}
