//! Replacements while something else changes: the number of copies, other nodes, other claims, the spec.

use std::sync::Arc;

use skerry_core::ids::ReplicaId;
use skerry_core::map::{Replica, ShardRecord};

use super::replace::{AFTER, ask_for, at_rest, fall_silent, look};
use super::*;
use crate::observed::Process;

/// Between two looks.
pub(super) const LOOK_SECONDS: i64 = 15;

/// A spec whose silent nodes are replaced.
pub(super) fn silent_spec(replicas: u32, factor: u32) -> String {
    let all = spec(replicas, factor, 0, HASH);
    format!(r#"{}, "replaceSilentAfterSeconds": {AFTER}}}"#, &all[..all.len() - 1])
}

pub(super) fn settled(replicas: u32, factor: u32) -> World {
    let mut world = World::new(&silent_spec(replicas, factor));
    world.settle();
    world
}

pub(super) fn live(world: &World) -> Vec<ShardRecord> {
    let live = world.map().live_shards().filter(|shard| shard.descriptor.shard != ShardId::SYSTEM);
    live.cloned().collect()
}

pub(super) fn nodes_of(shard: &ShardRecord) -> Vec<NodeId> {
    shard.descriptor.members.iter().map(|member| member.replica.node).collect()
}

/// One look; a slot that gets another volume has lost the mark of the old one.
pub(super) fn step(world: &mut World) -> Option<String> {
    let replaced = look(world);
    if let Some(slot) = &replaced {
        let volume = world.volume(slot);
        (volume.set_aside, volume.leaving) = (false, false);
    }
    world.clock += LOOK_SECONDS;
    replaced
}

pub(super) fn delete_claim(world: &mut World, slot: &str) {
    let volume = world.volume(slot);
    (volume.set_aside, volume.leaving) = (true, true);
}

pub(super) fn set_targets(plan: &Plan) -> Vec<(ShardId, Vec<NodeId>)> {
    let targets = plan.steps.iter().filter_map(|step| match step {
        Step::Change(AdminChange::SetTargets(targets)) => Some(targets.clone()),
        _ => None,
    });
    targets.flatten().collect()
}

pub(super) fn replaced_in(plan: &Plan) -> Vec<String> {
    let slots = plan.steps.iter().filter_map(|step| match step {
        Step::ReplaceVolume { slot, .. } => Some(slot.clone()),
        _ => None,
    });
    slots.collect()
}

/// RF 3 -> 1 while a node is silent; the node is replaced; its host comes back for a moment.
#[test]
fn shard_that_shrinks_is_not_left_on_a_silent_node_whose_volume_was_given_up() {
    let mut world = settled(4, 3);
    fall_silent(&mut world, "shop-3");
    step(&mut world);
    world.edit(&silent_spec(4, 1));
    let began = world.clock;
    let mut replaced = None;
    while replaced.is_none() && world.clock - began < 3 * AFTER {
        replaced = step(&mut world);
        world.move_heard();
    }
    assert_eq!(replaced.as_deref(), Some("shop-3"), "it may be turned back first, and then be replaced");
    // The host is back; its kubelet has not heard yet that the pod is gone.
    world.silent = None;
    for _ in 0..2 {
        step(&mut world);
    }
    world.move_heard();
    for shard in live(&world) {
        let on = nodes_of(&shard);
        assert!(
            on.iter().any(|node| *node != NodeId(4)),
            "{} is on {on:?} alone, whose volume is gone",
            shard.descriptor.shard
        );
    }
}

/// Panics if a shard has no majority of its copies elsewhere.
fn expect_majorities_without(node: NodeId, world: &World) {
    for shard in live(world) {
        let on = nodes_of(&shard);
        let left = on.iter().filter(|other| **other != node).count();
        assert!(2 * left > on.len(), "{node} is replaced, and {} is on {on:?}", shard.descriptor.shard);
    }
}

/// RF 3 -> 1 or 2 is under way, and a person has a node replaced that is heard.
#[test]
fn node_is_not_replaced_by_a_persons_wish_while_shards_shrink_onto_it() {
    for factor in [1, 2] {
        let mut world = settled(4, 3);
        world.edit(&silent_spec(4, factor));
        // The table is altered, then targets are set. The steward has just begun.
        for _ in 0..2 {
            step(&mut world);
        }
        let bound = live(&world).into_iter().find(|s| s.target.len() == factor as usize && nodes_of(s).len() == 3);
        let node = bound.expect("a shard that is to shrink").target[0];
        let slot = format!("shop-{}", node.0 - 1);
        ask_for(&mut world, Some(&slot));
        step(&mut world);
        let replaced = step(&mut world);
        // What its host has yet to hear of goes on meanwhile.
        world.move_heard();
        if replaced.is_some() {
            expect_majorities_without(node, &world);
        }
    }
}

/// The same, by a claim that somebody deletes.
#[test]
fn node_whose_claim_goes_is_not_replaced_while_shards_shrink_onto_it() {
    for factor in [1, 2] {
        let mut world = settled(4, 3);
        world.edit(&silent_spec(4, factor));
        for _ in 0..2 {
            step(&mut world);
        }
        let bound = live(&world).into_iter().find(|s| s.target.len() == factor as usize && nodes_of(s).len() == 3);
        let node = bound.expect("a shard that is to shrink").target[0];
        delete_claim(&mut world, &format!("shop-{}", node.0 - 1));
        let replaced = step(&mut world);
        world.move_heard();
        if replaced.is_some() {
            expect_majorities_without(node, &world);
        }
    }
}

/// The leader has not removed the lost copy yet, in whose place the new one comes: no learner is seen.
#[test]
fn new_copy_in_the_place_of_a_lost_one_is_on_its_way_too() {
    let world = at_rest();
    let mut seen = world.observed();
    let node = NodeId(4);
    let Seen::Known(status) = &mut seen.database else { panic!("a database that answers") };
    let map = Arc::make_mut(&mut status.map);
    let record = map.shards.values_mut().find(|s| s.descriptor.shard != ShardId::SYSTEM && s.target.contains(&node));
    let record = record.expect("a shard with a copy there");
    let lost = record.descriptor.members.iter().find(|m| m.replica.node == node).unwrap().replica.id;
    (record.target, record.assigned) = (vec![node], vec![Replica { node, id: ReplicaId(9_999) }]);
    let shard = record.descriptor.shard;
    let (report, _) = status.shards.iter_mut().find(|(report, _)| report.descriptor.shard == shard).unwrap();
    report.in_sync.retain(|copy| *copy != lost);
    report.leader = report.in_sync[0];
    let Seen::Known(slots) = &mut seen.slots else { panic!("slots that are known") };
    let volume = &mut slots.get_mut("shop-3").unwrap().volume;
    (volume.set_aside, volume.leaving) = (true, true);
    let plan = decide(&world.resource, &Environment::default(), &seen).unwrap().plan;
    assert_eq!(replaced_in(&plan), [""; 0], "{shard} is about to be there alone: {plan:?}");
}

/// Two new nodes die while they get their first copies.
fn two_dead_newcomers(before: (u32, u32), after: (u32, u32)) -> World {
    let mut world = settled(before.0, before.1);
    world.edit(&silent_spec(after.0, after.1));
    for _ in 0..6 {
        step(&mut world);
        world.join();
    }
    assert!(live(&world).iter().all(|shard| shard.target.len() == after.1 as usize), "{:?}", world.plan());
    for slot in [after.0 - 2, after.0 - 1].map(|i| format!("shop-{i}")) {
        *world.process(&slot) = Process { ready: false, ..Process::STEADY };
        world.silent_too.insert(slot);
    }
    world
}

#[test]
fn two_silent_nodes_do_not_give_each_other_their_copies_for_ever() {
    let mut world = two_dead_newcomers((2, 2), (4, 3));
    let (mut turned, mut replaced) = (0, None);
    for _ in 0..(10 * AFTER / LOOK_SECONDS) {
        turned += usize::from(!set_targets(&world.plan()).is_empty());
        replaced = replaced.or(step(&mut world));
        world.move_heard();
    }
    assert!(replaced.is_some(), "targets were set {turned} times, and nobody was replaced: {:?}", world.plan());
}

#[test]
fn no_copy_is_bound_for_a_node_whose_volume_is_given_up_in_the_same_plan() {
    let mut world = two_dead_newcomers((2, 2), (4, 3));
    for _ in 0..(2 * AFTER / LOOK_SECONDS) {
        let mut seen = world.observed();
        // The fourth is to have nothing yet.
        let Seen::Known(status) = &mut seen.database else { panic!("a database that answers") };
        for record in Arc::make_mut(&mut status.map).shards.values_mut() {
            record.target.iter_mut().filter(|node| **node == NodeId(4)).for_each(|node| *node = NodeId(3));
        }
        let plan = decide(&world.resource, &Environment::default(), &seen).unwrap().plan;
        for slot in replaced_in(&plan) {
            let node = world.nodes().find(|node| node.address == format!("{slot}:7000")).unwrap().id;
            let bound = set_targets(&plan).into_iter().filter(|(_, nodes)| nodes.contains(&node)).count();
            assert_eq!(bound, 0, "{slot} is given up in a plan that binds {bound} shards for it");
        }
        let plan = world.plan();
        if !set_targets(&plan).is_empty() {
            return;
        }
        step(&mut world);
    }
}

/// From three copies to five: the shards are bound for both.
#[test]
fn no_plan_sets_the_target_of_a_shard_twice() {
    let mut world = two_dead_newcomers((3, 3), (5, 5));
    for _ in 0..(2 * AFTER / LOOK_SECONDS) {
        let plan = world.plan();
        let mut shards: Vec<ShardId> = set_targets(&plan).into_iter().map(|(shard, _)| shard).collect();
        let all = shards.len();
        shards.sort_unstable();
        shards.dedup();
        assert_eq!(
            shards.len(),
            all,
            "the second is refused, for the first has changed what it was decided on: {plan:?}"
        );
        step(&mut world);
        world.move_heard();
    }
}

/// The same, but what is refused is refused, as the system shard does: is anybody ever replaced?
#[test]
fn two_silent_nodes_of_five_copies_are_replaced_in_the_end_and_get_no_copies_once_given_up() {
    let mut world = two_dead_newcomers((3, 3), (5, 5));
    let mut replaced: Vec<String> = Vec::new();
    for _ in 0..(10 * AFTER / LOOK_SECONDS) {
        let mut plan = world.plan();
        let mut first = true;
        plan.steps
            .retain(|step| !matches!(step, Step::Change(AdminChange::SetTargets(_))) || std::mem::take(&mut first));
        for slot in replaced_in(&plan) {
            let node = world.nodes().find(|node| node.address == format!("{slot}:7000")).unwrap().id;
            let bound = set_targets(&plan).into_iter().filter(|(_, nodes)| nodes.contains(&node)).count();
            assert_eq!(bound, 0, "{slot} is given up in a plan that binds {bound} shards for it");
        }
        world.apply(&plan, usize::MAX);
        for slot in replaced_in(&plan) {
            world.process(&slot).ready = false;
            replaced.push(slot);
        }
        world.clock += LOOK_SECONDS;
        world.move_heard();
    }
    assert!(!replaced.is_empty(), "{:?}", world.plan());
}

#[test]
fn silent_node_is_replaced_in_the_end_though_somebody_has_deleted_the_claim_of_another() {
    let mut stuck = Vec::new();
    for replicas in [4, 5, 6] {
        let mut world = settled(replicas, 3);
        fall_silent(&mut world, "shop-2");
        step(&mut world);
        delete_claim(&mut world, "shop-1");
        let mut replaced = None;
        for _ in 0..(20 * AFTER / LOOK_SECONDS) {
            replaced = replaced.or(step(&mut world));
            world.move_heard();
        }
        if replaced.is_none() {
            stuck.push((replicas, world.plan()));
        }
    }
    assert!(stuck.is_empty(), "{stuck:#?}");
}

/// The disk is full, so the steward gives it no copy (`may_take`): a person has it replaced for that.
#[test]
fn node_that_can_take_no_copies_is_replaced_when_a_person_says_so() {
    let mut world = settled(3, 3);
    world.edit(&silent_spec(4, 3));
    for _ in 0..4 {
        step(&mut world);
        world.join();
    }
    assert!(live(&world).iter().any(|shard| shard.target.contains(&NodeId(4))));
    assert!(live(&world).iter().all(|shard| !nodes_of(shard).contains(&NodeId(4))));
    ask_for(&mut world, Some("shop-3"));
    let mut replaced = None;
    for _ in 0..(20 * AFTER / LOOK_SECONDS) {
        replaced = replaced.or(step(&mut world));
    }
    assert!(replaced.is_some(), "{:?}", world.plan());
}

/// A scale-in, and the node that is to get the copies falls silent: the copies that are there are enough for the time being.
#[test]
fn copies_in_sync_are_not_given_up_to_turn_back_a_copy_that_nobody_needs() {
    let mut world = settled(4, 3);
    world.edit(&silent_spec(3, 3));
    for _ in 0..3 {
        step(&mut world);
    }
    let before: BTreeMap<ShardId, usize> =
        live(&world).iter().map(|shard| (shard.descriptor.shard, nodes_of(shard).len())).collect();
    assert!(before.values().all(|copies| *copies == 3));
    fall_silent(&mut world, "shop-2");
    for _ in 0..(2 * AFTER / LOOK_SECONDS) {
        step(&mut world);
        world.move_heard();
        for shard in live(&world) {
            let unheard = world.unheard();
            let heard = nodes_of(&shard).iter().filter(|node| !unheard.contains(node)).count();
            let had: Vec<NodeId> = nodes_of(&shard);
            assert!(
                had.len() >= 3 || heard >= 3,
                "{} had three copies and has {had:?}, before anything is in the place of the silent node",
                shard.descriptor.shard
            );
        }
    }
}

/// Of two other places the first is silent too, and the second is not.
#[test]
fn copies_are_turned_back_to_nodes_that_are_heard() {
    let mut world = settled(2, 2);
    world.edit(&silent_spec(5, 3));
    for _ in 0..6 {
        step(&mut world);
        world.join();
    }
    for slot in ["shop-2", "shop-4"] {
        *world.process(slot) = Process { ready: false, ..Process::STEADY };
        world.silent_too.insert(slot.to_owned());
    }
    for _ in 0..(2 * AFTER / LOOK_SECONDS) {
        let plan = world.plan();
        let unheard = world.unheard();
        let bound =
            set_targets(&plan).into_iter().filter(|(_, nodes)| nodes.iter().any(|n| unheard.contains(n))).count();
        assert_eq!(bound, 0, "{unheard:?} are silent, and node 4 is heard: {plan:?}");
        step(&mut world);
    }
}

/// A database of single copies goes to another zone, and the new nodes fall silent before they have anything. What is bound for
/// one is bound for the other next, and one of the two is given up in the same plan: its host comes back for a moment.
#[test]
fn single_copies_that_are_turned_back_do_not_go_to_a_node_that_is_given_up() {
    let of_zone = |zone: &str| {
        format!(
            r#"{{"replicas": 2, "replicationFactor": 1, "zones": ["{zone}"], "tables": [{HASH}], "replaceSilentAfterSeconds": {AFTER}}}"#
        )
    };
    let mut world = World::new(&of_zone("a"));
    world.settle();
    world.edit(&of_zone("b"));
    for _ in 0..6 {
        step(&mut world);
        world.join();
    }
    assert!(live(&world).iter().all(|shard| shard.target[0].0 > 2), "{:?} {:?}", world.targets(), world.plan());
    for slot in ["shop-b-0", "shop-b-1"] {
        *world.process(slot) = Process { ready: false, ..Process::STEADY };
        world.silent_too.insert(slot.to_owned());
    }
    let (mut turned, mut given_up) = (0, Vec::new());
    for _ in 0..(10 * AFTER / LOOK_SECONDS) {
        let plan = world.plan();
        turned += usize::from(!set_targets(&plan).is_empty());
        for slot in replaced_in(&plan) {
            let node = world.nodes().find(|node| node.address == format!("{slot}:7000")).unwrap().id;
            given_up.push((slot, set_targets(&plan).iter().filter(|(_, nodes)| nodes.contains(&node)).count()));
        }
        step(&mut world);
        world.move_heard();
    }
    assert!(
        turned <= 4 && given_up.iter().all(|(_, bound)| *bound == 0),
        "targets set {turned} times; given up: {given_up:?}"
    );
}
