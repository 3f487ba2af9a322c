//! A replica id is never reused: it belongs to one shard and one node, and once gone from a node it never comes back.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broken, broken};
use crate::ids::{NodeId, ReplicaId, ShardId};
use crate::replica::ReplicaView;

/// Remembers whose ids were whose, and which ones left their group.
#[derive(Debug, Default)]
pub struct Identity {
    owners: BTreeMap<ReplicaId, (ShardId, NodeId)>,
    members: BTreeMap<ShardId, (u64, BTreeSet<ReplicaId>)>,
    removed: BTreeSet<ReplicaId>,
}

impl Identity {
    /// Checks one replica against all that were seen before.
    pub fn check(&mut self, view: &ReplicaView) -> Result<(), Broken> {
        let owner = (view.shard, view.node);
        let first = *self.owners.entry(view.replica).or_insert(owner);
        if first != owner {
            return broken(
                "replica ids are never reused",
                format!("{} of {first:?} is of {owner:?} too", view.replica),
            );
        }
        self.check_members(view)
    }

    /// A copy that left a shard's group is never a member of a later generation.
    fn check_members(&mut self, view: &ReplicaView) -> Result<(), Broken> {
        let generation = view.descriptor.generation.0;
        let (newest, members) = self.members.entry(view.shard).or_default();
        if generation <= *newest {
            return Ok(());
        }
        let now: BTreeSet<_> = view.descriptor.members.iter().map(|m| m.replica.id).collect();
        self.removed.extend(members.difference(&now));
        (*newest, *members) = (generation, now);
        match members.iter().find(|id| self.removed.contains(id)) {
            None => Ok(()),
            Some(id) => broken(
                "replica ids are never reused",
                format!("{id} is back in shard {} at generation {generation}", view.shard),
            ),
        }
    }
}
