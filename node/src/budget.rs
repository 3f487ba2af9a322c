//! The node's one budget of bytes: what it holds in memory for clients, for copies that lag and for running snapshots.
//!
//! Who takes something in asks for its bytes first and gives them back by dropping the permit. What the core holds is
//! told by its measure, and counts as well. The store's cache has a setting of its own. Counters only: nobody waits.

mod limit;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub use self::limit::{BUDGET_BYTES_MAX, BUDGET_BYTES_MIN, default_bytes};

/// A client that is refused for want of memory is told to come back after this long: what is in hand is answered within
/// a few syncs of the log.
pub const RETRY_AFTER: Duration = Duration::from_millis(100);

/// All frames to other nodes together may take this part of the node's memory budget, an eighth, and all from them as
/// much. Then a stream that has something waiting takes no more but what has no size, such as heartbeats; one that is
/// empty does, so that no healthy peer is held up by a slow one.
pub(crate) const PEERS_PART: usize = 8;

/// What memory is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Requests of clients that are not answered yet.
    Requests,
    /// Answers that their clients have not taken yet.
    Answers,
    /// Frames that came from other nodes.
    Peers,
    /// Frames that wait to be sent to other nodes.
    Outgoing,
    /// Entries of the log, for copies that lag. Measured by the core.
    Log,
    /// What running snapshots keep of records that were overwritten. Measured by the core.
    Preimages,
}

impl Kind {
    /// All of them, as metrics name them.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Requests, "requests"),
        (Self::Answers, "answers"),
        (Self::Peers, "peers"),
        (Self::Outgoing, "outgoing"),
        (Self::Log, "log"),
        (Self::Preimages, "preimages"),
    ];
}

/// How much of the budget something may fill, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Share {
    /// Three quarters: whatever brings new values.
    Most,
    /// All of it: reads, which find the last quarter free of puts.
    All,
    /// A quarter more: deletes, which are small, and by which room is made.
    More,
    /// Whatever is in use: what operators and joining nodes ask. It is little, rare, and may be what ends the shortage.
    Always,
}

/// Bytes that the whole node may hold for others, and how many each kind holds now. All threads share it, without a lock.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
    kinds: [AtomicUsize; Kind::ALL.len()],
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0), kinds: Default::default() })
    }

    /// Bytes of the whole budget.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes in use. May be above the limit for a moment: what was taken in already is never given up.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes in use by one kind.
    pub fn used_by(&self, kind: Kind) -> usize {
        self.kinds[kind as usize].load(Ordering::Relaxed)
    }

    /// Bytes that are not in use.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.used())
    }

    /// Takes bytes. `None` = there is no room for them; nothing was taken. Zero bytes always find room.
    pub fn acquire(self: &Arc<Self>, kind: Kind, bytes: usize, share: Share) -> Option<Permit> {
        let ceiling = match share {
            Share::Most => self.limit / 4 * 3,
            Share::All => self.limit,
            Share::More => self.limit.saturating_add(self.limit / 4),
            Share::Always => usize::MAX,
        };
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        if bytes > 0 && before.saturating_add(bytes) > ceiling {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return None;
        }
        self.kinds[kind as usize].fetch_add(bytes, Ordering::Relaxed);
        Some(Permit { budget: self.clone(), kind, bytes })
    }

    /// Counts bytes that are there already, whatever room there is.
    pub fn charge(self: &Arc<Self>, kind: Kind, bytes: usize) -> Permit {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.kinds[kind as usize].fetch_add(bytes, Ordering::Relaxed);
        Permit { budget: self.clone(), kind, bytes }
    }

    /// What a kind that is measured takes now. To be told by one thread.
    pub fn measured(&self, kind: Kind, bytes: usize) {
        let before = self.kinds[kind as usize].swap(bytes, Ordering::Relaxed);
        if bytes > before {
            self.used.fetch_add(bytes - before, Ordering::Relaxed);
        } else {
            self.used.fetch_sub(before - bytes, Ordering::Relaxed);
        }
    }

    fn give_back(&self, kind: Kind, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.kinds[kind as usize].fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Bytes of the budget, given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
    kind: Kind,
    bytes: usize,
}

impl Permit {
    /// How many bytes it is for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A part of it, as its own permit; of more than there is, all there is.
    pub fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { budget: self.budget.clone(), kind: self.kind, bytes }
    }

    /// One more of the same budget, for what is there already.
    pub fn another(&self, kind: Kind, bytes: usize) -> Self {
        self.budget.charge(kind, bytes)
    }

    /// Makes two of the same kind one.
    pub fn merge(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.give_back(self.kind, self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_leave_a_quarter_to_reads_and_reads_leave_a_quarter_more_to_deletes() {
        let budget = Budget::new(1_000);
        let puts = budget.acquire(Kind::Requests, 750, Share::Most).unwrap();
        assert!(budget.acquire(Kind::Requests, 1, Share::Most).is_none());
        let reads = budget.acquire(Kind::Requests, 250, Share::All).unwrap();
        assert!(budget.acquire(Kind::Requests, 1, Share::All).is_none());
        let deletes = budget.acquire(Kind::Requests, 250, Share::More).unwrap();
        assert!(budget.acquire(Kind::Requests, 1, Share::More).is_none());
        assert!(budget.acquire(Kind::Requests, 0, Share::Most).is_some());
        assert_eq!((budget.used(), budget.room()), (1_250, 0));
        drop((puts, reads, deletes));
        assert_eq!((budget.used(), budget.used_by(Kind::Requests)), (0, 0));
    }

    #[test]
    fn what_is_refused_takes_nothing_and_what_is_there_is_counted_beyond_the_limit() {
        let budget = Budget::new(100);
        assert!(budget.acquire(Kind::Peers, 101, Share::All).is_none());
        assert_eq!((budget.used(), budget.used_by(Kind::Peers)), (0, 0));
        let answers = budget.charge(Kind::Answers, 150);
        assert_eq!((budget.used_by(Kind::Answers), budget.room()), (150, 0));
        assert!(budget.acquire(Kind::Requests, 1, Share::All).is_none());
        drop(answers);
        assert!(budget.acquire(Kind::Requests, 1, Share::All).is_some());
    }

    #[test]
    fn parts_of_a_permit_are_given_back_one_by_one() {
        let budget = Budget::new(100);
        let mut whole = budget.charge(Kind::Requests, 60);
        let part = whole.split(20);
        let rest = whole.split(1_000);
        assert_eq!((whole.bytes(), part.bytes(), rest.bytes()), (0, 20, 40));
        drop(rest);
        assert_eq!(budget.used(), 20);
        whole.merge(part);
        assert_eq!((whole.bytes(), budget.used()), (20, 20));
        drop(whole);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_measured_kind_counts_as_it_was_measured_last() {
        let budget = Budget::new(100);
        for bytes in [40, 90, 10] {
            budget.measured(Kind::Log, bytes);
            assert_eq!((budget.used(), budget.used_by(Kind::Log)), (bytes, bytes));
        }
    }
}
