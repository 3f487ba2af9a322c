//! Checks what clients saw of one quorum table.
//!
//! Several nodes order the writes, so versions do not rise with time, as those of a leader table do. What holds all the
//! same, with values that no two writes share:
//!
//! - a read shows nothing that nobody wrote, or wrote only later;
//! - where the last writer wins, no read shows an older version than was acknowledged or shown before it was sent, and no
//!   value is shown at two versions, however often its write was sent;
//! - where siblings are kept, a read shows every write that was acknowledged before it was sent, but for those that a
//!   later write has seen and so replaced; and none that was replaced by a write acknowledged before. Of a write that was
//!   sent again, that holds for whoever saw it after it was acknowledged: before, he may have seen one attempt, and not
//!   another.
//!
//! Which reads that is true of W and R say: [`Promise`].

mod session;

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
                Rule::LastWriter => {
                    key.last_writer(name, promise, &mut violations);
                    violations.extend(key.twice(name));
                }
                Rule::Siblings => key.siblings(name, promise, &mut violations),
                Rule::Edited => {}
            }
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
        matches!(self.outcome, WriteOutcome::Acknowledged(_))
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

    fn last_writer(&self, name: &[u8], promise: Promise, violations: &mut Vec<QuorumViolation>) {
        let acknowledged = self.writes.iter().filter_map(|write| match write.outcome {
            WriteOutcome::Acknowledged(version) => Some((write.returned, version)),
            WriteOutcome::Failed | WriteOutcome::Unknown => None,
        });
        let is_for_good = |read: &&QuorumRead| read.kind == ReadKind::Settled && promise == Promise::Monotonic;
        let shown = self.reads.iter().filter(is_for_good);
        let shown = shown.filter_map(|read| Some((read.returned, read.found.first()?.0)));
        let mut known: Vec<(u64, Version)> = acknowledged.chain(shown).collect();
        known.sort_unstable();
        let mut highest = Version::default();
        for (_, version) in &mut known {
            highest = highest.max(*version);
            *version = highest;
        }
        for read in self.reads.iter().filter(|read| read.is_bound(promise)) {
            let before = known.partition_point(|(since, _)| *since < read.invoked);
            let Some(&(_, expected)) = before.checked_sub(1).and_then(|last| known.get(last)) else { continue };
            let found = read.found.first().map(|(version, _)| *version);
            let is_stale = found.map_or_else(|| !self.may_be_absent(expected, read), |found| found < expected);
            if is_stale {
                violations.push(QuorumViolation::Stale { key: name.to_vec(), at: read.invoked, found, expected });
            }
        }
    }

    /// Values that are shown at several versions: where the last writer wins, each has one.
    fn twice(&self, name: &[u8]) -> Vec<QuorumViolation> {
        let mut shown: BTreeMap<u64, BTreeSet<Version>> = BTreeMap::new();
        for (version, value) in self.reads.iter().flat_map(|read| &read.found) {
            shown.entry(*value).or_default().insert(*version);
        }
        let twice = shown.into_iter().filter(|(_, versions)| versions.len() > 1);
        twice.map(|(value, versions)| QuorumViolation::Twice { key: name.to_vec(), value, versions }).collect()
    }

    /// True if some write at this version or a later one may have made the key absent when a read was served.
    fn may_be_absent(&self, from: Version, read: &QuorumRead) -> bool {
        self.writes.iter().any(|write| {
            let is_gone = write.value.is_none() || write.expires_ms.is_some_and(|at| at <= read.wall_ms);
            let may_be_last = match write.outcome {
                WriteOutcome::Acknowledged(version) => version >= from || version == Version::default(),
                WriteOutcome::Unknown => true,
                WriteOutcome::Failed => false,
            };
            is_gone && may_be_last && write.invoked <= read.returned
        })
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
            seen_at: 0,
            expires_ms: None,
            outcome,
            is_repeated: false,
        }
    }

    fn read(invoked: u64, found: &[(u64, u64)]) -> QuorumRead {
        let found = found.iter().map(|(version, value)| (Version(*version), *value)).collect();
        QuorumRead { invoked, returned: invoked + 1, found, wall_ms: 1_000, kind: ReadKind::Settled }
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
        assert_eq!(good.check(Rule::LastWriter, Promise::Monotonic), []);
        let stale = history(writes, vec![read(30, &[(15, 2)])]).check(Rule::LastWriter, Promise::Monotonic);
        assert!(matches!(stale[..], [QuorumViolation::Stale { expected: Version(20), .. }]), "{stale:?}");
    }

    #[test]
    fn what_was_shown_once_is_shown_from_then_on() {
        let writes = vec![write(0, Some(1), Some(10)), write(5, Some(2), None)];
        let back = history(writes, vec![read(10, &[(12, 2)]), read(20, &[(10, 1)])])
            .check(Rule::LastWriter, Promise::Monotonic);
        assert!(matches!(back[..], [QuorumViolation::Stale { at: 20, .. }]), "{back:?}");
    }

    #[test]
    fn a_value_has_one_version_where_the_last_writer_wins() {
        let writes = || vec![write(0, Some(1), Some(10)), write(3, Some(2), Some(12))];
        let once = history(writes(), vec![read(2, &[(10, 1)]), read(5, &[(12, 2)]), read(6, &[(12, 2)])]);
        assert_eq!(once.check(Rule::LastWriter, Promise::Monotonic), []);
        let reads = || vec![read(2, &[(10, 1)]), read(5, &[(12, 2)]), read(9, &[(14, 1)])];
        let twice = history(writes(), reads()).check(Rule::LastWriter, Promise::Monotonic);
        assert!(matches!(twice[..], [QuorumViolation::Twice { value: 1, .. }]), "{twice:?}");
        assert_eq!(history(writes(), vec![read(6, &[(12, 2), (10, 1)])]).check(Rule::Siblings, Promise::Monotonic), []);
    }

    /// A write that was sent again, acknowledged at 6, is read after it was replaced by somebody who read it then.
    fn replaced_after_it_was_seen(seen_at: u64, is_repeated: bool, promise: Promise) -> usize {
        let first = QuorumWrite { returned: 6, is_repeated, ..write(0, Some(1), Some(10)) };
        let second = QuorumWrite { seen: BTreeSet::from([1]), seen_at, ..write(20, Some(2), Some(12)) };
        history(vec![first, second], vec![read(30, &[(12, 2), (10, 1)])]).check(Rule::Siblings, promise).len()
    }

    #[test]
    fn whoever_saw_a_write_after_it_was_acknowledged_has_replaced_all_attempts() {
        let monotonic = |seen_at, is_repeated| replaced_after_it_was_seen(seen_at, is_repeated, Promise::Monotonic);
        assert_eq!((monotonic(7, true), monotonic(6, true), monotonic(6, false)), (1, 0, 1));
        let at_rest = |since| replaced_after_it_was_seen(7, true, Promise::AtRest(since));
        assert_eq!((at_rest(7), at_rest(8)), (1, 0), "reads that promise nothing may show one attempt alone");
    }

    #[test]
    fn a_key_is_absent_only_after_a_delete_or_its_end() {
        let put = write(0, Some(1), Some(10));
        let lost = history(vec![put.clone()], vec![read(5, &[])]).check(Rule::LastWriter, Promise::Monotonic);
        assert!(matches!(lost[..], [QuorumViolation::Stale { found: None, .. }]), "{lost:?}");
        let deleted = history(vec![put.clone(), write(3, None, Some(11))], vec![read(5, &[])]);
        assert_eq!(deleted.check(Rule::LastWriter, Promise::Monotonic), []);
        let back = history(vec![put.clone(), write(3, None, Some(11))], vec![read(5, &[(10, 1)])])
            .check(Rule::LastWriter, Promise::Monotonic);
        assert!(matches!(back[..], [QuorumViolation::Stale { expected: Version(11), .. }]), "{back:?}");
        let early = write(1, None, Some(9));
        assert_eq!(
            history(vec![put.clone(), early], vec![read(5, &[])]).check(Rule::LastWriter, Promise::Monotonic).len(),
            1
        );
        let ended = QuorumWrite { expires_ms: Some(999), ..put };
        assert_eq!(history(vec![ended], vec![read(5, &[])]).check(Rule::LastWriter, Promise::Monotonic), []);
    }

    #[test]
    fn values_that_nobody_wrote_are_noticed() {
        let failed = QuorumWrite { outcome: WriteOutcome::Failed, ..write(0, Some(1), None) };
        for writes in [vec![], vec![failed], vec![write(100, Some(1), Some(10))]] {
            let phantom = history(writes, vec![read(5, &[(10, 1)])]);
            assert!(matches!(
                phantom.check(Rule::Siblings, Promise::Monotonic)[..],
                [QuorumViolation::Phantom { value: 1, .. }]
            ));
        }
    }

    #[test]
    fn siblings_stay_until_a_write_that_has_seen_them() {
        let writes = || vec![write(0, Some(1), Some(10)), write(0, Some(2), Some(11))];
        let both = history(writes(), vec![read(5, &[(11, 2), (10, 1)])]);
        assert_eq!(both.check(Rule::Siblings, Promise::Monotonic), []);
        let lost = history(writes(), vec![read(5, &[(11, 2)])]).check(Rule::Siblings, Promise::Monotonic);
        assert!(matches!(lost[..], [QuorumViolation::Lost { value: 1, .. }]), "{lost:?}");
        let merged = QuorumWrite { seen: BTreeSet::from([1, 2]), ..write(6, Some(3), Some(12)) };
        let writes = || [writes(), vec![merged.clone()]].concat();
        assert_eq!(history(writes(), vec![read(9, &[(12, 3)])]).check(Rule::Siblings, Promise::Monotonic), []);
        let back = history(writes(), vec![read(9, &[(12, 3), (10, 1)])]).check(Rule::Siblings, Promise::Monotonic);
        assert!(matches!(back[..], [QuorumViolation::Returned { value: 1, .. }]), "{back:?}");
    }

    #[test]
    fn a_delete_of_long_ago_explains_no_later_loss_however_often_it_was_sent() {
        let writes = |is_repeated| {
            let deleted = QuorumWrite { is_repeated, ..write(0, None, Some(10)) };
            vec![deleted, write(5, Some(1), Some(20))]
        };
        for promise in [Promise::Monotonic, Promise::Acknowledged, Promise::AtRest(9)] {
            for is_repeated in [false, true] {
                let lost = history(writes(is_repeated), vec![read(9, &[])]).check(Rule::LastWriter, promise);
                assert!(matches!(lost[..], [QuorumViolation::Stale { expected: Version(20), .. }]), "{lost:?}");
            }
            let again = history(writes(true), vec![read(9, &[(10, 1)])]).check(Rule::LastWriter, promise);
            assert_eq!(again.len(), 1, "a value is never old: {again:?}");
        }
        let later = QuorumWrite { is_repeated: true, ..write(20, None, Some(10)) };
        let early = history(vec![write(5, Some(1), Some(20)), later], vec![read(9, &[])]);
        assert_eq!(early.check(Rule::LastWriter, Promise::Acknowledged).len(), 1, "it was sent after the read");
    }

    #[test]
    fn what_was_replaced_is_not_back_at_rest_unless_it_may_have_come_again() {
        let writes = |is_repeated| {
            let replaced = QuorumWrite { is_repeated, ..write(0, Some(1), Some(10)) };
            let by = QuorumWrite { seen: BTreeSet::from([1]), ..write(5, Some(2), Some(20)) };
            vec![replaced, by]
        };
        let found = || vec![read(9, &[(20, 2), (10, 1)])];
        let back = history(writes(false), found()).check(Rule::Siblings, Promise::AtRest(9));
        assert!(matches!(back[..], [QuorumViolation::Returned { value: 1, .. }]), "{back:?}");
        assert_eq!(history(writes(true), found()).check(Rule::Siblings, Promise::AtRest(9)), []);
    }

    #[test]
    fn only_what_is_promised_is_asked_for() {
        let writes = || vec![write(0, Some(1), Some(10)), write(5, Some(2), None)];
        let lowered = |invoked, found: &[(u64, u64)]| QuorumRead { kind: ReadKind::Lowered, ..read(invoked, found) };
        let back = history(writes(), vec![read(10, &[(12, 2)]), read(20, &[(10, 1)]), lowered(30, &[])]);
        assert_eq!(back.check(Rule::LastWriter, Promise::Monotonic).len(), 1);
        assert_eq!(back.check(Rule::LastWriter, Promise::Acknowledged), []);
        let changing = QuorumRead { kind: ReadKind::Changing, ..read(10, &[(12, 2)]) };
        let back = history(writes(), vec![changing, read(20, &[(10, 1)])]);
        assert_eq!(back.check(Rule::LastWriter, Promise::Monotonic), []);
        let lost = history(writes(), vec![read(10, &[]), read(20, &[])]);
        assert_eq!(lost.check(Rule::Siblings, Promise::AtRest(11)).len(), 1);
        assert_eq!(lost.check(Rule::Siblings, Promise::AtRest(21)), []);
        assert_eq!(lost.check(Rule::Edited, Promise::Monotonic), []);
        let phantom = history(writes(), vec![lowered(10, &[(10, 7)])]);
        assert_eq!(phantom.check(Rule::Edited, Promise::AtRest(99)).len(), 1, "whatever is promised");
    }
}
