//! Targets are carried out, within the limits of moves.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::world::{World, nodes};
use crate::ids::{NodeId, ReplicaId, ShardId};
use crate::level::FormatLevel;
use crate::map::{Map, MoveLimits, Role};
use crate::steward::{ASSIGNMENTS_MAX, assign, round};
use crate::system::AdminChange;

const ZONES: [&str; 6] = ["a", "b", "c", "a", "b", "c"];

fn assigned_nodes(map: &Map, shard: u64) -> Vec<NodeId> {
    map.shards[&ShardId(shard)].assigned.iter().map(|r| r.node).collect()
}

/// Shards under way on each node, as the limit counts them.
fn busy(map: &Map) -> BTreeMap<NodeId, u32> {
    let mut busy = BTreeMap::new();
    for shard in map.live_shards().filter(|s| !s.assigned_reached()) {
        let settled = |m: &&crate::map::Member| m.role == Role::Voter && shard.assigned.contains(&m.replica);
        let members: BTreeSet<NodeId> = shard.descriptor.members.iter().map(|m| m.replica.node).collect();
        let settled: BTreeSet<NodeId> =
            shard.descriptor.members.iter().filter(settled).map(|m| m.replica.node).collect();
        let assigned: BTreeSet<NodeId> = shard.assigned.iter().map(|r| r.node).collect();
        for node in &(&members | &assigned) - &settled {
            *busy.entry(node).or_default() += 1;
        }
    }
    busy
}

#[test]
fn a_move_keeps_the_copies_that_stay_and_makes_new_ones() {
    let mut world = World::new(&ZONES);
    world.table(&[vec![1, 2, 3]]);
    world.settle(20);
    let before = world.map().shards[&ShardId(1)].assigned.clone();
    world.target(1, &[1, 2, 4]);
    world.steward();
    let after = world.map().shards[&ShardId(1)].assigned.clone();
    assert_eq!(after[..2], before[..2]);
    assert_eq!(after[2].node, NodeId(4));
    assert!(before.iter().all(|r| r.id < after[2].id));
    world.settle(20);
    assert!(world.map().shards[&ShardId(1)].is_settled());
}

#[test]
fn moves_wait_for_a_leader_a_living_node_and_room() {
    let mut world = World::new(&ZONES);
    world.table(&[vec![1, 2, 3]]);
    world.settle(20);
    world.target(1, &[1, 2, 6]);
    let without = |hinder: &dyn Fn(&mut World), free: &dyn Fn(&mut World), world: &mut World| {
        hinder(world);
        world.now_ms += 10_000;
        world.report();
        assert_eq!(assign(&world.view()), []);
        free(world);
    };
    without(&|w| w.silent.extend([NodeId(1)]), &|w| w.silent.clear(), &mut world);
    without(&|w| w.silent.extend([NodeId(6)]), &|w| w.silent.clear(), &mut world);
    without(&|w| w.full.extend([NodeId(6)]), &|w| w.full.clear(), &mut world);
    world.settle(20);
    assert!(world.map().shards[&ShardId(1)].is_settled());
}

#[test]
fn copies_are_given_up_only_while_all_that_stay_are_in_sync() {
    let mut world = World::new(&ZONES);
    world.table(&[vec![1, 2, 3]]);
    world.settle(20);
    world.target(1, &[1, 2]);
    world.silent.extend([NodeId(2)]);
    world.now_ms += 10_000;
    world.report();
    assert_eq!(assign(&world.view()), []);
    world.silent.clear();
    world.settle(20);
    assert_eq!(world.map().shards[&ShardId(1)].assigned.len(), 2);
}

#[cfg(feature = "planted")]
#[test]
fn copies_given_up_unseen_are_noticed() {
    use crate::planted::{Planted, plant};

    plant(Some(Planted::CopiesGivenUpUnseen));
    let caught = std::panic::catch_unwind(copies_are_given_up_only_while_all_that_stay_are_in_sync).is_err();
    plant(None);
    assert!(caught);
}

#[test]
fn a_node_takes_part_in_no_more_moves_than_the_limit() {
    let mut world = World::new(&ZONES);
    world.table(&vec![vec![1, 2, 3]; 10]);
    world.settle(30);
    (1..=10).for_each(|shard| world.target(shard, &[1, 2, 4]));
    world.report();
    assert_eq!(assign(&world.view()).len(), 2);
    let limits = MoveLimits { moves_per_node: 5, ..MoveLimits::default() };
    world.admin(AdminChange::SetLimits(limits)).unwrap();
    assert_eq!(assign(&world.view()).len(), 5);
}

#[test]
fn one_round_starts_a_bounded_number_of_moves() {
    let mut world = World::new(&ZONES);
    world.table(&vec![vec![1, 2]; 30]);
    world.settle(30);
    world.admin(AdminChange::SetLimits(MoveLimits { moves_per_node: 100, ..MoveLimits::default() })).unwrap();
    (1..=30).for_each(|shard| world.target(shard, &[1, 3]));
    world.report();
    assert_eq!(assign(&world.view()).len(), ASSIGNMENTS_MAX);
}

#[test]
fn turning_back_needs_no_budget_and_never_reuses_a_destroyed_copy() {
    for rounds in 0..8 {
        let mut world = World::new(&ZONES);
        world.table(&vec![vec![1, 2, 3]; 4]);
        world.settle(30);
        (1..=4).for_each(|shard| world.target(shard, &[4, 5, 6]));
        for _ in 0..rounds {
            world.steward();
            world.lead();
        }
        (1..=4).for_each(|shard| world.target(shard, &[1, 2, 3]));
        world.steward(); // records what the last step brought about
        world.steward();
        assert!(world.map().live_shards().filter(|s| !s.assigned_reached()).all(|s| s.on_target()));
        world.settle(60);
        for shard in world.map().live_shards() {
            assert!(shard.is_settled());
            assert!(shard.assigned.iter().all(|r| !world.gone.contains(&r.id)));
        }
    }
}

#[test]
fn a_move_is_not_turned_round_to_a_node_that_is_about_to_leave() {
    let mut world = World::new(&ZONES);
    world.table(&[vec![1, 2, 3]]);
    world.settle(20);
    world.target(1, &[1, 2, 4]);
    world.steward();
    world.target(1, &[1, 2, 5]);
    world.report();
    assert_eq!(assign(&world.view()).len(), 1);
    world.admin(AdminChange::Drain(NodeId(5))).unwrap();
    assert_eq!(assign(&world.view()), []);
}

#[test]
fn a_lost_copy_is_built_anew_under_another_id_on_the_same_node() {
    let mut world = World::new(&ZONES);
    world.table(&[vec![1, 2, 3]]);
    world.settle(20);
    let lost = world.map().shards[&ShardId(1)].assigned[2];
    world.gone.insert(lost.id);
    world.settle(20);
    let shard = &world.map().shards[&ShardId(1)];
    assert_eq!(assigned_nodes(world.map(), 1), nodes(&[1, 2, 3]));
    assert!(shard.is_settled() && shard.assigned.iter().all(|r| r.id != lost.id));
}

#[test]
fn a_lost_copy_on_a_draining_node_is_not_built_anew_there() {
    let mut world = World::new(&ZONES);
    world.table(&[vec![1, 2, 3]]);
    world.settle(20);
    world.admin(AdminChange::Drain(NodeId(3))).unwrap();
    world.gone.insert(world.map().shards[&ShardId(1)].assigned[2].id);
    world.settle(20);
    assert_eq!(assigned_nodes(world.map(), 1), nodes(&[1, 2, 3]), "it waits for a target");
    world.target(1, &[1, 2, 4]);
    world.settle(20);
    assert!(world.map().shards[&ShardId(1)].is_settled());
}

#[test]
fn shards_of_dropped_tables_are_left_alone() {
    let mut world = World::new(&ZONES);
    world.table(&[vec![1, 2, 3]]);
    world.settle(20);
    world.target(1, &[4, 5, 6]);
    let table = world.map().shards[&ShardId(1)].descriptor.table;
    world.admin(AdminChange::DropTable { table }).unwrap();
    world.report();
    assert_eq!(assign(&world.view()), []);
}

/// A node gives up the copies of a table that is dropped, and says so. Status told of them for ever.
#[test]
fn copies_of_dropped_tables_are_not_lost() {
    let mut world = World::new(&ZONES);
    world.table(&[vec![1, 2, 3]]);
    world.settle(20);
    let record = &world.map().shards[&ShardId(1)];
    let (table, given_up) = (record.descriptor.table, record.assigned[2].id);
    world.gone.insert(given_up);
    world.report();
    assert_eq!(world.view().lost().len(), 1);
    world.admin(AdminChange::DropTable { table }).unwrap();
    world.report();
    assert_eq!(world.view().lost().len(), 0);
}

fn placement(shards: usize) -> impl Strategy<Value = Vec<Vec<u64>>> {
    let copies = btree_set(1..=6_u64, 1..=5);
    vec(copies.prop_map(|on| on.into_iter().collect()), shards)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn any_targets_are_reached_within_the_limits(
        before in placement(8),
        after in placement(8),
        moves_per_node in 1..4_u32,
    ) {
        let mut world = World::new(&ZONES);
        world.table(&before);
        world.admin(AdminChange::SetLimits(MoveLimits { moves_per_node, ..MoveLimits::default() })).unwrap();
        world.settle(20);
        (1..).zip(&after).for_each(|(shard, on)| world.target(shard, on));
        for _ in 0..100 {
            world.steward();
            prop_assert!(busy(world.map()).values().all(|&moves| moves <= moves_per_node));
            world.lead();
        }
        prop_assert!(world.map().shards.values().all(|s| s.is_settled()));
        for (shard, on) in (1..).zip(&after) {
            let reached: BTreeSet<NodeId> = assigned_nodes(world.map(), shard).into_iter().collect();
            prop_assert_eq!(reached, nodes(on).into_iter().collect());
        }
        world.report();
        prop_assert_eq!(round(&world.view()), []);
    }

    #[test]
    fn targets_that_change_midway_and_copies_that_are_lost_still_settle(
        before in placement(6),
        turns in vec((0..12_usize, placement(6)), 1..5),
        losses in vec((0..60_usize, any::<prop::sample::Index>()), 0..4),
    ) {
        let mut world = World::new(&ZONES);
        world.table(&before);
        for (at, (rounds, targets)) in turns.iter().enumerate() {
            (1..).zip(targets).for_each(|(shard, on)| world.target(shard, on));
            for round in 0..*rounds {
                let now = losses.iter().find(|(when, _)| *when == at * 12 + round);
                if let Some((_, which)) = now {
                    lose_one(&mut world, which);
                }
                world.steward();
                world.lead();
            }
        }
        world.settle(150);
        prop_assert!(world.map().shards.values().all(|s| s.is_settled()));
        world.report();
        prop_assert_eq!(round(&world.view()), []);
    }
}

/// Loses a copy that the rest of its shard can do without: one of at least three voters, and never the leader.
fn lose_one(world: &mut World, which: &prop::sample::Index) {
    let spare = world.shards.iter().filter(|(shard, d)| {
        let alive = |d: &&crate::map::Member| !world.gone.contains(&d.replica.id);
        d.members.len() >= 3 && d.members.iter().all(|m| alive(&m) && m.role == Role::Voter) && shard.0 > 0
    });
    let spare: Vec<ReplicaId> = spare
        .flat_map(|(shard, d)| d.members.iter().map(|m| m.replica.id).filter(|id| world.leaders[shard] != *id))
        .collect();
    if !spare.is_empty() {
        world.gone.insert(*which.get(&spare));
    }
}

/// A full node may keep its copies, and gets no new one: not in place of a lost one, nor of a move that is turned round.
#[test]
fn a_full_node_is_never_chosen_for_a_new_copy() {
    let mut world = World::new(&ZONES);
    world.table(&[vec![1, 2, 3]]);
    world.settle(20);
    world.full.insert(NodeId(3));
    let lost = world.map().shards[&ShardId(1)].assigned[2];
    world.gone.insert(lost.id);
    world.report();
    assert_eq!(assign(&world.view()), [], "in place of a lost one");
    world.full.clear();
    world.report();
    assert_eq!(assign(&world.view()).len(), 1);

    let mut world = World::new(&ZONES);
    world.table(&[vec![1, 2, 3]]);
    world.settle(20);
    world.target(1, &[1, 2, 4]);
    world.steward();
    world.full.insert(NodeId(5));
    world.target(1, &[1, 2, 5]);
    world.report();
    assert_eq!(assign(&world.view()), [], "turned round to");
    world.full.clear();
    world.report();
    assert_eq!(assign(&world.view()).len(), 1);
}

/// A database whose level is above that of the programs of these nodes: they were put back as it was enabled.
fn raised_over(older: &[u64], on: &[u64]) -> World {
    let mut world = World::new(&ZONES);
    world.table(&[on.to_vec()]);
    world.level = FormatLevel::NEWEST;
    world.settle(20);
    assert_eq!(world.map().level.0, FormatLevel::NEWEST);
    world.older.extend(nodes(older));
    world.report();
    world
}

#[test]
fn a_node_that_cannot_read_what_is_written_is_never_chosen_for_a_new_copy() {
    let mut world = raised_over(&[6], &[1, 2, 3]);
    world.target(1, &[1, 2, 6]);
    assert_eq!(assign(&world.view()), [], "moved to");
    world.target(1, &[1, 2, 4]);
    world.steward();
    world.target(1, &[1, 2, 6]);
    world.report();
    assert_eq!(assign(&world.view()), [], "turned round to");
    world.older.clear();
    world.report();
    assert_eq!(assign(&world.view()).len(), 1);

    let mut world = raised_over(&[3], &[1, 2, 3]);
    let lost = world.map().shards[&ShardId(1)].assigned[2];
    world.gone.insert(lost.id);
    world.report();
    assert_eq!(assign(&world.view()), [], "in place of a lost one");
    world.older.clear();
    world.report();
    assert_eq!(assign(&world.view()).len(), 1);
}

#[cfg(feature = "planted")]
#[test]
fn an_older_node_that_is_chosen_is_caught() {
    crate::planted::plant(Some(crate::planted::Planted::OlderNodeChosen));
    let caught =
        std::panic::catch_unwind(a_node_that_cannot_read_what_is_written_is_never_chosen_for_a_new_copy).is_err();
    crate::planted::plant(None);
    assert!(caught);
}

#[cfg(feature = "planted")]
#[test]
fn a_full_node_that_is_chosen_is_caught() {
    let mut world = World::new(&ZONES);
    world.table(&[vec![1, 2, 3]]);
    world.settle(20);
    world.target(1, &[1, 2, 6]);
    world.full.insert(NodeId(6));
    world.report();
    assert_eq!(assign(&world.view()), []);
    crate::planted::plant(Some(crate::planted::Planted::FullNodeChosen));
    let chosen = assign(&world.view());
    crate::planted::plant(None);
    assert_eq!(chosen.len(), 1);
}
