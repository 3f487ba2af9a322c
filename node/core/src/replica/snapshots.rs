//! A replica's part in snapshots: whom to send one, what to take in, and when it stands.

use crate::command::Command;
use crate::engine::{Engine, EngineError};
use crate::ids::{NodeId, ReplicaId};
use crate::map::Role;
use crate::message::{PeerMessage, SnapshotAck, SnapshotChunk, SnapshotOffer, SnapshotState};
use crate::planted::{Planted, is_planted};
use crate::replica::transfer::receive::{OtherOffer, SnapshotReceive, answer};
use crate::replica::transfer::{Ended, Pace, TransferRoom};
use crate::replica::{Collected, Replica};
use crate::time::Now;

/// What became of an offered snapshot.
#[expect(clippy::large_enum_variant, reason = "taken apart where it is made")]
pub(crate) enum Offered {
    /// Taken, or repeated: the answer to send.
    Answer(NodeId, PeerMessage),
    /// Pieces of an earlier transfer lie in the store and must go first.
    MustWipe,
    /// The offer is not taken now; the sender will ask again.
    Ignored,
}

impl Replica {
    /// A follower needs more than the log has.
    pub(super) fn start_snapshot(&mut self, to: ReplicaId, engine: &dyn Engine, now: Now) -> Result<(), EngineError> {
        let member = self.descriptor().members.iter().find(|m| m.replica.id == to).map(|m| m.replica);
        match member {
            Some(copy) if !self.transfers.is_paused(to) => {
                let term = self.term();
                self.transfers.start(copy, self.machine.state(), term, engine, now.monotonic_ms)?;
            }
            // raft asks again with the next heartbeat.
            Some(_) | None => self.consensus.report_snapshot(to, false),
        }
        Ok(())
    }

    /// One tick has passed: notes how far the copies that snapshots bring up have come.
    pub(super) fn follow_catch_ups(&mut self, now: Now) {
        let may_pause = self.transfers.may_hold_up() && self.is_majority_in_sync();
        let consensus = &self.consensus;
        let matched = |copy| consensus.matched(copy);
        self.transfers.follow_catch_ups(now.monotonic_ms, consensus.last_index(), matched, may_pause);
    }

    /// True if of each configuration in force a majority is in sync: what is written is committed without any other copy.
    fn is_majority_in_sync(&self) -> bool {
        let in_sync = self.in_sync();
        [[Role::Voter, Role::Outgoing], [Role::Voter, Role::Incoming]].iter().all(|voting| {
            let voters = self.descriptor().members.iter().filter(|m| voting.contains(&m.role));
            2 * voters.clone().filter(|m| in_sync.contains(&m.replica.id)).count() > voters.count()
        })
    }

    /// Gives up transfers that get no further, and those whose snapshot the log does not reach back to any more.
    pub(super) fn give_up_futile_snapshots(&mut self, now: Now) {
        for to in self.transfers.give_up_futile(now.monotonic_ms, self.consensus.log_start().0) {
            self.consensus.report_snapshot(to, false);
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
        let turn = self.consensus.ticks();
        out.send.extend(self.transfers.pump(engine, now.monotonic_ms, turn, pace, is_full)?);
        Ok(())
    }

    /// Bytes that its transfers keep of records that were overwritten.
    pub(crate) fn preimage_bytes(&self) -> usize {
        self.transfers.preimage_bytes()
    }

    /// Gives up the transfer that keeps the most of what was overwritten, those that do not get on before the others. The
    /// bytes that this frees.
    pub(crate) fn give_up_largest_send(&mut self) -> usize {
        let Some((to, freed)) = self.transfers.give_up_largest() else { return 0 };
        self.consensus.report_snapshot(to, false);
        freed
    }

    /// Of the transfer that is to be given up first: whether it does not get on, and what it keeps.
    pub(crate) fn largest_burden(&self) -> (bool, usize) {
        self.transfers.largest_burden()
    }

    pub(crate) fn is_sending(&self) -> bool {
        self.transfers.is_sending()
    }

    /// True if a snapshot brings a copy up, or one has and the copy follows.
    pub(crate) fn is_transferring(&self) -> bool {
        self.transfers.is_active()
    }

    /// What this shard's transfers may take, until told otherwise.
    pub(crate) fn give_room(&mut self, room: TransferRoom) {
        self.transfers.give_room(room);
    }

    /// Snapshot bytes sent and estimated, over all transfers under way.
    pub(crate) fn moving(&self) -> (u64, u64) {
        self.transfers.moving()
    }

    /// What clients' writes may fill now of what transfers keep. `None` = as much as they like.
    pub(super) fn writes_room(&self) -> Option<TransferRoom> {
        if !self.is_transferring() {
            return None;
        }
        let under_way = self.consensus.proposals().overwrites();
        self.transfers.room(under_way, |index| self.consensus.log_bytes_after(index))
    }

    /// Bytes that transfers would keep of what commands overwrite, about.
    pub(super) fn overwrites(&self, commands: &[Command], engine: &dyn Engine) -> Result<usize, EngineError> {
        let table = self.descriptor().table;
        commands.iter().map(|command| self.transfers.overwrites(table, command, engine)).sum()
    }

    /// Bytes that transfers that get on keep of records that were overwritten.
    pub(crate) fn live_preimage_bytes(&self) -> usize {
        self.transfers.live_preimage_bytes()
    }

    /// The receiver of a transfer says how far it is.
    pub(crate) fn snapshot_acknowledged(&mut self, ack: &SnapshotAck, now: Now) {
        if let Some((to, ended)) = self.transfers.acknowledged(ack, now.monotonic_ms) {
            self.consensus.report_snapshot(to, ended == Ended::Installed);
        }
    }

    /// A leader offers a snapshot to this copy.
    pub(crate) fn snapshot_offered(
        &mut self,
        from: NodeId,
        offer: SnapshotOffer,
        engine: &dyn Engine,
    ) -> Result<Offered, EngineError> {
        if self.consensus.syncs().is_held() {
            return Ok(Offered::Ignored);
        }
        if self.is_behind(&offer) {
            self.give_records_up(engine)?;
            return Ok(Offered::MustWipe);
        }
        if !self.machine.is_blank() && self.receive.is_none() {
            // The answer to an earlier transfer may be lost; where nothing is written, the log alone would never tell.
            let has_all = self.consensus.committed() >= offer.index;
            let state = if has_all { SnapshotState::Installed } else { SnapshotState::Refused };
            return Ok(Offered::Answer(from, answer(&offer, state)));
        }
        if self.is_unfit(&offer) {
            return Ok(Offered::Answer(from, answer(&offer, SnapshotState::Refused)));
        }
        let tick = self.consensus.ticks();
        if let Some(current) = &self.receive {
            match current.compare(&offer, tick) {
                OtherOffer::Same => {
                    let (node, ack) = current.ack();
                    return Ok(Offered::Answer(node, ack));
                }
                OtherOffer::Ignored => return Ok(Offered::Ignored),
                OtherOffer::AfterWipe => {
                    self.receive = None;
                    return Ok(Offered::MustWipe);
                }
                OtherOffer::AtOnce => {}
            }
        }
        let receive = SnapshotReceive::start(offer, (from, tick), &mut self.machine, engine)?;
        let (node, ack) = receive.ack();
        self.receive = Some(receive);
        Ok(Offered::Answer(node, ack))
    }

    /// True if this copy has data, but its log ends before the snapshot, or is another one there: nothing beyond the
    /// snapshot that it has acknowledged can have been counted by any leader.
    fn is_behind(&self, offer: &SnapshotOffer) -> bool {
        let consensus = &self.consensus;
        let has_data = !self.machine.is_blank() && self.receive.is_none();
        // Whoever leads says so with every heartbeat, and offers until it is answered.
        let is_known = consensus.leader() == Some(offer.from) || is_planted(Planted::RecordsGivenUpForAnybody);
        let is_from_leader = !self.is_leader() && is_known && offer.term == self.term();
        let lacks_it = offer.index > consensus.committed() && !consensus.has_entry(offer.index, offer.index_term);
        has_data && is_from_leader && lacks_it
    }

    /// True for a snapshot that raft would not take: it is older than what this copy knows to be committed, or not for it.
    /// What was committed since must come with the snapshot, for no entry before it is ever applied.
    fn is_unfit(&self, offer: &SnapshotOffer) -> bool {
        let is_old = offer.index < self.consensus.committed() && !is_planted(Planted::SnapshotBelowCommitted);
        is_old || !offer.descriptor.members.iter().any(|m| m.replica.id == self.id())
    }

    /// Makes room for a snapshot. The log stays, and with it all that this copy has promised: it goes on to vote, but
    /// neither leads nor acknowledges entries before the snapshot is there. So no leader counts on its log from here on,
    /// and what was committed with its help before is in the snapshot, which a majority without it has.
    fn give_records_up(&mut self, engine: &dyn Engine) -> Result<(), EngineError> {
        self.machine.give_up();
        self.wait_for_snapshot();
        engine.write(vec![self.state().write()])
    }

    /// A copy without data does not stand for election, though it votes when it has waited for its leader as long as any
    /// other: it may be needed to elect the next one. If it has a log, whoever leads must be told that it needs a
    /// snapshot all the same.
    pub(super) fn wait_for_snapshot(&mut self) {
        if self.is_blank() {
            self.consensus.put_off_election();
            self.consensus.ask_for_snapshot();
        }
    }

    /// A piece of a snapshot. Once all are there the store must be synced before the copy stands.
    pub(crate) fn snapshot_chunk(
        &mut self,
        chunk: SnapshotChunk,
        engine: &dyn Engine,
        out: &mut Collected,
    ) -> Result<(), EngineError> {
        let is_unfit = self.receive.as_ref().is_some_and(|r| !r.is_complete() && self.is_unfit(r.offer()));
        let Some(receive) = &mut self.receive else { return Ok(()) };
        if is_unfit {
            // More was committed meanwhile than it has. What is stored of it goes when another is offered.
            out.send.push((receive.sender(), answer(receive.offer(), SnapshotState::Refused)));
            return Ok(());
        }
        let was_complete = receive.is_complete();
        receive.store(chunk, self.consensus.ticks(), &mut self.machine, engine)?;
        out.send.push(receive.ack());
        out.wants_sync |= receive.is_complete() && !was_complete;
        Ok(())
    }

    /// The store is durable: if a snapshot waited for that, raft is told, and the sender.
    pub(crate) fn install_received(&mut self, out: &mut Collected) {
        let Some(receive) = self.receive.take_if(|r| r.is_durable()) else { return };
        self.consensus.install(receive.offer(), self.machine.applied(), self.machine.descriptor());
        out.send.push((receive.sender(), answer(receive.offer(), SnapshotState::Installed)));
    }

    /// True if this copy may hold pieces of a snapshot whose transfer is not under way any more.
    pub(crate) fn has_remains(&self) -> bool {
        self.machine.is_blank()
            && self.receive.is_none()
            && !self.descriptor().members.is_empty()
            && !is_planted(Planted::RemainsNotWiped)
    }

    /// What remained of an incomplete snapshot is wiped from the store.
    pub(crate) fn wiped(&mut self) {
        self.machine.wiped();
    }
}

#[cfg(test)]
mod tests;
