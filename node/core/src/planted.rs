//! Known bugs behind a test-only switch. Without the cargo feature `planted` every question is answered "no" at compile
//! time; with it the simulator plants one bug in a cluster and shows that it is caught.

/// One bug, named after the rule that it breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Planted {
    AckBeforeFsync,
    VoteNotPersisted,
    LeaseWithoutMargin,
    LeaseKeptOverTransfer,
    StaleReadWithoutLease,
    RequestAppliedTwice,
    RequestsMissingInSnapshot,
    SnapshotWithoutPreimage,
    LogCutBeforeSync,
    MissingAnswerIsYes,
    RemoveBeforeCaughtUp,
    ReplicaIdReused,
    TombstoneIgnored,
    FenceIgnored,
    SilenceUnnoticed,
    PatienceForgotten,
    PromiseForgotten,
}

impl Planted {
    /// Every one, for the test that catches them all.
    pub const ALL: [Self; 17] = [
        Self::AckBeforeFsync,
        Self::VoteNotPersisted,
        Self::LeaseWithoutMargin,
        Self::LeaseKeptOverTransfer,
        Self::StaleReadWithoutLease,
        Self::RequestAppliedTwice,
        Self::RequestsMissingInSnapshot,
        Self::SnapshotWithoutPreimage,
        Self::LogCutBeforeSync,
        Self::MissingAnswerIsYes,
        Self::RemoveBeforeCaughtUp,
        Self::ReplicaIdReused,
        Self::TombstoneIgnored,
        Self::FenceIgnored,
        Self::SilenceUnnoticed,
        Self::PatienceForgotten,
        Self::PromiseForgotten,
    ];
}

/// The bug that is planted on this thread, if any.
#[cfg(feature = "planted")]
mod switch {
    use std::cell::Cell;

    use super::Planted;

    thread_local! {
        static CURRENT: Cell<Option<Planted>> = const { Cell::new(None) };
    }

    /// Plants a bug on this thread, or none.
    pub fn plant(bug: Option<Planted>) {
        CURRENT.set(bug);
    }

    pub(crate) fn is_planted(bug: Planted) -> bool {
        CURRENT.get() == Some(bug)
    }
}

#[cfg(feature = "planted")]
pub(crate) use switch::is_planted;
#[cfg(feature = "planted")]
pub use switch::plant;

/// No bug is ever planted in production.
#[cfg(not(feature = "planted"))]
pub(crate) const fn is_planted(_: Planted) -> bool {
    false
}
