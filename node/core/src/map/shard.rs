//! What the map says of one shard.

use serde::{Deserialize, Serialize};

use super::{Descriptor, QuorumRecord, Replica, Role};
use crate::ids::{Epoch, NodeId};

/// One shard as the system shard knows it: the members may be older than the shard's own descriptor, never newer. Of a
/// quorum shard they are exact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRecord {
    /// The shard's descriptor as last recorded.
    pub descriptor: Descriptor,
    /// The nodes on which the operator wants its replicas, all distinct.
    pub target: Vec<NodeId>,
    /// The copies that the shard's leader is to bring about, or the steward's steps if it is a quorum shard. Chosen by the
    /// steward from the target. Equal to the members when nothing moves.
    pub assigned: Vec<Replica>,
    /// Epoch of the last change of this record.
    pub epoch: Epoch,
    /// What a quorum shard has beside its members. `None` = its copies follow a leader. In the store and on the network it
    /// stands beside the rest: releases below format level 3 have no place for it.
    #[serde(skip)]
    pub quorum: Option<QuorumRecord>,
}

impl ShardRecord {
    /// True if the members are just the assigned copies, all voting, and on the target's nodes.
    pub fn is_settled(&self) -> bool {
        self.assigned_reached() && self.on_target()
    }

    /// True if the members are just the assigned copies, all voting, and nothing of a quorum shard changes.
    pub fn assigned_reached(&self) -> bool {
        self.has_assigned() && self.quorum.is_none_or(|quorum| quorum.change.is_none())
    }

    /// True if the members are just the assigned copies, all voting.
    pub fn has_assigned(&self) -> bool {
        let members = &self.descriptor.members;
        members.len() == self.assigned.len()
            && members.iter().all(|m| m.role == Role::Voter && self.assigned.contains(&m.replica))
    }

    /// True if the shard has, is to have, or should have a copy on the node.
    pub fn names(&self, node: NodeId) -> bool {
        self.descriptor.members.iter().any(|m| m.replica.node == node)
            || self.assigned.iter().any(|r| r.node == node)
            || self.target.contains(&node)
    }

    /// True if the assigned copies are on the target's nodes.
    pub fn on_target(&self) -> bool {
        self.assigned.len() == self.target.len() && self.assigned.iter().all(|r| self.target.contains(&r.node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ReplicaId;
    use crate::map::Member;

    const ROLES: [Role; 4] = [Role::Voter, Role::Learner, Role::Incoming, Role::Outgoing];

    fn copy(node: u64) -> Replica {
        Replica { node: NodeId(node), id: ReplicaId(node) }
    }

    /// A member on node 4, a copy assigned to node 5, and node 6 as the target.
    fn record(role: Role) -> ShardRecord {
        let members = vec![Member { replica: copy(4), role }];
        let descriptor = Descriptor { members, ..Descriptor::default() };
        ShardRecord { descriptor, assigned: vec![copy(5)], target: vec![NodeId(6)], ..ShardRecord::default() }
    }

    #[test]
    fn a_node_is_named_while_it_has_a_member_of_any_kind_or_is_to_have_a_copy() {
        for role in ROLES {
            let named = [4, 5, 6, 7].map(|node| record(role).names(NodeId(node)));
            assert_eq!(named, [true, true, true, false], "{role:?}");
        }
    }

    #[test]
    fn a_shard_is_settled_with_voters_alone_which_are_the_assigned_copies_on_the_targets_nodes() {
        for role in ROLES {
            let settled = ShardRecord { assigned: vec![copy(4)], target: vec![NodeId(4)], ..record(role) };
            assert_eq!(settled.is_settled(), role == Role::Voter, "{role:?}");
        }
        let at = |assigned: &[u64], target: &[u64]| {
            let assigned = assigned.iter().map(|node| copy(*node)).collect();
            let target = target.iter().map(|node| NodeId(*node)).collect();
            let record = ShardRecord { assigned, target, ..record(Role::Voter) };
            (record.has_assigned(), record.on_target())
        };
        assert_eq!(at(&[4], &[4]), (true, true));
        assert_eq!(at(&[4, 5], &[4, 5]), (false, true), "one is to come");
        assert_eq!(at(&[], &[]), (false, true), "one is to go");
        assert_eq!(at(&[4], &[4, 5]), (true, false));
        assert_eq!(at(&[4], &[5]), (true, false));
    }
}
