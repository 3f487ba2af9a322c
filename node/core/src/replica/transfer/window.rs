//! How far the receiver of a transfer is: the pieces under way to it, what is to be sent again, and whether it gets on.

use std::collections::VecDeque;

use crate::message::SnapshotChunk;
use crate::planted::{Planted, is_planted};

/// Unacknowledged pieces under way: enough for a round trip, little enough to keep in memory.
const WINDOW_CHUNKS: usize = 4;
pub(super) const RESEND_MS: u64 = 500;
/// A transfer that gets no further for so long is given up.
pub(super) const STALL_MS: u64 = 10_000;
/// A receiver that has everything may take so long to make it durable.
const INSTALL_MS: u64 = 120_000;
/// A copy that has taken nothing for so long does not get on: six repetitions of what was not acknowledged.
pub(super) const GETS_ON_MS: u64 = 3_000;
/// One that has not even accepted the offer: its node may have to delete the remains of another first, for long.
pub(super) const ACCEPTS_MS: u64 = 1_000;
/// One that has taken everything makes it durable, and gets on for so long.
pub(super) const SYNCS_MS: u64 = 5_000;

/// Pieces under way, and when the receiver last took one. Times are of a clock that never goes back.
#[derive(Debug)]
pub(super) struct Window {
    is_accepted: bool,
    unacked: VecDeque<SnapshotChunk>,
    next_sequence: u64,
    last_send_ms: u64,
    last_progress_ms: u64,
    /// Since when the receiver has had everything, if it has.
    all_taken_ms: Option<u64>,
}

impl Window {
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            is_accepted: false,
            unacked: VecDeque::new(),
            next_sequence: 0,
            last_send_ms: 0,
            last_progress_ms: now_ms,
            all_taken_ms: None,
        }
    }

    /// True once the receiver has accepted the offer.
    pub(super) fn is_accepted(&self) -> bool {
        self.is_accepted
    }

    /// The number of the next piece.
    pub(super) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// True if every piece that was sent is acknowledged, and there was one.
    pub(super) fn is_all_taken(&self) -> bool {
        self.next_sequence > 0 && self.unacked.is_empty()
    }

    /// True while one more piece may be under way.
    pub(super) fn has_room(&self) -> bool {
        self.unacked.len() < WINDOW_CHUNKS
    }

    /// One that nobody has accepted loses nothing by being made anew, and its index grows old.
    pub(super) fn is_stalled(&self, now_ms: u64) -> bool {
        let most = if self.is_accepted { STALL_MS } else { GETS_ON_MS };
        now_ms.saturating_sub(self.last_progress_ms) > most
    }

    /// True unless the receiver has taken nothing for a while.
    pub(super) fn gets_on(&self, now_ms: u64) -> bool {
        let (since, most) = match self.all_taken_ms {
            Some(since) => (since, SYNCS_MS),
            None if self.is_accepted => (self.last_progress_ms, GETS_ON_MS),
            None => (self.last_progress_ms, ACCEPTS_MS),
        };
        now_ms.saturating_sub(since) <= most || is_planted(Planted::SilentReceiverHoldsWrites)
    }

    /// The receiver wants this piece next. `is_all_cut` = the last piece was sent.
    pub(super) fn wanted(&mut self, sequence: u64, is_all_cut: bool, now_ms: u64) {
        self.is_accepted = true;
        while self.unacked.front().is_some_and(|c| c.sequence < sequence) {
            self.unacked.pop_front();
            self.last_progress_ms = now_ms;
        }
        if sequence == 0 && self.next_sequence == 0 {
            self.last_progress_ms = now_ms;
        }
        // One that wants less has forgotten what it had, and what was acknowledged is not kept.
        if is_all_cut && self.is_all_taken() && sequence == self.next_sequence {
            let since = *self.all_taken_ms.get_or_insert(now_ms);
            if now_ms.saturating_sub(since) <= INSTALL_MS {
                self.last_progress_ms = now_ms;
            }
        }
    }

    /// The sender may send nothing now. A receiver that has all that was sent is not the one that is slow.
    pub(super) fn held_back(&mut self, now_ms: u64) {
        if self.is_accepted && self.unacked.is_empty() {
            self.last_progress_ms = now_ms;
        }
    }

    /// True if nothing has gone out for a while: what is not answered is to be repeated.
    pub(super) fn is_repetition_due(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.last_send_ms) >= RESEND_MS
    }

    /// Something goes out that is repeated unless it is answered.
    pub(super) fn sent(&mut self, now_ms: u64) {
        self.last_send_ms = now_ms;
    }

    /// The pieces that are not acknowledged.
    pub(super) fn unacked(&self) -> impl ExactSizeIterator<Item = &SnapshotChunk> {
        self.unacked.iter()
    }

    /// The next piece is sent: keeps it until it is acknowledged.
    pub(super) fn push(&mut self, piece: SnapshotChunk, now_ms: u64) {
        self.sent(now_ms);
        self.next_sequence += 1;
        self.unacked.push_back(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ReplicaId, ShardId};

    const NOW_MS: u64 = 100_000;

    fn piece(sequence: u64) -> SnapshotChunk {
        let (shard, to) = (ShardId(1), ReplicaId(2));
        SnapshotChunk { shard, id: 1, to, sequence, checksum: 0, records: Vec::new(), last: false }
    }

    fn full() -> Window {
        let mut window = Window::new(NOW_MS);
        window.wanted(0, false, NOW_MS);
        while window.has_room() {
            window.push(piece(window.next_sequence()), NOW_MS);
        }
        window
    }

    #[test]
    fn an_acknowledged_piece_makes_room_for_another_and_is_not_repeated() {
        let mut window = full();
        assert_eq!(window.unacked().len(), WINDOW_CHUNKS);
        window.wanted(2, false, NOW_MS + 1);
        assert!(window.has_room());
        assert_eq!(window.unacked().map(|piece| piece.sequence).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn a_receiver_gets_on_while_it_takes_pieces_and_a_while_once_it_has_all() {
        let mut window = full();
        assert!(window.gets_on(NOW_MS + GETS_ON_MS) && !window.gets_on(NOW_MS + GETS_ON_MS + 1));
        window.wanted(4, true, NOW_MS + 100);
        assert!(window.is_all_taken());
        assert!(window.gets_on(NOW_MS + 100 + SYNCS_MS) && !window.gets_on(NOW_MS + 100 + SYNCS_MS + 1));
    }

    #[test]
    fn a_receiver_that_is_sent_nothing_gets_on_unless_it_owes_an_answer() {
        let mut window = full();
        window.held_back(NOW_MS + STALL_MS);
        assert!(!window.gets_on(NOW_MS + STALL_MS), "it has not answered");
        window.wanted(4, false, NOW_MS + STALL_MS);
        window.held_back(NOW_MS + 3 * STALL_MS);
        assert!(window.gets_on(NOW_MS + 3 * STALL_MS) && !window.is_stalled(NOW_MS + 3 * STALL_MS));
    }

    #[test]
    fn an_offer_that_nobody_accepts_is_given_up_early() {
        let window = Window::new(NOW_MS);
        assert!(!window.is_stalled(NOW_MS + GETS_ON_MS) && window.is_stalled(NOW_MS + GETS_ON_MS + 1));
        assert!(!full().is_stalled(NOW_MS + STALL_MS) && full().is_stalled(NOW_MS + STALL_MS + 1));
    }
}
