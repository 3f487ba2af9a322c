//! Checks what clients saw of one quorum table whose reads and writes overlap (R + W above the number of copies, R at
//! least W).
//!
//! Several nodes order the writes, so versions do not rise with time, as those of a leader table do, and a write that is
//! sent again may have a second version. What holds all the same, with values that no two writes share:
//!
//! - a read shows nothing that nobody wrote, or wrote only later;
//! - where the last writer wins, no read shows an older version than was acknowledged or shown before it was sent;
//! - where siblings are kept, a read shows every write that was acknowledged before it was sent, but for those that a
//!   later write has seen and so replaced; and none that was replaced by a write acknowledged before.

use std::collections::{BTreeMap, BTreeSet};

use super::WriteOutcome;
use crate::time::Version;

/// A write of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumWrite {
    /// When the client sent it first.
    pub invoked: u64,
    /// When the client had the answer.
    pub returned: u64,
    /// The value that was written. `None` = the key was deleted.
    pub value: Option<u64>,
    /// The values that its client had been shown, and gave back with it. Only where siblings are kept.
    pub seen: BTreeSet<u64>,
    /// Milliseconds since 1970 after which the value is absent. `None` = never.
    pub expires_ms: Option<u64>,
    /// Whether it took effect, as the client knows.
    pub outcome: WriteOutcome,
    /// True if it was sent more than once: each attempt may have a version of its own, and the one that was told need not
    /// be the highest.
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
    #[error("quorum key {key:?}: a read at {at} shows {found:?}, though version {expected} was known before")]
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

    /// Everything that cannot have happened where the last writer wins.
    pub fn check_last_writer(&self) -> Vec<QuorumViolation> {
        self.keys.iter().flat_map(|(name, key)| key.last_writer(name)).collect()
    }

    /// Everything that cannot have happened where siblings are kept.
    pub fn check_siblings(&self) -> Vec<QuorumViolation> {
        self.keys.iter().flat_map(|(name, key)| key.siblings(name)).collect()
    }
}

impl Key {
    fn phantoms(&self, name: &[u8], violations: &mut Vec<QuorumViolation>) {
        for read in &self.reads {
            for &(version, value) in &read.found {
                let explains = |write: &QuorumWrite| {
                    write.value == Some(value)
                        && write.invoked <= read.returned
                        && write.outcome != WriteOutcome::Failed
                };
                if !self.writes.iter().any(explains) {
                    violations.push(QuorumViolation::Phantom { key: name.to_vec(), at: read.invoked, value, version });
                }
            }
        }
    }

    fn last_writer(&self, name: &[u8]) -> Vec<QuorumViolation> {
        let mut violations = Vec::new();
        self.phantoms(name, &mut violations);
        let acknowledged = self.writes.iter().filter_map(|write| match write.outcome {
            WriteOutcome::Acknowledged(version) => Some((write.returned, version)),
            WriteOutcome::Failed | WriteOutcome::Unknown => None,
        });
        let shown = self.reads.iter().filter_map(|read| Some((read.returned, read.found.first()?.0)));
        let mut known: Vec<(u64, Version)> = acknowledged.chain(shown).collect();
        known.sort_unstable();
        let mut highest = Version::default();
        for (_, version) in &mut known {
            highest = highest.max(*version);
            *version = highest;
        }
        for read in &self.reads {
            let before = known.partition_point(|(since, _)| *since < read.invoked);
            let Some(&(_, expected)) = before.checked_sub(1).and_then(|last| known.get(last)) else { continue };
            let found = read.found.first().map(|(version, _)| *version);
            let is_stale = found.map_or_else(|| !self.may_be_absent(expected, read), |found| found < expected);
            if is_stale {
                violations.push(QuorumViolation::Stale { key: name.to_vec(), at: read.invoked, found, expected });
            }
        }
        violations
    }

    /// True if some write at this version or a later one may have made the key absent when a read was served.
    fn may_be_absent(&self, from: Version, read: &QuorumRead) -> bool {
        self.writes.iter().any(|write| {
            let is_gone = write.value.is_none() || write.expires_ms.is_some_and(|at| at <= read.wall_ms);
            let may_be_last = match write.outcome {
                WriteOutcome::Acknowledged(version) => write.is_repeated || version >= from,
                WriteOutcome::Unknown => true,
                WriteOutcome::Failed => false,
            };
            is_gone && may_be_last && write.invoked <= read.returned
        })
    }

    fn siblings(&self, name: &[u8]) -> Vec<QuorumViolation> {
        let mut violations = Vec::new();
        self.phantoms(name, &mut violations);
        for read in &self.reads {
            let shown: BTreeSet<u64> = read.found.iter().map(|(_, value)| *value).collect();
            let replaces = |write: &QuorumWrite, value: u64| write.seen.contains(&value);
            for write in &self.writes {
                let Some(value) = write.value else { continue };
                let is_done = |write: &QuorumWrite| {
                    matches!(write.outcome, WriteOutcome::Acknowledged(_)) && write.returned < read.invoked
                };
                let may_be_done =
                    |other: &QuorumWrite| other.outcome != WriteOutcome::Failed && other.invoked <= read.returned;
                let has_ended = write.expires_ms.is_some_and(|at| at <= read.wall_ms);
                let may_be_replaced = || self.writes.iter().any(|other| may_be_done(other) && replaces(other, value));
                if is_done(write) && !shown.contains(&value) && !has_ended && !may_be_replaced() {
                    violations.push(QuorumViolation::Lost { key: name.to_vec(), at: read.invoked, value });
                }
                let is_replaced = || self.writes.iter().any(|other| is_done(other) && replaces(other, value));
                // Another attempt of the same write may have come later.
                if shown.contains(&value) && !write.is_repeated && is_replaced() {
                    violations.push(QuorumViolation::Returned { key: name.to_vec(), at: read.invoked, value });
                }
            }
        }
        violations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"k";

    fn write(invoked: u64, value: Option<u64>, version: Option<u64>) -> QuorumWrite {
        let outcome = version.map_or(WriteOutcome::Unknown, |version| WriteOutcome::Acknowledged(Version(version)));
        QuorumWrite {
            invoked,
            returned: invoked + 1,
            value,
            seen: BTreeSet::new(),
            expires_ms: None,
            outcome,
            is_repeated: false,
        }
    }

    fn read(invoked: u64, found: &[(u64, u64)]) -> QuorumRead {
        let found = found.iter().map(|(version, value)| (Version(*version), *value)).collect();
        QuorumRead { invoked, returned: invoked + 1, found, wall_ms: 1_000 }
    }

    fn history(writes: Vec<QuorumWrite>, reads: Vec<QuorumRead>) -> QuorumHistory {
        let mut history = QuorumHistory::default();
        writes.into_iter().for_each(|write| history.record_write(KEY, write));
        reads.into_iter().for_each(|read| history.record_read(KEY, read));
        history
    }

    #[test]
    fn the_last_writer_is_the_one_with_the_highest_version_whenever_it_was_sent() {
        let writes = vec![write(0, Some(1), Some(20)), write(10, Some(2), Some(15))];
        let good = history(writes.clone(), vec![read(30, &[(20, 1)])]);
        assert_eq!(good.check_last_writer(), []);
        let stale = history(writes, vec![read(30, &[(15, 2)])]).check_last_writer();
        assert!(matches!(stale[..], [QuorumViolation::Stale { expected: Version(20), .. }]), "{stale:?}");
    }

    #[test]
    fn what_was_shown_once_is_shown_from_then_on() {
        let writes = vec![write(0, Some(1), Some(10)), write(5, Some(2), None)];
        let back = history(writes, vec![read(10, &[(12, 2)]), read(20, &[(10, 1)])]).check_last_writer();
        assert!(matches!(back[..], [QuorumViolation::Stale { at: 20, .. }]), "{back:?}");
    }

    #[test]
    fn a_key_is_absent_only_after_a_delete_or_its_end() {
        let put = write(0, Some(1), Some(10));
        let lost = history(vec![put.clone()], vec![read(5, &[])]).check_last_writer();
        assert!(matches!(lost[..], [QuorumViolation::Stale { found: None, .. }]), "{lost:?}");
        let deleted = history(vec![put.clone(), write(3, None, Some(11))], vec![read(5, &[])]);
        assert_eq!(deleted.check_last_writer(), []);
        let back = history(vec![put.clone(), write(3, None, Some(11))], vec![read(5, &[(10, 1)])]).check_last_writer();
        assert!(matches!(back[..], [QuorumViolation::Stale { expected: Version(11), .. }]), "{back:?}");
        let late = QuorumWrite { is_repeated: true, ..write(1, None, Some(9)) };
        assert_eq!(history(vec![put.clone(), late], vec![read(5, &[])]).check_last_writer(), []);
        let early = write(1, None, Some(9));
        assert_eq!(history(vec![put.clone(), early], vec![read(5, &[])]).check_last_writer().len(), 1);
        let ended = QuorumWrite { expires_ms: Some(999), ..put };
        assert_eq!(history(vec![ended], vec![read(5, &[])]).check_last_writer(), []);
    }

    #[test]
    fn values_that_nobody_wrote_are_noticed() {
        let failed = QuorumWrite { outcome: WriteOutcome::Failed, ..write(0, Some(1), None) };
        for writes in [vec![], vec![failed], vec![write(100, Some(1), Some(10))]] {
            let phantom = history(writes, vec![read(5, &[(10, 1)])]);
            assert!(matches!(phantom.check_siblings()[..], [QuorumViolation::Phantom { value: 1, .. }]));
        }
    }

    #[test]
    fn siblings_stay_until_a_write_that_has_seen_them() {
        let writes = || vec![write(0, Some(1), Some(10)), write(0, Some(2), Some(11))];
        let both = history(writes(), vec![read(5, &[(11, 2), (10, 1)])]);
        assert_eq!(both.check_siblings(), []);
        let lost = history(writes(), vec![read(5, &[(11, 2)])]).check_siblings();
        assert!(matches!(lost[..], [QuorumViolation::Lost { value: 1, .. }]), "{lost:?}");
        let merged = QuorumWrite { seen: BTreeSet::from([1, 2]), ..write(6, Some(3), Some(12)) };
        let writes = || [writes(), vec![merged.clone()]].concat();
        assert_eq!(history(writes(), vec![read(9, &[(12, 3)])]).check_siblings(), []);
        let back = history(writes(), vec![read(9, &[(12, 3), (10, 1)])]).check_siblings();
        assert!(matches!(back[..], [QuorumViolation::Returned { value: 1, .. }]), "{back:?}");
    }
}
