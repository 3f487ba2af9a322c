//! At most one replica leads a shard in a term.

use std::collections::BTreeMap;

use super::{Broken, broken};
use crate::ids::{ReplicaId, ShardId};
use crate::replica::ReplicaView;

/// Remembers who led.
#[derive(Debug, Default)]
pub struct Leaders(BTreeMap<(ShardId, u64), ReplicaId>);

impl Leaders {
    /// Looks at one replica.
    pub fn check(&mut self, view: &ReplicaView) -> Result<(), Broken> {
        if !view.is_leader {
            return Ok(());
        }
        let first = *self.0.entry((view.shard, view.term)).or_insert(view.replica);
        if first == view.replica {
            return Ok(());
        }
        broken("one leader a term", format!("shard {} term {}: {first} and {}", view.shard, view.term, view.replica))
    }
}
