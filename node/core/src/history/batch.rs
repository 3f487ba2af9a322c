//! Writes of several keys that take effect together: what of one is seen is seen of all.

use std::collections::BTreeMap;

use super::check::{Noted, Resolved, What};
use super::{History, WriteOutcome};
use crate::time::Version;

/// A write of one or more keys of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// When the client sent the batch.
    pub invoked: u64,
    /// When the client had the answer.
    pub returned: u64,
    /// Whether the batch took effect, as the client knows.
    pub outcome: WriteOutcome,
    /// What it changes, each key once.
    pub changes: Vec<Change>,
    /// Keys, and the version that each had to have. `None` = absent.
    pub conditions: Vec<(Vec<u8>, Option<Version>)>,
    /// The highest version that the client knew of when it sent it, on any shard. `None` = its own need not be above that.
    pub cause: Option<Version>,
}

/// The change of one key in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Key that the batch changes.
    pub key: Vec<u8>,
    /// What it is set to: a value that no other batch sets. `None` = deleted.
    pub value: Option<u64>,
    /// Milliseconds since 1970 after which it is absent. `None` = never.
    pub expires_ms: Option<u64>,
}

impl History {
    /// Adds a batch to the history.
    pub fn record_batch(&mut self, batch: Batch) {
        let Batch { invoked, returned, outcome, changes, conditions, cause } = batch;
        let number = (outcome == WriteOutcome::Unknown).then(|| {
            self.unknown.push(changes.iter().filter_map(|c| c.value).collect());
            self.unknown.len() - 1
        });
        if let WriteOutcome::Acknowledged(version) = outcome {
            if let Some(cause) = cause.filter(|cause| version <= *cause) {
                self.uncaused.push((cause, version));
            }
            let others = conditions.iter().filter(|(key, _)| !changes.iter().any(|c| c.key == *key));
            for (key, expected) in others {
                self.note(key, Noted::new(invoked, returned, What::Held { expected: *expected, version }));
            }
        }
        for Change { key, value, expires_ms } in changes {
            let expected = conditions.iter().find(|(of, _)| *of == key).map(|(_, expected)| *expected);
            let what = What::Write { value, expected, outcome };
            self.note(&key, Noted { batch: number, expires_ms, ..Noted::new(invoked, returned, what) });
        }
    }

    /// Finds out where batches of unknown outcome took effect.
    pub(super) fn resolve(&self) -> Resolved {
        let of_value: BTreeMap<u64, usize> =
            self.unknown.iter().enumerate().flat_map(|(n, values)| values.iter().map(move |v| (*v, n))).collect();
        let mut resolved = Resolved::new();
        for noted in self.keys.values().flatten() {
            let What::Read { found: Some((version, Some(value))) } = noted.what else { continue };
            let Some(batch) = of_value.get(&value) else { continue };
            let known = resolved.entry(*batch).or_insert((version, noted.returned));
            if known.0 == version {
                known.1 = known.1.min(noted.returned);
            }
        }
        resolved
    }
}
