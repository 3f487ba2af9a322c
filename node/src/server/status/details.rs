//! The protocol's errors as gRPC statuses: code, reason, words for people, and the error's fields as metadata.

use std::collections::HashMap;
use std::time::Duration;

use skerry_client::wire::{QuorumDenial, Wire};
use skerry_core::ids::{NodeId, ShardId};
use skerry_core::limits::LimitExceeded;
use skerry_core::node::Refusal;
use skerry_core::quorum::copies::OutOfRange;
use skerry_core::quorum::prepare::NotBegun;
use skerry_core::record::BadToken;
use skerry_core::time::Version;
use skerry_proto::v1;
use skerry_proto::v1::limit_exceeded::Limit;
use skerry_proto::v1::operation_error::Kind;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::inbox::Refused;

/// Domain of the error reasons in gRPC's error details.
const DOMAIN: &str = "skerry.io";
/// Trailers with the reason and the leader's address once more, for clients in languages without the types of `google.rpc`.
const REASON: &str = "skerry-reason";
const LEADER: &str = "skerry-leader";

/// The gRPC status for a refusal, with its details.
pub(in crate::server) fn status(kind: Kind) -> Status {
    let leader = match &kind {
        Kind::NotLeader(not_leader) => MetadataValue::try_from(not_leader.leader_address.as_str()).ok(),
        _ => None,
    };
    let told = told(kind);
    let mut trailers = trailers(told.reason);
    if let Some(leader) = leader.filter(|leader| !leader.is_empty()) {
        trailers.insert(LEADER, leader);
    }
    let fields: HashMap<String, String> =
        told.fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let mut details = ErrorDetails::with_error_info(told.reason, DOMAIN, fields);
    if let Some(ms) = told.retry_after_ms {
        details.set_retry_info(Some(Duration::from_millis(ms.into())));
    }
    Status::with_error_details_and_metadata(told.code, told.text, details, trailers)
}

fn trailers(reason: &'static str) -> MetadataMap {
    let mut trailers = MetadataMap::new();
    trailers.insert(REASON, MetadataValue::from_static(reason));
    trailers
}

/// Of a reason that is no operation's error.
pub(in crate::server) fn plain(code: Code, reason: &'static str, text: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details_and_metadata(code, text, details, trailers(reason))
}

struct Told {
    code: Code,
    reason: &'static str,
    text: String,
    fields: Vec<(&'static str, String)>,
    retry_after_ms: Option<u32>,
}

impl Told {
    fn new(code: Code, reason: &'static str, text: impl Into<String>) -> Self {
        Self { code, reason, text: text.into(), fields: Vec::new(), retry_after_ms: None }
    }

    fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.fields.push((name, value.to_string()));
        self
    }

    fn with_some(self, name: &'static str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

fn told(kind: Kind) -> Told {
    match kind {
        Kind::NotLeader(v1::NotLeader { shard_id, leader_node_id, leader_address }) => {
            let text = match (leader_node_id, leader_address.as_str()) {
                (None, "") => format!("this node does not lead shard s{shard_id}, and knows of no leader"),
                (Some(node), "") => format!("shard s{shard_id} is led by node n{node}"),
                (_, address) => format!("shard s{shard_id} is led by the node at {address}"),
            };
            let told = Told::new(Code::Unavailable, "NOT_LEADER", text).with("shard_id", shard_id);
            told.with_some("leader_node_id", leader_node_id).with("leader_address", leader_address)
        }
        Kind::WrongShard(v1::WrongShard { epoch }) => {
            let text = format!("the keys are not in one shard of this node at epoch {epoch}");
            Told::new(Code::Aborted, "WRONG_SHARD", text).with("epoch", epoch)
        }
        Kind::UnknownTable(v1::UnknownTable { table_id, name }) => {
            let text = match name.as_str() {
                "" => format!("table {table_id} is unknown here or dropped"),
                name => format!("table {name:?} is unknown here or dropped"),
            };
            Told::new(Code::NotFound, "UNKNOWN_TABLE", text).with("table_id", table_id).with("name", name)
        }
        Kind::OutcomeUnknown(unknown) => unknown_told(&unknown),
        Kind::Overloaded(v1::Overloaded { shard_id, queued, retry_after_ms, of_memory }) => {
            let text = match of_memory {
                true => "the node's memory for requests and answers is used up, come back after a pause".to_owned(),
                false => format!("{queued} requests wait already, come back after a pause"),
            };
            let told = Told::new(Code::ResourceExhausted, "OVERLOADED", text);
            let told = told.with_some("shard_id", shard_id).with("queued", queued);
            Told { retry_after_ms, ..told.with_some("retry_after_ms", retry_after_ms) }
        }
        Kind::DiskFull(v1::DiskFull { node_id }) => {
            let text = Refusal::DiskFull { node: NodeId(node_id.unwrap_or_default()) }.to_string();
            Told::new(Code::ResourceExhausted, "DISK_FULL", text).with_some("node_id", node_id)
        }
        Kind::RequestTooNew(v1::RequestTooNew { shard_id, allowed }) => {
            let text = Refusal::RequestTooNew { shard: ShardId(shard_id), allowed: Version(allowed) }.to_string();
            let told = Told::new(Code::FailedPrecondition, "REQUEST_TOO_NEW", text);
            told.with("shard_id", shard_id).with("allowed", allowed)
        }
        Kind::Limit(v1::LimitExceeded { limit }) => limit_told(limit),
        Kind::TooStale(v1::TooStale { behind_ms }) => {
            let text = Refusal::TooStale { behind_ms }.to_string();
            Told::new(Code::Unavailable, "TOO_STALE", text).with("behind_ms", behind_ms)
        }
        Kind::RequestTooOld(v1::RequestTooOld { floor }) => {
            let text = "the request is too old to tell whether an earlier attempt happened";
            Told::new(Code::FailedPrecondition, "REQUEST_TOO_OLD", text).with("floor", floor)
        }
        Kind::ConditionFailed(v1::ConditionFailed { condition, actual_version }) => {
            let text = format!("condition {condition} does not hold");
            let told = Told::new(Code::FailedPrecondition, "CONDITION_FAILED", text).with("condition", condition);
            told.with_some("actual_version", actual_version)
        }
        Kind::UnreadableRecord(v1::UnreadableRecord { key }) => {
            let key = format!("{key:02x}");
            let text = format!(
                "the record under the encoded key {key} cannot be read: that is no key of this table; skip it or delete it"
            );
            Told::new(Code::DataLoss, "UNREADABLE_RECORD", text).with("key", key)
        }
        Kind::Quorum(refusal) => quorum_told(refusal),
        Kind::Closing(v1::Closing {}) => Told::new(Code::Unavailable, "CLOSING", Refused::Closed.to_string()),
        Kind::Malformed(v1::Malformed { field }) => {
            let text = format!("{field} is missing or cannot be");
            Told::new(Code::InvalidArgument, "MALFORMED", text).with("field", field)
        }
    }
}

fn unknown_told(&v1::OutcomeUnknown { shard_id, too_few_copies }: &v1::OutcomeUnknown) -> Told {
    let text = match too_few_copies {
        true => "too few copies have confirmed the write in time: it may have happened",
        false => "leadership was lost, or the node ended, before the outcome was known: it may have happened",
    };
    let told = Told::new(Code::Unknown, "OUTCOME_UNKNOWN", text);
    told.with("shard_id", shard_id).with("too_few_copies", too_few_copies)
}

fn quorum_told(refusal: v1::QuorumRefusal) -> Told {
    let Ok(denial) = QuorumDenial::from_wire(refusal) else {
        return Told::new(Code::Internal, "QUORUM", "a quorum table has refused this");
    };
    let code = match denial {
        QuorumDenial::NotCoordinator { .. } | QuorumDenial::TooFewCopies { .. } => Code::Unavailable,
        QuorumDenial::CopiesFull { .. } => Code::ResourceExhausted,
        QuorumDenial::NotBegun(_) | QuorumDenial::WriteQuorum(_) | QuorumDenial::ReadQuorum(_) => {
            Code::FailedPrecondition
        }
        QuorumDenial::NoQuorumTable(_)
        | QuorumDenial::ConditionsNeedLeader
        | QuorumDenial::BadContext(_)
        | QuorumDenial::StalenessUnknown { .. }
        | QuorumDenial::BatchTooLarge { .. } => Code::InvalidArgument,
    };
    let told = Told::new(code, denial.reason(), denial.to_string());
    match denial {
        QuorumDenial::NotCoordinator { shard, reason } => {
            told.with("shard_id", shard.0).with("why", format!("{reason:?}"))
        }
        QuorumDenial::TooFewCopies { shard } => told.with("shard_id", shard.0),
        QuorumDenial::NoQuorumTable(table) => told.with("table_id", table.0),
        QuorumDenial::ConditionsNeedLeader | QuorumDenial::NotBegun(NotBegun::ContextNeeded) => told,
        QuorumDenial::BadContext(BadToken { bytes }) => told.with("bytes", bytes),
        QuorumDenial::NotBegun(NotBegun::Siblings { values, bytes }) => {
            told.with("values", values).with("bytes", bytes)
        }
        QuorumDenial::NotBegun(NotBegun::Context { parts }) => told.with("parts", parts),
        QuorumDenial::NotBegun(NotBegun::Ahead { version, wall_ms }) => {
            told.with("version", version).with("wall_ms", wall_ms)
        }
        QuorumDenial::WriteQuorum(range) => range_told(told, range, true),
        QuorumDenial::ReadQuorum(range) => range_told(told, range, false),
        QuorumDenial::CopiesFull { full, needed } => told.with("full", full).with("needed", needed),
        QuorumDenial::StalenessUnknown { write, read, copies } => {
            told.with("write", write).with("read", read).with("copies", copies)
        }
        QuorumDenial::BatchTooLarge { bytes, most } => told.with("bytes", bytes).with("most", most),
    }
}

fn range_told(told: Told, OutOfRange { asked, lowest, highest }: OutOfRange, of_write: bool) -> Told {
    told.with("asked", asked).with("lowest", lowest).with("highest", highest).with("of_write", of_write)
}

fn limit_told(limit: Option<Limit>) -> Told {
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let told = |exceeded: LimitExceeded| Told::new(Code::InvalidArgument, "LIMIT", exceeded.to_string());
    match limit {
        Some(Limit::KeyBytes(bytes)) => told(LimitExceeded::Key { bytes: size(bytes) }).with("key_bytes", bytes),
        Some(Limit::ValueBytes(bytes)) => told(LimitExceeded::Value { bytes: size(bytes) }).with("value_bytes", bytes),
        Some(Limit::BatchBytes(bytes)) => told(LimitExceeded::Batch { bytes: size(bytes) }).with("batch_bytes", bytes),
        Some(Limit::BatchCounts(v1::BatchCounts { mutations, conditions })) => {
            let exceeded = LimitExceeded::Mutations { mutations: size(mutations), conditions: size(conditions) };
            told(exceeded).with("mutations", mutations).with("conditions", conditions)
        }
        None => Told::new(Code::InvalidArgument, "LIMIT", "a limit is exceeded"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ended, field, limit, refused};
    use super::*;

    #[test]
    fn a_status_carries_reason_domain_and_the_leaders_address() {
        let not_leader = v1::NotLeader { shard_id: 3, leader_node_id: Some(2), leader_address: "b:1".into() };
        let status = status(Kind::NotLeader(not_leader));
        let info = status.get_details_error_info().unwrap();
        assert_eq!(
            (status.code(), info.reason.as_str(), info.domain.as_str()),
            (Code::Unavailable, "NOT_LEADER", DOMAIN)
        );
        assert_eq!(info.metadata.get("leader_address").map(String::as_str), Some("b:1"));
        assert_eq!(info.metadata.get("leader_node_id").map(String::as_str), Some("2"));
        let trailer = |name| status.metadata().get(name).map(|value| value.to_str().unwrap());
        assert_eq!((trailer(REASON), trailer(LEADER)), (Some("NOT_LEADER"), Some("b:1")));
    }

    #[test]
    fn a_leader_that_nobody_knows_is_in_no_trailer() {
        let status = status(Kind::NotLeader(v1::NotLeader::default()));
        assert_eq!((status.metadata().get(LEADER), status.metadata().get(REASON).is_some()), (None, true));
    }

    #[test]
    fn want_of_memory_says_when_to_come_back() {
        let status = status(refused(&Refused::NoMemory { used: 9, limit: 9 }));
        let pause = status.get_details_retry_info().and_then(|info| info.retry_delay);
        assert_eq!((status.code(), pause), (Code::ResourceExhausted, Some(crate::budget::RETRY_AFTER)));
        let queue = super::status(refused(&Refused::Overloaded { requests: 1 }));
        assert!(queue.get_details_retry_info().is_none());
    }

    #[test]
    fn what_quorum_tables_refuse_has_its_reason_its_words_and_its_numbers() {
        let range = OutOfRange { asked: 9, lowest: 2, highest: 3 };
        let status = status(Kind::Quorum(QuorumDenial::WriteQuorum(range).into_wire()));
        let info = status.get_details_error_info().unwrap();
        assert_eq!((status.code(), info.reason.as_str()), (Code::FailedPrecondition, "COPIES_OUT_OF_RANGE"));
        assert_eq!(status.message(), "write quorum: 9 copies are asked for, it must be 2 to 3");
        assert_eq!(info.metadata.get("highest").map(String::as_str), Some("3"));
        let unknown = v1::OutcomeUnknown { shard_id: 3, too_few_copies: true };
        let unknown = super::status(Kind::OutcomeUnknown(unknown));
        assert_eq!(unknown.code(), Code::Unknown);
        assert!(unknown.message().contains("too few copies"), "{unknown}");
    }

    #[test]
    fn only_an_unknown_outcome_has_the_code_unknown() {
        let unknown = status(ended()).code();
        assert_eq!(unknown, Code::Unknown);
        for kind in [
            Kind::DiskFull(v1::DiskFull { node_id: Some(2) }),
            Kind::Quorum(QuorumDenial::TooFewCopies { shard: ShardId(1) }.into_wire()),
            Kind::Quorum(v1::QuorumRefusal { why: None }),
            Kind::RequestTooNew(v1::RequestTooNew { shard_id: 1, allowed: 7 }),
            Kind::Closing(v1::Closing {}),
            limit(&LimitExceeded::Key { bytes: 9 }),
            refused(&Refused::Overloaded { requests: 1 }),
            field("key"),
        ] {
            assert_ne!(status(kind).code(), unknown);
        }
    }
}
