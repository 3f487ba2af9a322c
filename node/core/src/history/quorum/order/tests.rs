//! Acknowledged writes that come before what was known when they were sent.

use std::collections::BTreeSet;

use super::super::tests::{history, read, write};
use super::super::{QuorumRead, QuorumWrite};
use super::*;

/// A write of a client, at a version.
fn put(client: u64, invoked: u64, value: u64, version: u64) -> QuorumWrite {
    QuorumWrite { client: Some(client), ..write(invoked, Some(value), Some(version)) }
}

fn overtaken(writes: Vec<QuorumWrite>, reads: Vec<QuorumRead>, clocks: Clocks) -> usize {
    history(writes, reads).check_order(Rule::LastWriter, clocks).len()
}

#[test]
fn the_writes_of_one_client_come_in_its_order_whatever_clocks_show() {
    let of = |second: QuorumWrite| overtaken(vec![put(1, 0, 1, 20), second], vec![], Clocks::Unknown);
    assert_eq!(of(put(1, 5, 2, 21)), 0);
    assert_eq!(of(put(1, 5, 2, 19)), 1, "it is below");
    assert_eq!(of(QuorumWrite { is_repeated: true, ..put(1, 5, 2, 20) }), 1, "replaced by what came before it");
    assert_eq!(of(put(1, 1, 2, 19)), 0, "sent before the answer");
    assert_eq!(of(put(2, 5, 2, 19)), 0, "another client");
    assert_eq!(of(QuorumWrite { client: None, ..put(1, 5, 2, 19) }), 0, "it follows nothing");
    assert_eq!(of(write(5, Some(2), None)), 0, "it may not have happened");
    let rules = [Rule::Siblings, Rule::Edited];
    let other = history(vec![put(1, 0, 1, 20), put(1, 5, 2, 19)], vec![]);
    assert!(rules.iter().all(|rule| other.check_order(*rule, Clocks::Within(0)).is_empty()), "versions are no order");
}

#[test]
fn clocks_order_the_writes_of_all_clients_that_are_further_apart_than_they_are() {
    let of = |second: QuorumWrite| overtaken(vec![put(1, 0, 1, 20), second], vec![], Clocks::Within(10));
    assert_eq!(of(put(2, 30, 2, 21)), 0);
    assert_eq!(of(put(2, 11, 2, 19)), 0, "they are as close as clocks are");
    assert_eq!(of(put(2, 12, 2, 19)), 1);
    // A coordinator that answers with the version of a write of long ago: nobody sends this one again.
    assert_eq!(of(QuorumWrite { is_repeated: true, ..put(2, 12, 2, 20) }), 1);
    assert_eq!(of(QuorumWrite { client: None, ..put(2, 12, 2, 19) }), 1, "whoever it is");
}

#[test]
fn a_write_that_gives_back_what_it_was_shown_comes_after_it() {
    let after = |version| QuorumWrite { seen: BTreeSet::from([1]), ..put(2, 5, 2, version) };
    for (first, reads) in [
        (put(1, 0, 1, 20), vec![]),
        (write(0, Some(1), None), vec![read(3, &[(20, 1)])]),
        (QuorumWrite { is_repeated: true, ..put(1, 0, 1, 30) }, vec![read(3, &[(20, 1)])]),
    ] {
        let of = |version| overtaken(vec![first.clone(), after(version)], reads.clone(), Clocks::Unknown);
        assert_eq!((of(21), of(20), of(19)), (0, 1, 1), "{first:?}");
    }
}

#[test]
fn of_a_batch_only_what_its_request_says_is_held_against_it() {
    let batch = |own| QuorumWrite { own, ..put(1, 5, 2, 0) };
    let own = |version| Some(Stamp::lowest(Version(version)));
    let of = |own| overtaken(vec![put(1, 0, 1, 20), batch(own)], vec![], Clocks::Unknown);
    assert_eq!((of(None), of(own(21)), of(own(19))), (0, 0, 1));
}
