//! Claims about merging: the laws on any records, and histories against an oracle of sets of stamps.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::ids::{Incarnation, ReplicaId};
use crate::quorum::prepare::{Coordinator, StampClock, Write};
use crate::quorum::shown::{Resolve, shown};
use crate::record::{Actor, Context};

const WALL_MS: u64 = 1_000_000;

fn key() -> Bytes {
    Bytes::from_static(b"k")
}

fn stamp(version: u64, replica: u64) -> Stamp {
    let actor = Actor { replica: ReplicaId(replica), incarnation: Incarnation(1) };
    Stamp { version: Version(version), actor }
}

/// Any record that decodes, in small: so that stamps and what was seen meet often.
fn any_record() -> impl Strategy<Value = Stored> {
    let stamps = || (1..7_u64, 0..3_u64).prop_map(|(version, replica)| stamp(version, replica));
    (vec(stamps(), 1..5), vec(stamps(), 0..4), prop::option::of(stamps())).prop_map(|(mut of, seen, last)| {
        of.sort_by(|one, other| other.cmp(one));
        of.dedup();
        let value = |stamp: &Stamp| Value {
            stamp: *stamp,
            by_last_writer: stamp.version.0.is_multiple_of(2),
            expires_ms: Some(stamp.version.0),
            ..Value::default()
        };
        let newest = value(&of[0]);
        let mut context = last.filter(|last| *last <= of[0]).map_or_else(Context::default, Context::of_last_writer);
        seen.into_iter().filter(|seen| seen.version < of[0].version).for_each(|seen| context.add(seen));
        Stored { newest, siblings: of[1..].iter().map(value).collect(), context }
    })
}

/// One step of a history of one key.
#[derive(Debug, Clone)]
enum Step {
    /// A copy coordinates a write with what its client has seen, or without. `None` = a delete.
    Write { at: usize, with_seen: bool, value: Option<u8>, resolve: Resolve },
    /// A client reads a copy and keeps the context.
    Read { at: usize },
    /// One copy takes what another one holds.
    Merge { from: usize, to: usize },
    /// A copy's node starts again, with a clock that has gone back.
    Restart { at: usize },
}

const COPIES: usize = 3;

fn step(siblings_only: bool) -> impl Strategy<Value = Step> {
    let at = 0..COPIES;
    let resolve = if siblings_only {
        Just(Resolve::Siblings).boxed()
    } else {
        prop_oneof![Just(Resolve::Siblings), Just(Resolve::LastWriterWins)].boxed()
    };
    prop_oneof![
        4 => (at.clone(), any::<bool>(), prop::option::weighted(0.8, any::<u8>()), resolve)
            .prop_map(|(at, with_seen, value, resolve)| Step::Write { at, with_seen, value, resolve }),
        2 => at.clone().prop_map(|at| Step::Read { at }),
        4 => (at.clone(), at.clone()).prop_map(|(from, to)| Step::Merge { from, to }),
        1 => at.prop_map(|at| Step::Restart { at }),
    ]
}

/// A copy, and what a copy of sets would hold: stamps of values, and all stamps that were seen.
#[derive(Clone)]
struct Copy {
    held: Option<Stored>,
    clock: StampClock,
    starts: u64,
    wall_ms: u64,
    live: BTreeSet<Stamp>,
    seen: BTreeSet<Stamp>,
}

struct World {
    copies: Vec<Copy>,
    /// What the client read last, and the same as a set.
    client: (Context, BTreeSet<Stamp>),
    all: BTreeSet<Stamp>,
}

fn clock(replica: usize, start: u64) -> StampClock {
    StampClock::new(Actor { replica: ReplicaId(replica as u64), incarnation: Incarnation(start) })
}

impl World {
    fn new() -> Self {
        let copy = |replica| Copy {
            held: None,
            clock: clock(replica, 1),
            starts: 1,
            wall_ms: WALL_MS,
            live: BTreeSet::new(),
            seen: BTreeSet::new(),
        };
        Self { copies: (0..COPIES).map(copy).collect(), client: Default::default(), all: BTreeSet::new() }
    }

    fn run(&mut self, steps: &[Step]) {
        steps.iter().for_each(|step| self.step(step));
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Write { at, with_seen, value, resolve } => self.write(at, with_seen, value, resolve),
            Step::Read { at } => {
                let copy = &self.copies[at];
                let shown = shown(&key(), copy.held.as_ref(), Resolve::Siblings, 0);
                self.client = (shown.context, copy.seen.clone());
            }
            Step::Merge { from, to } => {
                let other = self.copies[from].clone();
                let copy = &mut self.copies[to];
                let other_held =
                    other.held.map(|held| admitted(&held.encode(), latest(WALL_MS, Version(0))).expect("it is sound"));
                let taken = other_held.map(|other| taken(copy.held.as_ref(), &other).expect("no limit is met"));
                if let Some(merged) = taken.flatten() {
                    copy.held = Some(merged);
                }
                let both = &copy.live & &other.live;
                copy.live = &(&both | &(&copy.live - &other.seen)) | &(&other.live - &copy.seen);
                copy.seen.extend(other.seen);
            }
            Step::Restart { at } => {
                let copy = &mut self.copies[at];
                copy.starts += 1;
                copy.clock = clock(at, copy.starts);
                copy.wall_ms -= 10;
            }
        }
    }

    fn write(&mut self, at: usize, with_seen: bool, value: Option<u8>, resolve: Resolve) {
        let copy = &mut self.copies[at];
        let (seen, stamps) = if with_seen { self.client.clone() } else { Default::default() };
        let write = Write {
            value: value.map(|byte| Bytes::from(vec![byte])),
            seen: (with_seen || value.is_none()).then_some(seen),
            ..Write::default()
        };
        let floor = Version::default();
        let mut coordinator =
            Coordinator { resolve, clock: &mut copy.clock, wall_ms: copy.wall_ms, absence: floor, bar: floor };
        let prepared = coordinator.prepare(copy.held.as_ref(), write).expect("no limit is met");
        copy.held = Some(prepared.record);
        if resolve == Resolve::Siblings {
            copy.live = &copy.live - &stamps;
            copy.seen.extend(stamps);
        } else {
            copy.live.clear();
        }
        assert!(self.all.insert(prepared.stamp), "a stamp names one write");
        copy.live.insert(prepared.stamp);
        copy.seen.insert(prepared.stamp);
    }

    fn stamps(held: Option<&Stored>) -> BTreeSet<Stamp> {
        held.into_iter().flat_map(Stored::values).map(|value| value.stamp).collect()
    }

    /// True if each copy holds what a copy of sets would, and knows as much.
    fn is_exact(&self) -> bool {
        self.copies.iter().all(|copy| {
            let context = shown(&key(), copy.held.as_ref(), Resolve::Siblings, 0).context;
            let seen: BTreeSet<Stamp> =
                self.all.iter().copied().filter(|stamp| context.covers(*stamp, false)).collect();
            Self::stamps(copy.held.as_ref()) == copy.live && seen == copy.seen
        })
    }

    fn settle(&mut self) {
        for to in 0..COPIES {
            (0..COPIES).for_each(|from| self.step(&Step::Merge { from, to }));
        }
        (0..COPIES).for_each(|to| self.step(&Step::Merge { from: COPIES - 1, to }));
    }
}

/// An earlier write of a copy is on another copy, and its node starts anew with a clock that has gone back.
fn restarted_writer() -> World {
    let mut world = World::new();
    let put = |at, with_seen| Step::Write { at, with_seen, value: Some(1), resolve: Resolve::Siblings };
    world.run(&[put(0, false), Step::Merge { from: 0, to: 1 }]);
    // The crash took what was not durable.
    world.copies[0].held = None;
    (world.copies[0].live, world.copies[0].seen) = Default::default();
    world.run(&[Step::Restart { at: 0 }, Step::Read { at: 1 }]);
    world
}

#[test]
fn a_write_after_a_restart_with_an_earlier_clock_is_none_that_was_seen() {
    let mut world = restarted_writer();
    let put = |at, with_seen| Step::Write { at, with_seen, value: Some(1), resolve: Resolve::Siblings };
    world.run(&[put(0, false), put(1, true), Step::Merge { from: 0, to: 1 }]);
    assert!(world.is_exact());
    assert_eq!(world.copies[1].held.as_ref().map(|held| held.siblings.len()), Some(1), "both writes are there");
}

#[test]
fn a_write_that_has_seen_a_value_replaces_it_and_no_other() {
    let mut world = World::new();
    let put = |at, with_seen, value| Step::Write { at, with_seen, value, resolve: Resolve::Siblings };
    // What one copy wrote is seen; what another one writes meanwhile is not.
    world.run(&[put(0, false, Some(1)), Step::Read { at: 0 }, put(1, false, Some(2)), put(2, true, Some(3))]);
    world.settle();
    let values: Vec<u8> = world.copies[0].held.iter().flat_map(Stored::values).map(|value| value.value[0]).collect();
    assert_eq!(BTreeSet::from_iter(values), BTreeSet::from([2, 3]));
    // A delete is the same.
    world.run(&[Step::Read { at: 0 }, put(1, false, Some(4)), put(0, true, None)]);
    world.settle();
    let shown = shown(&key(), world.copies[2].held.as_ref(), Resolve::Siblings, 0);
    assert_eq!(shown.records.iter().map(|record| record.value[0]).collect::<Vec<_>>(), [4]);
}

#[test]
fn another_way_to_resolve_changes_no_record_and_brings_nothing_back() {
    let lww = |at, value| Step::Write { at, with_seen: false, value, resolve: Resolve::LastWriterWins };
    let mut world = World::new();
    // Two copies had the value, and one of them has not heard yet that it was deleted when the table is edited.
    world.run(&[lww(0, Some(1)), Step::Merge { from: 0, to: 1 }, lww(0, None)]);
    // By its clock the sibling is older than the delete.
    let add = Step::Write { at: 2, with_seen: false, value: Some(9), resolve: Resolve::Siblings };
    world.run(&[add]);
    world.settle();
    let held = world.copies[0].held.clone();
    let show = |resolve| shown(&key(), held.as_ref(), resolve, 0).records;
    assert_eq!(show(Resolve::Siblings).iter().map(|record| record.value[0]).collect::<Vec<_>>(), [9]);
    let mut values = held.iter().flat_map(Stored::values);
    assert!(values.any(|value| value.is_tombstone) && held.iter().flat_map(Stored::values).count() == 2);
}

#[test]
fn a_record_of_a_clock_that_is_far_ahead_is_not_taken() {
    let record = |wall_ms| {
        let value = Value { stamp: Stamp::lowest(Version::at_ms(wall_ms)), ..Value::default() };
        admitted(&Stored::new(value, Context::default()).encode(), latest(WALL_MS, Version(0)))
    };
    assert!(record(WALL_MS + STAMP_AHEAD_MS_MAX).is_ok());
    let stamp = Version::at_ms(WALL_MS + STAMP_AHEAD_MS_MAX + 1);
    let refused = record(WALL_MS + STAMP_AHEAD_MS_MAX + 1);
    assert_eq!(refused, Err(NotTaken::Ahead { stamp, latest: Version(stamp.0 - 1) }));
    assert!(matches!(admitted(&Bytes::from_static(b"\x03no"), stamp), Err(NotTaken::Unreadable(_))));
    assert!(admitted(&Bytes::new(), Version(u64::MAX)).is_err());
}

#[test]
fn what_is_taken_is_near_the_clock_or_the_bar_and_follows_what_is_held_by_a_few_steps() {
    let bar = Version::at_ms(WALL_MS + 90_000);
    assert_eq!(latest(WALL_MS, bar), latest(WALL_MS + 90_000, Version(0)), "a clock that has gone back");
    assert_eq!(latest(WALL_MS, Version::at_ms(WALL_MS - 1)), latest(WALL_MS, Version(0)));
    assert!(latest(u64::MAX, Version(0)).wall_ms() <= WALL_MS_MAX);
    let held = Version::at_ms(WALL_MS + 90_000);
    assert!(follows(Version(held.0 + STAMP_STEPS_MAX), held) && follows(Version(1), held));
    assert!(!follows(Version(held.0 + STAMP_STEPS_MAX + 1), held));
    assert!(follows(Version(u64::MAX), Version(u64::MAX)));
    // A hundred thousand writes of one key after the other lift it by less than half a second.
    assert!(STAMP_STEPS_MAX * 100_000 < Version::at_ms(500).0);
}

/// Two records each of which is within what is read, and that have together more values, more bytes, or more parts of what
/// was seen: none of these is anything that a copy would have made.
fn too_much_together() -> Vec<(Stored, Stored)> {
    let values = |replica: u64, count: u64, bytes: usize| {
        let value = |i: u64| Value {
            stamp: stamp(9 + count - i, replica),
            value: Bytes::from(vec![0; bytes]),
            ..Value::default()
        };
        let siblings = (1..count).map(value).collect();
        Stored { siblings, ..Stored::new(value(0), Context::default()) }
    };
    let parts = |from: u64| {
        let mut context = Context::default();
        (from..from + CONTEXT_PARTS_HELD_MAX as u64).for_each(|replica| context.add(stamp(1, replica)));
        Stored { context, ..values(from, 1, 0) }
    };
    let most = VALUES_HELD_MAX as u64;
    let large = VALUE_BYTES_HELD_MAX / 2;
    vec![
        (values(1, most, 0), values(2, most, 0)),
        (values(1, 2, large), values(2, 2, large)),
        (parts(1), parts(1_000_000)),
    ]
}

#[test]
fn what_a_copy_takes_can_be_read_whatever_comes() {
    for (held, record) in too_much_together() {
        for one in [&held, &record] {
            assert!(Stored::decode(&one.encode()).as_ref() == Ok(one), "each can be read");
            assert!(taken(None, one).is_ok_and(|taken| taken.as_ref() == Some(one)));
            assert!(taken(Some(one), one).is_ok_and(|taken| taken.is_none()));
        }
        assert!(taken(Some(&held), &record).is_err());
        assert!(Stored::decode(&merge(&held, &record).encode()).is_err(), "both together cannot");
    }
}

#[cfg(feature = "planted")]
#[test]
fn a_record_that_becomes_unreadable_is_noticed() {
    for (held, record) in too_much_together() {
        crate::planted::plant(Some(Planted::UnreadableHeld));
        let taken = taken(Some(&held), &record);
        crate::planted::plant(None);
        let merged = taken.ok().flatten().expect("it changes something");
        assert!(Stored::decode(&merged.encode()).is_err());
    }
}

#[cfg(feature = "planted")]
#[test]
fn planted_bugs_of_merging_are_noticed() {
    use crate::planted::plant;
    let put = |at, with_seen| Step::Write { at, with_seen, value: Some(1), resolve: Resolve::Siblings };
    plant(Some(Planted::ContextIgnored));
    let mut world = World::new();
    world.run(&[put(0, false), Step::Merge { from: 0, to: 1 }, Step::Read { at: 0 }, put(0, true)]);
    world.settle();
    plant(None);
    assert!(!world.is_exact(), "what was replaced comes back");

    plant(Some(Planted::IncarnationDropped));
    let mut world = restarted_writer();
    world.copies[0].wall_ms -= 1_000;
    world.run(&[put(0, false), put(1, true), Step::Merge { from: 0, to: 1 }]);
    plant(None);
    assert!(!world.is_exact(), "a write that nobody has seen counts as seen");

    plant(Some(Planted::SkewTaken));
    let value = Value { stamp: Stamp::lowest(Version(u64::MAX)), ..Value::default() };
    let taken = admitted(&Stored::new(value, Context::default()).encode(), latest(WALL_MS, Version(0)));
    plant(None);
    assert!(taken.is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn merging_is_commutative_associative_and_idempotent(a in any_record(), b in any_record(), c in any_record()) {
        let ab = merge(&a, &b);
        prop_assert_eq!(&ab, &merge(&b, &a));
        prop_assert_eq!(merge(&ab, &c), merge(&a, &merge(&b, &c)));
        prop_assert_eq!(&merge(&a, &a), &a);
        prop_assert_eq!(&merge(&ab, &b), &ab);
        prop_assert_eq!(taken(Some(&ab), &a), Ok(None));
        prop_assert_eq!(Stored::decode(&ab.encode()), Ok(ab));
    }

    #[test]
    fn copies_hold_exactly_what_nobody_has_replaced_who_had_seen_it(steps in vec(step(true), 0..40)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            prop_assert!(world.is_exact());
        }
        world.settle();
        prop_assert!(world.is_exact());
        prop_assert!(world.copies.iter().all(|copy| copy.held == world.copies[0].held));
    }

    #[test]
    fn copies_become_equal_and_the_last_writer_wins_whichever_way_writes_resolved(steps in vec(step(false), 0..40)) {
        let mut world = World::new();
        world.run(&steps);
        world.settle();
        prop_assert!(world.copies.iter().all(|copy| copy.held == world.copies[0].held));
        if let Some(held) = &world.copies[0].held {
            prop_assert_eq!(Some(&held.newest.stamp), world.all.last());
            let by_last_writer = held.values().filter(|value| value.by_last_writer).count();
            prop_assert!(by_last_writer <= 1, "they replace one another");
        }
    }
}
