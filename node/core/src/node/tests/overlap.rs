//! Claims about what overlaps on one node: as after a split, keys are in the range of a shard that has ended here and in
//! that of another one that lives.

use super::*;
use crate::engine::EngineError;
use crate::invariants::overlap;

const TABLE: TableId = TableId(1);
/// A child of the shard that has ended here: it has the upper half of its keys.
const CHILD: ShardId = ShardId(8);
const UPPER: [u8; 2] = [7, 8];

/// The child's first copies, made as a new table's are.
fn child() -> Descriptor {
    let mut child = descriptor(CHILD, TABLE);
    (child.start, child.generation) = (Bytes::from_static(&[5]), Generation(1));
    child.members.iter_mut().for_each(|member| member.replica.id.0 += 10);
    child
}

fn put(engine: &Memory, keys: impl IntoIterator<Item = u8>) {
    let record = |n: u8| EngineWrite::Put(data_key(TABLE, &[n]), Bytes::from_static(b"v"));
    engine.write(keys.into_iter().map(record).collect()).expect("it is in memory");
}

fn upper(engine: &Memory) -> usize {
    let is_there = |n: &&u8| engine.get(&data_key(TABLE, &[**n])).expect("it is in memory").is_some();
    UPPER.iter().filter(is_there).count()
}

fn is_good(node: &Node) -> bool {
    overlap::check(NodeId(1), &node.ranges()).is_ok()
}

/// The map names the child's first copy here, and this node looks at it.
fn follow(node: &mut Node, engine: &Memory) -> Result<(), EngineError> {
    let change = delta(node, |delta, epoch| {
        delta.shards.push(ShardRecord { descriptor: child(), epoch, ..ShardRecord::default() });
    });
    node.learn(NodeId(2), change.clone());
    node.learn(NodeId(3), change);
    node.ready(engine, NOW).map(drop)
}

/// What is left of the parent is being wiped here, and the map names the child. Its records came by then as soon as it was
/// made. True if they are there when nothing is left to wipe, and nothing overlapped meanwhile.
fn is_child_kept_from_the_wipe() -> bool {
    let engine = Memory::default();
    let mut node = with_records(false, &engine);
    put(&engine, 5..9);
    follow(&mut node, &engine).expect("it is in memory");
    let (mut was_good, mut is_filled) = (is_good(&node), false);
    for _ in 0..20 {
        if node.replica(CHILD).is_some() && !is_filled {
            put(&engine, UPPER);
            is_filled = true;
        }
        ticked(&mut node, &engine, 1);
        was_good &= is_good(&node);
    }
    assert!(is_filled && !node.is_wiping());
    assert_eq!(was_good, upper(&engine) == UPPER.len(), "the rule sees what is lost");
    was_good
}

/// The child lives here, and then the node is told that it has a range to wipe which overlaps it, as a store may say that
/// knew the parent only. True if nothing of the child goes.
fn is_live_child_left_alone() -> bool {
    let engine = Memory::default();
    let mut node = node(&engine);
    node.create(ReplicaState::first(ReplicaId(11), child()), &engine).expect("it is in memory");
    put(&engine, UPPER);
    node.discard(&ReplicaState::first(ReplicaId(1), descriptor(SHARD, TABLE)), &engine).expect("it is in memory");
    assert!(!is_good(&node), "the rule sees it");
    (0..9).for_each(|_| node.collect_garbage(&engine).expect("it is in memory"));
    let is_left_alone = upper(&engine) == UPPER.len();
    assert_eq!(node.is_wiping(), is_left_alone);
    node.destroy(CHILD, &engine).expect("it is in memory");
    (0..9).for_each(|_| node.collect_garbage(&engine).expect("it is in memory"));
    assert_eq!((upper(&engine), node.is_wiping()), (0, false), "it goes when nobody has it");
    is_left_alone
}

/// A snapshot whose range another copy holds is offered. True if it is not taken.
fn is_snapshot_kept_from_anothers_range() -> bool {
    let engine = Memory::default();
    let mut node = node(&engine);
    node.create(ReplicaState::first(ReplicaId(11), child()), &engine).expect("it is in memory");
    node.create(ReplicaState::blank(ReplicaId(1), SHARD), &engine).expect("it is in memory");
    let parent = Descriptor { generation: Generation(1), ..descriptor(SHARD, TABLE) };
    let known = delta(&node, |delta, epoch| {
        delta.shards.push(ShardRecord { descriptor: parent.clone(), epoch, ..ShardRecord::default() });
        delta.replica_max = ReplicaId(13);
    });
    assert!(node.map.edit().0.merge(known));
    let mark = node.begin_sync(&engine).expect("it is in memory").expect("the copies are new");
    node.engine_durable(mark);
    let (from, incarnation) = (NodeId(2), Incarnation(1));
    let offer = SnapshotOffer { descriptor: parent, ..offer(9, 2, 1) };
    let messages = vec![PeerMessage::SnapshotOffer(offer)];
    node.handle(Input::Peer { from, incarnation, messages }, &engine, NOW).expect("it is in memory");
    assert_eq!(node.refusals().count, 0, "it is a good offer");
    let holds = node.ranges().iter().filter(|held| held.range.table == TABLE).count();
    assert_eq!(is_good(&node), holds == 1);
    is_good(&node)
}

/// The parent lives here when the map names the child, and ends later. True if the child is made once nothing is left of
/// the parent.
fn is_child_made_after_a_live_parent() -> bool {
    let engine = Memory::default();
    let mut node = node(&engine);
    node.create(ReplicaState::first(ReplicaId(1), descriptor(SHARD, TABLE)), &engine).expect("it is in memory");
    put(&engine, 5..9);
    follow(&mut node, &engine).expect("it is in memory");
    assert!(node.replica(CHILD).is_none() && is_good(&node), "it waits");
    ticked(&mut node, &engine, 20);
    assert!(node.replica(CHILD).is_none(), "it goes on waiting");
    node.destroy(SHARD, &engine).expect("it is in memory");
    ticked(&mut node, &engine, 20);
    assert!(!node.is_wiping() && is_good(&node));
    node.replica(CHILD).is_some()
}

fn told(node: &mut Node, engine: &Memory, message: PeerMessage) {
    let (from, incarnation, messages) = (NodeId(2), Incarnation(1), vec![message]);
    node.handle(Input::Peer { from, incarnation, messages }, engine, NOW).expect("it is in memory");
}

/// The child lives here, beside a range to be wiped that overlaps it, and needs a snapshot. True if it can have one.
fn is_snapshot_taken_beside_a_wipe() -> bool {
    let engine = Memory::default();
    let mut node = node(&engine);
    node.create(ReplicaState::first(ReplicaId(11), child()), &engine).expect("it is in memory");
    put(&engine, UPPER);
    let known = delta(&node, |delta, epoch| {
        delta.shards.push(ShardRecord { descriptor: child(), epoch, ..ShardRecord::default() });
        delta.replica_max = ReplicaId(13);
    });
    assert!(node.map.edit().0.merge(known));
    let mark = node.begin_sync(&engine).expect("it is in memory").expect("the copy is new");
    node.engine_durable(mark);
    node.discard(&ReplicaState::first(ReplicaId(1), descriptor(SHARD, TABLE)), &engine).expect("it is in memory");
    let copies = (ReplicaId(12), ReplicaId(11));
    for _ in 0..3 {
        let beat = RaftEnvelope::empty(CHILD, copies, RaftKind::Heartbeat, 2);
        told(&mut node, &engine, PeerMessage::Raft(beat));
        let offer = SnapshotOffer { from: copies.0, to: copies.1, descriptor: child(), ..offer(9, 2, 1) };
        told(&mut node, &engine, PeerMessage::SnapshotOffer(offer));
        ticked(&mut node, &engine, 9);
    }
    assert_eq!(node.refusals().count, 0, "it is a good offer");
    let is_taken = !node.is_wiping() && is_good(&node);
    assert_eq!(upper(&engine) == 0, is_taken, "the records are given up");
    is_taken
}

#[test]
fn a_copy_that_needs_a_snapshot_makes_way_for_what_is_to_be_wiped_in_its_range() {
    assert!(is_snapshot_taken_beside_a_wipe());
}

#[cfg(feature = "planted")]
#[test]
fn a_copy_and_a_wipe_that_wait_for_one_another_are_noticed() {
    crate::planted::plant(Some(crate::planted::Planted::RecordsKeptForWipe));
    let is_taken = is_snapshot_taken_beside_a_wipe();
    crate::planted::plant(None);
    assert!(!is_taken);
}

#[test]
fn a_first_copy_is_made_once_a_live_copy_in_its_range_has_ended() {
    assert!(is_child_made_after_a_live_parent());
}

#[cfg(feature = "planted")]
#[test]
fn a_range_that_nobody_waits_for_is_noticed() {
    crate::planted::plant(Some(crate::planted::Planted::RangeInUseNotAwaited));
    let is_made = is_child_made_after_a_live_parent();
    crate::planted::plant(None);
    assert!(!is_made);
}

#[test]
fn a_first_copy_waits_until_nothing_is_wiped_in_its_range_whatever_shard_that_was() {
    assert!(is_child_kept_from_the_wipe());
}

#[test]
fn nothing_is_wiped_in_the_range_of_a_live_copy_whatever_shard_that_was() {
    assert!(is_live_child_left_alone());
}

#[test]
fn no_snapshot_comes_into_a_range_that_another_copy_holds() {
    assert!(is_snapshot_kept_from_anothers_range());
}

#[cfg(feature = "planted")]
#[test]
fn an_overlap_that_is_ignored_is_caught() {
    use crate::planted::{Planted, plant};

    for is_kept in [is_child_kept_from_the_wipe, is_live_child_left_alone, is_snapshot_kept_from_anothers_range] {
        plant(Some(Planted::OverlapIgnored));
        let is_kept = is_kept();
        plant(None);
        assert!(!is_kept);
    }
}
