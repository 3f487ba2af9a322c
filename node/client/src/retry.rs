//! What went wrong with an attempt, and what that means for the next one: [`skerry_core::client::progress`] decides.

use std::time::Duration;

use skerry_core::client::progress::Failure;
use skerry_core::ids::NodeId;
use skerry_core::quorum::prepare::NotBegun;

use crate::wire::{Denial, Malformed, QuorumDenial};

/// What went wrong with one attempt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The node did not carry it out, and said why.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// There is no connection to the node: nothing was sent.
    #[error("node {node} cannot be reached")]
    Unreached {
        /// Node that was asked.
        node: NodeId,
    },
    /// The connection broke before there was an answer.
    #[error("the connection to node {node} broke before it answered")]
    Lost {
        /// Node that was asked.
        node: NodeId,
    },
    /// The node did not answer in time.
    #[error("node {node} has not answered in time")]
    Silent {
        /// Node that was asked.
        node: NodeId,
    },
    /// The client's shard map has no shard for the key, or no node for the shard.
    #[error("the shard map names no node for the key")]
    NoRoute,
    /// The node's answer cannot be understood.
    #[error("failed to understand the node's answer")]
    Answer(#[from] Malformed),
}

impl Fault {
    /// True if a write may have taken effect all the same.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::Lost { .. } | Self::Silent { .. } | Self::Answer(_) => true,
            Self::Denied(denial) => denial.may_have_happened(),
            Self::Unreached { .. } | Self::NoRoute => false,
        }
    }

    /// What it means for the next attempt.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Denied(denial) => of_denial(denial),
            Self::Unreached { .. } | Self::Lost { .. } | Self::Silent { .. } | Self::NoRoute => Failure::Passing,
            Self::Answer(_) => Failure::Lasting,
        }
    }

    /// True for what every copy of a quorum shard would say, now and later; false for what concerns the copy that was asked
    /// alone: its clock, its disk, what it holds of the keys, and what it knows of the shard's copies.
    pub fn is_of_all_copies(&self) -> bool {
        match self {
            Self::Denied(denial) => is_of_all_copies(denial),
            Self::Unreached { .. } | Self::Lost { .. } | Self::Silent { .. } | Self::NoRoute | Self::Answer(_) => false,
        }
    }
}

fn of_denial(denial: &Denial) -> Failure {
    match denial {
        Denial::NotLeader { leader: Some(_), .. } | Denial::Quorum(QuorumDenial::NotCoordinator { .. }) => {
            Failure::Elsewhere
        }
        Denial::TooStale { .. } => Failure::TooStale,
        Denial::RequestTooOld { floor } => Failure::TooOld(*floor),
        Denial::RequestTooNew { allowed, .. } => Failure::TooNew(*allowed),
        Denial::Overloaded { retry_after, .. } => Failure::Overloaded(retry_after.unwrap_or_default()),
        Denial::Quorum(denial) => match denial.allowed() {
            Some(allowed) => Failure::TooNew(allowed),
            None if denial.passes() => Failure::Passing,
            None => Failure::Lasting,
        },
        Denial::NotLeader { leader: None, .. }
        | Denial::WrongShard { .. }
        | Denial::UnknownTable { .. }
        | Denial::OutcomeUnknown { .. }
        | Denial::Closing => Failure::Passing,
        Denial::DiskFull { .. }
        | Denial::Limit(_)
        | Denial::ConditionFailed { .. }
        | Denial::UnreadableRecord { .. }
        | Denial::Malformed { .. } => Failure::Lasting,
    }
}

fn is_of_all_copies(denial: &Denial) -> bool {
    match denial {
        // Of the copies: whoever says so has waited for them for about as long as any other one will be waited for.
        Denial::OutcomeUnknown { too_few_copies, .. } => *too_few_copies,
        Denial::Quorum(QuorumDenial::TooFewCopies { .. })
        | Denial::Limit(_)
        | Denial::ConditionFailed { .. }
        | Denial::UnreadableRecord { .. }
        | Denial::Malformed { .. }
        | Denial::Quorum(
            QuorumDenial::NoQuorumTable(_)
            | QuorumDenial::ConditionsNeedLeader
            | QuorumDenial::BadContext(_)
            | QuorumDenial::NotBegun(NotBegun::ContextNeeded)
            // Of reads, which can be asked again.
            | QuorumDenial::StalenessUnknown { .. }
            | QuorumDenial::ReadQuorum(_),
        ) => true,
        Denial::NotLeader { .. }
        | Denial::WrongShard { .. }
        | Denial::UnknownTable { .. }
        | Denial::Overloaded { .. }
        | Denial::DiskFull { .. }
        | Denial::TooStale { .. }
        | Denial::RequestTooOld { .. }
        | Denial::RequestTooNew { .. }
        | Denial::Closing
        | Denial::Quorum(
            QuorumDenial::NotCoordinator { .. }
            | QuorumDenial::NotBegun(NotBegun::Siblings { .. } | NotBegun::Context { .. } | NotBegun::Ahead { .. })
            | QuorumDenial::WriteQuorum(_)
            | QuorumDenial::CopiesFull { .. }
            | QuorumDenial::BatchTooLarge { .. },
        ) => false,
    }
}

/// A pause in the upper half of the longest, so that many clients do not come back together.
pub(crate) fn jittered(longest: Duration) -> Duration {
    longest.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use skerry_core::client::progress::{Progress, Step};
    use skerry_core::ids::{Epoch, ShardId, TableId};
    use skerry_core::limits::{LimitExceeded, STAMP_AHEAD_MS_MAX};
    use skerry_core::node::NotCoordinator;
    use skerry_core::quorum::copies::OutOfRange;
    use skerry_core::time::Version;

    use super::*;
    use crate::wire::Leader;

    const NODE: NodeId = NodeId(1);
    const SHARD: ShardId = ShardId(1);

    fn not_leader(hint: bool) -> Fault {
        let leader = hint.then(|| Leader { node: NODE, address: String::new() });
        Denial::NotLeader { shard: SHARD, leader }.into()
    }

    fn elsewhere() -> Fault {
        Denial::from(QuorumDenial::NotCoordinator { shard: SHARD, reason: NotCoordinator::Starting }).into()
    }

    fn ahead() -> Fault {
        Denial::from(QuorumDenial::from(NotBegun::Ahead { version: Version(1), wall_ms: 7 })).into()
    }

    fn too_old() -> Fault {
        Denial::RequestTooOld { floor: Version(1) }.into()
    }

    fn all_mean(failure: Failure, faults: &[Fault]) {
        faults.iter().for_each(|fault| assert_eq!(fault.failure(), failure, "{fault}"));
    }

    #[test]
    fn each_fault_means_what_the_next_attempt_is_to_do() {
        all_mean(Failure::Elsewhere, &[not_leader(true), elsewhere()]);
        all_mean(Failure::TooStale, &[Denial::TooStale { behind_ms: u64::MAX }.into()]);
        all_mean(Failure::TooOld(Version(1)), &[too_old()]);
        all_mean(Failure::TooNew(Version(3)), &[Denial::RequestTooNew { shard: SHARD, allowed: Version(3) }.into()]);
        all_mean(Failure::TooNew(Version::at_ms(7 + STAMP_AHEAD_MS_MAX)), &[ahead()]);
        let retry_after = Some(Duration::from_secs(1));
        let overloaded = |retry_after| Denial::Overloaded { shard: None, queued: 9, retry_after }.into();
        all_mean(Failure::Overloaded(Duration::from_secs(1)), &[overloaded(retry_after)]);
        all_mean(Failure::Overloaded(Duration::ZERO), &[overloaded(None)]);
        let passing = [
            not_leader(false),
            Denial::WrongShard { epoch: Epoch(1) }.into(),
            Denial::UnknownTable { table: TableId(1) }.into(),
            Denial::OutcomeUnknown { shard: SHARD, too_few_copies: true }.into(),
            Denial::from(QuorumDenial::TooFewCopies { shard: SHARD }).into(),
            Denial::Closing.into(),
            Fault::Unreached { node: NODE },
            Fault::Lost { node: NODE },
            Fault::Silent { node: NODE },
            Fault::NoRoute,
        ];
        all_mean(Failure::Passing, &passing);
        let lasting: [Denial; 6] = [
            Denial::DiskFull { node: Some(NODE) },
            Denial::Limit(LimitExceeded::Key { bytes: 0 }),
            Denial::ConditionFailed { condition: 0, actual: None },
            Denial::Malformed { field: String::new() },
            QuorumDenial::NoQuorumTable(TableId(1)).into(),
            QuorumDenial::CopiesFull { full: 2, needed: 2 }.into(),
        ];
        all_mean(Failure::Lasting, &lasting.map(Fault::from));
    }

    #[test]
    fn a_write_that_may_have_happened_is_not_given_a_new_id() {
        let unknown = Denial::OutcomeUnknown { shard: SHARD, too_few_copies: false };
        for first in [Fault::Lost { node: NODE }, Fault::Silent { node: NODE }, unknown.into()] {
            for then in [too_old(), ahead()] {
                let mut progress = Progress::default();
                let mut after =
                    |fault: &Fault| progress.after(fault.failure(), fault.may_have_happened(), Duration::ZERO);
                after(&first);
                let step = after(&then);
                assert!(
                    matches!(step, Step::Stop | Step::Again { fresh_id: false, .. }),
                    "{first}, then {then}: {step:?}"
                );
            }
        }
    }

    #[test]
    fn what_one_copy_says_of_its_clock_its_disk_or_its_records_is_no_verdict_of_all() {
        let range = OutOfRange { asked: 9, lowest: 2, highest: 3 };
        let of_one: [Fault; 12] = [
            Fault::Silent { node: NODE },
            Fault::Unreached { node: NODE },
            Fault::Answer(Malformed::Missing("written")),
            Denial::Closing.into(),
            Denial::OutcomeUnknown { shard: SHARD, too_few_copies: false }.into(),
            Denial::DiskFull { node: Some(NODE) }.into(),
            elsewhere(),
            too_old(),
            ahead(),
            Denial::from(QuorumDenial::from(NotBegun::Siblings { values: 33, bytes: 8 })).into(),
            Denial::from(QuorumDenial::WriteQuorum(range)).into(),
            Denial::from(QuorumDenial::CopiesFull { full: 2, needed: 2 }).into(),
        ];
        assert!(!of_one.iter().any(Fault::is_of_all_copies));
        let of_all: [Fault; 5] = [
            Denial::OutcomeUnknown { shard: SHARD, too_few_copies: true }.into(),
            Denial::from(QuorumDenial::TooFewCopies { shard: SHARD }).into(),
            Denial::from(QuorumDenial::ConditionsNeedLeader).into(),
            Denial::from(QuorumDenial::from(NotBegun::ContextNeeded)).into(),
            Denial::Limit(LimitExceeded::Key { bytes: 0 }).into(),
        ];
        assert!(of_all.iter().all(Fault::is_of_all_copies));
    }
}
