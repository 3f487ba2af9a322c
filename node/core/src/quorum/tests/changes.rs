//! Runs in which the shard's copies change and turn while most messages arrive at once: so the layouts that copies hold differ
//! as often as can be.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::world::{COPIES, Relaxed, World, copies_of};
use super::{Step, key, run_in};
use crate::ids::ReplicaId;
use crate::quorum::copies::Copies;
use crate::quorum::shown::Resolve;

/// Copies of a shard, with W and R.
fn set(members: &[u64], write: usize, read: usize) -> Copies {
    Copies { members: members.iter().copied().map(ReplicaId).collect(), write, read }
}

/// One copy is replaced.
fn moving() -> (Copies, Copies) {
    (copies_of(0..3), copies_of(1..4))
}

/// Four copies become two, both of which stay.
fn shrinking() -> (Copies, Copies) {
    (set(&[0, 1, 2, 3], 2, 3), set(&[0, 1], 2, 2))
}

/// One copy is enough for a write and for a read: nothing is promised to readers, and what is acknowledged stays.
fn loose() -> (Copies, Copies) {
    (set(&[0, 1, 2], 1, 1), set(&[1, 2, 3], 1, 1))
}

fn step(keys: u8) -> impl Strategy<Value = Step> {
    let copy = || 0..COPIES;
    prop_oneof![
        6 => (copy(), 0..keys, prop::bool::weighted(0.2), any::<bool>())
            .prop_map(|(by, key, is_delete, with_seen)| Step::Write { by, key, is_delete, with_seen, ends: false }),
        4 => (copy(), 0..keys).prop_map(|(by, start)| Step::Read { by, start }),
        12 => prop::option::weighted(0.7, copy()).prop_map(|but| Step::Arrive { but }),
        3 => any::<usize>().prop_map(|message| Step::Deliver { message, is_doubled: false }),
        2 => any::<usize>().prop_map(|message| Step::Lose { message }),
        2 => (1..5_u64).prop_map(|ticks| Step::Tick { ticks }),
        1 => copy().prop_map(|copy| Step::Crash { copy }),
        1 => (prop::bool::weighted(0.2), copy())
            .prop_map(|(is_lost, copy)| if is_lost { Step::LoseDisk { copy } } else { Step::Crash { copy } }),
        6 => prop::bool::weighted(0.3).prop_map(|is_back| Step::Change { is_back }),
        12 => copy().prop_map(|copy| Step::Adopt { copy }),
        6 => (copy(), copy()).prop_map(|(by, from)| Step::CopyFrom { by, from }),
        1 => Just(Step::BeginRound),
        3 => copy().prop_map(|copy| Step::Order { copy }),
    ]
}

#[cfg(feature = "planted")]
mod planted {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    use super::*;
    use crate::planted::{Planted, plant};

    /// In which of so many runs a breach of a rule is found.
    fn is_found(sets: &(Copies, Copies), runs: usize) -> Option<usize> {
        let mut runner = TestRunner::deterministic();
        (0..runs).find(|_| {
            let steps = vec(step(1), 60..160).new_tree(&mut runner).expect("there are steps").current();
            let (from, next) = sets.clone();
            let run = || run_in(World::changing(Resolve::Siblings, from, next), steps);
            std::panic::catch_unwind(run).is_err()
        })
    }

    #[test]
    fn bugs_of_changes_are_found() {
        let mut missed = Vec::new();
        for (bug, sets) in [(Planted::WipedAtTheTurn, moving()), (Planted::StayersNotCopied, shrinking())] {
            plant(Some(bug));
            let found = is_found(&sets, 300);
            plant(None);
            println!("{bug:?}: {found:?}");
            missed.extend(found.is_none().then_some(bug));
        }
        assert!(missed.is_empty(), "{missed:?} harm nobody");
    }

    #[test]
    fn bugs_that_few_schedules_show_break_a_promise() {
        let cases: [(Planted, fn()); 4] = [
            (Planted::BarrierShort, readers_of_the_old_set),
            (Planted::RevertWithoutBarrier, readers_of_the_set_that_is_given_up),
            (Planted::SourceShort, a_source_that_has_missed_a_write),
            (Planted::WriteWithoutItsPast, a_second_write_without_the_first),
        ];
        for (bug, case) in cases {
            plant(Some(bug));
            let shown = std::panic::catch_unwind(case);
            plant(None);
            assert!(shown.is_err(), "{bug:?} harms nobody");
        }
    }
}

fn put(world: &mut World, by: usize, with_seen: bool) {
    world.write(by, key(0), Some(Bytes::from_static(b"v")), with_seen);
}

/// The shard's layout changes if it may, and these copies hold the newest one then.
fn change(world: &mut World, is_back: bool, copies: &[usize]) {
    world.change(is_back);
    copies.iter().for_each(|copy| world.adopt(*copy));
}

/// A write, and a read that began after it.
fn write_and_read(world: &mut World, writer: usize, reader: usize) {
    put(world, writer, false);
    world.arrive(None);
    world.read(reader, key(0));
    world.arrive(None);
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
    world.arrive(Some(2));
    world.messages.clear();
    change(&mut world, false, &[0, 1, 2, 3]);
    world.copy_from(3, 2);
    change(&mut world, false, &[2, 3]);
    world.read(2, key(0));
    world.arrive(None);
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
    put(&mut world, 0, false);
    world.durable(0);
    world.deliver_answers();
    world.messages.clear();
    world.tick(1);
    world.begin_round();
    world.order(2);
    world.tick(1);
    put(&mut world, 0, false);
    world.take(2, true);
    world.durable(2);
    world.read(2, key(0));
    world.deliver_answers();
    world.arrive(None);
    put(&mut world, 2, true);
    world.settle();
    world.check();
}

#[test]
fn a_reader_of_one_copy_replaces_nothing_that_it_was_not_shown() {
    a_second_write_without_the_first();
}

/// A copy that leaves coordinates two writes, each of which another copy has.
fn writes_of_a_copy_that_leaves(relaxed: Option<Relaxed>) {
    let (from, next) = loose();
    let mut world = World::changing(Resolve::Siblings, from, next);
    world.relaxed = relaxed;
    for _ in 0..3 {
        change(&mut world, false, &[0, 1, 2, 3]);
        (0..3).for_each(|from| world.copy_from(3, from));
        (0..3).for_each(|from| (1..3).for_each(|by| world.copy_from(by, from)));
    }
    for to in [1, 2] {
        put(&mut world, 0, false);
        world.arrive_at(to);
    }
    world.read(2, key(0));
    world.deliver_answers();
    put(&mut world, 2, true);
    world.settle();
    world.check();
}

#[test]
fn a_copy_that_is_not_sent_its_writes_does_not_coordinate() {
    writes_of_a_copy_that_leaves(None);
    let relaxed = || writes_of_a_copy_that_leaves(Some(Relaxed::CoordinatesWhatItDoesNotTake));
    assert!(std::panic::catch_unwind(relaxed).is_err(), "the rule is not needed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_is_acknowledged_stays_whatever_changes_and_turns(
        steps in vec(step(2), 0..160),
        by_last_writer in any::<bool>(),
        which in 0..3_usize,
    ) {
        let (from, next) = [moving(), shrinking(), loose()][which].clone();
        let resolve = if by_last_writer { Resolve::LastWriterWins } else { Resolve::Siblings };
        run_in(World::changing(resolve, from, next), steps);
    }
}
