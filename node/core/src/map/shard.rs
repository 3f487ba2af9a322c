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
