//! What stays known of a request's attempts while a floor rises.

use super::{Floor, Swept};
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
