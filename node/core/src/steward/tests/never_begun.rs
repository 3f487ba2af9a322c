//! A shard that has lost one of its two copies goes on from the other by itself only if nothing can have been committed.

use super::recovery::{copy, hear, voters};
use super::world::World;
use crate::ids::{Generation, NodeId, ReplicaId, ShardId};
use crate::map::Replica;
use crate::message::CopyReport;
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
