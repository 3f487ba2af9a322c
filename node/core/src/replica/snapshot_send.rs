//! Sends a shard's state at one applied index to a fresh replica, while the shard goes on.
//!
//! The store has no snapshots: whatever would be overwritten ahead of the cursor is kept here as it was (its
//! pre-image), and sent in its place. Pieces that are not acknowledged are sent again; a receiver that stays silent
//! ends the transfer, and raft starts another.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use bytes::Bytes;

use crate::engine::{Engine, EngineError, data_end, data_key, shard_key, state};
use crate::ids::NodeId;
use crate::map::Replica as Copy;
use crate::message::{PeerMessage, SnapshotChunk, SnapshotOffer, SnapshotState};
use crate::planted::{Planted, is_planted};
use crate::replica::catch_up::{ACCEPTS_MS, GETS_ON_MS, SYNCS_MS, WHOLE};
use crate::replica::state::ReplicaState;

/// Unacknowledged pieces under way: enough for a round trip, little enough to keep in memory.
const WINDOW_CHUNKS: usize = 4;
const RESEND_MS: u64 = 500;
const STALL_MS: u64 = 10_000;
/// A receiver that has everything may take so long to make it durable.
const INSTALL_MS: u64 = 120_000;

/// How much may be sent, and in pieces of what size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Bytes that may still be sent now, over all transfers.
    pub(crate) budget: u64,
    /// Keys and values of one piece.
    pub(crate) piece_bytes: usize,
    /// Records of one piece.
    pub(crate) piece_records: usize,
}

/// One transfer.
#[derive(Debug)]
pub(super) struct SnapshotSend {
    offer: SnapshotOffer,
    to_node: NodeId,
    first: Bytes,
    cursor: Bytes,
    end: Bytes,
    is_read: bool,
    preimages: BTreeMap<Bytes, Option<Bytes>>,
    preimage_bytes: usize,
    requests: VecDeque<(Bytes, Bytes)>,
    accepted: bool,
    unacked: VecDeque<SnapshotChunk>,
    next_sequence: u64,
    last_send_ms: u64,
    last_progress_ms: u64,
    /// Since when the receiver has had everything, if it has.
    all_taken_ms: Option<u64>,
    sent_bytes: u64,
}

impl SnapshotSend {
    /// A transfer of what the store holds now, which is at `state.applied`.
    pub(super) fn start(
        state: &ReplicaState,
        to: Copy,
        id: u64,
        term: u64,
        engine: &dyn Engine,
        now_ms: u64,
    ) -> Result<Self, EngineError> {
        let descriptor = state.descriptor.clone();
        let mut requests = VecDeque::new();
        let first = shard_key(descriptor.shard, state::REQUESTS, &[]);
        let end = shard_key(descriptor.shard, state::REQUESTS + 1, &[]);
        engine.scan(&first, &end, &mut |key, value| {
            requests.push_back((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            ControlFlow::Continue(())
        })?;
        if is_planted(Planted::RequestsMissingInSnapshot) {
            requests.clear();
        }
        let first = data_key(descriptor.table, &descriptor.start);
        Ok(Self {
            cursor: first.clone(),
            first,
            end: data_end(descriptor.table, descriptor.end.as_deref()),
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
                descriptor,
            },
            to_node: to.node,
            is_read: false,
            preimages: BTreeMap::new(),
            preimage_bytes: 0,
            requests,
            accepted: false,
            unacked: VecDeque::new(),
            next_sequence: 0,
            last_send_ms: 0,
            last_progress_ms: now_ms,
            all_taken_ms: None,
            sent_bytes: 0,
        })
    }

    pub(super) fn id(&self) -> u64 {
        self.offer.id
    }

    /// The receiver's node.
    pub(super) fn to_node(&self) -> NodeId {
        self.to_node
    }

    /// Pieces cut so far.
    pub(super) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Bytes sent, and estimated in all.
    pub(super) fn progress(&self) -> (u64, u64) {
        (self.sent_bytes, self.offer.bytes.max(self.sent_bytes))
    }

    /// Memory that is kept of records that were overwritten, about.
    pub(super) fn preimage_bytes(&self) -> usize {
        self.preimage_bytes
    }

    /// One that nobody has accepted loses nothing by being made anew, and its index grows old.
    pub(super) fn is_stalled(&self, now_ms: u64) -> bool {
        let most = if self.accepted { STALL_MS } else { GETS_ON_MS };
        now_ms.saturating_sub(self.last_progress_ms) > most
    }

    /// True unless the receiver has taken nothing for a while.
    pub(super) fn gets_on(&self, now_ms: u64) -> bool {
        let (since, most) = match self.all_taken_ms {
            Some(since) => (since, SYNCS_MS),
            None if self.accepted => (self.last_progress_ms, GETS_ON_MS),
            None => (self.last_progress_ms, ACCEPTS_MS),
        };
        now_ms.saturating_sub(since) <= most || is_planted(Planted::SilentReceiverHoldsWrites)
    }

    /// The index that the snapshot is at.
    pub(super) fn index(&self) -> u64 {
        self.offer.index
    }

    /// How many parts of [`WHOLE`] are cut, about: by bytes of what was ever put, and by the place in the shard's range.
    pub(super) fn parts_done(&self) -> u64 {
        if self.is_read {
            return WHOLE;
        }
        let by_bytes = self.sent_bytes.saturating_mul(WHOLE) / self.progress().1.max(1);
        by_bytes.max(parts_between(&self.first, &self.end, &self.cursor))
    }

    /// Keeps what is about to be overwritten, if it was not read yet.
    pub(super) fn note(&mut self, key: &Bytes, engine: &dyn Engine) -> Result<(), EngineError> {
        let ahead = !self.is_read && *key >= self.cursor && *key < self.end;
        if ahead && !self.preimages.contains_key(key) && !is_planted(Planted::SnapshotWithoutPreimage) {
            let old = engine.get(key)?;
            if old.is_some() || !is_planted(Planted::PreimageOfAbsentForgotten) {
                self.preimage_bytes += weight(key, old.as_ref());
                self.preimages.insert(key.clone(), old);
            }
        }
        Ok(())
    }

    /// Takes in how far the receiver is.
    pub(super) fn acknowledged(&mut self, state: SnapshotState, now_ms: u64) {
        if let SnapshotState::Want(sequence) = state {
            self.accepted = true;
            while self.unacked.front().is_some_and(|c| c.sequence < sequence) {
                self.unacked.pop_front();
                self.last_progress_ms = now_ms;
            }
            if sequence == 0 && self.next_sequence == 0 {
                self.last_progress_ms = now_ms;
            }
            // One that wants less has forgotten what it had, and what was acknowledged is not kept.
            if self.has_all_taken() && sequence == self.next_sequence {
                let since = *self.all_taken_ms.get_or_insert(now_ms);
                if now_ms.saturating_sub(since) <= INSTALL_MS {
                    self.last_progress_ms = now_ms;
                }
            }
        }
    }

    /// What to send now, within the budget of bytes.
    pub(super) fn pump(
        &mut self,
        engine: &dyn Engine,
        now_ms: u64,
        pace: &mut Pace,
    ) -> Result<Vec<(NodeId, PeerMessage)>, EngineError> {
        let mut out = Vec::new();
        let resend = now_ms.saturating_sub(self.last_send_ms) >= RESEND_MS;
        if !self.accepted {
            if resend {
                self.last_send_ms = now_ms;
                out.push((self.to_node, PeerMessage::SnapshotOffer(self.offer.clone())));
            }
            return Ok(out);
        }
        if resend && self.has_all_taken() {
            // It says when it stands at the snapshot, and that word may be lost.
            self.last_send_ms = now_ms;
            out.push((self.to_node, PeerMessage::SnapshotOffer(self.offer.clone())));
        }
        if resend && !self.unacked.is_empty() {
            self.last_send_ms = now_ms;
            out.extend(self.unacked.iter().map(|c| (self.to_node, PeerMessage::SnapshotChunk(c.clone()))));
        }
        while self.unacked.len() < WINDOW_CHUNKS && pace.budget > 0 && !self.is_all_cut() {
            let chunk = self.next_chunk(engine, pace)?;
            let bytes: usize = chunk.records.iter().map(|(k, v)| k.len() + v.len()).sum();
            pace.budget = pace.budget.saturating_sub(bytes as u64);
            self.sent_bytes += bytes as u64;
            self.last_send_ms = now_ms;
            out.push((self.to_node, PeerMessage::SnapshotChunk(chunk.clone())));
            self.unacked.push_back(chunk);
        }
        Ok(out)
    }

    /// True once the last piece was cut.
    fn is_all_cut(&self) -> bool {
        self.is_read && self.requests.is_empty() && self.next_sequence > 0
    }

    /// True once the receiver has acknowledged the last piece.
    fn has_all_taken(&self) -> bool {
        self.is_all_cut() && self.unacked.is_empty()
    }

    fn next_chunk(&mut self, engine: &dyn Engine, pace: &Pace) -> Result<SnapshotChunk, EngineError> {
        let mut records = Vec::new();
        if !self.is_read {
            records = self.read(engine, pace)?;
        }
        let mut bytes: usize = records.iter().map(|(k, v)| k.len() + v.len()).sum();
        while self.is_read && bytes < pace.piece_bytes {
            let Some((key, value)) = self.requests.pop_front() else { break };
            bytes += key.len() + value.len();
            records.push((key, value));
        }
        let chunk = SnapshotChunk {
            shard: self.offer.descriptor.shard,
            id: self.offer.id,
            to: self.offer.to,
            sequence: self.next_sequence,
            checksum: checksum(&records),
            records,
            last: self.is_read && self.requests.is_empty(),
        };
        self.next_sequence += 1;
        Ok(chunk)
    }

    /// The next records as they were at the snapshot's index: the store's, with the pre-images in their place.
    fn read(&mut self, engine: &dyn Engine, pace: &Pace) -> Result<Vec<(Bytes, Bytes)>, EngineError> {
        let (mut found, mut bytes) = (BTreeMap::new(), 0);
        let mut upto = None;
        engine.scan(&self.cursor, &self.end, &mut |key, value| {
            bytes += key.len() + value.len();
            found.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
            if bytes < pace.piece_bytes && found.len() < pace.piece_records {
                return ControlFlow::Continue(());
            }
            upto = Some(successor(key));
            ControlFlow::Break(())
        })?;
        self.is_read = upto.is_none();
        let upto = upto.unwrap_or_else(|| self.end.clone());
        let later = self.preimages.split_off(&upto);
        for (key, value) in std::mem::replace(&mut self.preimages, later) {
            self.preimage_bytes -= weight(&key, value.as_ref());
            match value {
                Some(value) => found.insert(key, value),
                None => found.remove(&key),
            };
        }
        self.cursor = upto;
        Ok(found.into_iter().collect())
    }
}

/// Where a key lies between two others, in parts of [`WHOLE`]: right where keys are hashes, a guess where they are words.
fn parts_between(first: &[u8], end: &[u8], key: &[u8]) -> u64 {
    let alike = first.iter().zip(end).take_while(|(a, b)| a == b).count();
    let place = |key: &[u8]| (alike..alike + 8).fold(0_u128, |n, at| n << 8 | u128::from(*key.get(at).unwrap_or(&0)));
    let (first, end, key) = (place(first), place(end), place(key));
    let parts = key.saturating_sub(first) * u128::from(WHOLE) / end.saturating_sub(first).max(1);
    u64::try_from(parts).unwrap_or(WHOLE).min(WHOLE)
}

/// Memory that a pre-image takes, about.
fn weight(key: &Bytes, value: Option<&Bytes>) -> usize {
    key.len() + value.map_or(0, Bytes::len) + 128
}

/// CRC32C over keys and values in order.
pub(super) fn checksum(records: &[(Bytes, Bytes)]) -> u32 {
    records.iter().fold(0, |crc, (key, value)| crc32c::crc32c_append(crc32c::crc32c_append(crc, key), value))
}

fn successor(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

#[cfg(test)]
mod tests;
