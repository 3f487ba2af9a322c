//! Claims about what one look at the node gathers, and what becomes durable with it.

use super::*;
use crate::answer::Answer;
use crate::command::{Command, Mutation, Outcome};
use crate::ids::{Generation, NodeId, ReplicaId, Token};
use crate::log::HardState;
use crate::map::{Descriptor, ShardRecord, TableRecord};
use crate::message::CertifyAnswer;
use crate::node::Input;
use crate::node::tests::{NOW, SHARD, TABLE, delta, descriptor, node, settled, table, with_copy, worked};
use crate::replica::tests::Memory;

fn log_write(replica: u64, term: u64, destroyed: bool) -> LogWrite {
    let hard_state = Some(HardState { term, vote: 0, commit: 0 });
    LogWrite { shard: SHARD, replica: ReplicaId(replica), reset: None, entries: Vec::new(), hard_state, destroyed }
}

#[test]
fn a_copy_has_one_part_of_a_batch_and_the_end_of_the_one_before_stands_in_front() {
    let end = LogWrite { hard_state: None, ..log_write(1, 0, true) };
    let mut gathered = Gathered { sequence: 1, writes: vec![end.clone()], duties: Vec::new() };
    gathered.add(None);
    gathered.add(Some(log_write(11, 3, false)));
    gathered.add(Some(LogWrite { shard: ShardId(8), ..log_write(11, 3, false) }));
    gathered.add(Some(log_write(11, 4, false)));
    let other = LogWrite { shard: ShardId(8), ..log_write(11, 3, false) };
    assert_eq!(gathered.writes, [end, log_write(11, 4, false), other]);
}

fn delete(node: &mut Node, engine: &Memory, token: u64) -> Option<u64> {
    let mutations = vec![Mutation::Delete { key: "a".into() }];
    let command = Command { request: None, conditions: Vec::new(), mutations };
    node.handle(Input::Write { token: Token(token), table: TABLE, command }, engine, NOW).expect("it is in memory");
    let effects = node.ready(engine, NOW).expect("it is in memory");
    assert_eq!(effects.answers, [], "nothing is durable yet");
    effects.log.map(|batch| batch.sequence)
}

#[test]
fn a_batch_that_is_durable_makes_those_before_it_so_and_none_behind_it() {
    let engine = Memory::default();
    let mut node = with_copy(&engine, &[1]);
    worked(&mut node, &engine, 2);
    let sequences: Vec<u64> = (0..3).filter_map(|token| delete(&mut node, &engine, token)).collect();
    assert_eq!(sequences.windows(2).filter(|pair| pair[1] == pair[0] + 1).count(), 2, "{sequences:?}");
    let mut answered = |sequence: u64| {
        node.handle(Input::LogDurable { sequence }, &engine, NOW).expect("it is in memory");
        let answers = node.ready(&engine, NOW).expect("it is in memory").answers;
        assert!(answers.iter().all(|(_, answer)| matches!(answer, Answer::Write(Ok(Outcome::Applied(_))))));
        answers.into_iter().map(|(token, _)| token.0).collect::<Vec<_>>()
    };
    assert_eq!(answered(sequences[1]), [0, 1]);
    assert_eq!(answered(sequences[0]), [0_u64; 0]);
    assert_eq!(answered(sequences[2]), [2]);
}

#[test]
fn a_change_of_the_map_is_followed_at_once_and_handed_out_once() {
    let engine = Memory::default();
    let mut node = node(&engine);
    settled(&mut node, &engine);
    let first = Descriptor { generation: Generation(1), ..descriptor(SHARD, TABLE) };
    let change = delta(&node, |delta, epoch| {
        delta.tables.push(TableRecord { epoch, ..table(false) });
        delta.shards.push(ShardRecord { descriptor: first, epoch, ..ShardRecord::default() });
    });
    for from in [2, 3] {
        node.learn(NodeId(from), change.clone());
    }
    let effects = node.ready(&engine, NOW).expect("it is in memory");
    assert_eq!(effects.map.map(|map| map.epoch), Some(change.epoch));
    assert!(node.replica(SHARD).is_some() && effects.sync.is_some(), "the new copy is synced at once");
    assert!(node.ready(&engine, NOW).expect("it is in memory").map.is_none());
}

/// What a leader that is asked whether a node may go says, and to whom.
fn certified(node: &mut Node, engine: &Memory, of: u64) -> Vec<(u64, CertifyAnswer)> {
    node.certify_asked((NodeId(2), 5), NodeId(of), &[SHARD], NOW);
    let sent = settled(node, engine).into_iter().flat_map(|effects| effects.send);
    let answer = |(to, message): (NodeId, PeerMessage)| {
        let PeerMessage::CertifyAnswer { nonce: 5, shard: SHARD, answer } = message else { return None };
        Some((to.0, answer))
    };
    sent.filter_map(answer).collect()
}

#[test]
fn a_leader_says_whether_a_node_may_go_once_it_is_confirmed_and_nobody_else_does() {
    let engine = Memory::default();
    let mut leads = with_copy(&engine, &[1]);
    worked(&mut leads, &engine, 2);
    let clear = CertifyAnswer::Clear { in_sync: 1, generation: Generation(2) };
    assert_eq!(certified(&mut leads, &engine, 3), [(2, clear)]);
    assert_eq!(certified(&mut leads, &engine, 1), [(2, CertifyAnswer::Held { replica: ReplicaId(1) })]);
    let engine = Memory::default();
    let mut follows = with_copy(&engine, &[1, 2, 3]);
    assert_eq!(certified(&mut follows, &engine, 9), [(2, CertifyAnswer::NotLeader)]);
    follows.replicas.remove(SHARD);
    assert_eq!(certified(&mut follows, &engine, 9), [(2, CertifyAnswer::NotLeader)]);
    // One that has ended since it was confirmed has no members to speak of.
    follows.confirmed(SHARD, Duty::Certify { nonce: 5, asker: NodeId(2), node: NodeId(9) }, NOW);
    assert_eq!(follows.outbox.take_send(), []);
}
