//! A round's writes, one after the other, as the operator's own [`Round`] says.

use std::collections::BTreeSet;
use std::time::Duration;

use skerry_api::DistributedDatabase;
use skerry_core::ids::{Epoch, Incarnation, NodeId};
use skerry_core::node::{AdminReply, AdminRequest, Certificate, Removal};
use skerry_core::system::{AdminChange, Fence, SystemCommand};
use skerry_operator_core::kubernetes::{Auxiliary, Drift, Ground, ObjectWrite, Set, writes};
use skerry_operator_core::{
    Answer, Decision, Environment, Guard, Invalid, Next, Observed, Record, Round, Seen, Step, Watched, decide,
};

use super::super::admin::{Admin, Asked};
use super::super::bugs::OperatorBug;
use super::super::place::Place;
use super::super::place::rules::{self, Look};
use super::super::place::write::{PendingWrite, What};
use super::super::resource::template;
use super::look::{Material, Memory, versions};

/// What the round waits for.
enum Pending {
    Nothing,
    Write(u64),
    /// The answer to the write of the disruption budget.
    Budget(u64),
    Change(Asked),
    Certificate(Asked, NodeId),
    Report(u64),
}

/// A round that is being carried out: the operator's own, and what it takes to make its writes here.
pub(crate) struct Act {
    resource: Box<DistributedDatabase>,
    versions: Vec<(String, String)>,
    round: Round<ObjectWrite>,
    pending: Pending,
    look: Look,
}

impl Act {
    pub(super) fn new(seen: Material, memory: &mut Memory, place: &mut Place) -> Box<Self> {
        let Material { mut resource, cluster, mut observed, look } = seen;
        if place.has(OperatorBug::OldGenerationAwaited)
            && let Some(pinned) = &memory.pinned
        {
            resource.spec = pinned.spec.clone();
        }
        let zones: BTreeSet<String> = ["a", "b", "c"].map(str::to_owned).into();
        let environment = Environment { zones: Some(zones), ..Environment::default() };
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
        let ground = Ground { database: &resource, names: &place.kube.names, cluster: &cluster, observed: &observed };
        // Here nobody but operators changes a StatefulSet.
        let drift = |set: &Set| {
            let is_outdated = set.digest != Some(template(&resource));
            Drift { is_stale: is_outdated, is_outdated, is_changed: false }
        };
        let agenda = writes(&ground, &decision, drift);
        let round = Round::new(&mut memory.kept, observed, decision, agenda);
        Box::new(Self { versions: versions(&cluster), resource, round, pending: Pending::Nothing, look })
    }

    /// Goes on; true when all is reported.
    pub(super) fn go_on(&mut self, token: u64, admin: &mut Admin, place: &mut Place) -> bool {
        let heard = match &mut self.pending {
            Pending::Nothing => {
                self.next(token, admin, place);
                return false;
            }
            Pending::Report(pending_write) => return place.written(*pending_write).is_some(),
            Pending::Write(pending_write) | Pending::Budget(pending_write) => match place.written(*pending_write) {
                None => return false,
                Some(Ok(database)) => {
                    self.resource = database.unwrap_or_else(|| self.resource.clone());
                    let is_budget = matches!(self.pending, Pending::Budget(_));
                    Ok(if is_budget { Answer::BudgetRenewed } else { Answer::Done })
                }
                Some(Err(why)) => Err(why),
            },
            Pending::Change(asked) => match admin.hear(asked, place) {
                None => return false,
                Some(reply) => reply.map(|_| Answer::Done),
            },
            Pending::Certificate(asked, node) => {
                let node = *node;
                match admin.hear(asked, place) {
                    None => return false,
                    Some(reply) => self.certified(node, reply, admin, place),
                }
            }
        };
        self.pending = Pending::Nothing;
        self.round.heard(heard);
        false
    }

    fn next(&mut self, token: u64, admin: &mut Admin, place: &mut Place) {
        let Some(next) = self.round.next_write() else {
            let report = self.round.report(&self.resource, &place.wall_clock());
            let report = What::Status(Box::new(report));
            let pending_write = PendingWrite::new(report, &self.resource, vec![], self.look);
            self.pending = Pending::Report(place.post(pending_write));
            return;
        };
        match next {
            Next::Write(_, guard) | Next::Change(_, _, guard) | Next::Certify(_, _, guard)
                if !self.is_met(guard, place) =>
            {
                self.round.heard(Err("the resource has changed meanwhile, or was looked at too long ago".to_owned()));
            }
            // What stands beside is not modelled, but for how many pods may be evicted.
            Next::Write(ObjectWrite::Auxiliary(Auxiliary::DisruptionBudget { one_may_go, pods }), _)
                if place.kube.budget != Some((pods, one_may_go)) =>
            {
                self.pending = Pending::Budget(self.post(What::Budget(pods, one_may_go), place));
            }
            Next::Write(ObjectWrite::TakeSecret { .. } | ObjectWrite::Auxiliary(_) | ObjectWrite::Missing(_), _) => {
                self.round.heard(Ok(Answer::Done))
            }
            Next::Write(ObjectWrite::Action(action), _) => {
                self.pending = Pending::Write(self.post(What::Action(action), place));
            }
            Next::Record(record) => self.pending = Pending::Write(self.post(What::Record(record), place)),
            Next::Change(change, based_on, _) => self.change(change, based_on, token, admin, place),
            Next::Certify(node, incarnation, _) if place.has(OperatorBug::CertificateNotReasked) => {
                let epoch = self.round.plan_epoch().unwrap_or(Epoch(0));
                let certificate = Certificate { node, incarnation, epoch, shards: 0 };
                self.round.heard(Ok(Answer::Removal(Removal::Safe(certificate))));
            }
            Next::Certify(node, incarnation, _) => {
                let asked = admin.ask(AdminRequest::CertifyRemoval { node, incarnation }, place);
                self.pending = Pending::Certificate(asked, node);
            }
        }
    }

    fn post(&self, what: What, place: &mut Place) -> u64 {
        place.post(PendingWrite::new(what, &self.resource, self.versions.clone(), self.look))
    }

    fn change(
        &mut self,
        change: AdminChange,
        based_on: Option<Epoch>,
        token: u64,
        admin: &mut Admin,
        place: &mut Place,
    ) {
        if let (AdminChange::DropTable { table }, Some(status)) = (&change, self.round.observed().database.known()) {
            let named = status.map.tables.get(table).map(|record| record.name.clone());
            rules::table_goes(&named.unwrap_or_default(), place);
        }
        let fence = Fence { token, based_on };
        place.world.mark(&format!("{fence:?} {change:?}"));
        self.pending = Pending::Change(admin.ask(AdminRequest::Command(SystemCommand::Admin { fence, change }), place));
    }

    /// True if what must hold right before a write does: an operator asks then.
    fn is_met(&self, guard: Guard, place: &Place) -> bool {
        let version = |database: &DistributedDatabase| database.metadata.resource_version.clone();
        let is_newest = version(place.kube.resource.now()) == version(&self.resource);
        let age = Duration::from_micros(place.world.time.saturating_sub(self.look.began));
        (is_newest || !guard.newest) && guard.look_age_max.is_none_or(|most| age <= most)
    }

    fn certified(
        &self,
        node: NodeId,
        reply: Result<AdminReply, String>,
        admin: &Admin,
        place: &mut Place,
    ) -> Result<Answer, String> {
        match reply {
            Ok(AdminReply::Removal(Removal::Safe(certificate))) => {
                rules::check_certificate(node, certificate.epoch, admin.leader, &mut place.world);
                place.rules.certified(node);
                Ok(Answer::Removal(Removal::Safe(certificate)))
            }
            Ok(AdminReply::Removal(Removal::NotYet(reasons))) => Ok(Answer::Removal(Removal::NotYet(reasons))),
            Ok(_) | Err(_) if place.has(OperatorBug::MissingAnswerIsDrained) => {
                let epoch = self.round.plan_epoch().unwrap_or(Epoch(0));
                let certificate = Certificate { node, incarnation: Incarnation(0), epoch, shards: 0 };
                Ok(Answer::Removal(Removal::Safe(certificate)))
            }
            Ok(AdminReply::Removal(removal)) => Ok(Answer::Removal(removal)),
            Ok(_) => Ok(Answer::Done),
            Err(why) => Err(why),
        }
    }
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
        Step::Record(Record::Victims(victims)) => Some(victims.clone()),
        _ => None,
    })
}
