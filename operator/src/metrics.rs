//! What the operator counts.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

use crate::unreadable::Unreadable;

/// The label that says how a reconciliation ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Ended {
    /// `ok` or `error`.
    pub result: &'static str,
}

/// What the operator counts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    reconciles: Family<Ended, Counter>,
    seconds: Histogram,
    /// 1 while this operator may write.
    pub leading: Gauge,
    last_success: Gauge,
    /// Counts the resources that cannot be read.
    pub unreadable: Unreadable,
}

impl Metrics {
    /// Makes all metrics of the operator, and registers them under the prefix `skerry_operator`.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            reconciles: Family::default(),
            seconds: Histogram::new(exponential_buckets(0.005, 2.0, 14)),
            leading: Gauge::default(),
            last_success: Gauge::default(),
            unreadable: Unreadable::default(),
        };
        let registry = registry.sub_registry_with_prefix("skerry_operator");
        registry.register("reconciles", "looks at a database", metrics.reconciles.clone());
        let seconds = metrics.seconds.clone();
        registry.register_with_unit("reconcile_duration", "time of a look", Unit::Seconds, seconds);
        registry.register("leading", "1 while this operator may write", metrics.leading.clone());
        let unreadable = metrics.unreadable.count.clone();
        registry.register("unreadable_databases", "resources that cannot be read", unreadable);
        let last = metrics.last_success.clone();
        registry.register_with_unit("last_success_timestamp", "end of the last good look", Unit::Seconds, last);
        metrics
    }

    /// Measures and counts one reconciliation.
    pub async fn timed<T, E>(&self, look: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let began = Instant::now();
        let done = look.await;
        self.seconds.observe(began.elapsed().as_secs_f64());
        self.reconciles.get_or_create(&Ended { result: if done.is_ok() { "ok" } else { "error" } }).inc();
        if done.is_ok() {
            self.last_success.set(k8s_openapi::jiff::Timestamp::now().as_second());
        }
        done
    }
}

/// When the operator last looked after its Lease.
#[derive(Debug, Clone)]
pub struct Heartbeat(Arc<std::sync::Mutex<Option<Instant>>>);

impl Heartbeat {
    /// A heartbeat that has not been beaten yet: its age is `None`.
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// Notes that the operator looks after its Lease now.
    pub fn beat(&self) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Instant::now());
    }

    /// How long ago. `None` = never.
    pub fn age(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).map(|at| at.elapsed())
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self::new()
    }
}
