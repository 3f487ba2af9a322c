//! Copies on their way to nodes whose volumes are given up. Whom the steward does not hear a leader may hear.

use std::sync::Arc;
use std::time::Duration;

use skerry_core::ids::ReplicaId;
use skerry_core::map::{Member, Replica, Role, ShardRecord};

use super::replace::{AFTER, at_rest, fall_silent, look, seconds_until_replaced};
use super::*;
use crate::observed::Process;
use crate::planted::plant;

fn is_replaced(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| matches!(step, Step::ReplaceVolume { .. }))
}

fn decided(world: &World, seen: &Observed, bug: Option<Planted>) -> Plan {
    plant(bug);
    let plan = decide(&world.resource, &Environment::default(), seen).unwrap().plan;
    plant(None);
    plan
}

/// What is seen when the node of this slot is due to be replaced.
fn silent_and_due(mut world: World, slot: &str) -> (World, Observed) {
    fall_silent(&mut world, slot);
    while !is_replaced(&world.plan()) {
        look(&mut world);
        world.clock += 15;
    }
    let seen = world.observed();
    (world, seen)
}

fn known(seen: &mut Observed) -> &mut Status {
    let Seen::Known(status) = &mut seen.database else { panic!("a database that answers") };
    status
}

/// Changes a shard, as the steward and the shard's leader know it.
fn change(seen: &mut Observed, shard: ShardId, change: impl FnOnce(&mut ShardRecord)) {
    let status = known(seen);
    let record = Arc::make_mut(&mut status.map).shards.get_mut(&shard).unwrap();
    change(record);
    let (report, _) = status.shards.iter_mut().find(|(report, _)| report.descriptor.shard == shard).unwrap();
    report.descriptor = record.descriptor.clone();
}

/// A shard of which this node has no copy.
fn elsewhere(seen: &mut Observed, node: NodeId) -> ShardRecord {
    let mut shards = known(seen).map.live_shards();
    shards.find(|shard| shard.descriptor.shard != ShardId::SYSTEM && !shard.names(node)).unwrap().clone()
}

/// Leaves a shard so many copies, one of them its leader's. Returns what it is then.
fn with_copies(seen: &mut Observed, shard: ShardId, copies: usize) -> ShardRecord {
    let reports = &known(seen).shards;
    let leader = reports.iter().find(|(report, _)| report.descriptor.shard == shard).unwrap().0.leader;
    change(seen, shard, |record| {
        record.descriptor.members.sort_by_key(|member| member.replica.id != leader);
        record.descriptor.members.truncate(copies);
        record.assigned = record.descriptor.members.iter().map(|member| member.replica).collect();
        record.target = record.assigned.iter().map(|copy| copy.node).collect();
    });
    known(seen).map.shards[&shard].clone()
}

/// The nodes that a plan sets a shard's target to.
fn target(plan: &Plan, shard: ShardId) -> Option<BTreeSet<NodeId>> {
    let mut targets = plan.steps.iter().filter_map(|step| match step {
        Step::Change(AdminChange::SetTargets(targets)) => Some(targets),
        _ => None,
    });
    targets.find_map(|targets| targets.iter().find(|(of, _)| *of == shard)).map(|(_, nodes)| set(nodes))
}

fn set(nodes: &[NodeId]) -> BTreeSet<NodeId> {
    nodes.iter().copied().collect()
}

/// It was replaced while a leader, which heard it, brought the only copy of a shard over to it.
#[test]
fn silent_node_is_not_replaced_while_a_copy_is_on_its_way_to_it_and_that_is_turned_back() {
    let (world, mut seen) = silent_and_due(at_rest(), "shop-3");
    let node = NodeId(4);
    let shard = elsewhere(&mut seen, node).descriptor.shard;
    let before = with_copies(&mut seen, shard, 2);
    let coming = Replica { node, id: ReplicaId(9_999) };
    change(&mut seen, shard, |record| {
        (*record.target.last_mut().unwrap(), *record.assigned.last_mut().unwrap()) = (node, coming);
        record.descriptor.members.push(Member { replica: coming, role: Role::Learner });
    });
    let plan = decided(&world, &seen, None);
    assert_eq!((is_replaced(&plan), target(&plan, shard)), (false, Some(set(&before.target))), "{plan:?}");
    assert!(plan.waits.iter().any(|wait| wait.to_string().contains("are on the way to it")), "{plan:?}");
    assert!(is_replaced(&decided(&world, &seen, Some(Planted::SilentTakesNoCopies))), "the bug is noticed");
    // Step by step, none of which needs the node.
    let steps: [fn(&mut ShardRecord, &ShardRecord); 3] = [
        |record, before| record.target.clone_from(&before.target),
        |record, before| record.assigned.clone_from(&before.assigned),
        |record, before| record.descriptor.members.clone_from(&before.descriptor.members),
    ];
    for step in steps {
        let plan = decided(&world, &seen, None);
        assert!(!is_replaced(&plan) && target(&plan, shard).is_none_or(|nodes| !nodes.contains(&node)), "{plan:?}");
        change(&mut seen, shard, |record| step(record, &before));
    }
    assert!(is_replaced(&decided(&world, &seen, None)));
}

/// Of three copies two are left, whatever becomes of the one that comes.
#[test]
fn silent_node_is_replaced_though_a_copy_is_on_its_way_to_it_without_which_the_shard_goes_on() {
    let (world, mut seen) = silent_and_due(at_rest(), "shop-3");
    let node = NodeId(4);
    let shard = elsewhere(&mut seen, node).descriptor.shard;
    let coming = Replica { node, id: ReplicaId(9_999) };
    change(&mut seen, shard, |record| {
        (*record.target.last_mut().unwrap(), *record.assigned.last_mut().unwrap()) = (node, coming);
        record.descriptor.members.push(Member { replica: coming, role: Role::Learner });
    });
    assert!(is_replaced(&decided(&world, &seen, None)));
}

/// A node that died while it got its first copies would never have been replaced.
#[test]
fn copies_that_have_no_other_place_are_fewer_until_a_dead_node_is_replaced() {
    let (world, mut seen) = silent_and_due(at_rest(), "shop-3");
    let node = NodeId(4);
    let shard = elsewhere(&mut seen, node).descriptor.shard;
    let before = with_copies(&mut seen, shard, 1);
    let coming = Replica { node, id: ReplicaId(9_999) };
    change(&mut seen, shard, |record| {
        record.target.push(node);
        record.assigned.push(coming);
        record.descriptor.members.push(Member { replica: coming, role: Role::Learner });
    });
    let nodes = Arc::make_mut(&mut known(&mut seen).map).nodes.values_mut();
    let others = nodes.filter(|record| record.id != node && !before.target.contains(&record.id));
    others.for_each(|record| record.state = NodeState::Draining);
    let plan = decided(&world, &seen, None);
    assert_eq!((is_replaced(&plan), target(&plan, shard)), (false, Some(set(&before.target))), "{plan:?}");
    change(&mut seen, shard, |record| record.target.clone_from(&before.target));
    let plan = decided(&world, &seen, None);
    assert!(!is_replaced(&plan) && target(&plan, shard).is_none(), "it is not bound for it again: {plan:?}");
    change(&mut seen, shard, |record| *record = before.clone());
    assert!(is_replaced(&decided(&world, &seen, None)));
}

#[test]
fn copy_that_has_no_place_but_a_silent_node_is_given_up_by_a_person_only() {
    let (mut world, mut seen) = silent_and_due(at_rest(), "shop-3");
    let node = NodeId(4);
    let shard = elsewhere(&mut seen, node).descriptor.shard;
    change(&mut seen, shard, |record| record.target = vec![node]);
    let nodes = Arc::make_mut(&mut known(&mut seen).map).nodes.values_mut();
    nodes.filter(|record| record.id != node).for_each(|record| record.state = NodeState::Draining);
    let plan = decided(&world, &seen, None);
    let [Wait::LossToAccept { slot, shards, .. }] = &plan.waits[..] else { panic!("{plan:?}") };
    assert!(slot == "shop-3" && *shards == [shard] && !is_replaced(&plan), "{plan:?}");
    let accepted = [(skerry_api::ACCEPT_LOSS.to_owned(), format!("{shard}/{node}/i0"))];
    world.resource.metadata.annotations = Some(accepted.into());
    assert!(is_replaced(&decided(&world, &seen, None)));
}

/// Its leader is not heard either: it may have brought the copy over to the silent node, and have left.
#[test]
fn copy_on_its_way_to_a_silent_node_from_a_leader_that_is_silent_too_is_given_up_by_a_person_only() {
    let (world, mut seen) = silent_and_due(at_rest(), "shop-3");
    let node = NodeId(4);
    let shard = elsewhere(&mut seen, node).descriptor.shard;
    change(&mut seen, shard, |record| *record.assigned.last_mut().unwrap() = Replica { node, id: ReplicaId(9_999) });
    known(&mut seen).shards.retain(|(report, _)| report.descriptor.shard != shard);
    let plan = decided(&world, &seen, None);
    let is_told = |wait: &Wait| matches!(wait, Wait::LossToAccept { shards, .. } if *shards == [shard]);
    assert!(plan.waits.iter().any(is_told) && !is_replaced(&plan), "{plan:?}");
    assert!(is_replaced(&decided(&world, &seen, Some(Planted::SilentTakesNoCopies))), "the bug is noticed");
}

/// Its claim went with the process, which was ended to have it start as the spec says now.
#[test]
fn node_whose_claim_goes_is_not_restarted_while_a_copy_is_on_its_way_to_it() {
    let world = at_rest();
    let mut seen = world.observed();
    let node = NodeId(4);
    let shard = elsewhere(&mut seen, node).descriptor.shard;
    with_copies(&mut seen, shard, 2);
    let coming = Replica { node, id: ReplicaId(9_999) };
    change(&mut seen, shard, |record| {
        record.descriptor.members.push(Member { replica: coming, role: Role::Learner });
    });
    let Seen::Known(slots) = &mut seen.slots else { panic!("slots that are known") };
    let slot = slots.get_mut("shop-3").unwrap();
    (slot.volume.set_aside, slot.volume.leaving) = (true, true);
    slot.process = Process { ready: false, outdated: true, down: Duration::from_secs(400), ..Process::STEADY };
    let restarted = Step::RestartNode { slot: "shop-3".into() };
    known(&mut seen).nodes.retain(|(report, _)| report.node != node);
    let plan = decided(&world, &seen, None);
    assert!(!plan.steps.contains(&restarted) && !is_replaced(&plan), "{plan:?}");
    let plan = decided(&world, &seen, Some(Planted::RestartedWithoutVolume));
    assert!(plan.steps.contains(&restarted), "the bug is noticed: {plan:?}");
}

/// What of the database is bound for a node that was replaced, once its silent host is back and runs it yet; before and after
/// a table is made.
fn bound_for_a_node_that_was_replaced(bug: Option<Planted>) -> [BTreeSet<ShardId>; 2] {
    let mut world = at_rest();
    fall_silent(&mut world, "shop-3");
    assert_eq!(seconds_until_replaced(&mut world), Some(AFTER));
    world.silent = None;
    let bound = |world: &World| -> BTreeSet<ShardId> {
        let bound = world.map().live_shards().filter(|shard| shard.target.contains(&NodeId(4)));
        bound.map(|shard| shard.descriptor.shard).collect()
    };
    let before = bound(&world);
    let silent = format!(r#", "replaceSilentAfterSeconds": {AFTER}}}"#);
    let two = spec(4, 3, 0, &format!("{HASH}, {RANGE}"));
    world.edit(&format!("{}{silent}", &two[..two.len() - 1]));
    plant(bug);
    for _ in 0..4 {
        look(&mut world);
        world.clock += 15;
    }
    plant(None);
    assert!(world.table("customers").is_some(), "{:?}", world.plan());
    [before, bound(&world)]
}

/// It ended with them as soon as its host heard that its pod was gone.
#[test]
fn node_that_was_replaced_and_is_heard_once_more_gets_no_more_copies() {
    let [before, after] = bound_for_a_node_that_was_replaced(None);
    assert_eq!(before, after);
    let [before, after] = bound_for_a_node_that_was_replaced(Some(Planted::GivenUpGetsCopies));
    assert_ne!(before, after, "the bug is noticed");
}

/// The nodes of the shards of a table that is made while the claim of the first node goes, and a majority needs that node.
fn made_meanwhile(bug: Option<Planted>) -> BTreeSet<NodeId> {
    let mut world = at_rest();
    *world.process("shop-1") = Process { ready: false, ..Process::STEADY };
    world.edit(&spec(4, 3, 0, &format!("{HASH}, {RANGE}")));
    let mut seen = world.observed();
    let Seen::Known(slots) = &mut seen.slots else { panic!("slots that are known") };
    let volume = &mut slots.get_mut("shop-0").unwrap().volume;
    (volume.set_aside, volume.leaving) = (true, true);
    let plan = decided(&world, &seen, bug);
    let made = plan.steps.iter().find_map(|step| match step {
        Step::Change(AdminChange::CreateTable { shards, .. }) => Some(shards),
        _ => None,
    });
    made.unwrap_or_else(|| panic!("{plan:?}")).iter().flat_map(|shard| shard.nodes.clone()).collect()
}

#[test]
fn new_tables_are_not_made_on_nodes_whose_claims_go() {
    assert_eq!(made_meanwhile(None), [2, 3, 4].map(NodeId).into());
    assert!(made_meanwhile(Some(Planted::GivenUpGetsCopies)).contains(&NodeId(1)), "the bug is noticed");
}
