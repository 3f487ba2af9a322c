//! Receives a shard's state into a replica that is blank. It is marked so on disk until everything is there, so that
//! after a crash it starts over; it stands at the snapshot's index only once the store has made all of it durable.

use super::send::checksum;
use crate::engine::{Engine, EngineError, EngineWrite};
use crate::ids::NodeId;
use crate::message::{PeerMessage, SnapshotAck, SnapshotChunk, SnapshotOffer, SnapshotState};
use crate::planted::{Planted, is_planted};
use crate::replica::state_machine::StateMachine;

/// Ticks in which a transfer must bring a piece, or another may take its place: its sender gives it up as soon.
pub(in crate::replica) const RECEIVE_TICKS: u64 = 200;

/// The transfer of one snapshot into this replica.
#[derive(Debug)]
pub(in crate::replica) struct SnapshotReceive {
    offer: SnapshotOffer,
    from_node: NodeId,
    next: u64,
    /// Of the copy, when it began or the last piece came.
    tick: u64,
    /// All is written; waiting for the store to make it durable.
    is_complete: bool,
    /// The first sync of the store that began with all of it written.
    covering_sync: Option<u64>,
    is_durable: bool,
}

/// What becomes of an offer while a transfer is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::replica) enum OtherOffer {
    /// The offer is of the transfer that is under way.
    Same,
    /// The offer is ignored, and the present transfer goes on.
    Ignored,
    /// It takes the place of this one, whose pieces must be wiped first.
    AfterWipe,
    /// It takes the place of this one, which has brought nothing.
    AtOnce,
}

impl SnapshotReceive {
    /// Begins to receive what `from_node` offers.
    pub(in crate::replica) fn start(
        offer: SnapshotOffer,
        (from_node, tick): (NodeId, u64),
        machine: &mut StateMachine,
        engine: &dyn Engine,
    ) -> Result<Self, EngineError> {
        machine.snapshot_begins(&offer.descriptor, engine)?;
        Ok(Self { offer, from_node, next: 0, tick, is_complete: false, covering_sync: None, is_durable: false })
    }

    /// The offer of the snapshot that is received.
    pub(in crate::replica) fn offer(&self) -> &SnapshotOffer {
        &self.offer
    }

    /// The node that sends the snapshot.
    pub(in crate::replica) fn sender(&self) -> NodeId {
        self.from_node
    }

    /// True once every piece is written to the store.
    pub(in crate::replica) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// What becomes of another offer, or of the same that is repeated.
    pub(in crate::replica) fn compare(&self, offer: &SnapshotOffer, tick: u64) -> OtherOffer {
        if self.offer.id == offer.id && self.offer.from == offer.from {
            return OtherOffer::Same;
        }
        // A leader numbers its transfers; what it has given up may be repeated late.
        let is_later = (self.offer.term, self.offer.id) > (offer.term, offer.id);
        let is_later = is_later && (self.offer.term > offer.term || !is_planted(Planted::EarlierOfferTaken));
        let is_alive = tick - self.tick <= RECEIVE_TICKS || is_planted(Planted::IdleTransferKept);
        if self.is_complete || (is_later && is_alive) {
            return OtherOffer::Ignored;
        }
        let has_written = self.next > 0;
        if has_written && !is_planted(Planted::RemainsNotWiped) { OtherOffer::AfterWipe } else { OtherOffer::AtOnce }
    }

    /// A sync of the store begins.
    pub(in crate::replica) fn sync_begins(&mut self, mark: u64) {
        if self.is_complete && self.covering_sync.is_none() {
            self.covering_sync = Some(mark);
        }
    }

    /// Syncs up to `mark` have finished.
    pub(in crate::replica) fn sync_finished(&mut self, mark: u64) {
        self.is_durable |= self.covering_sync.is_some_and(|covering| covering <= mark);
    }

    /// True once the store would have all of it after a crash.
    pub(in crate::replica) fn is_durable(&self) -> bool {
        self.is_durable || (self.is_complete && is_planted(Planted::SnapshotStandsUnsynced))
    }

    /// How far this is, for the sender.
    pub(in crate::replica) fn ack(&self) -> (NodeId, PeerMessage) {
        (self.from_node, answer(&self.offer, SnapshotState::Want(self.next)))
    }

    /// Stores the next piece. One out of order or damaged is ignored: the sender repeats what is not acknowledged.
    pub(in crate::replica) fn store(
        &mut self,
        chunk: SnapshotChunk,
        tick: u64,
        machine: &mut StateMachine,
        engine: &dyn Engine,
    ) -> Result<(), EngineError> {
        let is_next = chunk.sequence == self.next || is_planted(Planted::PieceOutOfOrder);
        let is_of_this = chunk.id == self.offer.id || is_planted(Planted::PieceOfOtherTransfer);
        let expected = is_of_this && is_next && !self.is_complete;
        let is_whole = checksum(&chunk.records) == chunk.checksum || is_planted(Planted::PieceUnchecked);
        if !expected || !is_whole {
            return Ok(());
        }
        (self.next, self.tick) = (chunk.sequence + 1, tick);
        let writes: Vec<_> = chunk.records.into_iter().map(|(k, v)| EngineWrite::Put(k, v)).collect();
        if !chunk.last {
            return machine.snapshot_piece(writes, engine);
        }
        machine.snapshot_ends(&self.offer, writes, engine)?;
        self.is_complete = true;
        Ok(())
    }
}

/// What the sender of an offer is told of it.
pub(in crate::replica) fn answer(offer: &SnapshotOffer, state: SnapshotState) -> PeerMessage {
    PeerMessage::SnapshotAck(SnapshotAck { shard: offer.descriptor.shard, id: offer.id, from: offer.from, state })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ReplicaId, ShardId};
    use crate::level::FormatLevel;
    use crate::replica::Setup;
    use crate::replica::state::ReplicaState;
    use crate::replica::tests::{Memory, empty_piece, offer};

    const START: u64 = 50;

    /// A transfer of this id in term 2 into a copy without records.
    fn receiving(id: u64, engine: &Memory) -> (SnapshotReceive, StateMachine) {
        let blank = ReplicaState::blank(ReplicaId(1), ShardId(1));
        let setup = Setup { node: NodeId(1), seed: 7, requests_max: 1, highest_level: FormatLevel::NEWEST };
        let mut machine = StateMachine::open(blank, setup, engine).expect("it is in memory");
        let from = (NodeId(2), START);
        let receive = SnapshotReceive::start(offer(9, 2, id), from, &mut machine, engine).expect("it is in memory");
        (receive, machine)
    }

    #[test]
    fn a_later_offer_takes_the_place_of_a_transfer_and_what_that_has_stored_is_wiped_first() {
        let engine = Memory::default();
        let (mut receive, mut machine) = receiving(5, &engine);
        assert_eq!(receive.compare(&offer(9, 2, 5), START), OtherOffer::Same);
        assert_eq!(receive.compare(&offer(9, 2, 6), START), OtherOffer::AtOnce);
        receive.store(empty_piece(5, 0, false), START, &mut machine, &engine).expect("it is in memory");
        assert_eq!(receive.compare(&offer(9, 2, 6), START), OtherOffer::AfterWipe);
    }

    #[test]
    fn an_earlier_offer_is_ignored_while_pieces_come_and_any_once_all_are_there() {
        let engine = Memory::default();
        let (mut receive, mut machine) = receiving(5, &engine);
        assert_eq!(receive.compare(&offer(9, 2, 4), START + RECEIVE_TICKS), OtherOffer::Ignored);
        assert_eq!(receive.compare(&offer(9, 2, 4), START + RECEIVE_TICKS + 1), OtherOffer::AtOnce);
        receive.store(empty_piece(5, 0, true), START, &mut machine, &engine).expect("it is in memory");
        assert!(receive.is_complete() && !machine.is_blank());
        assert_eq!(receive.compare(&offer(9, 2, 6), START), OtherOffer::Ignored);
    }

    #[test]
    fn it_is_durable_once_a_sync_has_finished_that_began_with_all_of_it() {
        let engine = Memory::default();
        let (mut receive, mut machine) = receiving(5, &engine);
        receive.sync_begins(1);
        receive.store(empty_piece(5, 0, true), START, &mut machine, &engine).expect("it is in memory");
        receive.sync_finished(1);
        assert!(!receive.is_durable());
        receive.sync_begins(2);
        receive.sync_begins(3);
        receive.sync_finished(2);
        assert!(receive.is_durable());
    }
}
