//! Snapshots that no leader sends: offers, pieces, and answers to them.

use bytes::Bytes;
use skerry_core::engine::{data_key, shard_key, state};
use skerry_core::ids::{Generation, NodeId, ReplicaId, ShardId, TableId};
use skerry_core::level::FormatLevel;
use skerry_core::map::{Descriptor, Member, Replica, Role};
use skerry_core::message::{PeerMessage, SnapshotAck, SnapshotChunk, SnapshotOffer, SnapshotState};
use skerry_core::replica::ReplicaView;
use skerry_core::time::Version;

use super::{Seen, bodies, close};
use crate::random::Random;

/// Names of transfers that are made up: so few that pieces meet an offer.
const IDS: usize = 3;

fn id(random: &mut Random) -> u64 {
    1 + random.below(IDS) as u64
}

pub(super) fn offer(random: &mut Random, target: &ReplicaView, from: ReplicaId) -> PeerMessage {
    let term = close(random, target.term);
    let mut descriptor = target.descriptor.clone();
    if random.is_one_in(4) {
        change_descriptor(random, &mut descriptor);
    }
    PeerMessage::SnapshotOffer(SnapshotOffer {
        id: id(random),
        from,
        to: target.replica,
        term,
        index: close(random, target.last).wrapping_add(random.next() % 3),
        index_term: close(random, target.applied.1).min(term),
        descriptor,
        last_version: Version(random.number(1 << 60)),
        request_floor: Version(if random.is_one_in(2) { 0 } else { random.number(1 << 60) }),
        bytes: random.number(1 << 20),
        level: FormatLevel(random.below(5) as u32),
    })
}

pub(super) fn chunk(random: &mut Random, seen: &Seen<'_>, target: &ReplicaView) -> PeerMessage {
    let records = (0..random.below(4)).map(|_| record(random, seen, target)).collect();
    let mut chunk = SnapshotChunk {
        shard: target.shard,
        id: id(random),
        to: target.replica,
        sequence: random.below(3) as u64,
        records,
        last: random.is_one_in(2),
        checksum: 0,
    };
    chunk.checksum = checksum(&chunk);
    PeerMessage::SnapshotChunk(chunk)
}

/// A record of the shard, or a group of its request ids.
fn record(random: &mut Random, seen: &Seen<'_>, target: &ReplicaView) -> (Bytes, Bytes) {
    let descriptor = &target.descriptor;
    if random.is_one_in(4) {
        let index = random.number(target.last).to_be_bytes();
        let mut group = vec![1, random.below(3) as u8];
        group.extend(random.bytes(30));
        return (shard_key(target.shard, state::REQUESTS, &index), group.into());
    }
    let (mut key, mut value) = (descriptor.start.to_vec(), bodies::stored(random, seen));
    key.extend(random.bytes(3));
    if random.is_one_in(2) {
        // Of the first format: format, flags, version, end, value.
        let mut first = vec![1, random.below(2) as u8];
        first.extend(random.number(1 << 60).to_be_bytes());
        first.extend(random.number(seen.wall_ms).to_be_bytes());
        first.extend(random.bytes(20));
        value = first.into();
    }
    (data_key(descriptor.table, &key), value)
}

pub(super) fn ack(random: &mut Random, shard: ShardId, from: ReplicaId) -> PeerMessage {
    PeerMessage::SnapshotAck(SnapshotAck { shard, id: random.number(1 << 24), from, state: state_of(random) })
}

fn state_of(random: &mut Random) -> SnapshotState {
    match random.below(3) {
        0 => SnapshotState::Want(random.number(2)),
        1 => SnapshotState::Installed,
        _ => SnapshotState::Refused,
    }
}

pub(super) fn change_ack(random: &mut Random, ack: &mut SnapshotAck) {
    match random.below(3) {
        0 => ack.id = random.number(ack.id),
        1 => ack.from = ReplicaId(random.number(ack.from.0)),
        _ => ack.state = state_of(random),
    }
}

pub(super) fn change_offer(random: &mut Random, offer: &mut SnapshotOffer) {
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

pub(super) fn change_chunk(random: &mut Random, chunk: &mut SnapshotChunk) {
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
    chunk.checksum = checksum(chunk);
}

fn checksum(chunk: &SnapshotChunk) -> u32 {
    chunk.records.iter().fold(0, |crc, (k, v)| crc32c::crc32c_append(crc32c::crc32c_append(crc, k), v))
}

pub(super) fn flipped(random: &mut Random, bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    if !bytes.is_empty() {
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
    }
    bytes.into()
}

pub(super) fn change_descriptor(random: &mut Random, descriptor: &mut Descriptor) {
    match random.below(7) {
        0 => descriptor.shard = ShardId(random.number(descriptor.shard.0)),
        1 => descriptor.table = TableId(random.number(u64::from(descriptor.table.0)) as u32),
        2 => descriptor.start = random.bytes(10).into(),
        3 => descriptor.end = Some(random.bytes(10).into()),
        4 => descriptor.generation = Generation(random.number(descriptor.generation.0)),
        5 => descriptor.members.push(member(random)),
        _ => drop(descriptor.members.pop()),
    }
}

pub(super) fn member(random: &mut Random) -> Member {
    Member {
        replica: replica(random),
        role: *random.pick(&[Role::Voter, Role::Learner, Role::Incoming, Role::Outgoing]),
    }
}

/// A copy that may be one of those that there are.
pub(super) fn replica(random: &mut Random) -> Replica {
    Replica { node: NodeId(random.number(2)), id: ReplicaId(random.number(9)) }
}
