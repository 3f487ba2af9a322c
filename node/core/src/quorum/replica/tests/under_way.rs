//! Claims about what a copy tells of writes that it has acknowledged, and that others do not have yet.

use super::*;

/// A copy by whose own word alone a write succeeds.
fn alone_with_a_write() -> Solo {
    let current = Copies { write: 1, ..copies(&[1, 2, 3]) };
    let layout = Layout { current, ..three() };
    let mut solo = Solo::of(QuorumState::first(OWN, &descriptor(), layout));
    assert_eq!(solo.replica.report().under_way, 0);
    solo.write(1, vec![put("b", "1")]);
    solo.durable();
    assert_eq!(solo.answers().len(), 1, "it has succeeded");
    solo
}

fn number_of_write(solo: &mut Solo, to: ReplicaId) -> u64 {
    let sent = solo.sent(to);
    sent.iter().find_map(|(_, body)| if let Body::Write(number, _) = body { Some(*number) } else { None }).expect("one")
}

/// Whoever goes by what it says takes it away with the write, which nobody else has.
fn says_that_a_write_is_under_way() {
    let solo = alone_with_a_write();
    let report = solo.replica.report();
    assert_eq!((report.hints, report.under_way), (0, 1));
}

#[test]
fn a_write_counts_as_under_way_until_all_have_it_or_it_is_kept_for_them() {
    says_that_a_write_is_under_way();
    let mut solo = alone_with_a_write();
    let number = number_of_write(&mut solo, SECOND);
    solo.hear(SECOND, Body::Said(number, Said::Durable));
    assert_eq!(solo.replica.report().under_way, 1, "the third has not confirmed");
    solo.hear(THIRD, Body::Said(number, Said::Durable));
    assert_eq!(solo.replica.report().under_way, 0);
    let mut solo = alone_with_a_write();
    solo.tick(25);
    let report = solo.replica.report();
    assert_eq!((report.hints, report.under_way), (2, 0), "from one moment to the next one of both tells of it");
}

/// What only its own log is slow with, the others have.
#[test]
fn a_write_that_only_the_own_log_lacks_is_nothing_that_others_lack() {
    let mut solo = Solo::new();
    solo.write(1, vec![put("b", "1")]);
    assert_eq!(solo.replica.report().under_way, 1);
    let number = number_of_write(&mut solo, SECOND);
    [SECOND, THIRD].into_iter().for_each(|copy| solo.hear(copy, Body::Said(number, Said::Durable)));
    assert_eq!(solo.replica.report().under_way, 0);
}

#[cfg(feature = "planted")]
#[test]
fn writes_under_way_that_are_not_told_of_are_noticed() {
    use crate::planted::{Planted, plant};
    plant(Some(Planted::WritesUnderWayUntold));
    let caught = std::panic::catch_unwind(says_that_a_write_is_under_way).is_err();
    plant(None);
    assert!(caught);
}
