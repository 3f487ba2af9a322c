//! Claims about leases, and about when a read may be answered.

use bytes::Bytes;

use super::*;

const TERM: u64 = 3;

fn reader(token: u64) -> Reader {
    Reader::Client { token: Token(token), read: Read::Get { key: Bytes::from_static(b"k") } }
}

fn tokens(readers: &[Reader]) -> Vec<u64> {
    let token = |reader: &Reader| match reader {
        Reader::Client { token, .. } | Reader::Late { token, .. } => token.0,
        Reader::Node(duty) => panic!("nobody asked for {duty:?}"),
    };
    readers.iter().map(token).collect()
}

/// A leader whose round was sent at 1,000 ms and confirmed.
fn with_lease() -> Reads {
    let mut reads = Reads::default();
    let round = reads.start_round(1_000);
    reads.round_confirmed(round, 7, TERM);
    reads
}

#[test]
fn a_lease_counts_from_when_its_round_was_sent() {
    let reads = with_lease();
    assert!(reads.has_lease(1_000 + LEASE_MS - 1));
    assert!(!reads.has_lease(1_000 + LEASE_MS));
}

#[test]
fn a_lease_ends_before_any_follower_may_vote_for_another() {
    // The follower's first tick may come at once, and the last one be counted early by as much again.
    assert!(LEASE_MS + 2 * TICK_MS < ELECTION_TICKS as u64 * TICK_MS);
}

#[test]
fn a_round_under_other_members_confirms_reads_and_gives_no_lease() {
    let mut reads = Reads::default();
    reads.wait(reader(1));
    let round = reads.start_round(1_000);
    reads.members_changed();
    reads.round_confirmed(round, 7, TERM);
    assert!(!reads.has_lease(1_001));
    assert_eq!(tokens(&reads.take_ready(7)), [1]);
    let next = reads.start_round(1_200);
    reads.round_confirmed(next, 7, TERM);
    assert!(reads.has_lease(1_201));
}

#[test]
fn a_change_of_members_ends_the_lease() {
    let mut reads = with_lease();
    reads.members_changed();
    assert!(!reads.has_lease(1_001));
}

#[test]
fn a_term_in_which_leadership_was_handed_over_has_no_lease_any_more() {
    let mut reads = with_lease();
    reads.bar_lease(TERM);
    assert!(!reads.has_lease(1_001));
    let again = reads.start_round(1_100);
    reads.round_confirmed(again, 7, TERM);
    assert!(!reads.has_lease(1_101));
    let next = reads.start_round(1_200);
    reads.round_confirmed(next, 7, TERM + 1);
    assert!(reads.has_lease(1_201));
}

#[test]
fn a_confirmed_read_waits_for_what_it_must_see() {
    let mut reads = Reads::default();
    reads.wait(reader(1));
    let round = reads.start_round(1_000);
    reads.round_confirmed(round, 7, TERM);
    reads.wait_applied(9, reader(2));
    assert_eq!(tokens(&reads.take_ready(6)), []);
    assert_eq!(tokens(&reads.take_ready(8)), [1]);
    assert_eq!(tokens(&reads.take_ready(9)), [2]);
    assert_eq!(reads.len(), 0);
}

#[test]
fn a_read_that_comes_during_a_round_waits_for_the_next() {
    let mut reads = Reads::default();
    reads.wait(reader(1));
    let round = reads.start_round(1_000);
    reads.wait(reader(2));
    assert!(!reads.wants_round(1_000 + ROUND_MS - 1));
    reads.round_confirmed(round, 7, TERM);
    assert_eq!(tokens(&reads.take_ready(7)), [1]);
    assert!(reads.wants_round(1_001));
}

#[test]
fn the_readers_of_a_round_that_took_too_long_go_on_with_the_next() {
    let mut reads = Reads::default();
    reads.touched(1_000);
    reads.wait(reader(1));
    let lost = reads.start_round(1_000);
    assert!(reads.wants_round(1_000 + ROUND_MS));
    let next = reads.start_round(1_000 + ROUND_MS);
    reads.round_confirmed(lost, 7, TERM);
    assert_eq!(tokens(&reads.take_ready(7)), []);
    reads.round_confirmed(next, 8, TERM);
    assert_eq!(tokens(&reads.take_ready(8)), [1]);
}

#[test]
fn a_lease_is_renewed_for_a_second_after_the_last_read() {
    let mut reads = with_lease();
    reads.touched(1_000);
    assert!(!reads.wants_round(1_001));
    assert!(reads.wants_round(1_000 + LEASE_MS / 2 + 1));
    assert!(!reads.wants_round(1_000 + RENEW_MS));
}

#[test]
fn lost_leadership_ends_the_lease_and_gives_everyone_back() {
    let mut reads = with_lease();
    reads.wait(reader(1));
    reads.start_round(1_100);
    reads.wait(reader(2));
    reads.wait_applied(9, reader(3));
    let mut back = tokens(&reads.lost());
    back.sort_unstable();
    assert_eq!(back, [1, 2, 3]);
    assert!(!reads.has_lease(1_101) && reads.len() == 0);
}

#[cfg(feature = "planted")]
#[test]
fn planted_bugs_of_reads_are_noticed() {
    use crate::planted::plant;
    let mut reads = with_lease();
    plant(Some(Planted::LeaseKeptOverMembers));
    reads.members_changed();
    assert!(reads.has_lease(1_001));
    plant(Some(Planted::ReadBeforeApplied));
    reads.wait_applied(9, reader(2));
    assert_eq!(tokens(&reads.take_ready(6)), [2]);
    plant(None);
}
