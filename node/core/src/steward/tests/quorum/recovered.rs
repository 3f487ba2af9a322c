//! After a recovery of the system shard a quorum shard goes on with the latest that its copies hold, once every node has told
//! what that is. What is gone for good is given up by a person, and never by itself.

use super::*;
use crate::ids::{Epoch, Generation, Incarnation};
use crate::message::{NodeReport, Report};
use crate::node::{NotYet, Removal};
use crate::quorum::layout::Layout;
use crate::steward::{Certification, LOST_SILENCE_MS, RecoveryPlan, decided};
use crate::system::SystemState;

pub(super) const FIRST_AFTER: Generation = Generation(1 << 32);

/// The system shard goes on from what it was.
pub(super) fn go_back(world: &mut World, to: SystemState) {
    world.state = to;
    let system = world.map().shards[&ShardId::SYSTEM].clone();
    let (from, generation) = (system.assigned[0], system.descriptor.generation);
    let recovery = Recovery { from, last: (1, 1), generation, given_up: Vec::new(), at_ms: 0 };
    world.state.recover_itself(&recovery, FormatLevel::QUORUM);
    let system = world.map().shards[&ShardId::SYSTEM].descriptor.clone();
    world.elect(ShardId::SYSTEM, system.members[0].replica.id);
    world.shards.insert(ShardId::SYSTEM, system);
    world.reports = crate::steward::Reports::new(world.now_ms);
}

/// A round that must decide nothing of the shard.
pub(super) fn nothing_is_decided(world: &mut World) {
    let before = record(world).clone();
    for _ in 0..4 {
        world.steward();
        world.lead();
    }
    assert_eq!(*record(world), before);
    assert!(before.is_unsure());
}

pub(super) fn hushed(world: &mut World, silent: &[u64]) {
    world.silent.extend(nodes(silent));
    world.now_ms += LOST_SILENCE_MS;
    world.report();
}

pub(super) fn plan(world: &World, lost: &[u64]) -> Result<RecoveryPlan, RecoveryRefusal> {
    recovery(&world.view(), SHARD, &nodes(lost))
}

/// A person has the shard go on without these nodes. Gives the nodes of the copies that are given up.
pub(super) fn give_up(world: &mut World, lost: &[u64]) -> Vec<u64> {
    let plan = plan(world, lost).unwrap();
    assert!(recoveries(&world.view(), &nodes(lost)).iter().any(|(shard, plan)| *shard == SHARD && plan.is_ok()));
    let command = decided(&world.view(), &plan, &nodes(lost), 7).unwrap();
    world.state.apply(&command).unwrap();
    plan.given_up.iter().for_each(|copy| lose(world, copy.id));
    plan.given_up.iter().map(|copy| copy.node.0).collect()
}

/// The copies have moved from node 3 to node 4, and the system shard does not know.
fn moved_unknown() -> World {
    let (mut world, _) = world(MAJORITIES);
    let before = world.state.clone();
    world.target(1, &[1, 2, 4]);
    world.settle(20);
    go_back(&mut world, before);
    world
}

#[test]
fn a_shard_goes_on_with_what_its_copies_hold_and_then_to_its_target() {
    let mut world = moved_unknown();
    let came = world.copies.values().find(|copy| copy.held > Generation(1)).unwrap().layout.clone().unwrap();
    world.steward();
    let taken_up = record(&world).layout().unwrap();
    assert_eq!(taken_up, Layout { generation: FIRST_AFTER, ..came });
    assert!(!record(&world).is_unsure() && record(&world).assigned_reached());
    world.lead();
    // The recovered target is the one of before.
    world.settle(20);
    settled_on(&world, &[1, 2, 3], (2, 2));
    assert!(record(&world).descriptor.generation > FIRST_AFTER);
}

#[test]
fn a_shard_of_which_nothing_has_changed_goes_on_as_it_is_and_no_generation_is_given_twice() {
    let (mut world, _) = world(MAJORITIES);
    let before = record(&world).layout().unwrap();
    let state = world.state.clone();
    go_back(&mut world, state);
    world.settle(20);
    assert_eq!(record(&world).layout().unwrap(), Layout { generation: FIRST_AFTER, ..before });
    // A second recovery, from what was before the shard had gone on.
    let again = world.state.clone();
    world.target(1, &[1, 2, 5]);
    world.settle(20);
    go_back(&mut world, again);
    world.steward();
    assert_eq!(record(&world).descriptor.generation, Generation(2 << 32));
    assert_eq!(record(&world).descriptor.members[2].replica.node, NodeId(5));
}

/// Both recoveries are the first one, as far as the records tell that they went on from.
#[test]
fn a_shard_goes_on_above_a_recovery_that_the_recovered_map_does_not_know_of() {
    let (mut world, _) = world(MAJORITIES);
    let before = world.state.clone();
    go_back(&mut world, before.clone());
    world.target(1, &[1, 2, 4]);
    world.settle(20);
    let held = record(&world).layout().unwrap();
    assert!(held.generation > FIRST_AFTER);
    go_back(&mut world, before);
    assert_eq!(world.map().epoch.recoveries(), 1);
    world.steward();
    assert_eq!(record(&world).layout().unwrap(), Layout { generation: Generation(2 << 32), ..held.clone() });
    // Nor is an id given twice that the other recovery has given.
    world.lead();
    world.target(1, &[1, 2, 5]);
    world.settle(20);
    let came = record(&world).assigned.iter().find(|copy| copy.node == NodeId(5)).unwrap().id;
    assert!(held.homes.keys().all(|id| came > *id), "{came} {held:?}");
}

#[test]
fn at_each_stage_a_change_goes_on_from_the_latest_that_any_copy_holds() {
    for stage in [Stage::WriteBoth, Stage::ReadNew, Stage::NewOnly] {
        let (mut world, _) = world(MAJORITIES);
        world.target(1, &[1, 2, 4]);
        let before = world.state.clone();
        let mut lagging = world.copies.clone();
        while super::stage(&world) != Some(stage) {
            lagging = world.copies.clone();
            world.steward();
            world.lead();
        }
        // A single copy has heard of the last step.
        let last = record(&world).layout().unwrap();
        let one = record(&world).assigned[1].id;
        lagging.insert(one, world.copies[&one].clone());
        world.copies = lagging;
        go_back(&mut world, before);
        world.steward();
        let taken_up = record(&world).layout().unwrap();
        assert_eq!((taken_up.change, taken_up.current), (last.change, last.current), "{stage:?}");
        assert_eq!(taken_up.generation, FIRST_AFTER);
        world.settle(20);
        settled_on(&world, &[1, 2, 4], (2, 2));
    }
}

/// An entry of the survivor's log that was not committed: what was committed in its place is what copies hold.
#[test]
fn of_two_layouts_of_one_generation_the_one_that_a_copy_holds_counts() {
    let (mut world, _) = world(MAJORITIES);
    let (mut uncommitted, first) = (world.state.clone(), world.copies.clone());
    world.target(1, &[1, 2, 5]);
    go_to(&mut world, Some(Stage::WriteBoth));
    world.lead();
    let held = record(&world).layout().unwrap();
    std::mem::swap(&mut world.state, &mut uncommitted);
    let copies = std::mem::replace(&mut world.copies, first);
    world.target(1, &[1, 2, 4]);
    world.report();
    // Steps of the survivor's log, taken by nobody.
    let assign = crate::steward::assign(&world.view()).pop().unwrap();
    world.state.apply(&assign).unwrap();
    let based_on = record(&world).descriptor.generation;
    world.state.apply(&SystemCommand::Step { shard: SHARD, based_on, step: StepKind::Begin }).unwrap();
    let recorded = record(&world).layout().unwrap();
    assert!(recorded.generation == held.generation && recorded != held);
    assert_eq!(recorded.members(), held.members(), "the copy that comes has one id, and another node");
    world.copies = copies;
    let state = world.state.clone();
    go_back(&mut world, state);
    world.steward();
    assert_eq!(record(&world).layout().unwrap(), Layout { generation: FIRST_AFTER, ..held });
}

#[test]
fn a_later_record_than_any_copy_holds_is_gone_on_with() {
    let (mut world, _) = world(MAJORITIES);
    world.target(1, &[1, 2, 4]);
    let copies = world.copies.clone();
    go_to(&mut world, Some(Stage::WriteBoth));
    world.copies = copies;
    let state = world.state.clone();
    go_back(&mut world, state);
    world.steward();
    assert_eq!(stage(&world), Some(Stage::WriteBoth), "no copy that comes was made yet");
    world.settle(20);
    settled_on(&world, &[1, 2, 4], (2, 2));
}

#[test]
fn nothing_is_decided_before_every_node_has_told_what_it_has_since_it_knows_of_the_recovery() {
    let mut world = moved_unknown();
    // It has the latest; and one that has nothing of the shard may have had.
    for silent in [4, 6] {
        world.silent.insert(NodeId(silent));
        nothing_is_decided(&mut world);
        world.silent.clear();
        world.reports = crate::steward::Reports::new(world.now_ms);
    }
    let unheard = moved_unknown_with(&mut world, |report| Report {
        node: NodeReport { map_epoch: Epoch(9), ..report.node.clone() },
        ..report
    });
    assert_eq!(unheard, Err(RecoveryRefusal::Untold { shard: SHARD, node: NodeId(4) }));
    let part = moved_unknown_with(&mut world, |mut report| {
        report.quorum.is_all = false;
        report
    });
    assert_eq!(part, Err(RecoveryRefusal::Untold { shard: SHARD, node: NodeId(4) }));
    let on_its_way = moved_unknown_with(&mut world, |mut report| {
        report.quorum.changed[0].layout = None;
        report
    });
    assert_eq!(on_its_way, Err(RecoveryRefusal::Untold { shard: SHARD, node: NodeId(4) }));
    let of_another_recovery = moved_unknown_with(&mut world, |report| {
        let map_epoch = Epoch(report.node.map_epoch.0 + 1);
        Report { node: NodeReport { map_epoch, ..report.node.clone() }, ..report }
    });
    assert_eq!(of_another_recovery, Err(RecoveryRefusal::Untold { shard: SHARD, node: NodeId(4) }));
    let earlier_start = moved_unknown_with(&mut world, |report| report);
    assert!(earlier_start.is_ok());
}

/// What is said of the shard if node 4 reports so.
fn moved_unknown_with(
    world: &mut World,
    change: impl FnOnce(Report) -> Report,
) -> Result<RecoveryPlan, RecoveryRefusal> {
    world.report();
    let report = change(world.report_of(NodeId(4)));
    assert!(world.reports.insert(report, world.now_ms));
    assert_eq!(crate::steward::adoptions(&world.view()).is_empty(), plan(world, &[]).is_err());
    plan(world, &[])
}

/// Copies moved away while node 3 was silent. It is all that is left of the old ones, and knows nothing of the new ones.
fn stale_remainder() -> World {
    let (mut world, _) = world(MAJORITIES);
    let before = world.state.clone();
    let third = record(&world).assigned[2].id;
    let stale = world.copies[&third].clone();
    world.silent.insert(NodeId(3));
    world.now_ms += 60_000;
    world.target(1, &[4, 5, 6]);
    world.settle(30);
    world.silent.clear();
    world.gone.remove(&third);
    world.copies.insert(third, stale);
    go_back(&mut world, before);
    world
}

#[test]
fn a_stale_remainder_is_not_rebuilt_while_the_newer_copies_may_live() {
    let mut world = stale_remainder();
    hushed(&mut world, &[4, 5, 6]);
    nothing_is_decided(&mut world);
    assert_eq!(plan(&world, &[4, 5]), Err(RecoveryRefusal::Unseen { shard: SHARD, node: NodeId(6) }));
    world.silent.clear();
    world.steward();
    world.lead();
    let homes: Vec<u64> = record(&world).descriptor.members.iter().map(|m| m.replica.node.0).collect();
    assert_eq!(homes, [4, 5, 6], "they are the shard");
}

#[test]
fn a_person_gives_newer_copies_up_and_is_told_what_else_is_gone() {
    let mut world = stale_remainder();
    hushed(&mut world, &[4, 5, 6]);
    assert_eq!(plan(&world, &[4, 5, 6, 1]), Err(RecoveryRefusal::Alive { node: NodeId(1) }));
    let told = plan(&world, &[4, 5, 6]).unwrap();
    assert_eq!((told.survivor.node, told.copies.len()), (NodeId(3), 1));
    assert_eq!(give_up(&mut world, &[4, 5, 6]), [1, 2], "the newer layout has ended them");
    world.settle(30);
    settled_on(&world, &[1, 2, 3], (2, 2));
}

#[test]
fn what_has_ended_tells_of_a_layout_that_nobody_holds_any_more() {
    // The nodes of the newer copies are heard, and have lost all that they had.
    let mut world = stale_remainder();
    let newer: Vec<ReplicaId> = world.copies.iter().filter(|(_, copy)| copy.held.0 > 1).map(|(id, _)| *id).collect();
    newer.iter().for_each(|copy| lose(&mut world, *copy));
    nothing_is_decided(&mut world);
    assert_eq!(give_up(&mut world, &[]), [1, 2]);
    world.settle(30);
    settled_on(&world, &[1, 2, 3], (2, 2));
}

#[test]
fn a_copy_on_a_node_that_the_recovered_map_does_not_know_is_given_up_by_name_only() {
    let mut world = moved_unknown();
    let stranger = NodeId(9);
    for copy in world.copies.values_mut() {
        let layout = copy.layout.as_mut().unwrap();
        layout.homes.values_mut().filter(|node| **node == NodeId(4)).for_each(|node| *node = stranger);
    }
    nothing_is_decided(&mut world);
    assert_eq!(plan(&world, &[]), Err(RecoveryRefusal::Unseen { shard: SHARD, node: stranger }));
    world.now_ms += LOST_SILENCE_MS;
    world.report();
    assert_eq!(give_up(&mut world, &[9]), [9]);
    world.settle(30);
    settled_on(&world, &[1, 2, 3], (2, 2));
}

#[test]
fn two_layouts_of_one_generation_that_copies_hold_are_left_to_a_person() {
    let mut world = moved_unknown();
    let copy = world.copies.values_mut().next().unwrap();
    let layout = copy.layout.as_mut().unwrap();
    layout.current.write = 1;
    nothing_is_decided(&mut world);
    assert_eq!(plan(&world, &[]), Err(RecoveryRefusal::Unalike { shard: SHARD }));
}

#[test]
fn no_node_is_certified_while_a_record_is_unsure() {
    let mut world = moved_unknown();
    world.admin(AdminChange::Drain(NodeId(6))).unwrap();
    hushed(&mut world, &[5]);
    let (certification, _) = Certification::start(&world.view(), NodeId(6), Incarnation(0), 7).unwrap();
    let verdict = certification.verdict(world.map(), world.now_ms + crate::steward::CERTIFICATION_MS);
    assert_eq!(verdict, Some(Removal::NotYet(vec![NotYet::Changing { shard: SHARD }])));
}

/// With W or R of one a write may be on the lost copy alone, or a reader on it: only a person says that it is gone.
#[test]
fn a_copy_on_a_node_that_is_gone_for_good_is_given_up_by_a_person_and_built_anew_elsewhere() {
    for quorums in [(1, 1), (1, 3), (3, 1), (2, 2)] {
        let (mut world, _) = world((quorums.0, quorums.1));
        world.target(1, &[1, 2, 4]);
        assert_eq!(plan(&world, &[]), Err(RecoveryRefusal::Quorum { shard: SHARD }));
        world.report();
        assert_eq!(plan(&world, &[3]), Err(RecoveryRefusal::Alive { node: NodeId(3) }));
        hushed(&mut world, &[3]);
        if quorums != MAJORITIES {
            stays(&mut world, 4);
        }
        assert_eq!(recoveries(&world.view(), &[]), []);
        assert_eq!(give_up(&mut world, &[3]), [3]);
        assert_eq!(plan(&world, &[3]), Err(RecoveryRefusal::Quorum { shard: SHARD }), "it is given up already");
        assert_eq!(world.map().recoveries[&SHARD].given_up.len(), 1);
        world.settle(30);
        settled_on(&world, &[1, 2, 4], (quorums.0 as usize, quorums.1 as usize));
    }
}

#[test]
fn a_change_that_waits_for_a_node_that_is_gone_ends_once_it_is_given_up() {
    let (mut world, _) = world((1, 1));
    world.target(1, &[1, 2, 4]);
    go_to(&mut world, Some(Stage::WriteBoth));
    hushed(&mut world, &[3]);
    stays(&mut world, 4);
    assert_eq!(give_up(&mut world, &[3]), [3]);
    world.settle(30);
    settled_on(&world, &[1, 2, 4], (1, 1));
}

/// Nobody would ever be told to do anything but to ask again.
#[test]
fn a_node_that_goes_on_to_say_what_cannot_be_is_named() {
    let mut world = moved_unknown();
    let wrong = world.copies.values_mut().next().unwrap();
    let truth = wrong.clone();
    let layout = wrong.layout.as_mut().unwrap();
    layout.current.write = 9;
    let (id, node) = (truth.replica, layout.homes[&truth.replica]);
    world.steward();
    assert_eq!(plan(&world, &[]), Err(RecoveryRefusal::Untold { shard: SHARD, node }), "it may be a moment behind");
    (0..=LOST_SILENCE_MS / 500).for_each(|_| drop(world.steward()));
    let refusal = plan(&world, &[]).unwrap_err();
    assert_eq!(refusal, RecoveryRefusal::Disbelieved { shard: SHARD, node });
    assert!(refusal.to_string().contains("name it as lost"), "{refusal}");
    assert!(recoveries(&world.view(), &[]).iter().any(|(shard, told)| *shard == SHARD && told.is_err()));
    world.copies.insert(id, truth);
    world.report();
    assert!(plan(&world, &[]).is_ok());
}

#[test]
fn the_last_copies_are_not_given_up() {
    let (mut world, _) = world(MAJORITIES);
    hushed(&mut world, &[1, 2, 3]);
    assert_eq!(plan(&world, &[1, 2, 3]), Err(RecoveryRefusal::NothingLeft { shard: SHARD }));
    assert_eq!(give_up(&mut world, &[1, 2]), [1, 2]);
    world.now_ms += 500;
    assert_eq!(plan(&world, &[3]), Err(RecoveryRefusal::NothingLeft { shard: SHARD }));
}

#[cfg(feature = "planted")]
#[test]
fn bugs_of_recoveries_are_noticed() {
    use crate::planted::{Planted, plant};
    let noticed = |bug, test: fn()| {
        plant(Some(bug));
        let caught = std::panic::catch_unwind(test).is_err();
        plant(None);
        assert!(caught, "{bug:?}");
    };
    noticed(Planted::UnheardNotAwaited, a_stale_remainder_is_not_rebuilt_while_the_newer_copies_may_live);
    noticed(Planted::HeldLayoutIgnored, a_shard_goes_on_with_what_its_copies_hold_and_then_to_its_target);
    noticed(Planted::RecordBeforeHeld, of_two_layouts_of_one_generation_the_one_that_a_copy_holds_counts);
    noticed(Planted::CopyAheadIgnored, a_stale_remainder_is_not_rebuilt_while_the_newer_copies_may_live);
}
