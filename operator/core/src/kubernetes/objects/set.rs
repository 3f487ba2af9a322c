//! The StatefulSet of a zone.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use skerry_api::{CLUSTER_ID, Retention};
use xxhash_rust::xxh3::xxh3_64;

use super::pod::template;
use super::{Blueprint, DIGEST, INSTANCE_LABEL, ZONE_LABEL};
use crate::observed::ClaimTemplate;

/// A zone's StatefulSet with so many pods. `made` is what the claims of one ask for that is there already: that cannot be
/// changed, so claims are grown one by one, and keep their storage class.
pub fn stateful_set(of: &Blueprint<'_>, zone: &str, replicas: u32, made: Option<&ClaimTemplate>) -> StatefulSet {
    let mut set = described(of, zone, made);
    let digest = digest_of(&set);
    set.metadata.annotations.get_or_insert_default().insert(DIGEST.to_owned(), digest);
    set.spec.replicas = i32::try_from(replicas).ok();
    set
}

/// What the StatefulSet of a zone is made from, in short: the same as long as nothing of it changes.
pub fn digest(of: &Blueprint<'_>, zone: &str, made: Option<&ClaimTemplate>) -> String {
    digest_of(&described(of, zone, made))
}

fn digest_of(set: &StatefulSet) -> String {
    // Maps are sorted; what cannot be written out does not exist here.
    format!("{:016x}", xxh3_64(serde_json::to_string(set).unwrap_or_default().as_bytes()))
}

fn described(of: &Blueprint<'_>, zone: &str, made: Option<&ClaimTemplate>) -> StatefulSet {
    let mut metadata = of.meta(of.names.set(zone));
    metadata.labels.get_or_insert_default().insert(ZONE_LABEL.to_owned(), zone.to_owned());
    let mut selector = of.selector();
    selector.insert(ZONE_LABEL.to_owned(), zone.to_owned());
    let kept = match of.database.spec.volume_retention.when_deleted {
        Retention::Retain => "Retain",
        Retention::Delete => "Delete",
    };
    StatefulSet {
        metadata,
        spec: StatefulSetSpec {
            service_name: Some(of.names.nodes_service()),
            selector: LabelSelector { match_labels: Some(selector), ..LabelSelector::default() },
            template: template(of, zone),
            volume_claim_templates: Some(vec![claim(of, zone, made)]),
            // One that does not start must not keep the others from it.
            pod_management_policy: Some("Parallel".to_owned()),
            // The plan says which pod is next.
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            // Claims of nodes that leave are the plan's, too.
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some(kept.to_owned()),
                when_scaled: Some("Retain".to_owned()),
            }),
            ..StatefulSetSpec::default()
        },
        status: None,
    }
}

/// A claim outlives its database, and then nobody owns it. So it must not carry the label by which tools that apply whole
/// folders find what they once applied: they would remove what they do not know.
fn claim_labels(of: &Blueprint<'_>, zone: &str) -> BTreeMap<String, String> {
    let mut labels = of.labels();
    labels.remove(INSTANCE_LABEL);
    labels.insert(ZONE_LABEL.to_owned(), zone.to_owned());
    labels.insert(CLUSTER_ID.to_owned(), of.cluster.to_owned());
    labels
}

fn claim(of: &Blueprint<'_>, zone: &str, made: Option<&ClaimTemplate>) -> PersistentVolumeClaim {
    let storage = &of.database.spec.storage;
    let labels = made.and_then(|made| made.labels.clone()).unwrap_or_else(|| claim_labels(of, zone));
    let size = made.and_then(|made| made.size.as_ref()).unwrap_or(&storage.size);
    let class = made.map_or(&storage.storage_class_name, |made| &made.class);
    PersistentVolumeClaim {
        metadata: ObjectMeta { name: Some("data".to_owned()), labels: Some(labels), ..ObjectMeta::default() },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), Quantity(size.clone()))].into()),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}
