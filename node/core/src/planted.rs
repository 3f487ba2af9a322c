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
    /// Two writes of one copy to the log become one that keeps entries which the later one replaces.
    ReplacedEntriesKept,
    /// The log is not told where a copy's entries begin.
    LogStartUntold,
    /// A new copy speaks before the store has made it durable.
    NewCopySpeaksEarly,
    /// What a new process finds in its store counts as durable although nobody has synced it.
    OpenTakenForDurable,
    /// The log notes the end of a copy before the store has made its tombstone durable.
    EndNotedBeforeSync,
    /// A loss is told to the steward before the copy's tombstone is durable.
    LossToldBeforeSync,

    // Damage and what is none.
    /// What a newer release wrote counts as damage: its store would be given up.
    NewerTakenForDamage,

    // Leases and reads.
    /// The lease is longer than the time for which followers vote for nobody else.
    LeaseWithoutMargin,
    /// A leader that hands over keeps its lease.
    LeaseKeptOverTransfer,
    /// A leader answers reads without a lease and without asking a quorum.
    StaleReadWithoutLease,
    /// A restarted follower forgets what the process before it promised its leader.
    PromiseForgotten,
    /// A follower that hears of a higher term forgets its leader, and with it what it promised that leader.
    PromiseLostWithLeader,
    /// A leader keeps its lease over a change of members.
    LeaseKeptOverMembers,
    /// A confirmed read is answered before what it must see is applied.
    ReadBeforeApplied,
    /// A deposed leader says of writes under way that they did not happen.
    UnknownTakenForNo,

    // Request ids.
    /// A retry takes effect a second time.
    RequestAppliedTwice,
    /// Request ids are forgotten when a batch is written, not when each is one too many.
    EvictionByBatch,
    /// Of the requests that were issued at the same time some are forgotten and some are not, until a restart.
    ForgottenOneByOne,
    /// The store notes how far it is before it has the records.
    AppliedIndexFirst,
    /// The request ids of a broken-off snapshot stay when another comes.
    RemainsOfRequests,
    /// A request id may be issued at any time in the future.
    IssuedInFuture,

    // Versions.
    /// A leader follows its own wall clock, whatever most nodes' clocks say.
    OwnClockBelieved,

    // Disks.
    /// A leader asks only its own disk whether there is room for a put.
    FollowersDiskIgnored,
    /// A node takes a snapshot in though its disk is nearly full.
    SnapshotToFullDisk,
    /// The steward chooses nodes for new copies whose disks are nearly full.
    FullNodeChosen,
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
    /// Pieces of a broken-off snapshot stay when another comes.
    RemainsNotWiped,
    /// A copy that gave its records up takes and acknowledges entries until its first tick.
    BlankFromFirstTick,
    /// A copy takes a snapshot that is older than what it knows to be committed; raft does not.
    SnapshotBelowCommitted,
    /// A restart after a snapshot drops the log behind it too.
    LogDroppedBehindSnapshot,
    /// A copy stands at a snapshot that the store has not made durable.
    SnapshotStandsUnsynced,
    /// A copy forgets that its records are a snapshot's, which its log does not reach yet.
    SnapshotForgotten,
    /// The pieces of a snapshot are stored in any order.
    PieceOutOfOrder,
    /// A damaged piece of a snapshot is stored.
    PieceUnchecked,
    /// A leader does not learn from a copy that waits for its snapshot what is committed.
    CommittedUnlearnt,
    // Lost volumes.
    /// A node whose store is lost takes the copies that the map has there for new ones.
    EmptiedTakenForNew,
    /// A copy is opened from a store of an earlier time than the log.
    EarlierStoreTrusted,

    // Members.
    /// The old copies are removed before the new ones have caught up.
    RemoveBeforeCaughtUp,
    /// A joint configuration is entered though a copy that it needs was only heard of, and may be gone.
    JointUnprobed,
    /// Fewer copies are assigned while one that stays is not heard of.
    CopiesGivenUpUnseen,
    /// Members change by the same way whatever copies it exposes: all come first, then all go.
    PromotedBeforeRemoval,
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

    // Recovery of a shard that has lost its majority.
    /// A node that is not heard of counts as lost though nobody has named it so.
    UnheardIsLost,
    /// A copy that was given up goes on to vote and to lead.
    GivenUpCopySpeaks,
    /// The copy that goes on forgets the entries that it does not know to be committed.
    UncommittedTailDropped,

    // Certificates.
    /// A shard whose leader did not answer counts as one that agreed.
    MissingAnswerIsYes,
    /// A node is removed without asking whether it drains.
    RemovedUndrained,
    /// A certificate counts for a node that was started or drained anew since.
    OldCertificateTaken,
    /// A node is removed without a certificate.
    RemovedUncertified,
    /// A certificate is given however few copies are in step elsewhere.
    CopiesNotCounted,
    /// Whoever answers for a shard counts as its leader.
    AnybodyCertifies,

    // What peers send.
    /// A heartbeat's commit index is believed, however long the follower's log is.
    CommitUnchecked,
    /// Entries that leave a gap, or whose terms fall, are appended.
    EntriesUnchecked,
    /// An acknowledgement of entries that the leader does not have counts.
    AcknowledgementUnchecked,
    /// A message counts as from the copy that it names, whichever node it is from.
    SenderUnchecked,
    /// An entry may hold anything, whatever the shard is.
    PayloadUnchecked,
    /// Whoever sends a map has it believed at once.
    MapUnconfirmed,
    /// A map may have any numbers.
    MapUnchecked,
    /// A report may tell of any shard.
    ReportUnchecked,
    /// Anybody may ask for certificates, and have leaders moved.
    StewardUnchecked,
    /// A snapshot may have any bounds and members, and its pieces any keys.
    SnapshotUnchecked,
    /// A snapshot of the system shard may tell only of copies that this node's own copy of it has heard of.
    SystemOfferByOwnMap,
    /// An entry that cannot be read is left out, and what follows is applied.
    UnreadableSkipped,
    /// A node's start is believed, however high.
    IncarnationUnchecked,

    // Epochs, incarnations and fencing tokens.
    /// The system shard takes commands of an operator that was followed by another.
    FenceIgnored,
    /// A fencing token may be as high as it likes.
    TokenUnbounded,
    /// A node takes changes of the map that leave a gap.
    MapGapTaken,

    // Liveness.
    /// Copies draw the same election time-outs if their numbers and their nodes' do, and stand at the same time for ever.
    TimeoutsAlike,
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
