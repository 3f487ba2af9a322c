//! Where the last writer wins, each write has one stamp, and the one with the highest is what reads show. And whatever the
//! rule is, a version that is told belongs to a write.

use std::collections::{BTreeMap, BTreeSet};

use super::{Key, Promise, QuorumRead, QuorumViolation, QuorumWrite, ReadKind, Rule};
use crate::history::WriteOutcome;
use crate::ids::{Incarnation, ReplicaId};
use crate::record::{Actor, Stamp};
use crate::time::Version;

/// What is known of a key from which times on: the highest stamp.
pub(super) struct Known(Vec<(u64, Stamp)>);

impl Known {
    pub(super) fn of(known: impl Iterator<Item = (u64, Stamp)>) -> Self {
        let mut known: Vec<(u64, Stamp)> = known.collect();
        known.sort_unstable();
        let mut highest = Stamp::default();
        for (_, stamp) in &mut known {
            highest = highest.max(*stamp);
            *stamp = highest;
        }
        Self(known)
    }

    /// The highest stamp that was known before a time.
    pub(super) fn before(&self, time: u64) -> Option<Stamp> {
        let before = self.0.partition_point(|(since, _)| *since < time);
        self.0.get(before.checked_sub(1)?).map(|(_, stamp)| *stamp)
    }
}

impl QuorumWrite {
    /// Of an acknowledged write, the lowest stamp that its key has then: its own, or what has replaced it by then.
    pub(super) fn lowest(&self) -> Option<Stamp> {
        let told = Stamp::lowest(self.acknowledged()?);
        Some(self.own.map_or(told, |own| told.max(own)))
    }
}

/// The highest stamp of a version.
fn highest(version: Version) -> Stamp {
    Stamp { version, actor: Actor { replica: ReplicaId(u64::MAX), incarnation: Incarnation(u64::MAX) } }
}

impl Key {
    pub(super) fn last_writer(&self, name: &[u8], promise: Promise, violations: &mut Vec<QuorumViolation>) {
        let of_values = self.of_values();
        // Two writes may have one version: whose it is says which of them comes after the other.
        let own = |version: Version, value: u64| {
            let own = of_values.get(&value).and_then(|write| write.own);
            own.filter(|own| own.version == version)
        };
        let acknowledged = self.writes.iter().filter_map(|write| Some((write.returned, write.lowest()?)));
        let is_for_good = |read: &&QuorumRead| read.kind == ReadKind::Settled && promise == Promise::Monotonic;
        let shown = self.reads.iter().filter(is_for_good).filter_map(|read| {
            let &(version, value) = read.found.first()?;
            Some((read.returned, own(version, value).unwrap_or_else(|| Stamp::lowest(version))))
        });
        let known = Known::of(acknowledged.chain(shown));
        for read in self.reads.iter().filter(|read| read.is_bound(promise)) {
            let Some(expected) = known.before(read.invoked) else { continue };
            let found = read.found.first().copied();
            let is_stale = match found {
                Some((version, value)) => own(version, value).unwrap_or_else(|| highest(version)) < expected,
                None => !self.may_be_absent(expected, read),
            };
            if is_stale {
                let (found, expected) = (found.map(|(version, _)| version), expected.version);
                violations.push(QuorumViolation::Stale { key: name.to_vec(), at: read.invoked, found, expected });
            }
        }
        violations.extend(self.not_their_own(name));
    }

    /// The write of each value.
    pub(super) fn of_values(&self) -> BTreeMap<u64, &QuorumWrite> {
        self.writes.iter().filter_map(|write| Some((write.value?, write))).collect()
    }

    /// True if some write of this stamp or a later one may have made the key absent when a read was served.
    fn may_be_absent(&self, from: Stamp, read: &QuorumRead) -> bool {
        self.writes.iter().any(|write| {
            let is_gone = write.value.is_none() || write.expires_ms.is_some_and(|at| at <= read.wall_ms);
            let may_be_last = match (write.outcome, write.own) {
                (WriteOutcome::Failed, _) => false,
                (_, Some(own)) => own >= from,
                (WriteOutcome::Acknowledged(version), None) => version >= from.version || version == Version::default(),
                (WriteOutcome::Unknown, None) => true,
            };
            is_gone && may_be_last && write.invoked <= read.returned
        })
    }

    /// Values that are shown at several versions, of writes that have one: all of them where the last writer wins, and those
    /// that were sent once where siblings are kept.
    pub(super) fn twice(&self, name: &[u8], rule: Rule) -> Vec<QuorumViolation> {
        let of_values = self.of_values();
        let may_be_several = |value: &u64| of_values.get(value).is_some_and(|write| write.is_repeated);
        let mut shown: BTreeMap<u64, BTreeSet<Version>> = BTreeMap::new();
        for (version, value) in self.reads.iter().flat_map(|read| &read.found) {
            shown.entry(*value).or_default().insert(*version);
        }
        let twice = shown
            .into_iter()
            .filter(|(value, versions)| versions.len() > 1 && (rule == Rule::LastWriter || !may_be_several(value)));
        twice.map(|(value, versions)| QuorumViolation::Twice { key: name.to_vec(), value, versions }).collect()
    }

    /// Values that are shown at another version than their writes were acknowledged at, or have by their requests. Where the
    /// last writer wins, a write that was sent again was acknowledged at its own version or a higher one; where siblings are
    /// kept, that says nothing of its other attempts.
    pub(super) fn misplaced(&self, name: &[u8], rule: Rule) -> Vec<QuorumViolation> {
        let of_values = self.of_values();
        let shown = self.reads.iter().flat_map(|read| read.found.iter().map(move |found| (read.invoked, *found)));
        let misplaced = shown.filter_map(|(at, (version, value))| {
            let write = of_values.get(&value)?;
            let most = write.acknowledged().filter(|told| rule == Rule::LastWriter && *told > Version::default());
            let (own, is_wrong) = match write.version() {
                Some(own) => (own, own != version),
                None => most.map(|most| (most, version > most))?,
            };
            is_wrong.then(|| QuorumViolation::Misplaced { key: name.to_vec(), at, value, version, own })
        });
        misplaced.collect()
    }

    /// Writes that were acknowledged at a version which is neither their own nor, where they were sent again, that of a write
    /// which comes after them.
    fn not_their_own(&self, name: &[u8]) -> Vec<QuorumViolation> {
        let is_explained = |version: Version, by: u64| {
            let may_be = |write: &&QuorumWrite| write.outcome != WriteOutcome::Failed && write.invoked <= by;
            self.writes.iter().filter(may_be).any(|write| write.version().is_none_or(|own| own == version))
        };
        let wrong = self.writes.iter().filter_map(|write| {
            let (version, own) = write.acknowledged().zip(write.own)?;
            let is_later = write.is_repeated && version > own.version && is_explained(version, write.returned);
            let is_right = version == Version::default() || version == own.version || is_later;
            let (key, at, own) = (name.to_vec(), write.invoked, own.version);
            (!is_right).then_some(QuorumViolation::NotItsOwn { key, at, version, own })
        });
        wrong.collect()
    }
}

#[cfg(test)]
mod tests;
