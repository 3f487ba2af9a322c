//! Time as the core sees it: handed in, never read. The monotonic clock measures leases and timeouts of this process;
//! the wall clock only feeds versions.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Both clocks of one node at one instant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on a clock that never goes back and that goes on while the process is paused.
    pub monotonic_ms: u64,
    /// Milliseconds since 1970 on a clock that may jump either way.
    pub wall_ms: u64,
}

/// Milliseconds between two ticks of a node.
pub const TICK_MS: u64 = 50;
/// Ticks for which a follower that heard of its leader votes for nobody else.
pub(crate) const ELECTION_TICKS: usize = 14;
/// Ticks without a word after which a node counts as silent: a follower would stand for election by then.
pub(crate) const SILENT_TICKS: u64 = ELECTION_TICKS as u64;

/// How people read of a replica's lag behind its leader, in milliseconds; `u64::MAX` = unknown.
pub fn lag(behind_ms: u64) -> String {
    match behind_ms {
        u64::MAX => "behind by an unknown time".to_owned(),
        known => format!("{known} ms behind"),
    }
}

/// The latest wall clock that versions follow: far below what they can hold, so that they can rise for ever after it.
pub(crate) const WALL_MS_MAX: u64 = (1 << 46) - (1 << 40);

/// A hybrid logical clock stamp: 46 bits of milliseconds since 1970, 18 bits of counter.
/// Kulkarni et al., "Logical Physical Clocks", 2014.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    pub(crate) const COUNTER_BITS: u32 = 18;

    /// The lowest version of a millisecond. Times after the year 4160 count as the last of it.
    pub fn at_ms(wall_ms: u64) -> Self {
        Self(wall_ms.min(WALL_MS_MAX) << Self::COUNTER_BITS)
    }

    /// Milliseconds since 1970 that this version holds.
    pub fn wall_ms(self) -> u64 {
        self.0 >> Self::COUNTER_BITS
    }

    /// The next version: now, or one after `self` if the clock is behind it. Strictly above `self`.
    #[must_use]
    pub fn next(self, wall_ms: u64) -> Self {
        Self(self.0.saturating_add(1).max(Self::at_ms(wall_ms).0))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_rise_whatever_the_clock_shows() {
        let mut version = Version(0);
        for wall_ms in [5, 0, 1_700_000_000_000, u64::MAX, 1_700_000_000_000, 1 << 46, 0, u64::MAX] {
            let next = version.next(wall_ms);
            assert!(next > version, "{next} after {version} at {wall_ms}");
            version = next;
        }
        assert!(version.wall_ms() <= WALL_MS_MAX);
    }
}
