//! Messages that nobody sent: real ones with fields changed, and ones made up.

use bytes::Bytes;
use skerry_core::ids::{Epoch, Generation, Incarnation, NodeId, ReplicaId, ShardId, TableId};
use skerry_core::level::FormatLevel;
use skerry_core::log::{EntryKind, LogEntry};
use skerry_core::map::{
    Descriptor, MapDelta, Member, MoveLimits, NodeState, QuorumChange, QuorumRecord, Quorums, Replica, Role,
};
use skerry_core::message::{
    CertifyAnswer, PeerMessage, QuorumReport, RaftEnvelope, RaftKind, Report, SnapshotAck, SnapshotChunk,
    SnapshotOffer, SnapshotState,
};
use skerry_core::quorum::copies::Copies;
use skerry_core::quorum::layout::{Change, Layout, Stage};
use skerry_core::quorum::message::{Body, Envelope};
use skerry_core::quorum::shown::Resolve;
use skerry_core::replica::ReplicaView;
use skerry_core::time::Version;

use crate::random::Random;

const KINDS: [RaftKind; 9] = [
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

/// A message, and whom it is for: a recorded one with some fields changed, or one made up of what the receiver knows.
pub(crate) fn forge(
    random: &mut Random,
    recorded: &[PeerMessage],
    views: &[ReplicaView],
    liar: NodeId,
) -> (NodeId, PeerMessage) {
    if random.is_one_in(2) {
        return invent(random, recorded, views, liar);
    }
    let mut message = random.pick(recorded).clone();
    for _ in 0..=random.below(4) {
        change(random, &mut message);
    }
    (random.pick(views).node, message)
}

/// Mostly just so, now and then anything.
fn close(random: &mut Random, near: u64) -> u64 {
    if random.is_one_in(6) { random.number(near) } else { near.saturating_add(random.next() % 2) }
}

/// From the liar's own copy, if it has one of the shard, and else from any.
fn invent(random: &mut Random, recorded: &[PeerMessage], views: &[ReplicaView], liar: NodeId) -> (NodeId, PeerMessage) {
    let own: Vec<&ReplicaView> = views.iter().filter(|view| view.node == liar).collect();
    let shard = if own.is_empty() { random.pick(views).shard } else { random.pick(&own).shard };
    let of_shard: Vec<&ReplicaView> = views.iter().filter(|view| view.shard == shard).collect();
    let target = *random.pick(&of_shard);
    let own = of_shard.iter().find(|view| view.node == liar);
    let from = own.map_or_else(|| random.pick(&of_shard).replica, |view| view.replica);
    let message = match random.below(12) {
        0..=7 => PeerMessage::Raft(raft(random, recorded, target, from)),
        8 => PeerMessage::SnapshotAck(SnapshotAck { shard, id: random.number(1 << 24), from, state: ack(random) }),
        9 if random.is_one_in(2) => PeerMessage::Quorum(Envelope {
            shard,
            from,
            to: target.replica,
            generation: Generation(random.number(2)),
            body: Body::BoundsWanted,
        }),
        9 => PeerMessage::TransferLeader { shard, to: target.replica },
        10 => PeerMessage::CertifyAsk { nonce: random.next(), node: NodeId(random.number(2)), shards: vec![shard; 3] },
        _ => PeerMessage::CertifyAnswer { nonce: random.number(1 << 40), shard, answer: CertifyAnswer::NotLeader },
    };
    (target.node, message)
}

fn raft(random: &mut Random, recorded: &[PeerMessage], target: &ReplicaView, from: ReplicaId) -> RaftEnvelope {
    let term = close(random, target.term);
    let index = close(random, target.last);
    let log_term = if random.is_one_in(6) { 0 } else { close(random, target.applied.1).min(term) };
    let kind = *random.pick(&KINDS);
    let mut entries = Vec::new();
    while kind == RaftKind::Append && random.is_one_in(2) {
        let next = index.wrapping_add(1 + entries.len() as u64);
        let real = random.pick(recorded);
        let real = if let PeerMessage::Raft(envelope) = real { envelope.entries.first() } else { None };
        let made = LogEntry { term: close(random, term), ..real.cloned().unwrap_or_else(|| entry(random, next)) };
        entries.push(LogEntry { index: close_below(random, next), ..made });
    }
    RaftEnvelope {
        shard: target.shard,
        from,
        to: target.replica,
        kind,
        term,
        log_term,
        index,
        entries,
        commit: close(random, target.committed),
        commit_term: close(random, target.applied.1),
        reject: random.is_one_in(2),
        reject_hint: close(random, target.last),
        request_snapshot: if random.is_one_in(6) { random.number(target.last) } else { 0 },
        context: if random.is_one_in(6) { random.bytes(100).into() } else { Bytes::new() },
    }
}

/// Mostly just so, now and then anything.
fn close_below(random: &mut Random, near: u64) -> u64 {
    if random.is_one_in(8) { random.number(near) } else { near }
}

fn ack(random: &mut Random) -> SnapshotState {
    match random.below(3) {
        0 => SnapshotState::Want(random.number(2)),
        1 => SnapshotState::Installed,
        _ => SnapshotState::Refused,
    }
}

fn entry(random: &mut Random, index: u64) -> LogEntry {
    let kind = if random.is_one_in(3) { EntryKind::Members } else { EntryKind::Normal };
    let mut start = vec![random.below(3) as u8, random.below(5) as u8];
    start.extend(random.bytes(40));
    let (data, context) = if kind == EntryKind::Normal { (start, Vec::new()) } else { (Vec::new(), start) };
    LogEntry { index: random.number(index), term: random.number(2), kind, data: data.into(), context: context.into() }
}

fn change(random: &mut Random, message: &mut PeerMessage) {
    match message {
        PeerMessage::Raft(envelope) => change_raft(random, envelope),
        PeerMessage::SnapshotOffer(offer) => change_offer(random, offer),
        PeerMessage::SnapshotChunk(chunk) => change_chunk(random, chunk),
        PeerMessage::SnapshotAck(ack) => match random.below(3) {
            0 => ack.id = random.number(ack.id),
            1 => ack.from = ReplicaId(random.number(ack.from.0)),
            _ => ack.state = self::ack(random),
        },
        PeerMessage::MapWant { have } => *have = Epoch(random.number(have.0)),
        PeerMessage::Map(delta) => change_map(random, delta),
        PeerMessage::Report(report) => change_report(random, report),
        PeerMessage::CertifyAsk { nonce, node, shards } => match random.below(3) {
            0 => *nonce = random.number(*nonce),
            1 => *node = NodeId(random.number(node.0)),
            _ => shards.push(ShardId(random.number(1))),
        },
        PeerMessage::CertifyAnswer { nonce, shard, answer } => match random.below(3) {
            0 => *nonce = random.number(*nonce),
            1 => *shard = ShardId(random.number(shard.0)),
            _ => *answer = CertifyAnswer::Clear { in_sync: u32::MAX, generation: Generation(random.number(1)) },
        },
        PeerMessage::TransferLeader { shard, to } => match random.below(2) {
            0 => *shard = ShardId(random.number(shard.0)),
            _ => *to = ReplicaId(random.number(to.0)),
        },
        PeerMessage::Beat(beat) => beat.wall_ms = Some(random.number(beat.wall_ms.unwrap_or(0))),
        PeerMessage::Quorum(envelope) => envelope.generation = Generation(random.number(envelope.generation.0)),
        PeerMessage::ReportWant => {}
    }
}

fn change_raft(random: &mut Random, envelope: &mut RaftEnvelope) {
    match random.below(14) {
        0 => envelope.shard = ShardId(random.number(envelope.shard.0)),
        1 => envelope.from = ReplicaId(random.number(envelope.from.0)),
        2 => envelope.to = ReplicaId(random.number(envelope.to.0)),
        3 => envelope.kind = *random.pick(&KINDS),
        4 => envelope.term = random.number(envelope.term),
        5 => envelope.log_term = random.number(envelope.log_term),
        6 => envelope.index = random.number(envelope.index),
        7 => envelope.commit = random.number(envelope.commit),
        8 => envelope.commit_term = random.number(envelope.commit_term),
        9 => envelope.reject = !envelope.reject,
        10 => envelope.reject_hint = random.number(envelope.reject_hint),
        11 => envelope.request_snapshot = random.number(envelope.request_snapshot),
        12 => envelope.context = random.bytes(100).into(),
        _ => match random.below(3) {
            0 => envelope.entries.push(entry(random, envelope.index.wrapping_add(1))),
            1 => drop(envelope.entries.pop()),
            _ => {
                if let Some(first) = envelope.entries.first_mut() {
                    *first = entry(random, first.index);
                }
            }
        },
    }
}

fn change_offer(random: &mut Random, offer: &mut SnapshotOffer) {
    match random.below(10) {
        0 => offer.id = random.number(offer.id),
        1 => offer.from = ReplicaId(random.number(offer.from.0)),
        2 => offer.to = ReplicaId(random.number(offer.to.0)),
        3 => offer.term = random.number(offer.term),
        4 => offer.index = random.number(offer.index),
        5 => offer.index_term = random.number(offer.index_term),
        6 => offer.last_version = Version(random.number(offer.last_version.0)),
        7 => offer.request_floor = Version(random.number(offer.request_floor.0)),
        8 => {
            offer.bytes = random.number(offer.bytes);
            offer.level = FormatLevel(offer.bytes as u32);
        }
        _ => change_descriptor(random, &mut offer.descriptor),
    }
}

fn change_chunk(random: &mut Random, chunk: &mut SnapshotChunk) {
    match random.below(7) {
        0 => chunk.shard = ShardId(random.number(chunk.shard.0)),
        1 => chunk.id = random.number(chunk.id),
        2 => chunk.to = ReplicaId(random.number(chunk.to.0)),
        3 => chunk.sequence = random.number(chunk.sequence),
        4 => chunk.last = !chunk.last,
        5 => chunk.records.push((random.bytes(20).into(), random.bytes(40).into())),
        _ => {
            if let Some((key, value)) = chunk.records.first_mut() {
                (*key, *value) = (flipped(random, key), flipped(random, value));
            }
        }
    }
    chunk.checksum =
        chunk.records.iter().fold(0, |crc, (k, v)| crc32c::crc32c_append(crc32c::crc32c_append(crc, k), v));
}

fn flipped(random: &mut Random, bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    if !bytes.is_empty() {
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
    }
    bytes.into()
}

fn change_descriptor(random: &mut Random, descriptor: &mut Descriptor) {
    match random.below(7) {
        0 => descriptor.shard = ShardId(random.number(descriptor.shard.0)),
        1 => descriptor.table = TableId(random.number(u64::from(descriptor.table.0)) as u32),
        2 => descriptor.start = random.bytes(10).into(),
        3 => descriptor.end = Some(random.bytes(10).into()),
        4 => descriptor.generation = Generation(random.number(descriptor.generation.0)),
        5 => descriptor.members.push(Member {
            replica: Replica { node: NodeId(random.number(2)), id: ReplicaId(random.number(9)) },
            role: *random.pick(&[Role::Voter, Role::Learner, Role::Incoming, Role::Outgoing]),
        }),
        _ => drop(descriptor.members.pop()),
    }
}

/// The map that would do the most harm: later than all, with tables dropped and copies elsewhere.
fn change_map(random: &mut Random, delta: &mut MapDelta) {
    let later = |random: &mut Random, delta: &mut MapDelta| {
        delta.epoch = Epoch(delta.epoch.0.saturating_add(1 + random.next() % 50));
        delta.epoch
    };
    match random.below(8) {
        0 => delta.epoch = Epoch(random.number(delta.epoch.0)),
        1 => delta.since = Epoch(random.number(delta.since.0)),
        2 => delta.replica_max = ReplicaId(random.number(delta.replica_max.0)),
        3 => {
            let number = random.next();
            delta.limits = Some((MoveLimits { moves_per_node: 0, bytes_per_second: number }, delta.epoch));
            delta.level = Some((FormatLevel(number as u32), delta.epoch));
        }
        4 => {
            let epoch = later(random, delta);
            for table in &mut delta.tables {
                (table.dropped, table.epoch) = (true, epoch);
            }
        }
        5 => {
            let epoch = later(random, delta);
            for node in &mut delta.nodes {
                (node.epoch, node.state) = (epoch, NodeState::Removed);
                node.incarnation = Incarnation(random.number(node.incarnation.0));
            }
        }
        _ => {
            let epoch = later(random, delta);
            for shard in &mut delta.shards {
                shard.epoch = epoch;
                change_descriptor(random, &mut shard.descriptor);
                shard.assigned.clear();
                if random.is_one_in(4) {
                    shard.quorum = Some(quorum(random));
                }
                if random.is_one_in(2) {
                    shard.descriptor.generation.0 = shard.descriptor.generation.0.wrapping_add(1);
                    shard.descriptor.members.truncate(1);
                }
            }
        }
    }
}

fn quorum(random: &mut Random) -> QuorumRecord {
    let mut quorums = || Quorums { write: random.below(4) as u32, read: random.below(4) as u32 };
    let (current, next) = (quorums(), quorums());
    let stage = *random.pick(&[Stage::WriteBoth, Stage::ReadNew, Stage::NewOnly]);
    let (began, reads_since) = (Generation(random.number(2)), Generation(random.number(2)));
    let change = QuorumChange { next, stage, began, reads_since };
    let resolve = if random.is_one_in(2) { Resolve::Siblings } else { Resolve::LastWriterWins };
    QuorumRecord { current, change: random.is_one_in(2).then_some(change), resolve, is_unsure: random.is_one_in(2) }
}

fn layout(random: &mut Random) -> Layout {
    let mut set = || {
        let members = (0..random.below(4)).map(|_| ReplicaId(random.number(4))).collect();
        Copies { members, write: random.below(4), read: random.below(4) }
    };
    let (current, next) = (set(), set());
    let (began, reads_since) = (Generation(random.number(2)), Generation(random.number(2)));
    let stage = *random.pick(&[Stage::WriteBoth, Stage::ReadNew, Stage::NewOnly]);
    let change = random.is_one_in(2).then_some(Change { next, stage, began, reads_since });
    let homes = (0..random.below(4)).map(|_| (ReplicaId(random.number(4)), NodeId(random.number(2)))).collect();
    Layout { change, homes, ..Layout::settled(Generation(random.number(2)), current) }
}

fn change_report(random: &mut Random, report: &mut Report) {
    match random.below(9) {
        0 => report.node.node = NodeId(random.number(report.node.node.0)),
        1 => report.node.incarnation = Incarnation(random.number(report.node.incarnation.0)),
        2 => report.node.map_epoch = Epoch(random.number(report.node.map_epoch.0)),
        3 => report.node.disk_bytes = random.number(report.node.disk_bytes),
        4 => report.node.lost.push((ShardId(random.number(1)), ReplicaId(random.number(4)))),
        5 => report.led.version = random.number(report.led.version),
        6 => report.led.since = random.number(report.led.since),
        7 => report.quorum.changed.push(QuorumReport {
            shard: ShardId(random.number(1)),
            replica: ReplicaId(random.number(4)),
            held: Generation(random.number(2)),
            copied: vec![(ReplicaId(random.number(4)), Generation(random.number(2)))],
            is_complete: random.is_one_in(2),
            floor: Version(random.next()),
            hints: random.number(1),
            under_way: random.number(1),
            handed_over: vec![ReplicaId(random.number(4))],
            bytes: random.number(1),
            layout: random.is_one_in(2).then(|| layout(random)),
        }),
        _ => {
            for shard in &mut report.led.changed {
                match random.below(5) {
                    0 => shard.term = random.number(shard.term),
                    1 => shard.leader = ReplicaId(random.number(shard.leader.0)),
                    2 => shard.bytes = random.number(shard.bytes),
                    3 => shard.in_sync.push(ReplicaId(random.number(4))),
                    _ => change_descriptor(random, &mut shard.descriptor),
                }
            }
        }
    }
}
