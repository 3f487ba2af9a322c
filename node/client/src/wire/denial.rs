//! Why a node did not carry an operation out, as a session's item says it.

use std::time::Duration;

use bytes::Bytes;
use skerry_core::ids::{Epoch, NodeId, ShardId, TableId};
use skerry_core::limits::LimitExceeded;
use skerry_core::time::{Version, lag};
use skerry_proto::v1;
use skerry_proto::v1::limit_exceeded::Limit;
use skerry_proto::v1::operation_error::Kind;

use super::{Malformed, QuorumDenial, Wire, size};

/// Everything that a node may answer but success. Only [`Denial::OutcomeUnknown`] leaves open whether a write happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The node does not lead the shard. Ask the leader.
    #[error("{}", not_leader(*.shard, .leader.as_ref()))]
    NotLeader {
        /// Shard that the request was for.
        shard: ShardId,
        /// `None` = unknown now; try any member.
        leader: Option<Leader>,
    },
    /// The keys are not in one shard of this node.
    #[error("the keys are not in one shard of this node at epoch {epoch}")]
    WrongShard {
        /// Epoch of the node's map: route anew with at least this.
        epoch: Epoch,
    },
    /// The table is not known on the node, or was dropped.
    #[error("table {table} is unknown here or dropped")]
    UnknownTable {
        /// Id of the table that the request named.
        table: TableId,
    },
    /// The write may have happened; a retry with the same request id finds out.
    #[error("{}", outcome_unknown(*.shard, *.too_few_copies))]
    OutcomeUnknown {
        /// Shard that the request was for.
        shard: ShardId,
        /// True: the copies of a quorum shard have not confirmed it in time. Those that have it keep it.
        too_few_copies: bool,
    },
    /// The node has too much to do. Try again after a pause.
    #[error("the node is overloaded: {}", waiting(*.queued))]
    Overloaded {
        /// `None` = the node as a whole.
        shard: Option<ShardId>,
        /// Requests waiting; zero if it is the node's memory for requests and answers that is used up.
        queued: usize,
        /// How long to wait, at least. `None` = the client's own pause.
        retry_after: Option<Duration>,
    },
    /// A node's disk is nearly full: only deletes are accepted.
    #[error("the disk of {} is nearly full: only deletes are taken", named(*.node))]
    DiskFull {
        /// Whose: of the leader, or of another node with a copy. `None` = the node that answers is of an older version.
        node: Option<NodeId>,
    },
    /// The request is over a limit. It will never be taken.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// The replica is further behind than the read allows.
    #[error("this replica is {}, more than asked for", lag(*.behind_ms))]
    TooStale {
        /// `u64::MAX` = unknown.
        behind_ms: u64,
    },
    /// The request id is older than what the shard remembers.
    #[error("requests issued at or before version {floor} are refused")]
    RequestTooOld {
        /// Request ids issued at or before this version are refused.
        floor: Version,
    },
    /// The request id was issued too far in the future. An earlier attempt may have taken effect.
    #[error("only requests issued at or before version {allowed} are taken now")]
    RequestTooNew {
        /// Shard that the request was for.
        shard: ShardId,
        /// Highest version that a request id may be issued at now.
        allowed: Version,
    },
    /// A condition of the write did not hold.
    #[error("condition {condition} did not hold")]
    ConditionFailed {
        /// Position of the condition in the write, from 0 on.
        condition: u32,
        /// The version that the key has. `None` = absent.
        actual: Option<Version>,
    },
    /// The node shuts down or has stopped writing.
    #[error("this node takes no more requests")]
    Closing,
    /// A record's key is not one of its table's.
    #[error("the record under the encoded key {key:02x} cannot be read")]
    UnreadableRecord {
        /// The key as it is stored.
        key: Bytes,
    },
    /// Only quorum tables refuse this, or the table is none.
    #[error(transparent)]
    Quorum(#[from] QuorumDenial),
    /// The node could not understand the request.
    #[error("field {field} of the request is missing or cannot be")]
    Malformed {
        /// Name of the field that is wrong.
        field: String,
    },
}

/// Node and address of a shard's leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// Node that the leader is on.
    pub node: NodeId,
    /// `host:port`; empty = unknown to the one that answers.
    pub address: String,
}

impl Denial {
    /// True if the write may have taken effect all the same.
    pub fn may_have_happened(&self) -> bool {
        matches!(self, Self::OutcomeUnknown { .. })
    }

    /// Converts the error that an item of a session has ended with.
    pub fn from_wire(m: v1::OperationError) -> Result<Self, Malformed> {
        Ok(match m.kind.ok_or(Malformed::Missing("kind"))? {
            Kind::NotLeader(m) => Self::NotLeader {
                shard: ShardId(m.shard_id),
                leader: m.leader_node_id.map(|node| Leader { node: NodeId(node), address: m.leader_address }),
            },
            Kind::WrongShard(m) => Self::WrongShard { epoch: Epoch(m.epoch) },
            Kind::UnknownTable(m) => Self::UnknownTable { table: TableId(m.table_id) },
            Kind::OutcomeUnknown(m) => {
                Self::OutcomeUnknown { shard: ShardId(m.shard_id), too_few_copies: m.too_few_copies }
            }
            Kind::Overloaded(m) => {
                let retry_after = m.retry_after_ms.map(|ms| Duration::from_millis(ms.into()));
                Self::Overloaded { shard: m.shard_id.map(ShardId), queued: size(m.queued, "queued")?, retry_after }
            }
            Kind::DiskFull(m) => Self::DiskFull { node: m.node_id.map(NodeId) },
            Kind::Limit(m) => Self::Limit(limit(m)?),
            Kind::TooStale(m) => Self::TooStale { behind_ms: m.behind_ms },
            Kind::RequestTooOld(m) => Self::RequestTooOld { floor: Version(m.floor) },
            Kind::ConditionFailed(m) => {
                Self::ConditionFailed { condition: m.condition, actual: m.actual_version.map(Version) }
            }
            Kind::RequestTooNew(m) => Self::RequestTooNew { shard: ShardId(m.shard_id), allowed: Version(m.allowed) },
            Kind::Closing(_) => Self::Closing,
            Kind::UnreadableRecord(m) => Self::UnreadableRecord { key: m.key },
            Kind::Quorum(m) => Self::Quorum(QuorumDenial::from_wire(m)?),
            Kind::Malformed(m) => Self::Malformed { field: m.field },
        })
    }
}

/// How people read of what a node has too much of.
fn waiting(queued: usize) -> String {
    match queued {
        0 => "its memory for requests and answers is used up".to_owned(),
        queued => format!("{queued} requests are waiting"),
    }
}

/// How people read of a write that may have happened.
fn outcome_unknown(shard: ShardId, too_few_copies: bool) -> String {
    match too_few_copies {
        true => format!("too few copies of shard {shard} have confirmed the write in time: those that have it keep it"),
        false => format!("leadership of shard {shard} was lost before the outcome was known"),
    }
}

/// How people read of a node that does not lead.
fn not_leader(shard: ShardId, leader: Option<&Leader>) -> String {
    match leader {
        Some(leader) => format!("shard {shard} is led by node {}", leader.node),
        None => format!("the node that was asked does not lead shard {shard}, and knows of no leader"),
    }
}

/// How people read of a node whose disk is full.
pub(crate) fn named(node: Option<NodeId>) -> String {
    node.map_or_else(|| "a node with a copy of the shard".to_owned(), |node| format!("node {node}"))
}

fn limit(m: v1::LimitExceeded) -> Result<LimitExceeded, Malformed> {
    Ok(match m.limit.ok_or(Malformed::Missing("limit"))? {
        Limit::KeyBytes(bytes) => LimitExceeded::Key { bytes: size(bytes, "key_bytes")? },
        Limit::ValueBytes(bytes) => LimitExceeded::Value { bytes: size(bytes, "value_bytes")? },
        Limit::BatchBytes(bytes) => LimitExceeded::Batch { bytes: size(bytes, "batch_bytes")? },
        Limit::BatchCounts(m) => LimitExceeded::Mutations {
            mutations: size(m.mutations, "mutations")?,
            conditions: size(m.conditions, "conditions")?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_lag_is_told_as_unknown() {
        let told = |behind_ms| Denial::TooStale { behind_ms }.to_string();
        assert_eq!(told(7), "this replica is 7 ms behind, more than asked for");
        assert_eq!(told(u64::MAX), "this replica is behind by an unknown time, more than asked for");
    }

    #[test]
    fn leader_that_nobody_knows_is_not_told_as_another_node() {
        let told = |leader| Denial::NotLeader { shard: ShardId(5), leader }.to_string();
        assert!(told(None).ends_with("does not lead shard s5, and knows of no leader"));
        let leader = Leader { node: NodeId(2), address: String::new() };
        assert_eq!(told(Some(leader)), "shard s5 is led by node n2");
    }
}
