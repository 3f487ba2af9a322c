//! Claims about the copies of quorum shards of one node: which have something to say, and what they hold of the store.

use super::*;
use crate::ids::{Generation, NodeId, TableId};
use crate::map::Descriptor;
use crate::node::tests::{SHARD, TABLE};
use crate::quorum::copies::Copies;
use crate::quorum::layout::Layout;
use crate::replica::tests::Memory;

fn descriptor(shard: u64, start: &'static str, end: &'static str) -> Descriptor {
    let (shard, table, start, end) = (ShardId(shard), TABLE, start.into(), Some(end.into()));
    Descriptor { shard, table, start, end, ..Descriptor::default() }
}

fn range(start: &'static str, end: &'static str) -> KeyRange {
    KeyRange { table: TABLE, start: start.into(), end: Some(end.into()) }
}

fn copy(quorums: &Quorums, replica: u64, descriptor: &Descriptor, engine: &Memory) -> QuorumReplica {
    let members = [replica, replica + 1].map(ReplicaId).to_vec();
    let layout = Layout::settled(Generation(1), Copies { members, write: 1, read: 2 });
    let homes = [(ReplicaId(replica), NodeId(1)), (ReplicaId(replica + 1), NodeId(2))];
    let layout = Layout { homes: homes.into(), ..layout };
    let state = QuorumState::first(ReplicaId(replica), descriptor, layout);
    quorums.made_of(state, None, engine).expect("it is in memory")
}

/// A copy of shard 7, from "a" to "m", and one of shard 8 behind it.
fn two(engine: &Memory) -> Quorums {
    let mut quorums = Quorums::new(Incarnation(1));
    for (replica, descriptor) in [(1, descriptor(7, "a", "m")), (5, descriptor(8, "m", "t"))] {
        let copy = copy(&quorums, replica, &descriptor, engine);
        quorums.insert(copy);
    }
    quorums
}

fn touched(quorums: &mut Quorums) -> Vec<u64> {
    std::iter::from_fn(|| quorums.next_touched()).map(|shard| shard.0).collect()
}

#[test]
fn a_copy_is_collected_from_when_it_is_new_touched_or_synced_and_not_once_it_is_gone() {
    let engine = Memory::default();
    let mut quorums = two(&engine);
    assert_eq!((touched(&mut quorums), touched(&mut quorums)), (vec![7, 8], vec![]));
    quorums.touch(ShardId(8));
    quorums.touch(ShardId(9));
    assert_eq!(touched(&mut quorums), [8], "of shard 9 there is none");
    quorums.sync_begins(1, &engine).expect("it is in memory");
    quorums.synced(1);
    assert!(quorums.remove(SHARD).is_some() && quorums.remove(SHARD).is_none());
    assert_eq!((touched(&mut quorums), quorums.shards(), quorums.len()), (vec![8], vec![ShardId(8)], 1));
}

#[test]
fn a_range_is_free_for_the_copy_that_holds_it_and_for_all_where_nothing_is_held() {
    let engine = Memory::default();
    let mut quorums = two(&engine);
    let own = (SHARD, ReplicaId(1));
    for (range, is_free) in [
        (range("a", "m"), true),
        (range("a", "n"), false),
        (range("l", "m"), true),
        (range("t", "z"), true),
        (KeyRange { table: TableId(2), ..range("a", "z") }, true),
    ] {
        assert_eq!(quorums.is_free(&range, own), is_free, "{range:?}");
    }
    assert!(!quorums.is_free(&range("l", "m"), (SHARD, ReplicaId(2))), "a later copy of the shard");
    quorums.remove(SHARD);
    assert!(quorums.is_free(&range("a", "m"), (SHARD, ReplicaId(2))));
}

#[test]
fn a_copy_that_takes_the_place_of_another_holds_what_it_holds_itself() {
    let engine = Memory::default();
    let mut quorums = two(&engine);
    let later = copy(&quorums, 11, &descriptor(7, "c", "m"), &engine);
    quorums.insert(later);
    assert_eq!(quorums.get(SHARD).map(QuorumReplica::id), Some(ReplicaId(11)));
    let held: Vec<_> = quorums.held_ranges().map(|held| (held.shard.0, held.replica.0, held.content)).collect();
    assert_eq!(held.len(), 2);
    assert!(held.contains(&(7, 11, Content::Records)) && held.contains(&(8, 5, Content::Records)), "{held:?}");
    assert!(quorums.is_free(&range("a", "c"), (SHARD, ReplicaId(1))), "what the one before held");
}

#[test]
fn what_a_copy_holds_is_told_of_shards_whose_record_is_unsure_alone() {
    let engine = Memory::default();
    let mut quorums = two(&engine);
    touched(&mut quorums);
    let told = |quorums: &Quorums| {
        let reports = quorums.reports(|shard| shard == SHARD);
        reports
            .into_iter()
            .map(|copy| (copy.shard.0, copy.layout.map(|layout| layout.generation.0)))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&quorums), [(7, Some(1)), (8, None)]);
    let mut held = copy(&quorums, 1, &descriptor(7, "a", "m"), &engine);
    held.hold_until(3);
    quorums.insert(held);
    assert_eq!(told(&quorums), [(7, None), (8, None)], "the store may not have it yet");
}
