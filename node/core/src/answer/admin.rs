//! What the system shard's leader answers: to the operator, to joining nodes, and to those who ask how things stand.

use std::sync::Arc;

use crate::ids::{Epoch, Incarnation, NodeId, ReplicaId, ShardId};
use crate::map::Map;
use crate::message::{CopyReport, NodeReport, QuorumReport, ShardReport};
use crate::steward::{RecoveryPlan, RecoveryRefusal};
use crate::system::{AdminChange, Fence, SystemCommand, SystemRefusal, SystemReply};

/// What the leader of the system shard answers to an admin request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminReply {
    /// The answer to a command.
    Command(SystemReply),
    /// The answer to a request for a certificate.
    Removal(Removal),
    /// The answer to a request for the status.
    Status(Box<Status>),
    /// The answer to a request for a plan of recovery.
    Recoveries(Vec<(ShardId, Result<RecoveryPlan, RecoveryRefusal>)>),
    /// The answer to a question about a node's own copy of the system shard.
    SystemCopy {
        /// Node that answers, and that the copy would be on.
        node: NodeId,
        /// `None` = it has none, or one that has a leader.
        copy: Option<CopyReport>,
    },
}

/// Why an admin request was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminRefusal {
    /// The node that was asked does not lead the system shard. Nothing has changed.
    #[error("this node does not lead the system shard")]
    NotLeader {
        /// Node of the system shard's leader. `None` = unknown now.
        leader: Option<NodeId>,
    },
    /// The command may have happened; commands may be repeated.
    #[error("leadership of the system shard was lost before the outcome was known")]
    OutcomeUnknown,
    /// The system shard refused the command. Nothing has changed.
    #[error(transparent)]
    Refused(#[from] SystemRefusal),
    /// The recovery is not allowed. Nothing has changed.
    #[error(transparent)]
    Recovery(#[from] RecoveryRefusal),
}

/// May a node be removed? Unknown is never yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// The node can be removed, as of now. The certificate is the proof.
    Safe(Certificate),
    /// The node cannot be removed now, for these reasons.
    NotYet(Vec<NotYet>),
    /// Some leader did not answer: no statement.
    Unknown {
        /// Shards whose leaders did not answer.
        shards: Vec<ShardId>,
    },
}

/// The system shard's proof that a node, in one incarnation, can be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Node that can be removed.
    pub node: NodeId,
    /// Incarnation of the node that the certificate is for. It does not hold for a later one.
    pub incarnation: Incarnation,
    /// Epoch of the map that the certificate was given on.
    pub epoch: Epoch,
    /// Shards whose leaders were asked.
    pub shards: u64,
}

impl Certificate {
    /// The removal that this certificate allows.
    pub fn removal(&self, token: u64) -> SystemCommand {
        let fence = Fence { token, based_on: Some(self.epoch) };
        SystemCommand::Admin { fence, change: AdminChange::Remove(self.node) }
    }
}

/// A reason that stands against a removal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotYet {
    /// The node must be drained before it can be removed.
    #[error("node {0} is not draining")]
    NotDraining(NodeId),
    /// The question was about another incarnation of the node than the latest one.
    #[error("asked about incarnation {asked}, the latest is {latest}")]
    OtherIncarnation {
        /// Incarnation that the question was about.
        asked: Incarnation,
        /// Latest incarnation of the node in the registry.
        latest: Incarnation,
    },
    /// The node still holds a replica of the shard.
    #[error("shard {shard} has a replica on it")]
    Holds {
        /// Shard that still has a replica on the node.
        shard: ShardId,
    },
    /// The shard has too few copies in step on other nodes.
    #[error("shard {shard}: {in_sync}/{wanted} copies in sync elsewhere")]
    Copies {
        /// Shard that has too few copies on other nodes.
        shard: ShardId,
        /// Number of copies on other nodes that are in step.
        in_sync: u32,
        /// Number of copies that the shard must have.
        wanted: u32,
    },
    /// The copies of the quorum shard change: all of them are asked once they do not.
    #[error("the copies of shard {shard} change")]
    Changing {
        /// Quorum shard whose copies change.
        shard: ShardId,
    },
}

/// The database as the steward sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The map as of the system shard leader's applied index.
    pub map: Arc<Map>,
    /// The latest report of each node, with its age in milliseconds. A node without one has not been heard of since
    /// this leader took over: unknown, not absent.
    pub nodes: Vec<(NodeReport, u64)>,
    /// The latest report of each shard's leader, with its age in milliseconds.
    pub shards: Vec<(ShardReport, u64)>,
    /// What the nodes have told last of their copies of quorum shards, without from whom each has copied. It is as old as
    /// what they tell of themselves. A copy that is not there has not been told of: unknown, not absent.
    pub copies: Vec<(NodeId, QuorumReport)>,
    /// Node that answers: it leads the system shard.
    pub steward: NodeId,
    /// Copies that are lost, and being built anew.
    pub lost: Vec<(ShardId, ReplicaId)>,
}
