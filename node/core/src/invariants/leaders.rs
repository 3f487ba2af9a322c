//! At most one replica leads a shard in a term.

use std::collections::BTreeMap;

use super::{Broken, broken};
use crate::ids::{ReplicaId, ShardId};
use crate::replica::Summary;

/// Remembers which replica led each shard in each term.
#[derive(Debug, Default)]
pub struct Leaders(BTreeMap<(ShardId, u64), ReplicaId>);

impl Leaders {
    /// Checks one replica: if it leads, no other may have led the shard in its term.
    pub fn check(&mut self, copy: &Summary) -> Result<(), Broken> {
        if !copy.is_leader {
            return Ok(());
        }
        let first = *self.0.entry((copy.shard, copy.term)).or_insert(copy.replica);
        if first == copy.replica {
            return Ok(());
        }
        broken("one leader a term", format!("shard {} term {}: {first} and {}", copy.shard, copy.term, copy.replica))
    }
}
