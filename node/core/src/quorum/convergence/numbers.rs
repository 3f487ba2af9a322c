//! Numbers for what is asked and answered: none comes back during one start of a copy, and hardly any from an earlier one.

use xxhash_rust::xxh3::xxh3_64;

/// Gives numbers, and spreads what copies would else do at the same time.
#[derive(Debug)]
pub(super) struct Numbers {
    last: u64,
    seed: u64,
}

impl Numbers {
    /// `seed` differs from copy to copy and from start to start.
    pub(super) fn new(seed: u64) -> Self {
        // From the upper half of the numbers on there is room for more than anybody counts.
        Self { last: xxh3_64(&seed.to_be_bytes()) >> 1, seed }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.last = self.last.wrapping_add(1);
        self.last
    }

    /// One of so many, from 0 on, as good as any.
    pub(super) fn spread(&mut self, over: u64) -> u64 {
        let drawn = [self.next().to_be_bytes(), self.seed.to_be_bytes()].concat();
        xxh3_64(&drawn).checked_rem(over).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_do_not_come_back_and_differ_from_start_to_start() {
        let mut seen = BTreeSet::new();
        for seed in 0..50 {
            let mut numbers = Numbers::new(seed);
            (0..50).for_each(|_| assert!(seen.insert(numbers.next())));
        }
    }

    #[test]
    fn what_is_spread_is_within_its_bound() {
        let mut numbers = Numbers::new(7);
        let drawn: BTreeSet<u64> = (0..200).map(|_| numbers.spread(10)).collect();
        assert_eq!(drawn, (0..10).collect());
        assert_eq!(numbers.spread(0), 0);
    }
}
