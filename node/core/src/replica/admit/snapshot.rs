//! Checks snapshots before anything of them is stored: whose shard and copy they are of, and that each piece holds
//! records of that shard, which can be read, and nothing else.

use bytes::Bytes;

use super::{RaftFacts, TERM_JUMP_MAX, sender};
use crate::command::Record;
use crate::engine::{Engine, EngineError, data_end, data_key, encoded_key, shard_key, state};
use crate::ids::{NodeId, ReplicaId, ShardId};
use crate::log::INDEX_MAX;
use crate::map::{Descriptor, ShardRecord, check_descriptor, check_members, home_of};
use crate::message::{SnapshotAck, SnapshotChunk, SnapshotOffer, SnapshotState};
use crate::planted::{Planted, is_planted};
use crate::record;
use crate::replica::Replica;
use crate::replica::state_machine::requests::Requests;
use crate::system::state::SystemState;
use crate::time::Version;

/// Records of one piece: twice what a sender reads at once, and as many groups of request ids.
const CHUNK_RECORDS_MAX: usize = 10_000;
/// Bytes of one piece: a quarter of a mebibyte, and the longest record after it, with much room.
const CHUNK_BYTES_MAX: usize = 8 << 20;
/// The year 3085: no clock gives a later version.
const VERSION_MAX: Version = Version(1 << 63);
/// Of all that was ever put into a shard: ten years at a gigabyte a second. Sums over all members do not overflow.
const BYTES_MAX: u64 = 1 << 58;
/// Copies that may have been given a number since this node's copy of the system shard fell behind: a million recoveries
/// of it, each of which skips 2^20, and as many again.
const REPLICA_JUMP_MAX: u64 = 1 << 42;

/// Why a snapshot, or a piece of it, is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotRefused {
    /// The map here does not know the shard yet.
    #[error("shard {0} is not in the map yet")]
    UnknownShard(ShardId),
    /// It is not from the node that has the sending copy.
    #[error("sender {replica} is not on {node}")]
    Sender {
        /// The copy that the message says it is from.
        replica: ReplicaId,
        /// The node that sent the message.
        node: NodeId,
    },
    /// The offer cannot be of this shard.
    #[error("{0} of the offer cannot be so")]
    Offer(&'static str),
    /// A piece holds what is not of this shard, or cannot be read.
    #[error("{0} of the piece cannot be so")]
    Chunk(&'static str),
    /// An answer is of what was not sent.
    #[error("answer is of a piece that was not sent")]
    Ack,
}

/// Whether an offer fits what the map has of the shard, and what the copy knows itself. `known` = its descriptor, if it
/// has data.
///
/// # Errors
///
/// What no leader of the shard would offer.
pub fn admit_offer(
    offer: &SnapshotOffer,
    (here, from): (NodeId, NodeId),
    facts: &RaftFacts,
    known: Option<&Descriptor>,
    (record, replica_max): (&ShardRecord, ReplicaId),
) -> Result<(), SnapshotRefused> {
    use SnapshotRefused::Offer;
    let descriptor = &offer.descriptor;
    let is_a_member = sender(facts, from, offer.from).is_ok();
    if !is_a_member || descriptor.node_of(offer.from) != Some(from) {
        return Err(SnapshotRefused::Sender { replica: offer.from, node: from });
    }
    // Of a term that is not over there is one leader.
    let is_led = facts.is_leader || (facts.leader.0 != 0 && facts.leader != offer.from);
    if offer.term == facts.term && is_led {
        return Err(Offer("leader"));
    }
    if descriptor.node_of(offer.to) != Some(here) {
        return Err(Offer("receiver"));
    }
    check_members(descriptor).map_err(Offer)?;
    // The map of a node with a copy of the system shard is as old as that copy: the very snapshot that it lacks tells of
    // later ones.
    let jump = if facts.is_system && !is_planted(Planted::SystemOfferByOwnMap) { REPLICA_JUMP_MAX } else { 0 };
    check_descriptor(descriptor, record, ReplicaId(replica_max.0.saturating_add(jump))).map_err(Offer)?;
    if known.is_some_and(|known| known.generation > descriptor.generation) {
        return Err(Offer("generation"));
    }
    if !(1..=INDEX_MAX).contains(&offer.index) {
        return Err(Offer("index"));
    }
    let term_max = facts.term.saturating_add(TERM_JUMP_MAX);
    if offer.index_term == 0 || offer.index_term > offer.term || offer.term > term_max {
        return Err(Offer("term"));
    }
    if offer.last_version > VERSION_MAX || offer.request_floor > VERSION_MAX {
        return Err(Offer("version"));
    }
    if offer.bytes > BYTES_MAX { Err(Offer("bytes")) } else { Ok(()) }
}

/// Whether a piece holds records of the shard alone, each of which can be read.
///
/// # Errors
///
/// What no copy of the shard has.
pub fn admit_chunk(descriptor: &Descriptor, chunk: &SnapshotChunk) -> Result<(), SnapshotRefused> {
    use SnapshotRefused::Chunk;
    let bytes: usize = chunk.records.iter().map(|(key, value)| key.len() + value.len()).sum();
    if chunk.records.len() > CHUNK_RECORDS_MAX || bytes > CHUNK_BYTES_MAX {
        return Err(Chunk("size"));
    }
    let (start, end) = data_range(descriptor);
    let requests = shard_key(descriptor.shard, state::REQUESTS, &[]);
    for (key, value) in &chunk.records {
        if *key >= start && *key < end {
            read(descriptor.shard, key, value).map_err(Chunk)?;
        } else if key.len() == requests.len() + 8 && key.starts_with(&requests) {
            if !Requests::is_group(value) {
                return Err(Chunk("request ids"));
            }
        } else {
            return Err(Chunk("key"));
        }
    }
    Ok(())
}

fn data_range(descriptor: &Descriptor) -> (Bytes, Bytes) {
    let start = data_key(descriptor.table, &descriptor.start);
    (start, data_end(descriptor.table, descriptor.end.as_deref()))
}

fn read(shard: ShardId, key: &Bytes, value: &Bytes) -> Result<(), &'static str> {
    let encoded = key.slice_ref(encoded_key(key));
    let record = record::decode(encoded, value).map_err(|_| "record")?;
    if record::version(value).is_none_or(|version| version > VERSION_MAX) {
        return Err("version");
    }
    let is_loaded = |record: Record| SystemState::can_load(&record.key, &record.value);
    let is_readable = shard != ShardId::SYSTEM || record.is_some_and(is_loaded);
    if is_readable { Ok(()) } else { Err("record of the system table") }
}

impl Replica {
    /// Checks an offer of a snapshot to this copy, by the map's record of the shard.
    pub(crate) fn admit_offer(
        &self,
        from: NodeId,
        record: Option<(&ShardRecord, ReplicaId)>,
        offer: &SnapshotOffer,
    ) -> Result<(), SnapshotRefused> {
        let Some(record) = record else { return Err(SnapshotRefused::UnknownShard(offer.descriptor.shard)) };
        if is_planted(Planted::SnapshotUnchecked) {
            return Ok(());
        }
        // A node that does not have the level cannot apply what follows.
        self.machine.highest_level().admit(offer.level).map_err(|_| SnapshotRefused::Offer("format level"))?;
        let known = (!self.is_blank()).then(|| self.descriptor());
        let facts = self.facts(offer.from, || home_of(record.0, offer.from));
        admit_offer(offer, (self.consensus.node(), from), &facts, known, record)
    }

    /// Checks a piece of the snapshot that this copy receives.
    ///
    /// # Errors
    ///
    /// Of the store, and within it what is wrong with the piece.
    pub(crate) fn admit_chunk(
        &self,
        from: NodeId,
        chunk: &SnapshotChunk,
        engine: &dyn Engine,
    ) -> Result<Result<(), SnapshotRefused>, EngineError> {
        let Some(receive) = self.receive.as_ref().filter(|r| r.offer().id == chunk.id) else { return Ok(Ok(())) };
        if is_planted(Planted::SnapshotUnchecked) {
            return Ok(Ok(()));
        }
        if receive.sender() != from {
            return Ok(Err(SnapshotRefused::Sender { replica: receive.offer().from, node: from }));
        }
        let descriptor = &receive.offer().descriptor;
        if chunk.last && descriptor.shard == ShardId::SYSTEM {
            let head = data_key(descriptor.table, &SystemState::head_key());
            if !chunk.records.iter().any(|(key, _)| *key == head) && engine.get(&head)?.is_none() {
                return Ok(Err(SnapshotRefused::Chunk("head")));
            }
        }
        Ok(admit_chunk(descriptor, chunk))
    }

    /// Checks the answer of a node to a snapshot that this copy sends.
    pub(crate) fn admit_ack(&self, from: NodeId, ack: &SnapshotAck) -> Result<(), SnapshotRefused> {
        let Some(receiver) = self.transfers.receiver(ack.id) else { return Ok(()) };
        if receiver.node != from {
            return Err(SnapshotRefused::Sender { replica: receiver.copy, node: from });
        }
        match ack.state {
            SnapshotState::Want(sequence) if sequence > receiver.pieces => Err(SnapshotRefused::Ack),
            SnapshotState::Want(_) | SnapshotState::Installed | SnapshotState::Refused => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
