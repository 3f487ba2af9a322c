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
