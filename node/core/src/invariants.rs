//! What must hold in every database at every moment, one rule a file. Fed with plain views of replicas and maps, by the
//! simulator after every step; each rule remembers what it needs of the past.

pub mod agreement;
pub mod blank;
pub mod bounds;
pub mod committed;
pub mod copies;
pub mod durable;
pub mod floor;
pub mod identity;
pub mod in_sync;
pub mod leaders;
pub mod leases;
pub mod levels;
pub mod margin;
pub mod moves;
pub mod overlap;
pub mod stalled;

/// A rule that did not hold: which, and what was seen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {seen}")]
pub struct Broken {
    /// The invariant that was violated, in words.
    pub rule: &'static str,
    /// The values that violate the invariant, in words.
    pub seen: String,
}

pub(crate) fn broken(rule: &'static str, seen: String) -> Result<(), Broken> {
    Err(Broken { rule, seen })
}
