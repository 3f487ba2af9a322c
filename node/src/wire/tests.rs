//! Every message between nodes comes back as it went.

use bytes::Bytes;
use prost::Message as _;
use skerry_core::ids::{ClusterId, Incarnation, TableId};
use skerry_core::level::FormatLevel;
use skerry_core::log::{EntryKind, LogEntry};
use skerry_core::map::{Descriptor, Map, Member, Replica, Role, ShardRecord};
use skerry_core::message::{
    LedReport, NodeReport, QuorumReport, RaftEnvelope, RaftKind, SnapshotAck, SnapshotChunk, SnapshotOffer,
    SnapshotState,
};
use skerry_core::quorum::merkle::compare::Answer;
use skerry_core::time::Version;

use super::*;
use crate::peers::size::message_bytes;

fn raft(kind: RaftKind) -> PeerMessage {
    let entry = |kind| LogEntry { index: 7, term: 3, kind, data: Bytes::from("data"), context: Bytes::from("context") };
    PeerMessage::Raft(RaftEnvelope {
        shard: ShardId(1),
        from: ReplicaId(2),
        to: ReplicaId(3),
        kind,
        term: 4,
        log_term: 5,
        index: 6,
        entries: vec![entry(EntryKind::Normal), entry(EntryKind::Members)],
        commit: 8,
        commit_term: 9,
        reject: true,
        reject_hint: 10,
        request_snapshot: 11,
        context: Bytes::from("round"),
    })
}

fn quorum(body: Body) -> PeerMessage {
    let (shard, from, to, generation) = (ShardId(1), ReplicaId(2), ReplicaId(3), Generation(4));
    PeerMessage::Quorum(Envelope { shard, from, to, generation, body })
}

fn copy() -> QuorumReport {
    QuorumReport {
        shard: ShardId(1),
        replica: ReplicaId(2),
        held: Generation(3),
        copied: vec![(ReplicaId(4), Generation(3))],
        is_complete: true,
        floor: Version(5),
        hints: 6,
        under_way: 8,
        handed_over: vec![ReplicaId(4)],
        bytes: 7,
        layout: None,
    }
}

fn messages() -> Vec<PeerMessage> {
    let kinds = [
        RaftKind::Append,
        RaftKind::AppendResponse,
        RaftKind::RequestVote,
        RaftKind::RequestVoteResponse,
        RaftKind::RequestPreVote,
        RaftKind::RequestPreVoteResponse,
        RaftKind::Heartbeat,
        RaftKind::HeartbeatResponse,
        RaftKind::TimeoutNow,
    ];
    let ack = |state| PeerMessage::SnapshotAck(SnapshotAck { shard: ShardId(1), id: 2, from: ReplicaId(3), state });
    let certify = |answer| PeerMessage::CertifyAnswer { nonce: 1, shard: ShardId(2), answer };
    let mut messages: Vec<_> = kinds.into_iter().map(raft).collect();
    messages.extend([
        PeerMessage::SnapshotOffer(SnapshotOffer {
            id: 1,
            from: ReplicaId(2),
            to: ReplicaId(3),
            term: 4,
            index: 5,
            index_term: 6,
            descriptor: Descriptor { shard: ShardId(7), start: Bytes::from("a"), ..Descriptor::default() },
            last_version: Version(8),
            request_floor: Version(9),
            bytes: 10,
            level: FormatLevel(2),
        }),
        PeerMessage::SnapshotChunk(SnapshotChunk {
            shard: ShardId(1),
            id: 2,
            to: ReplicaId(3),
            sequence: 4,
            records: vec![(Bytes::from("k"), Bytes::from("v"))],
            last: true,
            checksum: 5,
        }),
        ack(SnapshotState::Want(4)),
        ack(SnapshotState::Installed),
        ack(SnapshotState::Refused),
        PeerMessage::Beat(Beat::default()),
        PeerMessage::Beat(Beat { disk_full: Some(true), disk_stalled: true, wall_ms: Some(7) }),
        PeerMessage::MapWant { have: Epoch(3) },
        PeerMessage::Map(MapDelta { epoch: Epoch(4), ..MapDelta::default() }),
        PeerMessage::Report(Report {
            node: NodeReport { node: NodeId(1), incarnation: Incarnation(2), ..NodeReport::default() },
            led: LedReport { version: 3, since: 2, changed: Vec::new(), resigned: vec![ShardId(1)] },
            quorum: CopiesReport { changed: vec![copy()], ended: vec![ShardId(2)], is_all: true },
        }),
        quorum(Body::BoundsWanted),
        quorum(Body::Hints(vec![(Bytes::from("key"), Bytes::from("record"))])),
        PeerMessage::ReportWant,
        PeerMessage::CertifyAsk { nonce: 1, node: NodeId(2), shards: vec![ShardId(3), ShardId(4)] },
        certify(CertifyAnswer::Clear { in_sync: 3, generation: Generation(4) }),
        certify(CertifyAnswer::Held { replica: ReplicaId(5) }),
        certify(CertifyAnswer::NotLeader),
        PeerMessage::TransferLeader { shard: ShardId(1), to: ReplicaId(2) },
    ]);
    messages
}

#[test]
fn every_message_comes_back_as_it_went() {
    let sender = Sender { cluster: ClusterId("c".into()), node: NodeId(1), incarnation: Incarnation(2) };
    let frame = peer_frame(&sender, NodeId(3), messages());
    assert_eq!((frame.from_node_id, frame.to_node_id, frame.incarnation), (1, 3, 2));
    let received = Received { messages: messages(), ..Received::default() };
    assert_eq!(peer_messages(frame.messages), received);
}

/// A release without levels passes over the field that it does not know: it would take the records of a shard, and apply
/// what follows by the rules of the first level.
#[test]
fn a_snapshot_of_a_level_above_the_first_is_offered_in_a_message_that_older_releases_do_not_know() {
    let sender = Sender { cluster: ClusterId("c".into()), node: NodeId(1), incarnation: Incarnation(2) };
    let known_before = |level| {
        let offers = messages().into_iter().filter_map(|message| match message {
            PeerMessage::SnapshotOffer(offer) => Some(PeerMessage::SnapshotOffer(SnapshotOffer { level, ..offer })),
            _ => None,
        });
        let offers: Vec<_> = offers.collect();
        let frame = peer_frame(&sender, NodeId(3), offers.clone());
        let is_known = frame.messages.iter().all(|m| matches!(m.message, Some(Message::SnapshotOffer(_))));
        assert_eq!(peer_messages(frame.messages).messages, offers);
        is_known
    };
    assert!(known_before(FormatLevel::FIRST));
    assert!(!known_before(FormatLevel(2)));
}

#[test]
fn a_message_of_an_unknown_kind_is_skipped_and_what_is_beside_it_is_not() {
    let kind_77 = v1::RaftEnvelope { kind: 77, ..v1::RaftEnvelope::default() };
    let newer = v1::QuorumEnvelope { body: Bytes::from_static(&[1, 200]), ..v1::QuorumEnvelope::default() };
    let unknown = [
        (v1::PeerMessage { message: None }, Malformed::Missing("message")),
        (
            v1::PeerMessage { message: Some(Message::Raft(kind_77)) },
            Malformed::Unknown { field: "raft.kind", value: 77 },
        ),
        (v1::PeerMessage { message: Some(Message::Quorum(newer)) }, Malformed::Undecodable("quorum.body")),
    ];
    for (message, why) in unknown {
        let beat = || v1::PeerMessage { message: Some(Message::Beat(v1::Beat::default())) };
        let received = peer_messages(vec![beat(), message, beat()]);
        let expected = Received {
            messages: vec![PeerMessage::Beat(Beat::default()), PeerMessage::Beat(Beat::default())],
            skipped: 1,
            why: Some(why),
        };
        assert_eq!(received, expected);
    }
}

#[test]
fn what_quorum_copies_exchange_to_become_equal_is_bulk_if_it_is_large() {
    let entries = |bytes: usize| vec![(Bytes::from("key"), Bytes::from(vec![0; bytes]))];
    let is_bulk = |body| quorum(body).is_bulk();
    assert!(is_bulk(Body::Push(1, entries(70 << 10))) && is_bulk(Body::Hints(entries(70 << 10))));
    assert!(is_bulk(Body::Compared(1, 2, Answer::Records(entries(70 << 10), 1, None))));
    assert!(!is_bulk(Body::Push(1, entries(60 << 10))));
    assert!(!is_bulk(Body::Repair(1, entries(70 << 10))), "a reader waits for it");
    assert!(message_bytes(&quorum(Body::Push(1, entries(70 << 10)))) >= 70 << 10);
}

/// A database of 100,000 shards, as many of one table as one table can have.
fn large_map() -> Map {
    let mut map = Map::default();
    for shard in 0..100_000_u64 {
        let copy =
            |number: u64| Replica { node: NodeId(1 + (shard + number) % 9), id: ReplicaId(1 + 3 * shard + number) };
        let descriptor = Descriptor {
            shard: ShardId(1 + shard),
            table: TableId(u32::try_from(1 + shard / 4_096).unwrap()),
            start: Bytes::from(format!("orders/{:032}", shard % 4_096)),
            end: Some(Bytes::from(format!("orders/{:032}", shard % 4_096 + 1))),
            generation: Generation(1),
            members: (0..3).map(|number| Member { replica: copy(number), role: Role::Voter }).collect(),
        };
        let (target, assigned) = ((0..3).map(|n| copy(n).node).collect(), (0..3).map(copy).collect());
        let epoch = Epoch(1 + shard / 4_096);
        map.put_shard(ShardRecord { descriptor, target, assigned, epoch, quorum: None });
    }
    map
}

#[test]
fn a_map_of_100_000_shards_reaches_a_node_in_frames_of_a_few_mebibytes() {
    let whole = large_map();
    assert!(whole.since(Epoch(0)).into_wire().encoded_len() > 4 << 20, "one message takes it all");
    let (mut there, mut pieces) = (Map::default(), 0);
    while there.epoch < whole.epoch {
        let piece = whole.piece_since(there.epoch, 4_096);
        let bytes = PeerMessage::Map(piece.clone());
        let sender = Sender { cluster: ClusterId::default(), node: NodeId(1), incarnation: Incarnation(1) };
        assert!(peer_frame(&sender, NodeId(2), vec![bytes]).encoded_len() < 4 << 20);
        assert!(there.merge(piece), "no progress at {}", there.epoch);
        pieces += 1;
    }
    assert_eq!(there, whole);
    assert!(pieces <= 26, "{pieces}");
}
