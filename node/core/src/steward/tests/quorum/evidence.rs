//! After a recovery of the system shard no single node's word ends copies, and nothing that is intact is wiped for what is not.

use std::collections::BTreeMap;

use super::recovered::{FIRST_AFTER, give_up, go_back, hushed, nothing_is_decided, plan};
use super::*;
use crate::ids::Generation;
use crate::message::QuorumReport;
use crate::quorum::copies::Copies;
use crate::quorum::layout::Layout;
use crate::steward::decided;

/// An id that was never given, and is not above those that may have been.
const FORGED: ReplicaId = ReplicaId(5_000);

/// What a node tells that wants the shard for itself.
fn forged(world: &World, replica: ReplicaId, node: u64, current: Copies) -> QuorumReport {
    let held = Generation(u64::from(u32::MAX));
    let mut homes: BTreeMap<ReplicaId, NodeId> = current.members.iter().map(|id| (*id, NodeId(node))).collect();
    for member in &record(world).descriptor.members {
        homes.entry(member.replica.id).and_modify(|home| *home = member.replica.node);
    }
    let layout = Some(Layout { homes, ..Layout::settled(held, current) });
    let known = world.copies.values().next().unwrap().clone();
    QuorumReport { replica, held, layout, copied: Vec::new(), ..known }
}

fn homes(world: &World) -> Vec<u64> {
    record(world).descriptor.members.iter().map(|member| member.replica.node.0).collect()
}

#[test]
fn one_node_ends_no_copies_by_its_word() {
    // Where R is all of the copies, one of the old set is enough to end a change: it may be the one that lies.
    for (quorums, liar) in [(MAJORITIES, 6), ((1, 1), 6), ((1, 3), 6), ((1, 3), 3), ((3, 1), 3)] {
        let (mut world, _) = world(quorums);
        let state = world.state.clone();
        let own = record(&world).assigned.iter().find(|copy| copy.node == NodeId(liar)).map(|copy| copy.id);
        let replica = own.unwrap_or(FORGED);
        let told = forged(&world, replica, liar, Copies { members: vec![replica], write: 1, read: 1 });
        world.copies.insert(replica, told);
        go_back(&mut world, state);
        nothing_is_decided(&mut world);
        // A person is told what that would end.
        let told = plan(&world, &[]).unwrap();
        assert_eq!(told.survivor.node, NodeId(liar), "{quorums:?}");
        let ended: Vec<u64> = told.given_up.iter().map(|copy| copy.node.0).filter(|node| *node != liar).collect();
        let others: Vec<u64> = [1, 2, 3].into_iter().filter(|node| *node != liar).collect();
        assert_eq!(ended, others, "{quorums:?}");
        // And leaves the node out instead.
        hushed(&mut world, &[liar]);
        let lost = nodes(&[liar]);
        let told = plan(&world, &[liar]).unwrap();
        let command = decided(&world.view(), &told, &lost, 7).unwrap();
        world.state.apply(&command).unwrap();
        assert_eq!(homes(&world), [1, 2, 3]);
        assert_eq!(record(&world).descriptor.generation, FIRST_AFTER);
    }
}

/// Readers would ask it alone, and it has nothing.
#[test]
fn one_node_makes_itself_no_copy_by_its_word() {
    let (mut world, _) = world(MAJORITIES);
    let state = world.state.clone();
    let mut members = record(&world).layout().unwrap().current.members;
    members.push(FORGED);
    let told = forged(&world, FORGED, 6, Copies { members, write: 1, read: 1 });
    world.copies.insert(FORGED, told);
    go_back(&mut world, state);
    nothing_is_decided(&mut world);
    assert_eq!(plan(&world, &[]).map(|plan| plan.given_up), Ok(Vec::new()));
}

/// Nothing was copied yet, and one of the new copies says that the change is over, or that it is read from.
#[test]
fn one_node_turns_no_reads_by_its_word() {
    for stage in [Some(Stage::ReadNew), Some(Stage::NewOnly), None] {
        let (mut world, _) = world(MAJORITIES);
        world.target(1, &[1, 2, 4]);
        go_to(&mut world, Some(Stage::WriteBoth));
        world.lead();
        world.copies.values_mut().for_each(|copy| copy.copied.clear());
        let (came, state) = (record(&world).assigned[2].id, world.state.clone());
        let copy = world.copies.get_mut(&came).unwrap();
        let mut layout = copy.layout.clone().unwrap();
        layout.generation = Generation(layout.generation.0 + 3);
        let change = layout.change.take().unwrap();
        match stage {
            Some(stage) => {
                layout.change = Some(crate::quorum::layout::Change { stage, reads_since: layout.generation, ..change });
            }
            None => (layout.current, layout.homes) = (change.next.clone(), without_third(&layout)),
        }
        copy.held = layout.generation;
        copy.layout = Some(layout);
        go_back(&mut world, state);
        nothing_is_decided(&mut world);
        assert!(plan(&world, &[]).is_ok(), "{stage:?}: a person may say so");
    }
}

fn without_third(layout: &Layout) -> BTreeMap<ReplicaId, NodeId> {
    layout.homes.clone().into_iter().filter(|(_, node)| *node != NodeId(3)).collect()
}

/// A single copy has heard that the change is over: that it was to be, the others tell.
#[test]
fn what_follows_from_what_others_hold_is_more_than_one_word() {
    let (mut world, _) = world(MAJORITIES);
    let before = world.state.clone();
    world.target(1, &[1, 2, 4]);
    go_to(&mut world, Some(Stage::NewOnly));
    world.lead();
    let lagging = world.copies.clone();
    go_to(&mut world, None);
    world.lead();
    let (last, came) = (record(&world).layout().unwrap(), record(&world).assigned[2].id);
    let told = world.copies[&came].clone();
    world.copies = lagging;
    world.gone.clear();
    world.copies.insert(came, told);
    go_back(&mut world, before);
    world.steward();
    assert_eq!(record(&world).layout().unwrap(), Layout { generation: FIRST_AFTER, ..last });
}

#[test]
fn a_shard_of_which_no_copy_was_made_begins_anew() {
    let (mut world, _) = world(MAJORITIES);
    let state = world.state.clone();
    let before: Vec<ReplicaId> = record(&world).assigned.iter().map(|copy| copy.id).collect();
    world.copies.clear();
    go_back(&mut world, state);
    world.steward();
    assert!(!record(&world).is_unsure() && record(&world).descriptor.generation == Generation(1));
    assert!(record(&world).is_settled() && record(&world).assigned.iter().all(|copy| !before.contains(&copy.id)));
    world.lead();
    assert_eq!(world.copies.len(), 3);
    world.target(1, &[1, 2, 4]);
    world.settle(20);
    settled_on(&world, &[1, 2, 4], (2, 2));
}

/// The only copy that can have been made is on a node that is gone for good.
#[test]
fn a_shard_of_which_no_copy_is_left_that_was_made_begins_anew_by_a_persons_word() {
    let (mut world, _) = world(MAJORITIES);
    let state = world.state.clone();
    let before = record(&world).assigned.clone();
    world.copies.clear();
    go_back(&mut world, state);
    hushed(&mut world, &[3]);
    nothing_is_decided(&mut world);
    assert_eq!(plan(&world, &[]), Err(RecoveryRefusal::Unseen { shard: SHARD, node: NodeId(3) }));
    let planned = plan(&world, &[3]).expect("nothing was written by those that are left");
    assert_eq!((planned.given_up, planned.copies), (vec![before[2]], Vec::new()));
    assert_eq!(give_up(&mut world, &[3]), [3]);
    assert!(!record(&world).is_unsure() && record(&world).assigned.iter().all(|copy| !before.contains(copy)));
    world.lead();
    // The others are made, and another one in place of the third.
    world.target(1, &[1, 2, 4]);
    world.settle(20);
    settled_on(&world, &[1, 2, 4], (2, 2));
}

#[test]
fn a_shard_whose_copies_are_all_gone_is_not_taken_for_one_that_was_never_made() {
    for gone in [1, 3] {
        let (mut world, _) = world(MAJORITIES);
        let state = world.state.clone();
        let all: Vec<ReplicaId> = record(&world).assigned.iter().map(|copy| copy.id).collect();
        world.copies.clear();
        all[..gone].iter().for_each(|copy| lose(&mut world, *copy));
        go_back(&mut world, state);
        nothing_is_decided(&mut world);
        assert_eq!(plan(&world, &[]), Err(RecoveryRefusal::NothingLeft { shard: SHARD }));
    }
}

/// A shard whose writes go to nodes 4 to 6 alone, and the state before it was to move there.
fn moved_away() -> (World, crate::system::SystemState, Vec<ReplicaId>) {
    let (mut world, _) = world(MAJORITIES);
    let before = world.state.clone();
    world.target(1, &[4, 5, 6]);
    go_to(&mut world, Some(Stage::NewOnly));
    world.lead();
    let new = record(&world).layout().unwrap().change.unwrap().next.members;
    (world, before, new)
}

/// A change that nobody else tells of seems to have begun, and by it those would be over that alone have the last writes.
#[test]
fn one_node_begins_no_change_in_place_of_another_by_its_word() {
    let (mut world, before, new) = moved_away();
    let current = record(&world).layout().unwrap().current;
    let mut told = forged(&world, FORGED, 6, current);
    let mut layout = told.layout.take().unwrap();
    let next = Copies { members: vec![FORGED], write: 1, read: 1 };
    let (began, reads_since) = (layout.generation, layout.generation);
    layout.homes.insert(FORGED, NodeId(6));
    layout.change = Some(crate::quorum::layout::Change { next, stage: Stage::WriteBoth, began, reads_since });
    told.layout = Some(layout);
    world.copies.insert(FORGED, told);
    go_back(&mut world, before);
    nothing_is_decided(&mut world);
    let given_up: Vec<ReplicaId> = plan(&world, &[]).unwrap().given_up.iter().map(|copy| copy.id).collect();
    assert_eq!(given_up, new[..2], "a person is told of those on other nodes");
}

/// The first copy's id is said to be elsewhere: what only that copy has would be in no set.
#[test]
fn one_node_takes_no_copys_place_by_its_word() {
    let (mut world, _) = world((1, 1));
    let state = world.state.clone();
    let layout = record(&world).layout().unwrap();
    let first = layout.current.members[0];
    let own = layout.homes[&first];
    let generation = Generation(layout.generation.0 + 1);
    let mut moved = Layout { generation, ..layout };
    moved.homes.insert(first, NodeId(6));
    let known = world.copies[&first].clone();
    world.copies.insert(FORGED, QuorumReport { held: generation, layout: Some(moved), ..known });
    go_back(&mut world, state);
    nothing_is_decided(&mut world);
    let given_up = plan(&world, &[]).unwrap().given_up;
    assert!(given_up.iter().any(|copy| (copy.node, copy.id) == (own, first)), "{given_up:?}");
}

#[test]
fn old_copies_are_gone_back_to_by_a_person_where_a_recovery_finds_none_of_the_new_ones() {
    let (mut world, before, new) = moved_away();
    // Their volumes were emptied, and no record names them: nobody tells that they are lost.
    new.iter().for_each(|copy| lose(&mut world, *copy));
    go_back(&mut world, before);
    nothing_is_decided(&mut world);
    assert_eq!(give_up(&mut world, &[]), [4, 5, 6]);
    assert_eq!(homes(&world), [1, 2, 3]);
    world.settle(30);
    settled_on(&world, &[1, 2, 3], (2, 2));
}

#[test]
fn old_copies_are_gone_back_to_where_all_the_new_ones_are_lost() {
    let (mut world, _, new) = moved_away();
    let old: Vec<ReplicaId> = record(&world).layout().unwrap().current.members;
    lose(&mut world, new[0]);
    lose(&mut world, new[1]);
    let is_begun =
        world.steward().iter().any(|command| matches!(command, SystemCommand::Step { step: StepKind::Back, .. }));
    assert!(!is_begun, "one is left, and it may have what the old ones lack");
    let (mut world, _, new) = moved_away();
    new.iter().for_each(|copy| lose(&mut world, *copy));
    world.steward();
    let layout = record(&world).layout().unwrap();
    assert_eq!((layout.change, layout.current.members), (None, old.clone()));
    world.lead();
    assert!(old.iter().all(|copy| world.copies.contains_key(copy)), "they are what is left");
    world.settle(30);
    settled_on(&world, &[4, 5, 6], (2, 2));
    // It was to go back to the nodes of the old copies, by new ones.
    let (mut world, _, new) = moved_away();
    world.target(1, &[1, 2, 3]);
    world.steward();
    new.iter().for_each(|copy| lose(&mut world, *copy));
    world.settle(30);
    settled_on(&world, &[1, 2, 3], (2, 2));
}

#[cfg(feature = "planted")]
#[test]
fn bugs_of_evidence_are_noticed() {
    use crate::planted::{Planted, plant};
    let noticed = |bug, test: fn()| {
        plant(Some(bug));
        let caught = std::panic::catch_unwind(test).is_err();
        plant(None);
        assert!(caught, "{bug:?}");
    };
    noticed(Planted::OneWordEndsCopies, one_node_ends_no_copies_by_its_word);
    noticed(Planted::OldWipedForLost, old_copies_are_gone_back_to_where_all_the_new_ones_are_lost);
}
