//! What the system shard makes is taken; one field out of bounds is not.

use bytes::Bytes;

use super::*;
use crate::ids::{Generation, Incarnation, NodeId, ReplicaId, ShardId, TableId};
use crate::map::{
    Consistency, Descriptor, Fragmentation, Member, MoveLimits, NodeState, QuorumChange, QuorumRecord, Quorums,
    Replica, Role, TableRecord,
};
use crate::quorum::layout::Stage;
use crate::quorum::shown::Resolve;

/// What is made of a sound one.
type Change = fn(&mut MapDelta);

fn node(incarnation: u64) -> NodeRecord {
    NodeRecord {
        id: NodeId(1),
        incarnation: Incarnation(incarnation),
        volume: "v".into(),
        address: "a:1".into(),
        zone: String::new(),
        state: NodeState::Active,
        epoch: Epoch(8),
    }
}

fn table() -> TableRecord {
    TableRecord {
        id: TableId(1),
        name: "orders".into(),
        fragmentation: Fragmentation::Range,
        consistency: Consistency::Leader,
        replication_factor: 1,
        dropped: false,
        epoch: Epoch(9),
    }
}

fn shard() -> ShardRecord {
    let member = Member { replica: Replica { node: NodeId(1), id: ReplicaId(4) }, role: Role::Voter };
    let descriptor = Descriptor {
        shard: ShardId(2),
        table: TableId(1),
        start: Bytes::from_static(b"a"),
        end: Some(Bytes::from_static(b"b")),
        generation: Generation(5),
        members: vec![member],
    };
    ShardRecord { descriptor, target: vec![NodeId(1)], assigned: vec![member.replica], epoch: Epoch(10), quorum: None }
}

fn delta() -> MapDelta {
    MapDelta {
        since: Epoch(7),
        epoch: Epoch(10),
        replica_max: ReplicaId(4),
        limits: Some((MoveLimits::default(), Epoch(9))),
        nodes: vec![node(3)],
        tables: vec![table()],
        shards: vec![shard()],
        ..MapDelta::default()
    }
}

fn known() -> Map {
    let mut map = Map::default();
    assert!(map.merge(MapDelta { since: Epoch(0), ..delta() }));
    map
}

fn check(change: Change) -> Result<(), MapRefused> {
    let mut delta = delta();
    change(&mut delta);
    admit(&known(), &delta)
}

#[test]
fn a_map_holds_what_the_system_shard_makes() {
    assert_eq!(check(|_| {}), Ok(()));
    assert_eq!(admit(&Map::default(), &delta()), Ok(()));
    let wrong: [(MapRefused, Change); 16] = [
        (MapRefused::Epochs, |d| d.since = Epoch(11)),
        (MapRefused::Epochs, |d| d.epoch = Epoch(u64::MAX)),
        (MapRefused::Epochs, |d| d.shards[0].epoch = Epoch(11)),
        (MapRefused::Epochs, |d| d.tables[0].epoch = Epoch(7)),
        (MapRefused::Epochs, |d| d.limits = Some((MoveLimits::default(), Epoch(u64::MAX)))),
        (MapRefused::Record("replica_max"), |d| d.replica_max = ReplicaId(u64::MAX)),
        (MapRefused::Record("limits"), |d| {
            d.limits = Some((MoveLimits { moves_per_node: 0, bytes_per_second: 1 }, Epoch(9)))
        }),
        (MapRefused::Record("table"), |d| d.tables[0].name = "x".repeat(64)),
        (MapRefused::Record("node"), |d| d.nodes[0].incarnation = Incarnation(u64::MAX)),
        (MapRefused::Record("node"), |d| d.nodes[0].id = NodeId(0)),
        (MapRefused::Record("node"), |d| d.nodes[0].address = "x".repeat(600)),
        (MapRefused::Record("shard"), |d| d.shards[0].descriptor.generation = Generation(4)),
        (MapRefused::Record("shard"), |d| d.shards[0].descriptor.generation = Generation(u64::MAX)),
        (MapRefused::Record("shard"), |d| d.shards[0].descriptor.end = None),
        (MapRefused::Record("shard"), |d| d.shards[0].descriptor.members.clear()),
        (MapRefused::Record("shard"), |d| d.shards[0].assigned[0].id = ReplicaId(0)),
    ];
    for (refused, change) in wrong {
        assert_eq!(check(change), Err(refused));
    }
}

#[test]
fn a_record_that_the_process_before_kept_keeps_no_map_out() {
    let kept = |generation| {
        let mut map = known();
        let mut record = ShardRecord { epoch: Epoch(0), ..shard() };
        record.descriptor.generation = Generation(generation);
        map.shards.insert(record.descriptor.shard, record);
        map
    };
    assert_eq!(admit(&kept(9), &delta()), Ok(()), "a copy of the system shard that has missed four steps");
    let mut later = kept(9);
    later.shards.values_mut().for_each(|record| record.epoch = Epoch(1));
    assert_eq!(admit(&later, &delta()), Err(MapRefused::Record("shard")), "what a map told is no older than any other");
}

/// The same shard and table, of quorums, on two copies.
fn quorum_delta() -> MapDelta {
    let mut delta = delta();
    let copy = |id| Replica { node: NodeId(id), id: ReplicaId(id) };
    let member = |id, role| Member { replica: copy(id), role };
    (delta.tables[0].replication_factor, delta.tables[0].consistency) = (2, quorum(2, 1));
    let shard = &mut delta.shards[0];
    shard.descriptor.members = vec![member(3, Role::Outgoing), member(4, Role::Voter), member(5, Role::Incoming)];
    shard.assigned = vec![copy(4), copy(5)];
    let (current, next) = (Quorums { write: 2, read: 1 }, Quorums { write: 1, read: 2 });
    let (began, reads_since) = (Generation(4), Generation(5));
    let change = Some(QuorumChange { next, stage: Stage::ReadNew, began, reads_since });
    shard.quorum = Some(QuorumRecord { current, change, resolve: Resolve::Siblings, is_unsure: false });
    delta
}

fn quorum(write: u32, read: u32) -> Consistency {
    Consistency::Quorum { write, read, resolve: Resolve::Siblings }
}

#[test]
fn a_quorum_shard_has_sets_that_can_be_and_keeps_its_kind() {
    type OfShard = fn(&mut ShardRecord);
    let mut known = Map::default();
    assert!(known.merge(MapDelta { since: Epoch(0), ..quorum_delta() }));
    let check = |change: &dyn Fn(&mut MapDelta)| {
        let mut delta = quorum_delta();
        change(&mut delta);
        assert_eq!(admit(&Map::default(), &delta), admit(&known, &delta));
        admit(&known, &delta)
    };
    assert_eq!(check(&|_| {}), Ok(()));
    let wrong: [OfShard; 8] = [
        |s| s.quorum = s.quorum.map(|q| QuorumRecord { current: Quorums { write: 3, read: 1 }, ..q }),
        |s| s.quorum = s.quorum.map(|q| QuorumRecord { current: Quorums { write: 0, read: 1 }, ..q }),
        |s| s.quorum = s.quorum.map(|q| QuorumRecord { change: None, ..q }),
        |s| s.descriptor.members[1].role = Role::Learner,
        |s| s.descriptor.members.truncate(1),
        |s| edit(s, |change| change.began = Generation(6)),
        |s| edit(s, |change| change.reads_since = Generation(6)),
        |s| edit(s, |change| change.next.read = 3),
    ];
    for (at, change) in wrong.iter().enumerate() {
        assert_eq!(check(&|d| change(&mut d.shards[0])), Err(MapRefused::Record("shard")), "{at}");
    }
    for consistency in [quorum(0, 1), quorum(1, 3)] {
        assert_eq!(check(&|d| d.tables[0].consistency = consistency), Err(MapRefused::Record("table")));
    }
    assert_eq!(admit(&known, &MapDelta { tables: vec![table()], ..quorum_delta() }), Err(MapRefused::Record("table")));
    let led = MapDelta { tables: Vec::new(), shards: vec![shard()], ..delta() };
    assert_eq!(admit(&known, &led), Err(MapRefused::Record("shard")));
}

fn edit(shard: &mut ShardRecord, edit: impl Fn(&mut QuorumChange)) {
    let change = shard.quorum.as_mut().and_then(|quorum| quorum.change.as_mut());
    edit(change.expect("a change"));
}

#[test]
fn a_node_that_is_known_starts_so_often_and_no_oftener_and_one_that_is_new_has_any_number() {
    let started = |map: &Map, incarnation| admit(map, &MapDelta { nodes: vec![node(incarnation)], ..delta() });
    let far = 3 + INCARNATION_JUMP_MAX;
    assert_eq!(started(&known(), far), Ok(()));
    assert_eq!(started(&known(), far + 1), Err(MapRefused::Record("node")));
    assert_eq!(started(&Map::default(), far + 1), Ok(()));
}

#[cfg(feature = "planted")]
#[test]
fn a_map_that_is_not_checked_is_noticed() {
    crate::planted::plant(Some(Planted::MapUnchecked));
    let taken = check(|d| d.shards[0].descriptor.members.clear());
    crate::planted::plant(None);
    assert_eq!(taken, Ok(()));
}

#[test]
fn a_recovery_names_a_new_copy_and_no_more_given_up_than_a_shard_has() {
    let recovery = |to, given_up: usize| {
        let copy = Replica { node: NodeId(1), id: ReplicaId(1) };
        let (to, given_up) = (ReplicaId(to), vec![copy; given_up]);
        let (last, generation, epoch) = ((5, 2), Generation(2), Epoch(10));
        let record = RecoveryRecord { shard: ShardId(1), from: copy, to, last, given_up, at_ms: 0, generation, epoch };
        admit(&known(), &MapDelta { recoveries: vec![record], ..delta() })
    };
    for (to, given_up) in [(1, 0), (INDEX_MAX, 2), (7, MEMBERS_MAX)] {
        assert_eq!(recovery(to, given_up), Ok(()), "{to} {given_up}");
    }
    for (to, given_up) in [(0, 0), (INDEX_MAX + 1, 2), (7, MEMBERS_MAX + 1)] {
        assert_eq!(recovery(to, given_up), Err(MapRefused::Record("recovery")), "{to} {given_up}");
    }
}
