//! How long a crashed node waits before it is started again: at once the first time, longer each time, and at once again
//! after it ran well for a while.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_millis(500);
const MOST: Duration = Duration::from_secs(15);
/// A node that ran this long was well.
const WELL_AFTER: Duration = Duration::from_secs(30);

/// The growing pauses between the starts of one node that keeps ending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    crashes: u32,
}

impl Backoff {
    /// Notes an end; gives the time of the next start.
    pub(crate) fn ended(&mut self, started: Instant, now: Instant) -> Instant {
        if now.duration_since(started) >= WELL_AFTER {
            self.crashes = 0;
        }
        let wait = FIRST.saturating_mul(1 << self.crashes.min(10)).min(MOST);
        self.crashes += 1;
        now + wait
    }

    /// Ends in a row, none of them after a good while.
    pub(crate) fn crashes(self) -> u32 {
        self.crashes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_a_good_run_resets_them() {
        let mut backoff = Backoff::default();
        let start = Instant::now();
        let waits: Vec<u128> = (0..7).map(|_| (backoff.ended(start, start) - start).as_millis()).collect();
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
        let later = start + WELL_AFTER;
        assert_eq!(backoff.ended(start, later) - later, FIRST);
        assert_eq!(backoff.crashes(), 1);
    }
}
