//! What this node's copies hold in memory beside the store, measured once a tick, and what they may take in addition.
//!
//! A follower does not choose what it is sent. One that cannot forget, since it applies nothing or its store syncs
//! nothing, must not take the memory of all others: entries beyond a bound are not taken. Their leader sends them again,
//! at the pace of its heartbeats, or a snapshot once it has forgotten them.

use crate::log::{LogCut, LogEntry};
use crate::message::RaftEnvelope;
use crate::node::replicas::Replicas;
use crate::node::{Held, NodeConfig};
use crate::planted::{Planted, is_planted};
use crate::replica::{ENTRY_BYTES, Replica, Shares, TransferRoom};

/// Entries that one copy takes from a leader, in bytes, however much memory there is: eight times what a log keeps for
/// copies that lag, the entries of one leader that are not committed, and a few seconds of writes that the store has not
/// synced.
const FOLLOWER_BYTES_MAX: usize = 256 << 20;

/// Keeps account of the memory that the replicas take for their logs and for running snapshots.
#[derive(Debug, Default)]
pub(super) struct Memory {
    held: Held,
    copies: usize,
    /// Bytes of entries that were taken from leaders since.
    taken: usize,
}

/// For which entries of a leader's message there is room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) enum Room {
    /// There is room for all entries.
    All,
    /// There is room for those entries alone that the copy has already.
    Known,
    /// None: the message is not to be taken.
    Nothing,
}

/// The log of a copy that is sent entries.
#[derive(Debug, Clone, Copy)]
struct FollowerLog {
    /// Bytes of memory that the log takes.
    bytes: usize,
    /// Whatever it holds already, the next entries are needed for any of it to be forgotten.
    must_go_on: bool,
}

impl Memory {
    /// Sets the memory that the copies were measured to hold.
    fn measured(&mut self, held: Held, copies: usize) {
        *self = Self { held, copies, taken: 0 };
    }

    /// Memory as of the last tick, less what logs have forgotten since.
    pub(super) fn held(&self) -> Held {
        self.held
    }

    /// Subtracts `log` bytes, which logs have forgotten since the last measure.
    fn freed(&mut self, log: usize) {
        self.held.log = self.held.log.saturating_sub(log);
    }

    /// Takes `bytes` of entries for a copy, if there is room: half of `all` for one copy, and while all logs together are
    /// over that, an equal part of a half. One that must go on always takes the next entries: so every copy goes on sooner
    /// or later, and no shard waits for ever for another's.
    fn take(&mut self, log: FollowerLog, bytes: usize, all: usize) -> bool {
        let after = log.bytes.saturating_add(bytes);
        let is_small = after <= all / 2 / self.copies.max(1);
        let has_room = || {
            let together = self.held.log.saturating_add(self.taken).saturating_add(bytes);
            after <= (all / 2).min(FOLLOWER_BYTES_MAX) && together <= all
        };
        let is_taken = log.must_go_on || is_small || has_room() || is_planted(Planted::FollowerLogUnbounded);
        if is_taken {
            self.taken = self.taken.saturating_add(bytes);
        }
        is_taken
    }
}

impl Replicas {
    /// Memory that they take for copies that lag, as of the last tick.
    pub(in crate::node) fn held(&self) -> Held {
        self.memory.held()
    }

    /// Goes through them: what they hold, and how much their transfers may.
    pub(in crate::node) fn measure(&mut self, config: &NodeConfig) {
        let before = Held { log: self.quorums.log_bytes(), preimages: 0 };
        let held = self.all().fold(before, |held, replica| Held {
            log: held.log + replica.log_bytes(),
            preimages: held.preimages + replica.preimage_bytes(),
        });
        self.memory.measured(held, self.by_shard.len());
        let kept: Vec<_> =
            self.all().filter(|replica| replica.is_transferring()).map(Replica::live_preimage_bytes).collect();
        if kept.is_empty() {
            return;
        }
        // The last quarter of the pre-images' is for what is under way when transfers begin.
        let shares = Shares::of(config.preimage_bytes_max / 4 * 3, kept.iter().copied());
        let log = config.log_memory_bytes_max / 4 / kept.len();
        for replica in self.by_shard.values_mut().filter(|replica| replica.is_transferring()) {
            let preimages = shares.share(replica.live_preimage_bytes());
            replica.give_room(TransferRoom { log, preimages });
        }
    }

    /// How much of a leader's message is to be taken: whether the copy that it is for has room for its entries, or has some
    /// of them. Then those alone stay in it: the leader may not know that the copy has them, and commit them only once it
    /// does. For want of room the store is to be synced soon, so that logs can be forgotten.
    pub(in crate::node) fn room_for(&mut self, envelope: &mut RaftEnvelope, log_memory_bytes_max: usize) -> Room {
        if envelope.entries.is_empty() {
            return Room::All;
        }
        let replica = self.get(envelope.shard).filter(|replica| replica.id() == envelope.to);
        let Some(replica) = replica else { return Room::All };
        let is_forgotten = is_planted(Planted::KnownEntriesRefused);
        let known = if is_forgotten { 0 } else { replica.known_entries(&envelope.entries) };
        let weight = |entry: &LogEntry| entry.data.len() + entry.context.len() + ENTRY_BYTES;
        let bytes = envelope.entries[known..].iter().map(weight).sum();
        let log = FollowerLog { bytes: replica.log_bytes(), must_go_on: replica.must_go_on(envelope.term) };
        if known == envelope.entries.len() || self.memory.take(log, bytes, log_memory_bytes_max) {
            return Room::All;
        }
        envelope.entries.truncate(known);
        if known > 0 { Room::Known } else { Room::Nothing }
    }

    /// Has the logs of some copies forget what `cut` takes from each.
    pub(super) fn forget(
        &mut self,
        is_meant: impl Fn(&Replica) -> bool,
        cut: impl Fn(&mut Replica) -> Option<LogCut>,
        cuts: &mut Vec<LogCut>,
    ) {
        let mut freed = 0;
        for replica in self.by_shard.values_mut().filter(|replica| is_meant(replica)) {
            let before = replica.log_bytes();
            cuts.extend(cut(replica));
            freed += before - replica.log_bytes();
        }
        self.memory.freed(freed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: usize = 1_000;

    /// Four copies that hold so much together.
    fn memory(log: usize) -> Memory {
        let mut memory = Memory::default();
        memory.measured(Held { log, preimages: 0 }, 4);
        memory
    }

    fn log(bytes: usize) -> FollowerLog {
        FollowerLog { bytes, must_go_on: false }
    }

    #[test]
    fn one_copy_takes_half_of_the_memory_of_all_logs_at_most() {
        assert!(memory(400).take(log(400), 100, ALL));
        assert!(!memory(400).take(log(400), 101, ALL));
        let much = 4 * FOLLOWER_BYTES_MAX;
        assert!(memory(0).take(log(FOLLOWER_BYTES_MAX - 1), 1, much));
        assert!(!memory(0).take(log(FOLLOWER_BYTES_MAX), 1, much));
    }

    #[test]
    fn while_all_logs_together_take_too_much_each_copy_takes_an_equal_part() {
        assert!(memory(950).take(log(300), 50, ALL));
        assert!(!memory(950).take(log(300), 51, ALL));
        assert!(memory(950).take(log(25), 100, ALL));
        assert!(!memory(950).take(log(26), 100, ALL));
    }

    #[test]
    fn what_was_taken_since_the_last_measure_counts() {
        let mut memory = memory(800);
        assert!(memory.take(log(200), 150, ALL));
        assert!(!memory.take(log(200), 150, ALL));
        memory.measured(Held { log: 500, preimages: 0 }, 4);
        assert!(memory.take(log(200), 150, ALL));
    }

    #[test]
    fn a_copy_that_must_go_on_always_takes_the_next_entries() {
        let stored = FollowerLog { bytes: 5 * ALL, must_go_on: true };
        assert!(memory(9 * ALL).take(stored, ALL, ALL));
    }

    #[test]
    fn what_logs_forget_is_free_at_once() {
        let mut memory = memory(300);
        memory.freed(200);
        assert_eq!(memory.held().log, 100);
    }

    #[cfg(feature = "planted")]
    #[test]
    fn a_follower_that_takes_whatever_it_is_sent_is_noticed() {
        crate::planted::plant(Some(Planted::FollowerLogUnbounded));
        let is_taken = memory(400).take(log(400), 101, ALL);
        crate::planted::plant(None);
        assert!(is_taken);
    }
}
