//! Claims about how several writes of one copy to the log become one.

use bytes::Bytes;

use super::*;
use crate::log::{EntryKind, HardState, LogEntry};

fn write(reset: Option<(u64, u64)>, entries: &[(u64, u64)], commit: Option<u64>) -> LogWrite {
    let entry = |&(index, term): &(u64, u64)| LogEntry {
        index,
        term,
        kind: EntryKind::Normal,
        data: Bytes::new(),
        context: Bytes::new(),
    };
    LogWrite {
        shard: ShardId(1),
        replica: ReplicaId(1),
        reset,
        entries: entries.iter().map(entry).collect(),
        hard_state: commit.map(|commit| HardState { term: 1, vote: 1, commit }),
        destroyed: false,
    }
}

fn merged(mut before: LogWrite, after: LogWrite) -> LogWrite {
    merge(&mut before, after);
    before
}

#[test]
fn later_entries_replace_what_they_overlap_and_all_after_it() {
    let both = merged(write(None, &[(4, 1), (5, 1), (6, 1)], Some(3)), write(None, &[(5, 2)], Some(4)));
    assert_eq!(both, write(None, &[(4, 1), (5, 2)], Some(4)));
}

#[test]
fn a_later_reset_leaves_nothing_of_what_was_before() {
    let both = merged(write(None, &[(4, 1), (5, 1)], Some(3)), write(Some((9, 2)), &[(10, 2)], None));
    assert_eq!(both, write(Some((9, 2)), &[(10, 2)], Some(3)));
}

#[test]
fn an_earlier_reset_stays_before_later_entries() {
    let both = merged(write(Some((3, 1)), &[(4, 1)], None), write(None, &[(5, 1)], Some(4)));
    assert_eq!(both, write(Some((3, 1)), &[(4, 1), (5, 1)], Some(4)));
}

#[test]
fn a_write_without_a_hard_state_keeps_the_one_before() {
    let both = merged(write(None, &[(4, 1)], Some(3)), write(None, &[(5, 1)], None));
    assert_eq!(both.hard_state.map(|state| state.commit), Some(3));
}

#[cfg(feature = "planted")]
#[test]
fn entries_that_are_kept_though_replaced_are_noticed() {
    crate::planted::plant(Some(Planted::ReplacedEntriesKept));
    let both = merged(write(None, &[(4, 1), (5, 1)], None), write(None, &[(5, 2)], None));
    crate::planted::plant(None);
    assert_ne!(both, write(None, &[(4, 1), (5, 2)], None));
}
