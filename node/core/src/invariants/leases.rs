//! While a leader may answer reads from its lease, nobody else has been elected.

use std::collections::BTreeSet;

use super::{Broken, broken};
use crate::ids::{NodeId, ShardId};
use crate::replica::ReplicaView;

/// Remembers which elections were looked at.
#[derive(Debug, Default)]
pub struct Leases {
    elected: BTreeSet<(ShardId, u64)>,
}

impl Leases {
    /// Looks at one replica. `leases` = the nodes that hold a lease on a shard at this moment, and in which term.
    pub fn check<I: Iterator<Item = (NodeId, u64)>>(
        &mut self,
        view: &ReplicaView,
        leases: impl FnOnce(ShardId) -> I,
    ) -> Result<(), Broken> {
        if !view.is_leader || !self.elected.insert((view.shard, view.term)) {
            return Ok(());
        }
        match leases(view.shard).find(|(_, term)| *term < view.term) {
            None => Ok(()),
            Some((holder, term)) => {
                let seen = format!("shard {}: {} elected in {}, {holder} {term}", view.shard, view.node, view.term);
                broken("nobody is elected while a lease holds", seen)
            }
        }
    }
}
