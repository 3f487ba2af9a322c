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
        for node in system.iter().map(|view| view.node).filter(|node| *node != here) {
            self.world.crash(node);
            self.world.start(node, BTreeSet::from([ShardId::SYSTEM]));
        }
        self.world.network.heal();
        if !(0..TRIES).any(|_| self.recovers_from(here, copy)) {
            self.fail("the system shard does not go on from one copy");
        }
        if !self.until(LIVENESS, Self::is_at_rest) {
            self.fail("did not come to rest after the system shard was recovered");
        }
    }

    fn recovers_from(&mut self, here: NodeId, survivor: ReplicaId) -> bool {
        let wanted = WantedRecovery { shard: ShardId::SYSTEM, survivor, based_on: Epoch(0), lost: Vec::new() };
        let token = self.world.token();
        let input = Input::Admin { token, request: AdminRequest::RecoverSystem(wanted) };
        self.world.after(0, Event::Request { host: here, input });
        self.until(SECOND, |run| run.world.answers.contains_key(&token));
        let answer = self.world.answers.remove(&token);
        matches!(answer, Some(Answer::Admin(Ok(AdminReply::Command(_)))))
    }
}
