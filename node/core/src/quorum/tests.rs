//! Copies as nodes run them, on stores and logs that lose what was not durable, while messages are lost, late or doubled
//! and nodes crash: they become equal, no acknowledged write is lost, nothing that was replaced or deleted comes back.

mod changes;
mod host;
mod late;
mod rest;
mod seen;
mod twins;
mod world;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::message::Body;
use super::shown::Resolve;
use world::{COPIES, World};

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    Write { by: usize, key: u8, is_batch: bool, is_delete: bool, with_seen: bool, ends: bool },
    Read { by: usize, key: u8, is_scan: bool },
    Deliver { message: usize, is_doubled: bool },
    Lose { message: usize },
    Keep { message: usize },
    GiveBack,
    Arrive { but: Option<usize> },
    CopyFrom { by: usize, from: usize },
    Durable { copy: usize },
    Sync { copy: usize, is_begin: bool },
    Tick { ticks: u64 },
    Minutes { minutes: u64 },
    Crash { copy: usize, kept: (usize, usize) },
    Change { is_back: bool },
    Adopt { copy: usize },
    Calm,
}

/// `often` = how much more often something else happens than steps of a change, and minutes pass.
fn step(keys: u8, often: u32) -> impl Strategy<Value = Step> {
    let copy = || 0..COPIES;
    let write = (copy(), 0..keys, prop::bool::weighted(0.2), prop::bool::weighted(0.25), any::<bool>());
    prop_oneof![
        6 * often => (write, prop::bool::weighted(0.2)).prop_map(
            |((by, key, is_batch, is_delete, with_seen), ends)| Step::Write { by, key, is_batch, is_delete, with_seen, ends }
        ),
        4 * often => (copy(), 0..keys, prop::bool::weighted(0.4))
            .prop_map(|(by, key, is_scan)| Step::Read { by, key, is_scan }),
        40 * often => (any::<usize>(), prop::bool::weighted(0.1))
            .prop_map(|(message, is_doubled)| Step::Deliver { message, is_doubled }),
        3 * often => any::<usize>().prop_map(|message| Step::Lose { message }),
        16 * often => copy().prop_map(|copy| Step::Durable { copy }),
        2 * often => (copy(), any::<bool>()).prop_map(|(copy, is_begin)| Step::Sync { copy, is_begin }),
        4 * often => (1..15_u64).prop_map(|ticks| Step::Tick { ticks }),
        often => (copy(), (0..4_usize, 0..4_usize)).prop_map(|(copy, kept)| Step::Crash { copy, kept }),
        3 => prop::bool::weighted(0.2).prop_map(|is_back| Step::Change { is_back }),
        6 => copy().prop_map(|copy| Step::Adopt { copy }),
        1 => (1..3_u64).prop_map(|minutes| Step::Minutes { minutes }),
        2 => Just(Step::Calm),
    ]
}

fn key(number: u8) -> Bytes {
    Bytes::from(vec![b'a' + number])
}

fn run(resolve: Resolve, keys: u8, steps: Vec<Step>) {
    run_in(World::new(resolve), keys, steps);
}

fn run_in(mut world: World, keys: u8, steps: Vec<Step>) {
    for step in steps {
        let waiting = world.messages.len();
        match step {
            Step::Write { by, key: first, is_batch, is_delete, with_seen, ends } => {
                let last = if is_batch { keys } else { first + 1 };
                let keys: Vec<Bytes> = (first..last).map(key).collect();
                world.write_all(by, &keys, is_delete, with_seen, ends);
            }
            Step::Read { by, key: of, is_scan } => world.read(by, key(of), is_scan),
            Step::Deliver { message, is_doubled } if waiting > 0 => world.deliver(message % waiting, is_doubled),
            Step::Lose { message } if waiting > 0 => world.lose(message % waiting),
            Step::Keep { message } if waiting > 0 => world.keep(message % waiting),
            Step::Deliver { .. } | Step::Lose { .. } | Step::Keep { .. } => {}
            Step::GiveBack => world.give_back(),
            Step::Arrive { but } => world.deliver_but(but),
            Step::CopyFrom { by, from } => world.copy_from(by, from),
            Step::Durable { copy } => world.durable(copy),
            Step::Sync { copy, is_begin: true } => world.hosts[copy].begin_sync(),
            Step::Sync { copy, .. } => world.hosts[copy].finish_sync(),
            Step::Tick { ticks } => world.tick(ticks),
            Step::Minutes { minutes } => world.jump(minutes * 1_250),
            Step::Crash { copy, kept } => world.crash(copy, kept),
            Step::Change { is_back } => world.change(is_back),
            Step::Adopt { copy } => world.adopt(copy),
            Step::Calm => world.calm(),
        }
    }
    world.give_back();
    world.settle();
    world.check();
}

/// In which of so many runs a breach of a rule is found. Few keys make for many conflicts.
#[cfg(feature = "planted")]
fn is_found(keys: u8, often: u32, runs: usize) -> Option<usize> {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    (0..runs).find(|_| {
        let steps = vec(step(keys, often), 150..300).new_tree(&mut runner).expect("there are steps").current();
        std::panic::catch_unwind(|| run(Resolve::Siblings, keys, steps)).is_err()
    })
}

#[cfg(feature = "planted")]
fn are_found(often: u32, bugs: &[(crate::planted::Planted, u8, usize)]) {
    let mut missed = Vec::new();
    for (bug, keys, runs) in bugs.iter().copied() {
        crate::planted::plant(Some(bug));
        let found = is_found(keys, often, runs);
        crate::planted::plant(None);
        println!("{bug:?}: {found:?}");
        missed.extend(found.is_none().then_some(bug));
    }
    assert!(missed.is_empty(), "{missed:?} harm nobody");
}

/// True if what is planted breaks what holds otherwise.
#[cfg(feature = "planted")]
fn breaks(bug: crate::planted::Planted, claim: impl Fn() + std::panic::UnwindSafe) -> bool {
    crate::planted::plant(Some(bug));
    let broken = std::panic::catch_unwind(claim);
    crate::planted::plant(None);
    broken.is_err()
}

#[cfg(feature = "planted")]
#[test]
fn bugs_of_who_runs_the_parts_are_found() {
    use crate::planted::Planted;
    are_found(1, &[(Planted::QuorumAckBeforeDurable, 1, 400), (Planted::NeverCompared, 1, 400)]);
}

#[cfg(feature = "planted")]
#[test]
fn bugs_of_the_parts_are_found_when_they_run_together() {
    use crate::planted::Planted;
    let bugs = [
        (Planted::ContextIgnored, 1, 200),
        (Planted::ShortRead, 3, 1_500),
        (Planted::RepairNotAwaited, 1, 1_500),
        (Planted::LogCutBeforeSync, 1, 200),
    ];
    are_found(8, &bugs);
}

#[cfg(feature = "planted")]
#[test]
fn bugs_of_floors_and_changes_are_found() {
    use crate::planted::Planted;
    assert_eq!(is_found(1, 1, 300), None, "nothing is found without a bug");
    are_found(1, &[(Planted::FloorWithoutMember, 1, 100), (Planted::AbsenceOfIncomplete, 1, 100)]);
}

/// All copies have a value, and the second and third its delete; the first has missed that.
fn delete_that_one_copy_has_missed() -> World {
    let mut world = World::new(Resolve::Siblings);
    world.write(0, key(0), false, false);
    world.quiet(0);
    world.read(1, key(0), false);
    world.quiet(0);
    world.write(1, key(0), true, true);
    world.lose_all(|message| message.to.0 == 1 && matches!(message.body, Body::Write(..)));
    (0..COPIES).for_each(|copy| world.durable(copy));
    world.deliver_all();
    world
}

/// A read gets one answer before a round, and the other one when the tombstone is forgotten.
fn floor_between_two_answers() {
    let mut world = delete_that_one_copy_has_missed();
    // The first round is due a minute after the start.
    world.tick(1);
    world.lose_all(|_| true);
    world.jump(1_250);
    let answered = world.reads_answered;
    world.read(0, key(0), false);
    let is_read = |message: &super::message::Envelope| matches!(message.body, Body::Read(..));
    for _ in 0..80 {
        world.keep_back(is_read);
        world.deliver_all();
        world.tick(1);
    }
    let floor = |copy: usize| world.hosts[copy].replica.as_ref().map(|replica| replica.view().floor.0);
    assert!((0..3).all(|copy| floor(copy) > Some(0)), "a round is complete");
    assert!(world.hosts[2].records().is_empty(), "the tombstone is forgotten");
    world.give_back();
    world.deliver_all();
    assert_eq!(world.reads_answered, answered + 1);
    world.settle();
    world.check();
}

#[test]
fn a_read_that_meets_a_floor_between_two_answers_shows_nothing_that_was_deleted() {
    floor_between_two_answers();
}

#[cfg(feature = "planted")]
#[test]
fn absence_without_its_floor_is_noticed() {
    assert!(breaks(crate::planted::Planted::AbsenceWithoutFloor, floor_between_two_answers));
}

/// A key is deleted, and the delete forgotten by all copies but the first, whose log does not have the floor durably. That
/// one coordinates a write of the key by somebody who has seen nothing.
fn created_while_copies_sweep_at_different_times() {
    let mut world = World::new(Resolve::Siblings);
    world.write(0, key(0), false, false);
    world.quiet(0);
    world.read(0, key(0), false);
    world.quiet(0);
    world.write(0, key(0), true, true);
    world.quiet(1);
    world.jump(1_250);
    let mut is_told = false;
    let step = |world: &mut World, from: usize| {
        (from..COPIES).for_each(|copy| world.durable(copy));
        if world.messages.is_empty() { world.tick(1) } else { world.deliver(0, false) }
    };
    for _ in 0..400 {
        is_told |= world.messages.iter().any(|message| matches!(message.body, Body::Floor(_)));
        step(&mut world, usize::from(is_told));
    }
    let held: Vec<usize> = world.hosts[..3].iter().map(|host| host.records().len()).collect();
    assert_eq!(held, [1, 0, 0], "the others have swept");
    let known = |world: &World| world.known.get(&key(0)).map_or(0, std::collections::BTreeSet::len);
    let before = known(&world);
    world.write(0, key(0), false, false);
    (0..20).for_each(|_| step(&mut world, 1));
    assert_eq!(known(&world), before + 1, "two of three have it");
    world.settle();
    world.check();
}

#[test]
fn a_key_is_deleted_and_created_anew_while_copies_sweep_at_different_times() {
    created_while_copies_sweep_at_different_times();
}

#[cfg(feature = "planted")]
#[test]
fn a_creation_that_is_refused_for_a_forgotten_delete_is_noticed() {
    assert!(breaks(crate::planted::Planted::SweptPastWanted, created_while_copies_sweep_at_different_times));
}

/// A copy coordinates two writes before its log has the first durably. A reader meets the second where the first has not
/// come to yet, and replaces what it has seen.
fn two_writes_of_one_coordinator() {
    let mut world = World::new(Resolve::Siblings);
    let put = |world: &mut World, by, with_seen| world.write(by, key(0), false, with_seen);
    let durable = |world: &mut World, copy| {
        world.durable(copy);
        world.deliver_answers();
    };
    put(&mut world, 0, false);
    put(&mut world, 0, false);
    world.take(2, true);
    durable(&mut world, 2);
    world.read(2, key(0), false);
    world.deliver_answers();
    // What differs has to be on a second copy.
    if world.reads_answered == 0 {
        world.take(1, true);
        durable(&mut world, 1);
    }
    assert_eq!(world.reads_answered, 1);
    // Only now two copies have the first write as well.
    world.take(1, false);
    durable(&mut world, 1);
    durable(&mut world, 0);
    put(&mut world, 2, true);
    world.settle();
    world.check();
}

#[test]
fn a_context_covers_no_write_that_its_reader_was_not_shown() {
    two_writes_of_one_coordinator();
}

#[cfg(feature = "planted")]
#[test]
fn bugs_of_own_writes_are_noticed() {
    use crate::planted::Planted;
    assert!(breaks(Planted::OwnWritesForgotten, two_writes_of_one_coordinator));
    assert!(breaks(Planted::WriteSentAlone, two_writes_of_one_coordinator));
}

#[test]
fn a_read_sees_a_write_that_two_of_three_have_and_the_third_gets_it_by_a_hint() {
    let mut world = World::new(Resolve::Siblings);
    let hints = |world: &World| world.hosts[0].replica.as_ref().map(|replica| replica.view().hints.0);
    world.write(0, key(1), false, false);
    // The message to the third copy is lost; those that it is sent again too.
    for _ in 0..22 {
        world.lose_all(|message| message.to.0 == 3);
        world.deliver_all();
        world.tick(1);
    }
    assert_eq!(hints(&world), Some(1));
    world.read(1, key(1), false);
    for _ in 0..4 {
        world.lose_all(|message| message.to.0 == 3);
        world.deliver_all();
        world.tick(1);
    }
    assert_eq!(world.reads_answered, 1);
    world.quiet(40);
    assert_eq!(hints(&world), Some(0));
    assert_eq!(world.hosts[2].records(), world.hosts[0].records());
    world.settle();
    world.check();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn copies_with_siblings_become_equal_and_lose_nothing(steps in vec(step(3, 1), 0..300)) {
        run(Resolve::Siblings, 3, steps);
    }

    #[test]
    fn copies_where_the_last_writer_wins_become_equal_and_lose_nothing(steps in vec(step(3, 1), 0..300)) {
        run(Resolve::LastWriterWins, 3, steps);
    }
}
