//! Checks per key what clients saw: nothing acknowledged is lost, no linearizable read is stale, no write takes effect
//! twice.
//!
//! Every acknowledged write returns a version, and versions of one key rise in the order in which its writes took
//! effect. So it is enough to hold times against versions, which is linear in the length of the history. A write whose
//! outcome is unknown is placed once a read returns its value; values are unique.

mod check;

use std::collections::BTreeMap;

use crate::time::Version;

/// What a client did to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Set the key to a value that no other write of the key sets. `None` = deleted it.
    Write {
        /// What was written.
        value: Option<u64>,
        /// The write was conditional on this version. `Some(None)` = on there being no record.
        expected: Option<Option<Version>>,
        /// What became of it.
        outcome: WriteOutcome,
    },
    /// Read the key, linearizably.
    Read {
        /// Version and value. `None` = absent.
        found: Option<(Version, u64)>,
    },
}

/// What became of a write.
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
    /// What it was.
    pub action: Action,
}

/// Everything that clients did, by key.
#[derive(Debug, Clone, Default)]
pub struct History {
    keys: BTreeMap<Vec<u8>, Vec<Operation>>,
}

/// What cannot have happened in a correct database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Two writes in order of time, but not of version.
    #[error(
        "key {key:?}: a write acknowledged at {earlier} before another was sent has a version not below its {later}"
    )]
    Disorder {
        /// Which key.
        key: Vec<u8>,
        /// Version of the earlier write.
        earlier: Version,
        /// Version of the later one.
        later: Version,
    },
    /// A read missed what was acknowledged or read before it was sent.
    #[error("key {key:?}: a read at {at} found {found:?}, though {expected} was known before")]
    StaleRead {
        /// Which key.
        key: Vec<u8>,
        /// When the read was sent.
        at: u64,
        /// What it found. `None` = absent.
        found: Option<Version>,
        /// What it had to find, at least.
        expected: Version,
    },
    /// A read found what nobody wrote, or wrote at another version, or only later.
    #[error("key {key:?}: a read at {at} found value {value} at {version}, which no write explains")]
    Phantom {
        /// Which key.
        key: Vec<u8>,
        /// When the read was sent.
        at: u64,
        /// What it found.
        value: u64,
        /// At which version.
        version: Version,
    },
    /// One write is seen at two versions.
    #[error("key {key:?}: value {value} took effect at {first} and again at {second}")]
    AppliedTwice {
        /// Which key.
        key: Vec<u8>,
        /// What was written.
        value: u64,
        /// Once.
        first: Version,
        /// And again.
        second: Version,
    },
    /// A conditional write took effect although another write came between.
    #[error("key {key:?}: a write conditional on {expected:?} took effect at {version}, past another at {between}")]
    LostCondition {
        /// Which key.
        key: Vec<u8>,
        /// The condition. `None` = absent.
        expected: Option<Version>,
        /// Of the conditional write.
        version: Version,
        /// Of the write between.
        between: Version,
    },
}

/// What a history holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Keys touched.
    pub keys: usize,
    /// Writes acknowledged.
    pub acknowledged: usize,
    /// Writes of unknown outcome.
    pub unknown: usize,
    /// Linearizable reads.
    pub reads: usize,
}

impl History {
    /// Adds an operation, in any order.
    pub fn record(&mut self, key: &[u8], operation: Operation) {
        match self.keys.get_mut(key) {
            Some(operations) => operations.push(operation),
            None => drop(self.keys.insert(key.to_vec(), vec![operation])),
        }
    }

    /// Takes over another client's history.
    pub fn merge(&mut self, other: Self) {
        for (key, operations) in other.keys {
            self.keys.entry(key).or_default().extend(operations);
        }
    }

    /// Every key that was touched.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.keys().map(Vec::as_slice)
    }

    /// What the history holds.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { keys: self.keys.len(), ..Counts::default() };
        for operation in self.keys.values().flatten() {
            match &operation.action {
                Action::Read { .. } => counts.reads += 1,
                Action::Write { outcome: WriteOutcome::Acknowledged(_), .. } => counts.acknowledged += 1,
                Action::Write { outcome: WriteOutcome::Unknown, .. } => counts.unknown += 1,
                Action::Write { outcome: WriteOutcome::Failed, .. } => {}
            }
        }
        counts
    }

    /// Everything that cannot have happened. Empty = the history is correct. A write is lost if a later read misses it,
    /// so end a history with a read of every key.
    pub fn check(&self) -> Vec<Violation> {
        self.keys.iter().flat_map(|(key, operations)| check::check(key, operations)).collect()
    }
}

#[cfg(test)]
mod tests;
