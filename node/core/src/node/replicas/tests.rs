//! Claims about the collection of a node's replicas: what is touched is collected once, and what has ended never.

use super::*;
use crate::ids::{Generation, ReplicaId, TableId};
use crate::level::FormatLevel;
use crate::map::{Descriptor, Member, Replica as Copy, Role};
use crate::replica::tests::Memory;

const NOW: Now = Now { monotonic_ms: 100_000, wall_ms: 100_000 };

fn state(shard: u64) -> ReplicaState {
    let member = |n| Member { replica: Copy { node: NodeId(n), id: ReplicaId(n) }, role: Role::Voter };
    let (shard, table) = (ShardId(shard), TableId(1));
    let members = [1, 2, 3].map(member).to_vec();
    let descriptor = Descriptor { shard, table, members, generation: Generation(1), ..Descriptor::default() };
    ReplicaState { last_version: Version(shard.0), ..ReplicaState::first(ReplicaId(1), descriptor) }
}

/// Replicas of shards 7 and 8, of which nothing was collected yet.
fn replicas() -> Replicas {
    let mut replicas = Replicas::new(
        Setup { node: NodeId(1), seed: 1, requests_max: 8, highest_level: FormatLevel::NEWEST },
        Incarnation(1),
    );
    for shard in [8, 7] {
        let replica = replicas.made_of(state(shard), None, &Memory::default()).expect("it is sound");
        replicas.insert(replica);
    }
    replicas
}

fn touched(replicas: &mut Replicas) -> Vec<u64> {
    std::iter::from_fn(|| replicas.next_touched()).map(|shard| shard.0).collect()
}

#[test]
fn a_replica_is_collected_when_it_is_new_and_once_each_time_that_it_is_touched() {
    let mut replicas = replicas();
    assert_eq!(touched(&mut replicas), [7, 8]);
    assert_eq!(touched(&mut replicas), []);
    replicas.touch(ShardId(8));
    replicas.touch(ShardId(8));
    assert_eq!(touched(&mut replicas), [8]);
}

#[test]
fn nothing_is_collected_from_a_replica_that_was_taken_out() {
    let mut replicas = replicas();
    assert!(replicas.remove(ShardId(7)).is_some() && replicas.remove(ShardId(7)).is_none());
    assert_eq!(touched(&mut replicas), [8]);
    assert!(replicas.get(ShardId(7)).is_none());
    assert_eq!(replicas.counts().replicas, 1);
}

#[test]
fn a_period_touches_those_alone_that_have_something_to_say() {
    let (mut replicas, map) = (replicas(), Map::default());
    let liveness = Liveness::new(NodeId(1), Incarnation(1));
    touched(&mut replicas);
    replicas.tick(&map, 100, &liveness, NOW);
    assert_eq!(touched(&mut replicas), [], "nobody stands for election yet");
    (0..100).for_each(|_| replicas.tick(&map, 1_000, &liveness, NOW));
    assert_eq!(touched(&mut replicas), [7, 8]);
}

#[test]
fn the_highest_version_is_that_of_all_replicas_and_never_falls() {
    let mut replicas = replicas();
    assert_eq!(replicas.highest(), Version(8));
    replicas.remove(ShardId(8));
    replicas.saw_version(Version(3));
    assert_eq!(replicas.highest(), Version(8));
}

#[test]
fn other_nodes_with_a_copy_are_known() {
    assert_eq!(replicas().peer_nodes(), BTreeSet::from([1, 2, 3].map(NodeId)));
    assert!(replicas().own_map().is_none() && !replicas().follows_own_map() && !replicas().leads_own_map());
}
