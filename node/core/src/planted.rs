//! Known bugs behind a test-only switch. Without the cargo feature `planted` every question is answered "no" at compile
//! time; with it the simulator plants one bug in a cluster and shows that it is caught.

/// Declares the bugs and the list of all of them.
macro_rules! planted {
    ($($(#[$doc:meta])* $bug:ident,)*) => {
        /// One bug, named after the rule that it breaks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Planted {
            $($(#[$doc])* $bug,)*
        }

        impl Planted {
            /// Every one, for the tests that catch them all.
            pub const ALL: &[Self] = &[$(Self::$bug,)*];
        }
    };
}

planted! {
    // Durability order.
    /// A follower acknowledges entries before its log has them on disk.
    AckBeforeFsync,
    /// A vote leaves before it is on disk, and never gets there.
    VoteNotPersisted,
    /// The log forgets entries that the store has applied but not synced.
    LogCutBeforeSync,
    /// A snapshot counts as installed before the store has made it durable.
    SnapshotInstalledBeforeSync,
    /// A new copy speaks before the store has made it durable.
    NewCopySpeaksBeforeSync,
    /// The log notes the end of a copy before the store has made its tombstone durable.
    EndNotedBeforeSync,
    /// A loss is told to the steward before the copy's tombstone is durable.
    LossToldBeforeSync,

    // Leases and reads.
    /// The lease is longer than the time for which followers vote for nobody else.
    LeaseWithoutMargin,
    /// A leader that hands over keeps its lease.
    LeaseKeptOverTransfer,
    /// A leader answers reads without a lease and without asking a quorum.
    StaleReadWithoutLease,
    /// A restarted follower forgets what the process before it promised its leader.
    PromiseForgotten,

    // Request ids.
    /// A retry takes effect a second time.
    RequestAppliedTwice,
    /// A restarted copy knows no requests.
    RequestsForgottenAtOpen,
    /// The outcome of a write whose condition failed is not remembered.
    FailedConditionForgotten,

    // Snapshots.
    /// A snapshot carries the records, but not the table of request ids.
    RequestsMissingInSnapshot,
    /// Records that change while a snapshot streams reach it in their new form.
    SnapshotWithoutPreimage,
    /// A key that was absent when a snapshot began, and is put while it streams, is in the snapshot.
    PreimageOfAbsentForgotten,
    /// A receiver takes a later piece of a snapshot for the next.
    SnapshotPieceSkipped,
    /// Pieces of a broken-off snapshot stay when another comes.
    RemainsNotWiped,

    // Members.
    /// The old copies are removed before the new ones have caught up.
    RemoveBeforeCaughtUp,
    /// A new copy gets the id of one that was there before.
    ReplicaIdReused,
    /// A node takes a copy up again that it has ended.
    TombstoneIgnored,
    /// Members come into the map before a majority knows of them.
    MembersToldUnsure,
    /// A copy that asks for votes, since it hears no leader, counts as one that was heard of.
    VoteRequestCountsAsHeard,

    // Garbage.
    /// A new copy begins while records of the last one are still being deleted.
    GarbageNotAwaited,
    /// A restarted node does not go on deleting what an ended copy left.
    GarbageForgottenAtOpen,

    // Restart.
    /// Entries that the store has not applied are dropped when a copy is opened.
    LogDroppedAtOpen,

    // Certificates.
    /// A shard whose leader did not answer counts as one that agreed.
    MissingAnswerIsYes,
    /// A certificate is given however few copies are in step elsewhere.
    CopiesNotCounted,

    // Epochs, incarnations and fencing tokens.
    /// The system shard takes commands of an operator that was followed by another.
    FenceIgnored,
    /// A node takes changes of the map that leave a gap.
    MapGapTaken,

    // Liveness.
    /// A node that falls silent leaves its quiescent shards asleep.
    SilenceUnnoticed,
    /// A follower that is woken counts its leader as silent for longer than it has been.
    PatienceForgotten,
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
