//! Why a request was not served, for the wire: in one place from the core's refusals to the protocol's error, and from
//! there to a gRPC status that carries the same. Exhaustive: a new refusal does not compile until it has its words here.

mod details;

use bytes::Bytes;
use skerry_client::wire::{Malformed, QuorumDenial, Wire};
use skerry_core::command::Outcome;
use skerry_core::ids::{NodeId, ShardId};
use skerry_core::key::KeyError;
use skerry_core::limits::LimitExceeded;
use skerry_core::map::Map;
use skerry_core::node::{AdminRefusal, Refusal};
use skerry_core::quorum::write::NotDone;
use skerry_proto::v1;
use skerry_proto::v1::limit_exceeded::Limit;
use skerry_proto::v1::operation_error::Kind;

pub(super) use self::details::{plain, status};
use crate::budget::RETRY_AFTER;
use crate::inbox::Refused;

/// Converts a refusal of the core into the error that the client gets.
pub(super) fn refusal(refusal: Refusal, map: &Map) -> Kind {
    match refusal {
        Refusal::NotLeader { shard, leader } => not_leader(shard, leader, map),
        Refusal::WrongShard { epoch } => Kind::WrongShard(v1::WrongShard { epoch: epoch.0 }),
        Refusal::UnknownTable(table) => Kind::UnknownTable(v1::UnknownTable { table_id: table.0, name: String::new() }),
        Refusal::OutcomeUnknown { shard } => outcome_unknown(shard, map),
        Refusal::Overloaded { shard, queued } => overloaded(Some(shard), queued),
        Refusal::NoMemory { shard } => no_memory(Some(shard)),
        Refusal::DiskFull { node } => Kind::DiskFull(v1::DiskFull { node_id: Some(node.0) }),
        Refusal::RequestTooNew { shard, allowed } => {
            Kind::RequestTooNew(v1::RequestTooNew { shard_id: shard.0, allowed: allowed.0 })
        }
        Refusal::Limit(exceeded) => limit(&exceeded),
        Refusal::Key(error) => key(&error),
        Refusal::TooStale { behind_ms } => Kind::TooStale(v1::TooStale { behind_ms }),
        Refusal::StalenessUnknown { write, read, copies } => {
            quorum(QuorumDenial::StalenessUnknown { write, read, copies })
        }
        Refusal::NotCoordinator { shard, reason } => quorum(QuorumDenial::NotCoordinator { shard, reason }),
        Refusal::TooFewCopies { shard } => quorum(QuorumDenial::TooFewCopies { shard }),
        Refusal::ConditionsNeedLeader => quorum(QuorumDenial::ConditionsNeedLeader),
        Refusal::NoQuorumTable(table) => quorum(QuorumDenial::NoQuorumTable(table)),
        Refusal::Context(bad) => quorum(QuorumDenial::BadContext(bad)),
        Refusal::NotBegun(why) => quorum(QuorumDenial::NotBegun(why)),
        Refusal::WriteQuorum(NotDone::Quorum(range)) => quorum(QuorumDenial::WriteQuorum(range)),
        Refusal::ReadQuorum(range) => quorum(QuorumDenial::ReadQuorum(range)),
        Refusal::WriteQuorum(NotDone::Full { full, needed }) => quorum(QuorumDenial::CopiesFull { full, needed }),
        Refusal::BatchTooLarge { bytes, most } => quorum(QuorumDenial::BatchTooLarge { bytes, most }),
    }
}

fn quorum(denial: QuorumDenial) -> Kind {
    Kind::Quorum(denial.into_wire())
}

/// Of a quorum shard it is the copies that have not confirmed.
fn outcome_unknown(shard: ShardId, map: &Map) -> Kind {
    let too_few_copies = map.shards.get(&shard).is_some_and(|record| record.quorum.is_some());
    Kind::OutcomeUnknown(v1::OutcomeUnknown { shard_id: shard.0, too_few_copies })
}

/// A write's outcome: the version, or why nothing was written.
pub(super) fn outcome(outcome: Outcome, map: &Map) -> Result<u64, Kind> {
    match outcome {
        Outcome::Applied(version) => Ok(version.0),
        Outcome::ConditionFailed { condition, actual } => {
            let actual_version = actual.map(|version| version.0);
            Err(Kind::ConditionFailed(v1::ConditionFailed { condition, actual_version }))
        }
        Outcome::RequestTooOld { floor } => Err(Kind::RequestTooOld(v1::RequestTooOld { floor: floor.0 })),
        Outcome::WrongShard => Err(Kind::WrongShard(v1::WrongShard { epoch: map.epoch.0 })),
    }
}

/// Converts a refusal of the inbox into the error that the client gets.
pub(super) fn refused(refused: &Refused) -> Kind {
    match refused {
        Refused::Overloaded { requests } => overloaded(None, *requests),
        Refused::NoMemory { .. } => no_memory(None),
        Refused::Closed => Kind::Closing(v1::Closing {}),
    }
}

/// Too many requests wait, of a shard or of the node.
pub(super) fn overloaded(shard: Option<ShardId>, queued: usize) -> Kind {
    let shard_id = shard.map(|shard| shard.0);
    Kind::Overloaded(v1::Overloaded { shard_id, queued: queued as u64, retry_after_ms: None, of_memory: false })
}

/// The node's memory for requests and answers is used up.
fn no_memory(shard: Option<ShardId>) -> Kind {
    let shard_id = shard.map(|shard| shard.0);
    let retry_after_ms = u32::try_from(RETRY_AFTER.as_millis()).ok();
    Kind::Overloaded(v1::Overloaded { shard_id, queued: 0, retry_after_ms, of_memory: true })
}

/// A key, value or batch over its limit.
pub(super) fn limit(exceeded: &LimitExceeded) -> Kind {
    let limit = match *exceeded {
        LimitExceeded::Key { bytes } => Limit::KeyBytes(bytes as u64),
        LimitExceeded::Value { bytes } => Limit::ValueBytes(bytes as u64),
        LimitExceeded::Batch { bytes } => Limit::BatchBytes(bytes as u64),
        LimitExceeded::Mutations { mutations, conditions } => {
            let (mutations, conditions) = (mutations as u64, conditions as u64);
            Limit::BatchCounts(v1::BatchCounts { mutations, conditions })
        }
    };
    Kind::Limit(v1::LimitExceeded { limit: Some(limit) })
}

/// Converts an error in a key into the error that the client gets.
pub(super) fn key(error: &KeyError) -> Kind {
    match error {
        KeyError::Empty => limit(&LimitExceeded::Key { bytes: 0 }),
        KeyError::TooLong { bytes } => limit(&LimitExceeded::Key { bytes: *bytes }),
        KeyError::SortInRange => field("key.sort"),
        KeyError::Malformed => field("key"),
    }
}

/// A record whose key is none: an earlier release took it.
pub(super) fn unreadable(key: Bytes) -> Kind {
    Kind::UnreadableRecord(v1::UnreadableRecord { key })
}

/// A request that cannot be read.
pub(super) fn malformed(malformed: &Malformed) -> Kind {
    field(malformed.field())
}

/// A field that is missing or cannot be.
pub(super) fn field(field: &str) -> Kind {
    Kind::Malformed(v1::Malformed { field: field.to_owned() })
}

/// The node ended before it knew the outcome.
pub(super) fn ended() -> Kind {
    Kind::OutcomeUnknown(v1::OutcomeUnknown { shard_id: ShardId::SYSTEM.0, too_few_copies: false })
}

/// An admin request that was not answered. `Err` = a decided refusal, which is an answer of its own.
pub(super) fn admin(refusal: AdminRefusal, map: &Map) -> Result<Kind, AdminRefusal> {
    match refusal {
        AdminRefusal::NotLeader { leader } => Ok(not_leader(ShardId::SYSTEM, leader, map)),
        AdminRefusal::OutcomeUnknown => Ok(ended()),
        AdminRefusal::Refused(_) | AdminRefusal::Recovery(_) => Err(refusal),
    }
}

fn not_leader(shard: ShardId, leader: Option<NodeId>, map: &Map) -> Kind {
    let record = leader.and_then(|leader| map.nodes.get(&leader));
    let leader_address = record.map(|record| record.address.clone()).unwrap_or_default();
    Kind::NotLeader(v1::NotLeader { shard_id: shard.0, leader_node_id: leader.map(|leader| leader.0), leader_address })
}

#[cfg(test)]
mod tests;
