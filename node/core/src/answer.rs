//! What a node answers its clients, and why it may not serve them.

mod admin;

pub use admin::{AdminRefusal, AdminReply, Certificate, NotYet, Removal, Status};

use crate::command::{Outcome, ReadResult};
use crate::ids::{Epoch, NodeId, ShardId, TableId};
use crate::key::KeyError;
use crate::limits::LimitExceeded;
use crate::quorum::copies::OutOfRange;
use crate::quorum::prepare::NotBegun;
use crate::quorum::write::NotDone;
use crate::record::BadToken;
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
    /// The read is not answered, and never will be while the table's W and R are these: how old an answer is, nobody knows.
    #[error(
        "how old an answer is, nobody knows where W and R together ({write} + {read}) are not above the number of copies ({copies}): read without a bound"
    )]
    StalenessUnknown {
        /// W of the copies that reads ask.
        write: usize,
        /// R of these.
        read: usize,
        /// How many they are.
        copies: usize,
    },
    /// Nothing happened: the copy of a quorum shard here coordinates nothing now. Another one may.
    #[error("the copy of quorum shard {shard} on this node takes no such request: {reason}; ask another copy")]
    NotCoordinator {
        /// Shard that the request was for.
        shard: ShardId,
        /// Why it does not.
        reason: NotCoordinator,
    },
    /// Nothing happened, and never will: a table whose copies follow a leader has neither W, R nor contexts.
    #[error("table {0} follows leaders: a request there names neither a number of copies nor a context")]
    NoQuorumTable(TableId),
    /// Nothing happened, and never will: copies that take writes at the same time cannot agree on a condition.
    #[error("a quorum table takes no conditions: a table with consistency Leader does")]
    ConditionsNeedLeader,
    /// Nothing happened, and never will: what the client says to have seen is none.
    #[error(transparent)]
    Context(#[from] BadToken),
    /// Nothing happened now; an earlier attempt may have.
    #[error(transparent)]
    NotBegun(#[from] NotBegun),
    /// Nothing happened: another W than is possible, or too few copies have room.
    #[error(transparent)]
    WriteQuorum(#[from] NotDone),
    /// Another R than is possible.
    #[error("read quorum: {0}")]
    ReadQuorum(#[source] OutOfRange),
    /// Nothing happened. Each key goes to the copies with all that it holds.
    #[error(
        "the batch has {bytes} bytes with what its keys hold besides, at most {most} are sent at once: write fewer keys together"
    )]
    BatchTooLarge {
        /// Bytes of the records that the batch would make.
        bytes: usize,
        /// The most that is taken.
        most: usize,
    },
    /// The read is not answered: too few copies of the quorum shard were there in time, or took what they lacked.
    #[error("too few copies of quorum shard {shard} have answered in time")]
    TooFewCopies {
        /// Shard that the read was for.
        shard: ShardId,
    },
}

/// Why a copy of a quorum shard coordinates no request now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCoordinator {
    /// It has just been made or opened, and does not know enough yet.
    #[error("it is starting")]
    Starting,
    /// It comes new, and can take no writes yet.
    #[error("it comes new and takes no writes yet")]
    Coming,
    /// Writes leave it out.
    #[error("it leaves the shard")]
    Leaving,
    /// The shard goes on without it.
    #[error("the shard goes on without it")]
    Over,
    /// It could not take the write itself.
    #[error("its disk is nearly full, only deletes are taken")]
    Full,
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
