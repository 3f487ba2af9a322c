//! For how long something was so at every look: what a plan is told of it.

use std::collections::BTreeMap;
use std::time::Duration;

#[cfg(any(test, feature = "testing"))]
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use skerry_api::PendingRemoval;
use skerry_core::ids::NodeId;

/// What was seen at every look of some time, and for how long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    /// A table's id and name: announced in the status, and not named by the spec.
    pub(super) tables: BTreeMap<(i64, String), Duration>,
    /// Slots without a process, by name, and for how long they were seen so.
    pub(super) absent: BTreeMap<String, Duration>,
    /// Nodes that the steward did not hear.
    pub(super) silent: BTreeMap<NodeId, Duration>,
    /// Since the first look at which the steward answered.
    pub(super) answering: Duration,
}

impl Watched {
    /// For how long the table was announced, and stayed out of the spec.
    pub fn table(&self, removal: &PendingRemoval) -> Duration {
        let key = (removal.table, removal.name.clone());
        self.tables.get(&key).copied().unwrap_or_default()
    }

    /// The same, with tables by the wall clock alone. A bug, for the simulator.
    #[cfg(any(test, feature = "testing"))]
    pub fn with_tables_since(self, removals: &[PendingRemoval], now: &Time) -> Self {
        let elapsed = |r: &PendingRemoval| Duration::try_from(now.0.duration_since(r.since.0)).unwrap_or_default();
        let tables = removals.iter().map(|r| ((r.table, r.name.clone()), elapsed(r))).collect();
        Self { tables, ..self }
    }

    /// For how long the steward answered and did not hear the node.
    pub fn silent(&self, node: NodeId) -> Duration {
        self.silent.get(&node).copied().unwrap_or_default()
    }

    /// For how long it could be watched who is silent, and times in which the steward did not answer.
    pub fn answering(&self) -> Duration {
        self.answering
    }
}
