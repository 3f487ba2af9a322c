//! Single writes: each names the very object that was looked at.

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::PostParams;
use kube::{Api, Resource};
use serde_json::Value;
use skerry_api::{DistributedDatabase, DistributedDatabaseStatus};
use skerry_core::ids::{Epoch, Incarnation, NodeId};
use skerry_core::node::Removal;
use skerry_core::system::{AdminChange, Fence};
use skerry_operator_core::kubernetes::objects::{Blueprint, SECRET_KEY, digest, is_as_written, stateful_set};
use skerry_operator_core::kubernetes::{Action, Cluster, Names, Set};
use skerry_program::chain::chain;
use tokio::time::Instant;

use super::whose::ForeignVolume;
use crate::context::Context;
use crate::events;
use crate::leadership::LeaseLost;
use crate::node_admin::{AdminFailure, Target};
use crate::observe::Sight;

/// No pod is ended and no volume given up on what was seen so long ago: another may be away by now.
const LOOK_AGE_MAX: Duration = Duration::from_secs(10);

/// Why a write was not made, or may not have been. It is planned again.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Nothing was written.
    #[error(transparent)]
    Lease(#[from] LeaseLost),
    /// The API server refused, or did not answer: then the write may have been made.
    #[error("failed to write {what}")]
    Kubernetes {
        /// Which object.
        what: String,
        /// Why.
        #[source]
        source: kube::Error,
    },
    /// Nothing was written.
    #[error("{kind} {name} is there and belongs to {of}: remove it, or give the database or its zone another name")]
    NotOurs {
        /// Of what kind.
        kind: String,
        /// Its name.
        name: String,
        /// Whose it is, in words.
        of: String,
    },
    /// Nothing was written: the nodes may know another secret than a person meant.
    #[error(
        "the Secret {name} cannot be used: in its key {SECRET_KEY}, {why}; correct it, or delete it and a new one is made"
    )]
    Secret {
        /// Its name.
        name: String,
        /// What is wrong with it.
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
    /// No pod is ended: it would come back as somebody else has written.
    #[error("the StatefulSet {0} is not as it was written, and is put right within minutes: no pod of it is restarted")]
    Changed(String),
    /// The node stays.
    #[error("{node} cannot be removed yet: {why}")]
    NotSafe {
        /// Which.
        node: NodeId,
        /// Why.
        why: String,
    },
}

impl ApplyError {
    pub(super) fn of(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        |source| Self::Kubernetes { what: what.into(), source }
    }

    /// With all causes.
    pub fn text(&self) -> String {
        chain(self)
    }
}

/// Names what a StatefulSet says, but for how many pods it has.
fn of_spec(spec: &Value) -> String {
    let mut spec = spec.clone();
    if let Value::Object(fields) = &mut spec {
        fields.remove("replicas");
    }
    spec.to_string()
}

/// Writes for one database.
pub struct Writer<'a> {
    pub(super) context: &'a Context,
    pub(super) names: &'a Names,
    pub(super) cluster: &'a Cluster,
    pub(super) target: Target,
    /// When the look began.
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

    /// As it was last read or written.
    pub fn database(&self) -> &DistributedDatabase {
        &self.database
    }

    pub(super) fn blueprint(&self) -> Blueprint<'_> {
        Blueprint { database: &self.database, names: self.names, cluster: &self.target.cluster.0, image: &self.image }
    }

    /// True if the StatefulSet was made from something else, or somebody has changed it since: that is put right, but not in
    /// a loop with whoever changes it.
    pub(super) fn is_stale(&self, zone: &str, set: &Set) -> bool {
        let digest = digest(&self.blueprint(), zone, Some(&set.claims));
        if set.digest.as_ref() != Some(&digest) {
            return true;
        }
        self.is_changed(set) && !self.context.written.is_fresh(&set.uid, &digest)
    }

    /// True if somebody has changed the StatefulSet since it was written. What the API server makes of it with every write
    /// is no change.
    pub(super) fn is_changed(&self, set: &Set) -> bool {
        let wanted = stateful_set(&self.blueprint(), &set.zone, set.replicas, Some(&set.claims));
        !is_as_written(&wanted, &set.spec) && self.context.written.version(&set.uid) != Some(of_spec(&set.spec))
    }

    fn note_set(&self, zone: &str, there: &StatefulSet) {
        if let Some(set) = self.cluster.sets.get(&self.names.set(zone)) {
            let digest = digest(&self.blueprint(), zone, Some(&set.claims));
            let spec = serde_json::to_value(&there.spec).unwrap_or_default();
            self.context.written.note(set.uid.clone(), digest, Some(of_spec(&spec)));
        }
    }

    /// Makes one write, and tells people of it.
    pub async fn act(&mut self, action: &Action, based_on: Option<Epoch>) -> Result<(), ApplyError> {
        let token = self.context.leadership.token()?;
        let fence = Fence { token, based_on };
        match action {
            Action::RecordVictims(victims) => self.record(|status| status.victims.clone_from(victims)).await?,
            Action::RecordRemovals(removals) => {
                self.record(|status| status.table_removals.clone_from(removals)).await?
            }
            Action::RecordFounded => self.record(|status| status.founded = true).await?,
            Action::Found { address } => self.context.admin.found(address, &self.target).await?,
            Action::CreateSet { zone, replicas } => self.create_set(zone, *replicas).await?,
            Action::ApplySet { zone, replicas } => {
                if let Some(there) = self.apply_set(zone, *replicas).await? {
                    self.note_set(zone, &there);
                }
            }
            Action::ScaleSet { set, version, replicas } => self.scale_set(set, version, *replicas).await?,
            Action::DeleteSet { set, uid } => self.delete_set(set, uid).await?,
            Action::DeletePod { .. } | Action::DeleteClaim { .. } if self.at.elapsed() > LOOK_AGE_MAX => {
                return Err(ApplyError::Outdated);
            }
            Action::DeletePod { pod, uid, at_once } => self.delete_pod(pod, uid, *at_once).await?,
            Action::Quarantine { claim, uid, node, epoch } => self.quarantine(claim, uid, *node, *epoch).await?,
            Action::RetainVolume { volume, node } => self.retain_volume(volume, *node).await?,
            Action::DeleteClaim { claim, uid } => {
                self.check_newest().await?;
                self.delete_claim(claim, uid).await?;
            }
            Action::GrowClaim { claim, uid, size } => self.grow_claim(claim, uid, size).await?,
            Action::Change(change) => {
                if matches!(change, AdminChange::DropTable { .. }) {
                    self.check_newest().await?;
                }
                self.change(fence, change.clone()).await?;
            }
            Action::RemoveNode { node, incarnation } => {
                self.check_newest().await?;
                self.remove_node(fence, *node, *incarnation).await?;
            }
        }
        events::tell(self.context, &self.reference(), action).await;
        Ok(())
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

    /// Refuses what cannot be taken back if the resource is not as it was looked at: a person may want it otherwise by now.
    async fn check_newest(&self) -> Result<(), ApplyError> {
        let newest = self.resources.get_metadata(&self.names.database).await.map_err(ApplyError::of("the resource"))?;
        let is_same = newest.metadata.resource_version == self.database.metadata.resource_version;
        if is_same { Ok(()) } else { Err(ApplyError::Outdated) }
    }

    async fn change(&self, fence: Fence, change: AdminChange) -> Result<(), ApplyError> {
        let changed = self.context.admin.change(&self.target, fence, change).await;
        let (leadership, cluster) = (&self.context.leadership, &self.target.cluster);
        match changed {
            Ok(()) => leadership.was_taken(cluster, fence.token),
            Err(AdminFailure { fenced_by: Some(highest), .. }) => leadership.is_fenced_by(cluster, highest),
            Err(_) => {}
        }
        Ok(changed?)
    }

    /// The certificate is asked for here and now, however lately somebody had one.
    async fn remove_node(&self, fence: Fence, node: NodeId, start: Incarnation) -> Result<(), ApplyError> {
        let not_safe = |why| ApplyError::NotSafe { node, why };
        match self.context.admin.certify(&self.target, node, start).await? {
            Removal::Safe(certificate) => {
                self.context.leadership.token()?;
                let fence = Fence { based_on: Some(certificate.epoch), ..fence };
                self.change(fence, AdminChange::Remove(node)).await
            }
            Removal::NotYet(reasons) => {
                let reasons: Vec<String> = reasons.iter().take(3).map(ToString::to_string).collect();
                Err(not_safe(reasons.join(", ")))
            }
            Removal::Unknown { shards } => Err(not_safe(format!("{} shards did not answer", shards.len()))),
        }
    }

    fn reference(&self) -> ObjectReference {
        self.database.object_ref(&())
    }
}
