//! Histories written by hand, and what the check says of them.

use super::*;

const KEY: &[u8] = b"k";

pub(super) fn write(invoked: u64, value: Option<u64>, version: Option<u64>) -> QuorumWrite {
    let outcome = version.map_or(WriteOutcome::Unknown, |version| WriteOutcome::Acknowledged(Version(version)));
    QuorumWrite {
        invoked,
        returned: invoked + 1,
        value,
        client: None,
        own: None,
        seen: BTreeSet::new(),
        seen_at: 0,
        expires_ms: None,
        outcome,
        is_repeated: false,
    }
}

pub(super) fn read(invoked: u64, found: &[(u64, u64)]) -> QuorumRead {
    let found = found.iter().map(|(version, value)| (Version(*version), *value)).collect();
    QuorumRead { invoked, returned: invoked + 1, found, wall_ms: 1_000, kind: ReadKind::Settled }
}

pub(super) fn history(writes: Vec<QuorumWrite>, reads: Vec<QuorumRead>) -> QuorumHistory {
    let mut history = QuorumHistory::default();
    writes.into_iter().for_each(|write| history.record_write(KEY, write));
    reads.into_iter().for_each(|read| history.record_read(KEY, read));
    history
}

#[test]
fn the_last_writer_is_the_one_with_the_highest_version_whenever_it_was_sent() {
    let writes = vec![write(0, Some(1), Some(20)), write(10, Some(2), Some(15))];
    let good = history(writes.clone(), vec![read(30, &[(20, 1)])]);
    assert_eq!(good.check(Rule::LastWriter, Promise::Monotonic), []);
    let stale = history(writes, vec![read(30, &[(15, 2)])]).check(Rule::LastWriter, Promise::Monotonic);
    assert!(matches!(stale[..], [QuorumViolation::Stale { expected: Version(20), .. }]), "{stale:?}");
}

#[test]
fn what_was_shown_once_is_shown_from_then_on() {
    let writes = vec![write(0, Some(1), Some(10)), write(5, Some(2), None)];
    let back =
        history(writes, vec![read(10, &[(12, 2)]), read(20, &[(10, 1)])]).check(Rule::LastWriter, Promise::Monotonic);
    assert!(matches!(back[..], [QuorumViolation::Stale { at: 20, .. }]), "{back:?}");
}

#[test]
fn a_value_has_one_version_where_the_last_writer_wins() {
    let writes = || vec![write(0, Some(1), Some(10)), write(3, Some(2), Some(12))];
    let once = history(writes(), vec![read(2, &[(10, 1)]), read(5, &[(12, 2)]), read(6, &[(12, 2)])]);
    assert_eq!(once.check(Rule::LastWriter, Promise::Monotonic), []);
    let reads = || vec![read(2, &[(10, 1)]), read(5, &[(12, 2)]), read(9, &[(14, 1)])];
    let twice = history(writes(), reads()).check(Rule::LastWriter, Promise::Monotonic);
    let is_noticed =
        matches!(twice[..], [QuorumViolation::Twice { value: 1, .. }, QuorumViolation::Misplaced { value: 1, .. }]);
    assert!(is_noticed, "{twice:?}");
    assert_eq!(history(writes(), vec![read(6, &[(12, 2), (10, 1)])]).check(Rule::Siblings, Promise::Monotonic), []);
}

/// A write that was sent again, acknowledged at 6, is read after it was replaced by somebody who read it then.
fn replaced_after_it_was_seen(seen_at: u64, is_repeated: bool, promise: Promise) -> usize {
    let first = QuorumWrite { returned: 6, is_repeated, ..write(0, Some(1), Some(10)) };
    let second = QuorumWrite { seen: BTreeSet::from([1]), seen_at, ..write(20, Some(2), Some(12)) };
    history(vec![first, second], vec![read(30, &[(12, 2), (10, 1)])]).check(Rule::Siblings, promise).len()
}

#[test]
fn whoever_saw_a_write_after_it_was_acknowledged_has_replaced_all_attempts() {
    let monotonic = |seen_at, is_repeated| replaced_after_it_was_seen(seen_at, is_repeated, Promise::Monotonic);
    assert_eq!((monotonic(7, true), monotonic(6, true), monotonic(6, false)), (1, 0, 1));
    let at_rest = |since| replaced_after_it_was_seen(7, true, Promise::AtRest(since));
    assert_eq!((at_rest(7), at_rest(8)), (1, 0), "reads that promise nothing may show one attempt alone");
}

#[test]
fn a_key_is_absent_only_after_a_delete_or_its_end() {
    let put = write(0, Some(1), Some(10));
    let lost = history(vec![put.clone()], vec![read(5, &[])]).check(Rule::LastWriter, Promise::Monotonic);
    assert!(matches!(lost[..], [QuorumViolation::Stale { found: None, .. }]), "{lost:?}");
    let deleted = history(vec![put.clone(), write(3, None, Some(11))], vec![read(5, &[])]);
    assert_eq!(deleted.check(Rule::LastWriter, Promise::Monotonic), []);
    let back = history(vec![put.clone(), write(3, None, Some(11))], vec![read(5, &[(10, 1)])])
        .check(Rule::LastWriter, Promise::Monotonic);
    assert!(matches!(back[..], [QuorumViolation::Stale { expected: Version(11), .. }]), "{back:?}");
    let early = write(1, None, Some(9));
    assert_eq!(
        history(vec![put.clone(), early], vec![read(5, &[])]).check(Rule::LastWriter, Promise::Monotonic).len(),
        1
    );
    let ended = QuorumWrite { expires_ms: Some(999), ..put };
    assert_eq!(history(vec![ended], vec![read(5, &[])]).check(Rule::LastWriter, Promise::Monotonic), []);
}

#[test]
fn values_that_nobody_wrote_are_noticed() {
    let failed = QuorumWrite { outcome: WriteOutcome::Failed, ..write(0, Some(1), None) };
    for writes in [vec![], vec![failed], vec![write(100, Some(1), Some(10))]] {
        let phantom = history(writes, vec![read(5, &[(10, 1)])]);
        assert!(matches!(
            phantom.check(Rule::Siblings, Promise::Monotonic)[..],
            [QuorumViolation::Phantom { value: 1, .. }]
        ));
    }
}

#[test]
fn siblings_stay_until_a_write_that_has_seen_them() {
    let writes = || vec![write(0, Some(1), Some(10)), write(0, Some(2), Some(11))];
    let both = history(writes(), vec![read(5, &[(11, 2), (10, 1)])]);
    assert_eq!(both.check(Rule::Siblings, Promise::Monotonic), []);
    let lost = history(writes(), vec![read(5, &[(11, 2)])]).check(Rule::Siblings, Promise::Monotonic);
    assert!(matches!(lost[..], [QuorumViolation::Lost { value: 1, .. }]), "{lost:?}");
    let merged = QuorumWrite { seen: BTreeSet::from([1, 2]), ..write(6, Some(3), Some(12)) };
    let writes = || [writes(), vec![merged.clone()]].concat();
    assert_eq!(history(writes(), vec![read(9, &[(12, 3)])]).check(Rule::Siblings, Promise::Monotonic), []);
    let back = history(writes(), vec![read(9, &[(12, 3), (10, 1)])]).check(Rule::Siblings, Promise::Monotonic);
    assert!(matches!(back[..], [QuorumViolation::Returned { value: 1, .. }]), "{back:?}");
}

#[test]
fn a_delete_of_long_ago_explains_no_later_loss_however_often_it_was_sent() {
    let writes = |is_repeated| {
        let deleted = QuorumWrite { is_repeated, ..write(0, None, Some(10)) };
        vec![deleted, write(5, Some(1), Some(20))]
    };
    for promise in [Promise::Monotonic, Promise::Acknowledged, Promise::AtRest(9)] {
        for is_repeated in [false, true] {
            let lost = history(writes(is_repeated), vec![read(9, &[])]).check(Rule::LastWriter, promise);
            assert!(matches!(lost[..], [QuorumViolation::Stale { expected: Version(20), .. }]), "{lost:?}");
        }
        let again = history(writes(true), vec![read(9, &[(10, 1)])]).check(Rule::LastWriter, promise);
        let is_noticed = matches!(again[..], [QuorumViolation::Stale { .. }, QuorumViolation::Misplaced { .. }]);
        assert!(is_noticed, "a value is never old: {again:?}");
    }
    let later = QuorumWrite { is_repeated: true, ..write(20, None, Some(10)) };
    let early = history(vec![write(5, Some(1), Some(20)), later], vec![read(9, &[])]);
    assert_eq!(early.check(Rule::LastWriter, Promise::Acknowledged).len(), 1, "it was sent after the read");
}

#[test]
fn what_was_replaced_is_not_back_at_rest_unless_it_may_have_come_again() {
    let writes = |is_repeated| {
        let replaced = QuorumWrite { is_repeated, ..write(0, Some(1), Some(10)) };
        let by = QuorumWrite { seen: BTreeSet::from([1]), ..write(5, Some(2), Some(20)) };
        vec![replaced, by]
    };
    let found = || vec![read(9, &[(20, 2), (10, 1)])];
    let back = history(writes(false), found()).check(Rule::Siblings, Promise::AtRest(9));
    assert!(matches!(back[..], [QuorumViolation::Returned { value: 1, .. }]), "{back:?}");
    assert_eq!(history(writes(true), found()).check(Rule::Siblings, Promise::AtRest(9)), []);
}

#[test]
fn only_what_is_promised_is_asked_for() {
    let writes = || vec![write(0, Some(1), Some(10)), write(5, Some(2), None)];
    let lowered = |invoked, found: &[(u64, u64)]| QuorumRead { kind: ReadKind::Lowered, ..read(invoked, found) };
    let back = history(writes(), vec![read(10, &[(12, 2)]), read(20, &[(10, 1)]), lowered(30, &[])]);
    assert_eq!(back.check(Rule::LastWriter, Promise::Monotonic).len(), 1);
    assert_eq!(back.check(Rule::LastWriter, Promise::Acknowledged), []);
    let changing = QuorumRead { kind: ReadKind::Changing, ..read(10, &[(12, 2)]) };
    let back = history(writes(), vec![changing, read(20, &[(10, 1)])]);
    assert_eq!(back.check(Rule::LastWriter, Promise::Monotonic), []);
    let lost = history(writes(), vec![read(10, &[]), read(20, &[])]);
    assert_eq!(lost.check(Rule::Siblings, Promise::AtRest(11)).len(), 1);
    assert_eq!(lost.check(Rule::Siblings, Promise::AtRest(21)), []);
    assert_eq!(lost.check(Rule::Edited, Promise::Monotonic), []);
    let phantom = history(writes(), vec![lowered(10, &[(10, 7)])]);
    assert_eq!(phantom.check(Rule::Edited, Promise::AtRest(99)).len(), 1, "whatever is promised");
}
