//! The three ports of a node, and what keeps strangers out of two of them.

use std::sync::Arc;

use skerry_client::secret::carried;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::incoming::{Caller, Places};
use crate::keyring::Keyring;

/// Which of a node's ports, by whom it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Clients: whoever reads and writes, or looks.
    Clients,
    /// The other nodes, and those that are to join them.
    Peers,
    /// The operator and administrators, who give orders.
    Admin,
}

impl Port {
    /// Refuses a call that is not answered here.
    pub(super) fn only(self, at: &[Self]) -> Result<(), Status> {
        if at.contains(&self) {
            return Ok(());
        }
        let words: Vec<&str> = at.iter().map(|port| port.words()).collect();
        Err(Status::unimplemented(format!("this is answered on the port for {}", words.join(" and for "))))
    }

    fn words(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Peers => "nodes",
            Self::Admin => "orders",
        }
    }
}

/// One value for each of a node's ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports<T> {
    /// The value for [`Port::Clients`].
    pub clients: T,
    /// The value for [`Port::Peers`].
    pub peers: T,
    /// The value for [`Port::Admin`].
    pub admin: T,
}

impl<T> Ports<T> {
    /// Makes another value from the one of each port, unless one of them fails.
    pub fn try_map<U, E>(self, mut of: impl FnMut(T) -> Result<U, E>) -> Result<Ports<U>, E> {
        Ok(Ports { clients: of(self.clients)?, peers: of(self.peers)?, admin: of(self.admin)? })
    }

    /// References to the value of each port.
    pub fn as_ref(&self) -> Ports<&T> {
        Ports { clients: &self.clients, peers: &self.peers, admin: &self.admin }
    }
}

/// Whom the ports for nodes and for orders let in.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The secrets that the ports for nodes and for orders demand.
    pub keyring: Arc<Keyring>,
    /// Nodes of the release before, which know the clients' port alone, may speak there.
    pub older_peers: bool,
    /// How many connections each port has.
    pub places: Ports<Arc<Places>>,
    /// Number of sessions of clients that may be open at a time.
    pub sessions_max: u64,
}

impl Interceptor for Admission {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        self.keyring.admit(carried(&request))?;
        // Where no secret is demanded, everybody is a stranger.
        if self.keyring.is_closed()
            && let Some(caller) = request.extensions().get::<Caller>()
        {
            caller.has_shown_the_secret();
        }
        Ok(request)
    }
}
