//! The other copies of the shard, as one copy knows them: where they are, and when it last heard of each.

use std::collections::BTreeMap;

use crate::ids::{NodeId, ReplicaId};
use crate::map::Member;
use crate::planted::{Planted, is_planted};
use crate::time::ELECTION_TICKS;

/// Copies that one copy remembers the nodes of: far more than it ever has to do with at a time.
const PEERS_MAX: usize = 256;

/// Owner of what is known of the others. Ticks are this process's.
#[derive(Debug)]
pub(in crate::replica) struct Peers {
    /// The node that this replica is on.
    own: NodeId,
    nodes: BTreeMap<ReplicaId, NodeId>,
    /// The tick in which each was last heard of. raft's own note of it is wiped at every check of the quorum.
    heard: BTreeMap<ReplicaId, u64>,
}

impl Peers {
    pub(super) fn new(own: NodeId) -> Self {
        Self { own, nodes: BTreeMap::new(), heard: BTreeMap::new() }
    }

    /// The node that this replica is on.
    pub(super) fn own_node(&self) -> NodeId {
        self.own
    }

    /// Where another copy is, as far as known.
    pub(super) fn node_of(&self, copy: ReplicaId) -> Option<NodeId> {
        self.nodes.get(&copy).copied()
    }

    /// The members are where the shard's descriptor says.
    pub(super) fn learn(&mut self, members: &[Member]) {
        self.nodes.extend(members.iter().map(|m| (m.replica.id, m.replica.node)));
    }

    /// A copy is there that is to become a member.
    pub(super) fn add(&mut self, copy: ReplicaId, node: NodeId) {
        self.nodes.insert(copy, node);
    }

    /// Notes where a copy is that speaks. One that has had no leader for long listens to copies that it does not know,
    /// under whatever ids: most of those that need not stay are forgotten when they are too many.
    pub(super) fn know(&mut self, copy: ReplicaId, node: NodeId, stays: impl Fn(&ReplicaId) -> bool) {
        let is_full = self.nodes.len() >= PEERS_MAX && !self.nodes.contains_key(&copy);
        if is_full && !is_planted(Planted::StrangersKept) {
            self.nodes.retain(|id, _| stays(id));
            self.heard.retain(|id, _| stays(id));
        }
        self.nodes.insert(copy, node);
    }

    /// A copy is heard of in this tick.
    pub(in crate::replica) fn hear(&mut self, copy: ReplicaId, tick: u64) {
        self.heard.insert(copy, tick);
    }

    /// What was heard of a copy counts no more.
    pub(in crate::replica) fn forget_heard(&mut self, copy: ReplicaId) {
        self.heard.remove(&copy);
    }

    /// The tick in which a copy was last heard of.
    pub(in crate::replica) fn heard_at(&self, copy: ReplicaId) -> Option<u64> {
        self.heard.get(&copy).copied()
    }

    /// True if a copy was heard of within an election time-out.
    pub(super) fn is_recent(&self, copy: ReplicaId, tick: u64) -> bool {
        self.heard_at(copy).is_some_and(|heard| tick - heard <= ELECTION_TICKS as u64)
    }

    /// Number of other copies that something is remembered of.
    #[cfg(test)]
    pub(in crate::replica) fn len(&self) -> usize {
        self.nodes.len().max(self.heard.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_forgotten_before_they_are_too_many_and_those_that_stay_are_not() {
        let mut peers = Peers::new(NodeId(1));
        for id in 1..=3 * PEERS_MAX as u64 {
            peers.know(ReplicaId(id), NodeId(id), |id| id.0 == 2);
            peers.hear(ReplicaId(id), 0);
            assert!(peers.len() <= PEERS_MAX);
        }
        assert_eq!((peers.node_of(ReplicaId(2)), peers.heard_at(ReplicaId(2))), (Some(NodeId(2)), Some(0)));
        assert_eq!(peers.node_of(ReplicaId(3)), None);
    }

    #[test]
    fn a_copy_is_heard_of_for_an_election_timeout() {
        let mut peers = Peers::new(NodeId(1));
        peers.hear(ReplicaId(2), 50);
        assert!(peers.is_recent(ReplicaId(2), 50 + ELECTION_TICKS as u64));
        assert!(!peers.is_recent(ReplicaId(2), 51 + ELECTION_TICKS as u64));
        peers.forget_heard(ReplicaId(2));
        assert!(!peers.is_recent(ReplicaId(2), 50));
    }
}
