//! The way out of a lost majority: what is left, and to go on from it.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use skerry_core::ids::{Epoch, NodeId, ShardId};
use skerry_core::message::CopyReport;
use skerry_core::node::WantedRecovery;
use skerry_core::steward::{RecoveryPlan, RecoveryRefusal};
use skerry_core::system::SystemRefusal;
use skerry_proto::v1;
use skerry_proto::v1::recover_response;

use super::{Admin, AdminError};
use crate::redirect::{CallFailed, Leader, Settled, Via, call_leader};
use crate::secret::Secrets;
use crate::wire::{Malformed, Wire, all};

/// A node that is there says at once how its copy is.
const COPY_DEADLINE: Duration = Duration::from_secs(3);

/// What a node says of its own copy of the system shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemCopy {
    /// Node that was asked.
    pub node: NodeId,
    /// `host:port` where the node was asked.
    pub address: String,
    /// `None` = it has none, or one that has a leader.
    pub copy: Option<CopyReport>,
}

impl Admin {
    /// What would become of every data shard without a leader if these nodes were lost for ever; of very many shards it tells
    /// some. `only` = of this shard alone, whether it has a leader or not; a node of an earlier release tells of all the
    /// same. Changes nothing.
    ///
    /// # Errors
    /// If the system shard has no leader, or it has not answered.
    pub async fn plan_recoveries(
        &self,
        lost: &[NodeId],
        only: Option<ShardId>,
    ) -> Result<Vec<(ShardId, Result<RecoveryPlan, RecoveryRefusal>)>, AdminError> {
        let cluster_id = self.client.map().cluster.0.clone();
        let (lost_node_ids, shard_id) = (lost.iter().map(|n| n.0).collect(), only.map(|shard| shard.0));
        let request = v1::PlanRecoveriesRequest { cluster_id, lost_node_ids, shard_id };
        let call = |mut leader: Leader| {
            let request = request.clone();
            async move { Ok(leader.plan_recoveries(request).await?.into_inner()) }
        };
        Ok(all(self.call_leader(call).await.map_err(CallFailed::of_read)?.answer.shards)?)
    }

    /// Has a data shard go on from one copy. It is asked for again while the answer is lost, and takes effect once at most: a
    /// later try is refused then, since it rests on a plan that is over.
    ///
    /// # Errors
    /// If it was refused. It may have happened all the same if [`AdminError::may_have_happened`]: look at the plans again.
    pub async fn recover(&self, wanted: &WantedRecovery) -> Result<Epoch, AdminError> {
        recovered(self.call_leader(self.recover_call(wanted)).await?)
    }

    /// Has the system shard go on from the copy on the node at this `host:port`.
    ///
    /// # Errors
    /// As [`Admin::recover`].
    pub async fn recover_system(&self, address: &str, wanted: &WantedRecovery) -> Result<Epoch, AdminError> {
        let only = || vec![address.to_owned()];
        let via = Via::Admin(&self.secrets);
        recovered(call_leader(only, via, self.client.deadline, self.recover_call(wanted)).await?)
    }

    fn recover_call(
        &self,
        wanted: &WantedRecovery,
    ) -> impl Fn(Leader) -> futures::future::BoxFuture<'static, Result<v1::RecoverResponse, tonic::Status>> + use<>
    {
        let request = v1::RecoverRequest {
            cluster_id: self.client.map().cluster.0.clone(),
            shard_id: wanted.shard.0,
            survivor_replica_id: wanted.survivor.0,
            based_on_epoch: wanted.based_on.0,
            lost_node_ids: wanted.lost.iter().map(|n| n.0).collect(),
        };
        move |mut leader: Leader| {
            let request = request.clone();
            Box::pin(async move { Ok(leader.recover(request).await?.into_inner()) })
        }
    }

    /// What every node that can be reached says of its own copy of the system shard, once for each node. The seeds are asked
    /// too: from outside of the database's network a node may be reached through a forwarded port alone.
    pub async fn system_copies(&self) -> Vec<SystemCopy> {
        let answers = self.candidates().into_iter().map(|address| system_copy(address, &self.secrets));
        let mut copies: Vec<SystemCopy> = join_all(answers).await.into_iter().flatten().collect();
        let mut told = BTreeSet::new();
        copies.retain(|copy| told.insert(copy.node));
        copies
    }
}

async fn system_copy(address: String, secrets: &Secrets) -> Option<SystemCopy> {
    let call = |mut node: Leader| async move { Ok(node.system_copy(v1::SystemCopyRequest {}).await?.into_inner()) };
    let answer = call_leader(|| vec![address.clone()], Via::Admin(secrets), COPY_DEADLINE, call).await.ok()?.answer;
    let copy = answer.copy.map(CopyReport::from_wire).transpose().ok()?;
    Some(SystemCopy { node: NodeId(answer.node_id), address, copy })
}

fn recovered(Settled { answer, may_have_happened }: Settled<v1::RecoverResponse>) -> Result<Epoch, AdminError> {
    match answer.result.ok_or(Malformed::Missing("result"))? {
        recover_response::Result::Epoch(epoch) => Ok(Epoch(epoch)),
        recover_response::Result::Refused(refusal) => {
            Err(AdminError::Refused { refusal: SystemRefusal::from_wire(refusal)?, may_have_happened })
        }
        recover_response::Result::Refusal(refusal) => {
            Err(AdminError::NotRecovered { refusal: RecoveryRefusal::from_wire(refusal)?, may_have_happened })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_after_a_try_whose_answer_was_lost_is_not_told_as_nothing_has_changed() {
        let refusal = RecoveryRefusal::Led { shard: ShardId(4), node: NodeId(1) };
        for may_have_happened in [false, true] {
            let result = Some(recover_response::Result::Refusal(refusal.clone().into_wire()));
            let error = recovered(Settled { answer: v1::RecoverResponse { result }, may_have_happened }).unwrap_err();
            assert_eq!(error.may_have_happened(), may_have_happened);
            assert_eq!(error.to_string().contains("may have taken effect"), may_have_happened, "{error}");
        }
    }
}
