//! A page of a scan is one read of all its keys: there is a moment at which they all were as it shows them.

use std::collections::BTreeMap;

use super::check::Writes;
use super::{History, Violation};
use crate::time::Version;

/// A key, and what was found of it: version and value. `None` = absent.
pub type Shown = (Vec<u8>, Option<(Version, u64)>);

/// A page, and every key within it that a client uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// When the client sent the read.
    pub invoked: u64,
    /// When the client had the answer.
    pub returned: u64,
    /// The keys that the page shows, all of one shard.
    pub found: Vec<Shown>,
    /// The earliest and the latest that a clock can have shown to whoever served it, in milliseconds.
    pub walls: (u64, u64),
}

impl History {
    /// Adds a page: a read of each of its keys, and of all together.
    pub fn record_page(&mut self, page: Page) {
        for (key, found) in &page.found {
            let found = found.map(|(version, value)| (version, Some(value)));
            self.record_read(key, (page.invoked, page.returned), found, page.walls);
        }
        self.pages.push(page);
    }
}

impl Page {
    /// The page's moment is at or after the newest record that it shows, and before the next write of any of its keys.
    pub(super) fn check(&self, placed: &BTreeMap<&[u8], Writes>, violations: &mut Vec<Violation>) {
        let shown = || self.found.iter().filter_map(|(key, found)| Some((found.as_ref()?.0, key)));
        let Some((newest, other)) = shown().max() else { return };
        for (key, found) in &self.found {
            let Some(writes) = placed.get(&key[..]) else { continue };
            let is_torn = match found {
                Some((version, _)) => writes.placed.range(version..=&newest).any(|(later, _)| later > version),
                None => writes.is_there_from(newest, self.walls.1),
            };
            if is_torn {
                let version = found.map_or(Version(0), |(version, _)| version);
                let (key, other) = (key.clone(), other.clone());
                violations.push(Violation::TornPage { at: self.invoked, key, version, other, until: newest });
            }
        }
    }
}
