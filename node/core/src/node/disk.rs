//! This node's own disk: what its log and its store have to make durable, and how full it is.

use crate::node::log_watch::LogWatch;
use crate::node::syncs::Syncs;
use crate::planted::{Planted, is_planted};

/// Bytes that copies of quorum shards take by repairs while the disk is nearly full: much for readers that wait, and little of
/// what is kept for deletes.
const REPAIRED_BYTES_MAX: usize = 16 << 20;

/// Owner of what waits for the disk, and of what the others are to know of it.
#[derive(Debug)]
pub(super) struct Disk {
    log: LogWatch,
    syncs: Syncs,
    /// `None` = not looked yet.
    is_full: Option<bool>,
    /// Bytes that the store and the log take on disk.
    bytes: u64,
    /// Bytes that were taken by repairs since it is nearly full.
    repaired: usize,
    /// True if the others do not know yet that it has become full, or has stalled, or is neither any more.
    has_news: bool,
}

impl Disk {
    /// Nothing is known of it but what it holds. `stall_ticks` = for so long a write of the log may wait.
    pub(super) fn new(stall_ticks: u64) -> Self {
        let log = LogWatch::new(stall_ticks);
        Self { log, syncs: Syncs::new(), is_full: None, bytes: 0, repaired: 0, has_news: false }
    }

    /// The shell has looked at it.
    pub(super) fn seen(&mut self, full: bool, bytes: u64) {
        self.has_news |= self.is_full != Some(full);
        (self.is_full, self.bytes) = (Some(full), bytes);
        self.repaired = if full { self.repaired } else { 0 };
    }

    /// Bytes that may still be taken by repairs while it is nearly full.
    pub(super) fn repair_room(&self) -> usize {
        REPAIRED_BYTES_MAX.saturating_sub(self.repaired)
    }

    /// So many bytes were taken by repairs though it is nearly full.
    pub(super) fn repaired(&mut self, bytes: usize) {
        self.repaired = self.repaired.saturating_add(bytes);
    }

    /// So many of these bytes have turned out to change nothing.
    pub(super) fn not_repaired(&mut self, bytes: usize) {
        self.repaired = self.repaired.saturating_sub(bytes);
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

    #[test]
    fn a_disk_that_becomes_full_or_stalls_is_news_once() {
        let mut disk = Disk::new(STALL);
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
    fn a_full_disk_takes_so_much_by_repairs_until_there_is_room_again() {
        let mut disk = Disk::new(STALL);
        disk.seen(true, 9);
        disk.repaired(REPAIRED_BYTES_MAX - 1);
        disk.seen(true, 9);
        assert_eq!(disk.repair_room(), 1);
        disk.repaired(usize::MAX);
        assert_eq!(disk.repair_room(), 0);
        disk.not_repaired(usize::MAX - 5);
        assert_eq!(disk.repair_room(), REPAIRED_BYTES_MAX - 5);
        disk.seen(false, 9);
        assert_eq!(disk.repair_room(), REPAIRED_BYTES_MAX);
    }

    #[test]
    fn no_snapshot_comes_to_a_full_disk_or_to_one_that_hangs() {
        let mut disk = Disk::new(STALL);
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
        let mut disk = Disk::new(STALL);
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
