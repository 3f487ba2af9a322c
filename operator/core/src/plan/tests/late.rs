//! Nodes that do not join for long: only what needs them waits.

use std::time::Duration;

use super::*;
use crate::observed::{Process, Running};

fn unplaced(seconds: u64) -> Process {
    Process { ready: false, running: Running::Unplaced, down: Duration::from_secs(seconds), ..Process::STEADY }
}

/// A fourth pod finds no host, for so long.
fn fourth_without_host(seconds: u64) -> World {
    let mut world = World::new(&spec(3, 3, 3, HASH));
    world.settle();
    world.edit(&spec(4, 3, 3, &format!("{HASH}, {RANGE}")));
    let plan = world.plan();
    assert_eq!(plan.steps, [Step::AddSlot { slot: "shop-a-1".into(), zone: "a".into() }]);
    world.apply(&plan, usize::MAX);
    *world.process("shop-a-1") = unplaced(seconds);
    world
}

/// Neither the table was made, nor a copy moved, nor a node emptied, for ever.
#[test]
fn pod_that_does_not_join_holds_nothing_up_that_does_not_need_it() {
    let mut world = fourth_without_host(59);
    assert_eq!((world.plan().steps, world.plan().waits), (vec![], vec![Wait::Joining(vec!["shop-a-1".into()])]));
    *world.process("shop-a-1") = unplaced(60);
    let plan = world.plan();
    assert!(matches!(&plan.steps[..], [Step::Change(AdminChange::CreateTable { .. })]), "{plan:?}");
    let [late @ Wait::Late { .. }] = &plan.waits[..] else { panic!("{plan:?}") };
    assert!(late.to_string().starts_with("shop-a-1 to join, for long: the rest goes on without"), "{late}");
    world.apply(&plan, usize::MAX);
    assert!(world.plan().is_waiting_for_long(), "{:?}", world.plan());
    // It joins in the end, and gets its share.
    *world.process("shop-a-1") = Process::STEADY;
    world.settle();
    assert_eq!(world.slots().len(), 4);
    assert!(world.targets().iter().any(|nodes| nodes.contains(&NodeId(4))));
}

#[test]
fn copies_of_a_lost_node_are_built_elsewhere_though_the_one_that_comes_for_it_does_not_join() {
    let mut world = World::new(&spec(4, 3, 0, HASH));
    world.settle();
    let lost = NodeId(3);
    let mut seen = world.observed();
    // Its slot has another volume, from which nobody has joined, and another address.
    let Seen::Known(slots) = &mut seen.slots else { panic!("slots that are known") };
    let slot = slots.get_mut("shop-2").unwrap();
    (slot.process, slot.address) = (unplaced(60), "elsewhere:1".to_owned());
    let plan = decide(&world.resource, &Environment::default(), &seen).unwrap().plan;
    let [Step::Change(AdminChange::Drain(node))] = &plan.steps[..] else { panic!("{plan:?}") };
    assert_eq!(*node, lost);
}

#[test]
fn nobody_leaves_for_one_that_does_not_join() {
    let mut world = World::new(&spec(3, 3, 3, HASH));
    world.settle();
    world.edit(&spec(3, 3, 2, HASH));
    for _ in 0..2 {
        let plan = world.plan();
        world.apply(&plan, usize::MAX);
    }
    *world.process("shop-a-1") = unplaced(60);
    let plan = world.plan();
    assert_eq!(plan.steps, []);
    let [Wait::Late { held, .. }] = &plan.waits[..] else { panic!("{plan:?}") };
    assert_eq!(held, &[NodeId(3)], "in shop-c-0");
    *world.process("shop-a-1") = Process::STEADY;
    world.settle();
    assert!(!world.slots().contains_key("shop-c-0"));
}

/// It was said that the copies have no places, which only a person could have changed.
#[test]
fn what_has_no_place_without_it_waits_for_it_and_the_rest_goes_on() {
    let mut world = World::new(&spec(1, 1, 0, HASH));
    world.settle();
    let three = spec(3, 3, 0, HASH);
    let limits = r#", "rebalance": {"maxMovesPerNode": 7}}"#;
    world.edit(&format!("{}{limits}", &three[..three.len() - 1]));
    let plan = world.plan();
    world.apply(&plan, usize::MAX);
    for slot in ["shop-1", "shop-2"] {
        *world.process(slot) = unplaced(60);
    }
    let plan = world.plan();
    assert_eq!(plan.steps, []);
    let [Wait::Late { slots, why: Some(_), .. }] = &plan.waits[..] else { panic!("{plan:?}") };
    assert_eq!((slots.len(), plan.waits[0].until()), (2, Until::Later));
}
