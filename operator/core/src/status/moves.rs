//! How far the moves under way are, and how long they take yet: by the limit of bytes a second, or by what has come
//! through so far where that is slower.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use skerry_api::{MovesStatus, QuorumStages};
use skerry_core::node::Status;
use skerry_core::quorum::layout::Stage;

use super::count;
use crate::health::{ShardNow, shards_now};
use crate::under_way::UnderWay;

/// Moves of which nothing has come through for so long say nothing of their end ...
const NOTHING_CAME_SECONDS: i64 = 30;
/// ... unless this part of them would take longer. Of bytes that are rounded to two digits less than a tenth is not seen.
const UNSEEN_PART: u64 = 5;

/// `None` = nothing moves, or the database is not heard.
pub(super) fn moves(status: Option<&Status>, old: Option<&MovesStatus>, now: &Time) -> Option<MovesStatus> {
    let under_way = UnderWay::of(status?)?;
    let bytes = under_way.bytes.map(two_digits);
    let (shards, replicas) = (count(under_way.shards), count(under_way.replicas));
    let came = old.and_then(|old| old.bytes).zip(bytes).map_or(0, |(before, now)| (before - now).max(0));
    let stages = status.and_then(stages);
    let has_come =
        |old: &MovesStatus| came > 0 || shards < old.shards || replicas < old.replicas || stages != old.quorum_stages;
    let last_progress = old.filter(|old| !has_come(old)).map_or(now, |old| &old.last_progress_time);
    let mut told = MovesStatus {
        start_time: old.map_or(now, |old| &old.start_time).clone(),
        last_progress_time: last_progress.clone(),
        shards,
        replicas,
        bytes,
        sent_bytes: old.map_or(0, |old| old.sent_bytes).saturating_add(came),
        seconds_left: None,
        quorum_stages: stages,
    };
    told.seconds_left = seconds_left(&under_way, &told, now);
    Some(told)
}

/// How far the shards of Quorum tables are that change. `None` = none does.
fn stages(status: &Status) -> Option<QuorumStages> {
    let mut stages = QuorumStages::default();
    for stage in shards_now(status).iter().filter_map(ShardNow::stage) {
        let counted = match stage {
            Stage::WriteBoth => &mut stages.write_both,
            Stage::ReadNew => &mut stages.read_new,
            Stage::NewOnly => &mut stages.new_only,
        };
        *counted = counted.saturating_add(1);
    }
    (stages != QuorumStages::default()).then_some(stages)
}

/// At least 1. `None` = unknown. What has come through tells of its own time alone, so that the estimate changes with what
/// is seen to come, and not with every look.
fn seconds_left(under_way: &UnderWay, told: &MovesStatus, now: &Time) -> Option<i64> {
    let (bytes, by_limit) = under_way.bytes.zip(under_way.seconds)?;
    let unseen = i64::try_from(by_limit / UNSEEN_PART).unwrap_or(i64::MAX);
    if seconds(&told.last_progress_time, now) > unseen.max(NOTHING_CAME_SECONDS) {
        return None;
    }
    let took = u128::try_from(seconds(&told.start_time, &told.last_progress_time)).unwrap_or(0);
    let sent = u128::try_from(told.sent_bytes).unwrap_or(0);
    let by_rate = (u128::from(bytes) * took).checked_div(sent).unwrap_or(0);
    let by_rate = u64::try_from(by_rate).unwrap_or(u64::MAX);
    Some(two_digits(by_limit.max(by_rate)))
}

/// Seconds from one time to the other; negative if `to` is earlier.
fn seconds(from: &Time, to: &Time) -> i64 {
    to.0.as_second() - from.0.as_second()
}

/// Rounded up to two digits that count: more would not be true, and would have the status written with every look.
fn two_digits(number: u64) -> i64 {
    let unit = 10_u64.pow(number.checked_ilog10().unwrap_or(0).saturating_sub(1));
    i64::try_from(number.div_ceil(unit).saturating_mul(unit)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::jiff::Timestamp;
    use skerry_core::map::NodeState::Active;

    use super::*;
    use crate::testing::{change, node, put_quorum_table, shard, status};

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    /// A shard of so many bytes that is to have a copy on node 2, of which so many are sent, at 1 MiB a second.
    fn moving(bytes: u64, sent: u64) -> Status {
        let mut shard = shard(1, 1, &[1], &[2]);
        (shard.1.bytes, shard.1.moving) = (bytes, (sent, bytes));
        let mut status = status(vec![node(1, "a", Active), node(2, "a", Active)], vec![shard]);
        Arc::make_mut(&mut status.map).limits.0.bytes_per_second = 1 << 20;
        status
    }

    #[test]
    fn time_left_is_by_the_limit_until_less_is_seen_to_come_through() {
        let first = moves(Some(&moving(100_000_000, 0)), None, &at(100)).unwrap();
        assert_eq!((first.bytes, first.sent_bytes, first.seconds_left), (Some(100_000_000), 0, Some(96)));
        // Half a megabyte a second.
        let second = moves(Some(&moving(100_000_000, 10_000_000)), Some(&first), &at(120)).unwrap();
        assert_eq!((second.bytes, second.sent_bytes), (Some(90_000_000), 10_000_000));
        assert_eq!((second.start_time.clone(), second.seconds_left), (at(100), Some(180)));
        let third = moves(Some(&moving(100_000_000, 10_000_000)), Some(&second), &at(121));
        assert_eq!(third, Some(second), "nothing new, so nothing to be written");
    }

    #[test]
    fn time_left_is_unknown_when_nothing_comes_through() {
        let first = moves(Some(&moving(2_000_000, 0)), None, &at(100)).unwrap();
        assert_eq!(first.seconds_left, Some(2));
        let second = moves(Some(&moving(2_000_000, 1_000_000)), Some(&first), &at(125)).unwrap();
        assert_eq!((second.last_progress_time.clone(), second.seconds_left), (at(125), Some(25)));
        let third = moves(Some(&moving(2_000_000, 1_000_000)), Some(&second), &at(156)).unwrap();
        assert_eq!((third.last_progress_time, third.seconds_left), (at(125), None));
    }

    #[test]
    fn what_is_too_little_to_be_seen_may_have_come_through() {
        let much = 300_000 << 20;
        let first = moves(Some(&moving(much, 0)), None, &at(100)).unwrap();
        let second = moves(Some(&moving(much, 0)), Some(&first), &at(5_000));
        assert_eq!(second.unwrap().seconds_left, first.seconds_left);
    }

    #[test]
    fn what_is_not_heard_is_absent() {
        let mut silent = moving(1_000, 0);
        silent.shards.clear();
        let told = moves(Some(&silent), None, &at(100)).unwrap();
        assert_eq!((told.shards, told.bytes, told.seconds_left), (1, None, None));
        assert_eq!(moves(None, None, &at(100)), None);
    }

    #[test]
    fn stages_of_quorum_shards_are_counted_and_each_is_progress() {
        let mut changing = status(vec![node(1, "a", Active), node(2, "a", Active), node(3, "a", Active)], vec![]);
        put_quorum_table(&mut changing, "cart", &[&[1, 2, 3], &[1, 2, 3]]);
        assert_eq!(moves(Some(&changing), None, &at(100)), None);
        change(&mut changing, Stage::WriteBoth, (3, 3));
        let first = moves(Some(&changing), None, &at(100)).unwrap();
        let stages = |write_both, read_new, new_only| Some(QuorumStages { write_both, read_new, new_only });
        assert_eq!(first.quorum_stages, stages(2, 0, 0));
        assert_eq!(moves(Some(&changing), Some(&first), &at(110)).as_ref(), Some(&first), "nothing to be written");
        change(&mut changing, Stage::NewOnly, (3, 3));
        let second = moves(Some(&changing), Some(&first), &at(120)).unwrap();
        assert_eq!((second.quorum_stages, second.last_progress_time), (stages(0, 0, 2), at(120)));
    }

    #[test]
    fn numbers_are_rounded_up_to_two_digits() {
        let rounded = [0, 7, 99, 101, 1_234, u64::MAX].map(two_digits);
        assert_eq!(rounded, [0, 7, 99, 110, 1_300, i64::MAX]);
    }
}
