//! What the tombstone floor lets go of one record, and what it keeps from coming back.
//!
//! Once a copy holds a floor durably, it has each write at or below it, or what replaced that. So whatever comes later and
//! is at or below the floor was replaced or let go here, and deletes need not be kept to tell.

use crate::record::{Stored, Value};
use crate::time::Version;

/// What a copy takes of a record that it is sent: without values at or below its floor that it does not hold. `None` =
/// nothing.
pub fn above(floor: Version, held: Option<&Stored>, mut record: Stored) -> Option<Stored> {
    let is_held = |value: &Value| held.is_some_and(|held| held.values().any(|own| own.stamp == value.stamp));
    let is_taken = |value: &Value| value.stamp.version > floor || is_held(value);
    record.siblings.retain(is_taken);
    // Where the newest is at or below the floor, so is the rest.
    is_taken(&record.newest).then_some(record)
}

/// What a pass over all records does with one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swept {
    /// It stays as it is.
    Stays,
    /// Some of its values go.
    Becomes(Box<Stored>),
    /// All of it goes.
    Goes,
}

/// What is left of a record without deletes, and values that have ended, at or below the floor. A delete that is newer
/// than what was written beside it stays with that: what was seen is told below the newest stamp.
pub fn swept(floor: Version, held: &Stored, wall_ms: u64) -> Swept {
    let may_go = |value: &Value| value.stamp.version <= floor && value.is_gone(wall_ms);
    if held.values().all(may_go) {
        return Swept::Goes;
    }
    let mut left = held.clone();
    left.siblings.retain(|value| !may_go(value));
    if left.siblings.len() == held.siblings.len() { Swept::Stays } else { Swept::Becomes(Box::new(left)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::merge::taken;
    use crate::record::{Context, Stamp};

    fn value(version: u64, is_tombstone: bool) -> Value {
        Value { stamp: Stamp::lowest(Version(version)), is_tombstone, ..Value::default() }
    }

    fn record(values: &[(u64, bool)]) -> Stored {
        let mut values = values.iter().map(|(version, is_tombstone)| value(*version, *is_tombstone));
        let newest = values.next().expect("there is one");
        Stored { newest, siblings: values.collect(), context: Context::default() }
    }

    const FLOOR: Version = Version(5);

    #[test]
    fn deletes_at_or_below_the_floor_go_and_nothing_else() {
        let swept = |values: &[(u64, bool)]| swept(FLOOR, &record(values), 0);
        assert_eq!(swept(&[(5, true)]), Swept::Goes);
        assert_eq!(swept(&[(5, true), (4, true)]), Swept::Goes);
        assert_eq!(swept(&[(6, true)]), Swept::Stays);
        assert_eq!(swept(&[(5, false)]), Swept::Stays);
        assert_eq!(
            swept(&[(6, false), (5, true), (4, false)]),
            Swept::Becomes(Box::new(record(&[(6, false), (4, false)])))
        );
        assert_eq!(swept(&[(5, true), (4, false)]), Swept::Stays);
        assert_eq!(swept(&[(6, true), (5, true)]), Swept::Becomes(Box::new(record(&[(6, true)]))));
    }

    #[test]
    fn what_has_ended_goes_like_a_delete() {
        let ends = |at| Stored::new(Value { expires_ms: Some(at), ..value(5, false) }, Context::default());
        assert_eq!(swept(FLOOR, &ends(1_000), 1_000), Swept::Goes);
        assert_eq!(swept(FLOOR, &ends(1_001), 1_000), Swept::Stays);
    }

    #[test]
    fn what_comes_late_below_the_floor_brings_nothing_back() {
        let late = record(&[(5, false), (4, false)]);
        assert_eq!(above(FLOOR, None, late.clone()), None);
        let held = record(&[(7, false)]);
        assert_eq!(above(FLOOR, Some(&held), late.clone()), None);
        assert_eq!(above(FLOOR, Some(&late), late.clone()), Some(late.clone()), "what is held stays");
        let mixed = record(&[(6, false), (4, false)]);
        assert_eq!(above(FLOOR, None, mixed), Some(record(&[(6, false)])));
    }

    #[test]
    fn a_swept_copy_and_one_that_is_not_yet_swept_do_not_bring_a_delete_back() {
        let unswept = record(&[(6, false), (5, true), (4, false)]);
        let Swept::Becomes(held) = swept(FLOOR, &unswept, 0) else { panic!("one delete goes") };
        let sent = above(FLOOR, Some(&held), unswept).expect("some is held");
        assert_eq!(taken(Some(&held), &sent), None);
    }
}
