//! Claims about one member of a group alone, without a store, records or a node.

use super::*;
use crate::ids::ShardId;
use crate::level::FormatLevel;
use crate::log::HardState;
use crate::map::{Descriptor, Replica as Copy, Role};
use crate::message::{PeerMessage, RaftEnvelope, RaftKind};
use crate::replica::collected::Collected;
use crate::replica::state::FIRST;

const SHARD: ShardId = ShardId(1);

/// The first of so many voters.
fn member(voters: u64) -> Consensus {
    member_of(&vec![Role::Voter; usize::try_from(voters).unwrap()])
}

/// The first of copies with these roles.
fn member_of(roles: &[Role]) -> Consensus {
    let copy = |(id, role): (u64, &Role)| Member { replica: Copy { node: NodeId(id), id: ReplicaId(id) }, role: *role };
    let members = (1..).zip(roles).map(copy).collect();
    let state = ReplicaState::first(ReplicaId(1), Descriptor { shard: SHARD, members, ..Descriptor::default() });
    let hard_state = HardState { term: 1, vote: 0, commit: 1 };
    let log = RecoveredLog { replica: ReplicaId(1), start: FIRST, entries: Vec::new(), hard_state };
    let setup = Setup { node: NodeId(1), seed: 7, requests_max: 1, highest_level: FormatLevel::NEWEST };
    Consensus::open(setup, &state, log).expect("it is sound")
}

/// What is committed, once all that raft wants is done but for making log batch `sequence` durable.
fn processed(consensus: &mut Consensus, sequence: u64, out: &mut Collected) -> Vec<LogEntry> {
    let mut committed = Vec::new();
    while let Some((ready, _)) = consensus.take_ready() {
        committed.extend(consensus.process(ready, (SHARD, sequence), out).committed);
    }
    committed
}

fn message(kind: RaftKind, term: u64) -> RaftEnvelope {
    RaftEnvelope::empty(SHARD, (ReplicaId(2), ReplicaId(1)), kind, term)
}

fn sent(out: &Collected) -> Vec<RaftKind> {
    let kind = |(_, message): &(NodeId, PeerMessage)| {
        if let PeerMessage::Raft(envelope) = message { Some(envelope.kind) } else { None }
    };
    out.send.iter().filter_map(kind).collect()
}

#[test]
fn an_entry_is_committed_only_once_the_log_has_it() {
    let (mut consensus, mut out) = (member(1), Collected::default());
    consensus.campaign();
    processed(&mut consensus, 1, &mut out);
    consensus.log_durable(1, &mut out);
    processed(&mut consensus, 2, &mut out);
    consensus.log_durable(2, &mut out);
    processed(&mut consensus, 3, &mut out);
    assert!(consensus.is_leader());
    let waits = |term| Proposed { term, waiters: Vec::new(), is_system: false, overwrites: 0 };
    assert!(consensus.propose(b"entry".to_vec(), waits) && !consensus.proposals().is_empty());
    assert_eq!(processed(&mut consensus, 4, &mut out), []);
    consensus.log_durable(4, &mut out);
    let committed = processed(&mut consensus, 5, &mut out);
    assert_eq!(committed.iter().map(|entry| &entry.data[..]).collect::<Vec<_>>(), [b"entry"]);
}

#[test]
fn a_vote_leaves_only_once_the_log_has_it() {
    let (mut consensus, mut out) = (member(3), Collected::default());
    // Past what the process before may have promised.
    consensus.pass_ticks(ELECTION_TICKS as u64);
    consensus.step(RaftEnvelope { index: 1, log_term: 1, ..message(RaftKind::RequestVote, 2) });
    processed(&mut consensus, 1, &mut out);
    assert_eq!(sent(&out), []);
    consensus.log_durable(1, &mut out);
    assert_eq!(sent(&out), [RaftKind::RequestVoteResponse]);
}

/// What the only voter has sent to a learner before and after its first term in this process is on disk.
fn sent_by_the_only_voter() -> (Vec<RaftKind>, Vec<RaftKind>) {
    let (mut consensus, mut out) = (member_of(&[Role::Voter, Role::Learner]), Collected::default());
    consensus.campaign();
    processed(&mut consensus, 1, &mut out);
    assert!(consensus.is_leader());
    let before = sent(&out);
    // Neither do later messages of that term leave before.
    (0..HEARTBEAT_TICKS).for_each(|_| consensus.tick());
    processed(&mut consensus, 2, &mut out);
    assert_eq!(sent(&out).len() - before.len(), usize::from(!before.is_empty()));
    consensus.log_durable(2, &mut out);
    (before, sent(&out))
}

/// A crash could make it forget a term that others have heard of, and it would lead that term a second time.
#[test]
fn the_only_voter_speaks_in_a_term_only_once_the_log_has_it() {
    let (before, after) = sent_by_the_only_voter();
    assert_eq!((before, after), (vec![], vec![RaftKind::Append, RaftKind::Heartbeat]));
}

/// raft asserts of whoever comes to lead that all of its log is on disk.
#[test]
fn the_only_voter_does_not_stand_while_its_log_is_not_written() {
    let (mut consensus, mut out) = (member(1), Collected::default());
    let wait = |consensus: &mut Consensus| {
        for _ in 0..3 * ELECTION_TICKS {
            assert!(consensus.begin_tick());
            consensus.keep_own_promise();
            consensus.tick();
        }
    };
    consensus.campaign();
    processed(&mut consensus, 1, &mut out);
    consensus.follow_nobody();
    wait(&mut consensus);
    let term = consensus.term();
    consensus.step(message(RaftKind::TimeoutNow, term));
    assert!(!consensus.is_leader());
    consensus.log_durable(1, &mut out);
    wait(&mut consensus);
    assert!(consensus.is_leader());
}

#[cfg(feature = "planted")]
#[test]
fn bugs_of_the_only_voter_are_noticed() {
    crate::planted::plant(Some(Planted::LoneTermLeavesEarly));
    let (before, _) = sent_by_the_only_voter();
    crate::planted::plant(None);
    assert_eq!(before, [RaftKind::Append]);
}

#[test]
fn whoever_is_followed_is_known_by_its_node() {
    let mut consensus = member(3);
    assert_eq!((consensus.leader(), consensus.leader_node()), (None, None));
    let heartbeat = message(RaftKind::Heartbeat, 1);
    consensus.hear(NodeId(2), &heartbeat, &[]);
    consensus.step(heartbeat);
    assert_eq!((consensus.leader(), consensus.leader_node()), (Some(ReplicaId(2)), Some(NodeId(2))));
    assert!(consensus.hears_leader());
}

#[test]
fn raft_counts_no_tick_of_a_copy_that_may_not_speak() {
    let mut consensus = member(3);
    assert!(consensus.begin_tick());
    consensus.hold_until(1, true);
    assert!(!consensus.begin_tick());
    assert!(consensus.syncs_mut().take_release(1) && consensus.begin_tick());
    consensus.fall_silent();
    assert!(!consensus.begin_tick());
}
