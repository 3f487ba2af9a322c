//! How many copies of one shard belong in each zone.

/// The bounds that zones of given sizes set for one number of copies: every zone gets `low` to `high` of them (as far as
/// it has nodes), and `extras` zones the higher number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spread {
    level: usize,
    /// Zones that hold one more than their low.
    pub(super) extras: usize,
}

impl Spread {
    /// The spread of `copies`, at most as many as there are nodes.
    pub(super) fn new(copies: usize, zone_sizes: &[usize]) -> Self {
        let held = |level: usize| zone_sizes.iter().map(|size| (*size).min(level)).sum::<usize>();
        let level = (1..=copies).find(|level| held(*level) >= copies).unwrap_or(copies);
        Self { level, extras: copies.saturating_sub(held(level - 1)) }
    }

    /// Copies that a zone of this size holds at least.
    pub(super) fn low(&self, zone_size: usize) -> usize {
        zone_size.min(self.level - 1)
    }

    /// Copies that a zone of this size holds at most.
    pub(super) fn high(&self, zone_size: usize) -> usize {
        zone_size.min(self.level)
    }
}
