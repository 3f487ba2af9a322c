//! What bounds leave of one record, value by value.

use crate::planted::{Planted, is_planted};
use crate::record::{Stored, Value};
use crate::time::Version;

/// True if the copy holds the value, or knows what replaced it. That it is below what the record counts as seen, by
/// somebody's floor, is not enough: it may never have been there. Nor is it that a later attempt has taken its place: whoever
/// reads its stamp counts the earlier writes of its coordinator as seen.
pub(super) fn knows(held: Option<&Stored>, value: &Value) -> bool {
    held.is_some_and(|held| {
        let is_below = held.context.covers(value.stamp, value.by_last_writer);
        let is_free = value.is_superseded(&held.context) && is_planted(Planted::EarlierAttemptWithoutItsPast);
        held.values().any(|own| own.stamp == value.stamp)
            || held.context.replaces(value.stamp, value.by_last_writer)
            || is_free
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

/// True if with each value that is let in, and not known to who holds this, come the earlier ones of its coordinator, and all
/// that the record shows although it counts it as seen by a floor: what is left out of the values, and stays in what was
/// seen, counts as replaced from then on. So do earlier attempts of a write whose last one is left out. As far as they are not
/// `had` here before.
pub(super) fn has_pasts(
    held: Option<&Stored>,
    record: &Stored,
    is_let: impl Fn(&Value) -> bool,
    had: impl Fn(&Value) -> bool,
) -> bool {
    let is_left_out = |value: &Value| !had(value) && !knows(held, value);
    let is_new = |value: &&Value| is_let(value) && !knows(held, value);
    let takes_a_place =
        |value: &Value| value.attempt > 0 && !value.was_superseded() && !is_planted(Planted::PlaceTakenByNone);
    let is_seen = |value: &Value| record.context.covers(value.stamp, value.by_last_writer) || takes_a_place(value);
    if record.values().any(|value| is_left_out(value) && is_seen(value)) && !is_planted(Planted::ShownCountsAsReplaced)
    {
        return false;
    }
    record.values().filter(is_new).all(|value| {
        let is_earlier = |other: &Value| other.stamp.actor == value.stamp.actor && other.stamp < value.stamp;
        !record.values().any(|other| is_earlier(other) && is_left_out(other))
    })
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
/// is told below the newest stamp. All of it stays for as long as an attempt of what was replaced may come above the floor.
pub(super) fn swept(held: &Stored, floor: Version, may_go: impl Fn(&Value) -> bool) -> Swept {
    if held.values().all(&may_go) {
        return if held.context.has_attempts_above(floor) { Swept::Stays } else { Swept::Goes };
    }
    let mut left = held.clone();
    left.siblings.retain(|value| !may_go(value));
    if left.siblings.len() == held.siblings.len() { Swept::Stays } else { Swept::Becomes(Box::new(left)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ReplicaId;
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

    /// A record whose siblings are each of another coordinator.
    fn of_several(values: &[(u64, bool)]) -> Stored {
        let mut record = record(values);
        for (replica, sibling) in (1..).zip(&mut record.siblings) {
            sibling.stamp.actor.replica = ReplicaId(replica);
        }
        record
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

    /// What is left of a value that ends then, at a floor of one second, by a clock.
    fn left_of(ends_ms: u64, wall_ms: u64) -> Swept {
        let mut floor = Floor::default();
        floor.raise_floor(Version::at_ms(1_000));
        let value = Value { expires_ms: Some(ends_ms), ..value(5, false) };
        floor.swept(&Stored::new(value, Context::default()), wall_ms)
    }

    #[test]
    fn what_has_ended_by_the_clocks_of_all_goes_like_a_delete() {
        assert_eq!((left_of(1_000, 1_000), left_of(1_000, 70_000)), (Swept::Goes, Swept::Goes));
        assert_eq!((left_of(1_000, 999), left_of(1_001, 1_000)), (Swept::Stays, Swept::Stays));
        // By a clock that jumps; those of the others had passed the floor's time, and no more is known of them.
        assert_eq!((left_of(1_001, 70_000), left_of(1_001, u64::MAX)), (Swept::Stays, Swept::Stays));
    }

    #[cfg(feature = "planted")]
    #[test]
    fn what_ends_by_one_clock_alone_is_noticed() {
        crate::planted::plant(Some(Planted::EndedByOwnClock));
        let left = left_of(1_001, u64::MAX);
        crate::planted::plant(None);
        assert_eq!(left, Swept::Goes);
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
        assert_eq!(taken(Some(&held), &sent), Ok(None));
    }

    fn barred() -> Floor {
        let mut barred = Floor::default();
        barred.raise_bar(FLOOR);
        barred
    }

    #[test]
    fn a_bar_strips_what_it_refuses_beside_a_write_and_refuses_the_write_that_is_named() {
        let barred = barred();
        let sent = of_several(&[(9, false), (4, false)]);
        let (newest, sibling) = (sent.newest.stamp, sent.siblings[0].stamp);
        assert_eq!(barred.take_write(newest, None, sent.clone(), true), Ok(Some(record(&[(9, false)]))));
        // An attempt that is there already goes out again in the record that its coordinator holds by now.
        assert_eq!(barred.take_write(sibling, None, sent.clone(), true), Err(Refused::TooOld(FLOOR)));
        let held = Stored::new(sent.siblings[0].clone(), Context::default());
        assert_eq!(barred.take_write(sibling, Some(&held), sent.clone(), true), Ok(Some(sent.clone())));
        assert_eq!(
            barred.take_write(sibling, Some(&held), held.clone(), true),
            Ok(Some(held.clone())),
            "what it has counts"
        );
        assert_eq!(barred.take_copy(None, sent.clone(), true), Ok(Some(sent.clone())));
        assert_eq!(Floor::bare().take_write(newest, None, sent.clone(), true), Err(Refused::Bare));
        assert_eq!(Floor::bare().take_copy(None, sent, true), Err(Refused::Bare));
    }

    /// A coordinator's second write comes to a copy with a bar above the first one, which holds this.
    fn second_of_two(held: Option<&Stored>) -> Result<Option<Stored>, Refused> {
        barred().take_write(Stamp::lowest(Version(9)), held, record(&[(9, false), (4, false)]), true)
    }

    #[test]
    fn a_write_is_taken_with_the_earlier_ones_of_its_coordinator_or_not_at_all() {
        let both = record(&[(9, false), (4, false)]);
        assert_eq!(second_of_two(None), Err(Refused::TooOld(FLOOR)), "who reads it would count both as seen");
        assert_eq!(second_of_two(Some(&record(&[(4, false)]))), Ok(Some(both.clone())));
        let mut replaced = of_several(&[(8, false)]);
        replaced.context.add(Stamp::lowest(Version(4)));
        assert_eq!(second_of_two(Some(&replaced)), Ok(Some(both)));
        let second = record(&[(9, false)]);
        assert_eq!(second_of_two(Some(&second)), Ok(Some(second.clone())), "it is there");
    }

    #[cfg(feature = "planted")]
    #[test]
    fn a_write_without_its_coordinators_past_is_noticed() {
        crate::planted::plant(Some(Planted::WriteWithoutItsPast));
        let taken = second_of_two(None);
        crate::planted::plant(None);
        assert_eq!(taken, Ok(Some(record(&[(9, false)]))));
    }

    /// A new write stands beside one below the floor, by which its coordinator counts all there as seen. What a copy makes of
    /// it that comes new: it has others' bounds, and not yet what is below them.
    fn beside_one_below_the_floor(held: Option<&Stored>) -> Result<Option<Stored>, Refused> {
        floor().take_write(Stamp::lowest(Version(9)), held, shown_below_the_floor(), false)
    }

    fn shown_below_the_floor() -> Stored {
        let mut sent = of_several(&[(9, false), (4, false)]);
        sent.context.raise(FLOOR);
        sent
    }

    #[test]
    fn a_copy_that_lacks_what_a_record_shows_below_a_floor_does_not_count_it_as_seen() {
        assert_eq!(beside_one_below_the_floor(None), Err(Refused::TooOld(FLOOR)), "it would be lost to all");
        let sibling = Stored::new(shown_below_the_floor().siblings.remove(0), Context::default());
        assert_eq!(beside_one_below_the_floor(Some(&sibling)), Ok(Some(shown_below_the_floor())));
    }

    #[cfg(feature = "planted")]
    #[test]
    fn what_is_shown_and_counts_as_replaced_is_noticed() {
        crate::planted::plant(Some(Planted::ShownCountsAsReplaced));
        let taken = beside_one_below_the_floor(None);
        crate::planted::plant(None);
        assert!(taken.is_ok(), "{taken:?}");
    }

    /// A key was deleted, and is written anew by the same coordinator, which has not swept yet. What a copy makes of it that
    /// has, or one that comes new and has a floor without what is below it.
    fn written_after_a_delete(is_complete: bool) -> Result<Option<Stored>, Refused> {
        floor().take_write(Stamp::lowest(Version(9)), None, record(&[(9, false), (4, true)]), is_complete)
    }

    #[test]
    fn a_write_comes_to_a_copy_that_has_forgotten_the_delete_before_it() {
        assert_eq!(written_after_a_delete(true), Ok(Some(record(&[(9, false)]))));
        assert_eq!(written_after_a_delete(false), Err(Refused::TooOld(FLOOR)), "it may never have had it");
    }

    #[cfg(feature = "planted")]
    #[test]
    fn a_write_that_is_refused_for_a_forgotten_delete_is_noticed() {
        crate::planted::plant(Some(Planted::SweptPastWanted));
        let taken = written_after_a_delete(true);
        crate::planted::plant(None);
        assert_eq!(taken, Err(Refused::TooOld(FLOOR)));
    }

    /// A copy barred and at its floor, and a record that says of all below the floor that it was seen.
    fn late_write_below_the_floor() -> Result<Option<Stored>, Refused> {
        let mut held = record(&[(9, false)]);
        held.context.raise(FLOOR);
        floor().take_write(Stamp::lowest(Version(4)), Some(&held), record(&[(4, false)]), true)
    }

    #[test]
    fn a_write_that_nobody_has_taken_is_not_acknowledged_because_it_is_below_somebodys_floor() {
        assert_eq!(late_write_below_the_floor(), Err(Refused::TooOld(FLOOR)));
        let mut held = record(&[(9, false)]);
        held.context.add(Stamp::lowest(Version(4)));
        let again = floor().take_write(Stamp::lowest(Version(4)), Some(&held), record(&[(4, false)]), true);
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
        let barred = barred();
        let sent = of_several(&[(9, false), (4, false)]);
        let (newest, sibling) = (sent.newest.stamp, sent.siblings[0].stamp);
        for (bug, stamp) in [(Planted::SiblingsPassTheBar, newest), (Planted::RefusedSiblingAcknowledged, sibling)] {
            let take = || barred.take_write(stamp, None, sent.clone(), true);
            plant(Some(bug));
            let taken = take();
            plant(None);
            assert_ne!(taken, take(), "{bug:?}");
        }
    }
}
