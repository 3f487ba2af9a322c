//! A committed entry never changes, and equal applied indexes mean equal records.

use std::collections::BTreeMap;

use super::{Broken, broken};
use crate::ids::ShardId;
use crate::replica::ReplicaView;

/// Remembers what was committed, and what the records were.
#[derive(Debug, Default)]
pub struct Committed {
    entries: BTreeMap<(ShardId, u64), (u64, u64)>,
    states: BTreeMap<(ShardId, u64), u64>,
}

impl Committed {
    /// Looks at the entries of one replica: index, term and hash of each.
    pub fn check_entries(&mut self, view: &ReplicaView, entries: &[(u64, u64, u64)]) -> Result<(), Broken> {
        for &(index, term, hash) in entries.iter().filter(|(index, ..)| *index <= view.committed) {
            let first = *self.entries.entry((view.shard, index)).or_insert((term, hash));
            if first != (term, hash) {
                let seen = format!(
                    "shard {} index {index}: term {term} on {}, but term {} before",
                    view.shard, view.replica, first.0
                );
                return broken("committed entries never change", seen);
            }
        }
        Ok(())
    }

    /// Looks at the hash of one replica's records.
    pub fn check_state(&mut self, view: &ReplicaView, hash: u64) -> Result<(), Broken> {
        let first = *self.states.entry((view.shard, view.applied.0)).or_insert(hash);
        if first == hash {
            return Ok(());
        }
        let seen =
            format!("shard {} applied {}: {} differs from another copy", view.shard, view.applied.0, view.replica);
        broken("equal applied index, equal records", seen)
    }
}
