//! Claims about copies whose disks are nearly full: how seldom they are compared with, and what goes on all the same.

use super::store::record;
use super::world::{World, key};
use crate::ids::ReplicaId;
use crate::quorum::merkle::compare::Ask;
use crate::quorum::message::Body;
use crate::time::Version;

const MINUTE_TICKS: u64 = 1_200;

/// Three copies of a settled shard, of which these have disks that are nearly full.
fn world(full: impl IntoIterator<Item = u64> + Clone) -> World {
    let mut world = World::new(1);
    world.is_calm = true;
    for member in &mut world.members {
        member.store.full.extend(full.clone().into_iter().map(ReplicaId));
    }
    world
}

/// How often the first copy begins to compare with the last one in so many minutes.
fn begun(world: &mut World, minutes: u64) -> usize {
    let mut times = 0;
    for _ in 0..minutes * MINUTE_TICKS {
        world.begin_tick();
        let is_first = |body: &Body| matches!(body, Body::Compare(_, _, Ask::Slices(..)));
        let sent = world.messages.iter().filter(|sent| (sent.from.0, sent.to.0) == (0, 2) && is_first(&sent.body));
        times += sent.count();
        world.end_tick();
    }
    times
}

/// How often a full copy that lacks a value is compared with in twenty minutes, beside one that has all.
fn begun_with_a_full_copy() -> usize {
    let mut world = world([2]);
    let last = record(Version::at_ms(world.wall_ms()), 0, b"v");
    (0..2).for_each(|copy| world.members[copy].store.put(&key(1), &last));
    let times = begun(&mut world, 20);
    assert!(world.members[2].store.records.is_empty(), "it has no room");
    world.members.iter_mut().for_each(|member| member.store.full.clear());
    begun(&mut world, 1);
    assert_eq!(world.members[2].store.records.len(), 1, "there is room again, and nobody waits for long");
    times
}

#[test]
fn a_full_copy_that_lacks_something_is_compared_with_ever_more_seldom_whatever_others_have() {
    let times = begun_with_a_full_copy();
    assert!((4..16).contains(&times), "{times} times in twenty minutes");
}

#[cfg(feature = "planted")]
#[test]
fn a_full_copy_that_is_compared_with_each_round_is_noticed() {
    crate::planted::plant(Some(crate::planted::Planted::FullComparedEachRound));
    let times = begun_with_a_full_copy();
    crate::planted::plant(None);
    assert!(times >= 16, "{times} times in twenty minutes");
}

const KEYS: u64 = 6_000;

/// Of two full copies each lacks values of the other, and has deletes for it; the third is away. How many of the deletes are on
/// both after some minutes.
fn deletes_on_both() -> usize {
    let mut world = world([0, 1]);
    world.silent[2] = true;
    for number in 0..KEYS {
        let of = usize::from(number % 2 == 0);
        if number % 3 == 0 {
            (0..2).for_each(|copy| world.members[copy].store.put(&key(number), &record(Version(1), 0, b"v")));
            world.members[of].store.put(&key(number), &record(Version(2), 0, b""));
        } else {
            world.members[of].store.put(&key(number), &record(Version(1), 0, b"v"));
        }
    }
    begun(&mut world, 3);
    let is_deleted = |copy: usize, number: u64| {
        let held = world.members[copy].store.records.get(&key(number));
        held.is_some_and(|held| held.newest.is_tombstone)
    };
    (0..KEYS).step_by(3).filter(|number| (0..2).all(|copy| is_deleted(copy, *number))).count()
}

#[test]
fn two_full_copies_hand_over_deletes_though_neither_has_room_for_the_others_values() {
    assert_eq!(deletes_on_both(), 2_000);
}

#[cfg(feature = "planted")]
#[test]
fn a_full_copy_that_hands_nothing_over_is_noticed() {
    crate::planted::plant(Some(crate::planted::Planted::FullHandsNothingOver));
    let deleted = deletes_on_both();
    crate::planted::plant(None);
    assert!(deleted < 2_000);
}

/// A hint for another copy was lost, so all must be compared with it. This copy has no room for what the other has, and so
/// never has all itself.
#[test]
fn a_full_copy_that_has_handed_all_over_need_not_compare_for_a_hint_that_was_lost() {
    let mut world = world([0]);
    let at = |number| record(Version(number), 0, b"v");
    world.members[0].store.put(&key(1), &at(1));
    (1..3).for_each(|copy| world.members[copy].store.put(&key(2), &at(2)));
    world.members[0].store.lost(ReplicaId(1));
    assert!(world.members[0].store.hints.are_due(ReplicaId(1)));
    begun(&mut world, 3);
    assert!(world.members[1].store.records.contains_key(&key(1)), "it is handed over");
    assert!(!world.members[0].store.records.contains_key(&key(2)), "it has no room");
    assert!(!world.members[0].store.hints.are_due(ReplicaId(1)));
}
