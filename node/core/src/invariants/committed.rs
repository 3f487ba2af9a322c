//! A committed entry never changes, and equal applied indexes mean equal records. But for a shard that goes on from one copy
//! after a recovery: that is another history from then on, and the indexes of the one that was given up come again in it.

use std::collections::BTreeMap;

use super::{Broken, broken};
use crate::ids::ShardId;
use crate::replica::Summary;

/// Remembers what was committed, and what the records were.
#[derive(Debug, Default)]
pub struct Committed {
    entries: BTreeMap<(ShardId, u64, u64), (u64, u64)>,
    states: BTreeMap<(ShardId, u64, u64), u64>,
}

impl Committed {
    /// Looks at committed entries of one replica: index, term and hash of each.
    pub fn check_entries(&mut self, copy: &Summary, entries: &[(u64, u64, u64)]) -> Result<(), Broken> {
        for &(index, term, hash) in entries.iter().filter(|(index, ..)| *index <= copy.committed.0) {
            let first = *self.entries.entry(at(copy, index)).or_insert((term, hash));
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
        let first = *self.states.entry(at(copy, copy.applied.0)).or_insert(hash);
        if first == hash {
            return Ok(());
        }
        let seen =
            format!("shard {} applied {}: {} differs from another copy", copy.shard, copy.applied.0, copy.replica);
        broken("equal applied index, equal records", seen)
    }
}

/// The shard, the recoveries that it has had, and an index.
fn at(copy: &Summary, index: u64) -> (ShardId, u64, u64) {
    (copy.shard, copy.generation.recoveries(), index)
}
