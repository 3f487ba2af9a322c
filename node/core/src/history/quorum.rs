//! Checks what clients saw of one quorum table.
//!
//! Several nodes order the writes, so versions do not rise with time, as those of a leader table do. What holds all the
//! same, with values that no two writes share:
//!
//! - a read shows nothing that nobody wrote, or wrote only later;
//! - where the last writer wins, no read shows an older version than was acknowledged or shown before it was sent, and no
//!   value is shown at two versions, however often its write was sent;
//! - a version is its write's: a write that was sent once is acknowledged at its own, and its value is shown at no other. One
//!   that was sent again may be acknowledged at that of a write which came after it ([`last_writer`]);
//! - where the last writer wins, no write is acknowledged below what was known to come before it: what its client was
//!   acknowledged or has given back, and as far as clocks tell what anybody was ([`order`]);
//! - where siblings are kept, a read shows every write that was acknowledged before it was sent, but for those that a
//!   later write has seen and so replaced; and none that was replaced by a write acknowledged before. Of a write that was
//!   sent again, that holds for whoever saw it after it was acknowledged: before, he may have seen one attempt, and not
//!   another.
//!
//! Which reads that is true of W and R say: [`Promise`].

mod last_writer;
mod order;
mod session;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::WriteOutcome;
use crate::record::Stamp;
use crate::time::Version;

pub use order::Clocks;

/// A write of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumWrite {
    /// When the client sent it first.
    pub invoked: u64,
    /// When the client had the answer.
    pub returned: u64,
    /// The value that was written. `None` = the key was deleted.
    pub value: Option<u64>,
    /// Who issued it, above whatever he was acknowledged before. `None` = nobody who does.
    pub client: Option<u64>,
    /// The stamp that it has where it took effect, if that is known: where the last writer wins, its request's own.
    pub own: Option<Stamp>,
    /// The values that its client had been shown, and gave back with it.
    pub seen: BTreeSet<u64>,
    /// When the read was sent that showed them. 0 = it asked fewer than R copies.
    pub seen_at: u64,
    /// Milliseconds since 1970 after which the value is absent. `None` = never.
    pub expires_ms: Option<u64>,
    /// Whether it took effect, as the client knows. Version 0 = at one that nobody has told.
    pub outcome: WriteOutcome,
    /// True if several attempts of it may have taken effect: each may have a version of its own, and the one that was told
    /// need not be the highest. An attempt of which nobody has heard may come at any later time. What this excuses nobody
    /// can check, so it is said only of writes that were really sent so.
    pub is_repeated: bool,
}

/// A read of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumRead {
    /// When the client sent it.
    pub invoked: u64,
    /// When the client had the answer.
    pub returned: u64,
    /// Versions and values that were shown. Empty = absent.
    pub found: Vec<(Version, u64)>,
    /// The latest that a clock can have shown to whoever served it, in milliseconds.
    pub wall_ms: u64,
    /// What it promises.
    pub kind: ReadKind,
}

/// What a read promises by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadKind {
    /// It asks R copies, of the one set that there is: what it shows, enough of them have.
    Settled,
    /// It asks R copies while they change: it sees what was acknowledged, and what it shows besides may be of a set that
    /// later reads do not ask.
    Changing,
    /// It asks fewer copies than R: it shows what was written at some time.
    Lowered,
}

/// What a table's W and R promise to readers, of all that they were while clients used it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// R + W above the number of copies, and R at least W: a read sees what was acknowledged, and what others have seen.
    Monotonic,
    /// R + W above the number of copies: a read sees what was acknowledged.
    Acknowledged,
    /// Copies become equal, and no acknowledged write is lost: reads that are sent from this time on see all.
    AtRest(u64),
}

/// How a table resolves what was written at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The last writer wins.
    LastWriter,
    /// All that nobody has replaced is kept.
    Siblings,
    /// It was edited while clients wrote: nobody can tell by which rule a coordinator has made a write.
    Edited,
}

/// All operations on one quorum table.
#[derive(Debug, Clone, Default)]
pub struct QuorumHistory {
    keys: BTreeMap<Vec<u8>, Key>,
}

#[derive(Debug, Clone, Default)]
struct Key {
    writes: Vec<QuorumWrite>,
    reads: Vec<QuorumRead>,
}

/// What cannot have happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuorumViolation {
    /// A read shows what no write explains.
    #[error("quorum key {key:?}: a read at {at} shows value {value} at {version}, which no write explains")]
    Phantom {
        /// Key that was read.
        key: Vec<u8>,
        /// When the client sent the read.
        at: u64,
        /// The value that was shown.
        value: u64,
        /// The version at which the read shows it.
        version: Version,
    },
    /// A read shows an older version than was known before.
    #[error("quorum key {key:?}: a read at {at} shows {found:?}, though a later write was known before, at {expected}")]
    Stale {
        /// Key that was read.
        key: Vec<u8>,
        /// When the client sent the read.
        at: u64,
        /// What it shows. `None` = absent.
        found: Option<Version>,
        /// What was acknowledged or shown before.
        expected: Version,
    },
    /// A write has taken effect twice.
    #[error("quorum key {key:?}: value {value} is shown at {versions:?}, and was written once")]
    Twice {
        /// Key that was read.
        key: Vec<u8>,
        /// The value that was shown.
        value: u64,
        /// The versions at which reads show it.
        versions: BTreeSet<Version>,
    },
    /// A read shows a value at the version of another write.
    #[error("quorum key {key:?}: a read at {at} shows value {value} at {version}, though its write is at {own}")]
    Misplaced {
        /// Key that was read.
        key: Vec<u8>,
        /// When the client sent the read.
        at: u64,
        /// The value that was shown.
        value: u64,
        /// The version at which the read shows it.
        version: Version,
        /// The version of its write, or where that was sent again the highest that it may have.
        own: Version,
    },
    /// A write was acknowledged at a version that is not its own, and that nothing explains.
    #[error(
        "quorum key {key:?}: a write at {at} is at {own}, and was acknowledged at {version}, which is not explained"
    )]
    NotItsOwn {
        /// Key that was written.
        key: Vec<u8>,
        /// When the client sent the write.
        at: u64,
        /// The version at which it was acknowledged.
        version: Version,
        /// The version that it has by its request.
        own: Version,
    },
    /// A write was acknowledged, and what was known to come before it has replaced it.
    #[error(
        "quorum key {key:?}: a write at {at} was acknowledged at {version}, below {expected}, which was known before"
    )]
    Overtaken {
        /// Key that was written.
        key: Vec<u8>,
        /// When the client sent the write.
        at: u64,
        /// The version at which it was acknowledged.
        version: Version,
        /// The version of what comes before it.
        expected: Version,
    },
    /// A read misses a write that nobody had replaced.
    #[error("quorum key {key:?}: a read at {at} misses value {value}, which was acknowledged before and not replaced")]
    Lost {
        /// Key that was read.
        key: Vec<u8>,
        /// When the client sent the read.
        at: u64,
        /// The value that is missing.
        value: u64,
    },
    /// A read shows a write that was replaced before.
    #[error("quorum key {key:?}: a read at {at} shows value {value}, which was replaced before")]
    Returned {
        /// Key that was read.
        key: Vec<u8>,
        /// When the client sent the read.
        at: u64,
        /// The value that is back.
        value: u64,
    },
}

impl QuorumHistory {
    /// Adds a write.
    pub fn record_write(&mut self, key: &[u8], write: QuorumWrite) {
        self.of(key).writes.push(write);
    }

    /// Adds a read.
    pub fn record_read(&mut self, key: &[u8], read: QuorumRead) {
        self.of(key).reads.push(read);
    }

    fn of(&mut self, key: &[u8]) -> &mut Key {
        self.keys.entry(key.to_vec()).or_default()
    }

    /// Acknowledged writes, and reads.
    pub fn counts(&self) -> (usize, usize) {
        let is_acknowledged = |write: &&QuorumWrite| matches!(write.outcome, WriteOutcome::Acknowledged(_));
        self.keys.values().fold((0, 0), |(writes, reads), key| {
            (writes + key.writes.iter().filter(is_acknowledged).count(), reads + key.reads.len())
        })
    }

    /// Everything that cannot have happened.
    pub fn check(&self, rule: Rule, promise: Promise) -> Vec<QuorumViolation> {
        let check = |(name, key): (&Vec<u8>, &Key)| {
            let mut violations = key.phantoms(name);
            match rule {
                Rule::LastWriter => key.last_writer(name, promise, &mut violations),
                Rule::Siblings => key.siblings(name, promise, &mut violations),
                Rule::Edited => return violations,
            }
            violations.extend(key.twice(name, rule));
            violations.extend(key.misplaced(name, rule));
            violations
        };
        self.keys.iter().flat_map(check).collect()
    }
}

impl Promise {
    /// From when on reads see what was acknowledged.
    fn since(self) -> u64 {
        match self {
            Self::Monotonic | Self::Acknowledged => 0,
            Self::AtRest(since) => since,
        }
    }
}

impl QuorumRead {
    /// True if it must show what was acknowledged before it was sent.
    fn is_bound(&self, promise: Promise) -> bool {
        self.invoked >= promise.since() && self.kind != ReadKind::Lowered
    }
}

impl QuorumWrite {
    fn is_acknowledged(&self) -> bool {
        self.acknowledged().is_some()
    }

    /// The version that was told. 0 = it took effect at one that nobody has told. `None` = no answer tells that it did.
    fn acknowledged(&self) -> Option<Version> {
        match self.outcome {
            WriteOutcome::Acknowledged(version) => Some(version),
            WriteOutcome::Failed | WriteOutcome::Unknown => None,
        }
    }

    /// The version that it has if it took effect, as far as the client can know.
    fn version(&self) -> Option<Version> {
        let told = self.acknowledged().filter(|version| *version > Version::default() && !self.is_repeated);
        self.own.map(|own| own.version).or(told)
    }
}

/// When writes that have seen a value, and so replace it, may have been done at the earliest, and were at the latest.
#[derive(Debug, Clone, Copy)]
struct Replaced {
    from: u64,
    by: u64,
}

impl Key {
    fn phantoms(&self, name: &[u8]) -> Vec<QuorumViolation> {
        let mut violations = Vec::new();
        let may_be_done = self.writes.iter().filter(|write| write.outcome != WriteOutcome::Failed);
        let mut written: BTreeMap<u64, u64> = BTreeMap::new();
        for (value, write) in may_be_done.filter_map(|write| Some((write.value?, write))) {
            let first = written.entry(value).or_insert(write.invoked);
            *first = write.invoked.min(*first);
        }
        for read in &self.reads {
            let explained = |value: &u64| written.get(value).is_some_and(|first| *first <= read.returned);
            let phantoms = read.found.iter().filter(|(_, value)| !explained(value));
            violations.extend(phantoms.map(|&(version, value)| {
                let (key, at) = (name.to_vec(), read.invoked);
                QuorumViolation::Phantom { key, at, value, version }
            }));
        }
        violations
    }

    /// What was replaced, by value.
    fn replaced(&self, promise: Promise) -> BTreeMap<u64, Replaced> {
        let mut replaced: BTreeMap<u64, Replaced> = BTreeMap::new();
        let repeated = self.writes.iter().filter(|write| write.is_repeated);
        let acknowledged = |write: &QuorumWrite| if write.is_acknowledged() { write.returned } else { u64::MAX };
        let repeated = repeated.filter_map(|write| Some((write.value?, acknowledged(write))));
        let repeated: BTreeMap<u64, u64> = repeated.collect();
        // Whoever saw one attempt of a write need not have seen the last one, before that was acknowledged.
        let is_whole = |value: &u64, seen_at: u64| {
            let is_read = seen_at >= promise.since();
            repeated.get(value).is_none_or(|acknowledged| is_read && *acknowledged < seen_at)
        };
        for write in self.writes.iter().filter(|write| write.outcome != WriteOutcome::Failed) {
            for value in &write.seen {
                let known = replaced.entry(*value).or_insert(Replaced { from: u64::MAX, by: u64::MAX });
                known.from = known.from.min(write.invoked);
                let is_for_good = write.is_acknowledged() && is_whole(value, write.seen_at);
                known.by = if is_for_good { known.by.min(write.returned) } else { known.by };
            }
        }
        replaced
    }

    fn siblings(&self, name: &[u8], promise: Promise, violations: &mut Vec<QuorumViolation>) {
        let replaced = self.replaced(promise);
        let replaced = |value: u64| replaced.get(&value).copied().unwrap_or(Replaced { from: u64::MAX, by: u64::MAX });
        let done = self.writes.iter().filter(|write| write.is_acknowledged());
        let done: Vec<(u64, &QuorumWrite)> = done.filter_map(|write| Some((write.value?, write))).collect();
        for read in self.reads.iter().filter(|read| read.is_bound(promise)) {
            let shown: BTreeSet<u64> = read.found.iter().map(|(_, value)| *value).collect();
            for &(value, write) in &done {
                let is_due = write.returned < read.invoked && replaced(value).from > read.returned;
                let has_ended = || write.expires_ms.is_some_and(|at| at <= read.wall_ms);
                if is_due && !shown.contains(&value) && !has_ended() {
                    violations.push(QuorumViolation::Lost { key: name.to_vec(), at: read.invoked, value });
                }
            }
            for value in shown {
                if replaced(value).by < read.invoked {
                    violations.push(QuorumViolation::Returned { key: name.to_vec(), at: read.invoked, value });
                }
            }
        }
    }
}
