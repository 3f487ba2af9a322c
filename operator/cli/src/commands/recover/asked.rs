//! What is to be done by what was asked for and what the database has said: a shard that was named is never left for another.

use skerry_client::AdminError;
use skerry_core::ids::ShardId;
use skerry_core::steward::{RECOVERIES_MAX, RecoveryRefusal};

use super::Told;
use crate::failure::{Explain, Failure, Outcome};

/// What failed where the system shard's leader has not told of plans.
pub(super) const WHAT: &str = "failed to ask what is left";
pub(super) const ADVICE: &str = "the system shard may have lost its majority too: try again in a few seconds";

/// What there is to recover.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The system shard, before anything else.
    System,
    /// Shards of tables; none if each has a leader.
    Data(Vec<Told>),
    /// The system shard was asked for, and has a leader.
    Nothing,
}

/// Decides it. `only` = the shard that was named, `plans` = what the system shard's leader has said, `stuck` = the number of
/// the system shard's copies that say that they have no leader.
///
/// # Errors
/// If the named shard is not what could be recovered now, or nobody can tell.
pub(super) fn way(only: Option<ShardId>, plans: Result<Vec<Told>, AdminError>, stuck: usize) -> Outcome<Way> {
    let is_system = only == Some(ShardId::SYSTEM);
    match (plans, only) {
        (Ok(_), Some(_)) if is_system => Ok(Way::Nothing),
        (Ok(plans), Some(shard)) => of_one(plans, shard).map(Way::Data),
        (Ok(plans), None) => Ok(Way::Data(plans)),
        (Err(AdminError::Deadline { .. }), Some(shard)) if stuck > 0 && !is_system => {
            let text =
                format!("the system shard has no leader, so nobody can tell how {shard} is; nothing was changed");
            Err(Failure::new(text).next("recover the system shard first: the same with --shard s0"))
        }
        (Err(AdminError::Deadline { .. }), _) if stuck > 0 => Ok(Way::System),
        (Err(error @ AdminError::Deadline { .. }), _) => Err(error).doing(WHAT).next(ADVICE),
        (Err(error), _) => Err(error).doing(WHAT),
    }
}

/// What was said of the shard that was named. A node of an earlier release tells of all shards, as far as there is room.
fn of_one(plans: Vec<Told>, shard: ShardId) -> Outcome<Vec<Told>> {
    let is_cut = plans.len() >= RECOVERIES_MAX;
    let Some(told) = plans.into_iter().find(|(told, _)| *told == shard) else {
        let text = match is_cut {
            true => format!("{shard} is not among the first {RECOVERIES_MAX} shards without a leader"),
            false => format!("{shard} is not among the shards without a leader"),
        };
        return Err(Failure::new(text).next("`skerry shards` lists all shards; recover those that are told of first"));
    };
    if let Err(refusal @ (RecoveryRefusal::Unknown(_) | RecoveryRefusal::Led { .. })) = &told.1 {
        return Err(Failure::from(refusal.clone()))
            .doing(format!("there is nothing to recover of {shard}"))
            .next("`skerry shards` lists all shards, and which has a leader");
    }
    Ok(vec![told])
}

#[cfg(test)]
mod tests {
    use skerry_core::ids::NodeId;

    use super::*;

    fn led(n: u64) -> Told {
        (ShardId(n), Err(RecoveryRefusal::Led { shard: ShardId(n), node: NodeId(1) }))
    }

    fn majority(n: u64) -> Told {
        (ShardId(n), Err(RecoveryRefusal::Majority { shard: ShardId(n) }))
    }

    fn silent() -> Result<Vec<Told>, AdminError> {
        Err(AdminError::Deadline { may_have_happened: false, last: None })
    }

    fn text(way: Outcome<Way>) -> String {
        way.unwrap_err().text()
    }

    #[test]
    fn the_system_shard_is_not_recovered_in_place_of_the_shard_that_was_named() {
        let refused = text(way(Some(ShardId(4)), silent(), 2));
        assert!(refused.contains("the system shard has no leader"), "{refused}");
        for only in [None, Some(ShardId::SYSTEM)] {
            assert_eq!(way(only, silent(), 1).unwrap(), Way::System);
        }
    }

    #[test]
    fn a_copy_of_the_system_shard_that_is_cut_off_hides_nothing() {
        assert_eq!(way(None, Ok(vec![majority(4)]), 1).unwrap(), Way::Data(vec![majority(4)]));
        assert_eq!(way(Some(ShardId::SYSTEM), Ok(Vec::new()), 1).unwrap(), Way::Nothing);
        let refused = text(way(None, silent(), 0));
        assert!(refused.starts_with(WHAT), "{refused}");
        let status = Box::new(tonic::Status::unauthenticated("no secret"));
        let other = AdminError::Rejected { status, may_have_happened: false };
        assert!(text(way(None, Err(other), 1)).contains("no secret"), "that is no leader that is missing");
    }

    #[test]
    fn a_shard_that_is_named_and_not_told_of_is_no_success() {
        let of = |plans| text(way(Some(ShardId(900)), Ok(plans), 0));
        assert_eq!(of(vec![majority(4)]), "s900 is not among the shards without a leader");
        let many: Vec<Told> = (0..RECOVERIES_MAX as u64).map(majority).collect();
        assert_eq!(of(many), "s900 is not among the first 256 shards without a leader");
        let unknown = (ShardId(900), Err(RecoveryRefusal::Unknown(ShardId(900))));
        assert!(of(vec![unknown]).ends_with("shard s900 is unknown"));
        assert!(of(vec![led(900)]).ends_with("has a leader, on node n1"));
        assert_eq!(way(Some(ShardId(7)), Ok(vec![majority(4), majority(7)]), 0).unwrap(), Way::Data(vec![majority(7)]));
    }
}
