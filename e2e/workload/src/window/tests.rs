//! What was planted before a cut is found after it, and what may be is not complained of.

use skerry_core::history::WriteOutcome::{Acknowledged, Failed, Unknown};
use skerry_core::time::Version;

use super::*;

fn write(at: u64, value: u64, outcome: WriteOutcome) -> Operation {
    let action = Action::Write { value: Some(value), expected: None, outcome };
    Operation { invoked: at, returned: at + 1, action }
}

fn put(at: u64, value: u64) -> Operation {
    write(at, value, Acknowledged(Version(at)))
}

fn read(at: u64, found: Option<(u64, u64)>) -> Operation {
    let found = found.map(|(version, value)| (Version(version), value));
    Operation { invoked: at, returned: at + 1, action: Action::Read { found } }
}

/// Each part is checked and cut by itself.
fn violations(parts: &[&[Operation]]) -> Vec<Violation> {
    let mut window = Window::default();
    let mut found = Vec::new();
    for part in parts {
        for operation in *part {
            assert!(window.begin());
            found.extend(window.end(Some(operation.clone())));
        }
        found.extend(window.cut());
    }
    found
}

fn has_stale(violations: &[Violation]) -> bool {
    violations.iter().any(|v| matches!(v, Violation::StaleRead { .. }))
}

#[test]
fn a_write_lost_after_a_cut_is_found() {
    assert!(has_stale(&violations(&[&[put(10, 1)], &[read(20, None)]])));
    assert!(has_stale(&violations(&[&[put(10, 1)], &[], &[read(20, None)]])));
}

#[test]
fn a_stale_read_after_a_cut_is_found() {
    assert!(has_stale(&violations(&[&[put(10, 1), put(20, 2)], &[read(30, Some((10, 1)))]])));
    assert!(has_stale(&violations(&[&[put(10, 1)], &[put(20, 2), read(30, Some((10, 1)))]])));
}

#[test]
fn a_late_unknown_write_is_allowed_however_many_cuts_later() {
    let parts: [&[Operation]; 4] = [
        &[put(10, 1), write(20, 2, Unknown)],
        &[read(30, Some((10, 1)))],
        &[],
        &[read(40, Some((35, 2))), read(50, Some((35, 2)))],
    ];
    assert_eq!(violations(&parts), vec![]);
}

#[test]
fn an_unknown_write_that_was_seen_may_not_be_lost_nor_seen_twice() {
    let seen: &[Operation] = &[put(10, 1), write(20, 2, Unknown), read(30, Some((25, 2)))];
    assert!(has_stale(&violations(&[seen, &[read(40, Some((10, 1)))]])));
    let again = violations(&[seen, &[read(40, Some((38, 2)))]]);
    assert!(matches!(again[..], [Violation::AppliedTwice { .. }]), "{again:?}");
}

#[test]
fn a_write_below_what_was_known_at_the_cut_is_found() {
    let late = write(30, 2, Acknowledged(Version(5)));
    assert!(matches!(violations(&[&[put(10, 1)], &[late]])[..], [Violation::Disorder { .. }]));
}

#[test]
fn a_value_that_was_refused_is_no_write() {
    let found = violations(&[&[put(10, 1), write(20, 2, Failed)], &[read(30, Some((25, 2)))]]);
    assert!(matches!(found[..], [Violation::Phantom { .. }]), "{found:?}");
}

#[test]
fn a_correct_history_of_any_length_stays_short_and_unblamed() {
    let mut window = Window::default();
    for i in 1..=20_000_u64 {
        let operation = if i % 2 == 0 { read(10 * i, Some((10 * (i - 1), i - 1))) } else { put(10 * i, i) };
        assert!(window.begin());
        assert_eq!(window.end(Some(operation)), vec![]);
        assert!(window.operations.len() <= CUT_AT);
    }
}

#[test]
fn a_key_that_is_never_quiet_is_closed_until_it_is() {
    let mut window = Window::default();
    assert!(window.begin());
    for i in 1..=u64::try_from(FULL_AT).unwrap() {
        assert!(window.begin());
        window.end(Some(put(10 * i, i)));
    }
    assert!(!window.begin());
    window.end(None);
    assert!(window.begin());
}
