//! A node that quorum shards have copies elsewhere of is certified only when all of these have spoken for it.

use super::*;
use crate::ids::{Generation, Incarnation};
use crate::message::{CertifyAnswer, PeerMessage, QuorumReport};
use crate::node::{NotYet, Removal};
use crate::steward::{CERTIFICATION_MS, Certification, copy_answer};

const GONE: NodeId = NodeId(6);

/// Six nodes, the last of them empty and draining, and a quorum shard on the first three.
fn drained() -> World {
    let (mut world, _) = world(MAJORITIES);
    world.admin(AdminChange::Drain(GONE)).unwrap();
    world.settle(30);
    world.report();
    world
}

fn start(world: &World) -> (Certification, Vec<(NodeId, PeerMessage)>) {
    let (mut certification, asks) = Certification::start(&world.view(), GONE, Incarnation(0), 7).unwrap();
    let generation = world.map().shards[&ShardId::SYSTEM].descriptor.generation;
    certification.answer(NodeId(1), ShardId::SYSTEM, CertifyAnswer::Clear { in_sync: 3, generation });
    (certification, asks)
}

fn clear(world: &World) -> CertifyAnswer {
    CertifyAnswer::Clear { in_sync: 1, generation: record(world).descriptor.generation }
}

/// What comes of these answers of the copies on nodes 1 to 3.
fn verdict(world: &World, answers: [Option<CertifyAnswer>; 3]) -> Option<Removal> {
    let (mut certification, _) = start(world);
    for (node, answer) in (1..).zip(answers) {
        if let Some(answer) = answer {
            certification.answer(NodeId(node), SHARD, answer);
        }
    }
    certification.verdict(world.map(), world.now_ms + CERTIFICATION_MS)
}

fn unknown() -> Option<Removal> {
    Some(Removal::Unknown { shards: vec![SHARD] })
}

#[test]
fn every_copy_is_asked_and_all_clear_is_safe() {
    let world = drained();
    let (mut certification, asks) = start(&world);
    let asks_of = |node: u64| {
        let is_asked = |(to, ask): &&(NodeId, PeerMessage)| {
            *to == NodeId(node) && matches!(ask, PeerMessage::CertifyAsk { shards, .. } if shards.contains(&SHARD))
        };
        asks.iter().filter(is_asked).count()
    };
    assert_eq!([1, 2, 3, 4].map(asks_of), [1, 1, 1, 0]);
    for node in 1..=3 {
        assert!(certification.is_asked(NodeId(node), SHARD) && !certification.is_asked(NodeId(4), SHARD));
        assert_eq!(certification.verdict(world.map(), world.now_ms), None);
        certification.answer(NodeId(node), SHARD, clear(&world));
    }
    let Some(Removal::Safe(certificate)) = certification.verdict(world.map(), world.now_ms) else { panic!() };
    assert_eq!((certificate.node, certificate.shards), (GONE, 2));
}

#[test]
fn an_answer_that_is_missing_or_of_another_layout_is_unknown_and_one_for_all_is_none() {
    let world = drained();
    let (clear, all) = (|| Some(clear(&world)), [(); 3]);
    assert!(matches!(verdict(&world, all.map(|()| clear())), Some(Removal::Safe(_))));
    assert_eq!(verdict(&world, [clear(), clear(), None]), unknown());
    assert_eq!(verdict(&world, [clear(), clear(), Some(CertifyAnswer::NotLeader)]), unknown());
    let generation = record(&world).descriptor.generation;
    for other in [Generation(generation.0 - 1), Generation(generation.0 + 1)] {
        let other = CertifyAnswer::Clear { in_sync: 3, generation: other };
        assert_eq!(verdict(&world, [clear(), clear(), Some(other)]), unknown());
    }
    let many = CertifyAnswer::Clear { in_sync: 9, generation };
    assert_eq!(verdict(&world, [Some(many), None, None]), unknown());
}

#[test]
fn a_copy_that_is_not_complete_or_says_that_the_node_has_one_is_not_yet() {
    let world = drained();
    let clear = || Some(clear(&world));
    let generation = record(&world).descriptor.generation;
    let incomplete = Some(CertifyAnswer::Clear { in_sync: 0, generation });
    let few = NotYet::Copies { shard: SHARD, in_sync: 2, wanted: 3 };
    assert_eq!(verdict(&world, [clear(), incomplete, clear()]), Some(Removal::NotYet(vec![few])));
    let held = Some(CertifyAnswer::Held { replica: ReplicaId(9) });
    let holds = NotYet::Holds { shard: SHARD };
    assert_eq!(verdict(&world, [clear(), held, None]), Some(Removal::NotYet(vec![holds])));
}

#[test]
fn fewer_copies_than_the_table_is_to_have_are_not_yet() {
    let (mut world, table) = world(MAJORITIES);
    world.admin(AdminChange::Drain(GONE)).unwrap();
    alter(&mut world, table, 5, (3, 3));
    world.settle(30);
    world.report();
    let few = NotYet::Copies { shard: SHARD, in_sync: 3, wanted: 5 };
    let answers = [(); 3].map(|()| Some(clear(&world)));
    assert_eq!(verdict(&world, answers), Some(Removal::NotYet(vec![few])));
}

#[test]
fn a_shard_that_changes_when_it_is_asked_or_since_is_not_spoken_for() {
    let mut world = drained();
    let (mut certification, _) = start(&world);
    (1..=3).for_each(|node| certification.answer(NodeId(node), SHARD, clear(&world)));
    world.target(1, &[1, 2, 4]);
    go_to(&mut world, Some(Stage::WriteBoth));
    let changing = Some(Removal::NotYet(vec![NotYet::Changing { shard: SHARD }]));
    assert_eq!(certification.verdict(world.map(), world.now_ms), changing);
    assert_eq!(verdict(&world, [(); 3].map(|()| Some(clear(&world)))), changing);
    world.settle(20);
    assert_eq!(certification.verdict(world.map(), world.now_ms), unknown(), "its copies are others");
}

#[test]
fn a_node_with_a_copy_is_not_certified() {
    let (mut world, _) = world(MAJORITIES);
    world.admin(AdminChange::Drain(NodeId(3))).unwrap();
    world.report();
    let started = Certification::start(&world.view(), NodeId(3), Incarnation(0), 7);
    let Err(Removal::NotYet(reasons)) = started else { panic!("{started:?}") };
    assert!(reasons.contains(&NotYet::Holds { shard: SHARD }));
}

#[test]
fn a_copy_answers_for_itself() {
    let world = drained();
    let known = record(&world);
    let copy = &world.copies[&known.assigned[0].id];
    let generation = known.descriptor.generation;
    assert_eq!(copy_answer(Some(known), Some(copy), GONE), CertifyAnswer::Clear { in_sync: 1, generation });
    let incomplete = QuorumReport { is_complete: false, ..copy.clone() };
    let none = CertifyAnswer::Clear { in_sync: 0, generation };
    assert_eq!(copy_answer(Some(known), Some(&incomplete), GONE), none);
    let replica = known.assigned[2].id;
    assert_eq!(copy_answer(Some(known), Some(copy), NodeId(3)), CertifyAnswer::Held { replica });
    assert_eq!(copy_answer(Some(known), None, GONE), CertifyAnswer::NotLeader);
}

#[cfg(feature = "planted")]
#[test]
fn a_certificate_on_the_word_of_one_copy_is_noticed() {
    let world = drained();
    crate::planted::plant(Some(crate::planted::Planted::OneCopyCertifies));
    let certified = verdict(&world, [Some(clear(&world)), None, None]);
    crate::planted::plant(None);
    assert!(matches!(certified, Some(Removal::Safe(_))));
}
