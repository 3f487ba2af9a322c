//! Who is measured, what is measured of it in one round, and the median.

use std::fmt;
use std::time::Duration;

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum System {
    /// Three nodes on the default engine.
    SkerrySled,
    /// Three nodes on the second engine.
    SkerryFjall,
    /// Three members.
    Etcd,
    /// One copy, every write synced.
    Redis,
}

impl System {
    /// All, in the order of the table.
    pub(crate) const ALL: [Self; 4] = [Self::SkerrySled, Self::SkerryFjall, Self::Etcd, Self::Redis];

    /// As the table says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SkerrySled => "Skerry (sled)",
            Self::SkerryFjall => "Skerry (fjall)",
            Self::Etcd => "etcd",
            Self::Redis => "Redis (one copy)",
        }
    }
}

/// One round of one system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Acknowledged writes a second, many in flight.
    pub(crate) writes: f64,
    /// Linearizable reads a second, many in flight.
    pub(crate) reads: f64,
    /// Half of the writes of one client alone took no longer.
    pub(crate) alone_p50: Duration,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alone = self.alone_p50.as_secs_f64() * 1e3;
        write!(f, "{:>7.0} writes/s {:>7.0} reads/s, alone {alone:.2} ms", self.writes, self.reads)
    }
}

/// The lower middle one.
pub(crate) fn middle(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_nothing_is_nothing_and_of_three_the_middle_one() {
        assert_eq!(middle([].into_iter()), None);
        assert_eq!(middle([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(middle([2.0, 1.0].into_iter()), Some(1.0));
    }
}
