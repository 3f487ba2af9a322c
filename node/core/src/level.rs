//! Format levels: which commands, records and rules a release reads and writes, counted, so that nodes of two releases
//! work side by side. Each node reports the highest level that it has; the system shard keeps the level that is enabled,
//! which is the lowest of all nodes of the map and is never lowered. What a level adds is used only once it is enabled, so
//! no node ever meets what it cannot read. Compare cluster versions in CockroachDB and feature gates in Kubernetes.
//!
//! | level | adds |
//! |---|---|
//! | 1 | what the first releases write, before there were levels |
//! | 2 | the commands that enable a level and join at one; a shard's own level in its log and state; versions above the one at which a request was issued; records that can be tombstones, with stamp and siblings |
//! | 3 | quorum tables: the commands that create and alter them and take the steps of their copies' changes; what the map says of them; what their copies tell each other and the steward |
//!
//! This release reads what is of level 3, but does not report the level yet: no database enables it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::engine::Unreadable;

/// A format level, from 1 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FormatLevel(pub u32);

impl FormatLevel {
    /// Of the releases that do not speak of levels.
    pub const FIRST: Self = Self(1);
    /// The first whose shards give versions above the one at which a request was issued.
    pub const CAUSAL_VERSIONS: Self = Self(2);
    /// The first that has records which can be tombstones.
    pub const TOMBSTONES: Self = Self(2);
    /// The first that has quorum tables.
    pub const QUORUM: Self = Self(3);
    /// The highest that this release reads and writes, and so reports.
    pub const NEWEST: Self = Self(2);
    /// Higher than any release will have.
    pub(crate) const MAX: Self = Self(1 << 16);

    /// As another node tells it: one that says nothing is of the first level.
    pub fn told(level: u32) -> Self {
        Self(level).max(Self::FIRST)
    }

    /// Refuses what is of a higher level than this one.
    ///
    /// # Errors
    ///
    /// Names both levels.
    pub(crate) fn admit(self, found: Self) -> Result<(), LevelTooHigh> {
        if found > self { Err(LevelTooHigh { found, highest: self }) } else { Ok(()) }
    }
}

impl Default for FormatLevel {
    fn default() -> Self {
        Self::FIRST
    }
}

impl fmt::Display for FormatLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The database has enabled a format level that this release does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the database has enabled format level {found}, and this program has levels up to {highest}")]
pub(crate) struct LevelTooHigh {
    /// Format level that the database has enabled.
    pub(crate) found: FormatLevel,
    /// The highest that can be read here.
    pub(crate) highest: FormatLevel,
}

impl Unreadable for LevelTooHigh {
    fn is_newer(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineError;

    #[test]
    fn a_level_that_is_not_told_is_the_first() {
        assert_eq!(FormatLevel::told(0), FormatLevel::FIRST);
        assert_eq!(FormatLevel::told(7), FormatLevel(7));
    }

    #[test]
    fn a_level_that_is_too_high_is_refused_with_both_levels_and_the_next_step() {
        assert!(FormatLevel(2).admit(FormatLevel(2)).is_ok());
        let error = EngineError::unreadable(FormatLevel(2).admit(FormatLevel(3)).expect_err("it is too high"));
        assert!(!error.is_damage);
        for part in ["format level 3", "up to 2", "run that version"] {
            assert!(error.message.contains(part), "{error}");
        }
    }
}
