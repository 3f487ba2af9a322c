//! Claims about when requests are issued.

use super::*;
use crate::client::progress::{Failure, Progress, Step};
use crate::limits::{ISSUED_AHEAD_MS_MAX, ISSUED_BEHIND_MS_MAX};

const NOW: Duration = Duration::from_secs(1_000);
/// The clocks' time of then.
const WALL_MS: u64 = 1_000_000;

fn wall(ms: u64) -> Version {
    Version::at_ms(WALL_MS + ms)
}

fn day_ahead() -> Version {
    wall(24 * 3_600_000)
}

#[test]
fn a_request_is_issued_by_the_clock_but_not_below_what_was_acknowledged_of_its_keys() {
    assert_eq!(Issuing::default().issue(wall(5), NOW), wall(5));
    assert_eq!(Issuing::new(wall(3), false).issue(wall(5), NOW), wall(5));
    assert_eq!(Issuing::new(day_ahead(), false).issue(wall(5), NOW), day_ahead());
}

/// The client's clock is ahead of all, or that of the copy behind: the copy's counts, but for what was acknowledged.
#[test]
fn a_request_is_issued_no_later_than_is_taken_but_not_below_what_was_acknowledged_of_its_keys() {
    for (acknowledged, expected) in [(Version(0), wall(500)), (wall(700), wall(700))] {
        let mut issuing = Issuing::new(acknowledged, false);
        issuing.too_new(wall(500), NOW);
        assert_eq!(issuing.issue(wall(9_000), NOW), expected);
    }
    let mut issuing = Issuing::default();
    issuing.too_new(wall(500), NOW);
    assert_eq!(issuing.issue(wall(9_000), NOW + Duration::from_millis(40)), wall(540), "its clock has gone on");
    issuing.too_old(wall(8_000), NOW);
    assert!(issuing.issue(wall(9_000), NOW) >= wall(9_000), "another copy's clock is not that far behind");
}

#[test]
fn each_refusal_as_too_old_takes_the_request_further_above_what_was_named() {
    let mut issuing = Issuing::default();
    let mut steps = Vec::new();
    for refusals in 0..10 {
        issuing.too_old(wall(refusals), NOW);
        steps.push(issuing.issue(wall(0), NOW).wall_ms() - wall(refusals).wall_ms());
    }
    assert_eq!(steps, [1, 2, 4, 8, 16, 32, 64, 128, 256, 256]);
    assert!((0..200).all(|_| {
        issuing.too_old(wall(0), NOW);
        issuing.issue(wall(0), NOW) == wall(STEP_MS_MAX)
    }));
    assert_eq!(issuing.issue(wall(0), NOW + Duration::from_millis(70)), wall(STEP_MS_MAX + 70), "as time goes on");
}

/// Of such a key a copy takes only the next few versions.
#[test]
fn a_key_that_is_far_ahead_is_written_at_its_next_versions() {
    let mut issuing = Issuing::default();
    for refusals in 0..20 {
        issuing.too_old(day_ahead(), NOW);
        issuing.too_new(wall(500), NOW);
        let above = issuing.issue(wall(0), NOW).0 - day_ahead().0;
        assert!((1..=STAMP_STEPS_MAX).contains(&above), "{above} after {refusals}");
    }
}

#[test]
fn keys_contradict_each_other_once_two_copies_say_so() {
    let mut issuing = Issuing::new(Version(0), true);
    issuing.too_new(wall(500), NOW);
    issuing.too_old(day_ahead(), NOW);
    assert!(!issuing.is_contradictory());
    issuing.too_new(wall(500), NOW);
    assert!(!issuing.is_contradictory(), "one clock may be wrong");
    issuing.too_new(wall(501), NOW);
    assert!(issuing.is_contradictory());
    assert!(!Issuing { can_be_parted: false, ..issuing }.is_contradictory());
}

/// How a client goes about a key that others write all the time.
#[derive(Clone, Copy)]
struct Way {
    is_drawn_after_the_pause: bool,
    goes_up: bool,
}

const OURS: Way = Way { is_drawn_after_the_pause: true, goes_up: true };

/// Milliseconds until a write of such a key is taken, by a client whose clock is behind theirs. `None` = it never is, within
/// half a minute.
fn taken_after_ms(way: Way, behind_ms: u64, one_way_ms: u64) -> Option<u64> {
    let (mut progress, mut ms, mut seen) = (Progress::default(), 0, Version(0));
    let mut issued = wall(0);
    while ms < 30_000 {
        ms += one_way_ms;
        let held = wall(ms);
        let is_late = issued.wall_ms() + ISSUED_BEHIND_MS_MAX < held.wall_ms();
        let failure = match issued {
            issued if issued > wall(ms + ISSUED_AHEAD_MS_MAX) => Failure::TooNew(wall(ms + ISSUED_AHEAD_MS_MAX)),
            issued if is_late || issued < held => Failure::TooOld(held),
            _ => return Some(ms),
        };
        ms += one_way_ms;
        if let Failure::TooOld(floor) = failure {
            seen = seen.max(Version(floor.0 + 1));
        }
        let now = |ms| Duration::from_millis(ms);
        let Step::Again { pause, fresh_id: true } = progress.after(failure, false, now(ms)) else { return None };
        let drawn_ms = if way.is_drawn_after_the_pause { ms + u64::try_from(pause.as_millis()).unwrap() } else { ms };
        ms += u64::try_from(pause.as_millis()).unwrap();
        let plain = Version::at_ms(WALL_MS + drawn_ms - behind_ms).max(seen);
        issued = if way.goes_up { progress.issuing.issue(plain, now(drawn_ms)) } else { plain };
    }
    None
}

#[test]
fn a_client_whose_clock_is_behind_writes_a_key_that_others_write_all_the_time() {
    for behind_ms in [0, 30, 400, 10_000] {
        for one_way_ms in [1, 10, 100] {
            let taken = taken_after_ms(OURS, behind_ms, one_way_ms);
            assert!(taken.is_some_and(|ms| ms < 3_000), "{behind_ms} ms behind, {one_way_ms} ms away: {taken:?}");
        }
    }
}

#[test]
fn a_client_that_does_not_go_up_or_draws_its_request_before_the_pause_is_noticed() {
    assert_eq!(taken_after_ms(Way { goes_up: false, is_drawn_after_the_pause: false }, 30, 1), None);
    assert_eq!(taken_after_ms(Way { goes_up: false, ..OURS }, 30, 1), None);
    let (early, ours) = (Way { is_drawn_after_the_pause: false, ..OURS }, taken_after_ms(OURS, 30, 3));
    assert!(ours.is_some() && taken_after_ms(early, 30, 3) > ours, "{ours:?}");
}
