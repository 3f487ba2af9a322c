//! The life of a node process: listen, open the volume, get an identity, start every part, serve, and stop in an order
//! in which nothing that was acknowledged, or is in hand, is lost.

mod front;
mod parts;
mod poisoned;
mod volume;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use skerry_program::{listen, stop};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic_health::pb::health_server::Health;
use tracing::{Instrument, Span, field, info, info_span, warn};

use self::front::Front;
use self::parts::{Beginning, Running};
pub use self::poisoned::Poisoned;
use self::volume::Opened;
use crate::bootstrap::{Call, Standing, founding};
use crate::budget::Budget;
use crate::config::Config;
use crate::disk::{self, DiskGuard};
use crate::disk_watch::Watched;
use crate::doubt::Doubt;
use crate::engine;
use crate::health;
use crate::http::{self, Pages};
use crate::identity::VolumeError;
use crate::inbox::{Signals, Work, inbox_within};
use crate::join::OriginError;
use crate::keyring::{Keyring, KeyringError};
use crate::log::LogError;
use crate::metrics::Metrics;
use crate::panics;
use crate::server::{Admission, IdentityPages, Incoming, Places, Port, Ports, ServeError};
use crate::vitals::{Phase, Vitals};

/// A node that does not stop in this time is killed by its own exit: whatever was acknowledged is durable anyway.
const STOP_MAX: Duration = Duration::from_secs(20);
/// A node whose log or store has failed stays so long: answers under way go out, and pages and metrics say why.
const SHOWN_FOR: Duration = Duration::from_secs(1);
/// Before that its worker gets so long to end.
const WORKER_ENDS_MAX: Duration = Duration::from_secs(1);
/// Then its parts get so long to end: a disk that has refused one write may be silent on another.
const FAILED_STOP_MAX: Duration = Duration::from_secs(2);
/// A look at such a disk, for what is to be said at the end, takes so long at most.
const LOOK_MAX: Duration = Duration::from_secs(1);
/// The exit code of a node whose log or store has failed: `EX_IOERR` of sysexits.h.
pub const EXIT_POISONED: u8 = 74;
/// The exit code of a node that fails in any other way, but for [`panics::EXIT_PANICKED`].
const EXIT_FAILED: u8 = 1;

/// Open files that log, store and links to other nodes are left.
const OWN_FILES: u64 = 512;
/// Ports, with that of the pages.
const PORTS: u64 = 4;
/// Connections to the port of the pages at most: those of probes and of whoever collects metrics last for milliseconds.
const PAGES_CONNECTIONS_MAX: usize = 256;
/// A port takes so many connections at least, however few files may be open.
const CONNECTIONS_MIN: usize = 32;

/// Why a node could not start, or stopped other than asked.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Most often another process has the port.
    #[error("failed to listen on {address}")]
    Listen {
        /// Address that was to be listened on.
        address: SocketAddr,
        /// Error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The volume is not this node's, or cannot be used.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The volume is empty and nobody said where its identity comes from.
    #[error("the volume in {folder} has no identity: say --join host:port, or --bootstrap for a database's first node")]
    NoOrigin {
        /// Folder of the volume.
        folder: String,
    },
    /// No identity could be gained from the seeds or by founding.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// The store's folder cannot be used, or holds another kind of store.
    #[error(transparent)]
    Engine(#[from] engine::OpenError),
    /// The log cannot be opened.
    #[error("failed to use the log")]
    Log(#[source] LogError),
    /// The store failed while the core read it.
    #[error(transparent)]
    Core(#[from] skerry_core::engine::EngineError),
    /// The file of secrets cannot be used.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// No thread could be started, or a signal not be listened for.
    #[error("failed to start {part}")]
    Start {
        /// What was to be started, in words.
        part: &'static str,
        /// Error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The gRPC server failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Something ended that should not have.
    #[error("{part} ended by itself")]
    Ended {
        /// What has ended, in words.
        part: &'static str,
    },
    /// Log or store have failed.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// Log or store had no space, and the volume has none.
    #[error("volume is full, {shortage}: {reason}; the next start waits for space")]
    Full {
        /// What the volume is short of, and how much of it is left, in words.
        shortage: String,
        /// What failed in the log or the store, in words.
        reason: String,
    },
    /// The node took longer to stop than it is given.
    #[error("node did not stop within {} s", STOP_MAX.as_secs())]
    Stop,
}

impl RunError {
    /// What the process that ends by this error exits with.
    pub fn exit_code(&self) -> u8 {
        if let Self::Poisoned(_) = self { EXIT_POISONED } else { EXIT_FAILED }
    }
}

/// Runs a node until it is told to stop. Everything that it logs says of which database and node it is.
pub async fn run(config: Config) -> Result<(), RunError> {
    let span = info_span!("of", cluster = %config.cluster, node = field::Empty);
    live(config).instrument(span).await
}

async fn live(config: Config) -> Result<(), RunError> {
    // First: as the first process of a container, it gets no signal that it does not listen for.
    let (stop, signals) = stop::on_signals().map_err(failed("signal handling"))?;
    let keyring = Arc::new(Keyring::open(config.secret_file.clone())?);
    let listeners = Ports {
        clients: listen(config.listen.clients)?,
        peers: listen(config.listen.peers)?,
        admin: listen(config.listen.admin)?,
    };
    let pages = listen(config.http)?;
    let at = Ports {
        clients: local(&listeners.clients, config.listen.clients)?,
        peers: local(&listeners.peers, config.listen.peers)?,
        admin: local(&listeners.admin, config.listen.admin)?,
    };
    let http_address = local(&pages, config.http)?;
    tokio::spawn(panics::vital("signals", signals).in_current_span());
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let (inbox, receiver) = inbox_within(Budget::new(config.memory_budget_bytes));
    let inbox = Arc::new(inbox);
    let doubt = Doubt::of(&config.data);
    panics::watch(inbox.clone(), move |reason| panics::end_process(reason, &doubt));
    let vitals = Arc::new(Vitals::new(inbox.signals().clone()));
    let pages_stop = CancellationToken::new();
    let shown = Pages { registry: Arc::new(registry), vitals: vitals.clone(), inbox: inbox.clone() };
    let pages = tokio::spawn(panics::vital(
        "pages",
        http::serve(Incoming::new(pages, Places::replacing(pages_max(&config))), shown, pages_stop.clone()),
    ));
    let (reporter, health) = tonic_health::server::health_reporter();
    let told = tokio::spawn(panics::vital("health", health::keep_told(reporter, vitals.clone(), inbox.clone())));
    let watched = tokio::spawn(panics::vital("secrets", keyring.clone().keep_read()).in_current_span());
    info!(grpc = %at.clients, peers = %at.peers, admin = %at.admin, http = %http_address, "node listens");
    if !keyring.is_closed() {
        warn!(
            "no --secret-file is given: whoever reaches the ports for nodes and for orders may change or drop all data"
        );
    }

    let address = config.advertise.clone().unwrap_or_else(|| at.clients.to_string());
    let (founding, calls) = founding(config.cluster.clone());
    let identity = IdentityPages {
        cluster: config.cluster.clone(),
        zone: config.zone.clone(),
        address: address.clone(),
        peer_port: at.peers.port(),
        admin_port: at.admin.port(),
        engine: config.engine,
        founding: founding.clone(),
        port: Port::Clients,
    };
    let places = || Places::replacing(connections_max(&config));
    let admission = Admission {
        keyring: keyring.clone(),
        older_peers: config.accept_older_peers,
        places: Ports { clients: Places::refusing(connections_max(&config)), peers: places(), admin: places() },
        sessions_max: config.sessions_max,
    };
    let front = Front::new(listeners, identity, health, admission).map_err(failed("the server"))?;
    let shell = volume::Shell { founding, inbox, metrics, vitals, keyring };
    let ended = serve(&config, Start { address, shell, calls, receiver }, front, stop).await;
    told.abort();
    watched.abort();
    pages_stop.cancel();
    let _ended = pages.await;
    ended
}

/// As many connections to each port as are allowed, and as leave enough open files to log and store, which may not do
/// without.
fn connections_max(config: &Config) -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let left = usize::try_from(files.saturating_sub(OWN_FILES) / PORTS).unwrap_or(usize::MAX);
    config.connections_max.min(left.max(CONNECTIONS_MIN))
}

/// The pages need few at a time, and whoever fills their port is to find it full soon.
fn pages_max(config: &Config) -> usize {
    connections_max(config).min(PAGES_CONNECTIONS_MAX)
}

/// What the parts are started from.
struct Start {
    address: String,
    shell: volume::Shell,
    calls: mpsc::Receiver<Call>,
    receiver: std::sync::mpsc::Receiver<Work>,
}

/// From the volume to the end: without an identity at first if need be, and as nobody if the node was removed.
async fn serve<H: Health>(
    config: &Config,
    start: Start,
    front: Front<H>,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let Start { address, shell, calls, receiver } = start;
    let mut waiting = front.wait().map_err(failed("the server"))?;
    let opened = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(()),
        ended = waiting.failed() => return Err(ended),
        opened = volume::open(config, address, &shell, calls) => opened?,
    };
    let (vitals, founding) = (shell.vitals.clone(), shell.founding.clone());
    match opened {
        Opened::Node(ready) => {
            let parts = Beginning {
                node: ready.node,
                engine: ready.engine,
                log: ready.log,
                inbox: shell.inbox,
                receiver,
                metrics: shell.metrics,
                vitals: shell.vitals,
                watched: watched(config, ready.aside),
                listeners: front.listeners().map_err(failed("the server"))?,
                admission: front.admission.clone(),
                identity: front.identity.clone(),
                health: front.health.clone(),
            };
            let _held = ready.volume;
            waiting.retire();
            let Some(front) = run_parts(parts, front, &stop).await? else { return Ok(()) };
            waiting = front.wait().map_err(failed("the server"))?;
        }
        Opened::Removed(node) => founding.becomes(Standing::Removed { node }),
    }
    vitals.enter(Phase::Removed);
    warn!("node was removed from its database: it serves nothing, and waits to be stopped");
    tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        ended = waiting.failed() => Err(ended),
    }
}

/// Runs until told to stop. Gives the listener back if the node was removed from its database.
async fn run_parts<H: Health>(
    parts: Beginning<H>,
    front: Front<H>,
    stop: &CancellationToken,
) -> Result<Option<Front<H>>, RunError> {
    let identity = parts.node.identity().clone();
    Span::current().record("node", identity.node.0);
    let founding = parts.identity.founding.clone();
    let (signals, volume) = (parts.inbox.signals().clone(), parts.watched.volume.clone());
    let mut running = parts::start(parts)?;
    info!(node = identity.node.0, incarnation = identity.incarnation.0, zone = identity.zone, "node serves");
    let failed = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        () = founding.await_removed() => {
            end(running, &volume, None).await?;
            return Ok(Some(front));
        }
        failed = running.failed() => Some(failed),
        failed = failure(&signals, &volume) => Some(failed),
    };
    // Nobody is to wait in the queue of a listener that no server comes to any more.
    drop(front);
    end(running, &volume, failed).await?;
    if let Err(error) = Doubt::of(&volume).remove() {
        warn!(%error, "failed to remove the note that the store may be damaged");
    }
    Ok(None)
}

/// Waits for the end of a node whose log or store has failed. It can do nothing more, and answers nobody: the next start goes
/// by what the disk has, or, where it was for want of space, waits for space.
async fn failure(signals: &Signals, volume: &Path) -> RunError {
    let reason = signals.failed().await;
    // A panic ends the process by itself, and says why.
    if panics::is_ending() {
        return std::future::pending().await;
    }
    // The worker may be held up by the disk that has failed, and for ever.
    let _is_held_up = tokio::time::timeout(WORKER_ENDS_MAX, signals.stopped().cancelled()).await.is_err();
    let at = volume.to_owned();
    let shortage = looked(move || disk::shortage(&at)).await.and_then(Result::ok).flatten();
    // Space comes and goes, and a disk may itself lie on one that is full.
    let was_short =
        || disk::is_want_of_space(reason).then(|| "or was a moment ago, or what its disk lies on is".to_owned());
    if let Some(shortage) = shortage.or_else(was_short) {
        return RunError::Full { shortage, reason: reason.to_owned() };
    }
    poisoned::end_for_certain();
    tokio::time::sleep(SHOWN_FOR).await;
    let (at, why) = (volume.to_owned(), reason.to_owned());
    looked(move || Poisoned::of(&why, &at)).await.unwrap_or_else(|| Poisoned::unseen(reason)).into()
}

/// What a look at a disk shows that may be silent from now on. `None` = it is.
async fn looked<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::time::timeout(LOOK_MAX, tokio::task::spawn_blocking(look)).await.ok()?.ok()
}

fn watched(config: &Config, aside: Vec<PathBuf>) -> Watched {
    Watched {
        guard: DiskGuard::new(config.capacity_bytes, config.reserve_bytes),
        volume: config.data.clone(),
        log: volume::log_folder(config),
        aside,
    }
}

fn failed(part: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |source| RunError::Start { part, source }
}

async fn end(running: Running, volume: &Path, failed: Option<RunError>) -> Result<(), RunError> {
    let most = if let Some(RunError::Poisoned(_)) = failed { FAILED_STOP_MAX } else { STOP_MAX };
    let stopped = tokio::time::timeout(most, running.stop(volume)).await.unwrap_or(Err(RunError::Stop));
    failed.map_or(stopped, Err)
}

fn listen(address: SocketAddr) -> Result<TcpListener, RunError> {
    listen::listen(address).map_err(|source| RunError::Listen { address, source })
}

fn local(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, RunError> {
    listener.local_addr().map_err(|source| RunError::Listen { address, source })
}
