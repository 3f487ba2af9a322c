//! The check of one key.

use std::collections::BTreeMap;

use super::{Action, Operation, Violation, WriteOutcome};
use crate::time::Version;

/// A write whose place among the versions is known.
struct Placed {
    invoked: u64,
    /// `None` = it was never acknowledged; its place is known from a read.
    returned: Option<u64>,
    version: Version,
    value: Option<u64>,
}

pub(super) fn check(key: &[u8], operations: &[Operation]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let placed = place(key, operations, &mut violations);
    disorder(key, &placed, &mut violations);
    conditions(key, operations, &placed, &mut violations);
    reads(key, operations, &placed, &mut violations);
    violations
}

/// Acknowledged writes by version, and unknown ones that some read found.
fn place(key: &[u8], operations: &[Operation], violations: &mut Vec<Violation>) -> BTreeMap<Version, Placed> {
    let mut placed = BTreeMap::new();
    let mut unknown: BTreeMap<u64, u64> = BTreeMap::new();
    let mut by_value: BTreeMap<u64, Version> = BTreeMap::new();
    for operation in operations {
        let invoked = operation.invoked;
        match operation.action {
            Action::Write { value, outcome: WriteOutcome::Acknowledged(version), .. } => {
                by_value.extend(value.map(|v| (v, version)));
                let write = Placed { invoked, returned: Some(operation.returned), version, value };
                if let Some(twin) = placed.insert(version, write) {
                    violations.push(Violation::Disorder { key: key.to_vec(), earlier: twin.version, later: version });
                }
            }
            Action::Write { value: Some(value), outcome: WriteOutcome::Unknown, .. } => {
                unknown.insert(value, invoked);
            }
            Action::Write { .. } | Action::Read { .. } => {}
        }
    }
    for operation in operations {
        let Action::Read { found: Some((version, value)) } = operation.action else { continue };
        if let Some(&first) = by_value.get(&value) {
            if first != version {
                violations.push(Violation::AppliedTwice { key: key.to_vec(), value, first, second: version });
            }
            continue;
        }
        match unknown.get(&value) {
            Some(&invoked) if invoked <= operation.returned && !placed.contains_key(&version) => {
                by_value.insert(value, version);
                placed.insert(version, Placed { invoked, returned: None, version, value: Some(value) });
            }
            _ => violations.push(Violation::Phantom { key: key.to_vec(), at: operation.invoked, value, version }),
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

/// Between the version that a conditional write expected and its own there is no other write.
fn conditions(
    key: &[u8],
    operations: &[Operation],
    placed: &BTreeMap<Version, Placed>,
    violations: &mut Vec<Violation>,
) {
    for operation in operations {
        let Action::Write { expected: Some(expected), outcome: WriteOutcome::Acknowledged(version), .. } =
            operation.action
        else {
            continue;
        };
        let before = placed.range(..version).next_back().map(|(_, write)| write);
        let between = match (expected, before) {
            (Some(expected), Some(write)) => (write.version > expected).then_some(write.version),
            // Absent: the last write before must be a delete, known or of unknown outcome; a put is only ruled out if
            // no delete could have followed it.
            (None, Some(write)) if write.value.is_some() && !may_be_deleted_after(write, operation, operations) => {
                Some(write.version)
            }
            (None | Some(_), _) => None,
        };
        if let Some(between) = between {
            violations.push(Violation::LostCondition { key: key.to_vec(), expected, version, between });
        }
    }
}

/// A delete of unknown outcome may have taken effect after the write and before the operation returned.
fn may_be_deleted_after(write: &Placed, before: &Operation, operations: &[Operation]) -> bool {
    operations.iter().any(|o| match o.action {
        Action::Write { value: None, outcome: WriteOutcome::Unknown, .. } => o.invoked <= before.returned,
        Action::Write { value: None, outcome: WriteOutcome::Acknowledged(version), .. } => {
            version > write.version && o.invoked <= before.returned
        }
        Action::Write { .. } | Action::Read { .. } => false,
    })
}

/// A read finds nothing older than what was known before it was sent, and nothing that was sent only after it returned.
fn reads(key: &[u8], operations: &[Operation], placed: &BTreeMap<Version, Placed>, violations: &mut Vec<Violation>) {
    let known = known_over_time(operations);
    for operation in operations {
        let Action::Read { found } = operation.action else { continue };
        let before = known.partition_point(|(at, _)| *at < operation.invoked);
        let Some(&(_, expected)) = before.checked_sub(1).and_then(|last| known.get(last)) else { continue };
        let at = operation.invoked;
        let is_stale = match found {
            Some((version, _)) => version < expected,
            None => placed
                .get(&expected)
                .is_some_and(|w| w.value.is_some() && !may_be_deleted_after(w, operation, operations)),
        };
        if is_stale {
            let found = found.map(|(version, _)| version);
            violations.push(Violation::StaleRead { key: key.to_vec(), at, found, expected });
        }
    }
    for operation in operations {
        if let Action::Read { found: Some((version, value)) } = operation.action
            && placed.get(&version).is_some_and(|w| w.invoked > operation.returned)
        {
            violations.push(Violation::Phantom { key: key.to_vec(), at: operation.invoked, value, version });
        }
    }
}

/// The highest version that was acknowledged or read by each time at which one was.
fn known_over_time(operations: &[Operation]) -> Vec<(u64, Version)> {
    let seen = operations.iter().filter_map(|o| match o.action {
        Action::Write { outcome: WriteOutcome::Acknowledged(version), .. }
        | Action::Read { found: Some((version, _)) } => Some((o.returned, version)),
        Action::Write { .. } | Action::Read { .. } => None,
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
