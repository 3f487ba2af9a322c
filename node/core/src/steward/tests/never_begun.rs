//! A shard that has lost one of its two copies goes on from the other by itself only if nothing can have been committed.

use super::recovery::{copy, voters};
use super::world::World;
use crate::ids::{Epoch, Generation, Incarnation, NodeId, ReplicaId, ShardId};
use crate::map::Replica;
use crate::message::{CopyReport, LedReport, NodeReport, Report};
use crate::replica::state::FIRST;
use crate::steward::{LOST_SILENCE_MS, never_begun, round};
use crate::system::SystemCommand;

const SHARD: ShardId = ShardId(1);

/// A table of one shard on these nodes, which never had a leader, and its copies.
fn made_on(nodes: &[u64]) -> (World, Vec<Replica>) {
    let mut world = World::new(&["a", "b", "c", "d"]);
    world.table(&[nodes.to_vec()]);
    let copies = world.map().shards[&SHARD].assigned.clone();
    world.now_ms = LOST_SILENCE_MS + 1;
    (world, copies)
}

/// A node reports that knows all of the map.
fn hear(world: &mut World, node: NodeId, leaderless: Vec<CopyReport>, lost: Vec<(ShardId, ReplicaId)>) {
    let map_epoch = world.map().epoch;
    hear_at(world, node, map_epoch, (leaderless, lost));
}

/// The same of one that knows the map of this epoch.
fn hear_at(
    world: &mut World,
    node: NodeId,
    map_epoch: Epoch,
    (leaderless, lost): (Vec<CopyReport>, Vec<(ShardId, ReplicaId)>),
) {
    let incarnation = world.map().nodes[&node].incarnation;
    let node = NodeReport { node, incarnation, map_epoch, leaderless, lost, ..NodeReport::default() };
    assert!(
        world.reports.insert(Report { node, led: LedReport::all(1, Vec::new()), ..Report::default() }, world.now_ms)
    );
}

fn as_made(of: Replica, copies: &[Replica]) -> CopyReport {
    copy(of, FIRST, 1, &voters(copies))
}

/// What the steward has the shard do by itself where the first copy tells this and all others are lost.
fn left_with(nodes: &[u64], told: impl FnOnce(CopyReport) -> CopyReport) -> Vec<SystemCommand> {
    let (mut world, copies) = made_on(nodes);
    hear(&mut world, copies[0].node, vec![told(as_made(copies[0], &copies))], vec![]);
    for lost in &copies[1..] {
        hear(&mut world, lost.node, vec![], vec![(SHARD, lost.id)]);
    }
    never_begun(&world.view())
}

#[test]
fn a_shard_that_lost_a_copy_before_it_began_goes_on_from_the_other() {
    let (mut world, copies) = made_on(&[1, 2]);
    hear(&mut world, copies[0].node, vec![as_made(copies[0], &copies)], vec![]);
    hear(&mut world, copies[1].node, vec![], vec![(SHARD, copies[1].id)]);
    for command in round(&world.view()) {
        world.state.apply(&command).unwrap();
    }
    let record = &world.map().shards[&SHARD];
    let [left] = record.assigned[..] else { panic!("{record:?}") };
    assert!(left.node == copies[0].node && copies.iter().all(|copy| copy.id < left.id), "{record:?}");
    assert!(record.assigned_reached() && record.target.len() == 2 && record.descriptor.generation.recoveries() == 1);
    let noted = &world.map().recoveries[&SHARD];
    assert_eq!((noted.from, &noted.given_up[..], noted.at_ms), (copies[0], &copies[1..], 0));
    assert_eq!(never_begun(&world.view()), [], "once is enough");
}

/// The lost copy led with it, and what the two have agreed on may be a change of members that nobody has heard of yet.
fn goes_on_from_a_log_with_entries() -> bool {
    !left_with(&[1, 2], |told| CopyReport { last: (2, 1), ..told }).is_empty()
}

/// Two of three may have acknowledged a write without the third.
fn goes_on_without_a_majority() -> bool {
    !left_with(&[1, 2, 3], |told| told).is_empty()
}

#[test]
fn a_shard_that_may_have_begun_waits_for_a_person() {
    assert!(!left_with(&[1, 2], |told| told).is_empty());
    assert!(!goes_on_from_a_log_with_entries() && !goes_on_without_a_majority());
    assert_eq!(left_with(&[1, 2], |told| CopyReport { generation: Generation(2), ..told }), []);
    assert_eq!(left_with(&[1, 2], |told| CopyReport { is_blank: true, ..told }), []);
    assert_eq!(left_with(&[1], |told| told), [], "nothing is lost of it");
}

#[cfg(feature = "planted")]
#[test]
fn bugs_of_shards_that_go_on_by_themselves_are_noticed() {
    use crate::planted::{Planted, plant};
    let noticed = |bug, goes_on: fn() -> bool| {
        plant(Some(bug));
        let goes_on = goes_on();
        plant(None);
        assert!(goes_on, "{bug:?}");
    };
    noticed(Planted::BegunTakenForNeverBegun, goes_on_from_a_log_with_entries);
    noticed(Planted::LostMajorityTakenForNone, goes_on_without_a_majority);
}

/// It would have writes acknowledged by one copy for as long as the other node is only down.
#[test]
fn a_copy_that_is_only_silent_is_waited_for() {
    let (mut world, copies) = made_on(&[1, 2]);
    hear(&mut world, copies[0].node, vec![as_made(copies[0], &copies)], vec![]);
    assert_eq!(never_begun(&world.view()), []);
    // Heard of, and about to make its copy, or with one that may follow a leader.
    hear(&mut world, copies[1].node, vec![], vec![]);
    assert_eq!(never_begun(&world.view()), []);
    // Lost, as it said once, and silent since.
    hear(&mut world, copies[1].node, vec![], vec![(SHARD, copies[1].id)]);
    assert_ne!(never_begun(&world.view()), []);
    world.now_ms += LOST_SILENCE_MS;
    hear(&mut world, copies[0].node, vec![as_made(copies[0], &copies)], vec![]);
    assert_eq!(never_begun(&world.view()), []);
}

#[test]
fn a_shard_that_has_a_leader_or_another_copy_to_go_on_from_is_left_alone() {
    let (mut world, copies) = made_on(&[2, 3]);
    world.gone.insert(copies[1].id);
    world.report();
    assert!(world.view().leader(SHARD).is_some() && !world.view().lost().is_empty());
    assert_eq!(never_begun(&world.view()), []);
    // A node tells of a copy that the map has nowhere.
    let (mut world, copies) = made_on(&[2, 3]);
    hear(&mut world, copies[0].node, vec![as_made(copies[0], &copies)], vec![]);
    hear(&mut world, copies[1].node, vec![], vec![(SHARD, copies[1].id)]);
    assert_ne!(never_begun(&world.view()), []);
    let unnamed = Replica { node: NodeId(1), id: ReplicaId(1) };
    hear(&mut world, unnamed.node, vec![as_made(unnamed, &copies)], vec![]);
    assert_eq!(never_begun(&world.view()), []);
}

/// By then the two may have had a leader that is lost now.
#[test]
fn what_a_copy_said_before_its_node_knew_of_the_others_start_counts_for_nothing() {
    let (mut world, copies) = made_on(&[1, 2]);
    let before = world.map().epoch;
    let record = world.map().nodes[&copies[1].node].clone();
    let start = |incarnation| SystemCommand::Start {
        node: record.id,
        incarnation: Incarnation(incarnation),
        address: record.address.clone(),
        zone: record.zone.clone(),
    };
    world.state.apply(&start(2)).unwrap();
    let told = |copies: &[Replica]| (vec![as_made(copies[0], copies)], vec![]);
    hear(&mut world, copies[1].node, vec![], vec![(SHARD, copies[1].id)]);
    hear_at(&mut world, copies[0].node, before, told(&copies));
    assert_eq!(never_begun(&world.view()), []);
    let known = world.map().epoch;
    hear_at(&mut world, copies[0].node, known, told(&copies));
    assert_ne!(never_begun(&world.view()), []);
    world.state.apply(&start(3)).unwrap();
    assert_eq!(never_begun(&world.view()), [], "it is not heard of in this start");
    hear(&mut world, copies[1].node, vec![], vec![(SHARD, copies[1].id)]);
    assert_eq!(never_begun(&world.view()), []);
    hear(&mut world, copies[0].node, vec![as_made(copies[0], &copies)], vec![]);
    assert_ne!(never_begun(&world.view()), []);
}
