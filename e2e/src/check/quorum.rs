//! The part of the check that reads and writes quorum tables.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skerry_client::Client;
use skerry_core::history::Rule;
use skerry_core::map::{Consistency, TableRecord};
use skerry_core::quorum::shown::Resolve;
use skerry_workload::{Load, QuorumCounts, QuorumTable, QuorumWorkload, tested_keys};

/// Clients that write, and as many that read.
const WRITERS: usize = 2;
/// All copies must be equal within this time after the last write.
const EQUAL_WITHIN: Duration = Duration::from_secs(60);

/// What was done with the quorum tables, and found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct QuorumFound {
    /// What readers and writers did, by table.
    pub counts: BTreeMap<String, QuorumCounts>,
    /// What cannot have happened, or copies that do not become equal, in words. Known at the end.
    pub violations: Vec<String>,
    /// Until all copies were equal after the last write, in milliseconds. `None` = this is not known yet.
    pub equal_after_ms: Option<u64>,
}

/// Owner of the load on quorum tables.
#[derive(Debug)]
pub(super) struct Quorum {
    workload: Arc<QuorumWorkload>,
    is_used: bool,
    found: Mutex<QuorumFound>,
}

impl Quorum {
    /// On these tables, of which there may be none.
    pub(super) fn new(client: Client, tables: &[TableRecord]) -> Self {
        let run = rand::random();
        let workload = QuorumWorkload::new(client, tables.iter().filter_map(|table| tested(table, run)).collect());
        Self { workload: Arc::new(workload), is_used: !tables.is_empty(), found: Mutex::default() }
    }

    /// Starts readers and writers beside others.
    pub(super) fn start(&self, load: &mut Load, pace: Duration) {
        if self.is_used {
            load.start_quorum(&self.workload, WRITERS, WRITERS, pace);
        }
    }

    /// What is known now.
    pub(super) fn so_far(&self) -> QuorumFound {
        QuorumFound { counts: self.workload.counts().into_iter().collect(), ..self.found().clone() }
    }

    /// Waits until all copies are equal, and checks all that was seen. The load has stopped.
    pub(super) async fn check_all(&self) {
        if !self.is_used {
            return;
        }
        let equal = self.workload.await_equal(&[], EQUAL_WITHIN).await;
        let mut violations: Vec<String> = self.workload.violations().into_iter().flat_map(|(_, found)| found).collect();
        let mut found = self.found();
        match equal {
            Ok(took) => found.equal_after_ms = u64::try_from(took.as_millis()).ok(),
            Err(not_equal) => violations.push(not_equal.to_string()),
        }
        found.violations = violations;
    }

    fn found(&self) -> MutexGuard<'_, QuorumFound> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The table as it is to be tested, with keys of this run. `None` = it follows leaders.
fn tested(table: &TableRecord, run: u32) -> Option<QuorumTable> {
    let Consistency::Quorum { write, read, resolve } = table.consistency else { return None };
    let rule = match resolve {
        Resolve::LastWriterWins => Rule::LastWriter,
        Resolve::Siblings => Rule::Siblings,
    };
    let keys = tested_keys(&[(table.name.clone(), table.fragmentation)], run);
    Some(QuorumTable { rule, is_overlapping: write + read > table.replication_factor, keys })
}
