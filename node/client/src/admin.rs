//! What the operator and the command line ask of the system shard's leader.

mod recovery;

use skerry_core::ids::{Incarnation, NodeId, ShardId};
use skerry_core::map::NodeState;
use skerry_core::node::{Removal, Status};
use skerry_core::steward::RecoveryRefusal;
use skerry_core::system::{SystemCommand, SystemRefusal, SystemReply};
use skerry_proto::v1;
use skerry_proto::v1::execute_response;

use crate::channel::said;
use crate::client::Client;
use crate::redirect::{CallFailed, Leader, Settled, Via, call_leader};
use crate::secret::Secrets;
use crate::wire::{Malformed, Wire, status_from_wire};

pub use recovery::SystemCopy;

/// For what only the system shard's leader answers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Admin {
    client: Client,
    secrets: Secrets,
}

/// Why the system shard's leader did not do or say what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The system shard refused the command.
    #[error("{refusal}{}", earlier(*.may_have_happened))]
    Refused {
        /// Why.
        refusal: SystemRefusal,
        /// True if an earlier try may have taken effect, which may be what the refusal is about. False = nothing has changed.
        may_have_happened: bool,
    },
    /// Something lives that would be harmed, or that is not known for certain.
    #[error("{refusal}{}", earlier(*.may_have_happened))]
    NotRecovered {
        /// Why.
        refusal: RecoveryRefusal,
        /// As of [`AdminError::Refused`].
        may_have_happened: bool,
    },
    /// The node does not take the request: it is of another database, it demands its secret, or the request cannot be.
    #[error("the node refused: {}{}", said(.status), earlier(*.may_have_happened))]
    Rejected {
        /// The node's answer.
        status: Box<tonic::Status>,
        /// As of [`AdminError::Refused`].
        may_have_happened: bool,
    },
    /// The deadline passed before there was a useful answer.
    #[error("the system shard's leader has not answered in time{}", last_said(.last.as_deref()))]
    Deadline {
        /// True if a command may have taken effect.
        may_have_happened: bool,
        /// The last answer of a node. `None` = there was none.
        last: Option<Box<tonic::Status>>,
    },
    /// A node's answer cannot be understood.
    #[error("failed to understand the answer of the system shard's leader")]
    Answer(#[from] Malformed),
}

/// The last answer, for the end of a message.
fn last_said(last: Option<&tonic::Status>) -> String {
    last.map(|status| format!(": {}", said(status))).unwrap_or_default()
}

/// For the end of a refusal.
fn earlier(may_have_happened: bool) -> &'static str {
    if may_have_happened { "; an earlier attempt, whose answer was lost, may have taken effect" } else { "" }
}

impl AdminError {
    /// True if the same may be asked again, after a pause. Commands may be repeated.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Deadline { .. })
    }

    /// True if a command may have taken effect all the same.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::Refused { may_have_happened, .. }
            | Self::NotRecovered { may_have_happened, .. }
            | Self::Rejected { may_have_happened, .. }
            | Self::Deadline { may_have_happened, .. } => *may_have_happened,
            Self::Answer(_) => true,
        }
    }
}

impl From<CallFailed> for AdminError {
    fn from(failed: CallFailed) -> Self {
        match failed {
            CallFailed { status: Some(status), out_of_time: false, may_have_happened } => {
                Self::Rejected { status, may_have_happened }
            }
            CallFailed { status, may_have_happened, .. } => Self::Deadline { may_have_happened, last: status },
        }
    }
}

impl Admin {
    pub(crate) fn new(client: Client, secrets: Secrets) -> Self {
        Self { client, secrets }
    }

    /// The same with other secrets than the client was made with.
    #[must_use]
    pub fn with_secrets(self, secrets: Secrets) -> Self {
        Self { secrets, ..self }
    }

    /// Carries a command out. It is repeated until its outcome is known, so a refusal may be of a later try than the one that
    /// took effect: [`AdminError::may_have_happened`].
    pub async fn execute(&self, command: SystemCommand) -> Result<SystemReply, AdminError> {
        let request =
            v1::ExecuteRequest { cluster_id: self.client.map().cluster.0.clone(), command: Some(command.into_wire()) };
        let call = |mut leader: Leader| {
            let request = request.clone();
            async move { Ok(leader.execute(request).await?.into_inner()) }
        };
        let Settled { answer, may_have_happened } = self.call_leader(call).await?;
        match answer.result.ok_or(Malformed::Missing("result"))? {
            execute_response::Result::Reply(reply) => Ok(SystemReply::from_wire(reply)?),
            execute_response::Result::Refusal(refusal) => {
                Err(AdminError::Refused { refusal: SystemRefusal::from_wire(refusal)?, may_have_happened })
            }
        }
    }

    /// May this node, in this incarnation, be removed?
    pub async fn certify(&self, node: NodeId, incarnation: Incarnation) -> Result<Removal, AdminError> {
        let request = v1::CertifyRemovalRequest { node_id: node.0, incarnation: incarnation.0 };
        let answer = self
            .call_leader(|mut leader: Leader| async move { Ok(leader.certify_removal(request).await?.into_inner()) })
            .await
            .map_err(CallFailed::of_read)?;
        Ok(Removal::from_wire(answer.answer)?)
    }

    /// The database as the steward sees it. Needs no secret.
    pub async fn status(&self) -> Result<Status, AdminError> {
        let call = |mut leader: Leader| async move { Ok(leader.status(v1::StatusRequest {}).await?.into_inner()) };
        let asked = call_leader(|| self.candidates(), Via::Clients, self.client.deadline, call).await;
        let answer = asked.map_err(CallFailed::of_read)?;
        Ok(status_from_wire(answer.answer)?)
    }

    async fn call_leader<T, Answered>(&self, call: impl Fn(Leader) -> Answered) -> Result<Settled<T>, CallFailed>
    where
        Answered: Future<Output = Result<T, tonic::Status>>,
    {
        call_leader(|| self.candidates(), Via::Admin(&self.secrets), self.client.deadline, call).await
    }

    /// The system shard's members first, then all others, then the seeds.
    fn candidates(&self) -> Vec<String> {
        let map = self.client.map();
        let system = map.shards.get(&ShardId::SYSTEM);
        let mut nodes: Vec<_> = map.nodes.values().filter(|node| node.state != NodeState::Removed).collect();
        nodes.sort_by_key(|node| !system.is_some_and(|shard| shard.names(node.id)));
        let mut addresses: Vec<String> = nodes.into_iter().map(|node| node.address.clone()).collect();
        for seed in &self.client.inner.config.seeds {
            if !addresses.contains(seed) {
                addresses.push(seed.clone());
            }
        }
        addresses
    }
}
