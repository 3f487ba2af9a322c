//! This node's own disk: what its log and its store have to make durable, and how full it is.

use crate::node::log_watch::LogWatch;
use crate::node::repaired::Repaired;
use crate::node::syncs::Syncs;
use crate::planted::{Planted, is_planted};

/// Owner of what waits for the disk, and of what the others are to know of it.
#[derive(Debug)]
pub(super) struct Disk {
    log: LogWatch,
    syncs: Syncs,
    /// `None` = not looked yet.
    is_full: Option<bool>,
    /// Bytes that the store and the log take on disk.
    bytes: u64,
    repaired: Repaired,
    /// True if the store was open when its machine stopped, and may have lost something unnoticed.
    is_store_doubtful: bool,
    /// True if the others do not know yet that it has become full, or has stalled, or is neither any more.
    has_news: bool,
}

impl Disk {
    /// Nothing is known of it but what it holds, and what was taken by repairs. `stall_ticks` = for so long a write of the log
    /// may wait.
    pub(super) fn new(stall_ticks: u64, repaired: Repaired, is_store_doubtful: bool) -> Self {
        let log = LogWatch::new(stall_ticks);
        Self { log, syncs: Syncs::new(), is_full: None, bytes: 0, repaired, is_store_doubtful, has_news: false }
    }

    /// True if the store was open when its machine stopped, and may have lost something unnoticed.
    pub(super) fn is_store_doubtful(&self) -> bool {
        self.is_store_doubtful
    }

    /// The shell has looked at it.
    pub(super) fn seen(&mut self, full: bool, bytes: u64) {
        self.has_news |= self.is_full != Some(full);
        (self.is_full, self.bytes) = (Some(full), bytes);
        if !full {
            self.repaired.begin_anew();
        }
    }

    /// What copies take by repairs while it is nearly full.
    pub(super) fn repaired(&self) -> &Repaired {
        &self.repaired
    }

    /// The same, to be changed.
    pub(super) fn repaired_mut(&mut self) -> &mut Repaired {
        &mut self.repaired
    }

    /// A period has passed. True if it has stalled, or answers again.
    pub(super) fn tick(&mut self) -> bool {
        let has_changed = self.log.tick();
        self.has_news |= has_changed;
        has_changed
    }

    /// True once, if the others are to hear of it at once.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.has_news)
    }

    /// Whether it is nearly full. `None` = not looked yet.
    pub(super) fn is_full(&self) -> Option<bool> {
        self.is_full
    }

    /// What store and log take, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is left of a full disk is for deletes, and one that hangs would hold the node up: no piece of a snapshot is
    /// taken. Its sender waits, and tries again.
    pub(super) fn takes_snapshots(&self) -> bool {
        !self.log.is_behind() && (self.is_full != Some(true) || is_planted(Planted::SnapshotToFullDisk))
    }

    /// The watch over writes to the log that are not durable yet.
    pub(super) fn log(&self) -> &LogWatch {
        &self.log
    }

    /// The watch over writes to the log that are not durable yet, to be changed.
    pub(super) fn log_mut(&mut self) -> &mut LogWatch {
        &mut self.log
    }

    /// The store's syncs: whether one is wanted, and which mark covers what is written now.
    pub(super) fn syncs(&mut self) -> &mut Syncs {
        &mut self.syncs
    }

    /// The mark of the sync that is to begin now, if one is wanted.
    pub(super) fn begin_sync(&mut self) -> Option<u64> {
        let mark = self.syncs.begin()?;
        self.log.syncing(true);
        Some(mark)
    }

    /// The sync with this mark has finished.
    pub(super) fn synced(&mut self, mark: u64) {
        if self.syncs.finished(mark) {
            self.log.syncing(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: u64 = 40;

    fn disk() -> Disk {
        Disk::new(STALL, Repaired::default(), false)
    }

    #[test]
    fn a_disk_that_becomes_full_or_stalls_is_news_once() {
        let mut disk = disk();
        for (full, is_news) in [(false, true), (false, false), (true, true), (true, false), (false, true)] {
            disk.seen(full, 9);
            assert_eq!((disk.take_news(), disk.take_news()), (is_news, false), "full: {full}");
        }
        disk.log_mut().handed(1, Vec::new());
        let stalled_at = (1..100).find(|_| disk.tick());
        assert_eq!(stalled_at, Some(STALL + 1));
        assert_eq!((disk.take_news(), disk.take_news()), (true, false));
    }

    #[test]
    fn repairs_of_a_full_disk_are_counted_until_there_is_room_again() {
        let mut disk = disk();
        let room = disk.repaired().room();
        disk.seen(true, 9);
        disk.repaired_mut().take(5);
        disk.seen(true, 9);
        assert_eq!(disk.repaired().room(), room - 5);
        disk.seen(false, 9);
        assert_eq!(disk.repaired().room(), room);
    }

    #[test]
    fn no_snapshot_comes_to_a_full_disk_or_to_one_that_hangs() {
        let mut disk = disk();
        assert!(disk.takes_snapshots(), "unknown is not full");
        disk.seen(true, 9);
        assert!(!disk.takes_snapshots());
        disk.seen(false, 9);
        disk.log_mut().handed(1, Vec::new());
        assert!(disk.takes_snapshots());
        for _ in 0..=STALL {
            disk.tick();
        }
        assert!(!disk.takes_snapshots());
        assert!(disk.log_mut().durable(1).is_some() && disk.takes_snapshots());
    }

    #[test]
    fn a_sync_counts_as_a_wait_until_it_has_finished() {
        let mut disk = disk();
        assert_eq!(disk.begin_sync(), None, "none is wanted");
        disk.syncs().want();
        let mark = disk.begin_sync().expect("one is wanted");
        for _ in 0..1_000 {
            disk.tick();
        }
        assert!(disk.log().is_stalled() && !disk.takes_snapshots());
        disk.synced(mark);
        assert!(disk.takes_snapshots());
    }
}
