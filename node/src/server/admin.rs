//! For the operator and for joining nodes: requests to the system shard, wherever it is led; this node says where if
//! it is not here.

use std::sync::Arc;

use prost::Message;
use skerry_client::wire::{Wire, all_into, required, status_into_wire};
use skerry_core::ids::{Epoch, Incarnation, NodeId, ReplicaId, ShardId};
use skerry_core::level::FormatLevel;
use skerry_core::map::MapDelta;
use skerry_core::node::{AdminRefusal, AdminReply, AdminRequest, Answer, WantedRecovery};
use skerry_core::system::{NewNode, SystemCommand, SystemRefusal, SystemReply};
use skerry_proto::v1;
use skerry_proto::v1::admin_service_server::AdminService;
use skerry_proto::v1::{execute_response, join_response, recover_response};
use tonic::{Request, Response, Status};

use super::{Context, Port, paced, status};
use crate::inbox::Ask;

/// Nodes that a person may name as lost in one request: more than any database has that a person looks after by name.
const LOST_MAX: usize = 1_000;

/// Serves the administration API: requests to the system shard.
#[derive(Debug, Clone)]
pub(super) struct Admin {
    pub(super) context: Arc<Context>,
    /// The port on which the service was called.
    pub(super) port: Port,
}

impl Admin {
    /// `bytes` = how long the request was on the wire. `Ok(Err(_))` = the system shard's own refusal.
    async fn ask(&self, request: AdminRequest, bytes: usize) -> Result<Result<AdminReply, SystemRefusal>, Status> {
        match self.ask_any(request, bytes).await? {
            Ok(reply) => Ok(Ok(reply)),
            Err(AdminRefusal::Refused(refusal)) => Ok(Err(refusal)),
            Err(refusal) => Err(Status::failed_precondition(refusal.to_string())),
        }
    }

    /// Asks the worker. `Ok(Err(_))` = the core has refused the request, for this reason.
    async fn ask_any(&self, request: AdminRequest, bytes: usize) -> Result<Result<AdminReply, AdminRefusal>, Status> {
        let answer = self.context.inbox.ask(Ask::Admin { request: Box::new(request), bytes }).await;
        match answer.map_err(|refused| status::status(status::refused(&refused)))? {
            Some(Answer::Admin(Ok(reply))) => Ok(Ok(reply)),
            Some(Answer::Admin(Err(refusal))) => match status::admin(refusal, &self.context.map()) {
                Ok(kind) => Err(status::status(kind)),
                Err(refusal) => Ok(Err(refusal)),
            },
            Some(Answer::Write(_) | Answer::Read(_)) | None => Err(status::status(status::ended())),
        }
    }

    /// The answer's memory is counted until whoever asked has taken it.
    fn respond<T: Message>(&self, answer: T) -> Result<Response<T>, Status> {
        Ok(paced::counted(self.context.inbox.budget(), answer))
    }
}

fn unexpected() -> Status {
    Status::internal("the core answered another question")
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn execute(&self, request: Request<v1::ExecuteRequest>) -> Result<Response<v1::ExecuteResponse>, Status> {
        self.port.only(&[Port::Admin])?;
        let request = request.into_inner();
        let bytes = request.encoded_len();
        self.context.check_cluster(&request.cluster_id)?;
        let command = required::<SystemCommand>(request.command, "command");
        let command = command.map_err(|e| status::status(status::malformed(&e)))?;
        if !matches!(command, SystemCommand::Admin { .. }) {
            // Nodes join by Join; the rest is the steward's own.
            return Err(Status::invalid_argument("only admin commands can be executed from outside"));
        }
        let result = match self.ask(AdminRequest::Command(command), bytes).await? {
            Ok(AdminReply::Command(reply)) => execute_response::Result::Reply(reply.into_wire()),
            Ok(_) => return Err(unexpected()),
            Err(refusal) => execute_response::Result::Refusal(refusal.into_wire()),
        };
        self.respond(v1::ExecuteResponse { result: Some(result) })
    }

    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        self.port.only(&[Port::Peers])?;
        let request = request.into_inner();
        let bytes = request.encoded_len();
        if request.cluster_id.is_empty() {
            return Err(status::status(status::field("cluster_id")));
        }
        self.context.check_cluster(&request.cluster_id)?;
        let node = required::<NewNode>(request.node, "node").map_err(|e| status::status(status::malformed(&e)))?;
        let join = SystemCommand::JoinAt { node, level: FormatLevel::told(request.format_level) };
        let result = match self.ask(AdminRequest::Command(join), bytes).await? {
            Ok(AdminReply::Command(SystemReply::Joined(node))) => {
                // The nodes alone: the rest of a large map comes in pieces, from peers.
                let nodes = self.context.map().since(Epoch(0)).nodes;
                let map = MapDelta { cluster: self.context.map().cluster.clone(), nodes, ..MapDelta::default() };
                let map = map.into_wire();
                join_response::Result::Joined(v1::Joined { node_id: node.0, map: Some(map) })
            }
            Ok(_) => return Err(unexpected()),
            Err(refusal) => join_response::Result::Refusal(refusal.into_wire()),
        };
        self.respond(v1::JoinResponse { result: Some(result) })
    }

    async fn certify_removal(
        &self,
        request: Request<v1::CertifyRemovalRequest>,
    ) -> Result<Response<v1::CertifyRemovalResponse>, Status> {
        self.port.only(&[Port::Admin])?;
        let request = request.into_inner();
        let bytes = request.encoded_len();
        let (node, incarnation) = (NodeId(request.node_id), Incarnation(request.incarnation));
        match self.ask(AdminRequest::CertifyRemoval { node, incarnation }, bytes).await? {
            Ok(AdminReply::Removal(removal)) => self.respond(removal.into_wire()),
            Ok(_) => Err(unexpected()),
            Err(refusal) => Err(Status::failed_precondition(refusal.to_string())),
        }
    }

    async fn status(&self, _request: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        self.port.only(&[Port::Clients, Port::Admin])?;
        match self.ask(AdminRequest::Status, 0).await? {
            Ok(AdminReply::Status(reply)) => self.respond(status_into_wire(*reply)),
            Ok(_) => Err(unexpected()),
            Err(refusal) => Err(Status::failed_precondition(refusal.to_string())),
        }
    }

    async fn plan_recoveries(
        &self,
        request: Request<v1::PlanRecoveriesRequest>,
    ) -> Result<Response<v1::PlanRecoveriesResponse>, Status> {
        self.port.only(&[Port::Admin])?;
        let request = request.into_inner();
        let bytes = request.encoded_len();
        self.context.check_cluster(&request.cluster_id)?;
        let lost = lost(request.lost_node_ids)?;
        let only = request.shard_id.map(ShardId);
        match self.ask_any(AdminRequest::PlanRecoveries { lost, only }, bytes).await? {
            Ok(AdminReply::Recoveries(shards)) => self.respond(v1::PlanRecoveriesResponse { shards: all_into(shards) }),
            Ok(_) => Err(unexpected()),
            Err(refusal) => Err(Status::failed_precondition(refusal.to_string())),
        }
    }

    async fn recover(&self, request: Request<v1::RecoverRequest>) -> Result<Response<v1::RecoverResponse>, Status> {
        self.port.only(&[Port::Admin])?;
        let request = request.into_inner();
        let bytes = request.encoded_len();
        if request.cluster_id.is_empty() {
            return Err(status::status(status::field("cluster_id")));
        }
        self.context.check_cluster(&request.cluster_id)?;
        let wanted = WantedRecovery {
            shard: ShardId(request.shard_id),
            survivor: ReplicaId(request.survivor_replica_id),
            based_on: Epoch(request.based_on_epoch),
            lost: lost(request.lost_node_ids)?,
        };
        tracing::warn!(shard = %wanted.shard, survivor = %wanted.survivor, lost = ?wanted.lost, "a person asks to go on from one copy");
        let asked = match wanted.shard {
            ShardId::SYSTEM => AdminRequest::RecoverSystem(wanted),
            _ => AdminRequest::Recover(wanted),
        };
        let result = match self.ask_any(asked, bytes).await? {
            Ok(AdminReply::Command(SystemReply::Done(epoch))) => recover_response::Result::Epoch(epoch.0),
            Ok(_) => return Err(unexpected()),
            Err(AdminRefusal::Refused(refusal)) => recover_response::Result::Refused(refusal.into_wire()),
            Err(AdminRefusal::Recovery(refusal)) => recover_response::Result::Refusal(refusal.into_wire()),
            Err(refusal) => return Err(Status::failed_precondition(refusal.to_string())),
        };
        self.respond(v1::RecoverResponse { result: Some(result) })
    }

    async fn system_copy(
        &self,
        _request: Request<v1::SystemCopyRequest>,
    ) -> Result<Response<v1::SystemCopyResponse>, Status> {
        self.port.only(&[Port::Admin])?;
        match self.ask_any(AdminRequest::SystemCopy, 0).await? {
            Ok(AdminReply::SystemCopy { node, copy }) => {
                self.respond(v1::SystemCopyResponse { node_id: node.0, copy: copy.map(Wire::into_wire) })
            }
            Ok(_) => Err(unexpected()),
            Err(refusal) => Err(Status::failed_precondition(refusal.to_string())),
        }
    }
}

/// The nodes that a person names as lost.
fn lost(ids: Vec<u64>) -> Result<Vec<NodeId>, Status> {
    if ids.len() > LOST_MAX {
        return Err(Status::invalid_argument(format!(
            "{} nodes are named as lost, at most {LOST_MAX} can be",
            ids.len()
        )));
    }
    Ok(ids.into_iter().map(NodeId).collect())
}
