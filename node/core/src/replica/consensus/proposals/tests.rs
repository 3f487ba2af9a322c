//! Claims about who is answered what, and what becomes of commands that cannot be proposed.

use super::*;
use crate::command::{Mutation, Outcome};
use crate::time::Version;

fn proposed(is_system: bool) -> Proposed {
    Proposed { term: 1, waiters: vec![Some(Token(1)), None, Some(Token(2))], is_system, overwrites: 0 }
}

#[test]
fn every_waiter_gets_the_outcome_of_its_own_command() {
    let outcomes = [1, 2, 3].map(|version| Outcome::Applied(Version(version))).to_vec();
    let answers = answers_to(proposed(false), Some(Applied::Data(outcomes)), ShardId(1));
    let of = |token, version| (Token(token), Answer::Write(Ok(Outcome::Applied(Version(version)))));
    assert_eq!(answers, [of(1, 1), of(2, 3)]);
}

#[test]
fn whose_place_was_taken_is_told_that_nothing_happened() {
    let refusal = Refusal::NotLeader { shard: ShardId(1), leader: None };
    let answers = answers_to(proposed(false), None, ShardId(1));
    assert_eq!(answers, [1, 2].map(|token| (Token(token), Answer::Write(Err(refusal.clone())))));
    let answers = answers_to(proposed(true), None, ShardId(1));
    let refusal = AdminRefusal::NotLeader { leader: None };
    assert_eq!(answers, [1, 2].map(|token| (Token(token), Answer::Admin(Err(refusal.clone())))));
}

fn write(bytes: usize) -> Command {
    let (key, value) = (bytes::Bytes::from_static(b"k"), bytes::Bytes::from(vec![0; bytes]));
    Command { request: None, conditions: Vec::new(), mutations: vec![Mutation::Put { key, value, expires_ms: None }] }
}

#[test]
fn what_waits_becomes_batches_of_so_many_commands_or_so_many_bytes() {
    for (count, bytes, batches) in [(256, 1, 1), (257, 1, 2), (2, 300 << 10, 1), (3, 300 << 10, 2)] {
        let mut proposals = Proposals::default();
        (0..count).for_each(|_| proposals.push(write(bytes), Token(1)));
        let mut found = 0;
        while proposals.has_writes() {
            proposals.next_batch(|_| None, |_| Some(0), &mut Vec::new());
            found += 1;
        }
        assert_eq!(found, batches, "{count} of {bytes}");
    }
}

#[test]
fn commands_that_cannot_be_proposed_wait_in_their_order_and_before_all_others() {
    let mut proposals = Proposals::default();
    proposals.push(write(3), Token(3));
    proposals.put_back(vec![write(0), write(1), write(2)], vec![None, Some(Token(1)), Some(Token(2))]);
    let batch = proposals.next_batch(|_| None, |_| Some(0), &mut Vec::new());
    assert_eq!(batch.waiters, [1, 2, 3].map(|token| Some(Token(token))));
}

#[test]
fn a_command_that_is_refused_is_answered_and_in_no_batch() {
    let mut proposals = Proposals::default();
    proposals.push(write(1), Token(1));
    let refusal = Refusal::OutcomeUnknown { shard: ShardId(1) };
    let mut answers = Vec::new();
    let batch = proposals.next_batch(|_| Some(refusal.clone()), |_| Some(0), &mut answers);
    assert!(batch.commands.is_empty() && proposals.is_empty());
    assert_eq!(answers, [(Token(1), Answer::Write(Err(refusal)))]);
}

#[test]
fn whoever_waits_when_leadership_is_lost_is_told_whether_it_may_have_happened() {
    let mut proposals = Proposals::default();
    proposals.proposed(9, proposed(false));
    proposals.push(write(1), Token(3));
    let shard = ShardId(1);
    let answers = proposals.lost(shard, Some(NodeId(2)));
    let unknown = |token| (Token(token), Answer::Write(Err(Refusal::OutcomeUnknown { shard })));
    let not_leader = Answer::Write(Err(Refusal::NotLeader { shard, leader: Some(NodeId(2)) }));
    assert_eq!(answers, [(Token(3), not_leader), unknown(1), unknown(2)]);
    assert!(proposals.is_empty());
}

#[test]
fn a_command_that_has_to_wait_and_all_behind_it_stay_in_their_order() {
    let mut proposals = Proposals::default();
    [1, 9, 1].into_iter().zip(1..).for_each(|(bytes, token)| proposals.push(write(bytes), Token(token)));
    let weigh = |command: &Command| Some(command.bytes()).filter(|bytes| *bytes < 9);
    let batch = proposals.next_batch(|_| None, weigh, &mut Vec::new());
    assert_eq!((batch.waiters, batch.overwrites), (vec![Some(Token(1))], 2));
    assert!(proposals.next_batch(|_| None, weigh, &mut Vec::new()).commands.is_empty());
    let batch = proposals.next_batch(|_| None, |_| Some(0), &mut Vec::new());
    assert_eq!(batch.waiters, [2, 3].map(|token| Some(Token(token))));
}
