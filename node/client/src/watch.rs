//! Keeps the shard map up to date: one stream to one node, and to another one when it breaks or does not know what
//! other nodes already know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skerry_core::client::progress::pause;
use skerry_core::map::{Map, MapDelta, NodeState};
use skerry_proto::v1::map_service_client::MapServiceClient;
use skerry_proto::v1::{WatchMapRequest, WatchMapResponse};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::Streaming;
use tracing::{debug, warn};

use crate::channel::{self, LASTING, OPEN_TIMEOUT, said};
use crate::retry::jittered;
use crate::routes::Routes;
use crate::wire::required;

/// A whole map of 100,000 shards takes some tens of megabytes.
const MAP_BYTES_MAX: usize = 256 << 20;
/// When a newer map is known to be elsewhere, the present node has so long to tell of it.
const PATIENCE: Duration = Duration::from_millis(300);

/// The map, now and after every change.
#[derive(Debug, Clone)]
pub struct MapWatch {
    routes: watch::Receiver<Arc<Routes>>,
}

impl MapWatch {
    pub(crate) fn new(routes: watch::Receiver<Arc<Routes>>) -> Self {
        Self { routes }
    }

    /// The map as it is now.
    pub fn current(&mut self) -> Arc<Map> {
        Arc::clone(&self.routes.borrow_and_update().map)
    }

    /// The map after its next change. `None` = the client is gone.
    pub async fn changed(&mut self) -> Option<Arc<Map>> {
        self.routes.changed().await.ok()?;
        Some(self.current())
    }
}

/// The task that keeps the map; ends with the client.
pub(crate) struct Watcher {
    pub(crate) seeds: Vec<String>,
    pub(crate) publish: watch::Sender<Arc<Routes>>,
    pub(crate) refresh: Arc<Notify>,
    pub(crate) faults: watch::Sender<Faults>,
}

/// Why addresses gave no map when they were last asked.
pub(crate) type Faults = BTreeMap<String, SeedFault>;

/// Why an address gave no map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeedFault {
    /// The error and its causes, as a person is told of them.
    pub(crate) text: String,
    /// True if the error shows that nobody can be reached at the address.
    pub(crate) is_plain: bool,
}

/// Why the stream of maps from a node ended.
enum Ended {
    /// The client was dropped: nobody wants maps any more.
    ForGood,
    /// It broke, or never came about.
    Broken,
    /// The node gave no newer map in time: another node is to be followed.
    Behind,
}

impl Watcher {
    pub(crate) async fn run(self) {
        let (mut turn, mut failures) = (rand::random_range(0..1_024_usize), 0);
        loop {
            let (address, began) = (self.address(turn), Instant::now());
            match self.follow(&address).await {
                Ended::ForGood => return,
                Ended::Behind => {}
                Ended::Broken => {
                    failures = if began.elapsed() > LASTING { 0 } else { failures + 1 };
                    tokio::select! {
                        () = self.publish.closed() => return,
                        () = sleep(jittered(pause(failures))) => {}
                    }
                }
            }
            turn += 1;
        }
    }

    /// One after the other of all addresses that may lead to the database.
    fn address(&self, turn: usize) -> String {
        let routes = Arc::clone(&self.publish.borrow());
        let known = routes.map.nodes.values().filter(|node| node.state != NodeState::Removed);
        let addresses: BTreeSet<&str> = known.map(|node| node.address.as_str()).collect();
        let seeds = self.seeds.iter().map(String::as_str).filter(|seed| !addresses.contains(seed));
        let all: Vec<&str> = addresses.iter().copied().chain(seeds).collect();
        all[turn % all.len()].to_owned()
    }

    async fn follow(&self, address: &str) -> Ended {
        let opened = tokio::select! {
            () = self.publish.closed() => return Ended::ForGood,
            opened = self.open(address) => opened,
        };
        let Some(mut deltas) = opened else { return Ended::Broken };
        let mut patience: Option<Instant> = None;
        loop {
            let waited = async {
                match patience {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.publish.closed() => return Ended::ForGood,
                message = deltas.message() => match message {
                    Ok(Some(message)) => {
                        if !self.take(address, message) {
                            return Ended::Broken;
                        }
                        patience = None;
                    }
                    Ok(None) => return Ended::Broken,
                    Err(status) => {
                        debug!(address, %status, "map stream broke");
                        return Ended::Broken;
                    }
                },
                () = self.refresh.notified(), if patience.is_none() => patience = Some(Instant::now() + PATIENCE),
                () = waited => return Ended::Behind,
            }
        }
    }

    async fn open(&self, address: &str) -> Option<Streaming<WatchMapResponse>> {
        let failed = |text: String, is_plain| {
            self.faults.send_modify(|faults| drop(faults.insert(address.to_owned(), SeedFault { text, is_plain })));
        };
        let channel = match channel::connect(address).await {
            Ok(channel) => channel,
            Err(error) => {
                debug!(address, %error, "node cannot be reached for its map");
                failed(error.root(), error.is_plain());
                return None;
            }
        };
        let mut client = MapServiceClient::new(channel).max_decoding_message_size(MAP_BYTES_MAX);
        let have_epoch = self.publish.borrow().map.epoch.0;
        match timeout(OPEN_TIMEOUT, client.watch_map(WatchMapRequest { have_epoch })).await {
            Ok(Ok(deltas)) => Some(deltas.into_inner()),
            Ok(Err(status)) => {
                debug!(address, %status, "node does not give its map");
                failed(said(&status), false);
                None
            }
            Err(_) => {
                failed(format!("no answer within {} ms", OPEN_TIMEOUT.as_millis()), false);
                None
            }
        }
    }

    /// Takes a delta over. False if it is not of this database.
    fn take(&self, address: &str, message: WatchMapResponse) -> bool {
        let delta = match required::<MapDelta>(message.delta, "delta") {
            Ok(delta) => delta,
            Err(error) => {
                warn!(address, %error, "the map cannot be understood");
                return false;
            }
        };
        let current = Arc::clone(&self.publish.borrow());
        if !current.map.cluster.0.is_empty() && current.map.cluster != delta.cluster {
            warn!(address, cluster = %delta.cluster, expected = %current.map.cluster, "node of another database");
            return false;
        }
        let mut map = Map::clone(&current.map);
        if map.merge(delta) {
            self.publish.send_replace(Arc::new(Routes::new(map)));
        }
        true
    }
}
