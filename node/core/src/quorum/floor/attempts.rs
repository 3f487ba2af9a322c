//! What stays known of a request's attempts while a floor rises.

use super::{Floor, Refused, Swept};
use crate::command::RequestId;
use crate::ids::{Incarnation, ReplicaId};
use crate::limits::REQUEST_STAMP_MS_MAX;
use crate::quorum::merge::merge;
use crate::record::{Actor, Context, Stamp, Stored, Value};
use crate::time::Version;

const ISSUED_MS: u64 = 100_000;

fn request() -> RequestId {
    RequestId { issued: Version::at_ms(ISSUED_MS), client: 1, sequence: 1 }
}

fn stamp(ms: u64, replica: u64) -> Stamp {
    let actor = Actor { replica: ReplicaId(replica), incarnation: Incarnation(1) };
    Stamp { version: Version::at_ms(ms), actor }
}

/// The first attempt, by a copy whose clock is ahead.
fn first() -> Stored {
    let value = Value { stamp: stamp(ISSUED_MS + 400, 1), request: Some(request()), ..Value::default() };
    Stored::new(value, Context::default())
}

/// A second attempt was deleted by somebody who had read it.
fn deleted() -> Stored {
    let mut context = Context::default();
    context.add(stamp(ISSUED_MS + 5, 2));
    context.add(Stamp::of_attempt(request(), 0));
    Stored::new(Value { stamp: stamp(ISSUED_MS + 9, 2), is_tombstone: true, ..Value::default() }, context)
}

/// The delete as it is after a pass at this floor. `None` = it is forgotten.
fn swept(floor_ms: u64) -> Option<Stored> {
    let (mut floor, mut held) = (Floor::default(), deleted());
    floor.raise_floor(Version::at_ms(floor_ms));
    held.context.raise(Version::at_ms(floor_ms).min(Version(held.newest.stamp.version.0 - 1)));
    match floor.swept(&held, u64::MAX) {
        Swept::Goes => None,
        Swept::Stays => Some(held),
        Swept::Becomes(left) => Some(*left),
    }
}

/// True if the first attempt, when it comes at last, is a value.
fn is_back(floor_ms: u64) -> bool {
    let held = swept(floor_ms).map_or_else(first, |held| merge(&held, &first()));
    held.values().any(|value| !value.is_tombstone)
}

#[test]
fn an_attempt_that_comes_above_the_floor_brings_no_delete_back() {
    assert!(!is_back(ISSUED_MS + 9) && !is_back(ISSUED_MS + 399));
    assert!(swept(ISSUED_MS + REQUEST_STAMP_MS_MAX).is_some());
    assert_eq!(swept(ISSUED_MS + REQUEST_STAMP_MS_MAX + 1), None, "all attempts are below the floor");
}

#[cfg(feature = "planted")]
#[test]
fn attempts_that_are_forgotten_early_are_noticed() {
    crate::planted::plant(Some(crate::planted::Planted::AttemptsForgottenEarly));
    let is_back = is_back(ISSUED_MS + 399);
    crate::planted::plant(None);
    assert!(is_back);
}

/// A second attempt goes out with a later write beside it, to a copy whose bar is between both: it has the first one, or
/// nothing.
fn beside_a_later_write(held: Option<&Stored>) -> Result<Option<Stored>, Refused> {
    let mut bounds = Floor::default();
    bounds.raise_bar(Version::at_ms(ISSUED_MS + 50));
    let mut context = Context::default();
    context.add(Stamp::of_attempt(request(), 0));
    let second = Value { stamp: stamp(ISSUED_MS + 5, 2), request: Some(request()), attempt: 1, ..Value::default() };
    let later = Value { stamp: stamp(ISSUED_MS + 90, 3), ..Value::default() };
    let named = later.stamp;
    bounds.take_write(named, held, Stored { newest: later, siblings: vec![second], context }, true)
}

#[test]
fn earlier_attempts_are_replaced_only_where_the_last_one_is_there() {
    let bar = Version::at_ms(ISSUED_MS + 50);
    for held in [None, Some(first())] {
        assert_eq!(beside_a_later_write(held.as_ref()), Err(Refused::TooOld(bar)), "a repair brings both");
    }
    assert!(beside_a_later_write(Some(&deleted())).is_ok(), "it knows what has replaced both");
}

#[cfg(feature = "planted")]
#[test]
fn an_attempt_that_is_missing_where_it_counts_is_noticed() {
    crate::planted::plant(Some(crate::planted::Planted::PlaceTakenByNone));
    let taken = beside_a_later_write(Some(&first())).ok().flatten();
    crate::planted::plant(None);
    let left = taken.map(|taken| merge(&first(), &taken));
    let values = left.iter().flat_map(Stored::values).filter(|value| value.request == Some(request()));
    assert_eq!(values.filter(|value| !value.is_tombstone).count(), 0, "no attempt is left");
}

/// A first attempt goes out beside a later write, to a copy that lacks what its coordinator wrote before it, and knows that
/// another attempt has taken its place: by what comes, or by what it holds. Which of that coordinator's writes whoever reads
/// there then counts as seen.
fn seen_of_the_first_coordinator(bar_ms: u64, is_told: bool) -> Option<Version> {
    let mut bounds = Floor::default();
    bounds.raise_bar(Version::at_ms(bar_ms));
    let mut attempt = first().newest;
    let coordinator = attempt.stamp.actor;
    let before = Value { stamp: stamp(ISSUED_MS + 100, 1), ..Value::default() };
    let later = Value { stamp: stamp(ISSUED_MS + 900, 3), ..Value::default() };
    let mut held = Stored::new(Value { stamp: stamp(ISSUED_MS + 50, 3), ..Value::default() }, Context::default());
    if is_told {
        attempt.supersede();
    } else {
        held.context.add(Stamp::of_attempt(request(), 1));
    }
    let named = later.stamp;
    let record = Stored { newest: later, siblings: vec![attempt, before], context: Context::default() };
    let taken = bounds.take_write(named, Some(&held), record, true).ok().flatten()?;
    let values = taken.values().filter(|value| value.stamp.actor == coordinator);
    values.map(|value| value.stamp.version).max()
}

#[test]
fn an_attempt_whose_place_is_taken_comes_with_the_past_of_its_coordinator_or_not_at_all() {
    for is_told in [true, false] {
        let all = Some(Version::at_ms(ISSUED_MS + 400));
        assert_eq!(seen_of_the_first_coordinator(0, is_told), all, "nothing is refused");
        for bar_ms in [ISSUED_MS + 200, ISSUED_MS + 500] {
            assert_eq!(seen_of_the_first_coordinator(bar_ms, is_told), None, "the write before it is refused");
        }
    }
}

#[cfg(feature = "planted")]
#[test]
fn an_attempt_whose_place_is_taken_without_a_past_is_noticed() {
    crate::planted::plant(Some(crate::planted::Planted::EarlierAttemptWithoutItsPast));
    let seen = [true, false].map(|is_told| seen_of_the_first_coordinator(ISSUED_MS + 500, is_told));
    crate::planted::plant(None);
    assert!(seen.iter().all(Option::is_some));
}
