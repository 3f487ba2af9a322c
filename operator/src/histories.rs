//! What this operator has seen of each database since it leads.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::ResourceExt;
use skerry_api::DistributedDatabase;
use skerry_operator_core::kubernetes::ObjectWrite;
use skerry_operator_core::{Agenda, Decision, Invalid, Memory, Observed, Round};
use tokio::time::Instant;

/// Far more databases than one operator looks after; past it, everything counts from nothing once more.
const DATABASES_MAX: usize = 100_000;
/// By the databases' namespaces and names.
#[derive(Debug)]
pub struct Histories {
    began: Instant,
    databases: Mutex<HashMap<(String, String), Memory>>,
}

impl Default for Histories {
    fn default() -> Self {
        Self { began: Instant::now(), databases: Mutex::default() }
    }
}

impl Histories {
    /// Notes a look that began then, and writes into it for how long what was seen was so.
    pub fn look(&self, database: &DistributedDatabase, observed: &mut Observed, at: Instant) {
        self.of(database, |memory| memory.look(database, observed, at.duration_since(self.began)));
    }

    /// Begins to carry out what was decided.
    pub fn begin(
        &self,
        database: &DistributedDatabase,
        observed: Observed,
        decision: Result<Decision, Invalid>,
        agenda: Agenda<ObjectWrite>,
    ) -> Round<ObjectWrite> {
        self.of(database, |memory| Round::new(memory, observed, decision, agenda))
    }

    /// Ends a round. Returns the pause until the next look.
    pub fn end(&self, database: &DistributedDatabase, round: &Round<ObjectWrite>) -> Duration {
        self.of(database, |memory| memory.end(round))
    }

    fn of<T>(&self, database: &DistributedDatabase, note: impl FnOnce(&mut Memory) -> T) -> T {
        let key = (database.namespace().unwrap_or_default(), database.name_any());
        let mut databases = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        if databases.len() >= DATABASES_MAX {
            databases.clear();
        }
        note(databases.entry(key).or_default())
    }
}
