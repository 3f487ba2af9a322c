//! Claims about what a copy says it has handed over: each direction for itself, and not beyond what anybody knows.

use super::super::Then;
use super::store::record;
use super::world::{World, key};
use crate::ids::{Generation, ReplicaId};
use crate::quorum::copies::Copies;
use crate::quorum::journal::Journaled;
use crate::quorum::layout::Layout;
use crate::time::Version;

/// Three copies that are there, and have compared.
fn even() -> World {
    let mut world = World::new(1);
    world.is_calm = true;
    ticks_until(&mut world, is_all_handed_over);
    world
}

fn has_handed_over(world: &World, from: usize, to: u64) -> bool {
    world.members[from].convergence.handed_over().any(|copy| copy == ReplicaId(to))
}

fn is_all_handed_over(world: &World) -> bool {
    (0..3).all(|from| (0..3).all(|to| from == to || has_handed_over(world, from, to as u64)))
}

/// Ticks until this is so, within half a minute.
fn ticks_until(world: &mut World, is_so: impl Fn(&World) -> bool) -> u64 {
    for ticks in 0..600 {
        if is_so(world) {
            return ticks;
        }
        world.tick();
    }
    panic!("it does not come to that");
}

fn put(world: &mut World, copy: usize, number: u64, version: u64) {
    world.members[copy].store.put(&key(number), &record(Version(version), 0, b"v"));
}

/// A node is restarted only when all others are in step, so this is what each restart of a rollout waits for.
#[test]
fn copies_have_compared_within_seconds_of_a_start() {
    let mut worst = 0;
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.is_calm = true;
        worst = worst.max(ticks_until(&mut world, is_all_handed_over));
        for copy in 0..3 {
            world.crash(copy);
            worst = worst.max(ticks_until(&mut world, is_all_handed_over));
            // It is noticed that it was away.
            world.silent[copy] = true;
            (0..100).for_each(|_| world.tick());
            world.crash(copy);
            world.silent[copy] = false;
            worst = worst.max(ticks_until(&mut world, is_all_handed_over));
        }
    }
    println!("{worst} ticks");
    assert!(worst <= 70, "{worst} ticks");
}

/// The disk of one copy is nearly full. The others are even all the same, and lack nothing that it has.
#[test]
fn a_copy_without_room_hands_over_what_it_has_and_keeps_nobody_else_from_it() {
    let mut world = World::new(1);
    world.is_calm = true;
    world.members.iter_mut().for_each(|member| member.store.full.push(ReplicaId(2)));
    (0..2).for_each(|copy| put(&mut world, copy, 1, 5));
    put(&mut world, 2, 2, 5);
    let is_even = |world: &World| {
        let of_others = has_handed_over(world, 0, 1) && has_handed_over(world, 1, 0);
        of_others && has_handed_over(world, 2, 0) && has_handed_over(world, 2, 1)
    };
    ticks_until(&mut world, is_even);
    (0..200).for_each(|_| world.tick());
    assert!(is_even(&world) && !has_handed_over(&world, 0, 2) && !has_handed_over(&world, 1, 2), "it lacks a value");
    assert!((0..2).all(|copy| world.members[copy].store.records.contains_key(&key(2))));
    world.members.iter_mut().for_each(|member| member.store.full.clear());
    ticks_until(&mut world, is_all_handed_over);
}

/// The first copy took a write, gave it to the second one, and is gone with what it kept for the third.
fn what_a_gone_copy_kept() {
    let mut world = even();
    put(&mut world, 1, 1, 5);
    world.silent[0] = true;
    // Silence is looked for once a second.
    (0..21).for_each(|_| world.tick());
    for _ in 0..100 {
        let has_it = world.members[2].store.records.contains_key(&key(1));
        assert!(has_it || !has_handed_over(&world, 1, 2), "it says what is not so");
        world.tick();
    }
    assert!(has_handed_over(&world, 1, 2) && has_handed_over(&world, 2, 1));
}

#[test]
fn those_that_are_left_compare_anew_when_a_copy_falls_silent() {
    what_a_gone_copy_kept();
}

/// The same copy leaves, with what it kept.
#[test]
fn those_that_are_left_compare_anew_when_a_layout_ends_a_copy() {
    let mut world = even();
    put(&mut world, 1, 1, 5);
    let last = world.layouts.last().expect("there is one").clone();
    let members = last.current.members.iter().copied().filter(|id| *id != ReplicaId(0)).collect();
    let homes = last.homes.iter().filter(|(id, _)| **id != ReplicaId(0)).map(|(id, node)| (*id, *node)).collect();
    let current = Copies { members, ..last.current.clone() };
    world.layouts.push(Layout { generation: Generation(last.generation.0 + 1), current, homes, ..last });
    (1..3).for_each(|copy| world.adopt(copy));
    let holds = |world: &World, copy: usize| world.members[copy].store.layout.as_ref() == world.layouts.last();
    ticks_until(&mut world, |world| holds(world, 1) && holds(world, 2));
    world.tick();
    for _ in 0..100 {
        let has_it = world.members[2].store.records.contains_key(&key(1));
        assert!(has_it || !has_handed_over(&world, 1, 2), "it says what is not so");
        world.tick();
    }
    assert!(has_handed_over(&world, 1, 2) && has_handed_over(&world, 2, 1));
}

/// The first copy took a write, gave it to the second one, and started anew within a few ticks, without what it kept.
fn what_a_copy_kept_that_starts_anew_at_once() {
    let mut world = even();
    put(&mut world, 1, 1, 5);
    world.crash(0);
    let ticks = world.ticks;
    (1..3).for_each(|copy| world.members[copy].convergence.lost_sight(ReplicaId(0), ticks, 0));
    assert!(!has_handed_over(&world, 1, 2) && !has_handed_over(&world, 2, 1));
    for _ in 0..100 {
        let has_it = world.members[2].store.records.contains_key(&key(1));
        assert!(has_it || !has_handed_over(&world, 1, 2), "it says what is not so");
        world.tick();
    }
    ticks_until(&mut world, is_all_handed_over);
}

#[test]
fn those_that_were_there_compare_anew_when_a_copy_starts_anew_at_once() {
    what_a_copy_kept_that_starts_anew_at_once();
}

/// A copy that comes new has coordinated a write, which only the second one got before it was gone. Nobody compares with it.
fn what_a_coming_copy_kept() {
    let mut world = even();
    put(&mut world, 1, 1, 5);
    let ticks = world.ticks;
    (0..3).for_each(|copy| world.members[copy].convergence.lost_sight(ReplicaId(3), ticks, 0));
    assert!((0..3).all(|from| (0..3).all(|to| !has_handed_over(&world, from, to))), "it says what is not so");
    ticks_until(&mut world, is_all_handed_over);
    assert!(world.members[2].store.records.contains_key(&key(1)));
}

#[test]
fn those_that_were_there_compare_anew_when_a_copy_is_gone_with_which_they_do_not_compare() {
    what_a_coming_copy_kept();
}

/// The first copy sent a write to the second one, whose log hangs, and is gone before that has it.
fn what_a_gone_copy_sent_last() {
    let mut world = even();
    let sent = record(Version(5), 0, b"v");
    world.hung[1] = true;
    let entry = Journaled::Writes(vec![(key(1), sent.encode(), sent.newest.stamp)]);
    world.members[1].log.push_back((entry, Then::Nothing));
    world.silent[0] = true;
    (0..100).for_each(|_| world.tick());
    world.hung[1] = false;
    for _ in 0..100 {
        let has_it = |copy: usize| world.members[copy].store.records.contains_key(&key(1));
        assert!(!has_it(1) || has_it(2) || !has_handed_over(&world, 1, 2), "it says what is not so");
        world.tick();
    }
    assert!(has_handed_over(&world, 1, 2) && has_handed_over(&world, 2, 1));
    assert!(world.members[2].store.records.contains_key(&key(1)));
}

#[test]
fn what_waits_for_the_log_when_a_copy_falls_silent_is_compared_as_well() {
    what_a_gone_copy_sent_last();
}

#[cfg(feature = "planted")]
#[test]
fn bugs_of_what_is_handed_over_are_noticed() {
    use crate::planted::{Planted, plant};
    let bugs: [(Planted, fn()); 4] = [
        (Planted::GoneCopyKept, what_a_gone_copy_kept),
        (Planted::GoneCopyKept, what_a_coming_copy_kept),
        (Planted::QuickRestartUntold, what_a_copy_kept_that_starts_anew_at_once),
        (Planted::LateEntryUncompared, what_a_gone_copy_sent_last),
    ];
    for (bug, test) in bugs {
        plant(Some(bug));
        let caught = std::panic::catch_unwind(test).is_err();
        plant(None);
        assert!(caught, "{bug:?}");
    }
}
