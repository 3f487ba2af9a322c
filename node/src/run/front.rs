//! The node's gRPC addresses: one listener each for its whole life, taken by the servers in turn. Whoever connects between
//! two of them waits in the listener's queue for the next.

use std::io;
use std::net::TcpListener as StdListener;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic_health::pb::health_server::{Health, HealthServer};
use tracing::Instrument;

use super::RunError;
use crate::panics;
use crate::server::{self, Admission, IdentityPages, Ports, ServeError};

/// What every server of the node begins with.
pub(super) struct Front<H> {
    listeners: Ports<StdListener>,
    pub(super) identity: IdentityPages,
    pub(super) health: HealthServer<H>,
    pub(super) admission: Admission,
}

/// The server of a node that serves no records.
pub(super) struct Waiting {
    stop: CancellationToken,
    server: JoinHandle<Result<(), ServeError>>,
}

impl<H: Health> Front<H> {
    pub(super) fn new(
        listeners: Ports<TcpListener>,
        identity: IdentityPages,
        health: HealthServer<H>,
        admission: Admission,
    ) -> io::Result<Self> {
        Ok(Self { listeners: listeners.try_map(TcpListener::into_std)?, identity, health, admission })
    }

    /// The listening sockets once more, for a server; the originals stay open.
    pub(super) fn listeners(&self) -> io::Result<Ports<TcpListener>> {
        self.listeners.as_ref().try_map(|listener| TcpListener::from_std(listener.try_clone()?))
    }

    /// Starts the server of a node that serves no records.
    pub(super) fn wait(&self) -> io::Result<Waiting> {
        let stop = CancellationToken::new();
        let (identity, health, admission) = (self.identity.clone(), self.health.clone(), self.admission.clone());
        let server = server::wait(self.listeners()?, identity, health, admission, stop.clone());
        Ok(Waiting { stop, server: tokio::spawn(panics::vital("server", server).in_current_span()) })
    }
}

impl Waiting {
    /// Waits until the server ends, which it does only by failing.
    pub(super) async fn failed(&mut self) -> RunError {
        match (&mut self.server).await {
            Ok(Err(error)) => RunError::Serve(error),
            Ok(Ok(())) | Err(_) => RunError::Ended { part: "server" },
        }
    }

    /// Takes no more connections. Calls that are in hand are answered; streams of the health service go on until their
    /// clients leave.
    pub(super) fn retire(self) {
        self.stop.cancel();
    }
}
