//! Writes to the objects whose loss would be the loss of data: StatefulSets, pods, claims, volumes.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use skerry_core::ids::{Epoch, NodeId};
use skerry_operator_core::kubernetes::objects::{EPOCH_LABEL, MANAGER, NODE_LABEL, QUARANTINED_LABEL, stateful_set};

use super::writer::{ApplyError, Writer};

impl Writer<'_> {
    pub(super) async fn create_set(&self, zone: &str, replicas: u32) -> Result<(), ApplyError> {
        let name = self.names.set(zone);
        // One that is there is not ours, or was not seen: it is not written over.
        if let Some(refusal) = self.set_of_somebody(&name).await {
            return Err(refusal);
        }
        self.check_volumes(&name, 0..replicas).await?;
        self.context.leadership.token()?;
        let set = stateful_set(&self.blueprint(), zone, replicas, None);
        let by_us = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        self.sets().create(&by_us, &set).await.map_err(ApplyError::of(name))?;
        Ok(())
    }

    /// Returns it as it is then.
    pub(super) async fn apply_set(&self, zone: &str, replicas: u32) -> Result<Option<StatefulSet>, ApplyError> {
        let name = self.names.set(zone);
        let Some(seen) = self.cluster.sets.get(&name) else { return Ok(None) };
        let mut set = stateful_set(&self.blueprint(), zone, replicas, Some(&seen.claims));
        set.metadata.uid = Some(seen.uid.clone());
        set.metadata.resource_version = Some(seen.version.clone());
        let by_us = PatchParams::apply(MANAGER).force();
        self.sets().patch(&name, &by_us, &Patch::Apply(&set)).await.map(Some).map_err(ApplyError::of(name))
    }

    pub(super) async fn scale_set(&self, set: &str, version: &str, replicas: u32) -> Result<(), ApplyError> {
        let before = self.cluster.sets.get(set).map_or(0, |seen| seen.replicas);
        self.check_volumes(set, before..replicas).await?;
        self.context.leadership.token()?;
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"replicas": replicas}});
        let by_us = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        self.sets().patch(set, &by_us, &Patch::Merge(&patch)).await.map_err(ApplyError::of(set))?;
        Ok(())
    }

    pub(super) async fn delete_set(&self, set: &str, uid: &str, version: &str) -> Result<(), ApplyError> {
        self.sets().delete(set, &unchanged(uid, version)).await.map_err(ApplyError::of(set))?;
        Ok(())
    }

    pub(super) async fn delete_pod(&self, pod: &str, uid: &str, at_once: bool) -> Result<(), ApplyError> {
        let pods: Api<Pod> = Api::namespaced(self.context.client.clone(), &self.names.namespace);
        let grace_period_seconds = at_once.then_some(0);
        let how = DeleteParams { grace_period_seconds, ..only(uid) };
        pods.delete(pod, &how).await.map_err(ApplyError::of(pod))?;
        Ok(())
    }

    pub(super) async fn quarantine(
        &self,
        claim: &str,
        uid: &str,
        node: Option<NodeId>,
        epoch: Option<Epoch>,
    ) -> Result<(), ApplyError> {
        let labels = json!({
            QUARANTINED_LABEL: "true",
            NODE_LABEL: node.map(|n| n.0.to_string()),
            EPOCH_LABEL: epoch.map(|e| e.0.to_string()),
        });
        self.patch_claim(claim, json!({"metadata": {"uid": uid, "labels": labels}})).await
    }

    pub(super) async fn lift_quarantine(&self, claim: &str, uid: &str) -> Result<(), ApplyError> {
        let labels: BTreeMap<&str, Value> =
            [QUARANTINED_LABEL, NODE_LABEL, EPOCH_LABEL].map(|label| (label, Value::Null)).into();
        self.patch_claim(claim, json!({"metadata": {"uid": uid, "labels": labels}})).await
    }

    pub(super) async fn grow_claim(&self, claim: &str, uid: &str, size: &str) -> Result<(), ApplyError> {
        let resources = json!({"requests": {"storage": size}});
        self.patch_claim(claim, json!({"metadata": {"uid": uid}, "spec": {"resources": resources}})).await
    }

    /// A uid in the patch that is not the object's is refused.
    async fn patch_claim(&self, claim: &str, patch: Value) -> Result<(), ApplyError> {
        let by_us = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        self.claims().patch(claim, &by_us, &Patch::Merge(&patch)).await.map_err(ApplyError::of(claim))?;
        Ok(())
    }

    pub(super) async fn delete_claim(&self, claim: &str, uid: &str, version: &str) -> Result<(), ApplyError> {
        self.claims().delete(claim, &unchanged(uid, version)).await.map_err(ApplyError::of(claim))?;
        Ok(())
    }

    pub(super) async fn retain_volume(&self, volume: &str, node: Option<NodeId>) -> Result<(), ApplyError> {
        let volumes: Api<PersistentVolume> = Api::all(self.context.client.clone());
        let labels = json!({
            QUARANTINED_LABEL: "true",
            skerry_api::DATABASE_LABEL: self.names.database,
            // Volumes have no namespace, and names of databases are their namespace's.
            skerry_api::CLUSTER_ID: self.target.cluster.0,
            NODE_LABEL: node.map(|n| n.0.to_string()),
        });
        let patch = json!({
            "metadata": {"labels": labels},
            "spec": {"persistentVolumeReclaimPolicy": "Retain"},
        });
        match volumes.patch(volume, &PatchParams::default(), &Patch::Merge(&patch)).await {
            // A volume that is gone cannot be kept.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            written => written.map(|_| ()).map_err(ApplyError::of(volume)),
        }
    }

    fn sets(&self) -> Api<StatefulSet> {
        Api::namespaced(self.context.client.clone(), &self.names.namespace)
    }

    pub(super) fn claims(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.context.client.clone(), &self.names.namespace)
    }
}

/// Deletes the very object that was seen, and none that has taken its name since.
fn only(uid: &str) -> DeleteParams {
    let preconditions = Preconditions { uid: Some(uid.to_owned()), ..Preconditions::default() };
    DeleteParams::default().preconditions(preconditions)
}

/// The same, and only as it was seen: nothing of it has changed since.
fn unchanged(uid: &str, version: &str) -> DeleteParams {
    let (uid, resource_version) = (Some(uid.to_owned()), Some(version.to_owned()));
    DeleteParams::default().preconditions(Preconditions { uid, resource_version })
}
