//! Runs in which the shard's copies change and turn while most messages arrive at once, so that the layouts which copies hold
//! differ as often as can be; and the schedules of messages that show why a change waits for what it waits for.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::convergence::Pace;
use super::super::copies::Copies;
use super::super::copies::Known as _;
use super::super::message::{Body, Envelope};
use super::super::shown::Resolve;
use super::rest::Told;
use super::world::{COPIES, World, at, copies_of};
use super::{Step, key, run_in};
use crate::ids::ReplicaId;

/// Ticks in which a copy has copied from another one, though it may ask others first.
const COPIED_TICKS: u64 = 3_000;

/// Copies of a shard, with W and R.
fn set(members: std::ops::Range<u64>, write: usize, read: usize) -> Copies {
    Copies { write, read, ..copies_of(members) }
}

/// One copy is replaced.
pub(super) fn moving() -> (Copies, Copies) {
    (copies_of(0..3), copies_of(1..4))
}

/// Four copies become two, both of which stay.
pub(super) fn shrinking() -> (Copies, Copies) {
    (set(0..4, 2, 3), set(0..2, 2, 2))
}

/// One copy is enough for a write and for a read: nothing is promised to readers, and what is acknowledged stays.
pub(super) fn loose() -> (Copies, Copies) {
    (set(0..3, 1, 1), set(1..4, 1, 1))
}

/// One copy is enough for a write, and all are asked to read.
pub(super) fn writes_of_one() -> (Copies, Copies) {
    (set(0..3, 1, 3), set(1..4, 1, 3))
}

/// W and R change, of the same copies.
pub(super) fn altering() -> (Copies, Copies) {
    (set(0..3, 1, 3), set(0..3, 3, 1))
}

fn step(keys: u8) -> impl Strategy<Value = Step> {
    let copy = || 0..COPIES;
    prop_oneof![
        6 => (copy(), 0..keys, prop::bool::weighted(0.2), any::<bool>()).prop_map(|(by, key, is_delete, with_seen)| {
            Step::Write { by, key, is_batch: false, is_delete, with_seen, ends: false }
        }),
        4 => (copy(), 0..keys).prop_map(|(by, key)| Step::Read { by, key, is_scan: false }),
        12 => prop::option::weighted(0.7, copy()).prop_map(|but| Step::Arrive { but }),
        3 => any::<usize>().prop_map(|message| Step::Deliver { message, is_doubled: false }),
        2 => any::<usize>().prop_map(|message| Step::Lose { message }),
        2 => any::<usize>().prop_map(|message| Step::Keep { message }),
        1 => Just(Step::GiveBack),
        3 => (1..15_u64).prop_map(|ticks| Step::Tick { ticks }),
        1 => (copy(), (0..4_usize, 0..4_usize)).prop_map(|(copy, kept)| Step::Crash { copy, kept }),
        6 => prop::bool::weighted(0.3).prop_map(|is_back| Step::Change { is_back }),
        12 => copy().prop_map(|copy| Step::Adopt { copy }),
        6 => (copy(), copy()).prop_map(|(by, from)| Step::CopyFrom { by, from }),
    ]
}

impl World {
    /// A copy compares with another one until it has copied from it; what else copies say to become equal is lost. Nothing
    /// happens if it is not to copy from that one.
    pub(super) fn copy_from(&mut self, by: usize, from: usize) {
        let ids = [ReplicaId(by as u64 + 1), ReplicaId(from as u64 + 1)];
        let Some(layout) = self.hosts[by].replica.as_ref().map(|replica| replica.state().layout().clone()) else {
            return;
        };
        let Some(change) = layout.change.as_ref() else { return };
        let is_to = layout.current.members.contains(&ids[1]) && change.next.members.contains(&ids[0]);
        let is_copied = |world: &Self| {
            let told = Told::of(&world.hosts);
            told.has_copied(ids[0], ids[1], change.began) || layout.current.is_copied(ids[0], change.began, &told)
        };
        if by == from || !is_to || self.hosts[from].replica.is_none() {
            return;
        }
        let is_of_both = |message: &Envelope| ids.contains(&message.from) && ids.contains(&message.to);
        for _ in 0..COPIED_TICKS {
            if is_copied(self) || self.hosts[by].replica.as_ref().is_none_or(|copy| *copy.state().layout() != layout) {
                return;
            }
            self.lose_all(|message| makes_equal(message) && !is_of_both(message));
            let is_it = |message: &Envelope| makes_equal(message) && is_of_both(message);
            [by, from].into_iter().for_each(|copy| self.durable(copy));
            while let Some(next) = self.messages.iter().position(is_it) {
                self.deliver(next, false);
                [by, from].into_iter().for_each(|copy| self.durable(copy));
            }
            self.tick(1);
        }
    }
}

/// True for all by which copies become equal.
fn makes_equal(message: &Envelope) -> bool {
    match message.body {
        Body::Hints(_)
        | Body::Hinted(_)
        | Body::BoundsWanted
        | Body::Bounds(_)
        | Body::Compare(..)
        | Body::Compared(..)
        | Body::Push(..)
        | Body::Pushed(_)
        | Body::Bar(_)
        | Body::Barred(_)
        | Body::Floor(_)
        | Body::Elapsed(_) => true,
        Body::Write(..)
        | Body::Said(..)
        | Body::Read(..)
        | Body::Page(..)
        | Body::Newer(..)
        | Body::Repair(..)
        | Body::Repaired(_) => false,
    }
}

#[cfg(feature = "planted")]
mod planted {
    use super::*;
    use crate::planted::{Planted, plant};
    use crate::quorum::tests::rest::broken_in;

    /// In which of so many runs a breach of a rule is found.
    fn is_found(sets: &(Copies, Copies), runs: usize) -> Option<usize> {
        let (from, next) = sets;
        let run = |steps| run_in(World::changing(Resolve::Siblings, from.clone(), next.clone()), 1, steps);
        broken_in(runs, &vec(step(1), 60..160), run)
    }

    #[test]
    fn copies_that_stay_and_have_not_copied_are_noticed() {
        plant(Some(Planted::StayersNotCopied));
        let found = is_found(&shrinking(), 300);
        plant(None);
        assert!(found.is_some(), "copies that stay, and have not copied, harm nobody");
    }

    #[test]
    fn bugs_that_few_schedules_show_break_a_promise() {
        let cases: [(Planted, fn()); 2] = [
            (Planted::RevertWithoutBarrier, readers_of_the_set_that_is_given_up),
            (Planted::SourceShort, a_source_that_has_missed_a_write),
        ];
        let mut missed = Vec::new();
        for (bug, case) in cases {
            plant(Some(bug));
            let shown = std::panic::catch_unwind(case);
            plant(None);
            missed.extend(shown.is_ok().then_some(bug));
        }
        assert!(missed.is_empty(), "{missed:?} harm nobody");
    }
}

fn put(world: &mut World, by: usize, with_seen: bool) {
    world.write(by, key(0), false, with_seen);
}

/// The shard's layout changes if it may, and these copies hold the newest one then.
fn change(world: &mut World, is_back: bool, copies: &[usize]) {
    world.change(is_back);
    for copy in copies {
        world.adopt(*copy);
        world.sync(*copy);
        world.durable(*copy);
    }
}

/// A write, and a read that began after it.
fn write_and_read(world: &mut World, writer: usize, reader: usize) {
    put(world, writer, false);
    world.deliver_all();
    world.read(reader, key(0), false);
    world.deliver_all();
    world.settle();
    world.check();
}

fn copied() -> World {
    let (from, next) = moving();
    let mut world = World::changing(Resolve::Siblings, from, next);
    change(&mut world, false, &[0, 1, 2, 3]);
    [(3, 0), (3, 1), (1, 0), (2, 0)].iter().for_each(|(by, from)| world.copy_from(*by, *from));
    world
}

/// Two copies of the old set have not heard that reads have turned; writes leave it out as soon as they may.
fn readers_of_the_old_set() {
    let mut world = copied();
    change(&mut world, false, &[2, 3]);
    change(&mut world, false, &[2, 3]);
    write_and_read(&mut world, 2, 0);
}

/// Reads have turned and turn back, which two copies of the new set have not heard; it is given up as soon as it may be.
fn readers_of_the_set_that_is_given_up() {
    let mut world = copied();
    change(&mut world, false, &[2, 3]);
    change(&mut world, true, &[0, 1]);
    change(&mut world, true, &[0, 1]);
    write_and_read(&mut world, 0, 2);
}

/// The copy that comes has asked one source only, which has missed a write.
fn a_source_that_has_missed_a_write() {
    let (from, next) = moving();
    let mut world = World::changing(Resolve::Siblings, from, next);
    put(&mut world, 0, false);
    world.deliver_but(Some(2));
    world.lose_all(|_| true);
    change(&mut world, false, &[0, 1, 2, 3]);
    world.copy_from(3, 2);
    change(&mut world, false, &[2, 3]);
    world.read(2, key(0), false);
    world.deliver_all();
    world.settle();
    world.check();
}

#[test]
fn no_schedule_that_shows_a_bug_breaks_a_promise_without_it() {
    readers_of_the_old_set();
    readers_of_the_set_that_is_given_up();
    a_source_that_has_missed_a_write();
}

/// A coordinator's first write is on one copy, its second one comes where a bar refuses the first. A reader there replaces
/// what it was shown.
fn a_second_write_without_the_first() {
    let (from, next) = loose();
    let mut world = World::changing(Resolve::Siblings, from, next);
    world.pace = Pace { round_ticks: 4, behind_ms: 0, ..Pace::default() };
    put(&mut world, 0, false);
    world.durable(0);
    world.deliver_answers();
    world.lose_all(|_| true);
    let is_bar = |message: &Envelope| at(message.to) == 2 && matches!(message.body, Body::Bar(_));
    // A round begins once it would be above the write, whatever clocks differ by.
    let bar = (0..100).find_map(|_| {
        world.lose_all(|_| true);
        world.tick(1);
        world.messages.iter().position(is_bar)
    });
    world.deliver(bar.expect("a round begins"), false);
    world.durable(2);
    world.lose_all(|_| true);
    put(&mut world, 0, false);
    world.take(2, true);
    world.durable(2);
    world.read(2, key(0), false);
    world.deliver_answers();
    world.deliver_all();
    put(&mut world, 2, true);
    world.settle();
    world.check();
}

#[test]
fn a_reader_of_one_copy_replaces_nothing_that_it_was_not_shown() {
    a_second_write_without_the_first();
}

/// A copy that leaves coordinates two writes, each of which another copy has.
#[test]
fn a_copy_that_is_not_sent_its_writes_does_not_coordinate() {
    let (from, next) = loose();
    let mut world = World::changing(Resolve::Siblings, from, next);
    for _ in 0..3 {
        change(&mut world, false, &[0, 1, 2, 3]);
        (0..3).for_each(|from| world.copy_from(3, from));
        (0..3).for_each(|from| (1..3).for_each(|by| world.copy_from(by, from)));
    }
    let before = world.writes.len();
    put(&mut world, 0, false);
    assert_eq!(world.writes.len(), before, "it would send a later write without the earlier one");
    world.settle();
    world.check();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_is_acknowledged_stays_whatever_changes_and_turns(
        steps in vec(step(2), 0..160),
        by_last_writer in any::<bool>(),
        which in 0..5_usize,
    ) {
        let (from, next) = [moving(), shrinking(), loose(), writes_of_one(), altering()][which].clone();
        let resolve = if by_last_writer { Resolve::LastWriterWins } else { Resolve::Siblings };
        run_in(World::changing(resolve, from, next), 2, steps);
    }
}
