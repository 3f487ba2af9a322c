//! Claims about which copies a change of the map begins and ends here.

use super::*;
use crate::ids::{Epoch, Generation};
use crate::map::{Descriptor, Member, Replica as Copy, TableRecord};
use crate::node::tests::{SHARD, TABLE, delta, descriptor, node, settled, table, with_copy};
use crate::replica::state::ReplicaState;
use crate::replica::tests::Memory;

const ROLES: [Role; 4] = [Role::Voter, Role::Learner, Role::Incoming, Role::Outgoing];

/// A record with one member, and one copy that is assigned.
fn record(member: (u64, Role), assigned: u64) -> ShardRecord {
    let copy = |id| Copy { node: NodeId(id), id: ReplicaId(id) };
    let members = vec![Member { replica: copy(member.0), role: member.1 }];
    let descriptor = Descriptor { members, ..Descriptor::default() };
    ShardRecord { descriptor, assigned: vec![copy(assigned)], target: vec![NodeId(9)], ..ShardRecord::default() }
}

#[test]
fn a_copy_is_named_while_it_is_a_member_of_any_kind_or_assigned() {
    for role in ROLES {
        let named = [4, 5, 6, 9].map(|id| names(&record((4, role), 5), ReplicaId(id)));
        assert_eq!(named, [true, true, false, false], "{role:?}");
    }
}

/// What two other nodes say of the shard, or one.
fn told(node: &mut Node, by: &[u64], change: impl FnOnce(&mut MapDelta, Epoch)) {
    let delta = delta(node, change);
    for from in by {
        node.learn(NodeId(*from), delta.clone());
    }
}

/// What the map says of a copy that is here as the first of three, of a shard at generation 2.
struct Said {
    generation: u64,
    role: Option<Role>,
    dropped: bool,
    by: &'static [u64],
}

const GONE: Said = Said { generation: 3, role: None, dropped: false, by: &[2, 3] };

fn ends(said: &Said) -> bool {
    let engine = Memory::default();
    let mut node = with_copy(&engine, &[1, 2, 3]);
    let mut record = node.map().shards[&SHARD].clone();
    // What the map has known so far is older than the copy.
    record.descriptor.generation = Generation(1);
    node.map.edit().0.put_shard(record.clone());
    record.descriptor.generation = Generation(said.generation);
    match said.role {
        Some(role) => record.descriptor.members[0].role = role,
        None => drop(record.descriptor.members.remove(0)),
    }
    told(&mut node, said.by, |delta, epoch| {
        delta.tables.push(TableRecord { epoch, ..table(said.dropped) });
        delta.shards.push(ShardRecord { epoch, ..record });
        delta.replica_max = ReplicaId(9);
    });
    settled(&mut node, &engine);
    node.replica(SHARD).is_none()
}

#[test]
fn a_copy_ends_once_it_is_certain_that_a_later_record_does_not_name_it() {
    assert!(ends(&GONE));
    assert!(ends(&Said { generation: 2, ..GONE }));
    assert!(!ends(&Said { generation: 1, ..GONE }), "the record is older than the copy");
    assert!(!ends(&Said { by: &[2], ..GONE }), "one node says so");
    for role in ROLES {
        assert!(!ends(&Said { role: Some(role), ..GONE }), "{role:?}");
    }
}

#[test]
fn a_copy_of_a_table_that_is_dropped_ends_once_that_is_certain_whoever_is_named() {
    let dropped = Said { dropped: true, role: Some(Role::Voter), ..GONE };
    assert!(ends(&dropped));
    assert!(ends(&Said { generation: 1, ..dropped }));
    assert!(!ends(&Said { by: &[3], dropped: true, role: Some(Role::Voter), ..GONE }));
}

/// A copy whose id the map has never heard of was given later than what the map knows.
#[test]
fn a_copy_that_was_given_after_what_the_map_knows_stays() {
    for (replica_max, is_left) in [(12, false), (11, false), (10, true)] {
        let engine = Memory::default();
        let mut node = node(&engine);
        let mut descriptor = Descriptor { generation: Generation(2), ..descriptor(SHARD, TABLE) };
        descriptor.members[0].replica.id = ReplicaId(11);
        descriptor.members.rotate_left(1);
        let state = ReplicaState::first(ReplicaId(11), descriptor.clone());
        node.create(state, &engine).expect("it is in memory");
        descriptor.members.pop();
        told(&mut node, &[2, 3], |delta, epoch| {
            delta.tables.push(TableRecord { epoch, ..table(false) });
            delta.shards.push(ShardRecord { descriptor, epoch, ..ShardRecord::default() });
            delta.replica_max = ReplicaId(replica_max);
        });
        settled(&mut node, &engine);
        assert_eq!(node.replica(SHARD).is_some(), is_left, "{replica_max}");
    }
}

/// What the map says of a shard whose first copies are made.
struct First {
    role: Role,
    generation: u64,
    dropped: bool,
    is_entombed: bool,
    by: &'static [u64],
}

const FIRST: First = First { role: Role::Voter, generation: 1, dropped: false, is_entombed: false, by: &[2, 3] };

fn makes(first: &First) -> bool {
    let engine = Memory::default();
    let mut node = node(&engine);
    if first.is_entombed {
        node.entomb(SHARD, ReplicaId(1), &engine).expect("it is in memory");
    }
    let mut descriptor = Descriptor { generation: Generation(first.generation), ..descriptor(SHARD, TABLE) };
    descriptor.members[0].role = first.role;
    told(&mut node, first.by, |delta, epoch| {
        delta.tables.push(TableRecord { epoch, ..table(first.dropped) });
        delta.shards.push(ShardRecord { descriptor, epoch, ..ShardRecord::default() });
    });
    settled(&mut node, &engine);
    node.replica(SHARD).is_some()
}

#[test]
fn a_first_copy_is_made_where_a_new_shard_votes_and_never_a_second_time() {
    assert!(makes(&FIRST));
    assert!(!makes(&First { role: Role::Learner, ..FIRST }), "its leader begins it");
    assert!(!makes(&First { generation: 2, ..FIRST }), "the others have records by now");
    assert!(!makes(&First { dropped: true, ..FIRST }));
    assert!(!makes(&First { is_entombed: true, ..FIRST }), "it was here before");
    assert!(!makes(&First { by: &[2], ..FIRST }), "one node says so");
}
