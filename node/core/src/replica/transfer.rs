//! Snapshots on their way out of a leader's copy, and what they keep: pre-images, the log, clients' writes. What comes in
//! is in `transfer/receive.rs`.
//!
//! Knows of the state machine what it has applied, of the log how much it holds; whoever owns both starts transfers and
//! hears here which have ended.

mod catch_up;
pub(super) mod receive;
pub(super) mod send;
mod source;
mod window;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::engine::{Engine, EngineError};
use crate::ids::{NodeId, ReplicaId};
use crate::map::Replica as Copy;
use crate::message::{PeerMessage, SnapshotAck, SnapshotState};
use crate::planted::{Planted, is_planted};
use crate::replica::state::ReplicaState;
use crate::replica::state_machine::Overwritten;

pub(crate) use catch_up::TransferRoom;

use catch_up::CatchUp;
use send::SnapshotSend;
use source::WHOLE;

/// How much may be sent, and in pieces of what size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Bytes that may still be sent now, over all transfers.
    pub(crate) budget: u64,
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
        let (to, freed) = (*to, send.preimage_bytes());
        self.sends.remove(&to);
        Some((to, freed))
    }

    /// Of the transfer that is to be given up first: whether it does not get on, and what it keeps.
    pub(super) fn largest_burden(&self) -> (bool, usize) {
        self.sends.values().map(|send| self.burden_of(send)).max().unwrap_or_default()
    }

    /// Whether a transfer does not get on, and what it keeps of records that were overwritten.
    fn burden_of(&self, send: &SnapshotSend) -> (bool, usize) {
        (!send.gets_on(self.catch_up.now_ms()), send.preimage_bytes())
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

    /// A period has passed. `last` = the log's end, `matched` = what a copy is known to have; `None` = it is no member.
    pub(super) fn follow_catch_ups(&mut self, now_ms: u64, last: u64, matched: impl Fn(ReplicaId) -> Option<u64>) {
        self.catch_up.settle(now_ms, last, matched);
    }

    /// What transfers may take, until told otherwise.
    pub(super) fn give_room(&mut self, room: TransferRoom) {
        self.catch_up.give_room(room);
    }

    /// True if a snapshot is under way.
    pub(super) fn is_sending(&self) -> bool {
        !self.sends.is_empty()
    }

    /// True if a snapshot brings a copy up, or one has and the copy follows.
    pub(super) fn is_active(&self) -> bool {
        self.is_sending() || !self.catch_up.is_empty()
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

    /// The transfers that make progress, as of the last tick.
    fn live_sends(&self) -> impl Iterator<Item = &SnapshotSend> {
        self.sends.values().filter(|send| send.gets_on(self.catch_up.now_ms()))
    }

    /// The lowest index after which a copy that gets on needs the log. `None` = none does.
    pub(super) fn log_needed_after(&self) -> Option<u64> {
        self.live_sends().map(SnapshotSend::index).chain(self.catch_up.lowest()).min()
    }

    /// True while clients' writes wait for a transfer: what is kept for it fills its room faster than it gets on.
    /// `bytes_after` = of the log after an index, together with what was proposed and is not in it yet.
    pub(super) fn writes_wait(&self, applied: u64, bytes_after: impl Fn(u64) -> usize) -> bool {
        let Some(needed_after) = self.log_needed_after() else { return false };
        if is_planted(Planted::WritesOutrunSnapshot) {
            return false;
        }
        let parts = self.live_sends().map(SnapshotSend::parts_done).min().unwrap_or(WHOLE);
        let allowed = self.catch_up.allowed(parts);
        if bytes_after(needed_after) > allowed.log {
            return true;
        }
        // What is under way may overwrite about as much as it writes.
        let kept: usize = self.live_sends().map(SnapshotSend::preimage_bytes).sum();
        self.is_sending() && kept.saturating_add(bytes_after(applied)) > allowed.preimages
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
