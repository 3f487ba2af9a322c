//! Snapshot messages between the core's types and the protocol's, field by field.

use skerry_client::wire::{Malformed, Wire, required};
use skerry_core::ids::{ReplicaId, ShardId};
use skerry_core::level::FormatLevel;
use skerry_core::message::{SnapshotAck, SnapshotChunk, SnapshotOffer, SnapshotState};
use skerry_core::time::Version;
use skerry_proto::v1;
use skerry_proto::v1::snapshot_ack::State;

pub(super) fn offer_out(offer: SnapshotOffer) -> v1::SnapshotOffer {
    v1::SnapshotOffer {
        id: offer.id,
        from_replica_id: offer.from.0,
        to_replica_id: offer.to.0,
        term: offer.term,
        index: offer.index,
        index_term: offer.index_term,
        descriptor: Some(offer.descriptor.into_wire()),
        last_version: offer.last_version.0,
        request_floor: offer.request_floor.0,
        bytes: offer.bytes,
        format_level: offer.level.0,
    }
}

pub(super) fn offer_in(offer: v1::SnapshotOffer) -> Result<SnapshotOffer, Malformed> {
    Ok(SnapshotOffer {
        id: offer.id,
        from: ReplicaId(offer.from_replica_id),
        to: ReplicaId(offer.to_replica_id),
        term: offer.term,
        index: offer.index,
        index_term: offer.index_term,
        descriptor: required(offer.descriptor, "snapshot_offer.descriptor")?,
        last_version: Version(offer.last_version),
        request_floor: Version(offer.request_floor),
        bytes: offer.bytes,
        level: FormatLevel::told(offer.format_level),
    })
}

pub(super) fn chunk_out(chunk: SnapshotChunk) -> v1::SnapshotChunk {
    v1::SnapshotChunk {
        shard_id: chunk.shard.0,
        id: chunk.id,
        to_replica_id: chunk.to.0,
        sequence: chunk.sequence,
        records: chunk.records.into_iter().map(|(key, value)| v1::StoreRecord { key, value }).collect(),
        last: chunk.last,
        checksum: chunk.checksum,
    }
}

pub(super) fn chunk_in(chunk: v1::SnapshotChunk) -> SnapshotChunk {
    SnapshotChunk {
        shard: ShardId(chunk.shard_id),
        id: chunk.id,
        to: ReplicaId(chunk.to_replica_id),
        sequence: chunk.sequence,
        records: chunk.records.into_iter().map(|record| (record.key, record.value)).collect(),
        last: chunk.last,
        checksum: chunk.checksum,
    }
}

pub(super) fn ack_out(ack: SnapshotAck) -> v1::SnapshotAck {
    let state = match ack.state {
        SnapshotState::Want(sequence) => State::Want(sequence),
        SnapshotState::Installed => State::Installed(true),
        SnapshotState::Refused => State::Refused(true),
    };
    v1::SnapshotAck { shard_id: ack.shard.0, id: ack.id, from_replica_id: ack.from.0, state: Some(state) }
}

pub(super) fn ack_in(ack: v1::SnapshotAck) -> Result<SnapshotAck, Malformed> {
    let state = match ack.state {
        Some(State::Want(sequence)) => SnapshotState::Want(sequence),
        Some(State::Installed(_)) => SnapshotState::Installed,
        Some(State::Refused(_)) => SnapshotState::Refused,
        None => return Err(Malformed::Missing("snapshot_ack.state")),
    };
    Ok(SnapshotAck { shard: ShardId(ack.shard_id), id: ack.id, from: ReplicaId(ack.from_replica_id), state })
}
