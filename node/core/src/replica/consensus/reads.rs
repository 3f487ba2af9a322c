//! When a leader may answer a read: after a quorum confirmed its leadership, or while a lease from such a round holds.
//!
//! A lease counts from the time the round's heartbeat was *sent*, on a clock that goes on while the process is paused.
//! It is shorter than the time for which those who answered refuse to vote for another. Handing leadership over
//! breaks that promise, so no lease is taken any more in a term in which that was tried. Ongaro's thesis, 6.4.1.

use std::collections::VecDeque;

use crate::command::Read;
use crate::duty::Duty;
use crate::ids::Token;
use crate::planted::{Planted, is_planted};
use crate::time::{ELECTION_TICKS, TICK_MS};

/// The lease: one tick less than a follower may count, three for the drift and steps of its clock.
const LEASE_MS: u64 = (ELECTION_TICKS as u64 - 4) * TICK_MS;
/// A round that took longer is given up.
const ROUND_MS: u64 = 3 * TICK_MS;
/// After the last read, a lease is renewed for this long.
const RENEW_MS: u64 = 1_000;

/// What waits until this replica's leadership is confirmed.
#[derive(Debug)]
pub(crate) enum Reader {
    /// A client whose read is answered once leadership is confirmed and what was committed then is applied.
    Client { token: Token, read: Read },
    /// A client whose read waits for the shard's time. `asked_ms` = when it came, if the entry that it waits for is of an
    /// earlier time.
    Late { token: Token, read: Read, asked_ms: Option<u64> },
    /// The node itself, with a duty of its own.
    Node(Duty),
}

#[derive(Debug)]
struct Round {
    id: u64,
    sent_ms: u64,
    readers: Vec<Reader>,
}

/// Reads that wait, and the lease.
#[derive(Debug, Default)]
pub(in crate::replica) struct Reads {
    waiting: Vec<Reader>,
    rounds: VecDeque<Round>,
    /// Confirmed; to be answered once this index is applied.
    confirmed: Vec<(u64, Reader)>,
    lease_until_ms: Option<u64>,
    /// Rounds below this were sent under other members or before a hand-over and give no lease.
    lease_from_round: u64,
    barred_term: u64,
    next_round: u64,
    last_read_ms: u64,
}

impl Reads {
    /// True if a read may be answered at once.
    pub(in crate::replica) fn has_lease(&self, now_ms: u64) -> bool {
        self.lease_until_ms.is_some_and(|until| now_ms < until)
    }

    pub(in crate::replica) fn touched(&mut self, now_ms: u64) {
        self.last_read_ms = now_ms;
    }

    /// Waits for a round that starts from now on.
    pub(in crate::replica) fn wait(&mut self, reader: Reader) {
        self.waiting.push(reader);
    }

    /// Waits for an index only: leadership is confirmed.
    pub(in crate::replica) fn wait_applied(&mut self, index: u64, reader: Reader) {
        self.confirmed.push((index, reader));
    }

    pub(in crate::replica) fn len(&self) -> usize {
        self.waiting.len() + self.confirmed.len() + self.rounds.iter().map(|r| r.readers.len()).sum::<usize>()
    }

    /// True if somebody waits, or the lease is to be renewed, and no round is under way.
    pub(in crate::replica) fn wants_round(&self, now_ms: u64) -> bool {
        let renew = now_ms.saturating_sub(self.last_read_ms) < RENEW_MS
            && self.lease_until_ms.is_none_or(|until| until < now_ms + LEASE_MS / 2);
        let busy = self.rounds.back().is_some_and(|r| now_ms.saturating_sub(r.sent_ms) < ROUND_MS);
        !busy && (renew || !self.waiting.is_empty())
    }

    /// Starts a round: its id, for the heartbeat.
    pub(in crate::replica) fn start_round(&mut self, now_ms: u64) -> u64 {
        for round in self.rounds.drain(..) {
            self.waiting.extend(round.readers);
        }
        self.next_round += 1;
        let readers = std::mem::take(&mut self.waiting);
        self.rounds.push_back(Round { id: self.next_round, sent_ms: now_ms, readers });
        self.next_round
    }

    /// A quorum answered a round; reads see everything up to `index`.
    pub(in crate::replica) fn round_confirmed(&mut self, id: u64, index: u64, term: u64) {
        while self.rounds.front().is_some_and(|r| r.id <= id) {
            let Some(round) = self.rounds.pop_front() else { break };
            if round.id >= self.lease_from_round
                && (term != self.barred_term || is_planted(Planted::LeaseKeptOverTransfer))
            {
                let lease_ms = if is_planted(Planted::LeaseWithoutMargin) { 4 * LEASE_MS } else { LEASE_MS };
                self.lease_until_ms = Some(self.lease_until_ms.unwrap_or(0).max(round.sent_ms + lease_ms));
            }
            self.confirmed.extend(round.readers.into_iter().map(|r| (index, r)));
        }
    }

    /// Takes out the confirmed readers whose index is at most `applied`.
    pub(in crate::replica) fn take_ready(&mut self, applied: u64) -> Vec<Reader> {
        let applied = if is_planted(Planted::ReadBeforeApplied) { u64::MAX } else { applied };
        if self.confirmed.iter().all(|(index, _)| *index > applied) {
            return Vec::new();
        }
        let (ready, later) =
            std::mem::take(&mut self.confirmed).into_iter().partition::<Vec<_>, _>(|(i, _)| *i <= applied);
        self.confirmed = later;
        ready.into_iter().map(|(_, reader)| reader).collect()
    }

    /// The members changed: what was promised under the old ones counts no more.
    pub(in crate::replica) fn members_changed(&mut self) {
        if is_planted(Planted::LeaseKeptOverMembers) {
            return;
        }
        self.lease_until_ms = None;
        self.lease_from_round = self.next_round + 1;
    }

    /// Leadership is being handed over in this term.
    pub(in crate::replica) fn bar_lease(&mut self, term: u64) {
        if !is_planted(Planted::LeaseKeptOverTransfer) {
            self.lease_until_ms = None;
        }
        self.barred_term = term;
    }

    /// Leadership is lost: everyone who waits.
    pub(in crate::replica) fn lost(&mut self) -> Vec<Reader> {
        self.lease_until_ms = None;
        self.lease_from_round = self.next_round + 1;
        let mut readers = std::mem::take(&mut self.waiting);
        readers.extend(self.rounds.drain(..).flat_map(|r| r.readers));
        readers.extend(std::mem::take(&mut self.confirmed).into_iter().map(|(_, r)| r));
        readers
    }
}

#[cfg(test)]
mod tests;
