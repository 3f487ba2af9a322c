//! Offers and pieces of a shard, and of what is not that shard.

use super::*;
use crate::codec;
use crate::command::{Outcome, RequestId};
use crate::engine::{EngineWrite, family};
use crate::ids::{ClusterId, Epoch, Generation, TableId};
use crate::level::FormatLevel;
use crate::map::{Member, Replica as Copy, Role};
use crate::replica::state::ReplicaState;
use crate::replica::{Setup, first_records, tests};
use crate::system::NewNode;

/// What is made of a sound one.
type Change = fn(&mut SnapshotOffer);

const HERE: NodeId = NodeId(3);
const FROM: NodeId = NodeId(1);

fn member(node: u64, id: u64, role: Role) -> Member {
    Member { replica: Copy { node: NodeId(node), id: ReplicaId(id) }, role }
}

fn descriptor() -> Descriptor {
    Descriptor {
        shard: ShardId(7),
        table: TableId(4),
        start: Bytes::from_static(b"d"),
        end: Some(Bytes::from_static(b"m")),
        generation: Generation(3),
        members: vec![member(1, 10, Role::Voter), member(2, 11, Role::Voter), member(3, 12, Role::Learner)],
    }
}

fn record() -> ShardRecord {
    ShardRecord { descriptor: descriptor(), epoch: Epoch(9), ..ShardRecord::default() }
}

fn offer() -> SnapshotOffer {
    SnapshotOffer {
        id: 1,
        from: ReplicaId(10),
        to: ReplicaId(12),
        term: 5,
        index: 40,
        index_term: 4,
        descriptor: descriptor(),
        last_version: Version(99),
        request_floor: Version(9),
        bytes: 1_000,
        level: FormatLevel::FIRST,
    }
}

fn facts(home: Option<NodeId>) -> RaftFacts {
    RaftFacts {
        id: ReplicaId(12),
        is_system: false,
        term: 4,
        leader: ReplicaId(0),
        is_leader: false,
        last: 0,
        is_leaderless: false,
        home,
    }
}

fn check(offer: &SnapshotOffer) -> Result<(), SnapshotRefused> {
    admit_offer(offer, (HERE, FROM), &facts(Some(FROM)), None, (&record(), ReplicaId(12)))
}

#[test]
fn an_offer_is_of_the_shard_as_the_map_has_it() {
    assert_eq!(check(&offer()), Ok(()));
    let with = |change: fn(&mut SnapshotOffer)| {
        let mut offer = offer();
        change(&mut offer);
        check(&offer)
    };
    let wrong: [(&str, Change); 16] = [
        ("bounds", |o| o.descriptor.start = Bytes::new()),
        ("bounds", |o| o.descriptor.end = None),
        ("bounds", |o| o.descriptor.table = TableId(0)),
        ("generation", |o| o.descriptor.generation = Generation(0)),
        ("generation", |o| o.descriptor.generation = Generation(u64::MAX)),
        ("receiver", |o| o.descriptor.members.truncate(2)),
        ("receiver", |o| o.to = ReplicaId(11)),
        ("members", |o| o.descriptor.members[1] = member(2, 10, Role::Voter)),
        ("members", |o| o.descriptor.members[1] = member(2, 0, Role::Voter)),
        ("members", |o| o.descriptor.members.push(member(5, 90, Role::Voter))),
        ("index", |o| o.index = 0),
        ("index", |o| o.index = u64::MAX),
        ("term", |o| o.index_term = 6),
        ("term", |o| o.term = u64::MAX),
        ("version", |o| o.last_version = Version(u64::MAX)),
        ("bytes", |o| o.bytes = u64::MAX),
    ];
    for (field, change) in wrong {
        assert_eq!(with(change), Err(SnapshotRefused::Offer(field)), "{field}");
    }
    let elsewhere = admit_offer(&offer(), (HERE, NodeId(2)), &facts(Some(FROM)), None, (&record(), ReplicaId(12)));
    assert_eq!(elsewhere, Err(SnapshotRefused::Sender { replica: ReplicaId(10), node: NodeId(2) }));
}

#[test]
fn an_offer_is_of_a_copy_that_this_one_knows_and_that_leads() {
    let with = |facts: RaftFacts| admit_offer(&offer(), (HERE, FROM), &facts, None, (&record(), ReplicaId(12)));
    let sender = Err(SnapshotRefused::Sender { replica: ReplicaId(10), node: FROM });
    assert_eq!(with(facts(None)), sender, "nobody knows it");
    assert_eq!(with(facts(Some(NodeId(2)))), sender, "it is elsewhere");
    assert_eq!(with(RaftFacts { is_leaderless: true, ..facts(None) }), Ok(()));
    let led =
        |leader, is_leader| with(RaftFacts { term: 5, leader: ReplicaId(leader), is_leader, ..facts(Some(FROM)) });
    assert_eq!(led(10, false), Ok(()));
    assert_eq!(led(11, false), Err(SnapshotRefused::Offer("leader")));
    assert_eq!(led(12, true), Err(SnapshotRefused::Offer("leader")));
}

/// Its own copy of the system shard tells a node which numbers were given. If that copy lags, the snapshot that it gets
/// names later ones; of other shards the map tells first.
#[test]
fn a_snapshot_of_the_system_shard_names_copies_that_nobody_has_told_of_here() {
    let named = |is_system, id| {
        let mut offer = offer();
        offer.descriptor.members.push(member(5, id, Role::Learner));
        let facts = RaftFacts { is_system, ..facts(Some(FROM)) };
        admit_offer(&offer, (HERE, FROM), &facts, None, (&record(), ReplicaId(12)))
    };
    assert_eq!(named(true, 16), Ok(()));
    assert_eq!(named(true, u64::MAX), Err(SnapshotRefused::Offer("members")));
    assert_eq!(named(false, 16), Err(SnapshotRefused::Offer("members")));
    #[cfg(feature = "planted")]
    {
        crate::planted::plant(Some(Planted::SystemOfferByOwnMap));
        let caught = named(true, 16);
        crate::planted::plant(None);
        assert_ne!(caught, Ok(()));
    }
}

#[test]
fn a_copy_with_data_never_goes_back_to_an_earlier_generation() {
    let later = Descriptor { generation: Generation(4), ..descriptor() };
    let refused = admit_offer(&offer(), (HERE, FROM), &facts(Some(FROM)), Some(&later), (&record(), ReplicaId(12)));
    assert_eq!(refused, Err(SnapshotRefused::Offer("generation")));
}

fn piece(key: Bytes, value: Bytes) -> SnapshotChunk {
    let records = vec![(key, value)];
    SnapshotChunk { shard: ShardId(7), id: 1, to: ReplicaId(12), sequence: 0, records, last: false, checksum: 0 }
}

fn requests() -> Bytes {
    let id = RequestId { issued: Version(5), client: 1, sequence: 2 };
    codec::encode(&vec![(id, Outcome::Applied(Version(6)))])
}

#[test]
fn a_piece_has_records_of_its_shard_that_can_be_read() {
    let value = record::encode(Version(3), None, b"v");
    let key = |key: &'static [u8]| data_key(TableId(4), key);
    let request = |shard, index: &[u8]| shard_key(ShardId(shard), state::REQUESTS, index);
    for (key, value) in [(key(b"d"), value.clone()), (key(b"lz"), value.clone()), (request(7, &[0; 8]), requests())] {
        assert_eq!(admit_chunk(&descriptor(), &piece(key, value)), Ok(()));
    }
    let wrong = [
        ("key", key(b"c"), value.clone()),
        ("key", key(b"m"), value.clone()),
        ("key", data_key(TableId(0), b"e"), value.clone()),
        ("key", request(8, &[0; 8]), requests()),
        ("key", request(7, &[0; 9]), requests()),
        ("key", shard_key(ShardId(7), state::TOMBSTONE, &[]), Bytes::from(vec![0; 8])),
        ("key", shard_key(ShardId(7), state::REPLICA, &[]), Bytes::new()),
        ("key", Bytes::from_static(&[family::NODE, b'n']), Bytes::new()),
        ("key", Bytes::new(), Bytes::new()),
        ("record", key(b"e"), Bytes::from_static(b"short")),
        ("version", key(b"e"), record::encode(Version(u64::MAX), None, b"v")),
        ("request ids", request(7, &[0; 8]), Bytes::from_static(b"\x01\xff")),
        ("size", key(b"e"), Bytes::from(vec![1; CHUNK_BYTES_MAX])),
    ];
    for (field, key, value) in wrong {
        assert_eq!(admit_chunk(&descriptor(), &piece(key, value)), Err(SnapshotRefused::Chunk(field)), "{field}");
    }
}

#[test]
fn a_piece_of_the_system_shard_holds_what_its_table_holds() {
    let system =
        Descriptor { shard: ShardId::SYSTEM, table: TableId::SYSTEM, end: None, start: Bytes::new(), ..descriptor() };
    let foreign = piece(data_key(TableId::SYSTEM, b"x"), record::encode(Version(3), None, b"v"));
    assert_eq!(admit_chunk(&system, &foreign), Err(SnapshotRefused::Chunk("record of the system table")));
}

/// Without it nobody knows what the database is.
#[test]
fn the_last_piece_of_the_system_shard_has_its_head_unless_an_earlier_one_had_it() {
    let engine = tests::Memory::default();
    let descriptor = Descriptor { shard: ShardId::SYSTEM, table: TableId::SYSTEM, ..tests::descriptor() };
    let state = ReplicaState { blank: true, ..ReplicaState::first(ReplicaId(1), descriptor.clone()) };
    let setup = Setup { node: NodeId(1), seed: 7, requests_max: 8, highest_level: FormatLevel::NEWEST };
    let mut replica = Replica::open(setup, state, None, &engine).expect("it is in memory");
    replica.wiped();
    let offer = SnapshotOffer { descriptor, ..tests::offer(9, 2, 1) };
    assert_eq!(tests::offered(&mut replica, offer, &engine), Some(SnapshotState::Want(0)));
    let new = NewNode { volume: "v".into(), address: "a:1".into(), zone: String::new() };
    let (writes, _) = first_records(&mut SystemState::bootstrap(ClusterId("test".into()), &new));
    let put = |write| if let EngineWrite::Put(key, value) = write { Some((key, value)) } else { None };
    let all: Vec<_> = writes.into_iter().filter_map(put).collect();
    let (head, others): (Vec<_>, Vec<_>) =
        all.iter().cloned().partition(|(key, _)| *key == data_key(TableId::SYSTEM, &SystemState::head_key()));
    assert!(head.len() == 1 && !others.is_empty());
    let admitted = |records: &[(Bytes, Bytes)]| {
        let chunk = SnapshotChunk { shard: ShardId::SYSTEM, records: records.to_vec(), ..tests::piece(1, 0, true) };
        replica.admit_chunk(NodeId(2), &chunk, &engine).expect("it is in memory")
    };
    assert_eq!(admitted(&others), Err(SnapshotRefused::Chunk("head")));
    assert_eq!(admitted(&all), Ok(()));
    engine.write(head.into_iter().map(|(key, value)| EngineWrite::Put(key, value)).collect()).expect("it is in memory");
    assert_eq!(admitted(&others), Ok(()));
}
