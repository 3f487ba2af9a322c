//! The life of a node process: listen, open the volume, get an identity, start every part, serve, and stop in an order
//! in which nothing that was acknowledged, or is in hand, is lost.

mod parts;
mod stop;
mod volume;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, field, info, info_span};

use self::parts::{Beginning, Running};
use crate::config::Config;
use crate::disk::DiskGuard;
use crate::disk_watch::Watched;
use crate::engine;
use crate::http::{self, Pages};
use crate::identity::VolumeError;
use crate::inbox::inbox;
use crate::log::LogError;
use crate::metrics::Metrics;
use crate::origin::OriginError;
use crate::server::ServeError;
use crate::vitals::Vitals;

/// A node that does not stop in this time is killed by its own exit: whatever was acknowledged is durable anyway.
const STOP_MAX: Duration = Duration::from_secs(20);

/// Why a node could not start, or stopped other than asked.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Most often another process has the port.
    #[error("failed to listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The volume is not this node's, or cannot be used.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The volume is empty and nobody said where its identity comes from.
    #[error("the volume in {folder} has no identity: say --join host:port, or --bootstrap for a database's first node")]
    NoOrigin {
        /// Which.
        folder: String,
    },
    /// No identity could be had.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// The store's folder cannot be used, or holds another kind of store.
    #[error(transparent)]
    Engine(#[from] engine::OpenError),
    /// The log cannot be used.
    #[error("failed to use the log")]
    Log(#[source] LogError),
    /// The store failed while the core read it.
    #[error(transparent)]
    Core(#[from] skerry_core::engine::EngineError),
    /// No thread could be started, or a signal not be listened for.
    #[error("failed to start {part}")]
    Start {
        /// What.
        part: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Something ended that should not have.
    #[error("{part} ended by itself")]
    Ended {
        /// What.
        part: &'static str,
    },
    /// Log or store had failed before the node was told to stop.
    #[error("node was poisoned: {reason}")]
    Poisoned {
        /// Why.
        reason: String,
    },
    /// Too long.
    #[error("node did not stop within {} s", STOP_MAX.as_secs())]
    Stop,
}

/// Runs a node until it is told to stop. Everything that it logs says of which database and node it is.
pub async fn run(config: Config) -> Result<(), RunError> {
    let span = info_span!("of", cluster = %config.cluster, node = field::Empty);
    live(config).instrument(span).await
}

async fn live(config: Config) -> Result<(), RunError> {
    let grpc = listen(config.listen).await?;
    let pages = listen(config.http).await?;
    let (grpc_address, http_address) = (local(&grpc, config.listen)?, local(&pages, config.http)?);
    let stop = stop::on_signals().map_err(|source| RunError::Start { part: "signal handling", source })?;
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let (inbox, receiver) = inbox();
    let inbox = Arc::new(inbox);
    let vitals = Arc::new(Vitals::new(inbox.signals().clone()));
    let pages_stop = CancellationToken::new();
    let shown = Pages { registry: Arc::new(registry), vitals: vitals.clone() };
    let pages = tokio::spawn(http::serve(pages, shown, pages_stop.clone()));
    info!(grpc = %grpc_address, http = %http_address, "node listens");

    let address = config.advertise.clone().unwrap_or_else(|| grpc_address.to_string());
    let shell = volume::Shell { inbox: inbox.clone(), metrics: metrics.clone(), vitals: vitals.clone() };
    let opened = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(()),
        opened = volume::open(&config, address, &shell) => opened?,
    };
    let identity = opened.node.identity().clone();
    Span::current().record("node", identity.node.0);
    let _held = opened.volume;
    let mut running = parts::start(Beginning {
        node: opened.node,
        engine: opened.engine,
        log: opened.log,
        inbox,
        receiver,
        metrics,
        vitals,
        watched: Watched {
            guard: DiskGuard::new(config.capacity_bytes, config.reserve_bytes),
            volume: config.data.clone(),
            log: volume::log_folder(&config),
        },
        listener: grpc,
    })?;
    info!(node = identity.node.0, incarnation = identity.incarnation.0, zone = config.zone, "node serves");
    let failed = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        failed = running.failed() => Some(failed),
    };
    end(running, failed).await?;
    pages_stop.cancel();
    let _ended = pages.await;
    Ok(())
}

async fn end(running: Running, failed: Option<RunError>) -> Result<(), RunError> {
    let stopped = tokio::time::timeout(STOP_MAX, running.stop()).await.unwrap_or(Err(RunError::Stop));
    failed.map_or(stopped, Err)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, source })
}

fn local(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, RunError> {
    listener.local_addr().map_err(|source| RunError::Listen { address, source })
}
