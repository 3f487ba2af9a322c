//! The decision of a round, and its writes, one after the other: the first failure ends them, and then it is reported.

use std::collections::{BTreeSet, VecDeque};

use skerry_api::DistributedDatabase;
use skerry_core::ids::{Epoch, NodeId};
use skerry_core::node::{AdminReply, AdminRequest, Removal};
use skerry_core::system::{AdminChange, Fence, SystemCommand};
use skerry_operator_core::kubernetes::{Action, Scene, actions, upkeep};
use skerry_operator_core::{Decision, Environment, Invalid, Observed, Seen, Step, Wait, Watched, decide, status};

use super::super::admin::{Admin, Asked};
use super::super::bugs::OperatorBug;
use super::super::place::Place;
use super::super::place::rules::{self, Look};
use super::super::place::write::{PendingWrite, What};
use super::super::resource::template;
use super::look::{Material, Memory, versions};

/// What is waited for.
enum Pending {
    Nothing,
    Write(u64),
    Change(Asked),
    Certificate(Asked, NodeId),
    Report(u64),
}

/// A decision that is being carried out.
pub(crate) struct Round {
    resource: Box<DistributedDatabase>,
    versions: Vec<(String, String)>,
    observed: Observed,
    decision: Result<Decision, Invalid>,
    actions: VecDeque<Action>,
    pending: Pending,
    failure: Option<String>,
    look: Look,
}

impl Round {
    pub(super) fn new(seen: Material, memory: &mut Memory, place: &mut Place) -> Box<Self> {
        let Material { mut resource, cluster, mut observed, look } = seen;
        if place.has(OperatorBug::OldGenerationAwaited)
            && let Some(pinned) = &memory.pinned
        {
            resource.spec = pinned.spec.clone();
        }
        let zones: BTreeSet<String> = ["a", "b", "c"].map(str::to_owned).into();
        let environment = Environment { zones: Some(zones) };
        if place.has(OperatorBug::VictimsRecomputed) {
            observed.victims.clear();
        }
        if place.has(OperatorBug::RemovalDelayIgnored) {
            resource.spec.table_removal_delay_seconds = 0;
        }
        if place.has(OperatorBug::WallClockCounts) {
            observed.watched = by_wall_clock(&observed);
        }
        let mut decision = decide(&resource, &environment, &observed);
        if place.has(OperatorBug::VictimsRecomputed)
            && let Some(victims) = recomputed(&decision)
        {
            observed.victims = victims;
            decision = decide(&resource, &environment, &observed);
        }
        if place.has(OperatorBug::OldGenerationAwaited) {
            let done = decision.as_ref().map_or(true, |d| d.plan.is_done());
            memory.pinned = (!done).then(|| resource.clone());
        }
        if let Ok(decision) = &mut decision {
            decision.plan.steps.splice(0..0, ended_too_soon(&observed, place));
            decision.plan.steps.splice(0..0, replaced_too_soon(&observed, place));
        }
        if decision.is_err() {
            memory.history.met_invalid_spec();
        }
        let actions = decision.as_ref().map(|d| writes(d, &resource, &cluster, &observed, place)).unwrap_or_default();
        let (versions, pending, failure) = (versions(&cluster), Pending::Nothing, None);
        Box::new(Self { resource, versions, observed, decision, actions, pending, failure, look })
    }

    /// Goes on; true when all is reported.
    pub(super) fn go_on(&mut self, token: u64, admin: &mut Admin, place: &mut Place) -> bool {
        let heard = match &mut self.pending {
            Pending::Nothing => return self.next(token, admin, place),
            Pending::Report(pending_write) => return place.written(*pending_write).is_some(),
            Pending::Write(pending_write) => match place.written(*pending_write) {
                None => return false,
                Some(Ok(database)) => {
                    self.resource = database.unwrap_or_else(|| self.resource.clone());
                    Ok(())
                }
                Some(Err(why)) => Err(why),
            },
            Pending::Change(asked) => match admin.hear(asked, place) {
                None => return false,
                Some(reply) => reply.map(|_| ()),
            },
            Pending::Certificate(asked, node) => {
                let node = *node;
                match admin.hear(asked, place) {
                    None => return false,
                    Some(reply) => match self.certified(node, reply, admin, place) {
                        Ok(at) => return self.change_at(at, AdminChange::Remove(node), token, admin, place),
                        Err(why) => Err(why),
                    },
                }
            }
        };
        self.pending = Pending::Nothing;
        if let Err(why) = heard {
            self.failure = Some(why);
            self.actions.clear();
        }
        false
    }

    fn next(&mut self, token: u64, admin: &mut Admin, place: &mut Place) -> bool {
        match self.actions.pop_front() {
            None => {
                let report = self.report(place);
                let pending_write =
                    PendingWrite::new(What::Status(Box::new(report)), &self.resource, vec![], self.look);
                self.pending = Pending::Report(place.post(pending_write));
            }
            Some(Action::Change(change)) => return self.change(change, token, admin, place),
            Some(Action::RemoveNode { node, .. }) if place.has(OperatorBug::CertificateNotReasked) => {
                return self.change(AdminChange::Remove(node), token, admin, place);
            }
            Some(Action::RemoveNode { node, incarnation }) => {
                let asked = admin.ask(AdminRequest::CertifyRemoval { node, incarnation }, place);
                self.pending = Pending::Certificate(asked, node);
            }
            Some(action) => {
                let pending_write =
                    PendingWrite::new(What::Action(action), &self.resource, self.versions.clone(), self.look);
                self.pending = Pending::Write(place.post(pending_write));
            }
        }
        false
    }

    fn change(&mut self, change: AdminChange, token: u64, admin: &mut Admin, place: &mut Place) -> bool {
        self.change_at(self.plan_epoch(), change, token, admin, place)
    }

    fn plan_epoch(&self) -> Option<Epoch> {
        self.decision.as_ref().ok().and_then(|d| d.plan.based_on.epoch)
    }

    fn change_at(
        &mut self,
        based_on: Option<Epoch>,
        change: AdminChange,
        token: u64,
        admin: &mut Admin,
        place: &mut Place,
    ) -> bool {
        if let (AdminChange::DropTable { table }, Some(status)) = (&change, self.observed.database.known()) {
            if self.is_outdated(place) {
                self.failure = Some("the resource has changed meanwhile".to_owned());
                self.actions.clear();
                self.pending = Pending::Nothing;
                return false;
            }
            let named = status.map.tables.get(table).map(|record| record.name.clone());
            rules::table_goes(&named.unwrap_or_default(), place);
        }
        let fence = Fence { token, based_on };
        place.world.mark(&format!("{fence:?} {change:?}"));
        self.pending = Pending::Change(admin.ask(AdminRequest::Command(SystemCommand::Admin { fence, change }), place));
        false
    }

    /// True if the resource is not as it was looked at: an operator asks right before what cannot be taken back.
    fn is_outdated(&self, place: &Place) -> bool {
        place.kube.resource.now().metadata.resource_version != self.resource.metadata.resource_version
    }

    fn certified(
        &self,
        node: NodeId,
        reply: Result<AdminReply, String>,
        admin: &Admin,
        place: &mut Place,
    ) -> Result<Option<Epoch>, String> {
        match reply {
            Ok(AdminReply::Removal(Removal::Safe(certificate))) => {
                rules::check_certificate(node, certificate.epoch, admin.leader, &mut place.world);
                place.rules.certified(node);
                Ok(Some(certificate.epoch))
            }
            Ok(AdminReply::Removal(Removal::NotYet(reasons))) => {
                Err(format!("{node} is not safe to remove: {reasons:?}"))
            }
            Ok(_) | Err(_) if place.has(OperatorBug::MissingAnswerIsDrained) => Ok(self.plan_epoch()),
            Ok(AdminReply::Removal(Removal::Unknown { shards })) => Err(format!("{} shards are silent", shards.len())),
            Ok(_) => Err("not a certificate".to_owned()),
            Err(why) => Err(why),
        }
    }

    fn report(&self, place: &Place) -> skerry_api::DistributedDatabaseStatus {
        status(&self.resource, &self.observed, &self.decision, self.failure.as_deref(), &place.wall_clock())
    }
}

/// The writes of a decision: what is to be looked after anyway, and the plan's steps.
fn writes(
    decision: &Decision,
    resource: &DistributedDatabase,
    cluster: &skerry_operator_core::kubernetes::Cluster,
    observed: &Observed,
    place: &Place,
) -> VecDeque<Action> {
    let held = |wait: &Wait| matches!(wait, Wait::Paused | Wait::SlotsUnknown(_));
    if decision.plan.waits.iter().any(held) {
        return VecDeque::new();
    }
    let (names, status, founded) = (&place.kube.names, observed.database.known(), observed.founded);
    let scene = Scene { names, cluster, desired: &decision.desired, status, founded };
    let size = resource.spec.storage.size.as_str();
    let whole = upkeep(
        &scene,
        |_, set| set.digest != Some(template(resource)),
        size,
        resource.spec.volume_retention.when_scaled,
    );
    whole.into_iter().chain(actions(&decision.plan, &scene)).collect()
}

/// Of bugs: whose pods are ended because they are not ready and older than the spec.
fn ended_too_soon(observed: &Observed, place: &Place) -> Vec<Step> {
    let all = place.has(OperatorBug::RestartsAllUnready);
    let silent = place.has(OperatorBug::DeletesWhileUnknown) && matches!(observed.database, Seen::Unknown(_));
    let slots = observed.slots.known().into_iter().flatten().filter(|_| all || silent);
    let unready = slots.filter(|(_, slot)| slot.process.outdated && !slot.process.ready);
    let ended = unready.map(|(name, _)| Step::RestartNode { slot: name.clone() });
    ended.take(if all { usize::MAX } else { 1 }).collect()
}

/// Of a bug: the nodes of all slots that were written down as silent.
fn replaced_too_soon(observed: &Observed, place: &Place) -> Vec<Step> {
    let slots = observed.slots.known();
    let volume = |slot: &String| slots.and_then(|slots| slots.get(slot)?.volume.id.clone());
    let silent = observed.silent.iter().filter(|silent| silent.volume == volume(&silent.slot));
    let silent = silent.filter(|_| place.has(OperatorBug::ReplacesAllSilent));
    silent.map(|silent| Step::ReplaceVolume { slot: silent.slot.clone(), silent: true }).collect()
}

/// Of a bug: tables count as watched for as long as the status says that they were to go.
fn by_wall_clock(observed: &Observed) -> Watched {
    observed.watched.clone().with_tables_since(&observed.removals, &observed.now)
}

/// Of a bug: who would be chosen now.
fn recomputed(decision: &Result<Decision, Invalid>) -> Option<Vec<skerry_api::Victim>> {
    decision.as_ref().ok()?.plan.steps.iter().find_map(|step| match step {
        Step::RecordVictims(victims) => Some(victims.clone()),
        _ => None,
    })
}
