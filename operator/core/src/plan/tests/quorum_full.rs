//! One nearly full disk in a database with a Quorum table: it keeps nobody from what is done about it.

use super::quorum::cart;
use super::replace::ask_for;
use super::*;
use crate::eviction::one_may_go;
use crate::observed::Process;
use crate::planted::{Planted, plant};
use crate::testing::ahead;
use skerry_core::ids::ReplicaId;
use skerry_core::level::FormatLevel;

/// So many nodes, one a zone as far as there are zones, and a Quorum table on all of them with this W.
fn at_rest(nodes: u32, write: u32) -> World {
    let more = format!(r#", "replicationFactor": {nodes}"#);
    let mut world = World::new(&spec(nodes, 3, 3, &cart(&format!(r#", "writeQuorum": {write}"#), &more)));
    world.release = FormatLevel::QUORUM;
    world.settle();
    world
}

/// The disk of the third node is nearly full. The others have values for which it has no room, and it has given them all.
fn is_full(status: &mut Status) {
    let full = |node: NodeId| node == NodeId(3);
    let of_full = |copy: &ReplicaId, status: &Status, shard| {
        let members = &status.map.shards[&shard].descriptor.members;
        members.iter().any(|member| member.replica.id == *copy && full(member.replica.node))
    };
    let mut copies = std::mem::take(&mut status.copies);
    for (node, copy) in &mut copies {
        if !full(*node) {
            let shard = copy.shard;
            copy.handed_over.retain(|other| !of_full(other, status, shard));
            copy.hints = 7;
        }
    }
    status.copies = copies;
    status.nodes.iter_mut().filter(|(report, _)| full(report.node)).for_each(|(report, _)| report.disk_full = true);
}

fn seen(world: &World) -> Observed {
    let mut seen = world.observed();
    let Seen::Known(status) = &mut seen.database else { panic!("a database that answers") };
    is_full(status);
    seen
}

fn plan_of(world: &World) -> Plan {
    decide(&world.resource, &ahead(), &seen(world)).unwrap().plan
}

fn words(plan: &Plan) -> String {
    plan.waits.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn asked(slot: &str) -> World {
    let mut world = at_rest(3, 2);
    ask_for(&mut world, Some(slot));
    let plan = world.plan();
    world.apply(&plan, usize::MAX);
    world
}

fn full_volume_is_replaced() {
    let plan = plan_of(&asked("shop-c-0"));
    let replaced = Step::ReplaceVolume { slot: "shop-c-0".into(), silent: false };
    assert!(plan.steps.contains(&replaced), "{plan:?}");
}

#[test]
fn full_volume_can_be_replaced_by_a_larger_one() {
    full_volume_is_replaced();
}

#[test]
fn volume_that_is_needed_beside_a_full_one_is_kept_and_the_reason_is_said() {
    let plan = plan_of(&asked("shop-a-0"));
    assert!(!plan.steps.iter().any(|step| matches!(step, Step::ReplaceVolume { .. })), "{plan:?}");
    let told = words(&plan);
    for part in ["1 other copies with all its records (n2) and needs 2", "n3 has a disk that is nearly full"] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn node_with_a_full_disk_is_restarted_and_those_that_are_needed_wait_with_the_true_reason() {
    let mut world = at_rest(3, 2);
    ["shop-a-0", "shop-b-0", "shop-c-0"].iter().for_each(|slot| world.process(slot).outdated = true);
    let plan = plan_of(&world);
    assert!(plan.steps.contains(&Step::RestartNode { slot: "shop-c-0".into() }), "{plan:?}");
    *world.process("shop-c-0") = Process::STEADY;
    let plan = plan_of(&world);
    assert!(!plan.steps.iter().any(|step| matches!(step, Step::RestartNode { .. })), "{plan:?}");
    let told = words(&plan);
    assert!(told.contains("shards that need n2, since other disks are nearly full (n3)"), "{told}");
    // With room it goes on.
    assert!(world.plan().steps.contains(&Step::RestartNode { slot: "shop-b-0".into() }));
}

#[test]
fn where_enough_others_have_all_every_node_is_restarted_and_may_be_evicted() {
    for (nodes, may_go) in [(3, false), (5, true)] {
        let mut world = at_rest(nodes, 2);
        let seen = seen(&world);
        let Seen::Known(status) = &seen.database else { panic!("a database that answers") };
        let slots = seen.slots.known().unwrap();
        assert_eq!(one_may_go(slots, status), may_go, "{nodes} nodes");
        if may_go {
            world.process("shop-b-0").outdated = true;
            let plan = plan_of(&world);
            assert!(plan.steps.contains(&Step::RestartNode { slot: "shop-b-0".into() }), "{plan:?}");
        }
    }
}

#[test]
fn full_copy_that_holds_up_its_own_replacement_is_noticed() {
    plant(Some(Planted::FullCopyHoldsUp));
    let caught = std::panic::catch_unwind(full_volume_is_replaced).is_err();
    plant(None);
    assert!(caught);
}
