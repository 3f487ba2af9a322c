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

/// What an operation knows of a copy that it may ask. The lowest is asked first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Standing {
    /// How often this operation has asked it in vain: each other copy comes before it is asked again.
    pub(crate) failures: u32,
    /// It has not answered lately, or had no records.
    pub(crate) is_shunned: bool,
    /// It is not in the client's zone.
    pub(crate) is_far: bool,
}

/// The node to ask for what only a leader answers: the known one, else one voter after the other.
pub(crate) fn toward_leader(
    descriptor: &Descriptor,
    known: Option<NodeId>,
    standing: impl Fn(NodeId) -> Standing,
) -> Option<NodeId> {
    known.or_else(|| any_replica(descriptor, 0, standing))
}

/// The node to ask for what any replica answers: of the voters that stand best, the first from the operation's turn on.
pub(crate) fn any_replica(
    descriptor: &Descriptor,
    turn: usize,
    standing: impl Fn(NodeId) -> Standing,
) -> Option<NodeId> {
    let voters = || descriptor.members.iter().filter(|m| m.role != Role::Learner).map(|m| m.replica.node);
    let count = voters().count().max(1);
    let begin = turn % count;
    let after_begin = |index: usize| (index + count - begin) % count;
    let best = voters().enumerate().min_by_key(|(index, node)| (standing(*node), after_begin(*index)));
    best.map(|(_, node)| node)
}

#[cfg(test)]
mod tests {
    use skerry_core::ids::ReplicaId;
    use skerry_core::map::{Member, Replica};

    use super::*;

    type Nodes = &'static [u64];

    fn shard_on(nodes: &[(u64, Role)]) -> Descriptor {
        let member = |&(n, role): &(u64, Role)| Member { replica: Replica { node: NodeId(n), id: ReplicaId(n) }, role };
        Descriptor { members: nodes.iter().map(member).collect(), ..Descriptor::default() }
    }

    fn three() -> Descriptor {
        shard_on(&[(1, Role::Voter), (2, Role::Voter), (3, Role::Voter)])
    }

    /// Whom an operation asks, one after the other, if each of these asks is in vain.
    fn asked(
        times: usize,
        of: impl Fn(NodeId) -> Standing,
        ask: impl Fn(&dyn Fn(NodeId) -> Standing) -> NodeId,
    ) -> Vec<u64> {
        let mut asked = Vec::new();
        for _ in 0..times {
            let failures = |node: NodeId| u32::try_from(asked.iter().filter(|n| **n == node.0).count()).unwrap();
            let next = ask(&|node| Standing { failures: failures(node), ..of(node) });
            asked.push(next.0);
        }
        asked
    }

    #[test]
    fn without_a_known_leader_every_voter_is_tried_and_no_learner() {
        let shard = shard_on(&[(1, Role::Voter), (2, Role::Learner), (3, Role::Voter)]);
        let any = |_| Standing::default();
        assert_eq!(asked(3, any, |standing| toward_leader(&shard, None, standing).unwrap()), [1, 3, 1]);
        assert_eq!(toward_leader(&shard, Some(NodeId(9)), any), Some(NodeId(9)));
        assert_eq!(toward_leader(&shard_on(&[]), None, any), None);
        let silent = |node| Standing { is_shunned: node == NodeId(1), ..Standing::default() };
        assert_eq!(toward_leader(&three(), None, silent), Some(NodeId(2)), "the first one was silent");
        assert_eq!(toward_leader(&three(), Some(NodeId(1)), silent), Some(NodeId(1)), "another one has named it since");
    }

    #[test]
    fn copies_are_asked_in_turns_the_near_ones_first_and_those_that_were_silent_last() {
        // Which are near, which are shunned, the operation's turn, and whom it asks.
        let table: [(Nodes, Nodes, usize, [u64; 4]); 14] = [
            (&[], &[], 0, [1, 2, 3, 1]),
            (&[], &[], 1, [2, 3, 1, 2]),
            (&[], &[], 2, [3, 1, 2, 3]),
            (&[], &[], usize::MAX, [1, 2, 3, 1]),
            (&[2], &[], 0, [2, 1, 3, 2]),
            (&[2], &[], 1, [2, 3, 1, 2]),
            (&[2], &[], 2, [2, 3, 1, 2]),
            (&[1, 3], &[], 0, [1, 3, 2, 1]),
            (&[1, 3], &[], 1, [3, 1, 2, 3]),
            (&[2], &[2], 0, [1, 3, 2, 1]),
            (&[2], &[2], 2, [3, 1, 2, 3]),
            (&[1, 3], &[1], 0, [3, 2, 1, 3]),
            (&[], &[1, 2], 0, [3, 1, 2, 3]),
            (&[2], &[1, 2, 3], 0, [2, 1, 3, 2]),
        ];
        for (near, shunned, turn, expected) in table {
            let of = |node: NodeId| Standing {
                is_shunned: shunned.contains(&node.0),
                is_far: !near.contains(&node.0),
                failures: 0,
            };
            let asked = asked(4, of, |standing| any_replica(&three(), turn, standing).unwrap());
            assert_eq!(asked, expected, "near {near:?}, shunned {shunned:?}, turn {turn}");
        }
        assert_eq!(any_replica(&shard_on(&[(2, Role::Learner)]), 3, |_| Standing::default()), None);
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
