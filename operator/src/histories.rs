//! What this operator has seen of each database since it leads.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::ResourceExt;
use skerry_api::DistributedDatabase;
use skerry_operator_core::{LookHistory, Observed};
use tokio::time::Instant;

/// Far more databases than one operator looks after; past it, everything counts from nothing once more.
const DATABASES_MAX: usize = 100_000;
/// No pause becomes longer by itself. Watches tell of what happens in Kubernetes meanwhile, but nobody of what happens in
/// the database.
const PAUSE_MAX: Duration = Duration::from_secs(8);
const DOUBLINGS_MAX: u32 = 8;

/// By the databases' namespaces and names.
#[derive(Debug)]
pub struct Histories {
    began: Instant,
    databases: Mutex<HashMap<(String, String), History>>,
}

/// Of one database.
#[derive(Debug, Default)]
struct History {
    looks: LookHistory,
    /// What was told last, and how often in a row.
    told: String,
    again: u32,
}

impl Default for Histories {
    fn default() -> Self {
        Self { began: Instant::now(), databases: Mutex::default() }
    }
}

impl Histories {
    /// Notes a look that began then, and writes into it for how long what was seen was so.
    pub fn look(&self, database: &DistributedDatabase, observed: &mut Observed, at: Instant) {
        self.of(database, |history| history.looks.look(database, observed, at.duration_since(self.began)));
    }

    /// The spec of this database cannot be carried out.
    pub fn met_invalid_spec(&self, database: &DistributedDatabase) {
        self.of(database, |history| history.looks.met_invalid_spec());
    }

    /// The pause until the next look, longer each time that the same is told again: what is stuck is not tried ever so often.
    pub fn lengthened(&self, database: &DistributedDatabase, pause: Duration, told: String) -> Duration {
        self.of(database, |history| {
            history.again = if history.told == told { history.again.saturating_add(1) } else { 0 };
            history.told = told;
            pause.saturating_mul(1 << history.again.min(DOUBLINGS_MAX)).min(PAUSE_MAX).max(pause)
        })
    }

    fn of<T>(&self, database: &DistributedDatabase, note: impl FnOnce(&mut History) -> T) -> T {
        let key = (database.namespace().unwrap_or_default(), database.name_any());
        let mut databases = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        if databases.len() >= DATABASES_MAX {
            databases.clear();
        }
        note(databases.entry(key).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_the_same_is_looked_at_less_often_until_it_changes() {
        let histories = Histories::default();
        let database = DistributedDatabase::new("shop", serde_json::from_str("{}").unwrap());
        let seconds =
            |told: &str, pause| histories.lengthened(&database, Duration::from_secs(pause), told.to_owned()).as_secs();
        assert_eq!([1, 2, 3, 4, 5].map(|_| seconds("refused", 1)), [1, 2, 4, 8, 8]);
        assert_eq!(seconds("2 shards are left", 1), 1);
        assert_eq!([1, 2].map(|_| seconds("at rest", 15)), [15, 15], "no pause becomes shorter");
    }
}
