//! Known bugs of a round behind a test-only switch. Without the cargo feature `planted` every question is answered "no" at
//! compile time; with it a test plants one bug and shows that it is caught. Each says by what.

/// One bug, named after the rule that it breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// What was to be written down first is taken as written, though that failed. `round/tests.rs`
    RecordNotAwaited,
    /// A write that failed does not end its batch: the next one is made all the same. `round/tests.rs`
    FailureGoesOn,
    /// What cannot be taken back is done on whatever resource was read, however long ago. `round/tests.rs`
    GuardLeftOut,
    /// A node is restarted, or replaced, though more may have been evicted since the look. `round/tests.rs`
    TakesDownAfterEviction,
    /// Any answer is a certificate. `round/tests.rs`
    AnyAnswerCertifies,
    /// A pod may be evicted while one is about to be ended. `kubernetes/writes/tests.rs`
    BudgetKept,
    /// The budget stays as it was while it is not known what pods there are. `kubernetes/writes/tests.rs`
    BudgetUnknown,
    /// A node is replaced in a StatefulSet that somebody else has changed. `kubernetes/writes/tests.rs`
    ReplacedAsChanged,
    /// A claim that is set aside is deleted though its node is in the database. `kubernetes/actions/tests.rs`
    DeletedUncertified,
    /// A claim is deleted before its volume is kept. `kubernetes/actions/tests.rs`
    DeletedBeforeKept,
    /// A pod is ended whose claim somebody has deleted, and its volume goes with it. `kubernetes/actions/tests.rs`
    DeletedByHandNotKept,
    /// A pod on a host that is gone is waited for, for ever. `kubernetes/actions/tests.rs`
    OverdueAwaited,
    /// A replacement of which half was carried out is left so once its node speaks again. `plan/tests/replace_once.rs`
    HalfReplaced,
    /// The process of a node on a claim that goes is ended while a copy is on its way to it. `plan/tests/replace_once.rs`
    ComingCopyIgnored,
    /// A silent node is replaced while a copy is on its way to it, as if whom the steward does not hear nobody heard.
    /// `plan/tests/replace_coming.rs`
    SilentTakesNoCopies,
    /// More copies are bound for a node whose volume is given up already, as long as it speaks. `plan/tests/replace_coming.rs`
    GivenUpGetsCopies,
    /// A node is restarted though its claim goes with its process, and it does not come back on its volume.
    /// `plan/tests/replace_coming.rs`
    RestartedWithoutVolume,
    /// A silent node is replaced only when those have left that are to leave, which wait for its copies. `plan/tests/replace_once.rs`
    SilentAwaitsLeaving,
    /// Whatever ends a pod that a person wants replaced, its volume is given up. `plan/tests/replace_once.rs`
    EndingIsBegun,
    /// What comes back with its node waits for the approval of moves, and the node leaves meanwhile. `plan/tests/replace.rs`
    ReturnAwaitsApproval,
    /// A Quorum table is asked for though a node runs a release that cannot read it. `plan/tests/quorum.rs`
    QuorumTableTooEarly,
    /// A copy of a Quorum shard counts as long as it is not told to be lost, whether its node is heard or not.
    /// `health/tests.rs`
    SilentCopyCounts,
    /// A copy of a Quorum shard counts as one that lacks nothing as soon as it is heard again. `health/tests.rs`
    ReturnedCopyCounts,
    /// A copy of a Quorum shard counts only if it and every other one have all of each other, so that one full disk holds all
    /// others up. `plan/tests/quorum_full.rs`
    FullCopyHoldsUp,
    /// A silent node is given up whatever its copies have said last. `plan/tests/quorum_lost.rs`
    LastWordIgnored,
    /// A copy whose node takes writes is given up though others lack the last of those that it has acknowledged alone.
    /// `plan/tests/quorum_lost.rs`
    WritesUnderWayIgnored,
    /// Once a person has accepted that a copy of a shard is lost, any other one of it is given up as well. `plan/tests/quorum_lost.rs`
    LossAcceptedForEver,
    /// Who is told to found the database is not written down before. `plan/tests/running.rs`
    FounderNotWritten,
    /// Whoever answers with a database's id answers for every resource that has it. `operator/tests/cluster/neighbours.rs`
    NamesakeAnswers,
    /// A StatefulSet whose template is about to change is no change. `operator/tests/cluster/rollout.rs`
    TemplateNotUnderWay,
    /// Who leads is asked before what a write is guarded by is read, and not after. `operator/tests/cluster/lease.rs`
    LedBeforeGuard,
    /// An operator leads by its own Lease whoever of its earlier release leads by the other. `operator/tests/cluster/releases.rs`
    EarlierReleaseIgnored,
    /// Watches go on from a version above all that Kubernetes' restored store has. `operator/tests/cluster/lease.rs`
    WatchesGoOn,
    /// A Lease that has gone back to an earlier holder is taken by that one at once. `operator/tests/cluster/lease.rs`
    GoneBackTakenAtOnce,
    /// A Lease that nobody has written for long is taken at once by an operator that has just started, if it was given up, or
    /// names that one. `operator/tests/cluster/lease.rs`
    RestoredTakenAtOnce,
    /// The image of a database is the operator's, whether or not its nodes run another. `kubernetes/identity.rs`
    ImageOfTheOperator,
}

/// The bug that is planted on this thread, if any.
#[cfg(any(test, feature = "planted"))]
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

    /// True if this bug is planted.
    pub fn is_planted(bug: Planted) -> bool {
        CURRENT.get() == Some(bug)
    }
}

#[cfg(any(test, feature = "planted"))]
pub use switch::{is_planted, plant};

/// No bug is ever planted in production.
#[cfg(not(any(test, feature = "planted")))]
pub const fn is_planted(_: Planted) -> bool {
    false
}
