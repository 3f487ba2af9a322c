//! Everything that runs in a node process, started in one place and stopped in the reverse order.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::Duration;

use skerry_core::map::NodeRecord;
use skerry_core::node::Node;
use skerry_program::chain::chain;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic_health::pb::health_server::{Health, HealthServer};
use tracing::{Span, info, warn};

use super::volume::store;
use super::{Poisoned, RunError};
use crate::damage::DamageNote;
use crate::disk;
use crate::disk_watch::{DiskWatch, Watched};
use crate::engine::SharedEngine;
use crate::inbox::{Inbox, Work};
use crate::log::LogHandle;
use crate::metrics::Metrics;
use crate::panics;
use crate::peers::{self, Peers, Sender};
use crate::server::{self, Admission, IdentityPages, Ports, ServeError};
use crate::session::{Connections, Sessions};
use crate::store_watch::{DiskProbe, WatchedEngine};
use crate::syncer::Syncer;
use crate::vitals::{Phase, Vitals};
use crate::worker::{self, Worker};

/// Streams to and from other nodes get so long to end.
const STREAMS_END_MAX: Duration = Duration::from_secs(1);

/// What the parts are started with.
pub(super) struct Beginning<H> {
    pub(super) node: Node,
    pub(super) engine: SharedEngine,
    pub(super) log: LogHandle,
    pub(super) inbox: Arc<Inbox>,
    pub(super) receiver: std::sync::mpsc::Receiver<Work>,
    pub(super) metrics: Metrics,
    pub(super) vitals: Arc<Vitals>,
    pub(super) watched: Watched,
    pub(super) listeners: Ports<TcpListener>,
    pub(super) admission: Admission,
    pub(super) identity: IdentityPages,
    pub(super) health: HealthServer<H>,
}

/// The threads and tasks of a running node, and what is needed to stop them.
pub(super) struct Running {
    engine: SharedEngine,
    inbox: Arc<Inbox>,
    vitals: Arc<Vitals>,
    worker: JoinHandle<LogHandle>,
    syncer: JoinHandle<()>,
    watch: (DiskWatch, JoinHandle<()>),
    probe: DiskProbe,
    peers_stop: CancellationToken,
    peer_tasks: TaskTracker,
    server_stop: CancellationToken,
    server: tokio::task::JoinHandle<Result<(), ServeError>>,
}

/// Starts all threads and tasks of a node.
pub(super) fn start<H: Health>(beginning: Beginning<H>) -> Result<Running, RunError> {
    let Beginning {
        node,
        engine,
        log,
        inbox,
        receiver,
        metrics,
        vitals,
        watched,
        listeners,
        admission,
        identity,
        health,
    } = beginning;
    let sender = Arc::new(Sender::of(node.identity()));
    let known: Vec<NodeRecord> = node.map().nodes.values().cloned().collect();
    let (peers_stop, peer_tasks) = (CancellationToken::new(), TaskTracker::new());
    let peers = peers::Context {
        sender: sender.clone(),
        founding: identity.founding.clone(),
        vitals: vitals.clone(),
        keyring: admission.keyring.clone(),
        metrics: metrics.clone(),
        budget: inbox.budget().clone(),
        stop: peers_stop.clone(),
        tasks: peer_tasks.clone(),
        runtime: Handle::current(),
    };
    let peers = Peers::new(peers, &known);
    let damage = DamageNote::of(&watched.volume);
    let failed = |part| move |source| RunError::Start { part, source };
    let (sync_wanted, syncer) = Syncer::start(engine.clone(), inbox.clone(), metrics.clone(), damage.clone())
        .map_err(failed("the store's sync thread"))?;
    let probe = DiskProbe::start(vitals.store().clone(), inbox.signals().clone(), &watched.volume)
        .map_err(failed("the disk's probe"))?;
    let watch = DiskWatch::start(watched, inbox.clone(), metrics.clone()).map_err(failed("the disk's watch"))?;
    let (map, map_watch) = watch::channel(node.map().clone());
    let stamp = Arc::new(AtomicU64::new(0));
    let parts = worker::Parts {
        node,
        engine: Arc::new(WatchedEngine::new(engine.clone(), vitals.store().clone())),
        log,
        peers,
        receiver,
        inbox: inbox.clone(),
        map,
        syncer: sync_wanted,
        metrics: metrics.clone(),
        vitals: vitals.clone(),
        stamp: stamp.clone(),
        damage,
    };
    let worker = start_worker(parts).map_err(failed("the worker"))?;

    let server_stop = CancellationToken::new();
    let (sessions, connections) = readers(&inbox, &server_stop);
    let context = server::Context {
        inbox: inbox.clone(),
        map: map_watch,
        stamp,
        sender,
        sessions,
        connections,
        metrics,
        closing: inbox.signals().closing().clone(),
        sessions_max: admission.sessions_max,
    };
    let serving = server::serve(listeners, Arc::new(context), identity, health, admission, server_stop.clone());
    let server = tokio::spawn(panics::vital("server", serving));
    vitals.enter(Phase::Serving);
    Ok(Running { engine, inbox, vitals, worker, syncer, watch, probe, peers_stop, peer_tasks, server_stop, server })
}

/// The clients' streams and connections, and the task that ends those which stand still.
fn readers(inbox: &Inbox, stop: &CancellationToken) -> (Arc<Sessions>, Arc<Connections>) {
    let (sessions, connections) = (Arc::new(Sessions::default()), Arc::new(Connections::default()));
    let watch = sessions.clone().watch(connections.clone(), inbox.budget().clone(), stop.clone());
    tokio::spawn(panics::vital("sessions", watch));
    (sessions, connections)
}

fn start_worker(parts: worker::Parts) -> std::io::Result<JoinHandle<LogHandle>> {
    let thread = std::thread::Builder::new().name("worker".to_owned());
    let span = Span::current();
    thread.spawn(move || span.in_scope(|| Worker::new(parts).run()))
}

impl Running {
    /// Waits until the server ends, which it does only by failing.
    pub(super) async fn failed(&mut self) -> RunError {
        match (&mut self.server).await {
            Ok(Err(error)) => RunError::Serve(error),
            Ok(Ok(())) | Err(_) => RunError::Ended { part: "server" },
        }
    }

    /// Stops everything: leadership is handed over, then no new work is taken, then what is in hand is finished, then
    /// streams, log and store end.
    pub(super) async fn stop(self, volume: &Path) -> Result<(), RunError> {
        self.vitals.enter(Phase::Stopping);
        self.inbox.stop();
        let log =
            blocking("worker", move || self.worker.join()).await?.map_err(|_| RunError::Ended { part: "worker" })?;
        self.inbox.close();
        self.peers_stop.cancel();
        self.server_stop.cancel();
        self.peer_tasks.close();
        let streams = async {
            self.peer_tasks.wait().await;
            let _ended = self.server.await;
        };
        if tokio::time::timeout(STREAMS_END_MAX, streams).await.is_err() {
            warn!("some streams did not end in time and are cut");
        }
        drop((self.watch.0, self.probe));
        let (sync_thread, watch_thread, engine) = (self.syncer, self.watch.1, self.engine);
        let (inbox, volume) = (self.inbox, volume.to_owned());
        blocking("store", move || {
            let closed = log.close();
            let _ended = (sync_thread.join(), watch_thread.join());
            // Asked after they have ended: a sync that was under way may have failed just now.
            let ended = match inbox.signals().failure() {
                Some(reason) => Err(reason.to_owned()),
                None => closed.map_err(|error| chain(&error)).and_then(|()| {
                    let stored = store::close(engine.as_ref());
                    stored.inspect_err(|error| DamageNote::of(&volume).leave_for(error)).map_err(|error| chain(&error))
                }),
            };
            ended.map_err(|reason| {
                // Nothing more is written, and the failed fsync is not tried again, which an engine would do at its end.
                std::mem::forget(engine);
                failed_at_end(reason, &volume)
            })
        })
        .await??;
        info!("log and store are durable");
        Ok(())
    }
}

/// What a node says that its log or store has failed by the time it ends.
fn failed_at_end(reason: String, volume: &Path) -> RunError {
    if disk::is_want_of_space(&reason) {
        return RunError::Full { shortage: "or was a moment ago".to_owned(), reason };
    }
    Poisoned::of(&reason, volume).into()
}

async fn blocking<T: Send + 'static>(
    part: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RunError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| RunError::Ended { part })
}
