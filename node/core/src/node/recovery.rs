//! Shards that go on from one copy after their majority was lost: the copy is remade under its new id on the node that
//! has it, and silenced everywhere else. For the system shard, which cannot decide then, this node decides itself.

use std::sync::Arc;

use crate::engine::{Engine, EngineError};
use crate::ids::{Epoch, NodeId, ReplicaId, ShardId, Token};
use crate::map::{RecoveryRecord, Replica as Copy, ShardRecord};
use crate::node::maps::names;
use crate::node::tombstones::tombstone_write;
use crate::node::{AdminRefusal, AdminReply, Node};
use crate::planted::{Planted, is_planted};
use crate::replica::{Collected, Replica};
use crate::steward::{self, RecoveryPlan, RecoveryRefusal};
use crate::system::{Recovery, SystemReply};
use crate::time::Now;

impl Node {
    /// A copy that the map does not name any more: remade, silenced or destroyed.
    pub(super) fn leave_or_go_on(
        &mut self,
        record: &ShardRecord,
        fresh: Option<&RecoveryRecord>,
        engine: &dyn Engine,
    ) -> Result<(), EngineError> {
        let shard = record.descriptor.shard;
        let Some(recovery) = fresh else { return self.destroy(shard, engine) };
        let here = self.identity.node;
        // One that cannot read its log waits, silent, for a release that can.
        if let Some(id) = self.replicas.get(shard).filter(|replica| replica.can_read_log()).map(Replica::id)
            && recovery.from == (Copy { node: here, id })
            && names(record, recovery.to)
        {
            return self.remake(record, recovery, engine);
        }
        let mut out = Collected::default();
        if let Some(replica) = self.replicas.get_mut(shard).filter(|replica| !replica.is_silenced()) {
            replica.silence(&mut out);
            if replica.is_silenced() && !is_planted(Planted::SilenceForgotten) {
                engine.write(vec![replica.silenced_write()])?;
                self.sync_soon();
            }
        }
        self.outbox.take(&mut out);
        Ok(())
    }

    /// The copy goes on alone under its new id. Nothing is said under that id before the store has made it durable, and
    /// before that a crash finds the old copy, which is remade again. Afterwards the log of the old id is void.
    fn remake(
        &mut self,
        record: &ShardRecord,
        recovery: &RecoveryRecord,
        engine: &dyn Engine,
    ) -> Result<(), EngineError> {
        let shard = recovery.shard;
        let Some(mut replica) = self.replicas.remove(shard) else { return Ok(()) };
        let mut out = Collected::default();
        replica.end(&mut out);
        self.outbox.take(&mut out);
        let state = replica.go_on_as(recovery.to, record.descriptor.clone(), engine)?;
        engine.write(vec![state.write(), tombstone_write(shard, recovery.from.id)])?;
        self.entomb(shard, recovery.from.id, engine)?;
        self.create(state, engine)
    }

    /// What would become of the shards that have no leader, or of one shard, if these nodes were lost for ever.
    pub(super) fn plan_recoveries(&mut self, token: Token, (lost, only): (&[NodeId], Option<ShardId>), now: Now) {
        let view = self.stewardship.view(self.map.known(), now);
        let plans = match only {
            Some(shard) => vec![(shard, steward::recovery(&view, shard, lost))],
            None => steward::recoveries(&view, lost),
        };
        self.outbox.answer_admin(token, Ok(AdminReply::Recoveries(plans)));
    }

    /// Checks anew what a person has decided on, and asks the system shard for it.
    pub(super) fn recover(&mut self, token: Token, wanted: &WantedRecovery, now: Now) {
        let view = self.stewardship.view(self.map.known(), now);
        let WantedRecovery { shard, survivor, based_on, lost } = wanted;
        let plan = steward::recovery(&view, *shard, lost).and_then(|plan| {
            let (asked, best) = (*survivor, plan.survivor.id);
            let other = RecoveryRefusal::OtherSurvivor { shard: *shard, asked, best };
            let plan = RecoveryPlan { based_on: *based_on, ..plan };
            if asked == best { steward::decided(&view, &plan, lost, now.wall_ms) } else { Err(other) }
        });
        let refusal = match plan {
            Err(refusal) => Some(AdminRefusal::Recovery(refusal)),
            Ok(command) => {
                let system = self.replicas.get_mut(ShardId::SYSTEM);
                let is_taken = system.is_some_and(|system| system.system_command(command, Some(token)));
                (!is_taken).then_some(AdminRefusal::NotLeader { leader: None })
            }
        };
        if let Some(refusal) = refusal {
            self.outbox.answer_admin(token, Err(refusal));
        }
    }

    /// Tells of this node's own copy of the system shard.
    pub(super) fn tell_system_copy(&mut self, token: Token) {
        let copy = self.replicas.get(ShardId::SYSTEM).and_then(Replica::leaderless);
        let answer = AdminReply::SystemCopy { node: self.identity.node, copy };
        self.outbox.answer_admin(token, Ok(answer));
    }

    /// Has the system shard go on from the copy here, if nothing that this node hears speaks against it.
    pub(super) fn recover_system(
        &mut self,
        token: Token,
        wanted: &WantedRecovery,
        engine: &dyn Engine,
        now: Now,
    ) -> Result<(), EngineError> {
        let answer = match self.may_recover_system(wanted, now) {
            Err(refusal) => Err(refusal),
            Ok(recovery) => {
                let enabled = self.map.levels().enabled();
                if let Some(replica) = self.replicas.get_mut(ShardId::SYSTEM) {
                    replica.recover_system(&recovery, enabled, engine)?;
                }
                // Now this node's map names the copy's new id, and so the copy is remade: at once, since what it has applied
                // may be more than was committed under the old one.
                self.learn_own_map();
                let map = Arc::clone(self.map.known());
                self.follow_map(&map, engine)?;
                self.disk.syncs().written();
                Ok(AdminReply::Command(SystemReply::Done(self.map.known().epoch)))
            }
        };
        self.outbox.answer_admin(token, answer);
        Ok(())
    }

    fn may_recover_system(&self, wanted: &WantedRecovery, now: Now) -> Result<Recovery, AdminRefusal> {
        let shard = ShardId::SYSTEM;
        let replica = self.replicas.get(shard).ok_or(RecoveryRefusal::NothingLeft { shard })?;
        let own = replica.leaderless().ok_or_else(|| match replica.leader_node() {
            Some(node) => RecoveryRefusal::Led { shard, node },
            None => RecoveryRefusal::Unclear { shard, node: self.identity.node, replica: replica.id() },
        })?;
        if !replica.can_read_log() {
            return Err(RecoveryRefusal::NothingLeft { shard }.into());
        }
        let (asked, best) = (wanted.survivor, own.replica);
        if asked != best {
            return Err(RecoveryRefusal::OtherSurvivor { shard, asked, best }.into());
        }
        let witness = |copy: Copy| self.others.witness(copy, self.ticks, now);
        let recovery = steward::alone(self.identity.node, &own, &wanted.lost, witness)?;
        Ok(Recovery { at_ms: now.wall_ms, ..recovery })
    }
}

/// The recovery of a shard, as a person has ordered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedRecovery {
    /// Shard that is to be recovered.
    pub shard: ShardId,
    /// The copy to go on from.
    pub survivor: ReplicaId,
    /// Epoch of the shard's record in the plan that was looked at. Means nothing for the system shard.
    pub based_on: Epoch,
    /// Nodes that are gone for good.
    pub lost: Vec<NodeId>,
}

#[cfg(test)]
mod tests;
