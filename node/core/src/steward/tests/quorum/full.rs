//! A copy that comes to a disk which is nearly full: its move ends, and begins again once there is room, ever more seldom where
//! there is none for all of it.

use super::*;
use crate::steward::assign;

/// Node 4 has become full while a copy came to it, and stays so for long.
fn filled() -> World {
    let (mut world, _) = world(MAJORITIES);
    world.target(1, &[1, 2, 4]);
    go_to(&mut world, Some(Stage::WriteBoth));
    fill(&mut world);
    world
}

fn fill(world: &mut World) {
    world.full.insert(NodeId(4));
    for _ in 0..4 {
        world.steward();
        world.lead();
    }
    assert_eq!(stage(world), Some(Stage::WriteBoth), "there may be room soon");
    world.now_ms += SILENCE_MS;
    go_to(world, None);
}

#[test]
fn a_move_to_a_disk_that_stays_full_is_given_up_and_begins_again_once_there_is_room() {
    let mut world = filled();
    assert_eq!(record(&world).layout().map(|layout| layout.current.members.len()), Some(3));
    stays(&mut world, 4);
    world.full.clear();
    world.settle(20);
    settled_on(&world, &[1, 2, 4], (2, 2));
}

#[test]
fn a_move_whose_new_copy_is_complete_goes_on_though_its_disk_is_full() {
    let (mut world, _) = world(MAJORITIES);
    world.target(1, &[1, 2, 4]);
    go_to(&mut world, Some(Stage::ReadNew));
    world.full.insert(NodeId(4));
    world.report();
    world.now_ms += 2 * SILENCE_MS;
    world.settle(20);
    settled_on(&world, &[1, 2, 4], (2, 2));
}

#[test]
fn a_disk_that_fills_again_and_again_gets_a_copy_ever_more_seldom() {
    let mut world = filled();
    let mut pauses = Vec::new();
    for _ in 0..3 {
        world.full.clear();
        let began = (1..).find(|_| {
            world.steward();
            world.lead();
            stage(&world) == Some(Stage::WriteBoth)
        });
        pauses.push(began.expect("it begins"));
        fill(&mut world);
    }
    // Rounds of half a second.
    assert!(pauses[0] < 10 && (115..140).contains(&pauses[1]) && (235..260).contains(&pauses[2]), "{pauses:?}");
}

#[test]
fn moves_that_wait_for_room_leave_their_places_to_others() {
    let mut world = World::new(&ZONES);
    world.quorum_table(&vec![vec![1, 2, 3]; 2], MAJORITIES);
    world.table(&[vec![1, 2, 4]]);
    world.settle(40);
    (1..=2).for_each(|shard| world.target(shard, &[1, 2, 4]));
    go_to(&mut world, Some(Stage::WriteBoth));
    fill(&mut world);
    let led = world.map().shards.keys().copied().max().expect("there are some");
    world.target(led.0, &[1, 2, 5]);
    world.report();
    assert_eq!(assign(&world.view()).len(), 1, "node 4 takes part in two moves that wait");
    world.full.clear();
    world.settle(40);
}

/// From three copies to two, of which one has a nearly full disk: what the third keeps for it never comes to an end, and it
/// keeps something for the other one as well.
fn shrunk_beside_a_full_disk() {
    let (mut world, table) = world(MAJORITIES);
    world.full.insert(NodeId(2));
    alter(&mut world, table, 2, (1, 2));
    world.target(1, &[1, 2]);
    let old = leaving(&mut world);
    stays(&mut world, 4);
    hand_over(&mut world, old, &[1]);
    world.settle(20);
    settled_on(&world, &[1, 2], (1, 2));
}

#[test]
fn a_full_disk_keeps_no_copy_that_leaves_from_handing_over_to_the_others() {
    shrunk_beside_a_full_disk();
}

#[cfg(feature = "planted")]
#[test]
fn a_handover_that_ends_for_a_full_disk_is_noticed() {
    crate::planted::plant(Some(crate::planted::Planted::FullCopyEndsHandover));
    let is_broken = std::panic::catch_unwind(shrunk_beside_a_full_disk).is_err();
    crate::planted::plant(None);
    assert!(is_broken);
}

#[cfg(feature = "planted")]
#[test]
fn a_full_disk_that_is_awaited_for_ever_is_noticed() {
    crate::planted::plant(Some(crate::planted::Planted::FullMoveAwaited));
    let is_broken = std::panic::catch_unwind(filled).is_err();
    crate::planted::plant(None);
    assert!(is_broken);
}
