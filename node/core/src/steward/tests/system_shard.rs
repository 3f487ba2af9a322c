//! The system shard stays on healthy nodes in distinct zones.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::world::{World, nodes};
use crate::ids::{NodeId, ShardId};
use crate::level::FormatLevel;
use crate::map::NodeState;
use crate::steward::{SILENCE_MS, system_shard};
use crate::system::AdminChange;

fn target(world: &World) -> Vec<NodeId> {
    world.map().shards[&ShardId::SYSTEM].target.clone()
}

fn settled(zones: &[&str]) -> World {
    let mut world = World::new(zones);
    world.settle(20);
    world
}

#[test]
fn its_size_follows_the_number_of_nodes() {
    assert_eq!(target(&settled(&["a"])), nodes(&[1]));
    assert_eq!(target(&settled(&["a", "b"])), nodes(&[1]));
    assert_eq!(target(&settled(&["a", "b", "c"])), nodes(&[1, 2, 3]));
    assert_eq!(target(&settled(&["a", "b", "c", "d"])), nodes(&[1, 2, 3]));
    assert_eq!(target(&settled(&["a", "b", "c", "d", "e"])), nodes(&[1, 2, 3, 4, 5]));
    assert_eq!(target(&settled(&["a", "b", "c", "d", "e", "f"])).len(), 5);
}

#[test]
fn with_two_nodes_it_has_as_many_copies_as_the_tables() {
    let mut world = settled(&["a", "b"]);
    world.table(&[vec![2]]);
    world.settle(20);
    assert_eq!(target(&world), nodes(&[1]));
    world.table(&[vec![1, 2]]);
    world.settle(20);
    assert_eq!(target(&world), nodes(&[1, 2]));
}

#[test]
fn a_full_node_gets_no_copy_of_it_and_keeps_one_that_it_has() {
    let mut world = World::new(&["a", "b", "c"]);
    world.full.insert(NodeId(3));
    world.settle(20);
    assert!(!target(&world).contains(&NodeId(3)));
    let mut world = settled(&["a", "b", "c", "d"]);
    world.full.insert(NodeId(3));
    world.settle(20);
    assert_eq!(target(&world), nodes(&[1, 2, 3]));
}

#[test]
fn a_node_that_cannot_read_it_gets_no_copy_of_it_and_gives_its_own_to_another() {
    let mut world = World::new(&["a", "b", "c", "d"]);
    world.level = FormatLevel::NEWEST;
    world.settle(20);
    assert_eq!(target(&world), nodes(&[1, 2, 3]));
    world.older.insert(NodeId(4));
    world.settle(20);
    assert_eq!(target(&world), nodes(&[1, 2, 3]), "stays");
    world.older = BTreeSet::from([NodeId(3)]);
    world.settle(20);
    assert_eq!(target(&world), nodes(&[1, 2, 4]));
}

#[test]
fn it_prefers_distinct_zones() {
    assert_eq!(target(&settled(&["a", "a", "b", "c"])), nodes(&[1, 3, 4]));
    assert_eq!(target(&settled(&["a", "a", "a", "b"])), nodes(&[1, 2, 4]));
}

#[test]
fn it_leaves_a_draining_node_when_there_is_another() {
    let mut world = settled(&["a", "b", "c", "c"]);
    assert_eq!(target(&world), nodes(&[1, 2, 3]));
    world.admin(AdminChange::Drain(NodeId(3))).unwrap();
    world.settle(20);
    assert_eq!(target(&world), nodes(&[1, 2, 4]));
}

#[test]
fn it_waits_on_a_draining_node_for_one_that_is_not_heard_of() {
    let mut world = settled(&["a", "b", "c", "c"]);
    world.silent.insert(NodeId(4));
    world.now_ms += 60_000;
    world.admin(AdminChange::Drain(NodeId(3))).unwrap();
    world.settle(20);
    assert_eq!(target(&world), nodes(&[1, 2, 3]));
    world.silent.clear();
    world.settle(20);
    assert_eq!(target(&world), nodes(&[1, 2, 4]));
}

#[test]
fn a_silent_node_is_replaced_after_the_time_of_grace_and_only_by_another() {
    let mut world = settled(&["a", "b", "c", "c"]);
    world.silent.insert(NodeId(3));
    world.now_ms += SILENCE_MS - 1_000;
    world.report();
    assert_eq!(system_shard(&world.view()), None);
    world.now_ms += 1_000;
    world.settle(20);
    assert_eq!(target(&world), nodes(&[1, 2, 4]));
    world.silent.insert(NodeId(4));
    world.now_ms += SILENCE_MS + 1;
    world.report();
    assert_eq!(system_shard(&world.view()), None, "there is no other, and fewer copies would be worse");
}

#[test]
fn nothing_is_decided_without_a_healthy_majority() {
    let mut world = settled(&["a", "b", "c", "d", "e", "f"]);
    assert_eq!(target(&world), nodes(&[1, 2, 3, 4, 5]));
    world.silent.extend(nodes(&[2, 3, 4, 5]));
    world.now_ms += SILENCE_MS + 1;
    world.report();
    assert_eq!(system_shard(&world.view()), None, "two healthy of five would be {{1, 6}}");
    world.silent.remove(&NodeId(2));
    world.settle(20);
    assert_eq!(target(&world).iter().filter(|n| !world.silent.contains(n)).count(), 3);
}

#[test]
fn its_lost_copy_is_built_anew() {
    let mut world = settled(&["a", "b", "c"]);
    let lost = world.map().shards[&ShardId::SYSTEM].assigned[2].id;
    world.gone.insert(lost);
    world.settle(20);
    let shard = &world.map().shards[&ShardId::SYSTEM];
    assert!(shard.is_settled() && shard.assigned.iter().all(|r| r.id != lost));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn it_settles_on_the_best_nodes_and_stays_there(
        zones in vec(prop::sample::select(vec!["a", "b", "c", "d"]), 1..9),
        draining in vec(1..9_u64, 0..4),
        silent in vec(2..9_u64, 0..2),
        late in any::<bool>(),
    ) {
        let mut world = World::new(&zones);
        if late {
            world.settle(20);
        }
        world.silent.extend(silent.iter().map(|&n| NodeId(n)));
        world.now_ms += SILENCE_MS + 1;
        for node in draining {
            if node <= zones.len() as u64 {
                world.admin(AdminChange::Drain(NodeId(node))).unwrap();
            }
        }
        for _ in 0..12 {
            world.steward();
            world.lead();
        }
        world.report();
        prop_assert_eq!(system_shard(&world.view()), None, "settled is settled");
        let healthy: Vec<NodeId> = world.map().nodes.values()
            .filter(|n| n.state == NodeState::Active && !world.silent.contains(&n.id))
            .map(|n| n.id)
            .collect();
        let target = target(&world);
        if target.len() <= healthy.len() && world.silent.is_empty() && !healthy.is_empty() {
            prop_assert!(target.iter().all(|n| healthy.contains(n)), "{target:?} of {healthy:?}");
            let zones_of = |nodes: &[NodeId]| nodes.iter().map(|n| world.map().nodes[n].zone.clone()).collect::<BTreeSet<_>>();
            prop_assert_eq!(zones_of(&target).len(), zones_of(&healthy).len().min(target.len()));
        }
    }
}
