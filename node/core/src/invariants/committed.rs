//! A committed entry never changes, and equal applied indexes mean equal records.

use std::collections::BTreeMap;

use super::{Broken, broken};
use crate::ids::ShardId;
use crate::replica::Summary;

/// Remembers what was committed, and what the records were.
#[derive(Debug, Default)]
pub struct Committed {
    entries: BTreeMap<(ShardId, u64), (u64, u64)>,
    states: BTreeMap<(ShardId, u64), u64>,
}

impl Committed {
    /// Looks at committed entries of one replica: index, term and hash of each.
    pub fn check_entries(&mut self, copy: &Summary, entries: &[(u64, u64, u64)]) -> Result<(), Broken> {
        for &(index, term, hash) in entries.iter().filter(|(index, ..)| *index <= copy.committed.0) {
            let first = *self.entries.entry((copy.shard, index)).or_insert((term, hash));
            if first != (term, hash) {
                let seen = format!(
                    "shard {} index {index}: term {term} on {}, but term {} before",
                    copy.shard, copy.replica, first.0
                );
                return broken("committed entries never change", seen);
            }
        }
        Ok(())
    }

    /// Looks at a hash of what one replica has applied: of all that is replicated, the same on every copy.
    pub fn check_state(&mut self, copy: &Summary, hash: u64) -> Result<(), Broken> {
        let first = *self.states.entry((copy.shard, copy.applied.0)).or_insert(hash);
        if first == hash {
            return Ok(());
        }
        let seen =
            format!("shard {} applied {}: {} differs from another copy", copy.shard, copy.applied.0, copy.replica);
        broken("equal applied index, equal records", seen)
    }
}
