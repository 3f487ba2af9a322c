//! The system shard loses its majority while copies of quorum tables are under way: it goes on from one copy that had not
//! heard of the last steps, so that copies hold layouts which its records do not know.

use std::collections::BTreeSet;

use skerry_core::ids::{Epoch, NodeId, ReplicaId, ShardId};
use skerry_core::node::{AdminReply, AdminRequest, Answer, Input, WantedRecovery};
use skerry_core::replica::ReplicaView;

use super::{LIVENESS, Run};
use crate::check::views;
use crate::hardship::Hardship;
use crate::world::{Event, SECOND};

/// For so long the others decide steps that the one copy does not hear of.
const APART: u64 = 6 * SECOND;
/// A person tries it again and again.
const TRIES: u32 = 30;
/// How often a person looks, until all is at rest, for shards that do not go on by themselves.
const LOOKS: u32 = 6;

impl Run {
    /// Called at rest. Only the copies of the system shard are lost.
    pub(super) fn recover_system(&mut self) {
        if !self.world.setting.has(Hardship::SystemRecovery) || self.world.checker.is_broken() {
            return;
        }
        let system: Vec<ReplicaView> =
            views(&self.world.hosts).into_values().filter(|view| view.shard == ShardId::SYSTEM).collect();
        let Some(survivor) = system.iter().find(|view| !view.is_leader).filter(|_| system.len() > 2) else { return };
        let (here, copy) = (survivor.node, survivor.replica);
        let hosts = self.world.up();
        let others = || hosts.iter().copied().filter(move |node| *node != here);
        self.world.mark(&format!("{here}: hears nothing of the system shard, which the others will lose"));
        self.world.network.cut = others().flat_map(|other| [(here, other), (other, here)]).collect();
        self.operator.moves.shuffle_now(self.world.time + APART);
        self.operator.is_done = false;
        self.until(APART, |_| false);
        // One that has begun to take a snapshot has given its records up: with all others, all would be lost.
        let has_records = views(&self.world.hosts).into_values().any(|view| view.replica == copy && !view.is_blank);
        if has_records {
            for node in system.iter().map(|view| view.node).filter(|node| *node != here) {
                self.world.crash(node);
                self.world.start(node, BTreeSet::from([ShardId::SYSTEM]));
            }
        }
        self.world.network.heal();
        if has_records && !(0..TRIES).any(|_| self.recovers_from(here, copy)) {
            self.fail("the system shard does not go on from one copy");
        }
        let is_at_rest = (0..LOOKS).any(|look| {
            if look > 0 {
                self.recover_shards();
            }
            self.until(LIVENESS / u64::from(LOOKS), Self::is_at_rest)
        });
        if !is_at_rest {
            self.fail("did not come to rest after the system shard was recovered");
        }
    }

    /// A person has shards go on that need a word: of one that a single copy has heard the last steps of, say.
    fn recover_shards(&mut self) {
        for host in self.world.up() {
            let asked = self.ask(host, AdminRequest::PlanRecoveries { lost: Vec::new(), only: None });
            let Some(AdminReply::Recoveries(plans)) = asked else { continue };
            for plan in plans.into_iter().filter_map(|(_, plan)| plan.ok()) {
                self.world.mark(&format!("a person has shard {} go on, without {:?}", plan.shard, plan.given_up));
                let (survivor, based_on) = (plan.survivor.id, plan.based_on);
                let wanted = WantedRecovery { shard: plan.shard, survivor, based_on, lost: Vec::new() };
                self.ask(host, AdminRequest::Recover(wanted));
            }
        }
    }

    fn ask(&mut self, host: NodeId, request: AdminRequest) -> Option<AdminReply> {
        let token = self.world.token();
        self.world.after(0, Event::Request { host, input: Input::Admin { token, request: Box::new(request) } });
        self.until(SECOND, |run| run.world.answers.contains_key(&token));
        match self.world.answers.remove(&token) {
            Some(Answer::Admin(Ok(reply))) => Some(reply),
            Some(Answer::Admin(Err(refusal))) => {
                self.world.mark(&format!("{host} refuses a person: {refusal}"));
                None
            }
            Some(_) | None => None,
        }
    }

    fn recovers_from(&mut self, here: NodeId, survivor: ReplicaId) -> bool {
        let wanted = WantedRecovery { shard: ShardId::SYSTEM, survivor, based_on: Epoch(0), lost: Vec::new() };
        matches!(self.ask(here, AdminRequest::RecoverSystem(wanted)), Some(AdminReply::Command(_)))
    }
}
