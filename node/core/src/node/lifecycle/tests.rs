//! Claims about the begin and the end of a copy: when it may speak first, and what is left of it.

use super::*;
use crate::answer::{Answer, Refusal};
use crate::command::{Command, Mutation};
use crate::ids::Token;
use crate::message::{PeerMessage, RaftEnvelope, RaftKind};
use crate::node::Input;
use crate::node::tests::{NOW, SHARD, TABLE, descriptor, hears, node, settled, with_copy, worked};
use crate::replica::tests::Memory;

/// A leader's word to the copy here, and how many answers of the copy go out.
fn answers(node: &mut Node, engine: &Memory) -> usize {
    let beat = RaftEnvelope::empty(SHARD, (ReplicaId(2), ReplicaId(1)), RaftKind::Heartbeat, 1);
    hears(node, engine, 2, PeerMessage::Raft(beat));
    let mut sent = Vec::new();
    for _ in 0..4 {
        let effects = node.ready(engine, NOW).expect("it is in memory");
        if let Some(batch) = effects.log {
            let durable = Input::LogDurable { sequence: batch.sequence };
            node.handle(durable, engine, NOW).expect("it is in memory");
        }
        sent.extend(effects.send);
    }
    let is_of_copy = |message: &PeerMessage| matches!(message, PeerMessage::Raft(envelope) if envelope.shard == SHARD);
    sent.iter().filter(|(_, message)| is_of_copy(message)).count()
}

#[test]
fn a_new_copy_says_nothing_before_a_sync_that_began_after_it_was_made() {
    let engine = Memory::default();
    let mut node = node(&engine);
    node.disk.syncs().want();
    let before = node.begin_sync(&engine).expect("it is in memory").expect("one is wanted");
    let state = ReplicaState::first(ReplicaId(1), descriptor(SHARD, TABLE));
    node.create(state, &engine).expect("it is in memory");
    assert_eq!(answers(&mut node, &engine), 0);
    node.engine_durable(before);
    assert_eq!(node.disk.syncs().waits(), (true, true), "it is to be synced as soon as may be");
    let covering = node.ready(&engine, NOW).expect("it is in memory").sync.expect("one is wanted");
    assert_eq!(answers(&mut node, &engine), 0, "that sync may have missed it");
    node.engine_durable(covering);
    assert!(answers(&mut node, &engine) > 0);
}

#[test]
fn whoever_waits_for_a_copy_that_ends_is_told() {
    let engine = Memory::default();
    let mut node = with_copy(&engine, &[1]);
    worked(&mut node, &engine, 2);
    let mutations = vec![Mutation::Delete { key: "a".into() }];
    let command = Command { request: None, conditions: Vec::new(), mutations };
    node.handle(Input::Write { token: Token(7), table: TABLE, command }, &engine, NOW).expect("it is in memory");
    node.ready(&engine, NOW).expect("it is in memory");
    node.destroy(SHARD, &engine).expect("it is in memory");
    let answers: Vec<_> = settled(&mut node, &engine).into_iter().flat_map(|effects| effects.answers).collect();
    assert_eq!(answers, [(Token(7), Answer::Write(Err(Refusal::OutcomeUnknown { shard: SHARD })))]);
}

#[test]
fn of_a_copy_that_has_ended_the_store_keeps_its_tombstone_and_what_is_to_be_wiped() {
    let engine = Memory::default();
    let mut node = with_copy(&engine, &[1, 2, 3]);
    let kinds = [state::REPLICA, state::SILENCED, state::TOMBSTONE, state::GARBAGE];
    let silenced = EngineWrite::Put(shard_key(SHARD, state::SILENCED, &[]), vec![1].into());
    let requests = EngineWrite::Put(shard_key(SHARD, state::REQUESTS, &[0; 8]), vec![1, 0].into());
    engine.write(vec![silenced, requests]).expect("it is in memory");
    node.destroy(SHARD, &engine).expect("it is in memory");
    let kept = |kind: u8| engine.records().keys().filter(|key| key.starts_with(&shard_key(SHARD, kind, &[]))).count();
    assert_eq!(kinds.map(kept), [0, 0, 1, 1]);
    assert_eq!(kept(state::REQUESTS), 0);
    let tombstone = engine.get(&shard_key(SHARD, state::TOMBSTONE, &[])).expect("it is in memory");
    assert_eq!(tombstone.as_deref(), Some(&1_u64.to_be_bytes()[..]));
    assert_eq!(node.disk.syncs().waits(), (true, true), "its end is told once that is durable");
}

#[test]
fn what_is_looked_for_again_waits_for_whatever_is_in_the_way() {
    let engine = Memory::default();
    let mut node = with_copy(&engine, &[1, 2, 3]);
    let of = |start: &'static str| Descriptor { start: start.into(), ..descriptor(ShardId(8), TABLE) };
    assert!(node.is_free(&of("m"), ReplicaId(11)) && !node.garbage.take_awaited(), "nothing is there");
    assert!(!node.is_free(&of("l"), ReplicaId(11)) && node.garbage.take_awaited(), "a copy that lives is");
    let own = node.replica(SHARD).expect("it is here").descriptor().clone();
    assert!(node.is_free(&own, ReplicaId(1)) && !node.garbage.take_awaited(), "no copy is in its own way");
    node.destroy(SHARD, &engine).expect("it is in memory");
    assert!(!node.is_free(&of("l"), ReplicaId(11)) && node.garbage.take_awaited(), "what is wiped is");
}
