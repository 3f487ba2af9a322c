//! How often copies compare, how often rounds raise the floor, and how far that stays behind the clock.

use crate::quorum::floor::FLOOR_BEHIND_MS;
use crate::time::TICK_MS;

/// Lengths of time by which copies become equal. Whatever they are, nothing is lost and nothing comes back: shorter ones
/// make more work, and refuse writes that are under way for as long as a bar stays behind the clock. All copies of a
/// shard have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Ticks from the beginning of one round to that of the next one.
    pub round_ticks: u64,
    /// Milliseconds by which a round's bar stays behind the clock, at most [`FLOOR_BEHIND_MS`].
    pub behind_ms: u64,
    /// Ticks from one comparison with a copy to the next one, where nothing else asks for one.
    pub compare_ticks: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { round_ticks: 60_000 / TICK_MS, behind_ms: FLOOR_BEHIND_MS, compare_ticks: 600_000 / TICK_MS }
    }
}

impl Pace {
    /// What a clock that shows this would show if bars were to stay [`FLOOR_BEHIND_MS`] behind it.
    pub(super) fn usual_ms(&self, wall_ms: u64) -> u64 {
        wall_ms.saturating_add(FLOOR_BEHIND_MS.saturating_sub(self.behind_ms))
    }
}
