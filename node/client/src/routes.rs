//! Where an operation goes: the shard map as this client has it, and the leaders that it has learnt of.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use skerry_core::ids::{NodeId, ShardId, TableId};
use skerry_core::map::{Descriptor, Fragmentation, Map, Role};

/// A map, with its tables by name.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    pub(crate) map: Arc<Map>,
    tables: HashMap<String, Table>,
}

/// What is needed of a table to make its keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    pub(crate) id: TableId,
    pub(crate) fragmentation: Fragmentation,
}

impl Routes {
    pub(crate) fn new(map: Map) -> Self {
        let live = map.tables.values().filter(|table| !table.dropped && table.id != TableId::SYSTEM);
        let table = |id, fragmentation| Table { id, fragmentation };
        let tables = live.map(|t| (t.name.clone(), table(t.id, t.fragmentation))).collect();
        Self { map: Arc::new(map), tables }
    }

    pub(crate) fn table(&self, name: &str) -> Option<Table> {
        self.tables.get(name).copied()
    }

    /// True if reads from the node at hand stay in the zone.
    pub(crate) fn is_in_zone(&self, node: NodeId, zone: Option<&str>) -> bool {
        zone.is_some() && self.map.nodes.get(&node).map(|record| record.zone.as_str()) == zone
    }
}

/// The leaders that nodes have told of. Only hints: a node that does not lead says so.
#[derive(Debug, Default)]
pub(crate) struct Leaders(RwLock<HashMap<ShardId, NodeId>>);

impl Leaders {
    pub(crate) fn get(&self, shard: ShardId) -> Option<NodeId> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&shard).copied()
    }

    pub(crate) fn learn(&self, shard: ShardId, leader: NodeId) {
        if self.get(shard) != Some(leader) {
            self.0.write().unwrap_or_else(PoisonError::into_inner).insert(shard, leader);
        }
    }

    /// Forgets a leader that turned out not to be one, unless another was learnt of meanwhile.
    pub(crate) fn forget(&self, shard: ShardId, not_leader: NodeId) {
        if self.get(shard) == Some(not_leader) {
            let mut leaders = self.0.write().unwrap_or_else(PoisonError::into_inner);
            if leaders.get(&shard) == Some(&not_leader) {
                leaders.remove(&shard);
            }
        }
    }
}

/// The node to ask for what only a leader answers: the known one, else one voter after the other.
pub(crate) fn toward_leader(descriptor: &Descriptor, known: Option<NodeId>, tries: u32) -> Option<NodeId> {
    known.or_else(|| nth(voters(descriptor), tries))
}

/// The node to ask for what any replica answers: one of those near by, else one voter after the other.
pub(crate) fn any_replica(descriptor: &Descriptor, near: impl Fn(NodeId) -> bool, turn: u32) -> Option<NodeId> {
    nth(voters(descriptor).filter(|node| near(*node)), turn).or_else(|| nth(voters(descriptor), turn))
}

fn voters(descriptor: &Descriptor) -> impl Iterator<Item = NodeId> + Clone {
    descriptor.members.iter().filter(|m| m.role != Role::Learner).map(|m| m.replica.node)
}

fn nth(nodes: impl Iterator<Item = NodeId> + Clone, turn: u32) -> Option<NodeId> {
    let count = u32::try_from(nodes.clone().count()).ok().filter(|count| *count > 0)?;
    nodes.into_iter().nth((turn % count) as usize)
}

#[cfg(test)]
mod tests {
    use skerry_core::ids::ReplicaId;
    use skerry_core::map::{Member, Replica};

    use super::*;

    fn shard_on(nodes: &[(u64, Role)]) -> Descriptor {
        let member = |&(n, role): &(u64, Role)| Member { replica: Replica { node: NodeId(n), id: ReplicaId(n) }, role };
        Descriptor { members: nodes.iter().map(member).collect(), ..Descriptor::default() }
    }

    #[test]
    fn without_a_known_leader_every_voter_is_tried_and_no_learner() {
        let shard = shard_on(&[(1, Role::Voter), (2, Role::Learner), (3, Role::Voter)]);
        let asked: Vec<_> = (0..3).filter_map(|tries| toward_leader(&shard, None, tries)).collect();
        assert_eq!(asked, [NodeId(1), NodeId(3), NodeId(1)]);
        assert_eq!(toward_leader(&shard, Some(NodeId(9)), 1), Some(NodeId(9)));
        assert_eq!(toward_leader(&shard_on(&[]), None, 0), None);
    }

    #[test]
    fn any_replica_near_by_is_preferred_and_a_far_one_is_better_than_none() {
        let shard = shard_on(&[(1, Role::Voter), (2, Role::Voter), (3, Role::Voter)]);
        assert_eq!(any_replica(&shard, |node| node == NodeId(2), 5), Some(NodeId(2)));
        assert_eq!(any_replica(&shard, |_| false, 5), Some(NodeId(3)));
    }

    #[test]
    fn only_the_leader_that_failed_is_forgotten() {
        let leaders = Leaders::default();
        leaders.learn(ShardId(1), NodeId(1));
        leaders.learn(ShardId(1), NodeId(2));
        leaders.forget(ShardId(1), NodeId(1));
        assert_eq!(leaders.get(ShardId(1)), Some(NodeId(2)));
        leaders.forget(ShardId(1), NodeId(2));
        assert_eq!(leaders.get(ShardId(1)), None);
    }
}
