//! A certificate is given only when every leader has spoken for it.

use proptest::prelude::*;

use super::world::{World, restart};
use crate::ids::{Generation, Incarnation, NodeId, ReplicaId, ShardId};
use crate::message::{CertifyAnswer, PeerMessage};
use crate::node::{NotYet, Removal};
use crate::steward::{CERTIFICATION_MS, Certification};
use crate::system::AdminChange;

/// Whoever answers for a leader was asked: see `is_asked`.
const ANY: NodeId = NodeId(0);

/// Four nodes, node 4 empty and draining, two shards of three copies, the system shard on three.
fn drained() -> World {
    let mut world = World::new(&["a", "b", "c", "c"]);
    world.table(&[vec![1, 2, 3], vec![2, 3, 1]]);
    world.admin(AdminChange::Drain(NodeId(4))).unwrap();
    world.settle(30);
    world.report();
    world
}

fn start(world: &World) -> Result<(Certification, Vec<(NodeId, PeerMessage)>), Removal> {
    Certification::start(&world.view(), NodeId(4), Incarnation(0), 7)
}

fn clear(world: &World, shard: u64, in_sync: u32) -> CertifyAnswer {
    CertifyAnswer::Clear { in_sync, generation: world.map().shards[&ShardId(shard)].descriptor.generation }
}

fn all_clear(world: &World) -> Certification {
    let (mut certification, _) = start(world).unwrap();
    (0..=2).for_each(|shard| certification.answer(ANY, ShardId(shard), clear(world, shard, 3)));
    certification
}

#[test]
fn every_leader_is_asked_and_all_clear_is_safe() {
    let world = drained();
    let (mut certification, asks) = start(&world).unwrap();
    let ask = |shards: &[u64]| PeerMessage::CertifyAsk {
        nonce: 7,
        node: NodeId(4),
        shards: shards.iter().map(|&s| ShardId(s)).collect(),
    };
    assert_eq!(asks, [(NodeId(1), ask(&[0, 1])), (NodeId(2), ask(&[2]))]);
    assert_eq!(certification.nonce(), 7);
    for shard in 0..=2 {
        assert_eq!(certification.verdict(world.map(), world.now_ms), None);
        certification.answer(ANY, ShardId(shard), clear(&world, shard, 3));
    }
    let Some(Removal::Safe(certificate)) = certification.verdict(world.map(), world.now_ms) else { panic!() };
    assert_eq!((certificate.node, certificate.incarnation), (NodeId(4), Incarnation(0)));
    assert_eq!((certificate.epoch, certificate.shards), (world.map().epoch, 3));
}

#[test]
fn what_the_map_has_against_it_is_said_at_once() {
    let mut world = drained();
    let ask = |world: &World, node, incarnation| {
        let started = Certification::start(&world.view(), NodeId(node), Incarnation(incarnation), 1);
        match started {
            Err(Removal::NotYet(reasons)) => reasons,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask(&world, 9, 0), [NotYet::NotDraining(NodeId(9))]);
    assert_eq!(ask(&world, 2, 0), [NotYet::NotDraining(NodeId(2))]);
    let latest = Incarnation(0);
    assert_eq!(ask(&world, 4, 3), [NotYet::OtherIncarnation { asked: Incarnation(3), latest }]);
    world.admin(AdminChange::Drain(NodeId(2))).unwrap();
    let holds = [0, 1, 2].map(|s| NotYet::Holds { shard: ShardId(s) });
    assert_eq!(ask(&world, 2, 0), holds);
}

#[test]
fn a_missing_answer_is_unknown_never_yes() {
    let world = drained();
    let (mut certification, _) = start(&world).unwrap();
    certification.answer(ANY, ShardId(0), clear(&world, 0, 3));
    certification.answer(ANY, ShardId(2), clear(&world, 2, 3));
    let end = world.now_ms + CERTIFICATION_MS;
    assert_eq!(certification.verdict(world.map(), end - 1), None);
    let unknown = Removal::Unknown { shards: vec![ShardId(1)] };
    assert_eq!(certification.verdict(world.map(), end), Some(unknown));
}

#[test]
fn a_shard_without_a_known_leader_is_unknown() {
    let mut world = drained();
    world.silent.insert(NodeId(2));
    world.now_ms += 10_000;
    world.report();
    let (mut certification, asks) = start(&world).unwrap();
    assert_eq!(asks.len(), 1);
    (0..=1).for_each(|shard| certification.answer(ANY, ShardId(shard), clear(&world, shard, 3)));
    let unknown = Removal::Unknown { shards: vec![ShardId(2)] };
    assert_eq!(certification.verdict(world.map(), world.now_ms), Some(unknown));
}

#[test]
fn a_former_or_outdated_leader_is_unknown() {
    let world = drained();
    let unknown = |shard| Some(Removal::Unknown { shards: vec![ShardId(shard)] });
    let verdict = |answer| {
        let (mut certification, _) = start(&world).unwrap();
        (0..=1).for_each(|shard| certification.answer(ANY, ShardId(shard), clear(&world, shard, 3)));
        certification.answer(ANY, ShardId(2), answer);
        certification.verdict(world.map(), world.now_ms)
    };
    assert_eq!(verdict(CertifyAnswer::NotLeader), unknown(2));
    assert_eq!(verdict(CertifyAnswer::Clear { in_sync: 3, generation: Generation(0) }), unknown(2));
}

#[test]
fn a_copy_there_or_too_few_copies_elsewhere_is_not_yet() {
    let world = drained();
    let verdict = |shard: u64, answer| {
        let (mut certification, _) = start(&world).unwrap();
        certification.answer(ANY, ShardId(shard), answer);
        (0..=2).for_each(|shard| certification.answer(ANY, ShardId(shard), clear(&world, shard, 3)));
        certification.verdict(world.map(), world.now_ms)
    };
    let held = verdict(1, CertifyAnswer::Held { replica: ReplicaId(9) });
    assert_eq!(held, Some(Removal::NotYet(vec![NotYet::Holds { shard: ShardId(1) }])));
    for shard in [0, 2] {
        let few = NotYet::Copies { shard: ShardId(shard), in_sync: 2, wanted: 3 };
        assert_eq!(verdict(shard, clear(&world, shard, 2)), Some(Removal::NotYet(vec![few])));
    }
}

#[test]
fn a_change_of_the_node_while_the_answers_come_in_ends_the_question() {
    let mut world = drained();
    let certification = all_clear(&world);
    assert!(matches!(certification.verdict(world.map(), world.now_ms), Some(Removal::Safe(_))));
    world.admin(AdminChange::Reactivate(NodeId(4))).unwrap();
    let reasons = vec![NotYet::NotDraining(NodeId(4))];
    assert_eq!(certification.verdict(world.map(), world.now_ms), Some(Removal::NotYet(reasons)));
    world.admin(AdminChange::Drain(NodeId(4))).unwrap();
    assert!(matches!(certification.verdict(world.map(), world.now_ms), Some(Removal::Unknown { .. })));
    let certification = all_clear(&world);
    restart(&mut world, 4, 1);
    assert!(matches!(certification.verdict(world.map(), world.now_ms), Some(Removal::NotYet(_))));
}

#[test]
fn a_shard_made_since_the_question_is_unknown() {
    let mut world = drained();
    let certification = all_clear(&world);
    world.table(&[vec![1, 2, 3]]);
    let unknown = Removal::Unknown { shards: vec![ShardId(3)] };
    assert_eq!(certification.verdict(world.map(), world.now_ms), Some(unknown));
}

fn answer() -> impl Strategy<Value = Option<CertifyAnswer>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(CertifyAnswer::NotLeader)),
        1 => Just(Some(CertifyAnswer::Held { replica: ReplicaId(1) })),
        9 => (2..4_u32, 0..9_u64).prop_map(|(in_sync, generation)| {
            Some(CertifyAnswer::Clear { in_sync, generation: Generation(generation) })
        }),
    ]
}

proptest! {
    #[test]
    fn safe_means_that_every_leader_said_clear_with_enough_copies(answers in [answer(), answer(), answer()]) {
        let world = drained();
        let (mut certification, _) = start(&world).unwrap();
        for (shard, answer) in (0..).zip(&answers) {
            if let Some(answer) = answer {
                certification.answer(ANY, ShardId(shard), answer.clone());
            }
        }
        let good = |(shard, answer): (u64, &Option<CertifyAnswer>)| {
            let known = world.map().shards[&ShardId(shard)].descriptor.generation;
            matches!(answer, Some(CertifyAnswer::Clear { in_sync: 3.., generation }) if *generation >= known)
        };
        let verdict = certification.verdict(world.map(), world.now_ms + CERTIFICATION_MS);
        prop_assert_eq!(matches!(verdict, Some(Removal::Safe(_))), (0..).zip(&answers).all(good));
    }
}

#[test]
fn a_shard_is_spoken_for_by_the_leader_that_was_asked_and_nobody_else() {
    let (certification, _) = start(&drained()).unwrap();
    let asked = |node, shard| certification.is_asked(NodeId(node), ShardId(shard));
    assert!(asked(1, 0) && asked(1, 1) && asked(2, 2));
    assert!(!asked(4, 0) && !asked(2, 1) && !asked(1, 9));
    #[cfg(feature = "planted")]
    {
        crate::planted::plant(Some(crate::planted::Planted::AnybodyCertifies));
        assert!(asked(4, 0));
    }
}

#[cfg(feature = "planted")]
#[test]
fn copies_that_are_not_counted_are_noticed() {
    let world = drained();
    let (mut certification, _) = start(&world).unwrap();
    (0..=2).for_each(|shard| certification.answer(ANY, ShardId(shard), clear(&world, shard, 1)));
    crate::planted::plant(Some(crate::planted::Planted::CopiesNotCounted));
    let verdict = certification.verdict(world.map(), world.now_ms);
    crate::planted::plant(None);
    assert!(matches!(verdict, Some(Removal::Safe(_))));
}
