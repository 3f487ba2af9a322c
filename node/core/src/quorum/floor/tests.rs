//! What a copy does with what comes, by its bounds.

use super::{FLOOR_BEHIND_MS, Floor, Source, Verdict};
use crate::limits::ISSUED_AHEAD_MS_MAX;
use crate::time::Version;

fn bounds(floor: u64, bar: u64) -> Floor {
    let mut bounds = Floor::default();
    bounds.raise_floor(Version(floor));
    bounds.raise_bar(Version(bar));
    bounds
}

#[test]
fn the_bar_refuses_writes_and_lets_repairs_through() {
    let bounds = bounds(0, 10);
    assert_eq!(bounds.verdict(Source::Write, Version(10), true), Verdict::TooOld(Version(10)));
    assert_eq!(bounds.verdict(Source::Write, Version(11), true), Verdict::Take);
    assert_eq!(bounds.verdict(Source::Copy, Version(10), true), Verdict::Take);
}

#[test]
fn what_is_below_the_floor_is_covered() {
    let bounds = bounds(10, 20);
    assert_eq!(bounds.verdict(Source::Copy, Version(10), true), Verdict::Covered);
    assert_eq!(bounds.verdict(Source::Copy, Version(11), true), Verdict::Take);
    assert_eq!(bounds.verdict(Source::Write, Version(10), true), Verdict::TooOld(Version(20)));
    assert!(bounds.may_forget(Version(10)) && !bounds.may_forget(Version(11)));
    assert_eq!((bounds.absence(true), bounds.absence(false)), (Version(10), Version(0)));
}

#[test]
fn both_bounds_only_rise_and_the_bar_is_never_below_the_floor() {
    let mut bounds = bounds(10, 20);
    bounds.raise_bar(Version(5));
    bounds.raise_floor(Version(9));
    assert_eq!((bounds.floor(), bounds.bar()), (Version(10), Version(20)));
    bounds.raise_floor(Version(30));
    assert_eq!((bounds.floor(), bounds.bar()), (Version(30), Version(30)));
}

#[test]
fn a_new_copy_takes_nothing_before_it_has_bounds_and_then_copies_what_is_below_them() {
    let mut new = Floor::bare();
    assert_eq!(new.verdict(Source::Write, Version(50), false), Verdict::Bare);
    assert_eq!(new.verdict(Source::Copy, Version(50), false), Verdict::Bare);
    new.raise_floor(Version(40));
    assert_eq!(new, Floor::bare(), "it gets floors with others' bounds alone");
    new.take_over(&Floor::bare());
    assert!(new.is_bare());
    new.take_over(&bounds(10, 20));
    assert_eq!(new, bounds(10, 20));
    assert_eq!(new.verdict(Source::Copy, Version(5), false), Verdict::Take);
    assert_eq!(new.verdict(Source::Write, Version(20), false), Verdict::TooOld(Version(20)));
    assert_eq!(new.verdict(Source::Copy, Version(5), true), Verdict::Covered);
}

#[test]
fn no_bar_is_due_that_is_near_or_ahead_of_the_own_clock() {
    let now = 1_000_000;
    let latest = now - FLOOR_BEHIND_MS + ISSUED_AHEAD_MS_MAX;
    assert!(Floor::is_due(Version::at_ms(latest), now));
    assert!(!Floor::is_due(Version::at_ms(latest + 1), now));
    assert!(!Floor::is_due(Version(u64::MAX), now));
    assert!(!Floor::is_due(Version::at_ms(now), 0));
    assert!(!Floor::is_due(Version(u64::MAX), u64::MAX), "nothing would be above it");
    let mut bounds = bounds(0, 0);
    assert!(!bounds.told(Version(u64::MAX), now) && bounds == Floor::default(), "nobody ends all writes");
    assert!(bounds.told(Version::at_ms(latest), now) && !bounds.told(Version::at_ms(latest), now));
}
