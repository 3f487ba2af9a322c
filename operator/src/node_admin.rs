//! What the operator asks of databases and tells them: the only place that speaks to nodes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
pub use skerry_client::Secrets;
use skerry_client::{AdminError, Client, ClientConfig, identity};
use skerry_core::ids::{ClusterId, Incarnation, NodeId};
use skerry_core::node::{Removal, Status};
use skerry_core::system::{AdminChange, Fence, SystemCommand, SystemRefusal};
use skerry_program::chain::chain;

/// A database that has a leader answers within this.
const DEADLINE: Duration = Duration::from_secs(3);
/// A certificate takes as long as the slowest of many leaders.
const CERTIFY_DEADLINE: Duration = Duration::from_secs(6);

/// A database, and where it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Id of the database.
    pub cluster: ClusterId,
    /// Namespace and name of the resource that it is asked for. Two resources may have one id: neither is answered for by the
    /// other's nodes.
    pub resource: String,
    /// `host:port` of its nodes.
    pub seeds: Vec<String>,
    /// What its nodes demand of who gives them orders. Empty = not known.
    pub secrets: Secrets,
}

/// Why a database did not do or say what was asked. Nothing may be concluded from it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct AdminFailure {
    /// The error and all its causes, in one line.
    pub why: String,
    /// The fencing token that the database has seen, if it refused this one for that.
    pub fenced_by: Option<u64>,
}

impl AdminFailure {
    fn of(error: &dyn std::error::Error) -> Self {
        chain(error).into()
    }
}

impl From<String> for AdminFailure {
    fn from(why: String) -> Self {
        Self { why, fenced_by: None }
    }
}

impl From<SystemRefusal> for AdminFailure {
    fn from(refusal: SystemRefusal) -> Self {
        let fenced_by = if let SystemRefusal::Fenced { highest, .. } = refusal { Some(highest) } else { None };
        Self { fenced_by, ..refusal.to_string().into() }
    }
}

/// What the operator asks and tells.
#[async_trait]
pub trait NodeAdmin: Send + Sync {
    /// The id of the node at this address. `None` = it has none, and can found a database.
    async fn identify(&self, address: &str) -> Result<Option<NodeId>, AdminFailure>;
    /// Tells the node to found the database. May be repeated.
    async fn found(&self, address: &str, target: &Target) -> Result<(), AdminFailure>;
    /// The database as its steward sees it.
    async fn status(&self, target: &Target) -> Result<Status, AdminFailure>;
    /// Changes the system shard. May be repeated.
    async fn change(&self, target: &Target, fence: Fence, change: AdminChange) -> Result<(), AdminFailure>;
    /// May this node be removed, now?
    async fn certify(&self, target: &Target, node: NodeId, start: Incarnation) -> Result<Removal, AdminFailure>;
}

/// Over gRPC. A resource's client is kept as long as its database answers.
#[derive(Debug, Default)]
pub struct GrpcAdmin {
    clients: Mutex<HashMap<(String, ClusterId), Client>>,
}

impl GrpcAdmin {
    async fn client(&self, target: &Target) -> Result<Client, AdminFailure> {
        let kept = self.clients.lock().unwrap_or_else(PoisonError::into_inner).get(&key(target)).cloned();
        if let Some(client) = kept {
            return Ok(client);
        }
        let config = ClientConfig { deadline: DEADLINE, ..ClientConfig::new(target.seeds.clone()) };
        let client = Client::connect(config).await.map_err(|e| AdminFailure::of(&e))?;
        // A name may lead to another database, if this one's was used again.
        let met = client.map().cluster.clone();
        if met != target.cluster {
            return Err(format!("the nodes are of database {met}, not of {}", target.cluster).into());
        }
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.insert(key(target), client.clone());
        Ok(client)
    }

    /// The next request begins with the seeds again, of which some may be new.
    fn failed(&self, target: &Target, error: &dyn std::error::Error) -> AdminFailure {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(target));
        AdminFailure::of(error)
    }
}

fn key(target: &Target) -> (String, ClusterId) {
    (target.resource.clone(), target.cluster.clone())
}

#[async_trait]
impl NodeAdmin for GrpcAdmin {
    async fn identify(&self, address: &str) -> Result<Option<NodeId>, AdminFailure> {
        let identity = identity::identify(address, DEADLINE).await.map_err(|e| AdminFailure::of(&e))?;
        Ok(identity.node)
    }

    async fn found(&self, address: &str, target: &Target) -> Result<(), AdminFailure> {
        let founded = identity::found(address, &target.cluster, &target.secrets, DEADLINE).await;
        founded.map_err(|e| AdminFailure::of(&e))?;
        Ok(())
    }

    async fn status(&self, target: &Target) -> Result<Status, AdminFailure> {
        let client = self.client(target).await?;
        client.admin().status().await.map_err(|e| self.failed(target, &e))
    }

    async fn change(&self, target: &Target, fence: Fence, change: AdminChange) -> Result<(), AdminFailure> {
        let client = self.client(target).await?;
        let command = SystemCommand::Admin { fence, change };
        let admin = client.admin().with_secrets(target.secrets.clone());
        match admin.execute(command).await {
            Ok(_) => Ok(()),
            Err(AdminError::Refused { refusal, .. }) => Err(refusal.into()),
            Err(error) => Err(self.failed(target, &error)),
        }
    }

    async fn certify(&self, target: &Target, node: NodeId, start: Incarnation) -> Result<Removal, AdminFailure> {
        let client = self.client(target).await?.with_deadline(CERTIFY_DEADLINE);
        let admin = client.admin().with_secrets(target.secrets.clone());
        admin.certify(node, start).await.map_err(|e| self.failed(target, &e))
    }
}
