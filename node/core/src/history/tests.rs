//! Histories that cannot have happened are caught, and odd ones that can are not.

use super::*;

fn write(invoked: u64, returned: u64, value: Option<u64>, outcome: WriteOutcome) -> Operation {
    Operation { invoked, returned, action: Action::Write { value, expected: None, outcome } }
}

fn put(invoked: u64, returned: u64, value: u64, version: u64) -> Operation {
    write(invoked, returned, Some(value), WriteOutcome::Acknowledged(Version(version)))
}

fn read(invoked: u64, returned: u64, found: Option<(u64, u64)>) -> Operation {
    let found = found.map(|(version, value)| (Version(version), value));
    Operation { invoked, returned, action: Action::Read { found } }
}

fn violations(operations: &[Operation]) -> Vec<Violation> {
    let mut history = History::default();
    for operation in operations {
        history.record(b"k", operation.clone());
    }
    history.check()
}

#[test]
fn concurrent_operations_may_take_effect_in_either_order() {
    assert_eq!(violations(&[put(0, 10, 1, 2), put(5, 15, 2, 1), read(16, 20, Some((2, 1)))]), vec![]);
    assert_eq!(violations(&[put(0, 10, 1, 1), read(5, 6, None), read(7, 8, Some((1, 1)))]), vec![]);
}

#[test]
fn a_lost_write_is_caught() {
    assert!(matches!(violations(&[put(0, 1, 1, 1), read(2, 3, None)])[..], [Violation::StaleRead { found: None, .. }]));
}

#[test]
fn a_stale_read_is_caught_against_writes_and_against_reads() {
    assert!(matches!(
        violations(&[put(0, 1, 1, 1), put(2, 3, 2, 2), read(4, 5, Some((1, 1)))])[..],
        [Violation::StaleRead { .. }]
    ));
    let unknown = write(2, 3, Some(2), WriteOutcome::Unknown);
    let history = [put(0, 1, 1, 1), unknown, read(4, 5, Some((2, 2))), read(6, 7, Some((1, 1)))];
    assert!(matches!(violations(&history)[..], [Violation::StaleRead { .. }]));
}

#[test]
fn an_unknown_write_may_show_or_not_but_only_at_one_version() {
    let unknown = write(2, 3, Some(2), WriteOutcome::Unknown);
    assert_eq!(
        violations(&[put(0, 1, 1, 1), unknown.clone(), read(4, 5, Some((1, 1))), read(6, 7, Some((2, 2)))]),
        vec![]
    );
    let twice = [unknown, read(4, 5, Some((2, 2))), put(6, 7, 3, 3), read(8, 9, Some((4, 2)))];
    assert!(matches!(violations(&twice)[..], [Violation::AppliedTwice { .. }]));
}

#[test]
fn an_absent_read_after_a_possible_delete_is_fine() {
    let delete = write(2, 3, None, WriteOutcome::Unknown);
    assert_eq!(violations(&[put(0, 1, 1, 1), delete, read(4, 5, None)]), vec![]);
}

#[test]
fn a_value_that_nobody_wrote_is_caught() {
    assert!(matches!(violations(&[read(0, 1, Some((1, 9)))])[..], [Violation::Phantom { .. }]));
    assert!(matches!(violations(&[put(5, 6, 1, 1), read(0, 1, Some((1, 1)))])[..], [Violation::Phantom { .. }]));
}

#[test]
fn a_condition_that_was_passed_over_is_caught() {
    let conditional = |expected: Option<u64>| Operation {
        invoked: 2,
        returned: 5,
        action: Action::Write {
            value: Some(3),
            expected: Some(expected.map(Version)),
            outcome: WriteOutcome::Acknowledged(Version(3)),
        },
    };
    assert_eq!(violations(&[put(0, 1, 1, 1), conditional(Some(1))]), vec![]);
    assert!(matches!(
        violations(&[put(0, 1, 1, 1), put(2, 4, 2, 2), conditional(Some(1))])[..],
        [Violation::LostCondition { .. }]
    ));
    assert!(matches!(violations(&[put(0, 1, 1, 1), conditional(None)])[..], [Violation::LostCondition { .. }]));
}

#[test]
fn order_in_time_is_order_of_versions() {
    assert!(matches!(violations(&[put(0, 1, 1, 5), put(2, 3, 2, 4)])[..], [Violation::Disorder { .. }]));
}

fn batch(invoked: u64, returned: u64, outcome: WriteOutcome, changes: &[(&str, Option<u64>)]) -> Batch {
    let change =
        |(key, value): &(&str, Option<u64>)| Change { key: key.as_bytes().into(), value: *value, expires_ms: None };
    Batch {
        invoked,
        returned,
        outcome,
        changes: changes.iter().map(change).collect(),
        conditions: Vec::new(),
        cause: None,
    }
}

#[test]
fn a_batch_of_unknown_outcome_is_seen_whole_or_not_at_all() {
    let mut history = History::default();
    history.record_batch(batch(0, 1, WriteOutcome::Unknown, &[("a", Some(1)), ("b", Some(1)), ("c", None)]));
    history.record(b"a", read(2, 3, Some((5, 1))));
    assert_eq!(history.check(), vec![]);
    history.record(b"b", read(4, 5, None));
    assert!(matches!(history.check()[..], [Violation::StaleRead { found: None, .. }]));
}

#[test]
fn a_page_shows_its_keys_as_they_were_at_one_moment() {
    let page = |found: &[(&str, Option<(u64, u64)>)]| {
        let found = found.iter().map(|(key, found)| (key.as_bytes().to_vec(), found.map(|(v, n)| (Version(v), n))));
        Page { invoked: 0, returned: 50, found: found.collect(), walls: (0, 0) }
    };
    let check = |shown: &[(&str, Option<(u64, u64)>)]| {
        let mut history = History::default();
        for (key, value, version) in [("a", 1, 1), ("b", 2, 2), ("a", 3, 3), ("b", 4, 4)] {
            let acknowledged = WriteOutcome::Acknowledged(Version(version));
            history.record_batch(batch(10, 40, acknowledged, &[(key, Some(value))]));
        }
        history.record_page(page(shown));
        history.check()
    };
    assert_eq!(check(&[("a", Some((3, 3))), ("b", Some((2, 2)))]), vec![]);
    assert_eq!(check(&[("a", Some((1, 1))), ("b", None)]), vec![]);
    assert!(matches!(check(&[("a", Some((1, 1))), ("b", Some((4, 4)))])[..], [Violation::TornPage { .. }]));
    assert!(matches!(check(&[("a", Some((3, 3))), ("b", None)])[..], [Violation::TornPage { .. }]));
}

#[test]
fn a_record_is_absent_from_its_expiry_on_and_not_before() {
    let check = |found: Option<(Version, Option<u64>)>, walls: (u64, u64)| {
        let mut history = History::default();
        let change = Change { key: b"k".to_vec(), value: Some(1), expires_ms: Some(1_000) };
        let outcome = WriteOutcome::Acknowledged(Version(1));
        let (changes, conditions) = (vec![change], Vec::new());
        history.record_batch(Batch { invoked: 0, returned: 1, outcome, changes, conditions, cause: None });
        history.record_read(b"k", (2, 3), found, walls);
        history.check()
    };
    let there = Some((Version(1), Some(1)));
    assert_eq!(check(there, (900, 1_100)), vec![]);
    assert_eq!(check(None, (900, 1_100)), vec![]);
    assert!(matches!(check(None, (900, 999))[..], [Violation::StaleRead { .. }]));
    assert!(matches!(check(None, (0, 999))[..], [Violation::StaleRead { .. }]));
    assert!(matches!(check(there, (1_000, 1_100))[..], [Violation::Expired { .. }]));
}

#[test]
fn a_condition_of_another_key_is_held_against_its_writes() {
    let check = |expected: Option<u64>| {
        let mut history = History::default();
        history.record(b"k", put(0, 1, 1, 1));
        history.record(b"k", put(2, 3, 2, 2));
        let conditions = vec![(b"k".to_vec(), expected.map(Version))];
        let acknowledged = WriteOutcome::Acknowledged(Version(3));
        history.record_batch(Batch { conditions, ..batch(4, 5, acknowledged, &[("other", Some(3))]) });
        history.check()
    };
    assert_eq!(check(Some(2)), vec![]);
    assert!(matches!(check(Some(1))[..], [Violation::LostCondition { .. }]));
    assert!(matches!(check(None)[..], [Violation::LostCondition { .. }]));
}

#[test]
fn a_copy_never_shows_less_than_before() {
    let mut history = History::default();
    history.record(b"k", put(0, 1, 1, 1));
    history.record(b"k", put(2, 3, 2, 2));
    let local = |copy, order, version| LocalRead {
        copy,
        order,
        invoked: 4,
        returned: 5,
        key: b"k".to_vec(),
        found: Some((Version(version), version)),
    };
    for read in [local(1, 1, 1), local(1, 2, 2), local(2, 3, 1)] {
        history.record_local(read);
    }
    assert_eq!(history.check(), vec![]);
    history.record_local(local(1, 4, 1));
    assert!(matches!(history.check()[..], [Violation::WentBack { copy: 1, .. }]));
}

#[test]
fn an_unknown_write_that_has_expired_may_have_taken_the_record_with_it() {
    let check = |latest: u64| {
        let mut history = History::default();
        history.record(b"k", put(0, 1, 1, 1));
        let change = Change { key: b"k".to_vec(), value: Some(2), expires_ms: Some(1_000) };
        let outcome = WriteOutcome::Unknown;
        history.record_batch(Batch {
            invoked: 2,
            returned: 3,
            outcome,
            changes: vec![change],
            conditions: vec![],
            cause: None,
        });
        history.record_read(b"k", (4, 5), None, (0, latest));
        history.check()
    };
    assert_eq!(check(1_000), vec![]);
    assert!(matches!(check(999)[..], [Violation::StaleRead { .. }]));
}

#[test]
fn a_write_is_not_before_what_caused_it() {
    let checked = |cause, version| {
        let mut history = History::default();
        let outcome = WriteOutcome::Acknowledged(Version(version));
        history.record_batch(Batch { cause, ..batch(0, 1, outcome, &[("a", Some(1))]) });
        history.check()
    };
    assert_eq!(checked(None, 5), []);
    assert_eq!(checked(Some(Version(4)), 5), []);
    for cause in [5, 6] {
        let violation = Violation::EffectBeforeCause { cause: Version(cause), version: Version(5) };
        assert_eq!(checked(Some(Version(cause)), 5), [violation]);
    }
}
