//! Claims about a leader: how often it speaks, who is in sync with it, whom it hands over to, and what its log forgets.

use super::*;
use crate::answer::Answer;
use crate::command::{Command, Mutation};
use crate::duty::Duty;
use crate::ids::Token;
use crate::message::RaftEnvelope;
use crate::node::Refusal;
use crate::replica::consensus::{ELECTION_SPREAD_TICKS, HEARTBEAT_TICKS, WAITING_MAX};

/// Ticks the copy, and lets it hear of the others.
fn tick_heard(replica: &mut Replica, engine: &Memory) -> Vec<RaftEnvelope> {
    let mut liveness = Liveness::new(NodeId(1), Incarnation(1));
    hear_all(&mut liveness);
    tick(replica, &mut liveness);
    sent(replica, engine)
}

fn ids(copies: impl IntoIterator<Item = ReplicaId>) -> Vec<u64> {
    copies.into_iter().map(|id| id.0).collect()
}

#[test]
fn a_leader_speaks_to_each_follower_once_in_a_few_ticks() {
    let engine = Memory::default();
    let mut replica = leader(&engine);
    let ticks = 4 * HEARTBEAT_TICKS;
    let said: Vec<_> = (0..ticks).flat_map(|_| tick_heard(&mut replica, &engine)).collect();
    let to = |id| said.iter().filter(|m| m.kind == RaftKind::Heartbeat && m.to == ReplicaId(id)).count();
    assert_eq!((to(2), to(3)), (4, 4));
}

#[test]
fn a_leader_has_applied_in_its_term_once_an_entry_of_its_own_is_committed() {
    let engine = Memory::default();
    // The former leader's entry may be committed, and nobody knows.
    let mut replica = copy(&[(2, 1)], 1, &engine);
    lead(&mut replica, &engine);
    assert!(replica.is_leader() && !replica.has_applied_in_term());
    let last = replica.consensus.last_index();
    replica.step(NodeId(2), RaftEnvelope { index: last, ..message(2, RaftKind::AppendResponse, replica.term()) });
    sent(&mut replica, &engine);
    assert!(replica.has_applied_in_term());
    assert_eq!(replica.state().applied.0, last);
}

#[cfg(feature = "planted")]
#[test]
fn a_leader_that_does_not_wait_for_an_entry_of_its_own_is_noticed() {
    let engine = Memory::default();
    let mut replica = copy(&[(2, 1)], 1, &engine);
    lead(&mut replica, &engine);
    crate::planted::plant(Some(Planted::StewardBeforeOwnTerm));
    let has_applied = replica.has_applied_in_term();
    crate::planted::plant(None);
    assert!(has_applied);
}

#[test]
fn no_copy_stands_for_election_before_it_may_vote_and_they_differ() {
    let engine = Memory::default();
    let mut seen = BTreeSet::new();
    for seed in 0..64 {
        let setup = Setup { node: NodeId(1), seed, requests_max: REQUESTS_MAX, highest_level: FormatLevel::NEWEST };
        let state = ReplicaState::first(ReplicaId(1), descriptor());
        let mut replica = Replica::open(setup, state, None, &engine).expect("a store in memory never fails");
        seen.insert(replica.consensus.raw().raft.randomized_election_timeout());
    }
    let (first, last) = (seen.first().copied(), seen.last().copied());
    assert_eq!(first, Some(ELECTION_TICKS + 1));
    assert_eq!(last, Some(ELECTION_TICKS + ELECTION_SPREAD_TICKS - 1));
}

#[test]
fn whoever_was_heard_of_lately_and_has_what_is_committed_is_in_sync() {
    let engine = Memory::default();
    let mut replica = leader(&engine);
    assert_eq!(ids(replica.in_sync()), [1, 2, 3]);
    replica.consensus.pass_ticks(ELECTION_TICKS as u64);
    let tick = replica.consensus.ticks();
    replica.consensus.peers().hear(ReplicaId(2), tick);
    replica.consensus.peers().hear(ReplicaId(3), tick - ELECTION_TICKS as u64);
    assert_eq!(ids(replica.in_sync()), [1, 2, 3]);
    replica.consensus.peers().hear(ReplicaId(3), tick - ELECTION_TICKS as u64 - 1);
    assert_eq!(ids(replica.in_sync()), [1, 2]);
    let committed = replica.consensus.commits().two_ticks_ago();
    replica.consensus.raw().raft.mut_prs().get_mut(2).expect("it is a member").matched = committed - 1;
    assert_eq!(ids(replica.in_sync()), [1]);
}

#[test]
fn a_leader_hands_over_to_a_voter_in_sync_and_to_nobody_else() {
    let engine = Memory::default();
    let mut replica = leader(&engine);
    assert_eq!(replica.transfer_targets(|_| true).first(), Some(&ReplicaId(2)));
    replica.consensus.peers().forget_heard(ReplicaId(2));
    assert_eq!(replica.transfer_targets(|_| true), [ReplicaId(3)]);
    replica.machine.state_mut().descriptor.members[2].role = Role::Learner;
    assert_eq!(replica.transfer_targets(|_| true), []);
    let mut follower = copy(&[], 1, &engine);
    follow(&mut follower, &engine);
    assert_eq!(follower.transfer_targets(|_| true), []);
}

#[test]
fn a_follower_must_go_on_whose_log_the_store_has_or_whose_end_only_a_later_term_commits() {
    let engine = Memory::default();
    let mut replica = copy(&[(2, 1), (3, 1), (4, 1)], 3, &engine);
    follow(&mut replica, &engine);
    assert!(!replica.must_go_on(1), "its leader commits the end with entries that others have");
    assert!(replica.must_go_on(2));
    replica.consensus.raw().raft.raft_log.commit_to(4);
    assert!(!replica.must_go_on(2), "all is committed, and the store is to have it");
    replica.consensus.syncs_mut().set_durable((4, 1));
    assert!(replica.must_go_on(1));
}

#[test]
fn requests_that_wait_are_counted_and_not_the_entries_that_they_are_in() {
    let engine = Memory::default();
    let mut replica = leader(&engine);
    for number in 0..5 {
        let mutations = vec![Mutation::Delete { key: Bytes::from_static(b"k") }];
        let command = Command { request: None, conditions: vec![], mutations };
        replica.write(Token(number), command, &mut Vec::new());
    }
    assert!(replica.waiting() == 5 && replica.consensus.proposals().has_writes());
    sent(&mut replica, &engine);
    assert!(replica.waiting() == 5 && !replica.consensus.proposals().has_writes());
}

#[test]
fn a_copy_knows_its_leaders_node() {
    let engine = Memory::default();
    assert_eq!(leader(&engine).leader_node(), Some(NodeId(1)));
    let mut follower = copy(&[], 1, &engine);
    assert_eq!(follower.leader_node(), None);
    follow(&mut follower, &engine);
    assert_eq!(follower.leader_node(), Some(NodeId(2)));
}

/// A leader with twenty entries, which the store has up to the tenth.
fn with_log(engine: &Memory) -> (Replica, usize) {
    let mut replica = leader(engine);
    let last = replica.consensus.last_index();
    for _ in 0..20 {
        replica.consensus.raw().propose(Vec::new(), vec![0; 1_000]).expect("it leads");
    }
    sent(&mut replica, engine);
    for id in [2, 3] {
        let answer = RaftEnvelope { index: last + 20, ..message(id, RaftKind::AppendResponse, replica.term()) };
        replica.step(NodeId(id), answer);
    }
    durable_up_to(&mut replica, last + 10);
    let one = replica.log_bytes() / 20;
    (replica, one)
}

#[test]
fn a_log_forgets_nothing_that_the_store_has_not_synced() {
    let engine = Memory::default();
    let (mut replica, _) = with_log(&engine);
    let durable = replica.consensus.syncs().durable_index();
    assert_eq!(replica.cut(0, usize::MAX).map(|cut| cut.start.0), Some(durable));
    assert_eq!(replica.cut(0, usize::MAX), None);
}

#[test]
fn a_log_keeps_what_it_is_to_keep_and_more_for_a_follower_that_lags() {
    let engine = Memory::default();
    let (mut replica, one) = with_log(&engine);
    let all = replica.log_bytes();
    assert_eq!(replica.cut(all, usize::MAX), None);
    let start = replica.consensus.log_start().0;
    // A member that has less than the store.
    let matched = |replica: &mut Replica, index| {
        replica.consensus.raw().raft.mut_prs().get_mut(3).expect("it is a member").matched = index;
    };
    let (durable, last) = (replica.consensus.syncs().durable_index(), replica.consensus.last_index());
    matched(&mut replica, durable - 1);
    assert_eq!(replica.cut(all / 4, usize::MAX), None);
    assert_eq!(replica.consensus.log_start().0, start);
    // One that has as much as the store holds nothing up.
    matched(&mut replica, durable);
    assert!(replica.cut(all / 2 + one, usize::MAX).is_some());
    matched(&mut replica, last);
    assert!(replica.cut(0, usize::MAX).is_some());
}

#[test]
fn whoever_waits_for_a_leader_that_steps_down_is_told() {
    let engine = Memory::default();
    let mut replica = leader(&engine);
    let mut out = Collected::default();
    let put = Mutation::Put { key: Bytes::from_static(b"k"), value: Bytes::new(), expires_ms: None };
    let command = Command { request: None, conditions: vec![], mutations: vec![put] };
    replica.write(Token(5), command, &mut out.answers);
    sent(&mut replica, &engine);
    replica.step(NodeId(2), message(2, RaftKind::Heartbeat, replica.term() + 1));
    replica.collect(&engine, NOW, u64::MAX, &mut out).expect("a store in memory never fails");
    let unknown = Answer::Write(Err(Refusal::OutcomeUnknown { shard: SHARD }));
    assert_eq!(out.answers, [(Token(5), unknown)]);
}

#[test]
fn entries_are_shown_from_after_one_index_up_to_another() {
    let engine = Memory::default();
    let replica = copy(&[(2, 1), (3, 1), (4, 2)], 3, &engine);
    let shown = |low, high| replica.entries_between(low, high).iter().map(|e| (e.0, e.1)).collect::<Vec<_>>();
    assert_eq!(shown(0, 9), [(2, 1), (3, 1), (4, 2)]);
    assert_eq!(shown(2, 3), [(3, 1)]);
    assert_eq!(shown(3, 4), [(4, 2)]);
    assert_eq!(shown(3, 3), []);
    assert_eq!(shown(4, 9), []);
}

#[test]
fn a_probe_tells_for_a_while_who_is_there() {
    let engine = Memory::default();
    let mut replica = leader(&engine);
    assert_eq!(ids(replica.answered()), [1]);
    replica.start_probe();
    let probed = replica.consensus.last_index();
    replica.start_probe();
    assert_eq!(replica.consensus.last_index(), probed, "one at a time");
    assert_eq!(ids(replica.answered()), [1]);
    sent(&mut replica, &engine);
    let answer = RaftEnvelope { index: probed, ..message(3, RaftKind::AppendResponse, replica.term()) };
    replica.step(NodeId(3), answer);
    assert_eq!(ids(replica.answered()), [1, 3]);
    replica.consensus.pass_ticks(20);
    assert_eq!(ids(replica.answered()), [1, 3]);
    replica.consensus.pass_ticks(1);
    assert_eq!(ids(replica.answered()), [1]);
    replica.start_probe();
    assert_eq!(replica.consensus.last_index(), probed + 1);
}

#[test]
fn a_copy_knows_from_its_descriptor_where_the_others_are() {
    let engine = Memory::default();
    let mut replica = copy(&[], 1, &engine);
    replica.consensus.raw().campaign().expect("it is a voter");
    let asked = sent(&mut replica, &engine);
    assert_eq!(kinds(&asked), [RaftKind::RequestPreVote; 2]);
    assert_eq!(ids(asked.iter().map(|m| m.to).collect::<BTreeSet<_>>()), [2, 3]);
}

#[test]
fn only_a_leader_that_few_wait_for_confirms_that_it_leads() {
    let engine = Memory::default();
    let duty = Duty::Steward { nonce: 1 };
    let mut follower = copy(&[], 1, &engine);
    follow(&mut follower, &engine);
    assert!(!follower.confirm(duty, NOW));
    let mut replica = leader(&engine);
    for _ in 0..WAITING_MAX {
        assert!(replica.confirm(duty, NOW));
    }
    assert!(!replica.confirm(duty, NOW));
}

/// The disk of this copy's node has stalled, and both others could do without it.
fn beside_a_stalled_disk() -> Liveness {
    let mut liveness = Liveness::new(NodeId(1), Incarnation(1));
    liveness.hear_stall(NodeId(1), true);
    hear_all(&mut liveness);
    liveness
}

#[test]
fn a_copy_whose_disk_has_stalled_stands_only_where_the_others_elect_nobody_for_long() {
    let engine = Memory::default();
    let mut replica = copy(&[], 1, &engine);
    let mut liveness = beside_a_stalled_disk();
    let stands_at = (1..400).find(|_| {
        hear_all(&mut liveness);
        tick(&mut replica, &mut liveness);
        kinds(&sent(&mut replica, &engine)).contains(&RaftKind::RequestPreVote)
    });
    // After ten seconds, of which some have passed, and an election time-out.
    assert!(stands_at.is_some_and(|ticks| (180..240).contains(&ticks)), "{stands_at:?}");
}

#[test]
fn a_leader_whose_disk_has_stalled_asks_each_of_the_others_to_take_over() {
    let engine = Memory::default();
    let mut replica = leader(&engine);
    let mut liveness = beside_a_stalled_disk();
    let mut asked = BTreeSet::new();
    for _ in 0..8 * ELECTION_TICKS {
        hear_all(&mut liveness);
        tick(&mut replica, &mut liveness);
        replica.give_way(&liveness);
        let hand_overs = sent(&mut replica, &engine).into_iter().filter(|m| m.kind == RaftKind::TimeoutNow);
        asked.extend(hand_overs.map(|message| message.to));
        // Neither takes it.
        [2, 3].iter().for_each(|id| {
            replica.step(NodeId(*id), message(*id, RaftKind::HeartbeatResponse, replica.term()));
        });
    }
    assert_eq!(ids(asked), [2, 3]);
}
