//! Checks per key what clients saw: nothing acknowledged is lost, no linearizable read is stale, no write takes effect
//! twice.
//!
//! Every acknowledged write returns a version, and versions of one key rise in the order in which its writes took
//! effect. So it is enough to hold times against versions, which is linear in the length of the history. A write whose
//! outcome is unknown is placed once a read returns its value; values are unique. All writes of one shard have versions
//! of their own, so several keys of a shard can be held against one another: a page of a scan is one read of all its
//! keys, and of a batch of writes all is seen or nothing.

mod batch;
mod check;
mod local;
mod page;
mod quorum;

use std::collections::BTreeMap;

use crate::time::Version;

pub use batch::{Batch, Change};
pub use local::LocalRead;
pub use page::{Page, Shown};
pub use quorum::{Clocks, Promise, QuorumHistory, QuorumRead, QuorumViolation, QuorumWrite, ReadKind, Rule};

use check::{Noted, What};

/// What a client did to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Set the key to a value that no other write of the key sets. `None` = deleted it.
    Write {
        /// The value that was written. `None` = the key was deleted.
        value: Option<u64>,
        /// The write was conditional on this version. `Some(None)` = on there being no record.
        expected: Option<Option<Version>>,
        /// Whether the write took effect, as the client knows.
        outcome: WriteOutcome,
    },
    /// Read the key by a linearizable read.
    Read {
        /// Version and value. `None` = absent.
        found: Option<(Version, u64)>,
    },
}

/// Whether a write took effect, as the client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It took effect, at this version.
    Acknowledged(Version),
    /// It did not, and never will.
    Failed,
    /// It may have, or may yet.
    Unknown,
}

/// One operation of one client on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// When the client sent it, on one clock for the whole history.
    pub invoked: u64,
    /// When the client had the answer. Ignored for a write of unknown outcome.
    pub returned: u64,
    /// What the client did.
    pub action: Action,
}

/// All operations of all clients of one run, to be checked against each other.
#[derive(Debug, Clone, Default)]
pub struct History {
    keys: BTreeMap<Vec<u8>, Vec<Noted>>,
    /// Values of the batches with an unknown outcome.
    unknown: Vec<Vec<u64>>,
    pages: Vec<Page>,
    locals: Vec<LocalRead>,
    /// Writes whose versions are not above what their clients knew of: that, and their own.
    uncaused: Vec<(Version, Version)>,
}

/// What cannot have happened in a correct database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Two writes in order of time, but not of version.
    #[error(
        "key {key:?}: a write acknowledged at {earlier} before another was sent has a version not below its {later}"
    )]
    Disorder {
        /// Key that both writes changed.
        key: Vec<u8>,
        /// Version of the earlier write.
        earlier: Version,
        /// Version of the later write.
        later: Version,
    },
    /// A read missed what was acknowledged or read before it was sent.
    #[error("key {key:?}: a read at {at} found {found:?}, though {expected} was known before")]
    StaleRead {
        /// Key that was read.
        key: Vec<u8>,
        /// When the client sent the read.
        at: u64,
        /// What it found. `None` = absent.
        found: Option<Version>,
        /// What it had to find, at least.
        expected: Version,
    },
    /// A read found what nobody wrote, or wrote at another version, or only later.
    #[error("key {key:?}: a read at {at} found value {value} at {version}, which no write explains")]
    Phantom {
        /// Key that was read.
        key: Vec<u8>,
        /// When the client sent the read.
        at: u64,
        /// The value that the read found.
        value: u64,
        /// Version at which the read found the value.
        version: Version,
    },
    /// One write is seen at two versions.
    #[error("key {key:?}: value {value} took effect at {first} and again at {second}")]
    AppliedTwice {
        /// Key that was written.
        key: Vec<u8>,
        /// The value that was written.
        value: u64,
        /// One of the two versions at which the write was seen.
        first: Version,
        /// The other version at which the write was seen.
        second: Version,
    },
    /// A page shows keys as they never were together.
    #[error("a page read at {at} shows key {key:?} at {version}, but key {other:?} as it was only from {until} on")]
    TornPage {
        /// When the client sent the read of the page.
        at: u64,
        /// The key that the page shows at an older version.
        key: Vec<u8>,
        /// Version at which the page shows the older key. 0 = the page shows no record of it.
        version: Version,
        /// The key that the page shows at a newer version.
        other: Vec<u8>,
        /// Version at which the page shows the newer key: before it the key was not as shown.
        until: Version,
    },
    /// A record that had expired was found.
    #[error("key {key:?}: a read at {at} found version {version}, which had expired")]
    Expired {
        /// Key that was read.
        key: Vec<u8>,
        /// When the client sent the read.
        at: u64,
        /// Version of the expired record that was found.
        version: Version,
    },
    /// A copy showed an older record than before.
    #[error("key {key:?}: copy {copy} showed {later} and then {earlier}")]
    WentBack {
        /// Key whose record went back.
        key: Vec<u8>,
        /// The copy that showed both records. Names the process that served the reads, as [`LocalRead::copy`] does.
        copy: u64,
        /// Version of the record that the copy showed first.
        later: Version,
        /// Version of the older record, which it showed afterwards.
        earlier: Version,
    },
    /// A write has a version that is not above what had caused it.
    #[error("a write that was caused by version {cause} took effect at {version}")]
    EffectBeforeCause {
        /// The highest version that its client knew of.
        cause: Version,
        /// Version at which the write itself took effect.
        version: Version,
    },
    /// A conditional write took effect although another write came between.
    #[error("key {key:?}: a write conditional on {expected:?} took effect at {version}, past another at {between}")]
    LostCondition {
        /// Key that was written.
        key: Vec<u8>,
        /// The condition. `None` = absent.
        expected: Option<Version>,
        /// Version of the conditional write.
        version: Version,
        /// Version of the write that came between.
        between: Version,
    },
}

/// How many keys and operations a history holds, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Number of different keys with at least one operation.
    pub keys: usize,
    /// Number of writes that were acknowledged.
    pub acknowledged: usize,
    /// Number of writes of unknown outcome.
    pub unknown: usize,
    /// Number of linearizable reads.
    pub reads: usize,
}

impl History {
    /// Adds an operation, in any order.
    pub fn record(&mut self, key: &[u8], operation: Operation) {
        let Operation { invoked, returned, action } = operation;
        let what = match action {
            Action::Write { value, expected, outcome } => What::Write { value, expected, outcome },
            Action::Read { found } => What::Read { found: found.map(|(version, value)| (version, Some(value))) },
        };
        self.note(key, Noted::new(invoked, returned, what));
    }

    /// Adds a linearizable read, in a database whose records expire: `walls` = the earliest and the latest that a clock
    /// can have shown to whoever served it, in milliseconds. Of a condition that failed only the version is known.
    pub fn record_read(
        &mut self,
        key: &[u8],
        (invoked, returned): (u64, u64),
        found: Option<(Version, Option<u64>)>,
        walls: (u64, u64),
    ) {
        self.note(key, Noted { walls: Some(walls), ..Noted::new(invoked, returned, What::Read { found }) });
    }

    fn note(&mut self, key: &[u8], noted: Noted) {
        match self.keys.get_mut(key) {
            Some(all) => all.push(noted),
            None => drop(self.keys.insert(key.to_vec(), vec![noted])),
        }
    }

    /// Adds the operations of another client's history to this one.
    pub fn merge(&mut self, other: Self) {
        let before = self.unknown.len();
        for (key, mut noted) in other.keys {
            noted.iter_mut().for_each(|n| n.batch = n.batch.map(|batch| batch + before));
            self.keys.entry(key).or_default().extend(noted);
        }
        self.unknown.extend(other.unknown);
        self.pages.extend(other.pages);
        self.locals.extend(other.locals);
    }

    /// Every key that has at least one operation.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.keys().map(Vec::as_slice)
    }

    /// Counts the history's keys and operations.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { keys: self.keys.len(), ..Counts::default() };
        for operation in self.keys.values().flatten() {
            match &operation.what {
                What::Read { .. } => counts.reads += 1,
                What::Write { outcome: WriteOutcome::Acknowledged(_), .. } => counts.acknowledged += 1,
                What::Write { outcome: WriteOutcome::Unknown, .. } => counts.unknown += 1,
                What::Write { outcome: WriteOutcome::Failed, .. } | What::Held { .. } => {}
            }
        }
        counts
    }

    /// Everything that cannot have happened. Empty = the history is correct. A write is lost if a later read misses it,
    /// so end a history with a read of every key.
    pub fn check(&self) -> Vec<Violation> {
        let (resolved, mut violations) = (self.resolve(), Vec::new());
        let mut placed = BTreeMap::new();
        for (key, noted) in &self.keys {
            placed.insert(&key[..], check::check(key, noted, &resolved, &mut violations));
        }
        self.pages.iter().for_each(|page| page.check(&placed, &mut violations));
        local::check(&self.locals, &mut violations);
        let uncaused = self.uncaused.iter().map(|(cause, version)| (*cause, *version));
        violations.extend(uncaused.map(|(cause, version)| Violation::EffectBeforeCause { cause, version }));
        violations
    }
}

#[cfg(test)]
mod tests;
