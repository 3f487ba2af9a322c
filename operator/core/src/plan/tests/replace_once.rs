//! What must not make a node be replaced a second time, too early, or beside another one.

use std::sync::Arc;
use std::time::Duration;

use super::replace::{AFTER, ask_for, at_rest, fall_silent, held_up_by, look, seconds_until_replaced};
use super::*;
use crate::observed::{Process, Running};
use crate::planted::plant;

/// Looks for so long, one every fifteen seconds.
fn look_for(world: &mut World, seconds: i64) {
    for _ in 0..seconds / 15 {
        assert_eq!(look(world), None);
        world.clock += 15;
    }
}

fn speak_again(world: &mut World, slot: &str) {
    *world.process(slot) = Process::STEADY;
    world.silent = None;
}

/// It may have been heard meanwhile.
#[test]
fn time_in_which_nobody_could_look_is_no_silence() {
    let mut world = at_rest();
    fall_silent(&mut world, "shop-1");
    look_for(&mut world, 90);
    world.unreachable = true;
    look_for(&mut world, 2 * AFTER);
    world.unreachable = false;
    assert_eq!(seconds_until_replaced(&mut world), Some(AFTER));
    let mut world = at_rest();
    fall_silent(&mut world, "shop-1");
    look_for(&mut world, 90);
    world.unreachable = true;
    look_for(&mut world, 30);
    world.unreachable = false;
    assert_eq!(seconds_until_replaced(&mut world), Some(AFTER - 120), "one answer that failed changes nothing");
}

#[test]
fn node_that_was_heard_during_a_pause_is_not_replaced_at_once_when_it_falls_silent_after_it() {
    let mut world = at_rest();
    fall_silent(&mut world, "shop-1");
    look_for(&mut world, 30);
    world.resource.spec.paused = true;
    look_for(&mut world, 30);
    speak_again(&mut world, "shop-1");
    look_for(&mut world, AFTER);
    fall_silent(&mut world, "shop-1");
    look_for(&mut world, 90);
    world.resource.spec.paused = false;
    assert_eq!(seconds_until_replaced(&mut world), Some(AFTER - 90));
}

/// A silent host that comes back still runs the node whose pod was ended, until it hears of that.
#[test]
fn replaced_node_that_is_heard_once_more_is_not_replaced_again_and_lets_no_other_be() {
    let mut world = at_rest();
    fall_silent(&mut world, "shop-1");
    assert_eq!(seconds_until_replaced(&mut world), Some(AFTER));
    world.silent = None;
    look(&mut world);
    assert_eq!(world.silent_nodes.len(), 1, "what was begun stays written down");
    ask_for(&mut world, Some("shop-2"));
    look_for(&mut world, 60);
    let plan = world.plan();
    assert!(plan.waits.iter().any(|wait| matches!(wait, Wait::ReplacementHeld { .. })), "{plan:?}");
    ask_for(&mut world, None);
    world.silent = Some("shop-1".into());
    assert_eq!(seconds_until_replaced(&mut world), None);
}

#[test]
fn what_was_begun_lets_no_other_begin_though_nobody_wants_it_any_more() {
    let mut world = at_rest();
    fall_silent(&mut world, "shop-1");
    assert_eq!(seconds_until_replaced(&mut world), Some(AFTER));
    world.resource.spec.replace_silent_after_seconds = None;
    ask_for(&mut world, Some("shop-3"));
    look_for(&mut world, 60);
    let mut world = at_rest();
    ask_for(&mut world, Some("shop-1"));
    assert_eq!([look(&mut world), look(&mut world)], [None, Some("shop-1".to_owned())]);
    for next in [None, Some("shop-3")] {
        ask_for(&mut world, next);
        look_for(&mut world, 60);
    }
    *world.process("shop-1") = Process::STEADY;
    world.settle();
    assert!(world.nodes().any(|node| node.id == NodeId(6)), "its turn comes");
}

/// As by a tool that writes it back from a file.
#[test]
fn annotation_that_stays_replaces_no_node_that_comes_into_the_slot_later() {
    let mut world = at_rest();
    ask_for(&mut world, Some("shop-3"));
    assert_eq!([look(&mut world), look(&mut world)], [None, Some("shop-3".to_owned())]);
    *world.process("shop-3") = Process::STEADY;
    world.settle();
    for replicas in [3, 4] {
        world.resource.spec.replicas = replicas;
        world.settle_but_for_waits();
    }
    assert_eq!(world.nodes().filter(|node| node.address == "shop-3:7000").count(), 3);
    let mut world = at_rest();
    ask_for(&mut world, Some("shop-4"));
    look_for(&mut world, 30);
    world.resource.spec.replicas = 5;
    world.settle();
    assert_eq!(world.nodes().filter(|node| node.address == "shop-4:7000").count(), 1);
}

/// A tool writes it back after a person has taken it out, whenever that was.
#[test]
fn annotation_that_is_written_back_does_nothing_to_the_node_that_came_in_its_place() {
    let ids_in = |world: &World| -> Vec<NodeId> {
        world.nodes().filter(|node| node.address == "shop-3:7000").map(|node| node.id).collect()
    };
    let replaces = |world: &mut World, annotation: &str| {
        ask_for(world, Some(annotation));
        assert_eq!([look(world), look(world)], [None, Some("shop-3".to_owned())]);
        ask_for(world, None);
        *world.process("shop-3") = Process::STEADY;
        world.settle();
    };
    let mut world = at_rest();
    replaces(&mut world, "shop-3");
    for annotation in [Some("shop-3"), None, Some("shop-3"), None] {
        ask_for(&mut world, annotation);
        look_for(&mut world, 60);
    }
    let [old, new] = ids_in(&world)[..] else { panic!("{:?}", ids_in(&world)) };
    assert_eq!(world.replacement.as_ref().map(|done| (done.node, done.done_by)), Some((Some(4), Some(5))));
    assert_eq!((old, new), (NodeId(4), NodeId(5)));
    replaces(&mut world, "shop-3/n5");
    for annotation in ["shop-3", "shop-3/n5"] {
        ask_for(&mut world, Some(annotation));
        look_for(&mut world, 60);
    }
    assert_eq!(ids_in(&world), [4, 5, 6].map(NodeId));
    ask_for(&mut world, Some("shop-3/n4"));
    look_for(&mut world, 60);
    assert!(world.plan().waits.iter().any(|wait| matches!(wait, Wait::NoSuchSlot { .. })), "it left long ago");
    ask_for(&mut world, Some("shop-2"));
    assert_eq!([look(&mut world), look(&mut world)], [None, Some("shop-2".to_owned())], "another slot is another wish");
}

#[test]
fn slot_that_is_to_go_gets_no_new_volume() {
    let mut world = at_rest();
    world.resource.spec.replicas = 3;
    ask_for(&mut world, Some("shop-3"));
    look_for(&mut world, 60);
    let told = "the volume of shop-3 cannot be replaced yet: its node is to leave";
    assert!(world.plan().waits.iter().any(|wait| wait.to_string() == told), "{:?}", world.plan());
}

/// The operator ended between the two writes, or the second was refused: nobody ever ended the pod.
#[test]
fn replacement_whose_claim_is_told_to_go_and_whose_pod_is_not_is_brought_to_its_end() {
    let mut world = at_rest();
    ask_for(&mut world, Some("shop-1"));
    look(&mut world);
    let mut seen = world.observed();
    let Seen::Known(slots) = &mut seen.slots else { panic!("slots that are known") };
    slots.get_mut("shop-1").unwrap().volume.set_aside = true;
    let plan = decide(&world.resource, &Environment::default(), &seen).unwrap().plan;
    assert_eq!(plan.steps, [Step::ReplaceVolume { slot: "shop-1".into(), silent: false }]);
}

/// What a leader says of its copies may be of before one of them was told to end.
#[test]
fn copies_on_nodes_that_are_not_ready_make_no_majority() {
    let restarting = |seen: &mut Observed| {
        let Seen::Known(slots) = &mut seen.slots else { panic!("slots that are known") };
        slots.get_mut("shop-0").unwrap().process.ready = false;
    };
    let plan = held_up_by(restarting);
    assert_eq!(plan.steps, [], "{plan:?}");
    assert!(plan.waits.iter().any(|wait| matches!(wait, Wait::ReplacementHeld { .. })), "{plan:?}");
}

/// The annotation was left from another time.
#[test]
fn copies_of_a_shard_that_has_a_leader_are_no_accepted_loss() {
    let accepted = (0..20).map(|id| format!("s{id}/n2/i1")).collect::<Vec<_>>().join(",");
    let mut world = at_rest();
    ask_for(&mut world, Some("shop-1"));
    assert_eq!([look(&mut world), look(&mut world)], [None, Some("shop-1".to_owned())]);
    world.join();
    *world.process("shop-1") = Process::STEADY;
    let annotations = [(skerry_api::REPLACE, "shop-2"), (skerry_api::ACCEPT_LOSS, accepted.as_str())];
    let annotations = annotations.map(|(name, value)| (name.to_owned(), value.to_owned()));
    world.resource.metadata.annotations = Some(annotations.into());
    look(&mut world);
    assert_eq!(look(&mut world), None, "the copies of n2 are not back");
    let accepted = crate::validate(&world.resource, &Environment::default()).unwrap().accepted_losses;
    assert!(accepted.len() == 19 && accepted.iter().all(|loss| loss.shard != Some(ShardId::SYSTEM)));
}

/// What is decided when the claim of a slot was told to go and its pod was not, with a bug planted or none.
fn half_replaced(world: &World, slots: &[&str], bug: Option<Planted>) -> Plan {
    let mut seen = world.observed();
    let Seen::Known(there) = &mut seen.slots else { panic!("slots that are known") };
    for slot in slots {
        let volume = &mut there.get_mut(*slot).unwrap().volume;
        (volume.set_aside, volume.leaving) = (true, true);
    }
    plant(bug);
    let plan = decide(&world.resource, &Environment::default(), &seen).unwrap().plan;
    plant(None);
    plan
}

/// The second write of the replacement of a silent node failed, and the node spoke again; or a person has deleted the claim.
/// Nobody ever ended the pod, and no other node was replaced.
#[test]
fn node_whose_claim_goes_is_replaced_though_it_speaks_and_nobody_asked() {
    let replaced = |slot: &str| [Step::ReplaceVolume { slot: slot.into(), silent: false }];
    let mut world = at_rest();
    assert_eq!(half_replaced(&world, &["shop-1"], None).steps, replaced("shop-1"));
    fall_silent(&mut world, "shop-1");
    while !world.plan().steps.iter().any(|step| matches!(step, Step::ReplaceVolume { .. })) {
        look(&mut world);
        world.clock += 15;
    }
    speak_again(&mut world, "shop-1");
    assert_eq!(half_replaced(&world, &["shop-1"], None).steps, replaced("shop-1"));
    let stuck = half_replaced(&world, &["shop-1"], Some(Planted::HalfReplaced));
    assert_eq!(
        (stuck.steps, stuck.waits),
        (vec![], vec![Wait::Replacing { slot: "shop-1".into() }]),
        "the bug is noticed"
    );
}

/// The operator died between the two writes, and a shard's only copy went over to the node that spoke again: it was ended
/// with it. Nothing of the shard was left.
#[test]
fn node_whose_claim_goes_is_not_ended_while_a_copy_is_on_its_way_to_it_and_gets_no_more() {
    let world = at_rest();
    let mut seen = world.observed();
    let Seen::Known(status) = &mut seen.database else { panic!("a database that answers") };
    let node = NodeId(4);
    let shards = Arc::make_mut(&mut status.map).shards.values_mut();
    let moving = shards.filter(|shard| shard.descriptor.shard != ShardId::SYSTEM).find(|shard| !shard.names(node));
    moving.expect("three copies on four nodes").target = vec![node];
    let Seen::Known(there) = &mut seen.slots else { panic!("slots that are known") };
    let volume = &mut there.get_mut("shop-3").unwrap().volume;
    (volume.set_aside, volume.leaving) = (true, true);
    let decided = |bug| {
        plant(bug);
        let plan = decide(&world.resource, &Environment::default(), &seen).unwrap().plan;
        plant(None);
        plan
    };
    let is_replaced = |plan: &Plan| plan.steps.iter().any(|step| matches!(step, Step::ReplaceVolume { .. }));
    let plan = decided(None);
    assert!(!is_replaced(&plan), "{plan:?}");
    assert!(plan.waits.iter().any(|wait| wait.to_string().contains("are on the way to it")), "{plan:?}");
    let targets = plan
        .steps
        .iter()
        .find_map(|step| if let Step::Change(AdminChange::SetTargets(targets)) = step { Some(targets) } else { None });
    let targets = targets.expect("what is on the way is turned back");
    assert!(targets.iter().all(|(_, nodes)| !nodes.contains(&node)), "{targets:?}");
    assert!(is_replaced(&decided(Some(Planted::ComingCopyIgnored))), "the bug is noticed");
}

#[test]
fn of_two_nodes_whose_claims_go_one_is_replaced_and_only_while_every_shard_goes_on() {
    let world = at_rest();
    let replaced = |plan: &Plan| plan.steps.iter().filter(|s| matches!(s, Step::ReplaceVolume { .. })).count();
    // The fourth node holds nothing that any other one needs: the copies of three are on three.
    let two = half_replaced(&world, &["shop-0", "shop-3"], None);
    assert!(replaced(&two) <= 1, "{two:?}");
    let all = half_replaced(&world, &["shop-0", "shop-1", "shop-2", "shop-3"], None);
    let held = |wait: &&Wait| matches!(wait, Wait::ReplacementHeld { .. });
    assert_eq!((replaced(&all), all.waits.iter().filter(held).count()), (1, 3), "{all:?}");
}

/// The host that took the new volume fell silent before a node had joined: the slot waited for ever, and no other node was
/// replaced meanwhile.
#[test]
fn new_volume_that_nobody_can_come_on_is_given_up_as_well() {
    for (ending, running) in [(true, Running::Maybe), (false, Running::Unplaced)] {
        let mut world = at_rest();
        fall_silent(&mut world, "shop-1");
        assert_eq!(seconds_until_replaced(&mut world), Some(AFTER));
        let stuck =
            |seconds| Process { ready: false, running, ending, down: Duration::from_secs(seconds), ..Process::STEADY };
        *world.process("shop-1") = stuck(599);
        let replaced = |step: &Step| matches!(step, Step::ReplaceVolume { .. });
        assert!(!world.plan().steps.iter().any(replaced), "its copies are built elsewhere, and it may come yet");
        *world.process("shop-1") = stuck(600);
        assert_eq!(world.plan().steps, [Step::ReplaceVolume { slot: "shop-1".into(), silent: ending }]);
    }
}

/// The volume is gone, and its host, which is still listed, never says that the pod has ended.
#[test]
fn pod_of_a_lost_volume_is_not_waited_for_on_a_host_that_is_silent() {
    let mut world = at_rest();
    let gone = Process { ready: false, volume_lost: true, down: Duration::from_secs(600), ..Process::STEADY };
    for (ending, silent) in [(false, false), (true, true)] {
        *world.process("shop-1") = Process { ending, ..gone };
        world.silent = Some("shop-1".into());
        assert!(
            world.plan().steps.contains(&Step::ReplaceVolume { slot: "shop-1".into(), silent }),
            "{:?}",
            world.plan()
        );
    }
}

/// The old node of a replacement was to leave. Another one died: the first got no certificate while copies were missing, and
/// the second was not replaced before the first had left.
#[test]
fn silent_node_is_replaced_though_another_that_was_replaced_has_not_left() {
    let mut world = at_rest();
    ask_for(&mut world, Some("shop-3"));
    assert_eq!([look(&mut world), look(&mut world)], [None, Some("shop-3".to_owned())]);
    *world.process("shop-3") = Process::STEADY;
    world.join();
    fall_silent(&mut world, "shop-1");
    let without_removals = |world: &mut World| {
        let mut plan = world.plan();
        plan.steps.retain(|step| !matches!(step, Step::RemoveNode { .. } | Step::ReplaceVolume { .. }));
        world.apply(&plan, usize::MAX);
        world.move_shards(usize::MAX);
        world.clock += 15;
    };
    for _ in 0..AFTER / 15 + 1 {
        without_removals(&mut world);
    }
    let replaced = Step::ReplaceVolume { slot: "shop-1".into(), silent: true };
    let first = world.nodes().find(|node| node.id == NodeId(4)).unwrap();
    assert_eq!(first.state, NodeState::Draining, "it waits for a certificate alone");
    assert!(world.plan().steps.contains(&replaced), "{:?}", world.plan());
    // As long as a shard names the first one, whatever it waits for.
    let mut seen = world.observed();
    let Seen::Known(status) = &mut seen.database else { panic!("a database that answers") };
    let map = Arc::make_mut(&mut status.map);
    let mut record = map.live_shards().find(|s| s.descriptor.shard != ShardId::SYSTEM).unwrap().clone();
    let at = record.target.iter().position(|node| *node == NodeId(2)).unwrap_or(0);
    record.target[at] = NodeId(4);
    map.put_shard(record);
    let plan = |bug: Option<Planted>| {
        plant(bug);
        let plan = decide(&world.resource, &Environment::default(), &seen).unwrap().plan;
        plant(None);
        plan
    };
    assert!(plan(None).steps.contains(&replaced), "{:?}", plan(None));
    let stuck = plan(Some(Planted::SilentAwaitsLeaving));
    assert!(!stuck.steps.contains(&replaced), "the bug is noticed: {stuck:?}");
}

/// A person wants it replaced, and a majority needs it; then its pod ends, for whatever reason.
#[test]
fn needed_node_that_is_to_be_replaced_keeps_its_volume_while_its_pod_ends() {
    let mut world = at_rest();
    ask_for(&mut world, Some("shop-1"));
    look(&mut world);
    world.silent = Some("shop-1".into());
    *world.process("shop-1") = Process { ready: false, ending: true, ..Process::STEADY };
    *world.process("shop-0") = Process { ready: false, ..Process::STEADY };
    let replaces = |bug: Option<Planted>| {
        plant(bug);
        let plan = world.plan();
        plant(None);
        plan.steps.iter().any(|step| matches!(step, Step::ReplaceVolume { .. }))
    };
    assert_eq!([replaces(None), replaces(Some(Planted::EndingIsBegun))], [false, true]);
}
