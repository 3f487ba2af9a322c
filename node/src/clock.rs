//! The clocks of this process, and the rhythm of the core's ticks.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use skerry_core::time::Now;

/// Reads both clocks.
///
/// The monotonic one must go on while the machine sleeps, or a lease would outlive its holder's pause: that is
/// `CLOCK_BOOTTIME` on Linux, and what `CLOCK_MONOTONIC` means elsewhere.
pub fn now() -> Now {
    Now { monotonic_ms: monotonic_ms(), wall_ms: wall_ms() }
}

/// Milliseconds on the clock that never goes back.
pub fn monotonic_ms() -> u64 {
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let milliseconds = u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000;
    seconds * 1_000 + milliseconds
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Says when a tick is due: once a period, and after a pause once, not once for every period that was slept through.
#[derive(Debug)]
pub struct Ticker {
    period_ms: u64,
    next_ms: u64,
}

impl Ticker {
    /// The first tick is due one period from now.
    pub fn new(period_ms: u64, now_ms: u64) -> Self {
        Self { period_ms, next_ms: now_ms + period_ms }
    }

    /// True if a tick is due; it then counts as given.
    pub fn due(&mut self, now_ms: u64) -> bool {
        if now_ms < self.next_ms {
            return false;
        }
        let late = now_ms - self.next_ms;
        self.next_ms = if late < self.period_ms { self.next_ms } else { now_ms } + self.period_ms;
        true
    }

    /// How long until the next tick.
    pub fn wait(&self, now_ms: u64) -> Duration {
        Duration::from_millis(self.next_ms.saturating_sub(now_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_keep_their_rhythm_when_a_little_late() {
        let mut ticker = Ticker::new(50, 0);
        assert!(!ticker.due(49));
        assert!(ticker.due(60));
        assert!(!ticker.due(99));
        assert!(ticker.due(100));
    }

    #[test]
    fn a_pause_gives_one_tick_not_a_burst() {
        let mut ticker = Ticker::new(50, 0);
        assert!(ticker.due(10_000));
        assert!(!ticker.due(10_001));
        assert_eq!(ticker.wait(10_001), Duration::from_millis(49));
        assert!(ticker.due(10_050));
    }
}
