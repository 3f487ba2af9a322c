//! What a node answers its clients, and why it may not serve them.

mod admin;

pub use admin::{AdminRefusal, AdminReply, Certificate, NotYet, Removal, Status};

use crate::command::{Outcome, ReadResult};
use crate::ids::{Epoch, NodeId, ShardId, TableId};
use crate::key::KeyError;
use crate::limits::LimitExceeded;
use crate::time::{Version, lag};

/// The answer to a client's request. The request's token, which is kept beside it, says whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The answer to a write.
    Write(Result<Outcome, Refusal>),
    /// The answer to a read.
    Read(Result<ReadResult, Refusal>),
    /// The answer to an admin request.
    Admin(Result<AdminReply, AdminRefusal>),
}

/// Why a node did not serve a client. Each says whether the write may have happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing happened: this node does not lead the shard. Ask the leader.
    #[error("{}", not_leader(*.shard, *.leader))]
    NotLeader {
        /// Shard that the request was for.
        shard: ShardId,
        /// Best known leader's node. `None` = unknown now; try any member.
        leader: Option<NodeId>,
    },
    /// Nothing happened. The keys are not on this node, or not in one shard; route anew with a map of at least this epoch.
    #[error("the keys are not in one shard of this node at epoch {epoch}")]
    WrongShard {
        /// Epoch of this node's map.
        epoch: Epoch,
    },
    /// The table does not exist here or was dropped. Nothing was written.
    #[error("table {0} is unknown here or dropped")]
    UnknownTable(TableId),
    /// The write may have happened; a retry with the same request id finds out.
    #[error("leadership of shard {shard} was lost before the outcome was known")]
    OutcomeUnknown {
        /// Shard that the request was for.
        shard: ShardId,
    },
    /// Nothing happened. Try again after a pause.
    #[error("shard {shard} has {queued} requests waiting, and takes no more now")]
    Overloaded {
        /// Shard whose queue of requests is full.
        shard: ShardId,
        /// Requests of clients that wait for their answers.
        queued: usize,
    },
    /// Nothing happened: the node has no room for the answer now. Try again after a pause.
    #[error("the node that leads shard {shard} has no memory for more answers now")]
    NoMemory {
        /// The shard that the read was for.
        shard: ShardId,
    },
    /// Nothing happened; deletes are still taken.
    #[error("the disk of node {node}, which has a copy of the shard, is nearly full: only deletes are taken")]
    DiskFull {
        /// Node whose disk is nearly full.
        node: NodeId,
    },
    /// Nothing happened now; an earlier attempt may have. The request id says that it was issued in the future.
    #[error("shard {shard} takes request ids that were issued at version {allowed} or before")]
    RequestTooNew {
        /// Shard that the request was for.
        shard: ShardId,
        /// The latest that it takes now: half a second ahead of its leader's clock, or its last version.
        allowed: Version,
    },
    /// A limit is exceeded. Nothing happened, and never will.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// Nothing happened, and never will: what the client has encoded is no key of the table.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The replica here has not seen everything that old yet.
    #[error("this replica is {}, more than asked for", lag(*.behind_ms))]
    TooStale {
        /// How far behind. `u64::MAX` = unknown.
        behind_ms: u64,
    },
}

impl Refusal {
    /// True if the write may have taken effect all the same.
    pub fn may_have_happened(&self) -> bool {
        matches!(self, Self::OutcomeUnknown { .. })
    }
}

/// How people read of a node that does not lead.
fn not_leader(shard: ShardId, leader: Option<NodeId>) -> String {
    match leader {
        Some(leader) => format!("shard {shard} is led by node {leader}"),
        None => format!("this node does not lead shard {shard}, and knows of no leader"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_lag_is_told_as_unknown() {
        let told = |behind_ms| Refusal::TooStale { behind_ms }.to_string();
        assert_eq!(told(7), "this replica is 7 ms behind, more than asked for");
        assert_eq!(told(u64::MAX), "this replica is behind by an unknown time, more than asked for");
    }

    #[test]
    fn leader_that_nobody_knows_is_not_told_as_another_node() {
        let told = |leader| Refusal::NotLeader { shard: ShardId(5), leader }.to_string();
        assert_eq!(told(None), "this node does not lead shard s5, and knows of no leader");
        assert_eq!(told(Some(NodeId(2))), "shard s5 is led by node n2");
    }
}
