//! What a member of a group sends is taken; one field out of bounds is not.

use bytes::Bytes;

use super::*;
use crate::command::Command;
use crate::ids::ShardId;
use crate::map::Replica as Copy;
use crate::replica::state_machine::content::Payload;
use crate::replica::tests;
use crate::system::SystemCommand;

const ME: ReplicaId = ReplicaId(1);
const LEADER: ReplicaId = ReplicaId(2);
const NODE: NodeId = NodeId(2);

/// A follower in term 5, whose log ends at index 10.
fn follower() -> RaftFacts {
    RaftFacts {
        id: ME,
        is_system: false,
        term: 5,
        leader: LEADER,
        is_leader: false,
        last: 10,
        is_leaderless: false,
        home: Some(NODE),
    }
}

fn leader() -> RaftFacts {
    RaftFacts { leader: ME, is_leader: true, ..follower() }
}

fn message(kind: RaftKind) -> RaftEnvelope {
    RaftEnvelope::empty(ShardId(1), (LEADER, ME), kind, 5)
}

fn entry(index: u64, term: u64) -> LogEntry {
    LogEntry { index, term, kind: EntryKind::Normal, data: Bytes::new(), context: Bytes::new() }
}

fn append(index: u64, log_term: u64, entries: &[(u64, u64)]) -> RaftEnvelope {
    let entries = entries.iter().map(|(index, term)| entry(*index, *term)).collect();
    RaftEnvelope { index, log_term, entries, ..message(RaftKind::Append) }
}

fn holds(data: Bytes) -> RaftEnvelope {
    RaftEnvelope { entries: vec![LogEntry { data, ..entry(11, 5) }], ..append(10, 5, &[]) }
}

fn changes(context: Bytes) -> RaftEnvelope {
    let entry = LogEntry { kind: EntryKind::Members, context, ..entry(11, 5) };
    RaftEnvelope { entries: vec![entry], ..append(10, 5, &[]) }
}

fn data() -> Bytes {
    let command = Command { request: None, conditions: Vec::new(), mutations: Vec::new() };
    codec::encode(&Payload::Data { wall_ms: 7, commands: vec![command] })
}

fn system() -> Bytes {
    codec::encode(&Payload::System(Vec::<SystemCommand>::new()))
}

#[test]
fn what_a_member_of_the_group_sends_is_taken() {
    let heartbeat =
        RaftEnvelope { commit: 10, context: Bytes::from_static(b"8 bytes."), ..message(RaftKind::Heartbeat) };
    let vote = RaftEnvelope { term: 6, index: 12, log_term: 5, commit: 12, ..message(RaftKind::RequestVote) };
    let old = RaftEnvelope { term: 1, commit: 99, ..message(RaftKind::Heartbeat) };
    let blank = append(0, 0, &[(1, 1), (2, 1), (3, 4)]);
    for message in
        [heartbeat, vote, old, blank, append(10, 5, &[(11, 5), (12, 5)]), append(3, 1, &[(4, 2)]), holds(data())]
    {
        assert_eq!(admit(&follower(), NODE, &message), Ok(()), "{message:?}");
    }
    let acknowledged = RaftEnvelope { index: 10, ..message(RaftKind::AppendResponse) };
    let rejected = RaftEnvelope { index: 9, reject: true, reject_hint: 8, ..message(RaftKind::AppendResponse) };
    let blank = RaftEnvelope { reject: true, reject_hint: 40, request_snapshot: 3, ..rejected.clone() };
    for message in [acknowledged, rejected, blank, message(RaftKind::HeartbeatResponse)] {
        assert_eq!(admit(&leader(), NODE, &message), Ok(()), "{message:?}");
    }
}

#[test]
fn a_sender_is_on_the_node_that_it_is_known_to_be_on() {
    let heartbeat = message(RaftKind::Heartbeat);
    assert!(matches!(admit(&follower(), NodeId(3), &heartbeat), Err(Refused::Sender { .. })));
    for from in [ME, ReplicaId(0)] {
        let own = RaftEnvelope { from, ..heartbeat.clone() };
        assert!(matches!(admit(&follower(), NODE, &own), Err(Refused::Sender { .. })));
    }
    let unknown = RaftFacts { home: None, ..follower() };
    assert_eq!(admit(&unknown, NODE, &heartbeat), Err(Refused::UnknownSender { replica: LEADER }));
    assert_eq!(admit(&RaftFacts { is_leaderless: true, leader: ReplicaId(0), ..unknown }, NODE, &heartbeat), Ok(()));
}

#[test]
fn a_term_rises_only_as_far_as_elections_can_have_led() {
    for term in [0, u64::MAX, 6 + TERM_JUMP_MAX] {
        let message = RaftEnvelope { term, ..message(RaftKind::RequestPreVote) };
        assert!(matches!(admit(&follower(), NODE, &message), Err(Refused::Term { .. })), "{term}");
    }
    let far = RaftEnvelope { term: 5 + TERM_JUMP_MAX, ..message(RaftKind::RequestPreVote) };
    assert_eq!(admit(&follower(), NODE, &far), Ok(()));
    let old = RaftFacts { term: INDEX_MAX, ..follower() };
    let next = RaftEnvelope { term: INDEX_MAX + 1, ..message(RaftKind::Heartbeat) };
    assert!(matches!(admit(&old, NODE, &next), Err(Refused::Term { .. })));
}

#[test]
fn a_term_has_one_leader_and_only_it_hands_over() {
    for kind in [RaftKind::Append, RaftKind::Heartbeat, RaftKind::TimeoutNow] {
        let other = RaftEnvelope { from: ReplicaId(3), ..message(kind) };
        assert!(matches!(admit(&follower(), NODE, &other), Err(Refused::Leader { .. })), "{kind:?}");
        assert!(matches!(admit(&leader(), NODE, &other), Err(Refused::Leader { .. })), "{kind:?}");
        let unknown = RaftFacts { leader: ReplicaId(0), ..follower() };
        assert_eq!(admit(&unknown, NODE, &other), Ok(()), "{kind:?}");
    }
    let later = RaftEnvelope { term: 6, ..message(RaftKind::TimeoutNow) };
    assert!(matches!(admit(&follower(), NODE, &later), Err(Refused::Term { .. })));
}

#[test]
fn a_heartbeat_commits_nothing_beyond_the_log() {
    for commit in [11, u64::MAX] {
        let heartbeat = RaftEnvelope { commit, ..message(RaftKind::Heartbeat) };
        let refused = Refused::Index { field: "commit", value: commit, max: 10 };
        assert_eq!(admit(&follower(), NODE, &heartbeat), Err(refused));
    }
    let later = RaftEnvelope { term: 9, commit: 11, ..message(RaftKind::Heartbeat) };
    assert!(admit(&follower(), NODE, &later).is_err());
}

#[test]
fn entries_follow_one_another() {
    let wrong = [
        append(10, 5, &[(12, 5)]),
        append(10, 5, &[(11, 5), (13, 5)]),
        append(10, 5, &[(11, 5), (11, 5)]),
        append(10, 5, &[(11, 4)]),
        append(10, 3, &[(11, 5), (12, 4)]),
        append(10, 5, &[(11, 6)]),
        append(0, 0, &[(1, 0)]),
        RaftEnvelope { kind: RaftKind::Heartbeat, ..append(10, 5, &[(11, 5)]) },
    ];
    for message in wrong {
        assert_eq!(admit(&follower(), NODE, &message), Err(Refused::Entries), "{message:?}");
    }
    // Beyond the log, with the term that raft takes for "no such entry".
    for message in [append(40, 0, &[(41, 5)]), append(0, 3, &[]), append(3, 6, &[]), append(u64::MAX, 5, &[])] {
        assert!(matches!(admit(&follower(), NODE, &message), Err(Refused::Position { .. })), "{message:?}");
    }
    let huge = RaftEnvelope { commit: u64::MAX, ..append(10, 5, &[]) };
    assert!(matches!(admit(&follower(), NODE, &huge), Err(Refused::Index { .. })));
}

#[test]
fn an_entry_holds_what_its_shard_holds() {
    let of_system = RaftFacts { is_system: true, ..follower() };
    assert_eq!(admit(&of_system, NODE, &holds(system())), Ok(()));
    for (facts, data) in [(follower(), system()), (of_system, data()), (follower(), Bytes::from_static(&[1]))] {
        assert_eq!(admit(&facts, NODE, &holds(data)), Err(Refused::Content { index: 11 }));
    }
    // Of a newer release: another format, another kind.
    for data in [Bytes::from_static(&[2, 0, 9]), Bytes::from_static(&[1, 2, 9])] {
        assert_eq!(admit(&follower(), NODE, &holds(data)), Ok(()));
    }
}

#[test]
fn a_change_of_members_can_be_read_and_names_copies() {
    let copy = |node, id| Copy { node: NodeId(node), id: ReplicaId(id) };
    let joint = |count| MemberChange::Joint { promote: vec![ReplicaId(3); count], remove: Vec::new() };
    for change in [MemberChange::AddLearner(copy(3, 4)), MemberChange::Remove(ME), joint(7), MemberChange::Leave] {
        assert_eq!(admit(&follower(), NODE, &changes(codec::encode(&change))), Ok(()));
    }
    let wrong = [MemberChange::AddLearner(copy(0, 4)), MemberChange::AddLearner(copy(3, 0)), joint(15)];
    for context in wrong.iter().map(codec::encode).chain([Bytes::new(), Bytes::from_static(&[1, 0])]) {
        assert_eq!(admit(&follower(), NODE, &changes(context)), Err(Refused::Content { index: 11 }));
    }
    let last = codec::encode(&MemberChange::Leave);
    assert_eq!(last[1], MemberChange::KINDS - 1);
    assert_eq!(admit(&follower(), NODE, &changes(Bytes::from_static(&[1, MemberChange::KINDS, 0]))), Ok(()));
}

#[test]
fn an_acknowledgement_is_of_what_was_sent() {
    let sent = |field: &'static str, value| {
        let mut message = message(RaftKind::AppendResponse);
        match field {
            "index" => message.index = value,
            "reject_hint" => message.reject_hint = value,
            _ => message.request_snapshot = value,
        }
        message
    };
    for field in ["index", "reject_hint", "request_snapshot"] {
        assert_eq!(admit(&leader(), NODE, &sent(field, 10)), Ok(()));
        for value in [11, u64::MAX] {
            let refused = Refused::Index { field, value, max: 10 };
            assert_eq!(admit(&leader(), NODE, &sent(field, value)), Err(refused));
        }
    }
}

#[test]
fn a_vote_is_asked_for_with_a_log_that_can_be() {
    let ask =
        |index, log_term, commit| RaftEnvelope { term: 6, index, log_term, commit, ..message(RaftKind::RequestVote) };
    assert_eq!(admit(&follower(), NODE, &ask(10, 5, 10)), Ok(()));
    for message in [ask(10, 7, 0), ask(10, 0, 0), ask(0, 1, 0), ask(u64::MAX, 6, 0), ask(10, 5, 11)] {
        assert!(admit(&follower(), NODE, &message).is_err(), "{message:?}");
    }
    let long = RaftEnvelope { context: Bytes::from(vec![0; 65]), ..ask(10, 5, 10) };
    assert_eq!(admit(&follower(), NODE, &long), Err(Refused::Context { bytes: 65 }));
}

#[cfg(feature = "planted")]
#[test]
fn every_check_that_is_switched_off_lets_something_through() {
    use crate::planted::plant;

    let heartbeat = message(RaftKind::Heartbeat);
    let through = [
        (Planted::SenderUnchecked, follower(), RaftEnvelope { from: ReplicaId(0), ..heartbeat.clone() }),
        (Planted::CommitUnchecked, follower(), RaftEnvelope { commit: 11, ..heartbeat }),
        (Planted::EntriesUnchecked, follower(), append(40, 0, &[(41, 5)])),
        (Planted::PayloadUnchecked, follower(), holds(system())),
        (Planted::AcknowledgementUnchecked, leader(), RaftEnvelope { index: 11, ..message(RaftKind::AppendResponse) }),
    ];
    for (bug, facts, message) in through {
        let facts = if bug == Planted::SenderUnchecked { RaftFacts { leader: ReplicaId(0), ..facts } } else { facts };
        assert!(admit(&facts, NODE, &message).is_err(), "{bug:?}");
        plant(Some(bug));
        assert_eq!(admit(&facts, NODE, &message), Ok(()), "{bug:?}");
        plant(None);
    }
}

#[test]
fn a_copy_is_leaderless_once_it_has_heard_no_leader_for_long() {
    let engine = tests::Memory::default();
    let mut replica = tests::copy(&[], 1, &engine);
    replica.consensus.pass_ticks(10 * LEADERLESS_TICKS);
    let mut heard = tests::follow(&mut replica, &engine);
    tests::tick(&mut replica, &mut heard);
    let is_leaderless = |replica: &Replica| replica.facts(ReplicaId(2), || None).is_leaderless;
    assert!(!is_leaderless(&replica));
    replica.consensus.pass_ticks(LEADERLESS_TICKS + 1);
    assert!(is_leaderless(&replica));
}
