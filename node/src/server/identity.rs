//! Who this node is, and the founding call: answered from the node's first moment to its last.

use std::sync::Arc;

use skerry_client::Identity;
use skerry_client::wire::Wire;
use skerry_core::ids::ClusterId;
use skerry_proto::v1;
use skerry_proto::v1::found_response;
use skerry_proto::v1::identity_service_server::IdentityService;
use tonic::{Request, Response, Status};
use tracing::{info, warn};

use super::{Port, status};
use crate::bootstrap::Founding;
use crate::engine::EngineKind;

/// Serves the identity API: who this node is, and the call that founds the database.
#[derive(Debug, Clone)]
pub struct IdentityPages {
    /// What the node was started as.
    pub cluster: ClusterId,
    /// The node's failure domain. Empty = none named.
    pub zone: String,
    /// `host:port` where the others reach the node.
    pub address: String,
    /// Where the other nodes are listened for.
    pub peer_port: u16,
    /// Port on which the node takes orders.
    pub admin_port: u16,
    /// What keeps the node's data.
    pub engine: EngineKind,
    /// Whether the node belongs to a database yet.
    pub founding: Arc<Founding>,
    /// The port on which the service is called.
    pub port: Port,
}

impl IdentityPages {
    /// The same, where orders are taken.
    pub(super) fn for_admin(&self) -> Self {
        Self { port: Port::Admin, ..self.clone() }
    }
}

#[tonic::async_trait]
impl IdentityService for IdentityPages {
    async fn identify(&self, _request: Request<v1::IdentifyRequest>) -> Result<Response<v1::Identity>, Status> {
        let standing = self.founding.standing();
        let identity = Identity {
            cluster: self.cluster.clone(),
            node: standing.node(),
            incarnation: standing.incarnation(),
            zone: self.zone.clone(),
            address: self.address.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            peer_port: Some(self.peer_port),
            admin_port: Some(self.admin_port),
            engine: Some(self.engine.to_string()),
        };
        Ok(Response::new(identity.into_wire()))
    }

    async fn found(&self, request: Request<v1::FoundRequest>) -> Result<Response<v1::FoundResponse>, Status> {
        self.port.only(&[Port::Admin])?;
        let asked = request.into_inner().cluster_id;
        if asked.is_empty() {
            return Err(status::status(status::field("cluster_id")));
        }
        let result = match self.founding.found(ClusterId(asked)).await {
            Ok(founded) => {
                info!(node = founded.node.0, repeated = founded.repeated, "founding call is answered");
                let (node_id, is_repeated) = (founded.node.0, founded.repeated);
                found_response::Result::Founded(v1::Founded { node_id, is_repeated })
            }
            Err(refusal) => {
                warn!(%refusal, "founding call is refused");
                found_response::Result::Refusal(refusal.into_wire())
            }
        };
        Ok(Response::new(v1::FoundResponse { result: Some(result) }))
    }
}
