//! The check that runs beside every scenario, as a pod in the cluster: readers and writers on a bounded set of keys,
//! every answer held against what a correct database may answer, and measures of each phase.

mod flights;
mod http;
mod import;
mod nodes;
mod quorum;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use skerry_client::{Client, ClientConfig};
use skerry_core::map::{Consistency, TableRecord};
use skerry_core::node::Status;
use skerry_workload::{Load, Moves, Workload, tested_keys};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

pub use import::{Imported, TableRows};
pub use nodes::NodeNow;
pub use quorum::QuorumFound;
pub use skerry_workload::{Found, Moved, Summary};

use import::Import;
use quorum::Quorum;

/// A database that starts beside the check must be there within this time.
const CONNECT_WITHIN: Duration = Duration::from_secs(120);
/// Between two looks at where replicas are: shorter than any move takes.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A status that has not come within this time is given up.
const STATUS_WITHIN: Duration = Duration::from_secs(5);

/// What the check is to do.
#[derive(Debug, Clone)]
pub struct Config {
    /// `host:port` of some nodes.
    pub seeds: Vec<String>,
    /// Names of the tables that the check reads and writes.
    pub tables: Vec<String>,
    /// Number of clients that write.
    pub writers: usize,
    /// Number of clients that read.
    pub readers: usize,
    /// Between two operations of one of them.
    pub pace: Duration,
    /// Of one operation with all its retries.
    pub deadline: Duration,
    /// Address on which the check serves its HTTP pages.
    pub http: SocketAddr,
}

/// All that is known, at any time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// True once the load has stopped and every key was read once more.
    pub is_final: bool,
    /// Keys that gave no answer to the last read.
    pub unread: usize,
    /// Measurements of the whole run.
    #[serde(flatten)]
    pub total: Summary,
    /// Violations that were found.
    #[serde(flatten)]
    pub found: Found,
    /// Measurements of the present phase so far.
    pub now: Summary,
    /// Measurements of the phases that have ended.
    pub phases: Vec<Summary>,
    /// The database's nodes. Empty = it could not be asked.
    pub nodes: Vec<NodeNow>,
    /// What was done with the quorum tables, and found.
    pub quorum: QuorumFound,
}

/// A check that is under way.
#[derive(Debug)]
pub(crate) struct Check {
    workload: Arc<Workload>,
    quorum: Quorum,
    import: Arc<Import>,
    moves: Mutex<Moves>,
    load: Mutex<Option<Load>>,
    unread: Mutex<Option<usize>>,
}

/// Runs until interrupted or told to end.
pub async fn run(config: Config, stop: CancellationToken) -> Result<()> {
    let listener =
        TcpListener::bind(config.http).await.with_context(|| format!("failed to listen on {}", config.http))?;
    let check = Arc::new(timeout(CONNECT_WITHIN, Check::start(&config)).await.context("the database is not there")??);
    let watcher = tokio::spawn(Arc::clone(&check).watch(stop.clone()));
    http::serve(listener, check, stop.clone()).await.context("the HTTP server failed")?;
    watcher.await.context("the watch of the replicas broke down")
}

impl Check {
    async fn start(config: &Config) -> Result<Self> {
        let mut asked = ClientConfig::new(config.seeds.clone());
        asked.deadline = config.deadline;
        // Bounded by the caller: the nodes' names may not be known yet.
        let client = loop {
            match Client::connect(asked.clone()).await {
                Ok(client) => break client,
                Err(error) => ensure!(error.retryable(), "failed to connect: {error}"),
            }
        };
        let tables = tables(&client, &config.tables).await?;
        let (led, quorum): (Vec<_>, Vec<_>) = tables.into_iter().partition(|t| t.consistency == Consistency::Leader);
        let led: Vec<_> = led.into_iter().map(|table| (table.name, table.fragmentation)).collect();
        ensure!(!led.is_empty(), "no table that follows leaders is named");
        let keys = tested_keys(&led, rand::random());
        let import = Arc::new(Import::new(client.clone(), led));
        let workload = Arc::new(Workload::new(client.clone(), keys));
        let quorum = Quorum::new(client, &quorum);
        let moves = status(&workload.client).await.map(|status| Moves::new(&status)).unwrap_or_default();
        let mut load = Load::start(&workload, config.writers, config.readers, config.pace);
        quorum.start(&mut load, config.pace);
        let (moves, load, unread) = (Mutex::new(moves), Mutex::new(Some(load)), Mutex::new(None));
        Ok(Self { workload, quorum, import, moves, load, unread })
    }

    async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(look.tick()).await.is_some() {
            if let Some(status) = status(&self.workload.client).await {
                self.moves.lock().await.see(&status);
            }
        }
    }

    /// Ends the phase and begins one of this name.
    pub(crate) async fn next_phase(&self, name: &str) -> Summary {
        let status = status(&self.workload.client).await;
        let mut moves = self.moves.lock().await;
        let mut ended = self.workload.recorder.next_phase(name);
        if let Some(status) = status {
            moves.see(&status);
            ended.moved = Some(moves.moved(&status));
            *moves = Moves::new(&status);
        }
        self.workload.recorder.remember(ended.clone());
        ended
    }

    /// All that the check knows now.
    pub(crate) async fn so_far(&self) -> Report {
        let status = status(&self.workload.client).await;
        let unread = *self.unread.lock().await;
        let (total, mut now, phases, found) = self.workload.recorder.so_far();
        let mut nodes = Vec::new();
        if let Some(status) = status {
            now.moved = Some(self.moves.lock().await.moved(&status));
            nodes = nodes::nodes(&status);
        }
        Report {
            is_final: unread.is_some(),
            unread: unread.unwrap_or(0),
            total,
            found,
            now,
            phases,
            nodes,
            quorum: self.quorum.so_far(),
        }
    }

    /// Imports so many rows into each table, unless an import was begun before.
    pub(crate) fn start_import(&self, rows: usize) -> Imported {
        if self.import.claim(rows) {
            let import = Arc::clone(&self.import);
            tokio::spawn(async move { import.run().await });
        }
        self.import.so_far()
    }

    /// How far the import is.
    pub(crate) fn imported(&self) -> Imported {
        self.import.so_far()
    }

    /// Looks once more for what was imported.
    pub(crate) async fn scan(&self) -> Result<Imported> {
        self.import.scan().await?;
        Ok(self.import.so_far())
    }

    /// Ends the load, reads every key once more, and checks everything. A second call gives the same.
    pub(crate) async fn stop(&self) -> Result<Report> {
        if let Some(load) = self.load.lock().await.take() {
            load.stop().await?;
            let unread = self.workload.last_reads().await;
            self.workload.recorder.check_all();
            self.quorum.check_all().await;
            *self.unread.lock().await = Some(unread);
            self.next_phase("after").await;
        }
        Ok(self.so_far().await)
    }
}

/// `None` = the steward does not answer now.
async fn status(client: &Client) -> Option<Status> {
    client.with_deadline(STATUS_WITHIN).admin().status().await.ok()
}

/// The tables, once all of them are there; the caller bounds the wait.
async fn tables(client: &Client, names: &[String]) -> Result<Vec<TableRecord>> {
    ensure!(!names.is_empty(), "no table is named");
    let mut maps = client.watch_map();
    loop {
        let map = client.map();
        let find = |name: &String| map.tables.values().find(|t| !t.dropped && t.name == *name).cloned();
        if let Some(tables) = names.iter().map(find).collect::<Option<Vec<_>>>() {
            return Ok(tables);
        }
        maps.changed().await;
    }
}
