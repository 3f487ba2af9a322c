//! Checks the operations on one key of a history.

use std::collections::BTreeMap;

use super::{Violation, WriteOutcome};
use crate::time::Version;

/// Where batches of unknown outcome took effect, as reads have shown: at which version, and when that was first known.
pub(super) type Resolved = BTreeMap<usize, (Version, u64)>;

/// Something that a client did to one key.
#[derive(Debug, Clone)]
pub(super) struct Noted {
    pub(super) invoked: u64,
    pub(super) returned: u64,
    pub(super) what: What,
    /// Milliseconds since 1970 after which the written value is absent. `None` = never.
    pub(super) expires_ms: Option<u64>,
    /// Between what times, by the clock of whoever served it, a read was served. `None` = nothing expires.
    pub(super) walls: Option<(u64, u64)>,
    /// The batch of unknown outcome that this is part of.
    pub(super) batch: Option<usize>,
    /// True for a read of one copy, which may be old.
    pub(super) is_local: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    Write {
        value: Option<u64>,
        expected: Option<Option<Version>>,
        outcome: WriteOutcome,
    },
    /// The value is not known where only a version was told.
    Read {
        found: Option<(Version, Option<u64>)>,
    },
    /// A write of other keys at this version depended on this one.
    Held {
        expected: Option<Version>,
        version: Version,
    },
}

impl Noted {
    pub(super) fn new(invoked: u64, returned: u64, what: What) -> Self {
        Self { invoked, returned, what, expires_ms: None, walls: None, batch: None, is_local: false }
    }
}

/// A write whose place among the versions is known.
#[derive(Debug)]
pub(super) struct Placed {
    invoked: u64,
    /// `None` = it was never acknowledged; its place is known from a read.
    returned: Option<u64>,
    version: Version,
    value: Option<u64>,
    expires_ms: Option<u64>,
}

impl Placed {
    /// True if it put a record that had expired by then.
    fn has_expired(&self, wall_ms: u64) -> bool {
        self.expires_ms.is_some_and(|at| at <= wall_ms)
    }
}

/// The writes of one key whose places are known.
#[derive(Debug, Default)]
pub(super) struct Writes {
    pub(super) placed: BTreeMap<Version, Placed>,
    /// The time from which on a write whose place is not known may have made the key absent.
    absent_from_ms: Option<u64>,
}

impl Writes {
    /// True if a reader at this version or later, whose clock shows no more than this, finds the key for certain.
    pub(super) fn is_there_from(&self, version: Version, wall_ms: u64) -> bool {
        let is_put = |write: &Placed| write.value.is_some() && !write.has_expired(wall_ms);
        let last = self.placed.range(..=version).next_back().map(|(_, write)| write);
        let stays = self.placed.range(version..).all(|(_, write)| is_put(write));
        last.is_some_and(is_put) && stays && self.absent_from_ms.is_none_or(|from| from > wall_ms)
    }
}

pub(super) fn check(key: &[u8], noted: &[Noted], resolved: &Resolved, violations: &mut Vec<Violation>) -> Writes {
    let placed = place(key, noted, resolved, violations);
    disorder(key, &placed, violations);
    conditions(key, noted, &placed, violations);
    reads(key, noted, resolved, &placed, violations);
    let is_unplaced = |n: &Noted| n.batch.is_none_or(|batch| !resolved.contains_key(&batch));
    let absent_from_ms = |n: &Noted| match n.what {
        What::Write { value: None, outcome: WriteOutcome::Unknown, .. } if is_unplaced(n) => Some(0),
        What::Write { outcome: WriteOutcome::Unknown, .. } if is_unplaced(n) => n.expires_ms,
        What::Write { .. } | What::Read { .. } | What::Held { .. } => None,
    };
    Writes { placed, absent_from_ms: noted.iter().filter_map(absent_from_ms).min() }
}

/// Acknowledged writes by version, and unknown ones that some read found.
fn place(
    key: &[u8],
    noted: &[Noted],
    resolved: &Resolved,
    violations: &mut Vec<Violation>,
) -> BTreeMap<Version, Placed> {
    let mut placed: BTreeMap<Version, Placed> = BTreeMap::new();
    let mut unknown: BTreeMap<u64, &Noted> = BTreeMap::new();
    let mut by_value: BTreeMap<u64, Version> = BTreeMap::new();
    for write in noted {
        let What::Write { value, outcome, .. } = write.what else { continue };
        let known = match outcome {
            WriteOutcome::Acknowledged(version) => Some((version, Some(write.returned))),
            WriteOutcome::Unknown => write.batch.and_then(|b| resolved.get(&b)).map(|(version, _)| (*version, None)),
            WriteOutcome::Failed => None,
        };
        if let Some((version, returned)) = known {
            by_value.extend(value.map(|v| (v, version)));
            let Noted { invoked, expires_ms, .. } = *write;
            if let Some(twin) = placed.insert(version, Placed { invoked, returned, version, value, expires_ms }) {
                violations.push(Violation::Disorder { key: key.to_vec(), earlier: twin.version, later: version });
            }
        } else if let (Some(value), WriteOutcome::Unknown) = (value, outcome) {
            unknown.insert(value, write);
        }
    }
    for read in noted {
        let What::Read { found: Some((version, Some(value))) } = read.what else { continue };
        if let Some(&first) = by_value.get(&value) {
            if first != version {
                violations.push(Violation::AppliedTwice { key: key.to_vec(), value, first, second: version });
            }
            continue;
        }
        match unknown.get(&value) {
            Some(write) if write.invoked <= read.returned && !placed.contains_key(&version) => {
                by_value.insert(value, version);
                let Noted { invoked, expires_ms, .. } = **write;
                placed.insert(version, Placed { invoked, returned: None, version, value: Some(value), expires_ms });
            }
            _ => violations.push(Violation::Phantom { key: key.to_vec(), at: read.invoked, value, version }),
        }
    }
    placed
}

/// Whoever was acknowledged before another was sent has the lower version.
fn disorder(key: &[u8], placed: &BTreeMap<Version, Placed>, violations: &mut Vec<Violation>) {
    let mut highest_invoked: Option<&Placed> = None;
    for write in placed.values() {
        if let (Some(earlier), Some(returned)) = (highest_invoked, write.returned)
            && returned < earlier.invoked
        {
            violations.push(Violation::Disorder { key: key.to_vec(), earlier: write.version, later: earlier.version });
        }
        if highest_invoked.is_none_or(|w| w.invoked < write.invoked) {
            highest_invoked = Some(write);
        }
    }
}

/// Between the version that a conditional write expected and its own there is no other write, and what it expected had
/// not expired by the time that its own version says.
fn conditions(key: &[u8], noted: &[Noted], placed: &BTreeMap<Version, Placed>, violations: &mut Vec<Violation>) {
    for write in noted {
        let (expected, version) = match write.what {
            What::Write { expected: Some(expected), outcome: WriteOutcome::Acknowledged(version), .. }
            | What::Held { expected, version } => (expected, version),
            What::Write { .. } | What::Read { .. } => continue,
        };
        let before = placed.range(..version).next_back().map(|(_, write)| write);
        let is_expired = |write: &Placed| write.has_expired(version.wall_ms());
        let between = match (expected, before) {
            (Some(expected), Some(write)) if write.version == expected => is_expired(write).then_some(expected),
            (Some(expected), Some(write)) => (write.version > expected).then_some(write.version),
            // Absent: the last write before must be a delete, known or of unknown outcome, or have expired; a put is only
            // ruled out if no delete could have followed it.
            (None, Some(put))
                if put.value.is_some()
                    && !is_expired(put)
                    && !may_be_absent_after(put, write, noted, version.wall_ms()) =>
            {
                Some(put.version)
            }
            (None | Some(_), _) => None,
        };
        if let Some(between) = between {
            violations.push(Violation::LostCondition { key: key.to_vec(), expected, version, between });
        }
    }
}

/// True if another write may have made the key absent after this one and before the operation returned: a delete, or a put
/// that had expired by then.
fn may_be_absent_after(write: &Placed, before: &Noted, noted: &[Noted], wall_ms: u64) -> bool {
    noted.iter().any(|o| {
        let What::Write { value, outcome, .. } = o.what else { return false };
        let makes_absent = value.is_none() || o.expires_ms.is_some_and(|at| at <= wall_ms);
        let may_follow = match outcome {
            WriteOutcome::Unknown => true,
            WriteOutcome::Acknowledged(version) => version > write.version,
            WriteOutcome::Failed => false,
        };
        makes_absent && may_follow && o.invoked <= before.returned
    })
}

/// A read finds nothing older than what was known before it was sent, nothing that was sent only after it returned, and
/// nothing that has expired.
fn reads(
    key: &[u8],
    noted: &[Noted],
    resolved: &Resolved,
    placed: &BTreeMap<Version, Placed>,
    violations: &mut Vec<Violation>,
) {
    let known = known_over_time(noted, resolved);
    for read in noted {
        let What::Read { found } = read.what else { continue };
        let (at, (earliest, latest)) = (read.invoked, read.walls.unwrap_or((0, 0)));
        if let Some((version, value)) = found {
            let write = placed.get(&version);
            if let Some(value) = value.filter(|_| write.is_some_and(|w| w.invoked > read.returned)) {
                violations.push(Violation::Phantom { key: key.to_vec(), at, value, version });
            }
            if write.is_some_and(|w| w.has_expired(earliest)) {
                violations.push(Violation::Expired { key: key.to_vec(), at, version });
            }
        }
        let before = known.partition_point(|(since, _)| *since < at);
        let Some(&(_, expected)) = before.checked_sub(1).and_then(|last| known.get(last)) else { continue };
        let is_gone =
            |w: &Placed| w.value.is_none() || w.has_expired(latest) || may_be_absent_after(w, read, noted, latest);
        let is_stale = match found {
            Some((version, _)) => version < expected,
            None => placed.get(&expected).is_some_and(|write| !is_gone(write)),
        };
        if is_stale && !read.is_local {
            let found = found.map(|(version, _)| version);
            violations.push(Violation::StaleRead { key: key.to_vec(), at, found, expected });
        }
    }
}

/// The highest version that was acknowledged or read by each time at which one was.
fn known_over_time(noted: &[Noted], resolved: &Resolved) -> Vec<(u64, Version)> {
    let seen = noted.iter().filter_map(|o| match o.what {
        What::Write { outcome: WriteOutcome::Acknowledged(version), .. } | What::Read { found: Some((version, _)) } => {
            Some((o.returned, version))
        }
        What::Write { outcome: WriteOutcome::Unknown, .. } => {
            o.batch.and_then(|batch| resolved.get(&batch)).map(|(version, known)| (*known, *version))
        }
        What::Write { .. } | What::Read { .. } | What::Held { .. } => None,
    });
    let mut known: Vec<_> = seen.collect();
    known.sort_unstable();
    let mut highest = Version(0);
    for (_, version) in &mut known {
        highest = highest.max(*version);
        *version = highest;
    }
    known
}
