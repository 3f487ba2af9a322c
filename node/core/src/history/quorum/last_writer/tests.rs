//! Whose a version is: histories that are right, and ones that are not, one rule at a time.

use super::super::tests::{history, read, write};
use super::*;
use crate::command::RequestId;

/// A request whose stamp has this version.
fn own(version: u64, client: u64) -> Option<Stamp> {
    Some(Stamp::of_request(RequestId { issued: Version(version - 1), client, sequence: 1 }))
}

/// A write of value `value` by the client of that number, whose stamp has version `version`, acknowledged at `told`.
fn put(invoked: u64, value: u64, version: u64, told: u64) -> QuorumWrite {
    QuorumWrite { own: own(version, value), ..write(invoked, Some(value), Some(told)) }
}

fn again(write: QuorumWrite) -> QuorumWrite {
    QuorumWrite { is_repeated: true, ..write }
}

/// What is told of a violation, in short.
fn kind(violation: &QuorumViolation) -> &'static str {
    match violation {
        QuorumViolation::Phantom { .. } => "phantom",
        QuorumViolation::Stale { .. } => "stale",
        QuorumViolation::Twice { .. } => "twice",
        QuorumViolation::Misplaced { .. } => "misplaced",
        QuorumViolation::NotItsOwn { .. } => "not its own",
        QuorumViolation::Overtaken { .. } => "overtaken",
        QuorumViolation::Lost { .. } => "lost",
        QuorumViolation::Returned { .. } => "returned",
    }
}

fn found(rule: Rule, writes: Vec<QuorumWrite>, reads: Vec<QuorumRead>) -> Vec<&'static str> {
    history(writes, reads).check(rule, Promise::Monotonic).iter().map(kind).collect()
}

#[test]
fn a_write_that_was_sent_once_is_acknowledged_at_its_own_version_and_one_that_was_sent_again_at_a_later_ones_too() {
    let other = || put(0, 2, 20, 20);
    let unknown = || QuorumWrite { outcome: WriteOutcome::Unknown, ..other() };
    let failed = || QuorumWrite { outcome: WriteOutcome::Failed, ..other() };
    let without_id = || QuorumWrite { own: None, ..unknown() };
    let told = |told| put(5, 1, 10, told);
    let expected: [(&str, Vec<QuorumWrite>, &[&str]); 9] = [
        ("at its own", vec![other(), told(10)], &[]),
        ("at another's, though sent once", vec![other(), told(20)], &["not its own"]),
        ("at a later one's", vec![other(), again(told(20))], &[]),
        ("at that of one of which nobody knows", vec![unknown(), again(told(20))], &[]),
        ("at one that its coordinator may have given", vec![without_id(), again(told(25))], &[]),
        ("at that of one that was never done", vec![failed(), again(told(20))], &["not its own"]),
        ("at that of no write", vec![other(), again(told(21))], &["not its own"]),
        ("at an earlier one's", vec![put(0, 3, 7, 7), again(told(7))], &["not its own"]),
        ("in a batch: at what nobody told", vec![other(), told(0)], &[]),
    ];
    for (name, writes, violations) in expected {
        assert_eq!(found(Rule::LastWriter, writes, vec![]), violations, "{name}");
    }
    let later = QuorumWrite { invoked: 7, returned: 8, ..other() };
    assert_eq!(found(Rule::LastWriter, vec![later, again(told(20))], vec![]), ["not its own"], "sent after the answer");
}

#[test]
fn a_version_shows_the_value_of_its_write() {
    let both = |told: u64, is_repeated| {
        let first = QuorumWrite { is_repeated, ..write(0, Some(1), Some(told)) };
        vec![first, write(0, Some(2), Some(20))]
    };
    let shows = |version, value| vec![read(5, &[(version, value)])];
    assert_eq!(found(Rule::LastWriter, both(10, false), shows(20, 2)), [""; 0]);
    assert_eq!(found(Rule::LastWriter, both(10, false), shows(20, 1)), ["misplaced"], "it was acknowledged at 10");
    assert_eq!(found(Rule::LastWriter, both(20, true), vec![read(1, &[(10, 1)])]), [""; 0], "it was replaced at 20");
    assert_eq!(found(Rule::LastWriter, both(20, true), shows(21, 1)), ["misplaced"], "it is at 20 at most");
    let exact = vec![again(put(0, 1, 10, 20)), put(0, 2, 20, 20)];
    assert_eq!(found(Rule::LastWriter, exact, vec![read(1, &[(15, 1)])]), ["misplaced"], "its request says 10");
    // Siblings: a write that was sent once has one version, of one that was sent again each attempt has its own.
    let siblings = |is_repeated, version| {
        let write = QuorumWrite { is_repeated, ..write(0, Some(1), Some(10)) };
        found(Rule::Siblings, vec![write], vec![read(5, &[(version, 1)])])
    };
    assert_eq!((siblings(false, 10), siblings(false, 11), siblings(true, 11)), (vec![], vec!["misplaced"], vec![]));
    let unknown = |is_repeated| QuorumWrite { is_repeated, ..write(0, Some(1), None) };
    let reads = || vec![read(5, &[(10, 1)]), read(7, &[(11, 1)])];
    assert_eq!(found(Rule::Siblings, vec![unknown(false)], reads()), ["twice"]);
    assert_eq!(found(Rule::Siblings, vec![unknown(true)], reads()), [""; 0]);
}

#[test]
fn of_two_writes_with_one_version_all_readers_are_shown_the_same() {
    // Their clients issued them in one millisecond: the second one's stamp is the higher.
    let writes = || vec![put(0, 1, 10, 10), put(0, 2, 10, 10)];
    let shows = |values: &[u64]| (5..).step_by(2).zip(values).map(|(at, value)| read(at, &[(10, *value)])).collect();
    assert_eq!(found(Rule::LastWriter, writes(), shows(&[2, 2])), [""; 0]);
    assert_eq!(found(Rule::LastWriter, writes(), shows(&[2, 1])), ["stale"]);
    let of_one_unknown = || vec![put(0, 1, 10, 10), QuorumWrite { outcome: WriteOutcome::Unknown, ..put(0, 2, 10, 0) }];
    assert_eq!(found(Rule::LastWriter, of_one_unknown(), shows(&[1, 2])), [""; 0]);
    assert_eq!(found(Rule::LastWriter, of_one_unknown(), shows(&[2, 1])), ["stale"], "what was shown once stays");
}

#[test]
fn a_delete_explains_that_a_key_is_absent_if_its_own_stamp_is_the_highest() {
    let delete = |version, told| again(QuorumWrite { value: None, ..put(3, 9, version, told) });
    let absent = |delete| found(Rule::LastWriter, vec![put(0, 1, 10, 10), delete], vec![read(8, &[])]);
    assert_eq!(absent(delete(11, 11)), [""; 0]);
    // It was found to be replaced, by the put: nothing is left of it.
    assert_eq!(absent(delete(9, 10)), ["stale"]);
    let unknown = |version| QuorumWrite { outcome: WriteOutcome::Unknown, ..delete(version, 0) };
    assert_eq!((absent(unknown(11)), absent(unknown(9))), (vec![], vec!["stale"]));
}
