//! Claims about what belongs together at a start: a copy whose log may lack what it promised is lost, no other is.

use bytes::Bytes;

use super::*;
use crate::ids::ShardId;
use crate::log::{EntryKind, LogEntry};
use crate::map::Descriptor;

fn log(start: u64, last: u64) -> RecoveredLog {
    let entry = |index| LogEntry { index, term: 1, kind: EntryKind::Normal, data: Bytes::new(), context: Bytes::new() };
    let entries = (start + 1..=last).map(entry).collect();
    RecoveredLog { replica: ReplicaId(1), start: (start, 1), entries, ..RecoveredLog::default() }
}

fn at(applied: u64) -> ReplicaState {
    let descriptor = Descriptor { shard: ShardId(1), ..Descriptor::default() };
    ReplicaState { applied: (applied, 1), ..ReplicaState::first(ReplicaId(1), descriptor) }
}

#[test]
fn a_log_that_reaches_from_below_what_is_applied_to_it_or_beyond_is_whole() {
    for (start, last) in [(0, 10), (4, 10), (9, 10), (10, 10), (4, 12), (10, 12)] {
        assert!(!is_lost(&at(10), Some(&log(start, last))), "{start} to {last}");
    }
}

#[test]
fn a_log_that_ends_before_what_is_applied_or_begins_after_it_is_lost() {
    for (start, last) in [(0, 0), (4, 9), (9, 9), (11, 11), (11, 14)] {
        assert!(is_lost(&at(10), Some(&log(start, last))), "{start} to {last}");
    }
    assert!(is_lost(&at(10), None));
    assert!(is_lost(&at(2), None));
}

#[test]
fn a_first_copy_that_never_wrote_has_no_log() {
    assert!(!is_lost(&at(FIRST.0), None));
    assert!(!is_lost(&at(FIRST.0), Some(&log(0, 0))));
}

#[test]
fn a_copy_that_waits_for_its_snapshot_or_has_just_had_it_needs_no_log() {
    for state in [ReplicaState { blank: true, ..at(10) }, ReplicaState { from_snapshot: true, ..at(10) }] {
        assert!(!is_lost(&state, None));
        assert!(!is_lost(&state, Some(&log(0, 4))));
        assert!(!is_lost(&state, Some(&log(10, 12))));
        assert!(is_lost(&state, Some(&log(20, 22))), "the store has come back older");
    }
}

#[cfg(feature = "planted")]
#[test]
fn a_store_that_is_older_than_the_log_after_its_snapshot_is_noticed() {
    crate::planted::plant(Some(Planted::EarlierSnapshotTrusted));
    let states = [ReplicaState { blank: true, ..at(10) }, ReplicaState { from_snapshot: true, ..at(10) }];
    let are_lost = states.map(|state| is_lost(&state, Some(&log(20, 22))));
    crate::planted::plant(None);
    assert_eq!(are_lost, [false, false]);
}
