//! Claims about what a coordinator makes of a write.

use super::*;
use crate::ids::{Incarnation, ReplicaId};
use crate::quorum::shown::shown;

const WALL_MS: u64 = 1_000_000;

struct Copy {
    held: Option<Stored>,
    clock: StampClock,
    resolve: Resolve,
}

fn copy(replica: u64, resolve: Resolve) -> Copy {
    let actor = Actor { replica: ReplicaId(replica), incarnation: Incarnation(1) };
    Copy { held: None, clock: StampClock::new(actor), resolve }
}

impl Copy {
    fn write(&mut self, write: Write, floor: Version) -> Result<Prepared, NotBegun> {
        let mut coordinator =
            Coordinator { resolve: self.resolve, clock: &mut self.clock, wall_ms: WALL_MS, absence: floor, bar: floor };
        let prepared = match coordinator.prepare(self.held.as_ref(), write) {
            Ok(prepared) => prepared,
            Err(Unprepared::NotBegun(not_begun)) => return Err(not_begun),
            Err(other) => panic!("{other}"),
        };
        self.held = Some(prepared.record.clone());
        Ok(prepared)
    }

    /// Above which version it would be taken. `None` = it is taken.
    fn too_old(&self, write: Write) -> Option<Version> {
        let (resolve, mut clock, zero) = (self.resolve, self.clock, Version::default());
        let mut coordinator = Coordinator { resolve, clock: &mut clock, wall_ms: WALL_MS, absence: zero, bar: zero };
        match coordinator.prepare(self.held.as_ref(), write) {
            Ok(_) => None,
            Err(Unprepared::TooOld(floor)) => Some(floor),
            Err(other) => panic!("{other}"),
        }
    }

    fn put(&mut self, bytes: usize) -> Result<Prepared, NotBegun> {
        self.write(put(bytes), Version::default())
    }

    fn seen(&self) -> Option<Context> {
        Some(shown(&Bytes::from_static(b"k"), self.held.as_ref(), self.resolve, 0).context)
    }
}

fn put(bytes: usize) -> Write {
    Write { value: Some(vec![7; bytes].into()), ..Write::default() }
}

fn request(sequence: u64) -> Option<RequestId> {
    issued(Version(Version::at_ms(WALL_MS).0 + 5), sequence)
}

fn issued(issued: Version, sequence: u64) -> Option<RequestId> {
    Some(RequestId { issued, client: 1, sequence })
}

fn again(first_sent_ms: u64, attempt: u32) -> Option<Again> {
    Some(Again { first_sent_ms, attempt })
}

#[test]
fn stamps_rise_and_are_above_what_was_seen() {
    let mut clock = copy(1, Resolve::Siblings).clock;
    let mut last = Stamp::default();
    for (wall_ms, seen) in [(5, 0), (0, 0), (0, 9 << 18), (7, 0), (400, 1), (0, 0)] {
        let next = clock.next(wall_ms, latest(wall_ms, Version(0)), Version(seen)).expect("there is one");
        assert!(next > last && next.version > Version(seen));
        last = next;
    }
    let latest = latest(0, Version(0));
    assert_eq!(clock.next(0, latest, Version(u64::MAX)), None, "no stamp is given twice");
    assert!(clock.next(0, latest, Version(u64::MAX - 1)).is_some());
}

/// Milliseconds by which a stamp is ahead of the clock, after one by a clock that was an hour ahead, and one of a key that
/// is an hour ahead.
fn ahead_after_a_wrong_clock() -> Vec<u64> {
    let mut clock = copy(1, Resolve::Siblings).clock;
    let hour_ms = 3_600_000;
    let mut next = |wall_ms: u64, seen: Version| {
        let stamp = clock.next(wall_ms, latest(wall_ms, Version(0)), seen).expect("there is one");
        assert!(stamp.version > seen);
        stamp.version.wall_ms() - WALL_MS
    };
    let key = Version::at_ms(WALL_MS + hour_ms);
    vec![next(WALL_MS + hour_ms, Version(0)), next(WALL_MS, Version(0)), next(WALL_MS, key), next(WALL_MS, Version(0))]
}

#[test]
fn neither_a_clock_that_was_ahead_nor_a_key_that_is_lifts_the_stamps_of_others() {
    assert_eq!(ahead_after_a_wrong_clock(), [3_600_000, 0, 3_600_000, 0]);
}

#[cfg(feature = "planted")]
#[test]
fn stamps_that_a_clock_has_lifted_for_good_are_noticed() {
    crate::planted::plant(Some(Planted::StampsHeldUp));
    let ahead = ahead_after_a_wrong_clock();
    crate::planted::plant(None);
    assert_eq!(ahead, [3_600_000; 4]);
}

#[test]
fn a_key_that_is_ahead_is_written_on_by_whoever_has_seen_it() {
    for resolve in [Resolve::LastWriterWins, Resolve::Siblings] {
        let mut copy = copy(1, resolve);
        let ahead = Stamp::lowest(Version::at_ms(WALL_MS + 3_600_000));
        copy.held = Some(Stored::new(Value { stamp: ahead, ..Value::default() }, Context::default()));
        let seen = copy.seen();
        let prepared = copy.write(Write { seen, ..put(1) }, Version::default()).unwrap();
        assert_eq!(prepared.stamp.version, Version(ahead.version.0 + 1));
        let mut context = Context::default();
        context.add(Stamp::lowest(Version(ahead.version.0 + (1 << 18))));
        let far = copy.write(Write { seen: Some(context), ..put(1) }, Version::default());
        assert!(matches!(far, Err(NotBegun::Ahead { .. })), "{far:?}");
    }
}

/// The stamp of a write by a copy whose clock is behind its own bar.
fn stamp_behind(bar: Version) -> Version {
    let mut clock = copy(1, Resolve::LastWriterWins).clock;
    let (resolve, absence) = (Resolve::LastWriterWins, Version(0));
    let mut coordinator = Coordinator { resolve, clock: &mut clock, wall_ms: 5, absence, bar };
    coordinator.prepare(None, put(1)).expect("no limit is met").stamp.version
}

#[test]
fn a_copy_whose_clock_is_behind_gives_stamps_above_its_own_bar() {
    assert_eq!(stamp_behind(Version(9 << 18)), Version((9 << 18) + 1));
}

#[cfg(feature = "planted")]
#[test]
fn a_stamp_below_the_own_bar_is_noticed() {
    crate::planted::plant(Some(Planted::StampBelowBar));
    let stamp = stamp_behind(Version(9 << 18));
    crate::planted::plant(None);
    assert!(stamp <= Version(9 << 18));
}

#[test]
fn the_next_attempt_of_a_request_is_the_same_write_where_the_first_is_known() {
    for resolve in [Resolve::LastWriterWins, Resolve::Siblings] {
        let mut copy = copy(1, resolve);
        let write = Write { request: request(1), ..put(3) };
        let first = copy.write(write.clone(), Version::default()).unwrap();
        let again = copy.write(write, Version::default()).unwrap();
        assert_eq!((first.stamp, &first.record, true), (again.stamp, &again.record, again.is_known));
        let other = copy.write(Write { request: request(2), ..put(3) }, Version::default()).unwrap();
        assert!(other.stamp > first.stamp && !other.is_known);
    }
}

#[test]
fn more_siblings_than_allowed_are_refused_and_what_replaces_them_is_not() {
    let mut copy = copy(1, Resolve::Siblings);
    for _ in 0..SIBLINGS_MAX {
        copy.put(1).unwrap();
    }
    assert_eq!(copy.put(1), Err(NotBegun::Siblings { values: SIBLINGS_MAX + 1, bytes: SIBLINGS_MAX + 1 }));
    let seen = copy.seen();
    let resolved = copy.write(Write { seen, ..put(1) }, Version::default()).unwrap();
    assert!(resolved.record.siblings.is_empty());
}

#[test]
fn more_bytes_of_siblings_than_allowed_are_refused_and_what_makes_them_fewer_is_not() {
    let mut one = copy(1, Resolve::Siblings);
    let mut other = copy(2, Resolve::Siblings);
    for copy in [&mut one, &mut other] {
        copy.put(SIBLING_BYTES_MAX).unwrap();
        assert_eq!(copy.put(1), Err(NotBegun::Siblings { values: 2, bytes: SIBLING_BYTES_MAX + 1 }));
    }
    let both = merge(one.held.as_ref().unwrap(), other.held.as_ref().unwrap());
    assert_eq!(both.siblings.len(), 1, "a copy takes whatever has been written");
    one.held = Some(both);
    let seen = other.seen();
    one.write(Write { seen, ..put(SIBLING_BYTES_MAX - 1) }, Version::default()).unwrap();
    assert!(one.put(1).is_err());
}

#[test]
fn more_parts_than_allowed_are_refused_until_the_floor_ends_them() {
    let mut held = None;
    let mut write = |replica: u64, floor: Version| {
        let mut copy = Copy { held: held.clone(), ..copy(replica, Resolve::Siblings) };
        let seen = copy.seen();
        let prepared = copy.write(Write { seen, ..put(1) }, floor)?;
        held = copy.held;
        Ok(prepared)
    };
    let mut last = Version::default();
    for replica in 0..=CONTEXT_PARTS_MAX as u64 {
        last = write(replica, Version::default()).unwrap().stamp.version;
    }
    let parts = CONTEXT_PARTS_MAX + 1;
    assert_eq!(write(9_999, Version::default()), Err(NotBegun::Context { parts }));
    let prepared = write(9_999, last).unwrap();
    assert_eq!(prepared.record.context.parts(), 0);
    assert_eq!(Stored::decode(&prepared.record.encode()), Ok(prepared.record));
}

#[test]
fn the_last_writers_record_has_one_value_and_no_parts_however_often_it_is_written() {
    let mut record = None;
    for replica in 0..10 {
        let mut copy = Copy { held: record, ..copy(replica, Resolve::LastWriterWins) };
        let seen = copy.seen();
        copy.write(Write { seen, ..put(1) }, Version::default()).unwrap();
        record = copy.held;
    }
    let record = record.unwrap();
    assert_eq!((record.siblings.len(), record.context.parts()), (0, 0));
    assert!(record.encode().len() <= 34 + 5 + 1, "as small as can be");
}

#[test]
fn a_delete_says_what_it_has_seen_and_has_no_end() {
    let mut copy = copy(1, Resolve::Siblings);
    copy.put(1).unwrap();
    let delete = Write { expires_ms: Some(7), ..Write::default() };
    assert_eq!(copy.write(delete.clone(), Version::default()), Err(NotBegun::ContextNeeded));
    let seen = copy.seen();
    let deleted = copy.write(Write { seen, ..delete.clone() }, Version::default()).unwrap().record;
    assert!(deleted.newest.is_tombstone && deleted.newest.expires_ms.is_none() && deleted.siblings.is_empty());
    copy.resolve = Resolve::LastWriterWins;
    assert!(copy.write(delete, Version::default()).is_ok());
}

#[test]
fn what_was_seen_far_ahead_of_the_clock_is_refused() {
    let ahead = Version::at_ms(WALL_MS + STAMP_AHEAD_MS_MAX + 1);
    let mut seen = Context::default();
    seen.add(Stamp::lowest(ahead));
    let refused = Err(NotBegun::Ahead { version: ahead, wall_ms: WALL_MS });
    let mut copy = copy(1, Resolve::Siblings);
    assert_eq!(copy.write(Write { seen: Some(seen), ..put(1) }, Version::default()), refused);
    let issued = RequestId { issued: ahead, client: 1, sequence: 1 };
    assert_eq!(copy.write(Write { request: Some(issued), ..put(1) }, Version::default()), refused);
}

#[test]
fn the_last_writer_replaces_siblings_that_it_holds() {
    let mut copy = copy(1, Resolve::Siblings);
    copy.put(1).unwrap();
    copy.put(2).unwrap();
    copy.resolve = Resolve::LastWriterWins;
    assert!(copy.put(3).unwrap().record.siblings.is_empty());
}

/// A token that no copy has given: of all below one stamp, and of all that the last writer replaces below another one.
fn forged(below: [Option<Stamp>; 2]) -> Context {
    let mut seen = Vec::new();
    for below in below {
        seen.push(if below.is_some() { 2 } else { 0 });
        let numbers = below.map(|Stamp { version, actor }| [version.0, actor.replica.0, actor.incarnation.0]);
        numbers.iter().flatten().for_each(|number| seen.extend(number.to_be_bytes()));
    }
    // No parts.
    seen.extend([0, 0]);
    let checksum = crc32c::crc32c(&[b"k", &seen[..]].concat());
    let token = [&[1][..], &checksum.to_be_bytes(), &seen].concat();
    Context::of_token(b"k", &token.into()).expect("anybody can work its checksum out")
}

#[test]
fn whatever_a_client_says_that_it_has_seen_its_write_can_be_read() {
    let actor = Actor { replica: ReplicaId(u64::MAX), incarnation: Incarnation(u64::MAX) };
    // Ahead by less than clocks may differ: the stamp of the write is only just above.
    let version = Version(Version::at_ms(WALL_MS + 100).0 + 1);
    let below = Some(Stamp { version, actor });
    for below in [[below, None], [None, below], [below, below]] {
        for resolve in [Resolve::Siblings, Resolve::LastWriterWins] {
            let mut copy = copy(1, resolve);
            let seen = Some(forged(below));
            let record = copy.write(Write { seen, ..put(1) }, Version::default()).unwrap().record;
            assert_eq!(Stored::decode(&record.encode()), Ok(record));
        }
    }
}

#[test]
fn where_the_last_writer_wins_every_copy_gives_a_request_one_stamp() {
    let write = Write { request: request(1), ..put(3) };
    let stamps = [1, 2].map(|replica| {
        let mut copy = copy(replica, Resolve::LastWriterWins);
        copy.write(write.clone(), Version::default()).unwrap().stamp
    });
    assert_eq!(stamps, [Stamp::of_request(request(1).unwrap()); 2]);
    assert!(stamps[0].version > request(1).unwrap().issued);
}

#[test]
fn a_first_attempt_below_what_is_there_is_refused_and_a_later_one_is_done_with() {
    let mut copy = copy(1, Resolve::LastWriterWins);
    let later = Version(Version::at_ms(WALL_MS).0 + 99);
    copy.write(Write { request: issued(later, 2), ..put(3) }, Version::default()).unwrap();
    let newest = copy.held.as_ref().map(|held| held.newest.stamp).unwrap();
    let write = Write { request: request(1), ..put(1) };
    assert_eq!(copy.too_old(write.clone()), Some(newest.version));
    let again = copy.write(Write { again: again(0, 1), ..write.clone() }, Version::default()).unwrap();
    assert_eq!((again.stamp, again.is_known, again.record.siblings.len()), (newest, true, 0));
    let above = Write { request: issued(newest.version, 3), ..write };
    assert!(copy.write(above, Version::default()).unwrap().stamp > newest);
}

/// Its value was there before: an acknowledgement would say that the write was, too.
#[test]
fn a_later_attempt_below_what_a_wrong_clock_has_stamped_is_not_done_with() {
    let mut copy = copy(1, Resolve::LastWriterWins);
    let held = copy.write(put(1), Version::default()).unwrap();
    let far = Version::at_ms(WALL_MS + 3_600_000);
    let mut record = held.record.clone();
    record.newest.stamp.version = far;
    copy.held = Some(record);
    let late = Write { request: issued(Version::at_ms(WALL_MS), 9), again: again(7, 1), ..put(1) };
    assert_eq!(copy.too_old(late), Some(far));
}

/// A copy that lacks what a write has seen: above which version it takes the write, issued below that. `None` = it takes it.
fn above_what_was_seen() -> Option<Version> {
    let (mut other, lacking) = (copy(2, Resolve::LastWriterWins), copy(1, Resolve::LastWriterWins));
    let shown = Version(Version::at_ms(WALL_MS).0 + 99);
    other.write(Write { request: issued(shown, 2), ..put(3) }, Version::default()).unwrap();
    lacking.too_old(Write { request: request(1), seen: other.seen(), ..put(1) })
}

#[test]
fn a_write_comes_after_what_its_client_has_seen_also_where_a_copy_lacks_that() {
    assert_eq!(above_what_was_seen(), Some(Version(Version::at_ms(WALL_MS).0 + 100)));
}

#[cfg(feature = "planted")]
#[test]
fn a_stamp_below_what_was_seen_is_noticed() {
    crate::planted::plant(Some(Planted::StampBelowSeen));
    let above = above_what_was_seen();
    crate::planted::plant(None);
    assert_eq!(above, None);
}

/// A write that gives back what it was shown, issued below that: a later attempt of it, whose first one was refused.
fn told_of_one_below_what_it_has_seen() -> Option<Version> {
    let mut copy = copy(1, Resolve::LastWriterWins);
    let shown = Version(Version::at_ms(WALL_MS).0 + 99);
    copy.write(Write { request: issued(shown, 2), ..put(3) }, Version::default()).unwrap();
    let write = Write { request: request(1), seen: copy.seen(), ..put(1) };
    assert!(copy.too_old(write.clone()).is_some(), "no copy makes it");
    copy.too_old(Write { again: again(0, 1), ..write })
}

/// An acknowledgement would say that the write has replaced what it was shown.
#[test]
fn a_later_attempt_below_what_its_client_has_seen_is_not_done_with() {
    let above = told_of_one_below_what_it_has_seen();
    assert_eq!(above, Some(Version(Version::at_ms(WALL_MS).0 + 100)));
}

#[cfg(feature = "planted")]
#[test]
fn an_attempt_that_counts_as_replaced_by_what_it_has_seen_is_noticed() {
    crate::planted::plant(Some(Planted::SeenHasReplaced));
    let above = told_of_one_below_what_it_has_seen();
    crate::planted::plant(None);
    assert_eq!(above, None);
}

#[test]
fn a_request_of_a_clock_that_is_behind_is_refused_until_it_is_issued_again() {
    let now = Version::at_ms(WALL_MS);
    let before_ms = |ms: u64| issued(Version::at_ms(WALL_MS - ms), 1);
    let of = |resolve, ms, again| copy(1, resolve).too_old(Write { request: before_ms(ms), again, ..put(1) });
    for resolve in [Resolve::LastWriterWins, Resolve::Siblings] {
        assert_eq!((of(resolve, 500, None), of(resolve, 501, None)), (None, Some(now)), "{resolve:?}");
    }
    for resolve in [Resolve::LastWriterWins, Resolve::Siblings] {
        let later = |first_sent_ms| of(resolve, 5_000, again(first_sent_ms, 1));
        assert_eq!((later(4_500), later(4_499)), (None, Some(now)), "{resolve:?}");
    }
}

#[cfg(feature = "planted")]
#[test]
fn a_late_first_attempt_that_is_taken_is_noticed() {
    crate::planted::plant(Some(Planted::LateFirstAttemptTaken));
    let write = Write { request: issued(Version::at_ms(WALL_MS - 5_000), 1), ..put(1) };
    let refused = copy(1, Resolve::Siblings).too_old(write);
    crate::planted::plant(None);
    assert_eq!(refused, None);
}

/// The attempt of this number, at a copy that does not have it in mind.
fn attempt(copy: &mut Copy, attempt: u32) -> Prepared {
    copy.write(Write { request: request(1), again: again(7, attempt), ..put(3) }, Version::default()).unwrap()
}

fn live(record: &Stored) -> Vec<u32> {
    record.values().filter(|value| !value.is_tombstone).map(|value| value.attempt).collect()
}

#[test]
fn a_later_attempt_of_a_sibling_finds_the_one_before_it_or_takes_its_place() {
    let (mut one, mut other, mut third) =
        (copy(1, Resolve::Siblings), copy(2, Resolve::Siblings), copy(3, Resolve::Siblings));
    let first = one.write(Write { request: request(1), ..put(3) }, Version::default()).unwrap();
    let found = attempt(&mut one, 1);
    assert_eq!((found.stamp, found.is_known), (first.stamp, true));
    let second = attempt(&mut other, 1);
    assert!(!second.is_known && second.stamp != first.stamp);
    let both = merge(&first.record, &second.record);
    assert_eq!((live(&both), both.siblings.len()), (vec![1], 1), "the name stays");
    // One that came between may be anywhere.
    third.held = Some(first.record.clone());
    let last = attempt(&mut third, 2);
    assert_eq!((last.is_known, live(&last.record), live(&merge(&both, &last.record))), (false, vec![2], vec![2]));
    assert!(attempt(&mut third, 1).is_known && attempt(&mut third, 2).is_known);
    let seen = third.seen();
    third.write(Write { seen, ..Write::default() }, Version::default()).unwrap();
    for late in [0, 1] {
        let done = attempt(&mut third, late);
        assert!(done.is_known && live(&done.record).is_empty(), "a later one was deleted");
    }
    let all = merge(&both, third.held.as_ref().unwrap());
    assert_eq!(live(&all), [0_u32; 0], "whatever is still to come of it");
}

#[test]
fn a_retried_delete_needs_no_part_of_what_was_seen() {
    let mut copy = copy(1, Resolve::Siblings);
    copy.put(3).unwrap();
    let (seen, parts) = (copy.seen(), copy.held.as_ref().map(|held| held.context.parts()));
    copy.write(Write { request: request(1), again: again(7, 2), seen, ..Write::default() }, Version::default())
        .unwrap();
    assert_eq!((parts, copy.held.as_ref().map(|held| held.context.parts())), (Some(0), Some(1)));
}

#[test]
fn no_attempt_has_a_stamp_far_above_its_time_of_issue() {
    let mut copy = copy(1, Resolve::Siblings);
    let ahead = Version::at_ms(WALL_MS + REQUEST_STAMP_MS_MAX + 1);
    let stamp = Stamp { version: ahead, actor: Actor { replica: ReplicaId(2), incarnation: Incarnation(1) } };
    copy.held = Some(Stored::new(Value { stamp, ..Value::default() }, Context::default()));
    let write = Write { request: request(1), ..put(3) };
    assert_eq!(copy.too_old(write.clone()), Some(ahead), "the key is ahead");
    assert_eq!(copy.too_old(Write { request: issued(ahead, 2), ..write.clone() }), None);
    let counted = |attempt| Write { again: again(7, attempt), request: issued(ahead, 3), ..write.clone() };
    assert_eq!(copy.too_old(counted(ATTEMPTS_MAX)), None);
    assert!(copy.too_old(counted(ATTEMPTS_MAX + 1)).is_some());
}
