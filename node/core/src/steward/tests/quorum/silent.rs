//! With W or R of one, every copy's answer is needed for a change. One that cannot end does not begin, and one that waits is in
//! nobody's way.

use super::*;
use crate::ids::Generation;
use crate::steward::assign;

/// Shards of a leader table that move away from node 3.
fn with_leader_table(world: &mut World, shards: usize) -> Vec<u64> {
    let before: Vec<ShardId> = world.map().shards.keys().copied().collect();
    world.table(&vec![vec![1, 2, 4]; shards]);
    world.settle(40);
    let made = world.map().shards.keys().filter(|shard| !before.contains(shard));
    made.map(|shard| shard.0).collect()
}

#[test]
fn a_change_begins_only_if_enough_are_heard_for_it_to_end() {
    // N - W + 1 have to be copied from, and fewer than R may be silent.
    let cases = [((2, 2), true), ((1, 3), false), ((3, 1), false), ((1, 1), false), ((2, 1), false), ((3, 3), true)];
    for (quorums, is_begun) in cases {
        let (mut world, _) = world(quorums);
        world.silent.insert(NodeId(3));
        world.now_ms += 60_000;
        world.target(1, &[1, 2, 4]);
        for _ in 0..4 {
            world.steward();
            world.lead();
        }
        assert_eq!(record(&world).descriptor.generation > Generation(1), is_begun, "{quorums:?}");
        assert_eq!(record(&world).has_assigned(), !is_begun, "nothing is assigned that cannot be had");
        world.silent.clear();
        world.settle(20);
        settled_on(&world, &[1, 2, 4], (quorums.0 as usize, quorums.1 as usize));
    }
}

#[test]
fn changes_that_wait_for_a_silent_copy_leave_their_places_to_others() {
    let mut world = World::new(&ZONES);
    world.quorum_table(&vec![vec![1, 2, 3]; 2], (1, 1));
    world.settle(20);
    let led = with_leader_table(&mut world, 1);
    (1..=2).for_each(|shard| world.target(shard, &[1, 2, 4]));
    for _ in 0..2 {
        world.steward();
        world.lead();
    }
    assert!((1..=2).all(|shard| !world.map().shards[&ShardId(shard)].assigned_reached()));
    world.silent.insert(NodeId(3));
    world.target(led[0], &[1, 2, 5]);
    world.report();
    assert_eq!(assign(&world.view()), [], "node 4 takes part in two moves, and node 3 may be back soon");
    world.now_ms += SILENCE_MS;
    for _ in 0..10 {
        world.steward();
        world.lead();
    }
    let moved = &world.map().shards[&ShardId(led[0])];
    assert!(moved.is_settled() && moved.on_target(), "{moved:?}");
    assert!((1..=2).all(|shard| !world.map().shards[&ShardId(shard)].assigned_reached()));
    world.silent.clear();
    world.settle(40);
}

#[test]
fn alterations_that_wait_for_a_silent_copy_leave_their_places_to_others() {
    let mut world = World::new(&ZONES);
    let waiting = world.quorum_table(&vec![vec![1, 2, 3]; 16], (1, 1));
    let other = world.quorum_table(&[vec![4, 5, 6]], MAJORITIES);
    world.settle(30);
    alter(&mut world, waiting, 3, MAJORITIES);
    world.steward();
    world.lead();
    world.silent.insert(NodeId(3));
    alter(&mut world, other, 3, (3, 1));
    let last = |world: &World| world.map().shards[&ShardId(17)].quorum.expect("a quorum shard").current;
    for _ in 0..4 {
        world.steward();
        world.lead();
    }
    assert_eq!(last(&world), Quorums { write: 2, read: 2 }, "they may go on soon");
    world.now_ms += SILENCE_MS;
    for _ in 0..10 {
        world.steward();
        world.lead();
    }
    assert_eq!(last(&world), Quorums { write: 3, read: 1 });
    world.silent.clear();
    world.settle(40);
}

#[test]
fn no_change_begins_into_what_cannot_be_left_without_a_silent_copy() {
    for (quorums, is_begun) in [((1, 1), false), ((3, 1), false), ((1, 3), false), ((2, 2), true)] {
        let mut world = World::new(&ZONES);
        let table = world.quorum_table(&[vec![1, 2, 3]], (3, 3));
        world.settle(20);
        world.silent.insert(NodeId(3));
        world.now_ms += 60_000;
        alter(&mut world, table, 3, quorums);
        for _ in 0..6 {
            world.steward();
            world.lead();
        }
        assert_eq!(record(&world).descriptor.generation > Generation(1), is_begun, "{quorums:?}");
        // Once the dead one is to be replaced, both are done in one change.
        world.target(1, &[1, 2, 4]);
        world.settle(20);
        settled_on(&world, &[1, 2, 4], (quorums.0 as usize, quorums.1 as usize));
    }
}

/// Two Quorum shards on the first three nodes, and a shard beside them that is led, on two of these and another.
fn beside_a_led_shard() -> (World, TableId, ShardId) {
    let mut world = World::new(&ZONES);
    let table = world.quorum_table(&vec![vec![1, 2, 3]; 2], MAJORITIES);
    world.settle(20);
    world.table(&[vec![1, 2, 5]]);
    world.settle(40);
    let led = *world.map().shards.keys().next_back().expect("there are some");
    (world, table, led)
}

/// W becomes one when the third node has been silent for a minute.
fn edited_while_the_third_is_silent(world: &mut World, table: TableId) {
    world.silent.insert(NodeId(3));
    world.now_ms += 60_000;
    alter(world, table, 3, (1, 2));
}

/// The shard that is led leaves the first node, whatever the others wait for.
fn led_one_moves(world: &mut World, led: ShardId) {
    world.target(led.0, &[4, 2, 5]);
    for _ in 0..10 {
        world.steward();
        world.lead();
    }
    assert!(world.map().shards[&led].is_settled() && world.map().shards[&led].on_target());
}

/// The table is edited to a W of one while the third copy is silent, so no change begins, and then the first node drains. What
/// cannot begin has no place: other moves of its nodes go on.
#[test]
fn a_move_that_could_not_be_left_again_takes_no_place_of_others() {
    let (mut world, table, led) = beside_a_led_shard();
    edited_while_the_third_is_silent(&mut world, table);
    (1..=2).for_each(|shard| world.target(shard, &[4, 2, 3]));
    for _ in 0..3 {
        world.steward();
        world.lead();
    }
    let is_assigned = |world: &World, shard| !world.map().shards[&ShardId(shard)].assigned_reached();
    assert!(!is_assigned(&world, 1) && !is_assigned(&world, 2), "no change begins to what cannot be left");
    led_one_moves(&mut world, led);
    world.silent.clear();
    world.settle(40);
    settled_on(&world, &[2, 3, 4], (1, 2));
}

/// The same, where the copies were assigned before the edit.
#[test]
fn an_assigned_move_that_could_not_be_left_again_leaves_its_place_to_others() {
    let (mut world, table, led) = beside_a_led_shard();
    (1..=2).for_each(|shard| world.target(shard, &[4, 2, 3]));
    world.report();
    for command in assign(&world.view()) {
        world.state.apply(&command).expect("it is due");
    }
    edited_while_the_third_is_silent(&mut world, table);
    led_one_moves(&mut world, led);
    assert!((1..=2).all(|shard| world.map().shards[&ShardId(shard)].descriptor.generation == Generation(1)));
    world.silent.clear();
    world.settle(40);
}

#[cfg(feature = "planted")]
#[test]
fn bugs_of_silent_copies_are_noticed() {
    use crate::planted::{Planted, plant};
    let noticed = |bug, test: fn()| {
        plant(Some(bug));
        let caught = std::panic::catch_unwind(test).is_err();
        plant(None);
        assert!(caught, "{bug:?}");
    };
    noticed(Planted::SilentChangeBegun, a_change_begins_only_if_enough_are_heard_for_it_to_end);
    noticed(Planted::WantedNotLeft, a_move_that_could_not_be_left_again_takes_no_place_of_others);
    noticed(Planted::SilentChangeCounts, changes_that_wait_for_a_silent_copy_leave_their_places_to_others);
}
