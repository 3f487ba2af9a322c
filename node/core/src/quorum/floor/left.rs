//! What bounds leave of one record, value by value.

use crate::planted::{Planted, is_planted};
use crate::record::{Stored, Value};
use crate::time::Version;

/// True if the copy holds the value, or knows what replaced it. That it is below what the record counts as seen, by
/// somebody's floor, is not enough: it may never have been there.
pub(super) fn knows(held: Option<&Stored>, value: &Value) -> bool {
    held.is_some_and(|held| {
        let is_below = held.context.covers(value.stamp, value.by_last_writer);
        held.values().any(|own| own.stamp == value.stamp)
            || held.context.replaces(value.stamp, value.by_last_writer)
            || is_below && is_planted(Planted::BelowFloorAcknowledged)
    })
}

/// A record without values that are neither let in nor known to who holds this. `None` = nothing is left.
pub(super) fn kept(held: Option<&Stored>, mut record: Stored, is_let: impl Fn(&Value) -> bool) -> Option<Stored> {
    let is_kept = |value: &Value| is_let(value) || knows(held, value);
    record.siblings.retain(is_kept);
    // Bounds are on versions: where the newest is not let in, what is left is known.
    is_kept(&record.newest).then_some(record)
}

/// What one copy's answer leaves of another's: whatever is at or below its [`super::Floor::absence`] and not in its answer
/// is deleted, though that tombstone may be forgotten. `None` = all of it is.
pub fn above(absence: Version, held: Option<&Stored>, record: Stored) -> Option<Stored> {
    kept(held, record, |value| value.stamp.version > absence)
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

/// A record without what may go. A delete that is newer than what was written beside it stays with that: what was seen
/// is told below the newest stamp.
pub(super) fn swept(held: &Stored, may_go: impl Fn(&Value) -> bool) -> Swept {
    if held.values().all(&may_go) {
        return Swept::Goes;
    }
    let mut left = held.clone();
    left.siblings.retain(|value| !may_go(value));
    if left.siblings.len() == held.siblings.len() { Swept::Stays } else { Swept::Becomes(Box::new(left)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::floor::{Floor, Refused};
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

    fn floor() -> Floor {
        let mut floor = Floor::default();
        floor.raise_floor(FLOOR);
        floor
    }

    fn swept(held: &Stored, wall_ms: u64) -> Swept {
        floor().swept(held, wall_ms)
    }

    #[test]
    fn deletes_at_or_below_the_floor_go_and_nothing_else() {
        let swept = |values: &[(u64, bool)]| swept(&record(values), 0);
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
        assert_eq!(swept(&ends(1_000), 1_000), Swept::Goes);
        assert_eq!(swept(&ends(1_001), 1_000), Swept::Stays);
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
        let Swept::Becomes(held) = swept(&unswept, 0) else { panic!("one delete goes") };
        let sent = above(FLOOR, Some(&held), unswept).expect("some is held");
        assert_eq!(taken(Some(&held), &sent), None);
    }

    #[test]
    fn a_bar_strips_what_it_refuses_beside_a_write_and_refuses_the_write_that_is_named() {
        let mut barred = Floor::default();
        barred.raise_bar(FLOOR);
        let stamp = |version| Stamp::lowest(Version(version));
        let sent = record(&[(9, false), (4, false)]);
        assert_eq!(barred.take_write(stamp(9), None, sent.clone()), Ok(Some(record(&[(9, false)]))));
        // An attempt that is there already goes out again in the record that its coordinator holds by now.
        assert_eq!(barred.take_write(stamp(4), None, sent.clone()), Err(Refused::TooOld(FLOOR)));
        let held = record(&[(4, false)]);
        assert_eq!(barred.take_write(stamp(4), Some(&held), sent.clone()), Ok(Some(sent.clone())));
        assert_eq!(
            barred.take_write(stamp(4), Some(&held), held.clone()),
            Ok(Some(held.clone())),
            "what it has counts"
        );
        assert_eq!(barred.take_copy(None, sent.clone(), true), Ok(Some(sent.clone())));
        assert_eq!(Floor::bare().take_write(stamp(9), None, sent.clone()), Err(Refused::Bare));
        assert_eq!(Floor::bare().take_copy(None, sent, true), Err(Refused::Bare));
    }

    /// A copy barred and at its floor, and a record that says of all below the floor that it was seen.
    fn late_write_below_the_floor() -> Result<Option<Stored>, Refused> {
        let mut held = record(&[(9, false)]);
        held.context.raise(FLOOR);
        floor().take_write(Stamp::lowest(Version(4)), Some(&held), record(&[(4, false)]))
    }

    #[test]
    fn a_write_that_nobody_has_taken_is_not_acknowledged_because_it_is_below_somebodys_floor() {
        assert_eq!(late_write_below_the_floor(), Err(Refused::TooOld(FLOOR)));
        let mut held = record(&[(9, false)]);
        held.context.add(Stamp::lowest(Version(4)));
        let again = floor().take_write(Stamp::lowest(Version(4)), Some(&held), record(&[(4, false)]));
        assert!(again.is_ok(), "it was there, and was replaced");
    }

    #[cfg(feature = "planted")]
    #[test]
    fn a_write_that_is_acknowledged_below_the_floor_is_noticed() {
        crate::planted::plant(Some(Planted::BelowFloorAcknowledged));
        let taken = late_write_below_the_floor();
        crate::planted::plant(None);
        assert!(taken.is_ok());
    }

    #[cfg(feature = "planted")]
    #[test]
    fn siblings_that_the_bar_does_not_judge_are_noticed() {
        use crate::planted::{Planted, plant};
        let mut barred = Floor::default();
        barred.raise_bar(FLOOR);
        let sent = record(&[(9, false), (4, false)]);
        for (bug, stamp) in [(Planted::SiblingsPassTheBar, 9), (Planted::RefusedSiblingAcknowledged, 4)] {
            let take = || barred.take_write(Stamp::lowest(Version(stamp)), None, sent.clone());
            plant(Some(bug));
            let taken = take();
            plant(None);
            assert_ne!(taken, take(), "{bug:?}");
        }
    }
}
