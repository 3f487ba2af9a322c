//! Shards that go on from one copy after their majority was lost: the copy is remade under its new id on the node that
//! has it, and silenced everywhere else. For the system shard, which cannot decide then, this node decides itself.

use crate::engine::{Engine, EngineError};
use crate::ids::{Epoch, NodeId, ReplicaId, ShardId, Token};
use crate::map::{RecoveryRecord, Replica as Copy, ShardRecord};
use crate::message::{CopyReport, LEADERLESS_MAX, NodeReport};
use crate::node::garbage::tombstone_write;
use crate::node::maps::names;
use crate::node::{AdminRefusal, AdminReply, Answer, Node};
use crate::planted::{Planted, is_planted};
use crate::replica::{Collected, Replica};
use crate::steward::{self, FRESH_MS, LOST_SILENCE_MS, RecoveryRefusal, View, Witness};
use crate::system::{SystemCommand, SystemReply};
use crate::time::{Now, TICK_MS};

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
        if let Some(id) = self.replicas.get(&shard).filter(|replica| replica.can_read_log()).map(Replica::id)
            && recovery.from == (Copy { node: here, id })
            && names(record, recovery.to)
        {
            return self.remake(record, recovery, engine);
        }
        let mut out = Collected::default();
        if let Some(replica) = self.replicas.get_mut(&shard).filter(|replica| !replica.is_silenced()) {
            replica.silence(&mut out);
            if replica.is_silenced() && !is_planted(Planted::SilenceForgotten) {
                engine.write(vec![replica.silenced_write()])?;
                (self.unsynced, self.wants_sync) = (true, true);
            }
        }
        self.answers.append(&mut out.answers);
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
        let Some(mut replica) = self.replicas.remove(&shard) else { return Ok(()) };
        let mut out = Collected::default();
        replica.end(&mut out);
        self.answers.append(&mut out.answers);
        let state = replica.go_on_as(recovery.to, record.descriptor.clone(), engine)?;
        engine.write(vec![state.write(), tombstone_write(shard, recovery.from.id)])?;
        self.entomb(shard, recovery.from.id, engine)?;
        self.create(state, engine)
    }

    /// The copies here that have had no leader for a while.
    pub(super) fn leaderless(&self) -> Vec<CopyReport> {
        self.replicas.values().filter_map(Replica::leaderless).take(LEADERLESS_MAX).collect()
    }

    /// What would become of the shards that have no leader.
    pub(super) fn plan_recoveries(&mut self, token: Token, lost: &[NodeId], now: Now) {
        let map = std::sync::Arc::clone(&self.map);
        let view = View { map: &map, reports: &self.stewardship.reports, now_ms: now.monotonic_ms };
        let plans = AdminReply::Recoveries(steward::recoveries(&view, lost));
        self.answers.push((token, Answer::Admin(Ok(plans))));
    }

    /// Checks anew what a person has decided on, and asks the system shard for it.
    pub(super) fn recover(&mut self, token: Token, wanted: &WantedRecovery, now: Now) {
        let map = std::sync::Arc::clone(&self.map);
        let view = View { map: &map, reports: &self.stewardship.reports, now_ms: now.monotonic_ms };
        let WantedRecovery { shard, survivor, based_on, lost } = wanted;
        let plan = steward::recovery(&view, *shard, lost).and_then(|plan| {
            let (asked, best) = (*survivor, plan.survivor.id);
            let other = RecoveryRefusal::OtherSurvivor { shard: *shard, asked, best };
            if asked == best { Ok(plan) } else { Err(other) }
        });
        let refusal = match plan {
            Err(refusal) => Some(AdminRefusal::Recovery(refusal)),
            Ok(plan) => {
                let (shard, based_on, recovery) = (*shard, *based_on, plan.recovery(now.wall_ms));
                let command = SystemCommand::Recover { shard, based_on, recovery };
                let system = self.replicas.get_mut(&ShardId::SYSTEM);
                let is_taken = system.is_some_and(|system| system.system_command(command, Some(token)));
                (!is_taken).then_some(AdminRefusal::NotLeader { leader: None })
            }
        };
        self.answers.extend(refusal.map(|refusal| (token, Answer::Admin(Err(refusal)))));
    }

    /// Notes whether another node's copy of the system shard has no leader, or is lost, as that node says itself.
    pub(super) fn system_copy_told(&mut self, report: &NodeReport, now: Now) {
        let leaderless = report.leaderless.iter().find(|copy| copy.shard == ShardId::SYSTEM).cloned();
        let lost = report.lost.iter().find(|(shard, _)| *shard == ShardId::SYSTEM).map(|(_, id)| *id);
        if leaderless.is_none() && lost.is_none() {
            self.system_copies.remove(&report.node);
        } else {
            let told = ToldSystemCopy { leaderless, lost, at_ms: now.monotonic_ms };
            self.system_copies.insert(report.node, told);
        }
    }

    /// Tells of this node's own copy of the system shard.
    pub(super) fn tell_system_copy(&mut self, token: Token) {
        let copy = self.replicas.get(&ShardId::SYSTEM).and_then(Replica::leaderless);
        let answer = AdminReply::SystemCopy { node: self.identity.node, copy };
        self.answers.push((token, Answer::Admin(Ok(answer))));
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
                if let Some(replica) = self.replicas.get_mut(&ShardId::SYSTEM) {
                    replica.recover_system(&recovery, engine)?;
                }
                // Now this node's map names the copy's new id, and so the copy is remade.
                self.learn_own_map();
                self.unsynced = true;
                Ok(AdminReply::Command(SystemReply::Done(self.map.epoch)))
            }
        };
        self.answers.push((token, Answer::Admin(answer)));
        Ok(())
    }

    fn may_recover_system(&self, wanted: &WantedRecovery, now: Now) -> Result<crate::system::Recovery, AdminRefusal> {
        let shard = ShardId::SYSTEM;
        let replica = self.replicas.get(&shard).ok_or(RecoveryRefusal::NothingLeft { shard })?;
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
        let witness = |copy: Copy| {
            let told = self.system_copies.get(&copy.node);
            let told = told.filter(|told| now.monotonic_ms.saturating_sub(told.at_ms) <= FRESH_MS);
            match told.map(|told| (told.leaderless.as_ref(), told.lost)) {
                Some((Some(leaderless), _)) if leaderless.replica == copy.id => Witness::Leaderless(leaderless.clone()),
                Some((_, Some(lost))) if lost == copy.id => Witness::Lost,
                Some(_) => Witness::Unclear,
                None if self.silent_ms(copy.node) >= LOST_SILENCE_MS => Witness::Silent,
                None => Witness::Unclear,
            }
        };
        let recovery = steward::alone(self.identity.node, &own, &wanted.lost, witness)?;
        Ok(crate::system::Recovery { at_ms: now.wall_ms, ..recovery })
    }

    /// Milliseconds since the node was heard of, at most those since this process began to listen.
    fn silent_ms(&self, node: NodeId) -> u64 {
        self.liveness.silent_ticks(node).min(self.ticks).saturating_mul(TICK_MS)
    }
}

/// What another node said of its copy of the system shard.
#[derive(Debug)]
pub(super) struct ToldSystemCopy {
    leaderless: Option<CopyReport>,
    lost: Option<ReplicaId>,
    /// On the monotonic clock.
    at_ms: u64,
}

/// What a person has decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedRecovery {
    /// Which shard.
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
