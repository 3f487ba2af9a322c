//! Claims about which words of other nodes have an effect here: for which copy, and from whom.

use bytes::Bytes;

use super::*;
use crate::ids::{Generation, ReplicaId};
use crate::log::{EntryKind, LogEntry};
use crate::map::{MapDelta, QuorumRecord, Quorums, Role};
use crate::message::SnapshotState;
use crate::node::Input;
use crate::node::garbage::Wipe;
use crate::node::tests::{NOW, SHARD, TABLE, delta, descriptor, hears, node, settled, table, with_copy, worked};
use crate::quorum::message::{Body, Envelope};
use crate::ranges::KeyRange;
use crate::replica::tests::{Memory, offer};

/// What goes to other nodes.
fn sent(node: &mut Node, engine: &Memory) -> Vec<(u64, PeerMessage)> {
    let sent = settled(node, engine).into_iter().flat_map(|effects| effects.send);
    sent.map(|(to, message)| (to.0, message)).collect()
}

fn asks_for_the_map(sent: &[(u64, PeerMessage)], of: u64) -> bool {
    sent.iter().any(|(to, message)| *to == of && matches!(message, PeerMessage::MapWant { .. }))
}

/// A node speaks to a copy that is not here.
struct Spoken {
    node: u64,
    from: u64,
    to: u64,
    kind: RaftKind,
    /// This copy of the shard was here before and has ended.
    entombed: u64,
    is_quorum: bool,
}

const SPOKEN: Spoken = Spoken { node: 2, from: 2, to: 1, kind: RaftKind::Append, entombed: 0, is_quorum: false };

/// True if a copy is made for it, and whether the map is asked for.
fn makes(spoken: &Spoken) -> (bool, bool) {
    let engine = Memory::default();
    let mut node = node(&engine);
    let mut record = ShardRecord { descriptor: descriptor(SHARD, TABLE), ..ShardRecord::default() };
    record.descriptor.generation = Generation(2);
    let quorums = Quorums { write: 2, read: 2 };
    let quorum = QuorumRecord { current: quorums, change: None, resolve: Default::default(), is_unsure: false };
    record.quorum = spoken.is_quorum.then_some(quorum);
    let map = node.map.edit().0;
    map.put_table(table(false));
    map.put_shard(record);
    settled(&mut node, &engine);
    if spoken.entombed > 0 {
        node.entomb(SHARD, ReplicaId(spoken.entombed), &engine).expect("it is in memory");
    }
    let copies = (ReplicaId(spoken.from), ReplicaId(spoken.to));
    hears(&mut node, &engine, spoken.node, PeerMessage::Raft(RaftEnvelope::empty(SHARD, copies, spoken.kind, 3)));
    let asks = asks_for_the_map(&sent(&mut node, &engine), spoken.node);
    let copy = node.replica(SHARD);
    assert!(copy.is_none_or(|copy| copy.is_blank() && copy.id() == copies.1), "it has no records yet");
    (copy.is_some(), asks)
}

#[test]
fn a_copy_is_made_for_a_leader_that_the_map_has_where_it_says_and_that_means_this_node() {
    assert_eq!(makes(&SPOKEN), (true, false));
    assert_eq!(makes(&Spoken { kind: RaftKind::Heartbeat, ..SPOKEN }), (true, false));
    for kind in [RaftKind::RequestVote, RaftKind::RequestPreVote, RaftKind::TimeoutNow, RaftKind::AppendResponse] {
        assert_eq!(makes(&Spoken { kind, ..SPOKEN }), (false, false), "{kind:?}");
    }
    assert_eq!(makes(&Spoken { node: 3, ..SPOKEN }), (false, true), "the second copy is elsewhere");
    assert_eq!(makes(&Spoken { to: 3, ..SPOKEN }), (false, true), "the third copy is elsewhere");
    assert_eq!(makes(&Spoken { to: 9, ..SPOKEN }), (false, true), "the map has no such copy");
    assert_eq!(makes(&Spoken { is_quorum: true, ..SPOKEN }), (false, true), "nobody leads it");
    assert_eq!(makes(&Spoken { entombed: 1, ..SPOKEN }), (false, false), "it was here before");
    assert_eq!(makes(&Spoken { entombed: 4, ..SPOKEN }), (false, false), "a later one was here before");
}

/// The shard's record names another copy here than the one that lives here, and a leader speaks to that. True if the one that
/// is here makes way. `role` = the old one is named too.
fn makes_way(role: Option<Role>, by: &[u64]) -> bool {
    let engine = Memory::default();
    let mut node = with_copy(&engine, &[1, 2, 3]);
    let mut record = node.map().shards[&SHARD].clone();
    let mut later = record.descriptor.members[0];
    later.replica.id = ReplicaId(11);
    match role {
        Some(role) => record.descriptor.members[0].role = role,
        None => drop(record.descriptor.members.remove(0)),
    }
    record.descriptor.members.push(later);
    record.descriptor.generation = Generation(3);
    let change: MapDelta = delta(&node, |delta, epoch| {
        delta.shards.push(ShardRecord { epoch, ..record });
        delta.replica_max = ReplicaId(11);
    });
    for from in by {
        node.learn(NodeId(*from), change.clone());
    }
    let copies = (ReplicaId(2), ReplicaId(11));
    hears(&mut node, &engine, 2, PeerMessage::Raft(RaftEnvelope::empty(SHARD, copies, RaftKind::Append, 3)));
    node.replica(SHARD).is_none_or(|copy| copy.id() == copies.1)
}

#[test]
fn a_copy_makes_way_for_a_later_one_once_it_is_certain_that_it_is_named_no_more() {
    assert!(makes_way(None, &[2, 3]));
    assert!(!makes_way(None, &[2]), "one node says so");
    for role in [Role::Voter, Role::Learner, Role::Incoming, Role::Outgoing] {
        assert!(!makes_way(Some(role), &[2, 3]), "{role:?}");
    }
}

#[test]
fn a_word_of_a_quorum_copy_that_the_map_does_not_have_is_refused_and_the_map_asked_for() {
    let engine = Memory::default();
    let mut node = node(&engine);
    settled(&mut node, &engine);
    let (shard, from, to, generation) = (SHARD, ReplicaId(2), ReplicaId(1), Generation(1));
    let envelope = Envelope { shard, from, to, generation, body: Body::BoundsWanted };
    hears(&mut node, &engine, 2, PeerMessage::Quorum(envelope.clone()));
    assert_eq!(node.refusals().count, 1);
    assert!(asks_for_the_map(&sent(&mut node, &engine), 2));
    hears(&mut node, &engine, 8, PeerMessage::Quorum(envelope));
    assert_eq!((node.refusals().count, sent(&mut node, &engine)), (2, vec![]), "that is no node of the database");
}

/// A copy without records is offered a snapshot by its leader. What it answers.
fn offered(before: impl FnOnce(&mut Node, &Memory)) -> Option<SnapshotState> {
    let engine = Memory::default();
    let mut node = with_copy(&engine, &[1, 2, 3]);
    let descriptor = node.map().shards[&SHARD].descriptor.clone();
    let blank =
        node.replicas.made_of(ReplicaState::blank(ReplicaId(1), SHARD), None, &engine).expect("it is in memory");
    node.replicas.insert(blank);
    let beat = RaftEnvelope::empty(SHARD, (ReplicaId(2), ReplicaId(1)), RaftKind::Heartbeat, 2);
    hears(&mut node, &engine, 2, PeerMessage::Raft(beat));
    settled(&mut node, &engine);
    before(&mut node, &engine);
    hears(&mut node, &engine, 2, PeerMessage::SnapshotOffer(SnapshotOffer { descriptor, ..offer(9, 2, 1) }));
    let ack = |(_, message)| if let PeerMessage::SnapshotAck(ack) = message { Some(ack.state) } else { None };
    sent(&mut node, &engine).into_iter().find_map(ack)
}

#[test]
fn a_snapshot_is_taken_where_its_disk_has_room_and_nothing_is_wiped_there() {
    assert_eq!(offered(|_, _| ()), Some(SnapshotState::Want(0)));
    let full = |node: &mut Node, engine: &Memory| {
        node.handle(Input::Disk { full: true, bytes: 9 }, engine, NOW).expect("it is in memory");
    };
    assert_eq!(offered(full), None);
    let wiped = |node: &mut Node, _: &Memory| {
        let range = KeyRange::of(&node.map().shards[&SHARD].descriptor);
        assert!(node.garbage.add(Wipe::of_range(SHARD, ReplicaId(1), range)).is_some());
    };
    assert_eq!(offered(wiped), None);
}

#[test]
fn entries_are_not_taken_while_too_many_wait_for_the_log_and_what_is_no_entry_is() {
    let engine = Memory::default();
    let mut node = with_copy(&engine, &[1, 2, 3]);
    let beat = |kind| RaftEnvelope {
        index: 1,
        log_term: 1,
        ..RaftEnvelope::empty(SHARD, (ReplicaId(2), ReplicaId(1)), kind, 2)
    };
    hears(&mut node, &engine, 2, PeerMessage::Raft(beat(RaftKind::Heartbeat)));
    settled(&mut node, &engine);
    for _ in 0..1_000 {
        let sequence = node.disk.log().next_sequence();
        node.disk.log_mut().handed(sequence, Vec::new());
    }
    for _ in 0..=node.config.log_stall_ticks {
        node.disk.tick();
    }
    let last = |node: &Node| node.replica(SHARD).map(|copy| copy.view().last);
    let entry = LogEntry { index: 2, term: 2, kind: EntryKind::Normal, data: Bytes::new(), context: Bytes::new() };
    let append = RaftEnvelope { entries: vec![entry], ..beat(RaftKind::Append) };
    hears(&mut node, &engine, 2, PeerMessage::Raft(append.clone()));
    assert_eq!(last(&node), Some(1));
    hears(&mut node, &engine, 2, PeerMessage::Raft(RaftEnvelope { term: 3, ..beat(RaftKind::Heartbeat) }));
    assert_eq!(node.replica(SHARD).map(Replica::term), Some(3));
    while node.disk.log_mut().durable(u64::MAX).is_some() {}
    hears(&mut node, &engine, 2, PeerMessage::Raft(RaftEnvelope { term: 3, ..append }));
    assert_eq!(last(&node), Some(2));
}

#[test]
fn what_a_leader_is_asked_by_its_own_node_it_answers_there() {
    let engine = Memory::default();
    let mut node = with_copy(&engine, &[1]);
    worked(&mut node, &engine, 2);
    node.certify_asked((NodeId(1), 5), NodeId(3), &[SHARD], NOW);
    assert_eq!(sent(&mut node, &engine), []);
}
