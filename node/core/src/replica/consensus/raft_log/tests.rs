//! Claims about the log in memory: what it holds, what it forgets, what it gives away at once, and what a snapshot is at.

use bytes::Bytes;

use super::*;
use crate::ids::{NodeId, ReplicaId};
use crate::map::{Member, Replica as Copy};

fn entry(index: u64, term: u64) -> Entry {
    Entry { index, term, data: Bytes::from_static(b"data"), context: Bytes::from_static(b"c"), ..Entry::default() }
}

/// Entries 11 to 15 of term 3, after one at 10 of term 2.
fn log() -> RaftLog {
    RaftLog::new((10, 2), (11..=15).map(|index| entry(index, 3)).collect(), HardState { term: 3, vote: 1, commit: 12 })
}

fn held(log: &RaftLog) -> Vec<(u64, u64)> {
    log.entries.iter().map(|e| (e.index, e.term)).collect()
}

fn given(log: &RaftLog, low: u64, high: u64, max: Option<u64>) -> raft::Result<Vec<u64>> {
    let entries = log.entries(low, high, max, GetEntriesContext::empty(false))?;
    Ok(entries.iter().map(|e| e.index).collect())
}

#[test]
fn bytes_are_those_of_the_entries_that_are_held() {
    let one = weight(&entry(1, 1));
    let mut log = log();
    assert_eq!(log.bytes(), 5 * one);
    log.append(&[entry(14, 4), entry(15, 4), entry(16, 4)]);
    assert_eq!(log.bytes(), 6 * one);
    log.forget(12, 0);
    assert_eq!(log.bytes(), 4 * one);
    log.reset((20, 4));
    assert_eq!(log.bytes(), 0);
}

#[test]
fn bytes_after_an_index_are_those_of_the_entries_after_it() {
    let one = weight(&entry(1, 1));
    let mut log = log();
    let after = |log: &RaftLog| [0, 10, 12, 15, 99].map(|index| log.bytes_after(index) / one);
    assert_eq!(after(&log), [5, 5, 3, 0, 0]);
    log.append(&[entry(14, 4)]);
    assert_eq!(after(&log), [4, 4, 2, 0, 0]);
    log.forget(12, 0);
    assert_eq!(after(&log), [2, 2, 2, 0, 0]);
}

#[test]
fn an_entry_replaces_the_one_at_its_index_and_all_after_it() {
    let mut log = log();
    log.append(&[entry(13, 4)]);
    assert_eq!(held(&log), [(11, 3), (12, 3), (13, 4)]);
    assert_eq!(log.last(), 13);
}

#[test]
fn what_is_above_the_limit_is_never_forgotten() {
    let mut log = log();
    assert!(log.forget(13, 0));
    assert_eq!((log.start(), held(&log)), ((13, 3), vec![(14, 3), (15, 3)]));
    assert!(!log.forget(13, 0));
    assert!(log.forget(99, 0));
    assert_eq!((log.start(), log.last()), ((15, 3), 15));
}

#[test]
fn no_more_is_forgotten_than_leaves_what_is_to_be_kept() {
    let mut log = log();
    let two = 2 * weight(&entry(1, 1));
    assert!(log.forget(99, two));
    assert_eq!(held(&log), [(14, 3), (15, 3)]);
    assert!(!log.forget(99, two));
    assert!(log.forget(99, two - 1));
    assert_eq!(held(&log), [(15, 3)]);
}

#[test]
fn entries_are_given_up_to_the_size_asked_for_and_always_one() {
    let (log, one) = (log(), weight(&entry(1, 1)) as u64);
    assert_eq!(given(&log, 11, 16, None), Ok(vec![11, 12, 13, 14, 15]));
    assert_eq!(given(&log, 12, 14, None), Ok(vec![12, 13]));
    assert_eq!(given(&log, 11, 16, Some(2 * one)), Ok(vec![11, 12]));
    assert_eq!(given(&log, 11, 16, Some(3 * one - 1)), Ok(vec![11, 12]));
    assert_eq!(given(&log, 11, 16, Some(0)), Ok(vec![11]));
    assert_eq!(given(&log, 10, 12, None), Err(Error::Store(StorageError::Compacted)));
    assert_eq!(given(&log, 15, 17, None), Err(Error::Store(StorageError::Unavailable)));
}

#[test]
fn terms_are_known_from_the_start_to_the_end() {
    let log = log();
    assert_eq!(log.term(9), Err(Error::Store(StorageError::Compacted)));
    assert_eq!((log.term(10), log.term(11), log.term(15)), (Ok(2), Ok(3), Ok(3)));
    assert_eq!(log.term(16), Err(Error::Store(StorageError::Unavailable)));
    assert_eq!((log.first_index(), log.last_index()), (Ok(11), Ok(15)));
}

#[test]
fn after_a_snapshot_the_log_is_empty_there_and_keeps_the_vote() {
    let mut log = log();
    log.conf_state.voters = vec![1, 2];
    log.reset((20, 4));
    assert_eq!((log.start(), log.last(), log.applied), ((20, 4), 20, (20, 4)));
    assert_eq!(log.hard_state, HardState { term: 3, vote: 1, commit: 12 });
    assert_eq!(log.conf_state.voters, [1, 2]);
}

#[test]
fn a_snapshot_is_at_what_is_applied_and_never_below_what_is_asked_for() {
    let mut log = log();
    log.conf_state.voters = vec![1, 2];
    let none = || Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
    assert_eq!(log.snapshot(0, 2), none());
    log.applied = (12, 3);
    for asked in [0, 11, 12] {
        let snapshot = log.snapshot(asked, 2).expect("it is applied");
        let metadata = snapshot.get_metadata();
        assert_eq!((metadata.index, metadata.term), (12, 3));
        assert_eq!(metadata.get_conf_state().voters, [1, 2]);
    }
    assert_eq!(log.snapshot(13, 2), none());
}

#[test]
fn raft_begins_with_what_is_committed_and_here() {
    let mut log = log();
    let state = log.initial_state().expect("the log is in memory").hard_state;
    assert_eq!((state.term, state.vote, state.commit), (3, 1, 12));
    // The store may be further than what the log has noted as committed, and the log may end before that.
    log.applied = (14, 3);
    assert_eq!(log.initial_state().expect("the log is in memory").hard_state.commit, 14);
    log.hard_state.commit = 99;
    assert_eq!(log.initial_state().expect("the log is in memory").hard_state.commit, 15);
}

#[test]
fn a_vote_counts_in_its_own_term_only() {
    let mut log = log();
    log.applied = (14, 5);
    let state = log.initial_state().expect("the log is in memory").hard_state;
    assert_eq!((state.term, state.vote), (5, 0));
}

#[test]
fn both_sides_of_a_joint_configuration_have_their_voters() {
    let member = |id, role| Member { replica: Copy { node: NodeId(id), id: ReplicaId(id) }, role };
    let conf_of = |members| conf_state(&Descriptor { members, ..Descriptor::default() });
    let conf = conf_of(vec![member(1, Role::Voter), member(2, Role::Voter), member(3, Role::Learner)]);
    assert_eq!((conf.voters, conf.voters_outgoing, conf.learners), (vec![1, 2], vec![], vec![3]));
    let conf = conf_of(vec![member(1, Role::Voter), member(2, Role::Outgoing), member(3, Role::Incoming)]);
    assert_eq!((conf.voters, conf.voters_outgoing, conf.learners), (vec![1, 3], vec![1, 2], vec![]));
}
