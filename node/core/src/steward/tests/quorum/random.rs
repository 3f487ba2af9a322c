//! Targets, W and R that change midway, copies that are lost and nodes that are silent, at random: every step is due in truth,
//! limits are kept, and in the end all is as it is to be.

use std::collections::BTreeSet;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;

const SHARDS: usize = 5;

/// What befalls the database before a round.
#[derive(Debug, Clone)]
enum Event {
    Target(u64, Vec<u64>),
    Alter(u32, u32),
    Lose(prop::sample::Index),
    Silent(u64),
    Heard,
    Nothing,
}

fn placement() -> impl Strategy<Value = Vec<u64>> {
    btree_set(1..=6_u64, 3).prop_map(|on| on.into_iter().collect())
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1..=SHARDS as u64, placement()).prop_map(|(shard, on)| Event::Target(shard, on)),
        1 => (1..=3_u32, 1..=3_u32).prop_map(|(write, read)| Event::Alter(write, read)),
        1 => any::<prop::sample::Index>().prop_map(Event::Lose),
        1 => (1..=6_u64).prop_map(Event::Silent),
        2 => Just(Event::Heard),
        12 => Just(Event::Nothing),
    ]
}

fn befall(world: &mut World, table: TableId, event: &Event) {
    match event {
        Event::Target(shard, on) => world.target(*shard, on),
        Event::Alter(write, read) => alter(world, table, 3, (*write, *read)),
        Event::Lose(which) => lose_one(world, which),
        Event::Silent(node) => drop(world.silent.insert(NodeId(*node))),
        Event::Heard => world.silent.clear(),
        Event::Nothing => {}
    }
}

/// Loses a copy of a shard that has all others, of three: with the last one all would be over.
fn lose_one(world: &mut World, which: &prop::sample::Index) {
    let spare = world.map().live_shards().filter_map(|record| {
        let layout = record.layout()?;
        let has_spare = layout.write_sets().all(|set| set.members.iter().all(|id| !world.gone.contains(id)));
        has_spare.then_some(layout.write_members())
    });
    let spare: Vec<ReplicaId> = spare.flatten().collect();
    if !spare.is_empty() {
        lose(world, *which.get(&spare));
    }
}

fn busiest(world: &World) -> usize {
    let mut busy = std::collections::BTreeMap::<NodeId, BTreeSet<ShardId>>::new();
    for record in world.map().live_shards().filter(|record| !record.assigned_reached()) {
        let settled = |m: &&crate::map::Member| m.role == Role::Voter && record.assigned.contains(&m.replica);
        let stays: BTreeSet<NodeId> =
            record.descriptor.members.iter().filter(settled).map(|m| m.replica.node).collect();
        let members = record.descriptor.members.iter().map(|m| m.replica.node);
        let all: BTreeSet<NodeId> = members.chain(record.assigned.iter().map(|copy| copy.node)).collect();
        for node in &all - &stays {
            busy.entry(node).or_default().insert(record.descriptor.shard);
        }
    }
    busy.values().map(BTreeSet::len).max().unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_befalls_the_copies_every_step_is_due_and_all_settles(
        before in vec(placement(), SHARDS),
        events in vec(event(), 0..80),
        quorums in (1..=3_u32, 1..=3_u32),
    ) {
        let mut world = World::new(&ZONES);
        let table = world.quorum_table(&before, quorums);
        world.settle(20);
        for event in &events {
            befall(&mut world, table, event);
            world.steward();
            world.lead();
        }
        world.silent.clear();
        world.settle(200);
        for record in world.map().live_shards() {
            prop_assert!(record.is_settled());
            let layout = record.layout().unwrap();
            prop_assert_eq!(Some(layout.current.clone()), record.wanted(&world.map().tables[&table]));
            prop_assert!(layout.current.members.iter().all(|id| !world.gone.contains(id)));
        }
        world.report();
        prop_assert_eq!(round(&world.view()), []);
    }

    #[test]
    fn targets_are_reached_within_the_limits(
        before in vec(placement(), SHARDS),
        after in vec(placement(), SHARDS),
        moves_per_node in 1..3_u32,
    ) {
        let mut world = World::new(&ZONES);
        world.quorum_table(&before, MAJORITIES);
        world.admin(AdminChange::SetLimits(MoveLimits { moves_per_node, ..MoveLimits::default() })).unwrap();
        world.settle(20);
        (1..).zip(&after).for_each(|(shard, on)| world.target(shard, on));
        for _ in 0..100 {
            world.steward();
            prop_assert!(busiest(&world) <= moves_per_node as usize);
            world.lead();
        }
        prop_assert!(world.map().live_shards().all(|record| record.is_settled()));
        world.report();
        prop_assert_eq!(round(&world.view()), []);
    }
}
