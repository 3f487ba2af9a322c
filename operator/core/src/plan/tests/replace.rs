//! Nodes that are replaced though their volumes are not lost, and lost volumes that shards may still need.

use std::time::Duration;

use super::*;
use crate::observed::Process;
use crate::planted::plant;

pub(super) const AFTER: i64 = 600;

/// Three nodes, and another that holds nothing; silent ones are replaced.
pub(super) fn at_rest() -> World {
    let silent = format!(r#", "replaceSilentAfterSeconds": {AFTER}}}"#);
    let four = spec(4, 3, 0, HASH);
    let mut world = World::new(&format!("{}{silent}", &four[..four.len() - 1]));
    world.settle();
    world
}

pub(super) fn fall_silent(world: &mut World, slot: &str) {
    *world.process(slot) = Process { ready: false, ..Process::STEADY };
    world.silent = Some(slot.to_owned());
}

/// One look, and whose volume it replaces. A pod that is new is not ready.
pub(super) fn look(world: &mut World) -> Option<String> {
    let plan = world.plan();
    world.apply(&plan, usize::MAX);
    let replaced = plan.steps.iter().find_map(|step| match step {
        Step::ReplaceVolume { slot, .. } => Some(slot.clone()),
        _ => None,
    });
    replaced.inspect(|slot| world.process(slot).ready = false)
}

/// For how long it looks until something is replaced, a look every fifteen seconds.
pub(super) fn seconds_until_replaced(world: &mut World) -> Option<i64> {
    let began = world.clock;
    while world.clock - began < 3 * AFTER {
        if look(world).is_some() {
            return Some(world.clock - began);
        }
        world.clock += 15;
    }
    None
}

#[test]
fn silent_node_is_replaced_when_its_time_is_over_and_no_earlier_and_once() {
    let mut world = at_rest();
    fall_silent(&mut world, "shop-1");
    assert_eq!(seconds_until_replaced(&mut world), Some(AFTER));
    assert_eq!(seconds_until_replaced(&mut world), None, "its new volume is not the one that fell silent");
    assert_eq!(world.plan().waits, [Wait::Replacing { slot: "shop-1".into() }]);
    *world.process("shop-1") = Process::STEADY;
    world.settle();
    let old = world.nodes().find(|node| node.id == NodeId(2)).unwrap();
    assert_eq!((old.state, world.slots().len()), (NodeState::Removed, 4));
    assert_eq!(world.silent_nodes, []);
}

#[test]
fn silence_is_counted_over_other_operators_and_ends_with_a_word() {
    let mut world = at_rest();
    fall_silent(&mut world, "shop-1");
    for _ in 0..30 {
        assert_eq!(look(&mut world), None);
        world.clock += 15;
    }
    world.history = Default::default();
    assert_eq!(seconds_until_replaced(&mut world), Some(AFTER - 450));
    let mut world = at_rest();
    fall_silent(&mut world, "shop-1");
    look(&mut world);
    world.clock += AFTER - 15;
    world.silent = None;
    look(&mut world);
    assert_eq!(world.silent_nodes, []);
    world.silent = Some("shop-1".into());
    assert_eq!(seconds_until_replaced(&mut world), Some(AFTER));
}

/// A status from a backup, or a clock that jumps, is not enough.
#[test]
fn no_node_is_replaced_that_this_process_has_not_seen_silent_for_a_minute() {
    let mut world = at_rest();
    fall_silent(&mut world, "shop-1");
    look(&mut world);
    world.wall_error = 3_600;
    // What was written down is not what this process has watched.
    assert_eq!(seconds_until_replaced(&mut world.clone()), Some(AFTER));
    world.history = Default::default();
    assert_eq!(seconds_until_replaced(&mut world), Some(60));
}

#[test]
fn silent_nodes_stay_if_nobody_says_otherwise_and_so_does_one_that_is_ready() {
    let mut world = World::new(&spec(4, 3, 0, HASH));
    world.settle();
    fall_silent(&mut world, "shop-1");
    assert_eq!((seconds_until_replaced(&mut world), world.silent_nodes.len()), (None, 0));
    let mut world = at_rest();
    world.silent = Some("shop-1".into());
    assert_eq!(seconds_until_replaced(&mut world), None);
}

/// What is decided when a node is due, and something else is so too.
pub(super) fn held_up_by(happens: impl Fn(&mut Observed)) -> Plan {
    let mut world = at_rest();
    fall_silent(&mut world, "shop-1");
    while !world.plan().steps.iter().any(|step| matches!(step, Step::ReplaceVolume { .. })) {
        look(&mut world);
        world.clock += 15;
    }
    let mut seen = world.observed();
    happens(&mut seen);
    decide(&world.resource, &Environment::default(), &seen).unwrap().plan
}

#[test]
fn silent_node_is_not_replaced_while_a_majority_would_be_short() {
    let out_of_step = |seen: &mut Observed| {
        let Seen::Known(status) = &mut seen.database else { panic!("a database that answers") };
        let (report, _) = status.shards.iter_mut().find(|(r, _)| r.descriptor.node_of(r.leader).is_some()).unwrap();
        report.in_sync.truncate(1);
    };
    for plan in [held_up_by(out_of_step), held_up_by(silence_leaders)] {
        assert_eq!(plan.steps, [], "{plan:?}");
        let [Wait::ReplacementHeld { slot, why }] = &plan.waits[..] else { panic!("{plan:?}") };
        assert!(slot == "shop-1" && why.starts_with("no majority would be left of shard s"), "{why}");
    }
}

fn silence_leaders(seen: &mut Observed) {
    let Seen::Known(status) = &mut seen.database else { panic!("a database that answers") };
    status.shards.clear();
}

#[test]
fn second_node_is_not_replaced_before_the_first_is() {
    let set_aside = |seen: &mut Observed| {
        let Seen::Known(slots) = &mut seen.slots else { panic!("slots that are known") };
        slots.get_mut("shop-3").unwrap().volume.set_aside = true;
    };
    let silent_too = |seen: &mut Observed| {
        let Seen::Known(status) = &mut seen.database else { panic!("a database that answers") };
        status.nodes.retain(|(report, _)| report.node != NodeId(4));
        let Seen::Known(slots) = &mut seen.slots else { panic!("slots that are known") };
        let slot = slots.get_mut("shop-3").unwrap();
        let given_up = Some("another".to_owned());
        let since = seen.silent[0].since.clone();
        seen.silent.push(skerry_api::SilentNode { slot: "shop-3".into(), node: 4, volume: given_up, since });
        slot.process.ready = false;
    };
    for plan in [held_up_by(set_aside), held_up_by(silent_too)] {
        let held = |wait: &Wait| matches!(wait, Wait::ReplacementHeld { why, .. } if why.contains("one at a time"));
        assert!(plan.steps.is_empty() && plan.waits.iter().any(held), "{plan:?}");
    }
}

pub(super) fn ask_for(world: &mut World, slot: Option<&str>) {
    let asked = slot.map(|slot| [(skerry_api::REPLACE.to_owned(), slot.to_owned())].into());
    world.resource.metadata.annotations = asked;
}

#[test]
fn node_is_replaced_once_when_a_person_says_so_and_the_one_that_came_if_it_is_named() {
    let mut world = at_rest();
    for (node, annotation) in [(2, "shop-1"), (5, "shop-1/n5")] {
        ask_for(&mut world, Some(annotation));
        assert_eq!([look(&mut world), look(&mut world)], [None, Some("shop-1".to_owned())], "n{node}");
        assert_eq!(look(&mut world), None);
        assert_eq!(world.plan().waits, [Wait::Replacing { slot: "shop-1".into() }]);
        *world.process("shop-1") = Process::STEADY;
        world.settle();
        assert_eq!(world.nodes().find(|n| n.id == NodeId(node)).unwrap().state, NodeState::Removed);
        assert_eq!(look(&mut world), None, "it is done");
        ask_for(&mut world, None);
        look(&mut world);
        assert_eq!(world.replacement.as_ref().and_then(|done| done.node), i64::try_from(node).ok());
    }
}

#[test]
fn replacement_of_what_is_not_there_is_told_with_what_is() {
    let mut world = at_rest();
    ask_for(&mut world, Some("shop-9"));
    let plan = world.plan();
    let told = "skerry.io/replace names \"shop-9\", which is not there; there are shop-0, shop-1, shop-2, shop-3";
    assert_eq!((plan.steps, plan.waits[0].to_string()), (vec![], told.to_owned()));
}

/// One shard without a leader held every replacement up, wherever it was.
#[test]
fn lost_volume_waits_only_for_shards_that_had_a_copy_on_it_and_not_for_those_whose_loss_is_accepted() {
    let mut world = at_rest();
    let gone = Process { ready: false, volume_lost: true, down: Duration::from_secs(600), ..Process::STEADY };
    *world.process("shop-1") = gone;
    world.silent = Some("shop-1".into());
    let without_leader = |world: &World, on_it: bool| {
        let mut seen = world.observed();
        let Seen::Known(status) = &mut seen.database else { panic!("a database that answers") };
        let has_copy = |d: &skerry_core::map::Descriptor| d.members.iter().any(|m| m.replica.node == NodeId(2));
        let is_it = |d: &skerry_core::map::Descriptor| d.shard != ShardId::SYSTEM && has_copy(d) == on_it;
        let at = status.shards.iter().position(|(r, _)| is_it(&r.descriptor)).unwrap();
        let shard = status.shards.remove(at).0.descriptor.shard;
        (shard, decide(&world.resource, &Environment::default(), &seen).unwrap().plan)
    };
    let replaced = Step::ReplaceVolume { slot: "shop-1".into(), silent: false };
    assert!(without_leader(&world, false).1.steps.contains(&replaced));
    let (shard, plan) = without_leader(&world, true);
    assert!(!plan.steps.contains(&replaced), "{plan:?}");
    let told = plan.waits[0].to_string();
    let way_out = format!(
        "run skerry recover --lost n2; or give up what is not recovered: set the annotation \
                           skerry.io/accept-loss to \"{shard}/n2/i0\""
    );
    assert!(told.contains(&way_out) && plan.waits[0].until() == Until::Corrected, "{told}");
    let accepted = [
        (format!("s99/n2/i0, {shard}/n2/i0"), true),
        ("*/n2/i0".to_owned(), true),
        ("*/n2/i1,*/n1/i0".to_owned(), false),
    ];
    for (text, is_accepted) in accepted {
        world.resource.metadata.annotations = Some([(skerry_api::ACCEPT_LOSS.to_owned(), text.clone())].into());
        assert_eq!(without_leader(&world, true).1.steps.contains(&replaced), is_accepted, "{text}");
    }
}

#[test]
fn losses_of_many_shards_are_accepted_by_their_node_so_that_a_status_can_say_it_as_a_whole() {
    let (slot, node) = ("shop-1".to_owned(), Some((NodeId(2), skerry_core::ids::Incarnation(3))));
    let told = |shards: u64| {
        let shards = (1..=shards).map(ShardId).collect();
        Wait::LossToAccept { slot: slot.clone(), node, shards, loss: Loss::OfVolume }.to_string()
    };
    assert!(told(2).ends_with("to \"s1/n2/i3,s2/n2/i3\""), "{}", told(2));
    let many = told(2_000);
    // Whoever says so may give up more than what is named here, and is told.
    let all = "to \"*/n2/i3\", which also gives up what shop-1 turns out to be the last to have had";
    assert!(many.ends_with(all) && many.len() < 1_024, "{many}");
}

/// Somebody has taken the last slot away. Its copies were moved, and its node left, before anybody had approved anything.
#[test]
fn slot_that_was_taken_away_comes_back_with_its_node_without_approval() {
    let world = at_rest();
    let mut resource = world.resource.clone();
    resource.spec.rebalance.approval = skerry_api::Approval::Manual;
    let steps = |bug: Option<Planted>, taken: &str| {
        let mut seen = world.observed();
        let Seen::Known(slots) = &mut seen.slots else { panic!("slots that are known") };
        slots.remove(taken).unwrap();
        plant(bug);
        let plan = decide(&resource, &Environment::default(), &seen).unwrap().plan;
        plant(None);
        plan.steps
    };
    for slot in ["shop-3", "shop-0"] {
        assert_eq!(steps(None, slot), [Step::AddSlot { slot: slot.into(), zone: String::new() }]);
    }
    let moved = steps(Some(Planted::ReturnAwaitsApproval), "shop-0");
    assert!(matches!(moved[..], [Step::Change(AdminChange::SetTargets(_))]), "the bug is noticed: {moved:?}");
}
