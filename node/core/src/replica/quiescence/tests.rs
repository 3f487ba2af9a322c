//! Claims about rest: a copy goes quiescent only if nobody waits for it, nor it for anybody, and comes back at once.

use bytes::Bytes;

use super::*;
use crate::command::Command;
use crate::duty::Duty;
use crate::ids::{Incarnation, ReplicaId, Token};
use crate::map::{Descriptor, Role};
use crate::message::RaftKind;
#[cfg(feature = "planted")]
use crate::planted::Planted;
use crate::replica::consensus::reads::Reader;
use crate::replica::consensus::{Outstanding, Proposed};
use crate::replica::tests::{
    Memory, QUIET, blank, copy, follow, hear_all, hear_copies, leader, message, sent, tick, woken,
};
use crate::system::SystemCommand;
use crate::time::SILENT_TICKS;

/// True if the copy goes quiescent though something has been changed about it, while all other nodes are heard of.
fn rests(replica: &mut Replica, is_settled: bool) -> bool {
    let mut liveness = Liveness::new(NodeId(1), Incarnation(1));
    hear_all(&mut liveness);
    // Every one of these ends a time of rest that is long enough.
    for _ in 0..4 {
        replica.consensus.pass_ticks(2 * QUIET);
        if replica.is_leader() {
            hear_copies(replica);
        }
        replica.settle_pace(is_settled, QUIET, &liveness);
    }
    replica.is_quiescent()
}

fn follower(engine: &Memory) -> Replica {
    let mut replica = copy(&[], 1, engine);
    follow(&mut replica, engine);
    replica
}

fn reader() -> Reader {
    Reader::Node(Duty::Steward { nonce: 1 })
}

fn command() -> Command {
    Command { request: None, conditions: Vec::new(), mutations: Vec::new() }
}

type Change = (&'static str, fn(&mut Replica));

/// Whatever waits in a copy, one thing at a time.
const WAITING: [Change; 11] = [
    ("a write", |r| r.consensus.proposals_mut().push(command(), Token(1))),
    ("a command", |r| {
        assert!(r.consensus.proposals_mut().push_system(SystemCommand::Record(Descriptor::default()), None));
    }),
    ("a log write", |r| {
        let promises = Outstanding { sequence: 9, term: 1, ready: 9, messages: Vec::new(), snapshot: None };
        r.consensus.unpersisted().push(promises);
    }),
    ("an entry", |r| {
        r.consensus
            .proposals_mut()
            .proposed(9, Proposed { term: 1, waiters: Vec::new(), is_system: false, overwrites: 0 })
    }),
    ("a read", |r| r.consensus.reads_mut().wait(reader())),
    ("a confirmed read", |r| r.consensus.reads_mut().wait_applied(9, reader())),
    ("an entry that it was told of", |r| r.consensus.commits().tell(1, 99)),
    ("the store", |r| r.consensus.syncs_mut().hold_until(9)),
    ("its snapshot", |r| r.machine.state_mut().blank = true),
    ("the state machine", |r| r.machine.state_mut().applied.0 -= 1),
    ("a change of members", |r| r.machine.state_mut().descriptor.members[0].role = Role::Outgoing),
];

#[test]
fn a_copy_without_records_has_its_leader_for_a_peer() {
    let replica = blank(&Memory::default());
    assert_eq!(replica.nodes().count(), 0);
    assert_eq!(replica.peer_nodes().collect::<Vec<_>>(), [NodeId(2)]);
}

/// Speaks under a thousand ids to a copy that follows the second one. Gives how many it remembers.
fn remembered() -> usize {
    let engine = Memory::default();
    let mut replica = copy(&[(2, 1)], 1, &engine);
    follow(&mut replica, &engine);
    for id in 100..1_100 {
        replica.step(NodeId(9), message(id, RaftKind::HeartbeatResponse, 1));
        assert_eq!(replica.leader_node(), Some(NodeId(2)));
    }
    assert_eq!(replica.admit(NodeId(3), || None, &message(3, RaftKind::HeartbeatResponse, 1)), Ok(()));
    replica.consensus.peers().len()
}

#[test]
fn a_copy_does_not_remember_all_who_ever_spoke_to_it() {
    assert!(remembered() < 500);
}

#[cfg(feature = "planted")]
#[test]
fn a_copy_that_remembers_every_stranger_is_noticed() {
    crate::planted::plant(Some(Planted::StrangersKept));
    let remembered = remembered();
    crate::planted::plant(None);
    assert!(remembered > 1_000);
}

#[test]
fn a_copy_that_nothing_waits_for_rests() {
    let engine = Memory::default();
    assert!(rests(&mut follower(&engine), true));
    assert!(rests(&mut leader(&engine), true));
}

#[test]
fn a_copy_that_anything_waits_for_does_not_rest() {
    let engine = Memory::default();
    for (what, change) in WAITING {
        for mut replica in [follower(&engine), leader(&engine)] {
            change(&mut replica);
            assert!(!rests(&mut replica, true), "{what}; leads: {}", replica.is_leader());
        }
    }
}

#[test]
fn the_system_shard_never_rests() {
    let engine = Memory::default();
    let mut replica = follower(&engine);
    replica.machine.state_mut().descriptor.shard = ShardId::SYSTEM;
    assert!(!rests(&mut replica, true));
}

#[test]
fn a_log_with_entries_that_are_not_committed_does_not_rest() {
    let engine = Memory::default();
    let mut replica = copy(&[(2, 1)], 1, &engine);
    follow(&mut replica, &engine);
    assert!(!rests(&mut replica, true));
}

#[test]
fn a_leader_rests_only_in_sync_with_every_member_and_as_it_is_assigned() {
    let engine = Memory::default();
    assert!(!rests(&mut leader(&engine), false));
    let behind = |replica: &mut Replica| {
        let last = replica.consensus.last_index();
        replica.consensus.raw().raft.mut_prs().get_mut(3).expect("it is a member").matched = last - 1;
    };
    let changes: [Change; 2] = [
        ("a hand-over", |r| r.consensus.raw().raft.lead_transferee = Some(2)),
        ("the members to be known", |r| r.membership.known_from(r.consensus.last_index() + 1)),
    ];
    let mut replica = leader(&engine);
    behind(&mut replica);
    assert!(!rests(&mut replica, true));
    for (what, change) in changes {
        let mut replica = leader(&engine);
        change(&mut replica);
        assert!(!rests(&mut replica, true), "{what}");
    }
}

#[test]
fn a_copy_rests_only_while_those_that_it_depends_on_are_heard_of() {
    let engine = Memory::default();
    let silent = Liveness::new(NodeId(1), Incarnation(1));
    for mut replica in [follower(&engine), leader(&engine)] {
        replica.consensus.pass_ticks(2 * QUIET);
        hear_copies(&mut replica);
        replica.settle_pace(true, QUIET, &silent);
        assert!(!replica.is_quiescent(), "leads: {}", replica.is_leader());
    }
}

#[test]
fn followers_rest_before_their_leader() {
    let engine = Memory::default();
    let mut liveness = Liveness::new(NodeId(1), Incarnation(1));
    hear_all(&mut liveness);
    let waits = |replica: &mut Replica| {
        replica.wake(&liveness);
        let start = replica.consensus.ticks();
        while !replica.is_quiescent() && replica.consensus.ticks() < start + 100 {
            replica.consensus.pass_ticks(1);
            hear_copies(replica);
            replica.settle_pace(true, QUIET, &liveness);
        }
        replica.consensus.ticks() - start
    };
    assert_eq!(waits(&mut follower(&engine)), QUIET);
    assert_eq!(waits(&mut leader(&engine)), 2 * QUIET);
}

#[test]
fn a_resting_copy_that_something_waits_for_is_back_with_the_next_tick() {
    let engine = Memory::default();
    let mut liveness = Liveness::new(NodeId(1), Incarnation(1));
    hear_all(&mut liveness);
    let changes: [(Change, bool); 3] = [
        (("a read", |r| r.consensus.reads_mut().wait(reader())), true),
        (("an entry that it was told of", |r| r.consensus.commits().tell(1, 99)), true),
        (("nothing", |_| {}), false),
    ];
    for ((what, change), is_back) in changes {
        let mut replica = follower(&engine);
        assert!(rests(&mut replica, true));
        change(&mut replica);
        replica.settle_pace(true, QUIET, &liveness);
        assert_eq!(!replica.is_quiescent(), is_back, "{what}");
    }
    let mut replica = leader(&engine);
    assert!(rests(&mut replica, true));
    replica.settle_pace(false, QUIET, &liveness);
    assert!(!replica.is_quiescent(), "the members are to change");
}

#[test]
fn a_node_that_falls_silent_wakes_the_copies_that_it_has_a_part_in() {
    let engine = Memory::default();
    let liveness = Liveness::new(NodeId(1), Incarnation(1));
    let mut replica = leader(&engine);
    assert!(rests(&mut replica, true));
    replica.lost_sight(NodeId(9), &liveness);
    assert!(replica.is_quiescent());
    replica.lost_sight(NodeId(3), &liveness);
    assert!(!replica.is_quiescent());
    assert!(replica.consensus.peers().heard_at(ReplicaId(3)).is_none() && !replica.in_sync().contains(&ReplicaId(3)));
}

#[test]
fn a_woken_leader_asks_all_and_counts_only_those_in_sync_whose_nodes_are_heard_of() {
    let engine = Memory::default();
    let mut replica = leader(&engine);
    assert!(rests(&mut replica, true));
    replica.consensus.pass_ticks(1_000);
    let mut liveness = Liveness::new(NodeId(1), Incarnation(1));
    liveness.hear(NodeId(2), Incarnation(1));
    replica.wake(&liveness);
    let now = replica.consensus.ticks();
    let heard = [2, 3].map(|id| replica.consensus.peers().heard_at(ReplicaId(id)) == Some(now));
    assert_eq!(heard, [true, false]);
    let asked = sent(&mut replica, &engine);
    assert!(asked.iter().filter(|m| m.kind == RaftKind::Heartbeat).count() >= 2);
}

#[test]
fn only_plain_heartbeats_of_the_own_term_are_routine() {
    let engine = Memory::default();
    let replica = follower(&engine);
    for kind in [RaftKind::Heartbeat, RaftKind::HeartbeatResponse] {
        assert!(replica.is_routine(&message(2, kind, 1)));
        assert!(!replica.is_routine(&message(2, kind, 2)));
        let round = RaftEnvelope { context: Bytes::from_static(b"round"), ..message(2, kind, 1) };
        assert!(!replica.is_routine(&round));
    }
    for kind in [RaftKind::Append, RaftKind::AppendResponse, RaftKind::RequestPreVote, RaftKind::TimeoutNow] {
        assert!(!replica.is_routine(&message(2, kind, 1)));
        let round = RaftEnvelope { context: Bytes::from_static(b"round"), ..message(2, kind, 2) };
        assert!(!replica.is_routine(&round));
    }
}

#[test]
fn a_follower_goes_quiescent_and_counts_one_tick_in_five() {
    let engine = Memory::default();
    let mut replica = copy(&[], 1, &engine);
    let mut liveness = follow(&mut replica, &engine);
    for _ in 0..QUIET + 1 {
        liveness.hear(NodeId(2), Incarnation(1));
        tick(&mut replica, &mut liveness);
    }
    assert!(replica.is_quiescent());
    let before = replica.consensus.raw().raft.election_elapsed;
    for _ in 0..10 {
        liveness.hear(NodeId(2), Incarnation(1));
        tick(&mut replica, &mut liveness);
    }
    assert_eq!(replica.consensus.raw().raft.election_elapsed, before + 2);
}

#[test]
fn a_follower_whose_leader_is_silent_does_not_go_quiescent() {
    let engine = Memory::default();
    let mut replica = copy(&[], 1, &engine);
    let mut liveness = Liveness::new(NodeId(1), Incarnation(1));
    replica.step(NodeId(2), message(2, RaftKind::Heartbeat, 1));
    sent(&mut replica, &engine);
    for _ in 0..QUIET + 1 {
        tick(&mut replica, &mut liveness);
    }
    assert!(!replica.is_quiescent());
}

#[test]
fn a_woken_follower_has_waited_for_as_long_as_its_leaders_node_was_silent() {
    let (mut replica, mut liveness) = woken(&Memory::default());
    assert_eq!(replica.consensus.raw().raft.election_elapsed, 7);
    // One at full pace counts for itself.
    for _ in 0..2 * SILENT_TICKS {
        liveness.tick();
    }
    replica.wake(&liveness);
    assert_eq!(replica.consensus.raw().raft.election_elapsed, 7);
}
