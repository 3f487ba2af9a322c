//! Receives a shard's state into a replica that is blank. It is marked so on disk until everything is there, so that
//! after a crash it starts over; it stands at the snapshot's index only once the store has made all of it durable.

use crate::engine::{Engine, EngineError, EngineWrite};
use crate::ids::NodeId;
use crate::message::{PeerMessage, SnapshotAck, SnapshotChunk, SnapshotOffer, SnapshotState};
use crate::planted::{Planted, is_planted};
use crate::replica::apply::Applier;
use crate::replica::requests;
use crate::replica::snapshot_send::checksum;
use crate::replica::state::ReplicaState;

/// One transfer into this replica.
#[derive(Debug)]
pub(super) struct SnapshotReceive {
    pub(super) offer: SnapshotOffer,
    pub(super) from_node: NodeId,
    next: u64,
    /// Of the copy, when it began or the last piece came.
    pub(super) tick: u64,
    /// All is written; waiting for the store to make it durable.
    pub(super) is_complete: bool,
    /// The first sync of the store that began with all of it written.
    covering_sync: Option<u64>,
    is_durable: bool,
}

impl SnapshotReceive {
    pub(super) fn start(
        offer: SnapshotOffer,
        (from_node, tick): (NodeId, u64),
        applier: &mut Applier,
        engine: &dyn Engine,
    ) -> Result<Self, EngineError> {
        applier.state.descriptor = offer.descriptor.clone();
        let mut writes =
            if is_planted(Planted::RemainsOfRequests) { Vec::new() } else { stale_requests(&offer, engine)? };
        writes.push(applier.state.write());
        engine.write(writes)?;
        Ok(Self { offer, from_node, next: 0, tick, is_complete: false, covering_sync: None, is_durable: false })
    }

    /// True if pieces of it lie in the store.
    pub(super) fn has_written(&self) -> bool {
        self.next > 0
    }

    /// A sync of the store begins.
    pub(super) fn sync_begins(&mut self, mark: u64) {
        if self.is_complete && self.covering_sync.is_none() {
            self.covering_sync = Some(mark);
        }
    }

    /// Syncs up to `mark` have finished.
    pub(super) fn sync_finished(&mut self, mark: u64) {
        self.is_durable |= self.covering_sync.is_some_and(|covering| covering <= mark);
    }

    /// True once the store would have all of it after a crash.
    pub(super) fn is_durable(&self) -> bool {
        self.is_durable || (self.is_complete && is_planted(Planted::SnapshotStandsUnsynced))
    }

    /// Where the sender is.
    pub(super) fn sender(&self) -> NodeId {
        self.from_node
    }

    /// How far this is, for the sender.
    pub(super) fn ack(&self) -> (NodeId, PeerMessage) {
        let state = SnapshotState::Want(self.next);
        let ack = SnapshotAck { shard: self.offer.descriptor.shard, id: self.offer.id, from: self.offer.from, state };
        (self.from_node, PeerMessage::SnapshotAck(ack))
    }

    /// Stores the next piece. One out of order or damaged is ignored: the sender repeats what is not acknowledged.
    pub(super) fn store(
        &mut self,
        chunk: SnapshotChunk,
        tick: u64,
        applier: &mut Applier,
        engine: &dyn Engine,
    ) -> Result<(), EngineError> {
        let is_next = chunk.sequence == self.next || is_planted(Planted::PieceOutOfOrder);
        let expected = chunk.id == self.offer.id && is_next && !self.is_complete;
        let is_whole = checksum(&chunk.records) == chunk.checksum || is_planted(Planted::PieceUnchecked);
        if !expected || !is_whole {
            return Ok(());
        }
        (self.next, self.tick) = (chunk.sequence + 1, tick);
        let mut writes: Vec<_> = chunk.records.into_iter().map(|(k, v)| EngineWrite::Put(k, v)).collect();
        if chunk.last {
            let shard = self.offer.descriptor.shard;
            applier.state = ReplicaState {
                applied: (self.offer.index, self.offer.index_term),
                last_version: self.offer.last_version,
                request_floor: self.offer.request_floor,
                bytes: self.offer.bytes,
                blank: false,
                from_snapshot: !is_planted(Planted::SnapshotForgotten),
                ..applier.state.clone()
            };
            writes.push(applier.state.write());
            engine.write(writes)?;
            applier.requests = applier.requests.reloaded(self.offer.request_floor, shard, engine)?;
            if shard == crate::ids::ShardId::SYSTEM {
                applier.system = Some(super::apply::load_system(engine)?);
            }
            self.is_complete = true;
            return Ok(());
        }
        applier.requests = applier.requests.emptied();
        engine.write(writes)
    }
}

/// The request ids that an earlier, broken-off transfer may have left.
fn stale_requests(offer: &SnapshotOffer, engine: &dyn Engine) -> Result<Vec<EngineWrite>, EngineError> {
    requests::deletes(offer.descriptor.shard, engine)
}
