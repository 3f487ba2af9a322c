//! Single writes to the API server, each with what it was decided on.

use skerry_api::{DistributedDatabase, DistributedDatabaseStatus};
use skerry_operator_core::Record;
use skerry_operator_core::kubernetes::Action;

use super::super::agents;
use super::super::bugs::OperatorBug;
use super::super::kubernetes::{Kubernetes, OURS};
use super::super::resource::template;
use super::Place;
use super::rules::Look;

/// The resource as it is after the write, where that has changed it; or why nothing was written.
pub(crate) type Written = Result<Option<Box<DistributedDatabase>>, String>;

/// The content of a write.
#[derive(Debug, Clone)]
pub(crate) enum What {
    Action(Action),
    Record(Record),
    /// So many pods, and whether one of them may be evicted.
    Budget(usize, bool),
    Status(Box<DistributedDatabaseStatus>),
}

/// A write that was sent and has not arrived.
#[derive(Debug, Clone)]
pub(crate) struct PendingWrite {
    what: What,
    /// The resource that it was decided on.
    seen: Box<DistributedDatabase>,
    /// The versions of the StatefulSets that it was decided on, by their zones.
    versions: Vec<(String, String)>,
    /// The look that it was decided on.
    look: Look,
}

impl PendingWrite {
    pub(crate) fn new(what: What, seen: &DistributedDatabase, versions: Vec<(String, String)>, look: Look) -> Self {
        Self { what, seen: Box::new(seen.clone()), versions, look }
    }

    /// The write and its outcome in one line, for people.
    pub(crate) fn told(&self, written: &Written) -> String {
        let outcome = written.as_ref().err().map_or("done", String::as_str);
        match &self.what {
            What::Action(action) => format!("{action:?}: {outcome}"),
            What::Record(record) => format!("{record:?}: {outcome}"),
            What::Budget(pods, one_may_go) => format!("budget of {pods}, one may go: {one_may_go}: {outcome}"),
            What::Status(status) => {
                let (operation, victims) = (status.operation.as_deref().unwrap_or_default(), &status.victims);
                format!("status {operation:?}, victims {victims:?}, {:?}: {outcome}", status.blocked_by)
            }
        }
    }

    pub(super) fn carry_out(&self, place: &mut Place) -> Written {
        let mut status = self.seen.status.clone().unwrap_or_default();
        match &self.what {
            What::Status(status) => return self.write_status((**status).clone(), place),
            What::Budget(pods, one_may_go) => place.kube.budget = Some((*pods, *one_may_go)),
            What::Record(record) => {
                record.write_to(&mut status);
                return self.write_status(status, place);
            }
            What::Action(action) => self.act(action, place)?,
        }
        Ok(None)
    }

    fn write_status(&self, status: DistributedDatabaseStatus, place: &mut Place) -> Written {
        let now = place.world.time;
        let written = place.kube.resource.write_status(now, &self.seen, status);
        written.map(|database| Some(Box::new(database))).map_err(|refused| refused.to_string())
    }

    fn act(&self, action: &Action, place: &mut Place) -> Result<(), String> {
        let by_name = place.has(OperatorBug::DeletedByName);
        if let Some(claim) = another_s(action, &place.kube) {
            if !place.has(OperatorBug::TakesAnothersClaim)
                && matches!(action, Action::CreateSet { .. } | Action::ScaleSet { .. })
            {
                return Err(format!("{claim} is of another database"));
            }
            place.rules.another_is_touched(&claim, &mut place.world);
        }
        let kube = &mut place.kube;
        let made_from = template(&self.seen);
        let done = match action {
            Action::Found { address } => return agents::found(address, kube, &mut place.world),
            Action::CreateSet { zone, replicas } => {
                kube.create_set(zone, *replicas, made_from, self.seen.spec.storage.size.clone())
            }
            Action::ApplySet { zone, replicas } => {
                let Some((_, version)) = self.versions.iter().find(|(of, _)| of == zone) else { return Ok(()) };
                let name = kube.names.set(zone);
                kube.change_set(&name, version, |set| (set.template, set.replicas) = (made_from, *replicas))
            }
            Action::ScaleSet { set, version, replicas } => {
                kube.change_set(set, version, |set| set.replicas = *replicas)
            }
            Action::DeleteSet { set, uid, version } => kube.delete_set(set, uid, version),
            Action::DeletePod { pod, uid, at_once } => {
                let ended = kube.delete_pod(pod, (!by_name).then_some(uid.as_str()), *at_once);
                if ended.is_ok() {
                    place.rules.pod_ended(pod, self.look, kube, &mut place.world);
                }
                ended
            }
            Action::Quarantine { claim, uid, .. } => {
                kube.change_claim(claim, Some(uid), |claim| claim.quarantined = true)
            }
            Action::LiftQuarantine { claim, uid } => {
                kube.change_claim(claim, Some(uid), |claim| claim.quarantined = false)
            }
            Action::RetainVolume { volume, .. } => {
                kube.volumes.get_mut(volume).into_iter().for_each(|v| v.retained = true);
                Ok(())
            }
            Action::DeleteClaim { claim, uid, .. } => {
                let uid = (!by_name).then_some(uid.as_str());
                let deleted = kube.change_claim(claim, uid, |claim| claim.leaving = true);
                if deleted.is_ok() {
                    place.rules.claim_deleted(claim, kube, &mut place.world);
                }
                deleted
            }
            Action::GrowClaim { claim, uid, size } => {
                kube.change_claim(claim, Some(uid), |claim| claim.size.clone_from(size))
            }
            Action::Record(_) | Action::Change(_) | Action::RemoveNode { .. } => Ok(()),
        };
        done.map_err(|refused| format!("{action:?}: {refused}"))
    }
}

/// The claim of another database that a write would take or change. Of pods to come an operator asks right before.
fn another_s(action: &Action, kube: &Kubernetes) -> Option<String> {
    match action {
        Action::CreateSet { zone, replicas } => kube.foreign_claim(&kube.names.set(zone), 0..*replicas),
        Action::ScaleSet { set, replicas, .. } => {
            let before = kube.sets.get(set).map_or(0, |set| set.replicas);
            kube.foreign_claim(set, before..*replicas)
        }
        Action::Quarantine { claim, uid, .. }
        | Action::LiftQuarantine { claim, uid }
        | Action::DeleteClaim { claim, uid, .. }
        | Action::GrowClaim { claim, uid, .. } => {
            let there = kube.claims.get(claim).filter(|c| c.uid == *uid && c.database != OURS);
            there.map(|_| claim.clone())
        }
        Action::Record(_)
        | Action::Found { .. }
        | Action::ApplySet { .. }
        | Action::DeleteSet { .. }
        | Action::DeletePod { .. }
        | Action::RetainVolume { .. }
        | Action::Change(_)
        | Action::RemoveNode { .. } => None,
    }
}
