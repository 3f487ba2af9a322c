//! What a refusal of a copy is to the attempts after it. The smart client reads the same from what the refusal becomes on
//! the wire; a test of the node holds both against each other.

use std::time::Duration;

use super::progress::Failure;
use super::round::Failed;
use crate::answer::Refusal;
use crate::limits::STAMP_AHEAD_MS_MAX;
use crate::quorum::prepare::NotBegun;
use crate::quorum::write::NotDone;
use crate::time::Version;

/// What comes of an attempt at a copy of a quorum shard that was refused.
pub fn of_copy(refusal: &Refusal) -> (Failure, Failed) {
    let (failure, is_of_all) = match refusal {
        Refusal::NotLeader { leader: Some(_), .. } | Refusal::NotCoordinator { .. } => (Failure::Elsewhere, false),
        Refusal::TooStale { .. } => (Failure::TooStale, false),
        Refusal::RequestTooNew { allowed, .. } => (Failure::TooNew(*allowed), false),
        Refusal::NotBegun(NotBegun::Ahead { wall_ms, .. }) => {
            (Failure::TooNew(Version::at_ms(wall_ms.saturating_add(STAMP_AHEAD_MS_MAX))), false)
        }
        Refusal::Overloaded { .. } | Refusal::NoMemory { .. } => (Failure::Overloaded(Duration::ZERO), false),
        Refusal::OutcomeUnknown { .. } | Refusal::TooFewCopies { .. } => (Failure::Passing, true),
        Refusal::NotLeader { leader: None, .. } | Refusal::WrongShard { .. } | Refusal::UnknownTable(_) => {
            (Failure::Passing, false)
        }
        Refusal::DiskFull { .. }
        | Refusal::NotBegun(NotBegun::Siblings { .. } | NotBegun::Context { .. })
        | Refusal::WriteQuorum(NotDone::Quorum(_) | NotDone::Full { .. })
        | Refusal::BatchTooLarge { .. } => (Failure::Lasting, false),
        Refusal::Limit(_)
        | Refusal::Key(_)
        | Refusal::StalenessUnknown { .. }
        | Refusal::NoQuorumTable(_)
        | Refusal::ConditionsNeedLeader
        | Refusal::Context(_)
        | Refusal::NotBegun(NotBegun::ContextNeeded)
        | Refusal::ReadQuorum(_) => (Failure::Lasting, true),
    };
    (failure, Failed { may_have_happened: refusal.may_have_happened(), is_of_all })
}
