//! At most one replica leads a shard in a term. A recovery from a lost majority begins anew: nobody there has heard of its last
//! terms.

use std::collections::BTreeMap;

use super::{Broken, broken};
use crate::ids::{ReplicaId, ShardId};
use crate::replica::Summary;

/// Remembers which replica led each shard in each term, after so many recoveries.
#[derive(Debug, Default)]
pub struct Leaders(BTreeMap<(ShardId, u64, u64), ReplicaId>);

impl Leaders {
    /// Checks one replica: if it leads, no other may have led the shard in its term.
    pub fn check(&mut self, copy: &Summary) -> Result<(), Broken> {
        if !copy.is_leader {
            return Ok(());
        }
        let first = *self.0.entry((copy.shard, copy.generation.recoveries(), copy.term)).or_insert(copy.replica);
        if first == copy.replica {
            return Ok(());
        }
        broken("one leader a term", format!("shard {} term {}: {first} and {}", copy.shard, copy.term, copy.replica))
    }
}
