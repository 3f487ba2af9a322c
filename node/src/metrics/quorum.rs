//! What /metrics shows of quorum tables: how far the copies here are from being equal, and what is done about it.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use skerry_core::map::Map;
use skerry_core::quorum::merkle::compare::Answer;
use skerry_core::quorum::message::Body;
use skerry_core::quorum::replica::QuorumReplica;

use super::{Count, OPERATIONS, Operation, OperationLabel, counted};

/// The handles. Cheap to clone: all of them share what they count.
#[derive(Debug, Clone)]
pub struct QuorumMetrics {
    copies: Count,
    incomplete: Count,
    floorless: Count,
    left_over: Count,
    hints: Count,
    hint_bytes: Count,
    floor_age_seconds: Gauge<f64, std::sync::atomic::AtomicU64>,
    hinted_records: Counter,
    repaired_records: Counter,
    divergent_records: Counter,
    comparison_bytes: Counter,
    seconds: Arc<[Histogram; OPERATIONS.len()]>,
}

impl QuorumMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let gauge = |registry: &mut Registry, name: &str, help: &str| {
            let gauge = Count::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let floor_age_seconds = Gauge::default();
        let seconds = Family::<OperationLabel, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.0001, 2.0, 16))
        });
        let metrics = Self {
            copies: gauge(registry, "quorum_copies", "Copies of quorum shards on this node"),
            incomplete: gauge(
                registry,
                "quorum_incomplete_copies",
                "Copies of quorum shards on this node that come new and copy yet",
            ),
            floorless: gauge(
                registry,
                "quorum_floorless_copies",
                "Copies of quorum shards on this node whose floor has never risen",
            ),
            left_over: gauge(
                registry,
                "quorum_left_over_copies",
                "Copies on this node of quorum shards that the database does not have: a recovery of the system shard gave them up",
            ),
            hints: gauge(
                registry,
                "quorum_hints",
                "Records that this node keeps for copies which have not confirmed them",
            ),
            hint_bytes: gauge(registry, "quorum_hint_bytes", "Bytes of these records"),
            floor_age_seconds,
            hinted_records: counted(
                registry,
                "quorum_hinted_records",
                "Records sent to copies that they were kept for",
            ),
            repaired_records: counted(
                registry,
                "quorum_repaired_records",
                "Records sent to copies that lacked them when this node coordinated a read",
            ),
            divergent_records: counted(
                registry,
                "quorum_divergent_records",
                "Records sent because a comparison found that the other copy lacks them; one that comes new lacks all",
            ),
            comparison_bytes: counted(
                registry,
                "quorum_comparison_bytes",
                "Bytes by which copies compare what they hold: sums and hashes, and the records that the others lack",
            ),
            seconds: Arc::new(OPERATIONS.map(|operation| seconds.get_or_create(&OperationLabel { operation }).clone())),
        };
        registry.register(
            "quorum_floor_age_seconds",
            "How old the oldest floor of the copies on this node is: deletes since then are kept",
            metrics.floor_age_seconds.clone(),
        );
        registry.register(
            "quorum_request_seconds",
            "From the arrival of a request for a quorum table to its answer, on the node that coordinates it",
            seconds,
        );
        metrics
    }

    /// A request for a quorum table was answered.
    pub fn coordinated(&self, operation: Operation, seconds: f64) {
        self.seconds[operation as usize].observe(seconds);
    }

    /// A message goes to another copy.
    pub fn sent(&self, body: &Body) {
        if matches!(body, Body::Compare(..) | Body::Compared(..) | Body::Push(..)) {
            self.comparison_bytes.inc_by(body.bytes() as u64);
        }
        let (counter, records) = match body {
            Body::Repair(_, entries) => (&self.repaired_records, entries.len()),
            Body::Hints(entries) => (&self.hinted_records, entries.len()),
            Body::Push(_, entries) | Body::Compared(_, _, Answer::Records(entries, ..)) => {
                (&self.divergent_records, entries.len())
            }
            Body::Write(..)
            | Body::Said(..)
            | Body::Read(..)
            | Body::Page(..)
            | Body::Newer(..)
            | Body::Repaired(_)
            | Body::Hinted(_)
            | Body::BoundsWanted
            | Body::Bounds(_)
            | Body::Compare(..)
            | Body::Compared(..)
            | Body::Pushed(_)
            | Body::Bar(_)
            | Body::Barred(_)
            | Body::Floor(_)
            | Body::Elapsed(_) => return,
        };
        counter.inc_by(records as u64);
    }

    /// How the copies on this node stand, by this clock in milliseconds since 1970.
    pub fn show<'a>(&self, copies: impl Iterator<Item = &'a QuorumReplica>, map: &Map, wall_ms: u64) {
        let (mut count, mut incomplete, mut floorless, mut left_over) = (0, 0, 0, 0);
        let (mut hints, mut hint_bytes, mut oldest_ms) = (0, 0, None);
        for copy in copies.map(QuorumReplica::view) {
            count += 1;
            incomplete += u64::from(!copy.is_complete);
            // A node that has just started has no map yet.
            left_over += u64::from(!map.shards.is_empty() && !map.shards.contains_key(&copy.shard));
            hints += copy.hints.0;
            hint_bytes += copy.hints.1;
            match copy.floor.wall_ms() {
                0 => floorless += 1,
                floor_ms => oldest_ms = Some(oldest_ms.map_or(floor_ms, |oldest: u64| oldest.min(floor_ms))),
            }
        }
        self.copies.set(count);
        self.incomplete.set(incomplete);
        self.floorless.set(floorless);
        self.left_over.set(left_over);
        self.hints.set(hints);
        self.hint_bytes.set(hint_bytes);
        let age_ms = oldest_ms.map_or(0, |oldest| wall_ms.saturating_sub(oldest));
        self.floor_age_seconds.set(age_ms as f64 / 1_000.0);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prometheus_client::encoding::text::encode;
    use skerry_core::time::Version;

    use super::*;

    #[test]
    fn records_are_counted_by_why_they_are_sent() {
        let mut registry = Registry::default();
        let metrics = QuorumMetrics::new(&mut registry);
        let entries = |count| vec![(Bytes::new(), Bytes::new()); count];
        metrics.sent(&Body::Push(1, vec![(Bytes::from_static(b"key"), Bytes::from_static(b"record"))]));
        for body in [
            Body::Repair(1, entries(2)),
            Body::Hints(entries(3)),
            Body::Push(1, entries(4)),
            Body::Compared(1, 1, Answer::Records(entries(5), 5, None)),
            Body::Compared(1, 1, Answer::OtherGrid),
            Body::Page(1, entries(6), None, Version(0)),
        ] {
            metrics.sent(&body);
        }
        metrics.coordinated(Operation::Get, 0.001);
        metrics.show(std::iter::empty(), &Map::default(), 1_000);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "quorum_repaired_records_total 2",
            "quorum_hinted_records_total 3",
            "quorum_divergent_records_total 10",
            // Nine of the key and the record, and a word of sixteen that the grid is another.
            "quorum_comparison_bytes_total 25",
            "quorum_copies 0",
            "quorum_floor_age_seconds 0.0",
            r#"quorum_request_seconds_count{operation="get"} 1"#,
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is missing in\n{text}");
        }
    }
}
