//! A replica's part in snapshots: whom to send one, what to take in, and when it stands.

use raft::eraftpb::{Message, MessageType};
use raft::{SnapshotStatus, StateRole};

use crate::engine::{Engine, EngineError};
use crate::ids::{NodeId, ReplicaId};
use crate::map::Member;
use crate::message::{PeerMessage, RaftEnvelope, SnapshotAck, SnapshotChunk, SnapshotOffer, SnapshotState};
use crate::planted::{Planted, is_planted};
use crate::replica::promise::Promise;
use crate::replica::state::ReplicaState;
use crate::replica::{Collected, Pace, Replica, SnapshotReceive, SnapshotSend, raft_log};
use crate::time::{ELECTION_TICKS, Now};

/// Ticks in which a transfer must bring a piece, or another may take its place: its sender gives it up as soon.
const RECEIVE_TICKS: u64 = 200;

/// What became of an offered snapshot.
#[expect(clippy::large_enum_variant, reason = "taken apart where it is made")]
pub(crate) enum Offered {
    /// Taken, or repeated: the answer to send.
    Answer(NodeId, PeerMessage),
    /// Pieces of an earlier transfer lie in the store and must go first.
    MustWipe,
    /// Not now; the sender will ask again.
    Ignored,
}

impl Replica {
    /// A follower needs more than the log has.
    pub(super) fn start_snapshot(&mut self, to: ReplicaId, engine: &dyn Engine, now: Now) -> Result<(), EngineError> {
        let member = self.descriptor().members.iter().find(|m| m.replica.id == to).copied();
        match member {
            Some(Member { replica, .. }) => {
                self.snapshot_ids += 1;
                let id = (self.term() << 24) | self.snapshot_ids;
                let state = &self.applier.state;
                let send = SnapshotSend::start(state, replica, id, self.raw.raft.term, engine, now.monotonic_ms)?;
                self.sends.insert(to, send);
            }
            None => self.raw.report_snapshot(to.0, SnapshotStatus::Failure),
        }
        Ok(())
    }

    /// Gives up transfers that get no further, and those whose snapshot the log does not reach back to any more.
    pub(super) fn give_up_futile_snapshots(&mut self, now: Now) {
        let (now_ms, start) = (now.monotonic_ms, self.raw.store().start().0);
        let is_futile = |send: &SnapshotSend| send.is_stalled(now_ms) || send.index() < start;
        let futile: Vec<_> = self.sends.iter().filter(|(_, send)| is_futile(send)).map(|(to, _)| *to).collect();
        for to in futile {
            self.sends.remove(&to);
            self.raw.report_snapshot(to.0, SnapshotStatus::Failure);
        }
    }

    /// The next pieces of every transfer under way, within the node's budget; none to a node whose disk is full.
    pub(crate) fn pump_snapshots(
        &mut self,
        engine: &dyn Engine,
        now: Now,
        pace: &mut Pace,
        is_full: &dyn Fn(NodeId) -> bool,
        out: &mut Collected,
    ) -> Result<(), EngineError> {
        let mut turns: Vec<_> = self.sends.values_mut().filter(|send| !is_full(send.to_node())).collect();
        // Each is the first in turn: where the budget is small, the first takes all of it.
        let turn = usize::try_from(self.ticks).unwrap_or(0).checked_rem(turns.len()).unwrap_or(0);
        turns.rotate_left(turn);
        for send in turns {
            out.send.extend(send.pump(engine, now.monotonic_ms, pace)?);
        }
        Ok(())
    }

    /// Bytes that its transfers keep of records that were overwritten.
    pub(crate) fn preimage_bytes(&self) -> usize {
        self.sends.values().map(SnapshotSend::preimage_bytes).sum()
    }

    /// Gives up the transfer that keeps the most of what was overwritten, those that do not get on before the others. The
    /// bytes that this frees.
    pub(crate) fn give_up_largest_send(&mut self) -> usize {
        let Some((to, send)) = self.sends.iter().max_by_key(|(_, send)| self.burden_of(send)) else { return 0 };
        let (to, freed) = (*to, send.preimage_bytes());
        self.sends.remove(&to);
        self.raw.report_snapshot(to.0, SnapshotStatus::Failure);
        freed
    }

    /// Of the transfer that is to be given up first: whether it does not get on, and what it keeps.
    pub(crate) fn largest_burden(&self) -> (bool, usize) {
        self.sends.values().map(|send| self.burden_of(send)).max().unwrap_or_default()
    }

    pub(crate) fn is_sending(&self) -> bool {
        !self.sends.is_empty()
    }

    /// Snapshot bytes sent and estimated, over all transfers under way.
    pub(crate) fn moving(&self) -> (u64, u64) {
        self.sends.values().map(SnapshotSend::progress).fold((0, 0), |sum, p| (sum.0 + p.0, sum.1 + p.1))
    }

    /// The receiver of a transfer says how far it is.
    pub(crate) fn snapshot_acknowledged(&mut self, ack: &SnapshotAck, now: Now) {
        let found = self.sends.iter_mut().find(|(_, s)| s.id() == ack.id);
        let Some((&to, send)) = found else { return };
        match ack.state {
            SnapshotState::Want(_) => send.acknowledged(ack.state, now.monotonic_ms),
            SnapshotState::Installed => {
                let index = send.index();
                self.sends.remove(&to);
                self.catch_up.installed(to, index, now.monotonic_ms);
                self.raw.report_snapshot(to.0, SnapshotStatus::Finish);
            }
            SnapshotState::Refused => {
                self.sends.remove(&to);
                self.raw.report_snapshot(to.0, SnapshotStatus::Failure);
            }
        }
    }

    /// A leader offers a snapshot to this copy.
    pub(crate) fn snapshot_offered(
        &mut self,
        from: NodeId,
        offer: SnapshotOffer,
        engine: &dyn Engine,
    ) -> Result<Offered, EngineError> {
        if self.held_until.is_some() {
            return Ok(Offered::Ignored);
        }
        if self.is_behind(&offer) {
            self.give_records_up(engine)?;
            return Ok(Offered::MustWipe);
        }
        if !self.applier.state.blank && self.receive.is_none() {
            // The answer to an earlier transfer may be lost; where nothing is written, the log alone would never tell.
            let has_all = self.raw.raft.raft_log.committed >= offer.index;
            let state = if has_all { SnapshotState::Installed } else { SnapshotState::Refused };
            return Ok(Offered::Answer(from, answer(&offer, state)));
        }
        if self.is_unfit(&offer) {
            return Ok(Offered::Answer(from, answer(&offer, SnapshotState::Refused)));
        }
        if let Some(current) = &self.receive {
            if current.offer.id == offer.id && current.offer.from == offer.from {
                let (node, ack) = current.ack();
                return Ok(Offered::Answer(node, ack));
            }
            // A leader numbers its transfers; what it has given up may be repeated late.
            let is_later = (current.offer.term, current.offer.id) > (offer.term, offer.id);
            let is_later = is_later && (current.offer.term > offer.term || !is_planted(Planted::EarlierOfferTaken));
            let is_alive = self.ticks - current.tick <= RECEIVE_TICKS || is_planted(Planted::IdleTransferKept);
            if current.is_complete || (is_later && is_alive) {
                return Ok(Offered::Ignored);
            }
            if current.has_written() && !is_planted(Planted::RemainsNotWiped) {
                self.receive = None;
                return Ok(Offered::MustWipe);
            }
        }
        let receive = SnapshotReceive::start(offer, (from, self.ticks), &mut self.applier, engine)?;
        let (node, ack) = receive.ack();
        self.receive = Some(receive);
        Ok(Offered::Answer(node, ack))
    }

    /// True if this copy has data, but its log ends before the snapshot, or is another one there: nothing beyond the
    /// snapshot that it has acknowledged can have been counted by any leader.
    fn is_behind(&self, offer: &SnapshotOffer) -> bool {
        let log = &self.raw.raft.raft_log;
        let has_data = !self.applier.state.blank && self.receive.is_none();
        // Whoever leads says so with every heartbeat, and offers until it is answered.
        let is_known = self.raw.raft.leader_id == offer.from.0 || is_planted(Planted::RecordsGivenUpForAnybody);
        let is_from_leader = !self.is_leader() && is_known && offer.term == self.term();
        has_data && is_from_leader && offer.index > log.committed && !log.match_term(offer.index, offer.index_term)
    }

    /// True for a snapshot that raft would not take: it is older than what this copy knows to be committed, or not for it.
    /// What was committed since must come with the snapshot, for no entry before it is ever applied.
    fn is_unfit(&self, offer: &SnapshotOffer) -> bool {
        let is_old = offer.index < self.raw.raft.raft_log.committed && !is_planted(Planted::SnapshotBelowCommitted);
        is_old || !offer.descriptor.members.iter().any(|m| m.replica.id == self.id())
    }

    /// Makes room for a snapshot. The log stays, and with it all that this copy has promised: it goes on to vote, but
    /// neither leads nor acknowledges entries before the snapshot is there. So no leader counts on its log from here on,
    /// and what was committed with its help before is in the snapshot, which a majority without it has.
    fn give_records_up(&mut self, engine: &dyn Engine) -> Result<(), EngineError> {
        self.applier.give_up();
        // The snapshot has it.
        self.unreadable = None;
        self.wait_for_snapshot();
        engine.write(vec![self.applier.state.write()])
    }

    /// A copy that waits for a snapshot has an index that a majority has committed. This leader may not know so yet, nor
    /// ever find out if it needs that copy's acknowledgement, which does not come before the snapshot.
    pub(super) fn learn_committed(&mut self, envelope: &RaftEnvelope) {
        let (term, committed) = (self.term(), envelope.request_snapshot);
        let log = &mut self.raw.raft.raft_log;
        let is_known = envelope.term == term && committed <= log.last_index() && committed > log.committed;
        if self.raw.raft.state == StateRole::Leader && is_known && !is_planted(Planted::CommittedUnlearnt) {
            self.raw.raft.raft_log.commit_to(committed);
        }
    }

    /// A copy without data does not stand for election, though it votes when it has waited for its leader as long as any
    /// other: it may be needed to elect the next one. If it has a log, whoever leads must be told that it needs a
    /// snapshot all the same; until then it appends nothing, and so acknowledges nothing.
    pub(super) fn wait_for_snapshot(&mut self) {
        let is_blank = self.is_blank();
        let raft = &mut self.raw.raft;
        if is_blank {
            raft.election_elapsed = raft.election_elapsed.min(ELECTION_TICKS - 1);
            if raft.raft_log.last_index() > 0 {
                raft.pending_request_snapshot = raft.raft_log.committed.max(1);
            }
        }
    }

    /// A piece of a snapshot. Once all are there the store must be synced before the copy stands.
    pub(crate) fn snapshot_chunk(
        &mut self,
        chunk: SnapshotChunk,
        engine: &dyn Engine,
        out: &mut Collected,
    ) -> Result<(), EngineError> {
        let is_unfit = self.receive.as_ref().is_some_and(|r| !r.is_complete && self.is_unfit(&r.offer));
        let Some(receive) = &mut self.receive else { return Ok(()) };
        if is_unfit {
            // More was committed meanwhile than it has. What is stored of it goes when another is offered.
            out.send.push((receive.from_node, answer(&receive.offer, SnapshotState::Refused)));
            return Ok(());
        }
        let was_complete = receive.is_complete;
        receive.store(chunk, self.ticks, &mut self.applier, engine)?;
        out.send.push(receive.ack());
        out.wants_sync |= receive.is_complete && !was_complete;
        Ok(())
    }

    /// The store is durable: if a snapshot waited for that, raft is told, and the sender.
    pub(crate) fn install_received(&mut self, out: &mut Collected) {
        let applied = self.applier.state.applied;
        let Some(receive) = self.receive.take_if(|r| r.is_durable()) else { return };
        let mut message = Message { to: self.id().0, term: self.term().max(receive.offer.term), ..Message::default() };
        // The sender leads the term that it offered in, and may lead no later one: a leader of that, if there is one, would
        // be refused.
        let is_senders_term = receive.offer.term >= self.term();
        message.from = if is_senders_term { receive.offer.from.0 } else { self.raw.raft.leader_id };
        message.set_msg_type(MessageType::MsgSnapshot);
        let metadata = message.mut_snapshot().mut_metadata();
        (metadata.index, metadata.term) = applied;
        metadata.set_conf_state(raft_log::conf_state(self.descriptor()));
        self.learn_peers();
        // Its log is empty, or it asked for the snapshot: raft takes it whatever the term.
        self.raw.raft.pending_request_snapshot = applied.0;
        let _ = self.raw.step(message);
        let is_taken = self.raw.snap().is_some_and(|snapshot| snapshot.get_metadata().index == applied.0);
        assert!(is_taken || is_planted(Planted::SnapshotBelowCommitted), "raft and store stand at one snapshot");
        self.draw_election_timeout();
        out.send.push((receive.from_node, answer(&receive.offer, SnapshotState::Installed)));
    }

    /// True if this copy may hold pieces of a snapshot whose transfer is not under way any more.
    pub(crate) fn has_remains(&self) -> bool {
        self.applier.state.blank
            && self.receive.is_none()
            && !self.descriptor().members.is_empty()
            && !is_planted(Planted::RemainsNotWiped)
    }

    /// The remains are wiped.
    pub(crate) fn wiped(&mut self) {
        let blank = ReplicaState::blank(self.id(), self.descriptor().shard);
        // Where its log may begin goes on to matter.
        let ReplicaState { applied, from_snapshot, .. } = self.applier.state;
        self.applier.state = ReplicaState { applied, from_snapshot, ..blank };
    }

    /// Waits for the store to make this new copy durable before it says anything. It has promised nothing yet.
    pub(crate) fn hold_until(&mut self, mark: u64) {
        self.held_until = Some(mark).filter(|_| !is_planted(Planted::NewCopySpeaksEarly));
        self.promise = Promise::default();
    }

    pub(super) fn created_durably(&mut self, _now: Now) {
        if !self.applier.state.blank {
            self.campaign_if_first();
        }
    }
}

/// What the sender of an offer is told of it.
fn answer(offer: &SnapshotOffer, state: SnapshotState) -> PeerMessage {
    PeerMessage::SnapshotAck(SnapshotAck { shard: offer.descriptor.shard, id: offer.id, from: offer.from, state })
}

#[cfg(test)]
mod tests;
