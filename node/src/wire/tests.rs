//! Every message between nodes comes back as it went.

use bytes::Bytes;
use skerry_core::ids::Incarnation;
use skerry_core::log::{EntryKind, LogEntry};
use skerry_core::map::Descriptor;
use skerry_core::message::{
    LedReport, NodeReport, RaftEnvelope, RaftKind, SnapshotAck, SnapshotChunk, SnapshotOffer, SnapshotState,
};
use skerry_core::time::Version;

use super::*;

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
        PeerMessage::Beat(Beat { disk_full: Some(true), wall_ms: Some(7) }),
        PeerMessage::MapWant { have: Epoch(3) },
        PeerMessage::Map(MapDelta { epoch: Epoch(4), ..MapDelta::default() }),
        PeerMessage::Report(Report {
            node: NodeReport { node: NodeId(1), incarnation: Incarnation(2), ..NodeReport::default() },
            led: LedReport { version: 3, since: 2, changed: Vec::new(), resigned: vec![ShardId(1)] },
        }),
        PeerMessage::ReportWant,
        PeerMessage::CertifyAsk { nonce: 1, node: NodeId(2), shards: vec![ShardId(3), ShardId(4)] },
        certify(CertifyAnswer::Clear { in_step: 3, generation: Generation(4) }),
        certify(CertifyAnswer::Held { replica: ReplicaId(5) }),
        certify(CertifyAnswer::NotLeader),
        PeerMessage::TransferLeader { shard: ShardId(1), to: ReplicaId(2) },
    ]);
    messages
}

#[test]
fn every_message_comes_back_as_it_went() {
    let sender =
        Sender { cluster: skerry_core::ids::ClusterId("c".into()), node: NodeId(1), incarnation: Incarnation(2) };
    let frame = peer_frame(&sender, NodeId(3), messages());
    assert_eq!((frame.from_node_id, frame.to_node_id, frame.incarnation), (1, 3, 2));
    assert_eq!(peer_messages(frame.messages), Ok(messages()));
}

#[test]
fn a_message_without_content_or_of_an_unknown_kind_is_malformed() {
    assert_eq!(peer_messages(vec![v1::PeerMessage { message: None }]), Err(Malformed::Missing("message")));
    let unknown = v1::RaftEnvelope { kind: 77, ..v1::RaftEnvelope::default() };
    let message = v1::PeerMessage { message: Some(Message::Raft(unknown)) };
    assert_eq!(peer_messages(vec![message]), Err(Malformed::Unknown { field: "raft.kind", value: 77 }));
}
