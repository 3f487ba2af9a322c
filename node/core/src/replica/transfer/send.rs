//! Sends a shard's state at one applied index to a fresh replica, while the shard goes on.
//!
//! Pieces that are not acknowledged are sent again; a receiver that stays silent ends the transfer, and raft starts
//! another.

use bytes::Bytes;

use super::Pace;
use super::source::{Source, WHOLE};
use super::window::Window;
use crate::engine::{Engine, EngineError};
use crate::ids::{NodeId, ReplicaId};
use crate::map::Replica as Copy;
use crate::message::{PeerMessage, SnapshotChunk, SnapshotOffer, SnapshotState};
use crate::planted::{Planted, is_planted};
use crate::replica::state::ReplicaState;

/// The sender's side of one snapshot transfer to one replica.
#[derive(Debug)]
pub(in crate::replica) struct SnapshotSend {
    offer: SnapshotOffer,
    to_node: NodeId,
    source: Source,
    window: Window,
    sent_bytes: u64,
}

impl SnapshotSend {
    /// A transfer of what the store holds now, which is at `state.applied`.
    pub(in crate::replica) fn start(
        state: &ReplicaState,
        to: Copy,
        id: u64,
        term: u64,
        engine: &dyn Engine,
        now_ms: u64,
    ) -> Result<Self, EngineError> {
        let descriptor = state.descriptor.clone();
        Ok(Self {
            source: Source::new(&descriptor, engine)?,
            offer: SnapshotOffer {
                id,
                from: state.replica,
                to: to.id,
                term,
                index: state.applied.0,
                index_term: state.applied.1,
                last_version: state.last_version,
                request_floor: state.request_floor,
                bytes: state.bytes,
                level: state.level,
                descriptor,
            },
            to_node: to.node,
            window: Window::new(now_ms),
            sent_bytes: 0,
        })
    }

    pub(in crate::replica) fn id(&self) -> u64 {
        self.offer.id
    }

    /// The receiving copy.
    pub(super) fn to(&self) -> ReplicaId {
        self.offer.to
    }

    /// The receiver's node.
    pub(in crate::replica) fn to_node(&self) -> NodeId {
        self.to_node
    }

    /// Number of the next piece, which is how many were sent so far.
    pub(in crate::replica) fn next_sequence(&self) -> u64 {
        self.window.next_sequence()
    }

    /// Bytes sent, and estimated in all.
    pub(super) fn progress(&self) -> (u64, u64) {
        (self.sent_bytes, self.offer.bytes.max(self.sent_bytes))
    }

    /// Memory that is kept of records that were overwritten, about.
    pub(super) fn preimage_bytes(&self) -> usize {
        self.source.preimage_bytes()
    }

    /// True if it gets no further.
    pub(super) fn is_stalled(&self, now_ms: u64) -> bool {
        self.window.is_stalled(now_ms)
    }

    /// True unless the receiver has taken nothing for a while.
    pub(super) fn gets_on(&self, now_ms: u64) -> bool {
        self.window.gets_on(now_ms)
    }

    /// The index that the snapshot is at.
    pub(super) fn index(&self) -> u64 {
        self.offer.index
    }

    /// How many parts of [`WHOLE`] are cut, about: by bytes of what was ever put, and by the place in the shard's range.
    pub(super) fn parts_done(&self) -> u64 {
        let by_bytes = self.sent_bytes.saturating_mul(WHOLE) / self.progress().1.max(1);
        by_bytes.max(self.source.parts_read())
    }

    /// Keeps what is about to be overwritten, if it was not read yet.
    pub(super) fn note(&mut self, key: &Bytes, engine: &dyn Engine) -> Result<(), EngineError> {
        self.source.note(key, engine)
    }

    /// Memory that what is stored under a key now would take, if it were overwritten.
    pub(super) fn would_keep(&self, key: &Bytes, engine: &dyn Engine) -> Result<usize, EngineError> {
        self.source.would_keep(key, engine)
    }

    /// Takes in how far the receiver is.
    pub(in crate::replica) fn acknowledged(&mut self, state: SnapshotState, now_ms: u64) {
        if let SnapshotState::Want(sequence) = state {
            let is_all_cut = self.is_all_cut();
            self.window.wanted(sequence, is_all_cut, now_ms);
        }
    }

    /// What to send now, within the budget of bytes.
    pub(in crate::replica) fn pump(
        &mut self,
        engine: &dyn Engine,
        now_ms: u64,
        pace: &mut Pace,
    ) -> Result<Vec<(NodeId, PeerMessage)>, EngineError> {
        let mut out = Vec::new();
        let is_repetition_due = self.window.is_repetition_due(now_ms);
        // A receiver that has all says when it stands at the snapshot, and that word may be lost.
        if is_repetition_due && (!self.window.is_accepted() || self.has_all_taken()) {
            self.window.sent(now_ms);
            out.push((self.to_node, PeerMessage::SnapshotOffer(self.offer.clone())));
        }
        if !self.window.is_accepted() {
            return Ok(out);
        }
        if is_repetition_due && self.window.unacked().len() > 0 {
            self.window.sent(now_ms);
            out.extend(self.window.unacked().map(|c| (self.to_node, PeerMessage::SnapshotChunk(c.clone()))));
        }
        while self.window.has_room() && pace.budget > 0 && !self.is_all_cut() {
            let chunk = self.next_chunk(engine, pace)?;
            let bytes: usize = chunk.records.iter().map(|(k, v)| k.len() + v.len()).sum();
            pace.budget = pace.budget.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
            if is_planted(Planted::ExcessNotOwed) {
                pace.budget = pace.budget.max(0);
            }
            self.sent_bytes += bytes as u64;
            out.push((self.to_node, PeerMessage::SnapshotChunk(chunk.clone())));
            self.window.push(chunk, now_ms);
        }
        if pace.budget <= 0 && !self.is_all_cut() {
            self.window.held_back(now_ms);
        }
        Ok(out)
    }

    /// True once the last piece was cut.
    fn is_all_cut(&self) -> bool {
        self.source.is_exhausted() && self.window.next_sequence() > 0
    }

    /// True once the receiver has acknowledged the last piece.
    fn has_all_taken(&self) -> bool {
        self.is_all_cut() && self.window.is_all_taken()
    }

    fn next_chunk(&mut self, engine: &dyn Engine, pace: &Pace) -> Result<SnapshotChunk, EngineError> {
        let records = self.source.next(engine, pace)?;
        Ok(SnapshotChunk {
            shard: self.offer.descriptor.shard,
            id: self.offer.id,
            to: self.offer.to,
            sequence: self.window.next_sequence(),
            checksum: checksum(&records),
            records,
            last: self.source.is_exhausted(),
        })
    }
}

/// CRC32C over keys and values in order.
pub(in crate::replica) fn checksum(records: &[(Bytes, Bytes)]) -> u32 {
    records.iter().fold(0, |crc, (key, value)| crc32c::crc32c_append(crc32c::crc32c_append(crc, key), value))
}

#[cfg(test)]
mod tests;
