//! Who has to confirm, and who has.

use std::collections::BTreeSet;

use crate::ids::{Generation, ReplicaId};

/// A set of copies, and how many of them have to confirm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// All distinct; those that are asked first come first.
    pub members: Vec<ReplicaId>,
    /// From 1 to the number of members.
    pub count: usize,
}

impl Needed {
    /// True if enough members are among those.
    pub fn is_met(&self, is_there: impl Fn(ReplicaId) -> bool) -> bool {
        self.members.iter().filter(|member| is_there(**member)).count() >= self.count
    }
}

/// Whom a write must reach, by the shard's record at one generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteSets {
    /// Every message carries it, and a copy takes none of another.
    pub generation: Generation,
    /// One set, or the old and the new one of a change, each with its W.
    pub sets: Vec<Needed>,
}

impl WriteSets {
    /// All members of all sets, each once.
    pub fn members(&self) -> BTreeSet<ReplicaId> {
        self.sets.iter().flat_map(|set| set.members.iter().copied()).collect()
    }

    /// True if in each set enough members are among those.
    pub fn are_met(&self, is_there: impl Fn(ReplicaId) -> bool) -> bool {
        self.sets.iter().all(|set| set.is_met(&is_there))
    }
}

/// Another W or R than the table's, for one request, that is not possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{asked} copies are asked for, it must be {lowest} to {highest}")]
pub struct OutOfRange {
    /// What the request asks for.
    pub asked: usize,
    /// The least that is allowed.
    pub lowest: usize,
    /// Number of copies that there are, of the smaller set during a change.
    pub highest: usize,
}
