//! Replacements that would stand still for ever: what they wait for never comes, or nobody asks for them any more.

use std::sync::Arc;
use std::time::Duration;

use skerry_core::ids::ReplicaId;
use skerry_core::map::{Member, Replica, Role};

use super::replace::{AFTER, ask_for, at_rest, fall_silent};
use super::replace_bound::{LOOK_SECONDS, delete_claim, live, nodes_of, replaced_in, settled, step};
use super::*;
use crate::observed::Process;

/// They waited for one another for ever, since none of them comes back on its volume.
#[test]
fn where_all_claims_were_deleted_one_node_is_replaced_after_the_other() {
    let mut world = settled(3, 3);
    for slot in ["shop-0", "shop-1", "shop-2"] {
        delete_claim(&mut world, slot);
        world.process(slot).outdated = true;
    }
    let plan = world.plan();
    assert_eq!(plan.steps, [Step::ReplaceVolume { slot: "shop-0".into(), silent: false }], "{plan:?}");
    // Its pod was told to end.
    world.process("shop-0").ending = true;
    assert_eq!(replaced_in(&world.plan()), [""; 0], "one at a time");
}

#[test]
fn copies_of_a_node_that_was_replaced_are_built_elsewhere_if_its_successor_never_comes() {
    let mut world = settled(5, 3);
    fall_silent(&mut world, "shop-1");
    let mut replaced = None;
    while replaced.is_none() {
        replaced = step(&mut world);
    }
    // No host has room for the new pod.
    let unplaced =
        |down| Process { ready: false, running: crate::observed::Running::Unplaced, down, ..Process::STEADY };
    for look in 1..400_u64 {
        *world.process("shop-1") = unplaced(Duration::from_secs(look * 15).min(Duration::from_secs(599)));
        step(&mut world);
        world.move_heard();
    }
    let short = live(&world).iter().filter(|shard| nodes_of(shard).contains(&NodeId(2))).count();
    assert_eq!(short, 0, "so many shards have two copies of three after {} s: {:?}", 400 * 15, world.plan());
}

/// It was accepted while the leader was silent too. The leader is back, and there is another place.
#[test]
fn copy_on_its_way_from_a_leader_that_is_back_is_turned_back_though_its_loss_was_accepted() {
    let mut world = at_rest();
    fall_silent(&mut world, "shop-3");
    while replaced_in(&world.plan()).is_empty() {
        step(&mut world);
    }
    let mut seen = world.observed();
    let node = NodeId(4);
    let Seen::Known(status) = &mut seen.database else { panic!("a database that answers") };
    let map = Arc::make_mut(&mut status.map);
    let record = map.shards.values_mut().find(|s| s.descriptor.shard != ShardId::SYSTEM && !s.names(node)).unwrap();
    let coming = Replica { node, id: ReplicaId(9_999) };
    record.descriptor.members.truncate(1);
    record.descriptor.members.push(Member { replica: coming, role: Role::Learner });
    (record.target, record.assigned) = (vec![node], vec![coming]);
    let (shard, descriptor) = (record.descriptor.shard, record.descriptor.clone());
    let (report, _) = status.shards.iter_mut().find(|(report, _)| report.descriptor.shard == shard).unwrap();
    (report.descriptor, report.leader) = (descriptor.clone(), descriptor.members[0].replica.id);
    report.in_sync = vec![report.leader];
    let accepted = [(skerry_api::ACCEPT_LOSS.to_owned(), format!("{shard}/{node}/i0"))];
    world.resource.metadata.annotations = Some(accepted.into());
    let plan = decide(&world.resource, &Environment::default(), &seen).unwrap().plan;
    assert_eq!(
        replaced_in(&plan),
        [""; 0],
        "the only copy of {shard} is there, and goes over to the volume that goes: {plan:?}"
    );
}

const ONE: &str = r#"{"name": "one", "fragmentation": {"type": "Hash", "shards": 6}, "replicationFactor": 1}"#;

fn silent_spec_with_one(replicas: u32) -> String {
    let all = spec(replicas, 3, 0, &format!("{HASH}, {ONE}"));
    format!(r#"{}, "replaceSilentAfterSeconds": {AFTER}}}"#, &all[..all.len() - 1])
}

/// Two nodes have room for the single copies that are on the third, whose claim goes.
#[test]
fn single_copies_go_elsewhere_when_the_claim_of_their_node_goes_though_other_tables_have_no_other_place() {
    let mut world = World::new(&silent_spec_with_one(3));
    world.settle();
    assert!(live(&world).iter().any(|shard| shard.target == [NodeId(3)]));
    delete_claim(&mut world, "shop-2");
    let mut replaced = None;
    for _ in 0..(10 * AFTER / LOOK_SECONDS) {
        replaced = replaced.or(step(&mut world));
        world.move_heard();
    }
    assert!(replaced.is_some(), "{:?}", world.plan());
}

/// ARCHITECTURE.md: no shard is bound for it anew, if there are other places.
#[test]
fn table_of_one_copy_is_not_made_on_a_node_whose_volume_was_given_up() {
    let mut world = settled(3, 3);
    fall_silent(&mut world, "shop-2");
    while step(&mut world).is_none() {}
    world.edit(&silent_spec_with_one(3));
    for _ in 0..4 {
        step(&mut world);
    }
    assert!(world.table("one").is_some(), "{:?}", world.plan());
    let lost: Vec<ShardId> =
        live(&world).iter().filter(|shard| shard.target == [NodeId(3)]).map(|shard| shard.descriptor.shard).collect();
    assert_eq!(lost, [], "made on the node that was replaced, alone");
}

/// Its claim and pod were told to go, and its host does not say that they have.
fn stuck_on_its_host(world: &mut World, slot: &str) {
    delete_claim(world, slot);
    *world.process(slot) = Process { ready: false, ending: true, down: Duration::from_secs(900), ..Process::STEADY };
    world.silent = Some(slot.to_owned());
}

/// "What was begun goes on, whatever it says by now."
#[test]
fn replacement_of_a_silent_node_that_was_begun_goes_on_though_silence_counts_for_nothing_any_more() {
    let mut world = at_rest();
    fall_silent(&mut world, "shop-1");
    while replaced_in(&world.plan()).is_empty() {
        step(&mut world);
    }
    // Kubernetes had told its pod to end long before; the operator died once the claim was deleted.
    stuck_on_its_host(&mut world, "shop-1");
    assert_eq!(replaced_in(&world.plan()), ["shop-1"], "{:?}", world.plan());
    world.resource.spec.replace_silent_after_seconds = None;
    let mut replaced = None;
    for _ in 0..(10 * AFTER / LOOK_SECONDS) {
        replaced = replaced.or(step(&mut world));
    }
    assert!(replaced.is_some(), "nothing is done or told: {:?}", world.plan());
}

/// A person has a node replaced, whose host dies before its pod has ended; then the annotation is taken out.
#[test]
fn replacement_that_a_person_began_goes_on_though_the_annotation_is_gone() {
    let mut world = World::new(&spec(4, 3, 0, HASH));
    world.settle();
    ask_for(&mut world, Some("shop-1"));
    step(&mut world);
    assert_eq!(replaced_in(&world.plan()), ["shop-1"]);
    stuck_on_its_host(&mut world, "shop-1");
    assert_eq!(replaced_in(&world.plan()), ["shop-1"], "as long as the annotation is there: {:?}", world.plan());
    ask_for(&mut world, None);
    let mut replaced = None;
    for _ in 0..(10 * AFTER / LOOK_SECONDS) {
        replaced = replaced.or(step(&mut world));
    }
    assert!(replaced.is_some(), "{:?}", world.plan());
}

/// One claim of three was deleted: the others' nodes are to run another image.
#[test]
fn nodes_whose_claims_stay_are_restarted_though_one_whose_claim_goes_cannot_be_replaced() {
    let mut world = World::new(&silent_spec_with_one(3));
    world.settle();
    delete_claim(&mut world, "shop-2");
    ["shop-0", "shop-1", "shop-2"].iter().for_each(|slot| world.process(slot).outdated = true);
    let mut done = Vec::new();
    for _ in 0..(10 * AFTER / LOOK_SECONDS) {
        done.extend(world.plan().steps.iter().filter_map(Step::takes_down).map(str::to_owned));
        step(&mut world);
        world.move_heard();
    }
    assert!(!done.is_empty(), "{:?}", world.plan());
}
