//! Messages that nobody sent: real ones with fields changed, and ones made up.

mod bodies;
mod snapshots;
mod told;

use std::sync::Arc;

use bytes::Bytes;
use skerry_core::ids::{Epoch, Generation, NodeId, ReplicaId, ShardId};
use skerry_core::log::{EntryKind, LogEntry};
use skerry_core::map::Map;
use skerry_core::message::{CertifyAnswer, PeerMessage, RaftEnvelope, RaftKind};
use skerry_core::quorum::replica::QuorumView;
use skerry_core::replica::ReplicaView;

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

/// A message between nodes: from whom, for whom, and what it says.
pub(crate) type Sent = (NodeId, NodeId, PeerMessage);

/// What the forger goes by.
pub(crate) struct Seen<'a> {
    /// The node in whose name it speaks.
    pub(crate) liar: NodeId,
    /// What was sent lately.
    pub(crate) sent: &'a [Sent],
    /// The map of each node.
    pub(crate) maps: &'a [Arc<Map>],
    /// The copies that follow leaders.
    pub(crate) views: &'a [ReplicaView],
    /// The copies of quorum shards, and their nodes.
    pub(crate) copies: &'a [(NodeId, QuorumView)],
    pub(crate) wall_ms: u64,
}

impl<'a> Seen<'a> {
    /// A real message: often one that the liar's node has sent, since of others its word does not count.
    fn any(&self, random: &mut Random) -> &'a Sent {
        let own: Vec<&Sent> = self.sent.iter().filter(|(from, ..)| *from == self.liar).collect();
        if own.is_empty() || random.is_one_in(3) {
            return random.pick(self.sent);
        }
        let &picked = random.pick(&own);
        picked
    }

    fn node(&self, random: &mut Random) -> NodeId {
        random.pick(self.views).node
    }
}

/// A message, and whom it is for: a real one with some fields changed, or one made up of what the receiver knows.
pub(crate) fn forge(random: &mut Random, seen: &Seen<'_>) -> (NodeId, PeerMessage) {
    match random.below(8) {
        0 | 1 => invent(random, seen),
        2 => bodies::invent(random, seen),
        3 => {
            let have = if random.is_one_in(2) { Epoch(0) } else { Epoch(random.next() % 64) };
            let mut delta = random.pick(seen.maps).since(have);
            for _ in 0..=random.below(3) {
                told::change_map(random, &mut delta);
            }
            (seen.node(random), PeerMessage::Map(delta))
        }
        _ => {
            let (_, to, message) = seen.any(random);
            let mut message = message.clone();
            for _ in 0..=random.below(4) {
                change(random, seen, &mut message);
            }
            (if random.is_one_in(4) { seen.node(random) } else { *to }, message)
        }
    }
}

/// Mostly just so, now and then anything.
fn close(random: &mut Random, near: u64) -> u64 {
    if random.is_one_in(6) { random.number(near) } else { near.saturating_add(random.next() % 2) }
}

/// From the liar's own copy, if it has one of the shard, and else from any.
fn invent(random: &mut Random, seen: &Seen<'_>) -> (NodeId, PeerMessage) {
    let own: Vec<&ReplicaView> = seen.views.iter().filter(|view| view.node == seen.liar).collect();
    let shard = if own.is_empty() { random.pick(seen.views).shard } else { random.pick(&own).shard };
    let of_shard: Vec<&ReplicaView> = seen.views.iter().filter(|view| view.shard == shard).collect();
    let target = *random.pick(&of_shard);
    let own = of_shard.iter().find(|view| view.node == seen.liar);
    let from = own.map_or_else(|| random.pick(&of_shard).replica, |view| view.replica);
    let message = match random.below(14) {
        0..=7 => PeerMessage::Raft(raft(random, seen, target, from)),
        8 => snapshots::ack(random, shard, from),
        9 => snapshots::offer(random, target, from),
        10 => snapshots::chunk(random, seen, target),
        11 => PeerMessage::TransferLeader { shard, to: target.replica },
        12 => PeerMessage::CertifyAsk { nonce: random.next(), node: NodeId(random.number(2)), shards: vec![shard; 3] },
        _ => PeerMessage::CertifyAnswer { nonce: random.number(1 << 40), shard, answer: CertifyAnswer::NotLeader },
    };
    (target.node, message)
}

fn raft(random: &mut Random, seen: &Seen<'_>, target: &ReplicaView, from: ReplicaId) -> RaftEnvelope {
    let term = close(random, target.term);
    let index = close(random, target.last);
    let log_term = if random.is_one_in(6) { 0 } else { close(random, target.applied.1).min(term) };
    let kind = *random.pick(&KINDS);
    let mut entries = Vec::new();
    while kind == RaftKind::Append && random.is_one_in(2) {
        let next = index.wrapping_add(1 + entries.len() as u64);
        let (.., real) = seen.any(random);
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

fn entry(random: &mut Random, index: u64) -> LogEntry {
    let kind = if random.is_one_in(3) { EntryKind::Members } else { EntryKind::Normal };
    let mut start = vec![random.below(3) as u8, random.below(5) as u8];
    start.extend(random.bytes(40));
    let (data, context) = if kind == EntryKind::Normal { (start, Vec::new()) } else { (Vec::new(), start) };
    LogEntry { index: random.number(index), term: random.number(2), kind, data: data.into(), context: context.into() }
}

fn change(random: &mut Random, seen: &Seen<'_>, message: &mut PeerMessage) {
    match message {
        PeerMessage::Raft(envelope) => change_raft(random, envelope),
        PeerMessage::SnapshotOffer(offer) => snapshots::change_offer(random, offer),
        PeerMessage::SnapshotChunk(chunk) => snapshots::change_chunk(random, chunk),
        PeerMessage::SnapshotAck(ack) => snapshots::change_ack(random, ack),
        PeerMessage::MapWant { have } => *have = Epoch(random.number(have.0)),
        PeerMessage::Map(delta) => told::change_map(random, delta),
        PeerMessage::Report(report) => told::change_report(random, report),
        PeerMessage::CertifyAsk { nonce, node, shards } => match random.below(3) {
            0 => *nonce = random.number(*nonce),
            1 => *node = NodeId(random.number(node.0)),
            _ => shards.push(ShardId(random.number(1))),
        },
        PeerMessage::CertifyAnswer { nonce, shard, answer } => match random.below(4) {
            0 => *nonce = random.number(*nonce),
            1 => *shard = ShardId(random.number(shard.0)),
            2 => *answer = CertifyAnswer::Held { replica: ReplicaId(random.number(4)) },
            _ => *answer = CertifyAnswer::Clear { in_sync: u32::MAX, generation: Generation(random.number(1)) },
        },
        PeerMessage::TransferLeader { shard, to } => match random.below(2) {
            0 => *shard = ShardId(random.number(shard.0)),
            _ => *to = ReplicaId(random.number(to.0)),
        },
        PeerMessage::Beat(beat) => told::change_beat(random, beat),
        PeerMessage::Quorum(envelope) => bodies::change(random, seen, envelope),
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
