//! Claims about what a copy wants done: what it proposes and when, how far it applies, and which snapshots it begins.

use bytes::Bytes;

use super::*;
use crate::command::{Mutation, Outcome, RequestId};
use crate::ids::NodeId;
use crate::log::{EntryKind, HardState, RecoveredLog};
use crate::map::Role;
use crate::message::{RaftEnvelope, RaftKind};
use crate::replica::state::{FIRST, ReplicaState};
use crate::replica::tests::{Memory, NOW, blank, copy, descriptor, follow, leader, message, open, sent};
use crate::time::Version;

/// What the copy wants done, all of which is durable at once. `ask` says within which bounds.
fn collected(replica: &mut Replica, engine: &Memory, ask: impl FnOnce(&mut Collected)) -> Collected {
    let mut out = Collected::default();
    ask(&mut out);
    replica.collect(engine, NOW, 50, &mut out).expect("a store in memory never fails");
    replica.log_durable(50, &mut out);
    out
}

fn write(replica: &mut Replica, token: u64) {
    let mutations = vec![Mutation::Delete { key: Bytes::from_static(b"k") }];
    replica.write(Token(token), Command { request: None, conditions: Vec::new(), mutations }, &mut Vec::new());
}

/// The second copy has all that the leader has.
fn acknowledge(replica: &mut Replica) {
    let (index, term) = (replica.consensus.last_index(), replica.term());
    replica.step(NodeId(2), RaftEnvelope { index, ..message(2, RaftKind::AppendResponse, term) });
}

#[test]
fn one_that_another_goes_on_without_wants_nothing_done() {
    let engine = Memory::default();
    let mut replica = leader(&engine);
    write(&mut replica, 1);
    replica.is_silenced = true;
    let out = collected(&mut replica, &engine, |_| ());
    assert!(out.log.is_none() && out.send.is_empty() && out.answers.is_empty());
    replica.is_silenced = false;
    assert!(collected(&mut replica, &engine, |_| ()).log.is_some(), "the write waits");
}

#[test]
fn a_leader_that_hands_over_proposes_nothing() {
    let engine = Memory::default();
    let mut replica = leader(&engine);
    replica.transfer(ReplicaId(2));
    assert!(replica.consensus.is_handing_over());
    write(&mut replica, 1);
    let last = replica.consensus.last_index();
    assert!(collected(&mut replica, &engine, |_| ()).answers.is_empty());
    assert!(replica.consensus.last_index() == last && replica.consensus.proposals().has_writes());
}

#[test]
fn whoever_waits_is_answered_once_a_majority_has_the_entry_and_the_store_its_effect() {
    let engine = Memory::default();
    let mut replica = leader(&engine);
    (1..=2).for_each(|token| write(&mut replica, token));
    let before = replica.consensus.last_index();
    assert!(collected(&mut replica, &engine, |_| ()).answers.is_empty());
    assert_eq!(replica.consensus.last_index(), before + 1, "what waits together is one entry");
    acknowledge(&mut replica);
    let out = collected(&mut replica, &engine, |_| ());
    let outcomes: Vec<_> = out.answers.iter().map(|(token, answer)| (token.0, answer)).collect();
    assert!(
        matches!(outcomes[..], [(1, Answer::Write(Ok(Outcome::Applied(_)))), (2, Answer::Write(Ok(_)))]),
        "{outcomes:?}"
    );
    assert!(!out.system_changed && !out.members_changed);
    let stored = engine.get(&crate::engine::shard_key(descriptor().shard, crate::engine::state::REPLICA, &[]));
    assert!(stored.is_ok_and(|stored| stored.is_some()), "how far it is, is in the store");
    assert_eq!(replica.state().applied.0, before + 1);
    assert!(collected(&mut replica, &engine, |_| ()).answers.is_empty());
}

#[test]
fn a_level_that_is_enabled_is_followed_before_the_first_write_and_said_once_in_a_term() {
    let engine = Memory::default();
    let mut replica = leader(&engine);
    let mut entries = |writes: u64, enabled: u32| {
        let before = replica.consensus.last_index();
        (0..writes).for_each(|token| write(&mut replica, token));
        collected(&mut replica, &engine, |out| out.level = FormatLevel(enabled));
        replica.consensus.last_index() - before
    };
    assert_eq!([entries(1, 1), entries(0, 2), entries(1, 2), entries(1, 2)], [1, 0, 2, 1]);
    acknowledge(&mut replica);
    collected(&mut replica, &engine, |_| ());
    assert_eq!(replica.level(), FormatLevel(2));
}

#[test]
fn a_request_may_be_issued_up_to_what_the_shard_takes_now() {
    let engine = Memory::default();
    let replica = leader(&engine);
    let latest_ms = 7_000;
    let allowed = replica.machine.issued_max(latest_ms);
    assert_eq!(allowed, Version::at_ms(latest_ms));
    let refused = |issued: Option<u64>| {
        let request = issued.map(|issued| RequestId { issued: Version(issued), client: 1, sequence: 1 });
        refuse_issued(&replica.machine, &Command { request, conditions: Vec::new(), mutations: Vec::new() }, latest_ms)
    };
    let too_new = Refusal::RequestTooNew { shard: descriptor().shard, allowed };
    assert_eq!([None, Some(0), Some(allowed.0)].map(refused), [const { None }; 3]);
    assert_eq!([Some(allowed.0 + 1), Some(u64::MAX)].map(refused), [Some(too_new.clone()), Some(too_new)]);
}

/// A follower with four entries more than the first, the third of which it cannot read, that learns that all are committed.
fn with_unreadable(engine: &Memory) -> Replica {
    let entry = |index: u64| {
        let data = if index == 4 { Bytes::from_static(&[1, 77, 0]) } else { Bytes::new() };
        LogEntry { index, term: 1, kind: EntryKind::Normal, data, context: Bytes::new() }
    };
    let hard_state = HardState { term: 1, vote: 0, commit: 1 };
    let (start, entries) = (FIRST, (2..=5).map(entry).collect());
    let log = RecoveredLog { replica: ReplicaId(1), start, entries, hard_state };
    let mut replica = open(ReplicaState::first(ReplicaId(1), descriptor()), log, engine);
    replica.step(NodeId(2), RaftEnvelope { commit: 5, ..message(2, RaftKind::Heartbeat, 1) });
    replica
}

#[test]
fn a_copy_applies_up_to_an_entry_that_it_cannot_read_and_none_behind_it() {
    let engine = Memory::default();
    let mut replica = with_unreadable(&engine);
    for _ in 0..2 {
        collected(&mut replica, &engine, |_| ());
        assert_eq!((replica.consensus.committed(), replica.state().applied.0, replica.unreadable()), (5, 3, Some(4)));
    }
}

#[test]
fn a_copy_without_records_applies_nothing() {
    let engine = Memory::default();
    let mut replica = blank(&engine);
    let applied = replica.state().applied;
    replica.step(NodeId(2), RaftEnvelope { commit: 4, ..message(2, RaftKind::Heartbeat, 2) });
    collected(&mut replica, &engine, |_| ());
    assert_eq!(
        (replica.consensus.committed(), replica.consensus.raft_applied(), replica.state().applied),
        (4, 4, applied)
    );
}

#[test]
fn a_leader_that_is_elected_or_changes_members_has_its_node_tell_of_them() {
    let engine = Memory::default();
    let mut replica = copy(&[], 1, &engine);
    replica.consensus.raw().campaign().expect("it is a voter");
    let mut elected = Vec::new();
    for kind in [RaftKind::RequestPreVoteResponse, RaftKind::RequestVoteResponse] {
        elected.push(collected(&mut replica, &engine, |_| ()).members_changed);
        let term = if kind == RaftKind::RequestPreVoteResponse { replica.term() + 1 } else { replica.term() };
        replica.step(NodeId(2), message(2, kind, term));
    }
    elected.push(collected(&mut replica, &engine, |_| ()).members_changed);
    assert_eq!(elected, [false, false, true]);
    let mut out = Collected::default();
    replica.apply_members(&MemberChange::Remove(ReplicaId(3)), &mut out);
    assert!(out.members_changed && replica.is_leader());
    let members: Vec<_> = replica.descriptor().members.iter().map(|m| (m.replica.id.0, m.role)).collect();
    assert_eq!(members, [(1, Role::Voter), (2, Role::Voter)]);
    assert!(!replica.may_report(), "nobody else knows of it yet");
}

#[test]
fn a_leader_that_is_no_member_any_more_follows_nobody() {
    let engine = Memory::default();
    let mut replica = leader(&engine);
    replica.apply_members(&MemberChange::Remove(ReplicaId(1)), &mut Collected::default());
    assert!(!replica.is_leader() && replica.consensus.leader().is_none());
}

#[test]
fn a_follower_that_a_change_of_members_reaches_goes_on_to_follow() {
    let engine = Memory::default();
    let mut replica = copy(&[], 1, &engine);
    follow(&mut replica, &engine);
    let mut out = Collected::default();
    replica.apply_members(&MemberChange::Remove(ReplicaId(3)), &mut out);
    assert!(out.members_changed && replica.consensus.leader() == Some(ReplicaId(2)));
    assert_eq!(sent(&mut replica, &engine), []);
}
