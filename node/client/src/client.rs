//! The client itself: what its parts share, and how it finds its database.

use std::sync::Arc;
use std::time::Duration;

use skerry_core::ids::{Epoch, NodeId, TableId};
use skerry_core::map::{Consistency, Map};
use skerry_core::time::Version;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::admin::Admin;
use crate::config::ClientConfig;
use crate::coordinators::Coordinators;
use crate::key::Key;
use crate::request_ids::RequestIds;
use crate::routes::{Leaders, Routes, Table};
use crate::session::Sessions;
use crate::watch::{Faults, MapWatch, Watcher};

/// A name that no table has is looked for in newer maps for so long: longer than the watcher needs to ask another node.
const TABLE_PATIENCE: Duration = Duration::from_millis(700);

/// A client of one database. Cheap to clone; all clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
    pub(crate) deadline: Duration,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: ClientConfig,
    pub(crate) routes: watch::Receiver<Arc<Routes>>,
    pub(crate) leaders: Leaders,
    pub(crate) coordinators: Coordinators,
    pub(crate) sessions: Sessions,
    pub(crate) request_ids: Arc<RequestIds>,
    /// Tells the watcher that its map is not new enough.
    refresh: Arc<Notify>,
}

/// Why a client could not connect to a database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// No address of a node was given.
    #[error("no seed is given: at least one host:port is needed")]
    NoSeeds,
    /// None of them gave a map in time.
    #[error("none of {} has answered within {deadline:?}{}", .seeds.join(", "), reasons(.faults))]
    Unreached {
        /// The addresses that were asked, each `host:port`.
        seeds: Vec<String>,
        /// Time within which none of the addresses gave a map.
        deadline: Duration,
        /// What stood against it, as `address: reason`. Empty = there was no answer at all.
        faults: Vec<String>,
    },
    /// Nobody listens at any of them, or nobody knows their names.
    #[error("nobody is there{}", reasons(.faults))]
    Absent {
        /// Why, as `address: reason`.
        faults: Vec<String>,
    },
}

impl ConnectError {
    /// True if trying again may help.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Unreached { .. } | Self::Absent { .. })
    }
}

fn reasons(faults: &[String]) -> String {
    if faults.is_empty() { String::new() } else { format!(": {}", faults.join("; ")) }
}

impl Client {
    /// Finds the database and fetches its map. Must be called within a Tokio runtime.
    pub async fn connect(config: ClientConfig) -> Result<Self, ConnectError> {
        if config.seeds.is_empty() {
            return Err(ConnectError::NoSeeds);
        }
        let until = Instant::now() + config.deadline;
        let (publish, mut routes) = watch::channel(Arc::<Routes>::default());
        let refresh = Arc::<Notify>::default();
        let (faults, told) = watch::channel(Faults::default());
        let watcher = Watcher { seeds: config.seeds.clone(), publish, refresh: Arc::clone(&refresh), faults };
        tokio::spawn(watcher.run());
        let mut hopeless = told.clone();
        let found = tokio::select! {
            first = timeout_at(until, routes.wait_for(|routes| routes.map.epoch > Epoch(0))) => {
                matches!(first, Ok(Ok(_)))
            }
            Ok(_) = hopeless.wait_for(|faults| !config.patient && nobody(&config.seeds, faults)) => false,
        };
        if !found {
            let told = told.borrow();
            let faults: Vec<String> =
                config.seeds.iter().filter_map(|seed| Some(format!("{seed}: {}", told.get(seed)?.text))).collect();
            return Err(match Instant::now() < until {
                true => ConnectError::Absent { faults },
                false => ConnectError::Unreached { seeds: config.seeds.clone(), deadline: config.deadline, faults },
            });
        }
        let request_ids = Arc::new(RequestIds::new());
        let sessions = Sessions::new(routes.clone(), Arc::clone(&request_ids));
        let deadline = config.deadline;
        let (leaders, coordinators) = (Leaders::default(), Coordinators::default());
        let inner = Inner { config, routes, leaders, coordinators, sessions, request_ids, refresh };
        Ok(Self { inner: Arc::new(inner), deadline })
    }

    /// The same client with another deadline for its operations.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { inner: Arc::clone(&self.inner), deadline }
    }

    /// The map as the client has it.
    pub fn map(&self) -> Arc<Map> {
        Arc::clone(&self.inner.routes.borrow().map)
    }

    /// The nodes that have a copy of a key's shard, as the client knows. Empty = there is no such table, or the key is none
    /// of it.
    pub fn nodes_of(&self, table: &str, key: &Key) -> Vec<NodeId> {
        let Some(table) = self.inner.table(table) else { return Vec::new() };
        let Ok(key) = key.encode(table.fragmentation) else { return Vec::new() };
        let routes = self.inner.routes();
        let shard = routes.map.route(table.id, &key);
        shard
            .map(|shard| shard.descriptor.members.iter().map(|member| member.replica.node).collect())
            .unwrap_or_default()
    }

    /// The map, now and after every change.
    pub fn watch_map(&self) -> MapWatch {
        MapWatch::new(self.inner.routes.clone())
    }

    /// True unless the table's writes are ordered by leaders.
    pub(crate) fn is_of_quorum(&self, table: TableId) -> bool {
        self.map().tables.get(&table).is_none_or(|table| match table.consistency {
            Consistency::Leader => false,
            Consistency::Quorum { .. } => true,
        })
    }

    /// For what only the system shard's leader answers.
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone(), self.inner.config.secrets.clone())
    }

    /// The highest version that this client has seen.
    pub fn seen(&self) -> Version {
        self.inner.request_ids.seen()
    }
}

/// True if nobody is at any of the seeds.
fn nobody(seeds: &[String], faults: &Faults) -> bool {
    seeds.iter().all(|seed| faults.get(seed).is_some_and(|fault| fault.is_plain))
}

impl Inner {
    pub(crate) fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.routes.borrow())
    }

    pub(crate) fn table(&self, name: &str) -> Option<Table> {
        self.routes.borrow().table(name)
    }

    /// As [`Inner::table`], but a table that was made a moment ago may not be in this client's map yet.
    pub(crate) async fn table_soon(&self, name: &str) -> Option<Table> {
        let known = self.table(name);
        if known.is_some() {
            return known;
        }
        self.refresh();
        let mut routes = self.routes.clone();
        let found = timeout(TABLE_PATIENCE, routes.wait_for(|routes| routes.table(name).is_some())).await;
        found.ok()?.ok()?.table(name)
    }

    /// The map is older than what the database is at: look for a newer one.
    pub(crate) fn refresh(&self) {
        self.refresh.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Client {
        /// A client that has this map, and that nobody tells a newer one but whoever has what comes with it.
        pub(crate) fn of_map(config: ClientConfig, map: Map) -> (Self, watch::Sender<Arc<Routes>>) {
            let (publish, routes) = watch::channel(Arc::new(Routes::new(map)));
            let request_ids = Arc::new(RequestIds::new());
            let sessions = Sessions::new(routes.clone(), Arc::clone(&request_ids));
            let (leaders, coordinators, refresh) = Default::default();
            let deadline = config.deadline;
            let inner = Inner { config, routes, leaders, coordinators, sessions, request_ids, refresh };
            (Self { inner: Arc::new(inner), deadline }, publish)
        }
    }

    fn free() -> String {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
    }

    #[tokio::test]
    async fn impatient_client_tells_at_once_that_nobody_is_there_and_why() {
        let seeds = [free(), free()];
        let mut config = ClientConfig::new(seeds.clone());
        config.patient = false;
        config.deadline = Duration::from_secs(60);
        let begun = Instant::now();
        let error = Client::connect(config).await.unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(30));
        let ConnectError::Absent { faults } = &error else { panic!("{error}") };
        assert!(seeds.iter().zip(faults).all(|(seed, fault)| fault.starts_with(&format!("{seed}: "))), "{error}");
    }

    #[tokio::test]
    async fn patient_client_waits_and_tells_why_too() {
        let mut config = ClientConfig::new([free()]);
        config.deadline = Duration::from_millis(200);
        let error = Client::connect(config).await.unwrap_err();
        assert!(matches!(&error, ConnectError::Unreached { faults, .. } if faults.len() == 1), "{error}");
    }
}
