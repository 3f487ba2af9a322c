//! Snapshots on their way out of a leader's copy, and what they keep: pre-images, the log, clients' writes. What comes in
//! is in `transfer/receive.rs`.
//!
//! Knows of the state machine what it has applied, of the log how much it holds; whoever owns both starts transfers and
//! hears here which have ended.

mod catch_up;
mod patience;
pub(super) mod receive;
mod room;
pub(super) mod send;
mod source;
mod window;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::command::Command;
use crate::engine::{Engine, EngineError, data_key};
use crate::ids::{NodeId, ReplicaId, TableId};
use crate::map::Replica as Copy;
use crate::message::{PeerMessage, SnapshotAck, SnapshotState};
use crate::planted::{Planted, is_planted};
use crate::replica::state::ReplicaState;
use crate::replica::state_machine::Overwritten;

pub(crate) use room::{Shares, TransferRoom};

use catch_up::CatchUp;
use send::SnapshotSend;
use source::{PREIMAGE_BYTES, WHOLE};

/// How much may be sent, and in pieces of what size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Bytes that may still be sent now, over all transfers. A piece that is begun is sent whole: what it has in excess is
    /// owed.
    pub(crate) budget: i64,
    /// Keys and values of one piece.
    pub(crate) piece_bytes: usize,
    /// Highest number of records in one piece.
    pub(crate) piece_records: usize,
}

/// How a transfer has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Its receiver stands at the snapshot.
    Installed,
    /// The receiver has refused it, or it got no further.
    Failed,
}

/// Whom a transfer is to, and what may be acknowledged of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Receiver {
    /// Id of the replica that receives the snapshot.
    pub(super) copy: ReplicaId,
    /// Node of the replica that receives the snapshot.
    pub(super) node: NodeId,
    /// Pieces that were sent so far.
    pub(super) pieces: u64,
}

/// The transfers from one copy, one for each receiver at most.
#[derive(Debug)]
pub(super) struct Transfers {
    sends: BTreeMap<ReplicaId, SnapshotSend>,
    /// Number of transfers that were begun so far.
    begun: u64,
    catch_up: CatchUp,
}

impl Transfers {
    pub(super) fn new() -> Self {
        Self { sends: BTreeMap::new(), begun: 0, catch_up: CatchUp::new() }
    }

    /// Begins to send what the store holds now, which is at `state.applied`. A transfer to the same copy ends.
    pub(super) fn start(
        &mut self,
        to: Copy,
        state: &ReplicaState,
        term: u64,
        engine: &dyn Engine,
        now_ms: u64,
    ) -> Result<(), EngineError> {
        if !self.is_active() {
            // Nobody has said yet how much this shard may take: what it was told before was shared among others.
            self.catch_up.give_room(TransferRoom::NONE);
        }
        self.catch_up.begins(to.id);
        self.begun += 1;
        let id = (term << 24) | self.begun;
        let send = SnapshotSend::start(state, to, id, term, engine, now_ms)?;
        self.sends.insert(to.id, send);
        Ok(())
    }

    /// The next pieces of every transfer under way, within the budget; none to a node whose disk is full. Each transfer is
    /// the first in its `turn`: where the budget is small, the first takes all of it.
    pub(super) fn pump(
        &mut self,
        engine: &dyn Engine,
        now_ms: u64,
        turn: u64,
        pace: &mut Pace,
        is_full: &dyn Fn(NodeId) -> bool,
    ) -> Result<Vec<(NodeId, PeerMessage)>, EngineError> {
        let mut turns: Vec<_> = self.sends.values_mut().filter(|send| !is_full(send.to_node())).collect();
        let turn = usize::try_from(turn).unwrap_or(0).checked_rem(turns.len()).unwrap_or(0);
        turns.rotate_left(turn);
        let mut out = Vec::new();
        for send in turns {
            out.extend(send.pump(engine, now_ms, pace)?);
        }
        Ok(out)
    }

    /// Gives up transfers that get no further, and those whose snapshot the log, which begins after `log_start`, does not
    /// reach back to any more. Their receivers.
    pub(super) fn give_up_futile(&mut self, now_ms: u64, log_start: u64) -> Vec<ReplicaId> {
        let is_futile = |send: &SnapshotSend| send.is_stalled(now_ms) || send.index() < log_start;
        self.sends.extract_if(.., |_, send| is_futile(send)).map(|(to, _)| to).collect()
    }

    /// Gives up the transfer that keeps the most of what was overwritten, those that do not get on before the others. Its
    /// receiver, and the bytes that this frees.
    pub(super) fn give_up_largest(&mut self) -> Option<(ReplicaId, usize)> {
        let (to, send) = self.sends.iter().max_by_key(|(_, send)| self.burden_of(send))?;
        let (to, freed, got_on) = (*to, send.preimage_bytes(), self.gets_on(send));
        self.sends.remove(&to);
        if got_on {
            self.catch_up.expect_retry(to);
        }
        Some((to, freed))
    }

    /// Of the transfer that is to be given up first: whether it does not get on, and what it keeps.
    pub(super) fn largest_burden(&self) -> (bool, usize) {
        self.sends.values().map(|send| self.burden_of(send)).max().unwrap_or_default()
    }

    /// Whether a transfer does not get on, and what it keeps of records that were overwritten.
    fn burden_of(&self, send: &SnapshotSend) -> (bool, usize) {
        let bytes = send.preimage_bytes();
        (bytes > 0 && !self.gets_on(send), bytes)
    }

    /// The receiver of a transfer says how far it is. The receiver of the transfer that ends with it, if one does.
    pub(super) fn acknowledged(&mut self, ack: &SnapshotAck, now_ms: u64) -> Option<(ReplicaId, Ended)> {
        let (&to, send) = self.sends.iter_mut().find(|(_, send)| send.id() == ack.id)?;
        match ack.state {
            SnapshotState::Want(_) => {
                send.acknowledged(ack.state, now_ms);
                None
            }
            SnapshotState::Installed => {
                let index = send.index();
                self.sends.remove(&to);
                self.catch_up.installed(to, index, now_ms);
                Some((to, Ended::Installed))
            }
            SnapshotState::Refused => {
                self.sends.remove(&to);
                Some((to, Ended::Failed))
            }
        }
    }

    /// Whom the transfer of this id is to.
    pub(super) fn receiver(&self, id: u64) -> Option<Receiver> {
        let (copy, send) = self.sends.iter().find(|(_, send)| send.id() == id)?;
        Some(Receiver { copy: *copy, node: send.to_node(), pieces: send.next_sequence() })
    }

    /// Forgets transfers to copies that are members no more.
    pub(super) fn retain(&mut self, is_member: impl Fn(&ReplicaId) -> bool) {
        self.sends.retain(|to, _| is_member(to));
        self.catch_up.retain(is_member);
    }

    /// True if copies are brought up, or writes have waited for one that is to be.
    pub(super) fn may_hold_up(&self) -> bool {
        self.is_active() || self.catch_up.is_late()
    }

    /// Whether writes of clients wait for room.
    pub(super) fn room_wanted(&mut self, is_wanted: bool) {
        self.catch_up.room_wanted(is_wanted);
    }

    /// True while no transfer to this copy is to begin: writes have waited for it for long enough.
    pub(super) fn is_paused(&self, copy: ReplicaId) -> bool {
        self.catch_up.is_paused(copy)
    }

    /// A period has passed. `last` = the log's end, `matched` = what a copy is known to have; `None` = it is no member.
    /// `may_pause` = a majority is there without the copies that are brought up.
    pub(super) fn follow_catch_ups(
        &mut self,
        now_ms: u64,
        last: u64,
        matched: impl Fn(ReplicaId) -> Option<u64>,
        may_pause: bool,
    ) {
        self.catch_up.settle_waits(now_ms, self.waited_for(), may_pause);
        self.catch_up.settle(now_ms, last, matched);
    }

    /// Those for which writes wait, if they do: the receiver that is the furthest from its snapshot's end, and one that
    /// follows if it needs the log from further back than any snapshot. The others would hold up nothing without them.
    fn waited_for(&self) -> Vec<ReplicaId> {
        let is_shared = is_planted(Planted::PatienceSpentForAll);
        let first = self.live_sends().map(SnapshotSend::parts_done).min();
        let last = self.live_sends().filter(|send| is_shared || Some(send.parts_done()) == first);
        let before = self.live_sends().map(SnapshotSend::index).min().unwrap_or(u64::MAX);
        last.map(SnapshotSend::to).chain(self.catch_up.following(if is_shared { u64::MAX } else { before })).collect()
    }

    /// What transfers may take, until told otherwise.
    pub(super) fn give_room(&mut self, room: TransferRoom) {
        self.catch_up.give_room(room);
    }

    /// True if a snapshot is under way.
    pub(super) fn is_sending(&self) -> bool {
        !self.sends.is_empty()
    }

    /// True if a snapshot brings a copy up or is to be begun again, or one has and the copy follows.
    pub(super) fn is_active(&self) -> bool {
        self.is_sending() || !self.catch_up.is_empty() || self.catch_up.expects_retry()
    }

    /// Bytes that transfers keep of records that were overwritten.
    pub(super) fn preimage_bytes(&self) -> usize {
        self.sends.values().map(SnapshotSend::preimage_bytes).sum()
    }

    /// Bytes sent and estimated, over all transfers under way.
    pub(super) fn moving(&self) -> (u64, u64) {
        self.sends.values().map(SnapshotSend::progress).fold((0, 0), |sum, p| (sum.0 + p.0, sum.1 + p.1))
    }

    /// The ids of the transfers under way.
    #[cfg(test)]
    pub(super) fn ids(&self) -> BTreeMap<ReplicaId, u64> {
        self.sends.iter().map(|(to, send)| (*to, send.id())).collect()
    }

    /// Transfers that get on, and may hold up writes.
    fn live_sends(&self) -> impl Iterator<Item = &SnapshotSend> {
        self.sends.values().filter(|send| self.gets_on(send))
    }

    fn gets_on(&self, send: &SnapshotSend) -> bool {
        send.gets_on(self.catch_up.now_ms()) && !self.catch_up.is_paused(send.to())
    }

    /// Bytes that transfers that get on keep of records that were overwritten.
    pub(super) fn live_preimage_bytes(&self) -> usize {
        self.live_sends().map(SnapshotSend::preimage_bytes).sum()
    }

    /// Bytes that transfers would keep of records that a command overwrites, at most. While none is under way a guess, of
    /// use for one that begins: that the records are as large as what replaces them.
    pub(super) fn overwrites(
        &self,
        table: TableId,
        command: &Command,
        engine: &dyn Engine,
    ) -> Result<usize, EngineError> {
        let expects_retry = self.catch_up.expects_retry();
        if !self.is_sending() && !expects_retry {
            return Ok(command.bytes() + PREIMAGE_BYTES * command.mutations.len());
        }
        let mut bytes = 0;
        for mutation in &command.mutations {
            let key = data_key(table, mutation.key());
            if expects_retry {
                bytes += source::weight(&key, engine.get(&key)?.as_ref());
            }
            for send in self.live_sends() {
                bytes += send.would_keep(&key, engine)?;
            }
        }
        Ok(bytes)
    }

    /// The lowest index after which a copy that gets on needs the log. `None` = none does.
    pub(super) fn log_needed_after(&self) -> Option<u64> {
        self.live_sends().map(SnapshotSend::index).chain(self.catch_up.lowest()).min()
    }

    /// What clients' writes may fill now, so that what is kept for a transfer fills its room no faster than it gets on.
    /// `None` = as much as they like. `under_way` = what commands overwrite that are proposed and not applied; `bytes_after`
    /// = of the log after an index.
    pub(super) fn room(&self, under_way: usize, bytes_after: impl Fn(u64) -> usize) -> Option<TransferRoom> {
        if is_planted(Planted::WritesOutrunSnapshot) {
            return None;
        }
        let (needed_after, expects_retry) = (self.log_needed_after(), self.catch_up.expects_retry());
        if needed_after.is_none() && !expects_retry {
            return None;
        }
        let first = self.live_sends().map(SnapshotSend::parts_done).min();
        let keeps = first.is_some() || expects_retry;
        let parts = if expects_retry { 0 } else { first.unwrap_or(WHOLE) };
        let left = self
            .catch_up
            .allowed(parts)
            .less(needed_after.map_or(0, bytes_after), self.live_preimage_bytes().saturating_add(under_way));
        Some(TransferRoom {
            log: if needed_after.is_some() { left.log } else { usize::MAX },
            preimages: if keeps { left.preimages } else { usize::MAX },
        })
    }
}

/// Keeps pre-images for every transfer under way.
impl Overwritten for Transfers {
    fn note(&mut self, key: &Bytes, engine: &dyn Engine) -> Result<(), EngineError> {
        self.sends.values_mut().try_for_each(|send| send.note(key, engine))
    }
}

#[cfg(test)]
mod tests;
