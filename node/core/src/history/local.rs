//! Reads of one copy, whoever leads: what a copy shows only goes forward.

use std::collections::BTreeMap;

use super::check::{Noted, What};
use super::{History, Violation};
use crate::time::Version;

/// A read of what one copy had applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalRead {
    /// Names the process that served it: a copy in another may have forgotten what was not durable.
    pub copy: u64,
    /// Counts the answers in the order in which they were given.
    pub order: u64,
    /// When the client sent the read.
    pub invoked: u64,
    /// When the client had the answer.
    pub returned: u64,
    /// Key that was read.
    pub key: Vec<u8>,
    /// Version and value that were found. `None` = absent.
    pub found: Option<(Version, u64)>,
}

impl History {
    /// Adds a read of one copy.
    pub fn record_local(&mut self, read: LocalRead) {
        if let Some((version, value)) = read.found {
            let what = What::Read { found: Some((version, Some(value))) };
            let noted = Noted { is_local: true, ..Noted::new(read.invoked, read.returned, what) };
            self.note(&read.key, noted);
        }
        self.locals.push(read);
    }
}

pub(super) fn check(locals: &[LocalRead], violations: &mut Vec<Violation>) {
    let mut reads: Vec<&LocalRead> = locals.iter().collect();
    reads.sort_unstable_by_key(|read| read.order);
    let mut shown: BTreeMap<(u64, &[u8]), Version> = BTreeMap::new();
    for read in reads {
        let Some((version, _)) = read.found else { continue };
        let highest = shown.entry((read.copy, &read.key)).or_insert(version);
        if version < *highest {
            let (key, copy) = (read.key.clone(), read.copy);
            violations.push(Violation::WentBack { key, copy, later: *highest, earlier: version });
        }
        *highest = version.max(*highest);
    }
}
