//! Numbers from a seed, and how long to go on.

use std::time::{Duration, Instant};

/// A generator of numbers (splitmix64): the same seed gives the same run.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    pub(crate) fn is_one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A number that has a meaning somewhere, or is near one that has.
    pub(crate) fn number(&mut self, near: u64) -> u64 {
        match self.below(12) {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            3 => u64::MAX - 1,
            4 => 1 << 63,
            5 => 1 << 32,
            6 => near.wrapping_add(1),
            7 => near.wrapping_sub(1),
            8 => near.wrapping_add(self.next() % 1_000),
            9 => near,
            10 => self.next() % 64,
            _ => self.next(),
        }
    }

    pub(crate) fn bytes(&mut self, max: usize) -> Vec<u8> {
        let len = self.below(max + 1);
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// Runs one seed after the other until the time is over. `SKERRY_FUZZ_SECONDS` = how long, `SKERRY_FUZZ_SEED` = only this
/// seed. A seed that fails is printed with how to run it again.
pub(crate) fn for_each_seed(name: &str, mut run: impl FnMut(u64)) {
    let from_env = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    if let Some(seed) = from_env("SKERRY_FUZZ_SEED") {
        return run(seed);
    }
    let until = Instant::now() + Duration::from_secs(from_env("SKERRY_FUZZ_SECONDS").unwrap_or(10));
    let mut seeds = 0;
    while Instant::now() < until {
        let told = Told { name, seed: seeds };
        run(seeds);
        std::mem::forget(told);
        seeds += 1;
    }
    println!("{name}: {seeds} seeds");
}

/// Says which seed it was when a run panics.
struct Told<'a> {
    name: &'a str,
    seed: u64,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        println!("{}: seed {} failed; SKERRY_FUZZ_SEED={} runs it again", self.name, self.seed, self.seed);
    }
}
