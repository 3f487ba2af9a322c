//! What the place offers where the databases are to run.

use std::collections::BTreeSet;

use skerry_core::level::FormatLevel;

/// What the place that the nodes run in has to offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// The zones that nodes can be in. `None` = any that is named.
    pub zones: Option<BTreeSet<String>>,
    /// The highest format level of the release that this is of. What needs a higher one is refused.
    pub level: FormatLevel,
}

impl Default for Environment {
    fn default() -> Self {
        Self { zones: None, level: FormatLevel::NEWEST }
    }
}

impl Environment {
    /// True if nodes of this release can have Quorum tables. Those of a database may be of an earlier one.
    pub fn has_quorum_tables(&self) -> bool {
        self.level >= FormatLevel::QUORUM
    }
}

/// The schema refuses Quorum tables by a constant of its own: whoever raises the level has to raise that too.
const _: () = assert!(
    skerry_api::QUORUM_TABLES == (FormatLevel::NEWEST.0 >= FormatLevel::QUORUM.0),
    "skerry_api::QUORUM_TABLES is to say whether FormatLevel::NEWEST has quorum tables: change it, and run `make crds`"
);
