//! Claims about one node alone, which is told by the test what the others say.

use bytes::Bytes;

use super::*;
use crate::engine::{EngineWrite, data_key};
use crate::ids::{Epoch, Generation, ReplicaId, TableId};
use crate::map::{
    Consistency, Descriptor, Fragmentation, MapDelta, Member, NodeState, Replica as Copy, Role, ShardRecord,
    TableRecord,
};
use crate::message::{Beat, PeerMessage, RaftEnvelope, RaftKind, SnapshotChunk, SnapshotOffer};
use crate::node::authority::Subject;
use crate::replica::first_records;
use crate::replica::state::ReplicaState;
use crate::replica::tests::{Memory, empty_piece, offer};
use crate::system::state::SystemState;
use crate::system::{NewNode, SystemCommand};

mod overlap;

pub(super) const NOW: Now = Now { monotonic_ms: 100_000, wall_ms: 100_000 };
pub(super) const SHARD: ShardId = ShardId(7);
pub(super) const TABLE: TableId = TableId(1);

fn new_node(n: u64) -> NewNode {
    NewNode { volume: format!("volume-{n}"), address: format!("node-{n}:1"), zone: format!("zone-{n}") }
}

pub(super) fn descriptor(shard: ShardId, table: TableId) -> Descriptor {
    let member = |n| Member { replica: Copy { node: NodeId(n), id: ReplicaId(n) }, role: Role::Voter };
    Descriptor { shard, table, members: [1, 2, 3].map(member).to_vec(), ..Descriptor::default() }
}

/// Node 1 of three, each with a copy of the system shard.
pub(super) fn node(engine: &Memory) -> Node {
    let cluster = ClusterId("test".into());
    let mut system = SystemState::bootstrap(cluster.clone(), &new_node(1));
    for n in [2, 3] {
        system.apply(&SystemCommand::Join(new_node(n))).expect("it may join");
    }
    let seeds: Vec<NodeRecord> = system.map().nodes.values().cloned().collect();
    let (mut writes, last_version) = first_records(&mut system);
    let first = ReplicaState::first(ReplicaId(1), descriptor(ShardId::SYSTEM, TableId::SYSTEM));
    writes.push(ReplicaState { last_version, ..first }.write());
    engine.write(writes).expect("it is in memory");
    let NewNode { address, zone, .. } = new_node(1);
    let identity = Identity { cluster, node: NodeId(1), incarnation: Incarnation(3), address, zone };
    let config = NodeConfig { seeds, garbage_slice_records: 2, ..NodeConfig::default() };
    Node::open(identity, config, Recovered::default(), engine, NOW).expect("the store is good")
}

pub(super) fn ticked(node: &mut Node, engine: &Memory, ticks: u64) -> Vec<(NodeId, PeerMessage)> {
    let mut sent = Vec::new();
    for _ in 0..ticks {
        node.handle(Input::Tick, engine, NOW).expect("it is in memory");
        sent.extend(node.ready(engine, NOW).expect("it is in memory").send);
    }
    sent
}

/// The same of a node whose log and store are quick: all that it hands to them is durable at once. What it wanted done.
pub(super) fn worked(node: &mut Node, engine: &Memory, ticks: u64) -> Vec<Effects> {
    let mut all = Vec::new();
    for _ in 0..ticks {
        node.handle(Input::Tick, engine, NOW).expect("it is in memory");
        all.extend(settled(node, engine));
    }
    all
}

/// What a node wants done until nothing more follows from what is durable.
pub(super) fn settled(node: &mut Node, engine: &Memory) -> Vec<Effects> {
    let mut all = Vec::new();
    loop {
        let effects = node.ready(engine, NOW).expect("it is in memory");
        let batch = effects.log.as_ref().map(|batch| Input::LogDurable { sequence: batch.sequence });
        let sync = effects.sync.map(|mark| Input::EngineDurable { mark });
        let durable: Vec<Input> = batch.into_iter().chain(sync).collect();
        all.push(effects);
        if durable.is_empty() {
            return all;
        }
        durable.into_iter().for_each(|input| node.handle(input, engine, NOW).expect("it is in memory"));
    }
}

/// Node 1 hears something from another one.
pub(super) fn hears(node: &mut Node, engine: &Memory, from: u64, message: PeerMessage) {
    let (from, incarnation, messages) = (NodeId(from), Incarnation(1), vec![message]);
    node.handle(Input::Peer { from, incarnation, messages }, engine, NOW).expect("it is in memory");
}

pub(super) fn table(dropped: bool) -> TableRecord {
    TableRecord {
        id: TABLE,
        name: "sales".into(),
        fragmentation: Fragmentation::Range,
        consistency: Consistency::Leader,
        replication_factor: 3,
        dropped,
        epoch: Epoch(0),
    }
}

/// Node 1, which knows of a table with one shard, up to the key "m", and has this copy of it on disk.
pub(super) fn with_copy(engine: &Memory, members: &[u64]) -> Node {
    let mut node = node(engine);
    let mut descriptor = Descriptor { end: Some("m".into()), generation: Generation(2), ..descriptor(SHARD, TABLE) };
    descriptor.members.retain(|member| members.contains(&member.replica.id.0));
    node.create(ReplicaState::first(ReplicaId(1), descriptor.clone()), engine).expect("it is in memory");
    let map = node.map.edit().0;
    map.put_table(table(false));
    map.put_shard(ShardRecord { descriptor, ..ShardRecord::default() });
    settled(&mut node, engine);
    node
}

fn beats(sent: &[(NodeId, PeerMessage)]) -> Vec<(u64, Option<bool>)> {
    let beat = |(node, message): &(NodeId, PeerMessage)| {
        if let PeerMessage::Beat(Beat { disk_full, .. }) = message { Some((node.0, *disk_full)) } else { None }
    };
    sent.iter().filter_map(beat).collect()
}

#[test]
fn only_the_newest_process_of_a_node_that_is_not_removed_is_heard() {
    let engine = Memory::default();
    let mut node = node(&engine);
    let recorded = |node: &mut Node, incarnation, state| {
        let record = node.map.edit().0.nodes.get_mut(&NodeId(2)).expect("it is a node");
        (record.incarnation, record.state) = (Incarnation(incarnation), state);
    };
    recorded(&mut node, 4, NodeState::Active);
    assert!(!node.is_current(NodeId(2), Incarnation(3)));
    assert!(node.is_current(NodeId(2), Incarnation(4)));
    assert!(node.is_current(NodeId(2), Incarnation(6)));
    assert!(!node.is_current(NodeId(2), Incarnation(5)), "another has spoken since");
    recorded(&mut node, 4, NodeState::Draining);
    assert!(node.is_current(NodeId(2), Incarnation(6)));
    recorded(&mut node, 4, NodeState::Removed);
    assert!(!node.is_current(NodeId(2), Incarnation(6)));
    assert!(node.is_current(NodeId(9), Incarnation(1)), "one that is not known yet may be of a newer map");
}

#[test]
fn a_beat_goes_to_every_node_with_a_copy_of_a_shard_that_is_here_now_and_then() {
    let engine = Memory::default();
    let mut node = node(&engine);
    ticked(&mut node, &engine, 4);
    let sent = ticked(&mut node, &engine, 8);
    assert_eq!(beats(&sent), [(2, None), (3, None), (2, None), (3, None)]);
}

/// Somebody else says in this node's name that its disk has stalled.
fn is_own_name_believed() -> bool {
    let engine = Memory::default();
    let mut node = node(&engine);
    let (from, incarnation) = (node.identity.node, node.identity.incarnation);
    let messages = vec![PeerMessage::Beat(Beat { disk_stalled: true, ..Beat::default() })];
    node.handle(Input::Peer { from, incarnation, messages }, &engine, NOW).expect("it is in memory");
    assert!(node.others.liveness().is_stalled(from) || node.refusals().count == 1);
    node.others.liveness().is_stalled(from)
}

#[test]
fn nobody_speaks_in_this_nodes_own_name() {
    assert!(!is_own_name_believed());
}

#[cfg(feature = "planted")]
#[test]
fn a_word_in_the_own_name_that_is_believed_is_caught() {
    crate::planted::plant(Some(crate::planted::Planted::OwnNameBelieved));
    let is_believed = is_own_name_believed();
    crate::planted::plant(None);
    assert!(is_believed);
}

#[test]
fn a_disk_that_becomes_full_is_told_at_once_and_not_again() {
    let engine = Memory::default();
    let mut node = node(&engine);
    ticked(&mut node, &engine, 8);
    for (full, soon) in [(false, true), (false, false), (true, true), (true, false), (false, true)] {
        ticked(&mut node, &engine, 4);
        node.handle(Input::Disk { full, bytes: 9 }, &engine, NOW).expect("it is in memory");
        let sent = beats(&ticked(&mut node, &engine, 1));
        let expected = if soon { vec![(2, Some(full)), (3, Some(full))] } else { vec![] };
        assert_eq!(sent, expected, "full: {full}");
        ticked(&mut node, &engine, 3);
    }
}

#[test]
fn whoever_may_confirm_a_record_is_asked_from_before_it() {
    let engine = Memory::default();
    let mut node = node(&engine);
    let sought = |node: &mut Node| {
        let (map, here, outbox) = node.map_here();
        map.seek_confirmation(here, outbox);
        outbox.take_send()
    };
    assert_eq!(sought(&mut node), []);
    node.map.edit().1.wait_for(Epoch(8));
    node.map.edit().1.wait_for(Epoch(5));
    let mut asked: Vec<_> = sought(&mut node).into_iter().map(|(to, message)| (to.0, message)).collect();
    asked.sort_by_key(|(to, _)| *to);
    let want = || PeerMessage::MapWant { have: Epoch(4) };
    assert_eq!(asked, [(2, want()), (3, want())]);
}

/// What another node says of the map: this much of it has changed since.
pub(super) fn delta(node: &Node, change: impl FnOnce(&mut MapDelta, Epoch)) -> MapDelta {
    let (since, epoch) = (node.map().epoch, Epoch(node.map().epoch.0 + 1));
    let mut delta = MapDelta { cluster: node.identity.cluster.clone(), since, epoch, ..MapDelta::default() };
    change(&mut delta, epoch);
    delta
}

#[test]
fn a_node_whose_copy_of_the_system_shard_hears_a_leader_takes_no_map_from_others() {
    for hears in [false, true] {
        let engine = Memory::default();
        let mut node = node(&engine);
        if hears {
            let copies = (ReplicaId(2), ReplicaId(1));
            let beat = RaftEnvelope::empty(ShardId::SYSTEM, copies, RaftKind::Heartbeat, 1);
            let (from, incarnation, messages) = (NodeId(2), Incarnation(1), vec![PeerMessage::Raft(beat)]);
            node.handle(Input::Peer { from, incarnation, messages }, &engine, NOW).expect("it is in memory");
        }
        let before = node.map().epoch;
        let joined = delta(&node, |delta, epoch| {
            let known = &node.map().nodes[&NodeId(3)];
            delta.nodes.push(NodeRecord { id: NodeId(4), address: "node-4:1".into(), epoch, ..known.clone() });
        });
        node.learn(NodeId(2), joined);
        assert_eq!(node.map().epoch > before, !hears, "hears a leader: {hears}");
    }
}

#[test]
fn a_node_that_the_system_shard_went_to_confirms_it_together_with_one_witness() {
    let engine = Memory::default();
    let mut node = node(&engine);
    let moved = delta(&node, |delta, epoch| {
        let mut record = ShardRecord { epoch, ..node.map().shards[&ShardId::SYSTEM].clone() };
        let member = |n| Member { replica: Copy { node: NodeId(n), id: ReplicaId(n + 10) }, role: Role::Voter };
        record.descriptor.members = [3, 4, 5].map(member).to_vec();
        record.descriptor.generation.0 += 1;
        delta.shards.push(record);
    });
    node.learn(NodeId(2), moved.clone());
    assert!(!node.is_confirmed(Subject::Shard(ShardId::SYSTEM)));
    node.learn(NodeId(4), moved);
    assert!(node.is_confirmed(Subject::Shard(ShardId::SYSTEM)));
}

/// It may be one word that nobody else has: what a copy holds is not given up for it.
#[test]
fn a_copy_makes_way_for_a_later_one_only_by_a_record_that_is_confirmed() {
    let engine = Memory::default();
    let mut node = with_records(true, &engine);
    let moved = delta(&node, |delta, epoch| {
        let mut descriptor = Descriptor { generation: Generation(5), ..descriptor(SHARD, TableId(1)) };
        // Members are in the order of their ids.
        descriptor.members.rotate_left(1);
        descriptor.members[2].replica.id = ReplicaId(9);
        delta.shards.push(ShardRecord { descriptor, epoch, ..ShardRecord::default() });
        delta.replica_max = ReplicaId(9);
    });
    let here = |node: &Node| node.replica(SHARD).map(|replica| replica.id().0);
    for (witness, left) in [(2, Some(1)), (3, Some(9))] {
        node.learn(NodeId(witness), moved.clone());
        let beat = RaftEnvelope::empty(SHARD, (ReplicaId(2), ReplicaId(9)), RaftKind::Heartbeat, 1);
        for _ in 0..4 {
            let messages = vec![PeerMessage::Raft(beat.clone())];
            node.handle(Input::Peer { from: NodeId(2), incarnation: Incarnation(1), messages }, &engine, NOW)
                .expect("it is in memory");
            node.collect_garbage(&engine).expect("it is in memory");
        }
        assert_eq!(node.is_confirmed(Subject::Shard(SHARD)), left == Some(9));
        assert_eq!(here(&node), left, "after the word of node {witness}");
    }
}

#[test]
fn the_last_piece_of_a_snapshot_is_synced_at_once() {
    let engine = Memory::default();
    let mut node = with_records(true, &engine);
    for _ in 0..3 {
        node.collect_garbage(&engine).expect("it is in memory");
    }
    let descriptor = Descriptor { generation: Generation(1), ..descriptor(SHARD, TableId(1)) };
    let known = delta(&node, |delta, epoch| {
        delta.shards.push(ShardRecord { descriptor: descriptor.clone(), epoch, ..ShardRecord::default() });
        delta.replica_max = ReplicaId(3);
    });
    assert!(node.map.edit().0.merge(known));
    let mark = node.begin_sync(&engine).expect("it is in memory").expect("the copy is new");
    node.engine_durable(mark);
    let hear = |node: &mut Node, message| {
        let (from, incarnation, messages) = (NodeId(2), Incarnation(1), vec![message]);
        node.handle(Input::Peer { from, incarnation, messages }, &engine, NOW).expect("it is in memory");
    };
    let offer = SnapshotOffer { descriptor, ..offer(9, 2, 1) };
    hear(&mut node, PeerMessage::SnapshotOffer(offer));
    node.disk.syncs().want();
    let mark = node.begin_sync(&engine).expect("it is in memory").expect("one is wanted");
    node.engine_durable(mark);
    for (sequence, last) in [(0, false), (1, true)] {
        let piece = SnapshotChunk { shard: SHARD, ..empty_piece(1, sequence, last) };
        hear(&mut node, PeerMessage::SnapshotChunk(piece));
        assert_eq!(node.disk.syncs().waits(), (last, true));
    }
}

/// Five records of a table, of a copy that ends here or goes on without them.
pub(super) fn with_records(copy_lives: bool, engine: &Memory) -> Node {
    let mut node = node(engine);
    let record = |n: u8| EngineWrite::Put(data_key(TableId(1), &[n]), Bytes::from_static(b"v"));
    engine.write((0..5).map(record).collect()).expect("it is in memory");
    let state = ReplicaState { blank: true, ..ReplicaState::first(ReplicaId(1), descriptor(SHARD, TableId(1))) };
    node.create(state.clone(), engine).expect("it is in memory");
    if copy_lives {
        node.wipe_remains(SHARD, engine).expect("it is in memory");
        node.wipe_remains(SHARD, engine).expect("it is in memory");
    } else {
        node.destroy(SHARD, engine).expect("it is in memory");
    }
    node
}

fn records(engine: &Memory) -> usize {
    (0..5).filter(|n| engine.get(&data_key(TableId(1), &[*n])).expect("it is in memory").is_some()).count()
}

#[test]
fn garbage_goes_in_slices_and_is_awaited_to_its_end() {
    for copy_lives in [false, true] {
        let engine = Memory::default();
        let mut node = with_records(copy_lives, &engine);
        for left in [3, 1] {
            node.collect_garbage(&engine).expect("it is in memory");
            assert_eq!((records(&engine), node.garbage.is_of(SHARD)), (left, true));
        }
        node.collect_garbage(&engine).expect("it is in memory");
        assert_eq!((records(&engine), node.garbage.is_of(SHARD)), (0, false));
    }
}

#[test]
fn a_copy_whose_remains_are_wiped_may_take_a_snapshot_and_one_that_has_ended_is_entombed() {
    let engine = Memory::default();
    let mut node = with_records(true, &engine);
    let has_remains = |node: &Node| node.replica(SHARD).is_some_and(Replica::has_remains);
    assert!(has_remains(&node));
    for _ in 0..3 {
        node.collect_garbage(&engine).expect("it is in memory");
    }
    assert!(!has_remains(&node) && !node.tombstones.is_entombed(SHARD, ReplicaId(1)));
    let node = with_records(false, &Memory::default());
    assert!(node.replica(SHARD).is_none() && node.tombstones.is_entombed(SHARD, ReplicaId(1)));
    assert!(!node.tombstones.is_entombed(SHARD, ReplicaId(2)));
}

#[test]
fn garbage_of_an_earlier_copy_does_not_empty_a_later_one() {
    let engine = Memory::default();
    let mut node = with_records(true, &engine);
    let later = ReplicaState { blank: true, ..ReplicaState::first(ReplicaId(9), descriptor(SHARD, TableId(2))) };
    node.replicas.remove(SHARD);
    node.create(later, &engine).expect("it is in memory");
    for _ in 0..3 {
        node.collect_garbage(&engine).expect("it is in memory");
    }
    assert!(!node.garbage.is_of(SHARD) && node.replica(SHARD).is_some_and(Replica::has_remains));
}

#[test]
fn the_log_learns_of_a_copys_end_only_once_the_store_has_it() {
    let engine = Memory::default();
    let mut node = with_records(false, &engine);
    assert_eq!(node.tombstones.take_ends(), []);
    let mark = node.begin_sync(&engine).expect("it is in memory").expect("the end is to be synced");
    assert_eq!(node.tombstones.take_ends(), []);
    node.engine_durable(mark);
    let ends = node.tombstones.take_ends();
    assert!(ends.iter().any(|end| end.destroyed && (end.shard, end.replica) == (SHARD, ReplicaId(1))));
    assert_eq!(node.tombstones.take_ends(), []);
}

#[test]
fn a_stamp_is_the_highest_version_within_half_a_second_after_now() {
    let engine = Memory::default();
    let mut node = node(&engine);
    let wall = NOW.wall_ms;
    for (highest, expected) in [(wall - 5, wall), (wall + 7, wall + 7), (wall + 90_000, wall + ISSUED_AHEAD_MS_MAX)] {
        node.replicas.saw_version(Version::at_ms(highest));
        assert_eq!(node.stamp(NOW), Version::at_ms(expected));
    }
}

#[test]
fn what_is_refused_is_counted_and_the_last_is_named() {
    let engine = Memory::default();
    let mut node = node(&engine);
    for from in [8, 9] {
        let (from, incarnation) = (NodeId(from), Incarnation(1));
        let input = Input::Peer { from, incarnation, messages: vec![PeerMessage::ReportWant] };
        node.handle(input, &engine, NOW).expect("it is in memory");
    }
    let Refusals { count, last } = node.refusals();
    assert_eq!((*count, last.as_ref().map(|(from, _)| from.0)), (2, Some(9)));
}
