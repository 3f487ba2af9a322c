//! The log's writes that are not durable yet, the store's sync that runs, and whether the disk has stalled: whether the
//! oldest write or the sync has waited for too long. A disk that hangs fails nothing, so nobody is told; only the wait
//! shows it.
//!
//! Counted in ticks of this process: a process that is paused counts none, and does not take its own pause for the disk's.
//! A stall ends only when the disk has kept up for a while, and for twice as long each time that it soon comes back: disks
//! that are slow at all times must not send leaderships round in circles. Compare etcd#15247, hashicorp/raft#503.

use std::collections::VecDeque;

use crate::ids::ShardId;
use crate::planted::{Planted, is_planted};
use crate::time::TICK_MS;

/// The disk must keep up for so long before a first stall is over: two seconds.
const CALM_TICKS: u64 = 2_000 / TICK_MS;
/// The same at most, after stall upon stall: five minutes.
const CALM_TICKS_MAX: u64 = 300_000 / TICK_MS;
/// A stall within so long after the last one, a minute, is the same trouble come back.
const RELAPSE_TICKS: u64 = 60_000 / TICK_MS;
/// A sync of the store may take so many times as long as a write of the log: it brings everything to disk that was written
/// since the one before, and nothing waits for it but the log's space.
const SYNC_STALLS: u64 = 5;
/// With so many batches that wait behind a stalled write, entries of leaders elsewhere are not taken: they would only
/// fill memory. They are sent again.
const BATCHES_MAX: usize = 64;
/// With so many, writes of clients are not taken either: half of what the log's queue holds, since whoever waits for a
/// place in it neither answers nor is heard of.
const CLIENTS_BATCHES_MAX: usize = 2_048;

/// Owner of what was handed to the log and is not durable.
#[derive(Debug)]
pub(super) struct LogWatch {
    /// Sequence of the last batch that was handed out.
    sequence: u64,
    tick: u64,
    /// Ticks for which a write may wait.
    stall_ticks: u64,
    waiting: VecDeque<Handed>,
    /// When the store's sync under way began.
    syncing_since: Option<u64>,
    stall: Option<Stall>,
    /// For how long the disk must keep up before the stall is over, or had to before the last one was.
    calm_ticks: u64,
    /// When the last stall was over.
    over_at: Option<u64>,
}

/// A log batch that was handed to the log and is not durable yet.
#[derive(Debug)]
struct Handed {
    sequence: u64,
    at: u64,
    shards: Vec<ShardId>,
}

/// A stall that is not over.
#[derive(Debug)]
struct Stall {
    /// The last tick in which a write had waited for too long.
    behind_at: u64,
}

impl LogWatch {
    /// Nothing was handed out yet. `stall_ticks` = for so long a write may wait.
    pub(super) fn new(stall_ticks: u64) -> Self {
        Self {
            sequence: 0,
            tick: 0,
            stall_ticks,
            waiting: VecDeque::new(),
            syncing_since: None,
            stall: None,
            calm_ticks: CALM_TICKS,
            over_at: None,
        }
    }

    /// Sequence of the next log batch.
    pub(super) fn next_sequence(&self) -> u64 {
        self.sequence + 1
    }

    /// A batch goes to the log, with writes of these shards.
    pub(super) fn handed(&mut self, sequence: u64, shards: Vec<ShardId>) {
        self.sequence = sequence;
        self.waiting.push_back(Handed { sequence, at: self.tick, shards });
    }

    /// Takes out a batch of this or a lower sequence: it is durable. `None` = there is no other.
    pub(super) fn durable(&mut self, sequence: u64) -> Option<Vec<ShardId>> {
        self.waiting.pop_front_if(|handed| handed.sequence <= sequence).map(|handed| handed.shards)
    }

    /// The store begins to sync, or has done it.
    pub(super) fn syncing(&mut self, is_under_way: bool) {
        self.syncing_since = is_under_way.then_some(self.tick);
    }

    /// A period has passed. True if a stall has begun or is over.
    pub(super) fn tick(&mut self) -> bool {
        self.tick += 1;
        let (tick, is_behind) = (self.tick, self.is_behind());
        match &mut self.stall {
            Some(stall) if is_behind => stall.behind_at = tick,
            Some(stall) if tick - stall.behind_at >= self.calm_ticks => {
                (self.stall, self.over_at) = (None, Some(tick));
                return true;
            }
            None if is_behind => {
                let is_relapse = self.over_at.is_some_and(|over| tick - over <= RELAPSE_TICKS);
                self.calm_ticks = if is_relapse { (2 * self.calm_ticks).min(CALM_TICKS_MAX) } else { CALM_TICKS };
                self.stall = Some(Stall { behind_at: tick });
                return true;
            }
            Some(_) | None => {}
        }
        false
    }

    /// True from the first write or sync that waits for too long until the disk has kept up for a while.
    pub(super) fn is_stalled(&self) -> bool {
        self.stall.is_some()
    }

    /// For how long the oldest write that is not durable has waited, or the sync if that is what waits for too long, in
    /// milliseconds.
    pub(super) fn oldest_ms(&self) -> u64 {
        let ticks = if self.is_sync_behind() { self.sync_ticks() } else { 0 };
        ticks.max(self.oldest_ticks()) * TICK_MS
    }

    /// True while the oldest write or the sync has waited for too long.
    pub(super) fn is_behind(&self) -> bool {
        self.is_write_behind() || self.is_sync_behind()
    }

    /// True while so much waits behind a stalled write that nothing should be added.
    pub(super) fn is_overfull(&self) -> bool {
        self.waiting.len() >= BATCHES_MAX && self.is_write_behind()
    }

    /// True while so many batches wait behind a stalled write that clients must not add to them.
    pub(super) fn is_glutted(&self) -> bool {
        self.waiting.len() >= CLIENTS_BATCHES_MAX && self.is_write_behind()
    }

    fn is_write_behind(&self) -> bool {
        self.oldest_ticks() > self.stall_ticks
    }

    fn is_sync_behind(&self) -> bool {
        self.sync_ticks() > SYNC_STALLS * self.stall_ticks && !is_planted(Planted::HungStoreUnnoticed)
    }

    fn sync_ticks(&self) -> u64 {
        self.syncing_since.map_or(0, |since| self.tick - since)
    }

    fn oldest_ticks(&self) -> u64 {
        self.waiting.front().map_or(0, |handed| self.tick - handed.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: u64 = 40;

    /// Ticks until the watch says otherwise than before.
    fn until_change(log: &mut LogWatch) -> u64 {
        (1..100_000).find(|_| log.tick()).expect("it changes")
    }

    /// A write takes so many ticks.
    fn write(log: &mut LogWatch, sequence: u64, ticks: u64) {
        log.handed(sequence, vec![ShardId(7)]);
        for _ in 0..ticks {
            log.tick();
        }
        assert_eq!(log.durable(sequence), Some(vec![ShardId(7)]));
        assert_eq!(log.durable(sequence), None);
    }

    #[test]
    fn a_write_that_waits_too_long_is_a_stall_that_is_over_once_the_disk_has_kept_up() {
        let mut log = LogWatch::new(STALL);
        write(&mut log, 1, STALL);
        assert!(!log.is_stalled());
        log.handed(2, Vec::new());
        assert_eq!(until_change(&mut log), STALL + 1);
        assert!(log.is_stalled() && log.is_behind());
        assert_eq!(log.oldest_ms(), (STALL + 1) * TICK_MS);
        assert!(log.durable(2).is_some() && !log.is_behind() && log.is_stalled());
        assert_eq!(until_change(&mut log), CALM_TICKS);
        assert!(!log.is_stalled());
    }

    #[test]
    fn a_sync_of_the_store_that_runs_five_times_as_long_is_a_stall_until_it_ends() {
        let mut log = LogWatch::new(STALL);
        log.syncing(true);
        for sequence in 0..SYNC_STALLS {
            write(&mut log, sequence, STALL);
        }
        assert!(!log.is_stalled(), "it has much to do");
        assert!(log.tick() && log.is_stalled() && log.is_behind());
        assert_eq!(log.oldest_ms(), (SYNC_STALLS * STALL + 1) * TICK_MS);
        (0..BATCHES_MAX as u64).for_each(|sequence| log.handed(sequence, Vec::new()));
        assert!(!log.is_overfull(), "the log takes what it is given");
        assert!(log.durable(BATCHES_MAX as u64).is_some());
        log.syncing(false);
        assert!(log.is_stalled() && !log.is_behind());
    }

    #[test]
    fn a_disk_that_stalls_again_and_again_is_trusted_ever_later_and_never_later_than_five_minutes() {
        let mut log = LogWatch::new(STALL);
        let mut calm = Vec::new();
        for sequence in 0..12 {
            write(&mut log, sequence, STALL + 5);
            // What came after the last tick in which it was behind.
            calm.push(until_change(&mut log));
        }
        assert_eq!(calm[..3], [CALM_TICKS, 2 * CALM_TICKS, 4 * CALM_TICKS]);
        assert_eq!(calm.last(), Some(&CALM_TICKS_MAX));
        for _ in 0..=RELAPSE_TICKS {
            log.tick();
        }
        write(&mut log, 99, STALL + 5);
        assert_eq!(until_change(&mut log), CALM_TICKS, "that was long ago");
    }

    #[test]
    fn what_waits_behind_a_stalled_write_is_bounded() {
        let mut log = LogWatch::new(STALL);
        for sequence in 0..BATCHES_MAX as u64 {
            assert!(!log.is_overfull());
            log.handed(sequence, Vec::new());
        }
        assert!(!log.is_overfull(), "the disk may be about to take them all");
        until_change(&mut log);
        assert!(log.is_overfull());
        assert!(log.durable(0).is_some() && !log.is_overfull());
    }
}
