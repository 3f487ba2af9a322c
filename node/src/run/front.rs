//! The node's gRPC address: one listener for its whole life, taken by the servers in turn. Whoever connects between two
//! of them waits in the listener's queue for the next.

use std::io;
use std::net::TcpListener as StdListener;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic_health::pb::health_server::{Health, HealthServer};
use tracing::Instrument;

use super::RunError;
use crate::server::{self, IdentityPages, ServeError};

/// What every server of the node begins with.
pub(super) struct Front<H> {
    listener: StdListener,
    pub(super) identity: IdentityPages,
    pub(super) health: HealthServer<H>,
}

/// The server of a node that serves no records.
pub(super) struct Waiting {
    stop: CancellationToken,
    server: JoinHandle<Result<(), ServeError>>,
}

impl<H: Health> Front<H> {
    pub(super) fn new(listener: TcpListener, identity: IdentityPages, health: HealthServer<H>) -> io::Result<Self> {
        Ok(Self { listener: listener.into_std()?, identity, health })
    }

    /// For a server; this one stays.
    pub(super) fn listener(&self) -> io::Result<TcpListener> {
        TcpListener::from_std(self.listener.try_clone()?)
    }

    /// Starts the server of a node that serves no records.
    pub(super) fn wait(&self) -> io::Result<Waiting> {
        let stop = CancellationToken::new();
        let server = server::wait(self.listener()?, self.identity.clone(), self.health.clone(), stop.clone());
        Ok(Waiting { stop, server: tokio::spawn(server.in_current_span()) })
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
