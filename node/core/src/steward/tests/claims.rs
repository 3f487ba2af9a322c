//! After a recovery of the system shard a leader that the map does not name is noted once two nodes have said so.

use std::collections::BTreeSet;

use super::world::World;
use crate::ids::{Generation, NodeId, ReplicaId, ShardId};
use crate::level::FormatLevel;
use crate::map::{Descriptor, Member, Replica, Role};
use crate::message::{LedReport, PeerMessage, Report, ShardReport};
use crate::node::admit::message::disbelieve;
use crate::planted::{Planted, plant};
use crate::steward::{FRESH_MS, LOST_SILENCE_MS, RecoveryRefusal, hand_overs, record, recovery};
use crate::system::{Recovery, SystemCommand};

const SHARD: ShardId = ShardId(1);
/// Copies that were given by the majority that is lost.
const UNNAMED: [Replica; 2] =
    [Replica { node: NodeId(4), id: ReplicaId(70) }, Replica { node: NodeId(5), id: ReplicaId(71) }];

/// A table of one shard on nodes 1 to 3 of five, in a database whose system shard was recovered.
fn recovered() -> World {
    let mut world = World::new(&["a", "b", "c", "d", "e"]);
    world.table(&[vec![1, 2, 3]]);
    let from = world.map().shards[&ShardId::SYSTEM].assigned[0];
    let recovery = Recovery { from, last: (1, 1), generation: Generation(1), given_up: Vec::new(), at_ms: 0 };
    world.state.recover_itself(&recovery, FormatLevel::FIRST);
    world.now_ms = LOST_SILENCE_MS + 1;
    world.leaders.remove(&SHARD);
    world.report();
    world
}

/// The shard as it is in truth: on these copies, in steps that the map knows nothing of.
fn descriptor(world: &World, copies: &[Replica]) -> Descriptor {
    let members = copies.iter().map(|&replica| Member { replica, role: Role::Voter }).collect();
    Descriptor { generation: Generation(7), members, ..world.map().shards[&SHARD].descriptor.clone() }
}

/// A node tells the steward that it leads; true if that is believed.
fn tells(world: &mut World, leader: Replica, term: u64, descriptor: &Descriptor) -> bool {
    let in_sync = descriptor.members.iter().map(|m| m.replica.id).collect();
    let report =
        ShardReport { descriptor: descriptor.clone(), leader: leader.id, term, in_sync, bytes: 1, moving: (0, 0) };
    let mut report = Report { led: LedReport::all(1, vec![report]), ..world.report_of(leader.node) };
    let disbelieved = disbelieve(world.state.map(), leader.node, &mut report);
    let claims = disbelieved.claims.len();
    assert_eq!(disbelieved.is_any, claims > 0, "it is asked again");
    for claim in disbelieved.claims {
        world.reports.claimed(leader.node, claim, world.state.map(), world.now_ms);
    }
    let is_believed = !report.led.changed.is_empty();
    assert_eq!(claims + usize::from(is_believed), 1);
    is_believed
}

fn one_word_is_not_enough() {
    let mut world = recovered();
    let moved = descriptor(&world, &UNNAMED);
    assert!(!tells(&mut world, UNNAMED[0], 3, &moved));
    assert_eq!(record(&world.view()), vec![], "copies on nodes 1 to 3 would be ended");
}

#[test]
fn what_two_leaders_have_said_one_after_the_other_is_noted() {
    one_word_is_not_enough();
    let mut world = recovered();
    let moved = descriptor(&world, &UNNAMED);
    tells(&mut world, UNNAMED[0], 3, &moved);
    let transfer = PeerMessage::TransferLeader { shard: SHARD, to: UNNAMED[1].id };
    assert_eq!(hand_overs(&world.view()), vec![(NodeId(4), transfer)]);
    tells(&mut world, UNNAMED[1], 4, &moved);
    assert_eq!(record(&world.view()), vec![SystemCommand::Record(moved.clone())]);
    assert_eq!(hand_overs(&world.view()), vec![]);
    world.state.apply(&SystemCommand::Record(moved.clone())).unwrap();
    assert!(tells(&mut world, UNNAMED[1], 4, &moved), "the map names it now");
    assert_eq!(record(&world.view()), vec![]);
}

#[test]
fn a_leader_hands_over_to_a_copy_that_the_map_names_and_what_that_one_says_counts_alone() {
    let mut world = recovered();
    let named = world.map().shards[&SHARD].assigned[1];
    let moved = descriptor(&world, &[named, UNNAMED[0], UNNAMED[1]]);
    assert!(!tells(&mut world, UNNAMED[0], 3, &moved));
    let transfer = PeerMessage::TransferLeader { shard: SHARD, to: named.id };
    assert_eq!(hand_overs(&world.view()), vec![(NodeId(4), transfer)]);
    assert!(tells(&mut world, named, 4, &moved));
    // Nobody who is silent can take over.
    world.silent = BTreeSet::from([NodeId(2), NodeId(5)]);
    world.now_ms += FRESH_MS + 1;
    world.report();
    assert!(!tells(&mut world, UNNAMED[0], 3, &moved));
    assert_eq!(hand_overs(&world.view()), vec![]);
}

#[test]
fn two_different_words_are_not_two_for_one() {
    let mut world = recovered();
    let moved = descriptor(&world, &UNNAMED);
    tells(&mut world, UNNAMED[0], 3, &moved);
    tells(&mut world, UNNAMED[1], 4, &Descriptor { generation: Generation(8), ..moved });
    assert_eq!(record(&world.view()), vec![]);
}

/// Else a person who is told that the shard has no leader gives up what it leads.
#[test]
fn no_shard_goes_on_from_another_copy_while_a_node_says_that_it_leads_it() {
    let mut world = recovered();
    let moved = descriptor(&world, &UNNAMED);
    tells(&mut world, UNNAMED[0], 3, &moved);
    let plan = recovery(&world.view(), SHARD, &[]);
    assert_eq!(plan, Err(RecoveryRefusal::Led { shard: SHARD, node: NodeId(4) }));
    world.now_ms += FRESH_MS + 1;
    assert_ne!(recovery(&world.view(), SHARD, &[]), plan, "said no more");
}

/// It can hand over to nobody, so a person is asked.
#[test]
fn a_person_has_a_shard_go_on_from_its_only_copy_that_the_map_does_not_name() {
    let mut world = recovered();
    let alone = descriptor(&world, &UNNAMED[..1]);
    assert!(!tells(&mut world, UNNAMED[0], 3, &alone));
    assert_eq!((hand_overs(&world.view()), record(&world.view())), (vec![], vec![]));
    let plan = recovery(&world.view(), SHARD, &[]).unwrap();
    assert_eq!((plan.survivor, plan.generation), (UNNAMED[0], Generation(7)));
    assert_eq!(plan.given_up, world.map().shards[&SHARD].assigned);
}

#[test]
fn a_leader_that_the_map_does_not_name_is_none_unless_the_system_shard_was_recovered() {
    let mut world = World::new(&["a", "b", "c", "d", "e"]);
    world.table(&[vec![1, 2, 3]]);
    let moved = descriptor(&world, &UNNAMED);
    let in_sync = Vec::new();
    let report = ShardReport { descriptor: moved, leader: UNNAMED[0].id, term: 3, in_sync, bytes: 1, moving: (0, 0) };
    let mut report = Report { led: LedReport::all(1, vec![report]), ..world.report_of(NodeId(4)) };
    let disbelieved = disbelieve(world.state.map(), NodeId(4), &mut report);
    assert!(disbelieved.refused.is_some() && disbelieved.claims.is_empty());
}

#[test]
fn one_node_that_is_believed_alone_is_noticed() {
    plant(Some(Planted::ClaimBelieved));
    assert!(std::panic::catch_unwind(one_word_is_not_enough).is_err());
    plant(None);
}
