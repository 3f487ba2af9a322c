//! Leaders are spread, and left alone once they are.

use std::collections::BTreeMap;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::world::World;
use crate::ids::{NodeId, ReplicaId, ShardId};
use crate::level::FormatLevel;
use crate::message::PeerMessage;
use crate::steward::{TRANSFERS_MAX, leaders};
use crate::system::AdminChange;

const ZONES: [&str; 4] = ["a", "b", "c", "d"];

/// Reports, decides, and lets every leader hand over at once.
fn transfer(world: &mut World) -> usize {
    world.report();
    let transfers = leaders(&world.view());
    for (from, message) in &transfers {
        let PeerMessage::TransferLeader { shard, to } = message else { panic!("{message:?}") };
        assert_eq!(world.shards[shard].node_of(world.leaders[shard]), Some(*from), "the leader is asked");
        world.elect(*shard, *to);
    }
    transfers.len()
}

fn spread(world: &mut World, rounds_max: usize) {
    for _ in 0..rounds_max {
        if transfer(world) == 0 {
            return;
        }
    }
    panic!("leaders still move after {rounds_max} rounds");
}

fn led(world: &World) -> BTreeMap<NodeId, usize> {
    let mut counts: BTreeMap<NodeId, usize> = world.map().nodes.keys().map(|&n| (n, 0)).collect();
    for (shard, leader) in &world.leaders {
        *counts.entry(world.shards[shard].node_of(*leader).unwrap()).or_default() += 1;
    }
    counts
}

fn settled(placement: &[Vec<u64>]) -> World {
    let mut world = World::new(&ZONES);
    world.table(placement);
    world.settle(30);
    world
}

#[test]
fn leaders_are_evened_out_a_few_at_a_time() {
    let mut world = settled(&vec![vec![1, 2, 3]; 12]);
    assert_eq!(transfer(&mut world), TRANSFERS_MAX);
    spread(&mut world, 10);
    let counts = led(&world);
    assert_eq!([1, 2, 3].map(|n| counts[&NodeId(n)]), [5, 4, 4], "the system shard counts too");
}

#[test]
fn a_difference_of_one_is_left_alone() {
    let mut world = settled(&[vec![2, 3]]);
    assert_eq!(transfer(&mut world), 0);
}

#[test]
fn leaders_leave_a_draining_node_first_also_the_system_shards() {
    let mut world = settled(&vec![vec![1, 2, 3]; 3]);
    world.admin(AdminChange::Drain(NodeId(1))).unwrap();
    spread(&mut world, 10);
    assert_eq!(led(&world)[&NodeId(1)], 0);
    let system = &world.shards[&ShardId::SYSTEM];
    assert_ne!(system.node_of(world.leaders[&ShardId::SYSTEM]), Some(NodeId(1)));
}

#[test]
fn leadership_goes_only_to_voters_in_sync_on_nodes_heard_of() {
    let mut world = settled(&vec![vec![1, 2]; 6]);
    world.silent.insert(NodeId(2));
    world.now_ms += 10_000;
    assert_eq!(transfer(&mut world), 0);
    world.silent.clear();
    let behind: Vec<ReplicaId> = world.shards.values().filter_map(|d| Some(d.members.get(1)?.replica.id)).collect();
    world.gone.extend(behind);
    assert_eq!(transfer(&mut world), 0);
}

#[test]
fn leadership_goes_to_no_node_that_cannot_read_what_is_written() {
    let mut world = World::new(&ZONES);
    world.table(&vec![vec![1, 2]; 6]);
    world.level = FormatLevel::NEWEST;
    world.settle(30);
    world.older.insert(NodeId(2));
    assert_eq!(transfer(&mut world), 0);
    world.older.clear();
    assert!(transfer(&mut world) > 0);
}

#[test]
fn shards_that_move_are_not_disturbed() {
    let mut world = settled(&vec![vec![1, 2]; 2]);
    (1..=2).for_each(|shard| world.target(shard, &[1, 3]));
    world.steward();
    assert_eq!(transfer(&mut world), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_single_transfer_would_make_it_more_even(
        placement in vec(btree_set(1..=4_u64, 1..=3), 1..30),
        first in vec(any::<prop::sample::Index>(), 30),
    ) {
        let placement: Vec<Vec<u64>> = placement.into_iter().map(|on| on.into_iter().collect()).collect();
        let mut world = settled(&placement);
        for (shard, index) in (1..=placement.len() as u64).zip(&first) {
            let leader = index.get(&world.shards[&ShardId(shard)].members).replica.id;
            world.elect(ShardId(shard), leader);
        }
        spread(&mut world, 60);
        let counts = led(&world);
        for (shard, descriptor) in world.shards.iter().filter(|(shard, _)| shard.0 > 0) {
            let leader = descriptor.node_of(world.leaders[shard]).unwrap();
            for member in &descriptor.members {
                prop_assert!(counts[&leader] < counts[&member.replica.node] + 2);
            }
        }
    }
}
