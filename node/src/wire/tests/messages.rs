//! Every kind of message between nodes, with something in every field.

use bytes::Bytes;
use skerry_core::ids::{ClusterId, Epoch, Generation, Incarnation, NodeId, ReplicaId, ShardId, TableId};
use skerry_core::level::FormatLevel;
use skerry_core::log::{EntryKind, LogEntry};
use skerry_core::map::{
    Consistency, Descriptor, Fragmentation, MapDelta, Member, MoveLimits, NodeRecord, NodeState, QuorumChange,
    QuorumRecord, Quorums, RecoveryRecord, Replica, Role, ShardRecord, TableRecord,
};
use skerry_core::message::{
    Beat, CertifyAnswer, CopiesReport, CopyReport, LedReport, NodeReport, PeerMessage, QuorumReport, RaftEnvelope,
    RaftKind, Report, ShardReport, SnapshotAck, SnapshotChunk, SnapshotOffer, SnapshotState,
};
use skerry_core::quorum::copies::Copies;
use skerry_core::quorum::floor::Floor;
use skerry_core::quorum::layout::{Change, Layout, Stage};
use skerry_core::quorum::merkle::compare::{Answer, Ask};
use skerry_core::quorum::merkle::span::{Span, Spans, Sum};
use skerry_core::quorum::message::{Body, Envelope};
use skerry_core::quorum::shown::Resolve;
use skerry_core::quorum::write::Said;
use skerry_core::record::{Actor, Stamp};
use skerry_core::time::Version;

/// One of each kind, and of those that hold one of several things, one of each of these.
pub(super) fn messages() -> Vec<PeerMessage> {
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
    let certify = |answer| PeerMessage::CertifyAnswer { nonce: 1, shard: ShardId(2), answer };
    let mut messages: Vec<_> = kinds.into_iter().map(raft).collect();
    messages.extend(snapshots());
    messages.extend(bodies().into_iter().map(quorum));
    messages.extend([
        PeerMessage::Beat(Beat::default()),
        PeerMessage::Beat(Beat { disk_full: Some(true), disk_stalled: true, wall_ms: Some(7) }),
        PeerMessage::MapWant { have: Epoch(3) },
        PeerMessage::Map(MapDelta { epoch: Epoch(4), ..MapDelta::default() }),
        PeerMessage::Map(map()),
        PeerMessage::Report(report()),
        PeerMessage::ReportWant,
        PeerMessage::CertifyAsk { nonce: 1, node: NodeId(2), shards: vec![ShardId(3), ShardId(4)] },
        certify(CertifyAnswer::Clear { in_sync: 3, generation: Generation(4) }),
        certify(CertifyAnswer::Held { replica: ReplicaId(5) }),
        certify(CertifyAnswer::NotLeader),
        PeerMessage::TransferLeader { shard: ShardId(1), to: ReplicaId(2) },
    ]);
    messages
}

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

fn snapshots() -> Vec<PeerMessage> {
    let offer = |level| SnapshotOffer {
        id: 1,
        from: ReplicaId(2),
        to: ReplicaId(3),
        term: 4,
        index: 5,
        index_term: 6,
        descriptor: descriptor(),
        last_version: Version(8),
        request_floor: Version(9),
        bytes: 10,
        level,
    };
    let chunk = SnapshotChunk {
        shard: ShardId(1),
        id: 2,
        to: ReplicaId(3),
        sequence: 4,
        records: vec![(Bytes::from("k"), Bytes::from("v"))],
        last: true,
        checksum: 5,
    };
    let ack = |state| PeerMessage::SnapshotAck(SnapshotAck { shard: ShardId(1), id: 2, from: ReplicaId(3), state });
    vec![
        PeerMessage::SnapshotOffer(offer(FormatLevel::FIRST)),
        PeerMessage::SnapshotOffer(offer(FormatLevel(2))),
        PeerMessage::SnapshotChunk(chunk),
        ack(SnapshotState::Want(4)),
        ack(SnapshotState::Installed),
        ack(SnapshotState::Refused),
    ]
}

/// Between two copies of a quorum shard.
pub(super) fn quorum(body: Body) -> PeerMessage {
    let (shard, from, to, generation) = (ShardId(1), ReplicaId(2), ReplicaId(3), Generation(4));
    PeerMessage::Quorum(Envelope { shard, from, to, generation, body })
}

fn bodies() -> Vec<Body> {
    let key = || Bytes::from("key");
    let entries = || vec![(key(), Bytes::from("record")); 3];
    let stamp = Stamp { version: Version(5), actor: Actor { replica: ReplicaId(2), incarnation: Incarnation(3) } };
    let spans = || Spans(vec![Span { start: Bytes::from("a"), end: Some(key()) }, Span { start: key(), end: None }]);
    let sum = Sum { sum: 7, records: Some(2) };
    vec![
        Body::Write(1, vec![(key(), Bytes::from("record"), stamp)]),
        Body::Said(1, Said::Newer(Generation(5))),
        Body::Read(1, key(), Some(Bytes::from("l")), 10),
        Body::Page(1, entries(), Some(key()), Version(3)),
        Body::Newer(1, Generation(5)),
        Body::Repair(1, entries()),
        Body::Repaired(1),
        Body::Hints(entries()),
        Body::Hinted(vec![(key(), Bytes::from("record"), true)]),
        Body::BoundsWanted,
        Body::Bounds(Floor::bare()),
        Body::Compare(1, 2, Ask::Slices(3, Version(4))),
        Body::Compare(1, 2, Ask::Leaves(3, vec![4, 5])),
        Body::Compare(1, 2, Ask::Spans(3, spans())),
        Body::Compare(1, 2, Ask::Entries(3, spans())),
        Body::Compare(1, 2, Ask::Records(3, spans(), vec![vec![1], Vec::new()])),
        Body::Compared(1, 2, Answer::OtherGrid),
        Body::Compared(1, 2, Answer::Slices(vec![1, u128::MAX], Version(4))),
        Body::Compared(1, 2, Answer::Leaves(vec![1, 2])),
        Body::Compared(1, 2, Answer::Spans(vec![sum, Sum::default()])),
        Body::Compared(1, 2, Answer::Entries(vec![vec![(1, 2)], Vec::new()], Some(key()))),
        Body::Compared(1, 2, Answer::Records(entries(), 1, Some(key()))),
        Body::Push(1, entries()),
        Body::Pushed(1),
        Body::Bar(Version(7)),
        Body::Barred(Version(7)),
        Body::Floor(Version(7)),
        Body::Elapsed(Version(7)),
    ]
}

fn descriptor() -> Descriptor {
    let member = |number, role| Member { replica: Replica { node: NodeId(number), id: ReplicaId(number) }, role };
    Descriptor {
        shard: ShardId(7),
        table: TableId(2),
        start: Bytes::from("a"),
        end: Some(Bytes::from("m")),
        generation: Generation(3),
        members: vec![
            member(1, Role::Voter),
            member(2, Role::Learner),
            member(3, Role::Incoming),
            member(4, Role::Outgoing),
        ],
    }
}

fn map() -> MapDelta {
    let replica = |number| Replica { node: NodeId(number), id: ReplicaId(number) };
    let quorums = |write, read| Quorums { write, read };
    let consistency = Consistency::Quorum { write: 2, read: 2, resolve: Resolve::Siblings };
    let change =
        QuorumChange { next: quorums(2, 3), stage: Stage::ReadNew, began: Generation(2), reads_since: Generation(3) };
    let quorum =
        QuorumRecord { current: quorums(2, 2), change: Some(change), resolve: Resolve::Siblings, is_unsure: true };
    let shard = |quorum| ShardRecord {
        descriptor: descriptor(),
        target: vec![NodeId(1), NodeId(2)],
        assigned: vec![replica(1), replica(2)],
        epoch: Epoch(5),
        quorum,
    };
    MapDelta {
        cluster: ClusterId("c".into()),
        since: Epoch(4),
        epoch: Epoch(5),
        replica_max: ReplicaId(9),
        limits: Some((MoveLimits { moves_per_node: 3, bytes_per_second: 4 << 20 }, Epoch(5))),
        level: Some((FormatLevel(3), Epoch(5))),
        nodes: vec![NodeRecord {
            id: NodeId(1),
            incarnation: Incarnation(2),
            volume: "volume".into(),
            address: "node-1:7402".into(),
            zone: "a".into(),
            state: NodeState::Draining,
            epoch: Epoch(5),
        }],
        tables: vec![TableRecord {
            id: TableId(2),
            name: "carts".into(),
            fragmentation: Fragmentation::Hash,
            consistency,
            replication_factor: 3,
            dropped: true,
            epoch: Epoch(5),
        }],
        shards: vec![shard(None), shard(Some(quorum))],
        recoveries: vec![RecoveryRecord {
            shard: ShardId(7),
            from: replica(3),
            to: ReplicaId(9),
            last: (12, 3),
            given_up: vec![replica(4), replica(5)],
            at_ms: 1_000_000,
            generation: Generation(3).recovered(),
            epoch: Epoch(5),
        }],
    }
}

fn report() -> Report {
    let copy = || CopyReport {
        shard: ShardId(7),
        replica: ReplicaId(3),
        last: (12, 3),
        applied: 11,
        last_version: Version(8),
        generation: Generation(3),
        members: descriptor().members,
        is_blank: true,
    };
    let led = ShardReport {
        descriptor: descriptor(),
        leader: ReplicaId(1),
        term: 3,
        in_sync: vec![ReplicaId(1), ReplicaId(2)],
        bytes: 100,
        moving: (10, 20),
    };
    Report {
        node: NodeReport {
            node: NodeId(1),
            incarnation: Incarnation(2),
            level: FormatLevel(3),
            address: "node-1:7402".into(),
            zone: "a".into(),
            map_epoch: Epoch(5),
            disk_full: true,
            disk_stalled: true,
            store_doubtful: true,
            disk_bytes: 1 << 30,
            replicas: 4,
            lost: vec![(ShardId(7), ReplicaId(3))],
            leaderless: vec![copy()],
            ahead: vec![copy()],
        },
        led: LedReport { version: 3, since: 2, changed: vec![led], resigned: vec![ShardId(1)] },
        quorum: CopiesReport { changed: vec![quorum_copy()], ended: vec![ShardId(2)], is_all: true },
    }
}

fn quorum_copy() -> QuorumReport {
    let set = |members: &[u64]| Copies { members: members.iter().copied().map(ReplicaId).collect(), write: 2, read: 2 };
    let change =
        Change { next: set(&[1, 3]), stage: Stage::WriteBoth, began: Generation(3), reads_since: Generation(3) };
    let layout = Layout {
        generation: Generation(3),
        current: set(&[1, 2]),
        change: Some(change),
        resolve: Resolve::Siblings,
        homes: [1, 2, 3].map(|number| (ReplicaId(number), NodeId(number))).into(),
    };
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
        layout: Some(layout),
    }
}
