//! A change never leaves fewer copies in sync than before: a copy becomes a voter only once it has the data, and a node
//! is certified only when every shard has its copies elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broken, broken};
use crate::ids::{Generation, NodeId, ReplicaId};
use crate::map::{Map, Replica, Role};
use crate::replica::ReplicaView;

/// Whom shards began with. These vote from the beginning, on the empty shard: one that was not made before the members
/// changed waits for a snapshot like a later copy, but nobody has counted it as in sync.
#[derive(Debug, Default)]
pub struct Promoted {
    first: BTreeSet<ReplicaId>,
}

impl Promoted {
    /// Notes the members that a shard began with, if the replica is still at its first generation.
    pub fn note(&mut self, replica: &ReplicaView) {
        if replica.descriptor.generation == Generation(1) {
            self.first.extend(replica.descriptor.members.iter().map(|m| m.replica.id));
        }
    }

    /// Looks at a leader and at all replicas there are now: no member that became one that counts for a quorum waits for
    /// its data.
    pub fn check(&self, leader: &ReplicaView, all: &BTreeMap<ReplicaId, ReplicaView>) -> Result<(), Broken> {
        let voters = leader.descriptor.members.iter().filter(|m| m.role != Role::Learner).map(|m| m.replica.id);
        for voter in voters.filter(|voter| !self.first.contains(voter)) {
            // A voter that was too far behind is blank while it gets a snapshot, but keeps its log.
            if all.get(&voter).is_some_and(|v| v.is_blank && v.last == 0) {
                let seen = format!("shard {}: {voter} votes without data", leader.shard);
                return broken("only copies in sync are promoted", seen);
            }
        }
        Ok(())
    }
}

/// Looks at a certificate just given: the node holds no member, and every live shard has its copies elsewhere. `all` =
/// the replicas in processes and, of nodes that are down, on volumes: a member that is on none is not held.
pub fn check_certificate(node: NodeId, map: &Map, all: &BTreeMap<ReplicaId, ReplicaView>) -> Result<(), Broken> {
    const RULE: &str = "a certificate is never given for needed copies";
    for record in map.live_shards() {
        let shard = record.descriptor.shard;
        let newest = all.values().filter(|v| v.shard == shard && !v.is_blank).max_by_key(|v| v.descriptor.generation);
        let Some(newest) = newest else { continue };
        if newest.descriptor.members.iter().any(|m| m.replica.node == node) {
            return broken(RULE, format!("shard {shard} has a member on {node}"));
        }
        let wanted = map.tables.get(&record.descriptor.table).map_or(0, |t| t.replication_factor as usize);
        let is_held = |copy: &Replica| all.get(&copy.id).is_some_and(|view| !view.is_blank);
        let held = newest.descriptor.members.iter().filter(|m| is_held(&m.replica)).count();
        if held < wanted {
            return broken(RULE, format!("shard {shard}: {held}/{wanted} copies elsewhere"));
        }
    }
    Ok(())
}
