//! Single writes: each names the very object that was looked at.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::PostParams;
use kube::{Api, Resource, ResourceExt};
use serde_json::Value;
use skerry_api::{DistributedDatabase, DistributedDatabaseStatus};
use skerry_core::system::{AdminChange, Fence};
use skerry_operator_core::kubernetes::objects::{Blueprint, DIGEST, SECRET_KEY, digest, is_as_written, stateful_set};
use skerry_operator_core::kubernetes::{Action, Auxiliary, Cluster, Drift, Ground, Names, ObjectWrite, Set, writes};
use skerry_operator_core::planted::{Planted, is_planted};
use skerry_operator_core::{Answer, Decision, Guard, Invalid, Next, Round, words};
use skerry_program::chain::chain;
use tokio::time::Instant;

use super::auxiliary::Keep;
use super::whose::ForeignVolume;
use crate::context::Context;
use crate::events;
use crate::leadership::LeaseLost;
use crate::node_admin::{AdminFailure, Target};
use crate::observe::Sight;

/// Why a write was not made, or may not have been. It is planned again.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Nothing was written: this operator no longer holds the Lease.
    #[error(transparent)]
    Lease(#[from] LeaseLost),
    /// The API server refused, or did not answer: then the write may have been made.
    #[error("failed to write {what}")]
    Kubernetes {
        /// The object that was to be written: its name, or in words what it is.
        what: String,
        /// Error of the Kubernetes client.
        #[source]
        source: kube::Error,
    },
    /// Nothing was written: an object of that name belongs to somebody else.
    #[error("{kind} {name} is there and belongs to {of}: remove it, or give the database or its zone another name")]
    NotOurs {
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
        /// Whose the object is, in words.
        of: String,
    },
    /// Nothing was written: the nodes may know another secret than a person meant.
    #[error(
        "the Secret {name} cannot be used: in its key {SECRET_KEY}, {why}; correct it, or delete it and a new one is made"
    )]
    Secret {
        /// Name of the Secret.
        name: String,
        /// What is wrong with the secret, in words.
        why: String,
    },
    /// Nothing was written: a node would get this volume.
    #[error(transparent)]
    ForeignVolume(#[from] ForeignVolume),
    /// The database refused, or did not answer.
    #[error("the database did not take it")]
    Database(#[from] AdminFailure),
    /// Nothing was written: what was decided was decided on something older.
    #[error("the resource has changed meanwhile, or was looked at too long ago")]
    Outdated,
}

impl ApplyError {
    pub(super) fn of(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        |source| Self::Kubernetes { what: what.into(), source }
    }

    /// The error and all its causes, in one line.
    pub fn text(&self) -> String {
        chain(self)
    }
}

/// Names what a StatefulSet says, but for how many pods it has.
fn of_spec(mut spec: Value) -> String {
    if let Value::Object(fields) = &mut spec {
        fields.remove("replicas");
    }
    spec.to_string()
}

/// What a StatefulSet says as it is there. Null = nobody looked.
fn as_value(set: &Set) -> Value {
    // What cannot be written out does not exist here.
    serde_json::to_value(&set.spec).unwrap_or_default()
}

/// Makes the writes of one round for one database.
pub struct Writer<'a> {
    pub(super) context: &'a Context,
    pub(super) names: &'a Names,
    pub(super) cluster: &'a Cluster,
    pub(super) target: Target,
    /// When the look began that the writes were decided on.
    at: Instant,
    resources: Api<DistributedDatabase>,
    database: DistributedDatabase,
    image: String,
}

impl<'a> Writer<'a> {
    /// For this database, as it was seen.
    pub fn new(
        context: &'a Context,
        resources: Api<DistributedDatabase>,
        database: DistributedDatabase,
        seen: &'a Sight,
    ) -> Self {
        let recorded = database.status.as_ref().and_then(|s| s.image.clone());
        let image = database.spec.image.clone().or(recorded).unwrap_or_default();
        let (names, cluster, target, at) = (&seen.names, &seen.cluster, seen.target.clone(), seen.at);
        Self { context, names, cluster, target, at, resources, database, image }
    }

    /// The resource as it was last read or written.
    pub fn database(&self) -> &DistributedDatabase {
        &self.database
    }

    pub(super) fn blueprint(&self) -> Blueprint<'_> {
        Blueprint { database: &self.database, names: self.names, cluster: &self.target.cluster.0, image: &self.image }
    }

    /// The round that carries out what was decided on this look.
    pub fn round(&self, seen: &Sight, decision: Result<Decision, Invalid>) -> Round<ObjectWrite> {
        let (database, observed) = (&self.database, &seen.observed);
        let ground = Ground { database, names: self.names, cluster: self.cluster, observed };
        let agenda = writes(&ground, &decision, |set| self.drift(set));
        self.context.histories.begin(database, observed.clone(), decision, agenda)
    }

    /// A StatefulSet is stale if it was made from something else, or if somebody has changed it since: that is put right, but
    /// not in a loop with whoever changes it. What the API server makes of it with every write is no change.
    fn drift(&self, set: &Set) -> Drift {
        let wanted = stateful_set(&self.blueprint(), &set.zone, set.replicas, Some(&set.claims));
        let digest = wanted.annotations().get(DIGEST).cloned().unwrap_or_default();
        let written = &self.context.written;
        // The digest is of all that is wanted but the number of pods, which is as it is there.
        let is_alike = written.is_alike(&set.uid, &set.version, &digest, || is_as_written(&wanted, &as_value(set)));
        let is_changed = !is_alike && written.version(&set.uid) != Some(of_spec(as_value(set)));
        let is_outdated = set.digest.as_ref() != Some(&digest);
        let is_stale = is_outdated || is_changed && !written.is_fresh(&set.uid, &digest);
        Drift { is_stale, is_changed, is_outdated }
    }

    fn note_set(&self, zone: &str, there: &StatefulSet) {
        if let Some(set) = self.cluster.sets.get(&self.names.set(zone)) {
            let digest = digest(&self.blueprint(), zone, Some(&set.claims));
            let spec = serde_json::to_value(&there.spec).unwrap_or_default();
            self.context.written.note(set.uid.clone(), digest, Some(of_spec(spec)));
        }
    }

    /// Does the next thing of a round, if what must hold right before it does, and tells people of it.
    pub async fn make(&mut self, next: &Next<ObjectWrite>) -> Result<Answer, ApplyError> {
        self.context.leadership.token()?;
        match next {
            Next::Write(write, guard) => {
                self.check(*guard).await?;
                self.write(write).await
            }
            Next::Record(record) => {
                self.record(|status| record.write_to(status)).await?;
                self.tell(words::of_record(record)).await
            }
            Next::Change(change, based_on, guard) => {
                let token = self.check(*guard).await?;
                self.change(Fence { token, based_on: *based_on }, change.clone()).await?;
                self.tell(words::of_change(change)).await
            }
            Next::Certify(node, incarnation, guard) => {
                self.check(*guard).await?;
                let removal = self.context.admin.certify(&self.target, *node, *incarnation).await?;
                Ok(Answer::Removal(removal))
            }
        }
    }

    async fn write(&mut self, write: &ObjectWrite) -> Result<Answer, ApplyError> {
        match write {
            ObjectWrite::TakeSecret { is_at_rest } => self.take_secret(*is_at_rest).await.map(|()| Answer::Done),
            ObjectWrite::Missing(auxiliary) => {
                self.write_auxiliary(*auxiliary, Keep::AsItIs).await.map(|_| Answer::Done)
            }
            ObjectWrite::Auxiliary(auxiliary) => {
                let is_another = self.write_auxiliary(*auxiliary, Keep::AsWanted).await?;
                let is_budget = matches!(auxiliary, Auxiliary::DisruptionBudget { .. });
                Ok(if is_another && is_budget { Answer::BudgetRenewed } else { Answer::Done })
            }
            ObjectWrite::Action(action) => {
                self.act(action).await?;
                self.tell(events::words(action)).await
            }
        }
    }

    /// Makes one write to an object.
    async fn act(&self, action: &Action) -> Result<(), ApplyError> {
        match action {
            Action::Found { address } => Ok(self.context.admin.found(address, &self.target).await?),
            Action::CreateSet { zone, replicas } => self.create_set(zone, *replicas).await,
            Action::ApplySet { zone, replicas } => {
                if let Some(there) = self.apply_set(zone, *replicas).await? {
                    self.note_set(zone, &there);
                }
                Ok(())
            }
            Action::ScaleSet { set, version, replicas } => self.scale_set(set, version, *replicas).await,
            Action::DeleteSet { set, uid, version } => self.delete_set(set, uid, version).await,
            Action::DeletePod { pod, uid, at_once } => self.delete_pod(pod, uid, *at_once).await,
            Action::Quarantine { claim, uid, node, epoch } => self.quarantine(claim, uid, *node, *epoch).await,
            Action::LiftQuarantine { claim, uid } => self.lift_quarantine(claim, uid).await,
            Action::RetainVolume { volume, node } => self.retain_volume(volume, *node).await,
            Action::DeleteClaim { claim, uid, version } => self.delete_claim(claim, uid, version).await,
            Action::GrowClaim { claim, uid, size } => self.grow_claim(claim, uid, size).await,
            // The round has these made as what they are: see `make`.
            Action::Record(_) | Action::Change(_) | Action::RemoveNode { .. } => Ok(()),
        }
    }

    async fn tell(&self, (reason, note): (&'static str, String)) -> Result<Answer, ApplyError> {
        events::tell(self.context, &self.reference(), reason, note).await;
        Ok(Answer::Done)
    }

    /// Writes the status; refused if somebody else has changed the resource since.
    pub async fn record(&mut self, change: impl FnOnce(&mut DistributedDatabaseStatus)) -> Result<(), ApplyError> {
        self.context.leadership.token()?;
        let mut changed = self.database.clone();
        change(changed.status.get_or_insert_default());
        if changed.status == self.database.status {
            return Ok(());
        }
        let written = self.resources.replace_status(&self.names.database, &PostParams::default(), &changed).await;
        self.database = written.map_err(ApplyError::of("the status"))?;
        Ok(())
    }

    /// Refuses what is guarded, if what must hold right before it does not. Whether this operator leads, and how long ago it
    /// looked, is asked last: a read may take as long as it likes. Returns the token to write with.
    async fn check(&self, guard: Guard) -> Result<u64, ApplyError> {
        let before = self.context.leadership.token()?;
        if guard.newest {
            let newest = self.resources.get_metadata(&self.names.database).await;
            let newest = newest.map_err(ApplyError::of("the resource"))?;
            if newest.metadata.resource_version != self.database.metadata.resource_version {
                return Err(ApplyError::Outdated);
            }
        }
        if is_planted(Planted::LedBeforeGuard) {
            return Ok(before);
        }
        if guard.look_age_max.is_some_and(|most| self.at.elapsed() > most) {
            return Err(ApplyError::Outdated);
        }
        Ok(self.context.leadership.token()?)
    }

    async fn change(&self, fence: Fence, change: AdminChange) -> Result<(), ApplyError> {
        let changed = self.context.admin.change(&self.target, fence, change).await;
        let (leadership, cluster) = (&self.context.leadership, &self.target.cluster);
        let failure = match changed {
            Ok(()) => {
                leadership.was_taken(cluster, fence.token);
                return Ok(());
            }
            Err(failure) => failure,
        };
        let advice = failure.fenced_by.and_then(|highest| leadership.is_fenced_by(cluster, highest));
        let why = advice.map_or_else(|| failure.why.clone(), |advice| format!("{}; {advice}", failure.why));
        Err(AdminFailure { why, ..failure }.into())
    }

    fn reference(&self) -> ObjectReference {
        self.database.object_ref(&())
    }
}
