//! The StatefulSets, pods and claims of a database, as values.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod as PodObject};
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::core::error_boundary::InvalidObject;
use kube::core::{DeserializeGuard, NamespaceResourceScope, ObjectMeta};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use skerry_api::{CLUSTER_ID, DATABASE_LABEL, DistributedDatabase};
use skerry_operator_core::kubernetes::objects::{DIGEST, QUARANTINED_LABEL, ZONE_LABEL};
use skerry_operator_core::kubernetes::{Claim, Cluster, Names, Pod, Set};
use skerry_operator_core::{ClaimTemplate, Running};

use super::ObserveError;
use super::held_up::held_up;

/// A pod that is to be gone by a time is waited for so much longer.
const OVERDUE_SECONDS: i64 = 30;

/// The objects of a database that can be read, and one that cannot, in words.
pub(super) struct Listed {
    pub(super) cluster: Cluster,
    pub(super) unreadable: Option<String>,
}

/// Lists those of the database of this resource and cluster id.
pub(super) async fn list(
    client: &Client,
    names: &Names,
    resource_uid: &str,
    cluster_id: &str,
) -> Result<Listed, ObserveError> {
    let ((sets, unread_sets), (pods, unread_pods), (claims, unread_claims)) = tokio::try_join!(
        labelled::<StatefulSet>(client, names, "StatefulSets"),
        labelled::<PodObject>(client, names, "pods"),
        labelled::<PersistentVolumeClaim>(client, names, "volume claims"),
    )?;
    let now = Timestamp::now();
    let labelled = Cluster {
        sets: sets.into_iter().map(|s| (s.name_any(), set(s))).collect(),
        pods: pods.iter().map(|p| (p.name_any(), pod(p, now))).collect(),
        claims: claims.iter().map(|c| (c.name_any(), claim(c))).collect(),
    };
    let may_be_ours = |object: &&InvalidObject| may_be_of(&object.metadata, resource_uid, cluster_id);
    let unreadable = [("StatefulSet", unread_sets), ("pod", unread_pods), ("volume claim", unread_claims)];
    let first = unreadable.iter().find_map(|(kind, objects)| Some((kind, objects.iter().find(may_be_ours)?)));
    let told = first.map(|(kind, object)| {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        format!("the {kind} {name} cannot be read: {object}")
    });
    Ok(Listed { cluster: labelled.only_of(resource_uid, cluster_id), unreadable: told })
}

/// False for an object that is certainly another database's.
fn may_be_of(object: &ObjectMeta, resource_uid: &str, cluster_id: &str) -> bool {
    let mut owners = object.owner_references.iter().flatten();
    let label = |of: &Option<BTreeMap<String, String>>| of.as_ref().and_then(|all| all.get(CLUSTER_ID)).cloned();
    let made_for = label(&object.labels).or_else(|| label(&object.annotations));
    let is_of_another = owners.any(|owner| owner.kind == DistributedDatabase::kind(&()) && owner.uid != resource_uid);
    !is_of_another && made_for.is_none_or(|of| of == cluster_id)
}

fn owner(object: &impl ResourceExt) -> Option<String> {
    object.owner_references().iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone())
}

/// Those that can be read, and those that cannot. Each is looked at by itself only where one cannot be read: that costs about
/// twice as much.
async fn labelled<K>(
    client: &Client,
    names: &Names,
    kind: &'static str,
) -> Result<(Vec<K>, Vec<InvalidObject>), ObserveError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let failed = |source| ObserveError::List { kind, source };
    let ours = ListParams::default().labels(&format!("{DATABASE_LABEL}={}", names.database));
    match Api::<K>::namespaced(client.clone(), &names.namespace).list(&ours).await {
        Ok(list) => return Ok((list.items, Vec::new())),
        Err(kube::Error::SerdeError(_)) => {}
        Err(source) => return Err(failed(source)),
    }
    let guarded: Api<DeserializeGuard<K>> = Api::namespaced(client.clone(), &names.namespace);
    let (mut read, mut unread) = (Vec::new(), Vec::new());
    for item in guarded.list(&ours).await.map_err(failed)?.items {
        match item.0 {
            Ok(object) => read.push(object),
            Err(object) => unread.push(object),
        }
    }
    Ok((read, unread))
}

fn set(set: StatefulSet) -> Set {
    let status = set.status.as_ref();
    // Before its controller has seen the newest template, the revision is that of an older one.
    let seen = status.filter(|s| s.observed_generation == set.metadata.generation);
    let claims = set.spec.volume_claim_templates.as_ref().and_then(|c| c.first());
    Set {
        uid: set.uid().unwrap_or_default(),
        owner: owner(&set),
        database: set.annotations().get(CLUSTER_ID).cloned(),
        version: set.resource_version().unwrap_or_default(),
        zone: set.labels().get(ZONE_LABEL).cloned().unwrap_or_default(),
        replicas: set.spec.replicas.and_then(|r| u32::try_from(r).ok()).unwrap_or(0),
        revision: seen.and_then(|s| s.update_revision.clone()),
        digest: set.annotations().get(DIGEST).cloned(),
        claims: ClaimTemplate {
            size: claims.and_then(size),
            class: claims.and_then(|claim| claim.spec.as_ref()?.storage_class_name.clone()),
            labels: claims.map(|claim| claim.metadata.labels.clone().unwrap_or_default()),
        },
        spec: Some(Arc::new(set.spec)),
    }
}

fn size(claim: &PersistentVolumeClaim) -> Option<String> {
    Some(claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")?.0.clone())
}

/// What is said of a volume that is to grow, failures first.
fn growth(claim: &PersistentVolumeClaim) -> Option<String> {
    const CONDITIONS: [&str; 4] = ["ControllerResizeError", "NodeResizeError", "FileSystemResizePending", "Resizing"];
    let status = claim.status.as_ref()?;
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let of_type = |type_: &str| conditions.iter().find(|c| c.type_ == type_ && c.status == "True");
    let told = CONDITIONS.into_iter().find_map(of_type).map(|c| match c.message.as_deref().filter(|m| !m.is_empty()) {
        Some(message) => format!("{}: {message}", c.type_),
        None => c.type_.clone(),
    });
    told.or_else(|| status.allocated_resource_statuses.as_ref()?.get("storage").cloned())
}

fn pod(pod: &PodObject, now: Timestamp) -> Pod {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    let condition = conditions.into_iter().flatten().find(|c| c.type_ == "Ready");
    let ready = condition.is_some_and(|c| c.status == "True");
    let since = condition.and_then(|c| c.last_transition_time.as_ref()).or(pod.metadata.creation_timestamp.as_ref());
    let down = since.map_or(0, |since| (now.as_second() - since.0.as_second()).max(0));
    let (running, held_up) = held_up(pod);
    let leaving = pod.metadata.deletion_timestamp.as_ref();
    let running = match leaving {
        None => running,
        // Its host does not do as it is told: what runs there may go on for ever.
        Some(by) if now.as_second() - by.0.as_second() > OVERDUE_SECONDS => Running::Maybe,
        Some(_) => Running::Replaced,
    };
    Pod {
        uid: pod.uid().unwrap_or_default(),
        owner: owner(pod),
        ready,
        leaving: leaving.is_some(),
        revision: pod.labels().get("controller-revision-hash").cloned(),
        held_up,
        running,
        host: pod.spec.as_ref().and_then(|s| s.node_name.clone()),
        down: if ready { Duration::ZERO } else { Duration::from_secs(u64::try_from(down).unwrap_or(0)) },
    }
}

fn claim(claim: &PersistentVolumeClaim) -> Claim {
    let phase = claim.status.as_ref().and_then(|s| s.phase.as_deref());
    Claim {
        uid: claim.uid().unwrap_or_default(),
        version: claim.resource_version().unwrap_or_default(),
        retained: false,
        quarantined: claim.labels().contains_key(QUARANTINED_LABEL),
        leaving: claim.metadata.deletion_timestamp.is_some(),
        volume: claim.spec.as_ref().and_then(|s| s.volume_name.clone()),
        lost: phase == Some("Lost"),
        size: size(claim),
        capacity: claim.status.as_ref().and_then(|s| Some(s.capacity.as_ref()?.get("storage")?.0.clone())),
        growth: growth(claim),
        database: claim.labels().get(CLUSTER_ID).cloned(),
        owned: !claim.owner_references().is_empty(),
    }
}
