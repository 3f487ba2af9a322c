//! Messages between nodes that arrive a second time, long after the first.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::MILLISECOND;
use crate::hardship::{Hardship, REPEATED_LATE_MAX};
use crate::world::World;

/// No sooner than this, in microseconds: what comes again at once is the network's ([`crate::network`]).
const REPEATED_LATE_MIN: u64 = 100 * MILLISECOND;

/// Owner of what arrives again, and when.
pub(crate) struct LateRepeats {
    rng: ChaCha8Rng,
    /// Of 1,000 messages, how many arrive again.
    share: u32,
}

impl LateRepeats {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x2EBE_2065);
        let share = [2, 10, 40][rng.random_range(0..3)];
        Self { rng, share }
    }

    fn delay(&mut self) -> Option<u64> {
        let is_repeated = self.rng.random_range(0..1_000) < self.share;
        is_repeated.then(|| self.rng.random_range(REPEATED_LATE_MIN..REPEATED_LATE_MAX))
    }
}

impl World {
    /// When the message that is sent now arrives once more. `None` = it does not.
    pub(super) fn repeats_after(&mut self) -> Option<u64> {
        let may_repeat = self.is_troubled && self.setting.has(Hardship::LateRepeats);
        let delay = if may_repeat { self.late_repeats.delay() } else { None };
        if delay.is_some() {
            self.has_struck(Hardship::LateRepeats);
        }
        delay
    }
}
