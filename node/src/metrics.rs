//! Everything that /metrics shows, in one place. Names are `skerry_node_<noun>_<unit>`; labels come from our own
//! enums, never from keys, tables or clients.

mod quorum;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use skerry_core::command::{Outcome, Read};
use skerry_core::node::{AdminRefusal, Answer, Refusal};
use skerry_core::quorum::write::NotDone;

use crate::budget::{Budget, Kind};
use crate::inbox::Ask;

pub use self::quorum::QuorumMetrics;

/// Kinds of requests that are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Operation {
    Write,
    Get,
    Scan,
    Admin,
}

const OPERATIONS: [&str; 4] = ["write", "get", "scan", "admin"];

const OUTCOMES: [&str; 15] = [
    "ok",
    "condition_failed",
    "request_too_old",
    "wrong_shard",
    "not_leader",
    "unknown_table",
    "outcome_unknown",
    "overloaded",
    "disk_full",
    "limit",
    "too_stale",
    "refused",
    "request_too_new",
    "not_coordinator",
    "too_few_copies",
];

/// A gauge of things that cannot be negative.
pub type Count = Gauge<u64, AtomicU64>;

/// The handles. Cheap to clone: all of them share what they count.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each is described where it is registered")]
pub struct Metrics {
    operations: Arc<[OperationMetrics; 4]>,
    pub log_fsync_seconds: Histogram,
    pub log_bytes: Count,
    pub replicas: Count,
    pub leaders: Count,
    pub quiescent: Count,
    pub request_ids: Count,
    pub map_epoch: Count,
    pub format_level_enabled: Count,
    pub format_level_highest: Count,
    pub disk_bytes: Count,
    pub disk_full: Count,
    pub disk_stalled: Count,
    pub aside_bytes: Count,
    pub store_doubtful: Count,
    pub poisoned: Count,
    pub sessions: Count,
    pub requests_in_hand: Count,
    pub worker_round_inputs: Histogram,
    pub worker_round_seconds: Histogram,
    pub engine_sync_seconds: Histogram,
    pub snapshot_bytes: Counter,
    pub peers: PeerMetrics,
    pub budget: BudgetMetrics,
    pub quorum: QuorumMetrics,
}

/// The memory budget, as it is used.
#[derive(Debug, Clone)]
pub struct BudgetMetrics {
    limit: Count,
    used: [Count; Kind::ALL.len()],
}

/// Messages to and from other nodes, counted.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the metrics' help texts say what each is")]
pub struct PeerMetrics {
    pub sent: Counter,
    pub dropped: Counter,
    pub received: Counter,
    pub skipped: Counter,
    pub refused: Counter,
}

#[derive(Debug)]
struct OperationMetrics {
    seconds: Histogram,
    outcomes: [Counter; OUTCOMES.len()],
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BudgetLabel {
    kind: &'static str,
}

impl Metrics {
    /// Makes all metrics of a node, and registers them under the prefix `skerry_node`.
    pub fn new(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("skerry_node");
        let gauge = |registry: &mut Registry, name: &str, help: &str| {
            let gauge = Count::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        Self {
            operations: Arc::new(operations(registry)),
            log_fsync_seconds: histogram(
                registry,
                "log_fsync_seconds",
                "One group of the log made durable",
                0.00005,
                16,
            ),
            log_bytes: gauge(registry, "log_bytes", "Bytes that the log takes on disk"),
            replicas: gauge(registry, "replicas", "Replicas on this node"),
            leaders: gauge(registry, "leaders", "Replicas on this node that lead their shard"),
            request_ids: gauge(registry, "request_ids", "Request ids that the replicas on this node remember"),
            quiescent: gauge(registry, "quiescent_replicas", "Replicas on this node whose shard has nothing to do"),
            map_epoch: gauge(registry, "map_epoch", "Epoch of the shard map that this node has"),
            format_level_enabled: gauge(
                registry,
                "format_level_enabled",
                "Format level that the database has enabled, as far as this node knows",
            ),
            format_level_highest: gauge(
                registry,
                "format_level_highest",
                "Highest format level that this node's program reads and writes",
            ),
            disk_bytes: gauge(registry, "disk_bytes", "Bytes that log and store take on disk"),
            disk_full: gauge(registry, "disk_full", "1 while only deletes are taken for want of space"),
            disk_stalled: gauge(registry, "disk_stalled", "1 while a write of the log waits for too long"),
            aside_bytes: gauge(
                registry,
                "aside_bytes",
                "Bytes of damaged logs and stores that were put aside, until a person removes them",
            ),
            store_doubtful: gauge(
                registry,
                "store_doubtful",
                "1 if the store was open when the machine stopped, and its engine may not notice what it lost by that",
            ),
            poisoned: gauge(
                registry,
                "poisoned",
                "1 once the log or the store has failed, until the process ends a moment later",
            ),
            sessions: gauge(registry, "sessions", "Client streams that are open"),
            requests_in_hand: gauge(registry, "requests_in_hand", "Requests that were taken in and not answered yet"),
            worker_round_inputs: histogram(
                registry,
                "worker_round_inputs",
                "Inputs that one round of the worker took",
                1.0,
                14,
            ),
            worker_round_seconds: histogram(registry, "worker_round_seconds", "One round of the worker", 0.00001, 18),
            engine_sync_seconds: histogram(registry, "engine_sync_seconds", "One sync of the store", 0.001, 16),
            snapshot_bytes: counted(registry, "snapshot_bytes", "Bytes of snapshots sent to other nodes"),
            peers: PeerMetrics::new(registry),
            budget: BudgetMetrics::new(registry),
            quorum: QuorumMetrics::new(registry),
        }
    }

    /// Counts an answered request, and how long it took.
    pub fn answered(&self, operation: Operation, answer: &Answer, seconds: f64) {
        let operation = &self.operations[operation as usize];
        operation.seconds.observe(seconds);
        operation.outcomes[outcome(answer)].inc();
    }

    /// Requests were turned away before they reached the worker.
    pub fn turned_away(&self, operation: Operation, requests: u64) {
        self.operations[operation as usize].outcomes[OVERLOADED].inc_by(requests);
    }
}

impl BudgetMetrics {
    fn new(registry: &mut Registry) -> Self {
        let limit = Count::default();
        let help = "Memory that requests, answers, frames, logs and pre-images may take together";
        registry.register("memory_budget_limit_bytes", help, limit.clone());
        let used = Family::<BudgetLabel, Count>::default();
        registry.register("memory_budget_used_bytes", "Memory of the budget that is in use, by kind", used.clone());
        Self { limit, used: Kind::ALL.map(|(_, kind)| used.get_or_create(&BudgetLabel { kind }).clone()) }
    }

    /// Takes over how the budget stands.
    pub fn show(&self, budget: &Budget) {
        self.limit.set(budget.limit() as u64);
        for ((kind, _), used) in Kind::ALL.into_iter().zip(&self.used) {
            used.set(budget.used_by(kind) as u64);
        }
    }
}

impl PeerMetrics {
    fn new(registry: &mut Registry) -> Self {
        Self {
            sent: counted(registry, "peer_sent_messages", "Messages handed to the streams to other nodes"),
            dropped: counted(
                registry,
                "peer_dropped_messages",
                "Messages to other nodes that found no place or no connection",
            ),
            received: counted(registry, "peer_received_messages", "Messages from other nodes"),
            skipped: counted(
                registry,
                "peer_skipped_messages",
                "Messages from other nodes of a kind that this release does not know",
            ),
            refused: counted(
                registry,
                "peer_refused_messages",
                "Messages from other nodes that no node of this database can have sent",
            ),
        }
    }
}

fn counted(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

impl Operation {
    /// What kind of request this is.
    pub fn of(ask: &Ask) -> Self {
        match ask {
            Ask::Write { .. } => Self::Write,
            Ask::Read { read: Read::Get { .. }, .. } => Self::Get,
            Ask::Read { read: Read::Scan { .. }, .. } => Self::Scan,
            Ask::Admin { .. } => Self::Admin,
        }
    }
}

const OVERLOADED: usize = 7;

fn outcome(answer: &Answer) -> usize {
    match answer {
        Answer::Write(Ok(Outcome::Applied(_))) | Answer::Read(Ok(_)) | Answer::Admin(Ok(_)) => 0,
        Answer::Write(Ok(Outcome::ConditionFailed { .. })) => 1,
        Answer::Write(Ok(Outcome::RequestTooOld { .. })) => 2,
        Answer::Write(Ok(Outcome::WrongShard)) => 3,
        Answer::Write(Err(refusal)) | Answer::Read(Err(refusal)) => match refusal {
            Refusal::WrongShard { .. } => 3,
            Refusal::NotLeader { .. } => 4,
            Refusal::UnknownTable(_) => 5,
            Refusal::OutcomeUnknown { .. } => 6,
            Refusal::Overloaded { .. } | Refusal::NoMemory { .. } => OVERLOADED,
            Refusal::DiskFull { .. } => 8,
            Refusal::Limit(_) | Refusal::Key(_) => 9,
            Refusal::TooStale { .. } | Refusal::StalenessUnknown { .. } => 10,
            Refusal::RequestTooNew { .. } => 12,
            Refusal::NotCoordinator { .. } => 13,
            Refusal::TooFewCopies { .. } => 14,
            Refusal::WriteQuorum(NotDone::Full { .. }) => 8,
            Refusal::ConditionsNeedLeader
            | Refusal::NoQuorumTable(_)
            | Refusal::Context(_)
            | Refusal::NotBegun(_)
            | Refusal::WriteQuorum(NotDone::Quorum(_))
            | Refusal::ReadQuorum(_)
            | Refusal::BatchTooLarge { .. } => 9,
        },
        Answer::Admin(Err(AdminRefusal::NotLeader { .. })) => 4,
        Answer::Admin(Err(AdminRefusal::OutcomeUnknown)) => 6,
        Answer::Admin(Err(AdminRefusal::Refused(_) | AdminRefusal::Recovery(_))) => 11,
    }
}

fn operations(registry: &mut Registry) -> [OperationMetrics; 4] {
    let requests = Family::<RequestLabels, Counter>::default();
    let seconds = Family::<OperationLabel, Histogram>::new_with_constructor(|| {
        Histogram::new(exponential_buckets(0.0001, 2.0, 16))
    });
    registry.register("requests", "Requests answered, by kind and outcome", requests.clone());
    registry.register("request_seconds", "From a request's arrival to its answer", seconds.clone());
    OPERATIONS.map(|operation| OperationMetrics {
        seconds: seconds.get_or_create(&OperationLabel { operation }).clone(),
        outcomes: OUTCOMES.map(|outcome| requests.get_or_create(&RequestLabels { operation, outcome }).clone()),
    })
}

fn histogram(registry: &mut Registry, name: &str, help: &str, first: f64, buckets: u16) -> Histogram {
    let histogram = Histogram::new(exponential_buckets(first, 2.0, buckets));
    registry.register(name, help, histogram.clone());
    histogram
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use skerry_core::ids::NodeId;
    use skerry_core::time::Version;

    use super::*;

    #[test]
    fn answers_are_counted_by_kind_and_outcome() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        metrics.answered(Operation::Write, &Answer::Write(Ok(Outcome::Applied(Version(1)))), 0.001);
        metrics.answered(Operation::Write, &Answer::Write(Err(Refusal::DiskFull { node: NodeId(1) })), 0.001);
        metrics.turned_away(Operation::Scan, 3);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            r#"skerry_node_requests_total{operation="write",outcome="ok"} 1"#,
            r#"skerry_node_requests_total{operation="write",outcome="disk_full"} 1"#,
            r#"skerry_node_requests_total{operation="scan",outcome="overloaded"} 3"#,
            r#"skerry_node_request_seconds_count{operation="write"} 2"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
