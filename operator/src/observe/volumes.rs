//! Which volumes are lost for good: those that are gone, and those that lie on hosts that are gone. Only what the API
//! server says for certain counts; a host that is merely silent may come back with its disk.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Node as Host, PersistentVolume};
use kube::api::ListParams;
use kube::{Api, Client};
use skerry_operator_core::Seen;
use skerry_operator_core::kubernetes::{Cluster, Names, is_lost};

const HOST_LABEL: &str = "kubernetes.io/hostname";

/// Looks at the volumes of pods that are not ready, and of claims that go while a pod has them.
pub(super) async fn look_for_lost(client: &Client, names: &Names, mut cluster: Cluster) -> Cluster {
    for slot in cluster.pods.keys() {
        let Some(claim) = cluster.claims.get_mut(&names.claim(slot)).filter(|claim| claim.leaving) else { continue };
        if let Some(volume) = &claim.volume {
            claim.retained = is_retained(client, volume).await;
        }
    }
    let away = cluster.pods.iter().filter(|(_, pod)| !pod.ready).map(|(name, _)| names.claim(name));
    for name in away.collect::<BTreeSet<_>>() {
        let Some(claim) = cluster.claims.get_mut(&name).filter(|claim| !claim.lost) else { continue };
        if let Some(volume) = &claim.volume {
            claim.lost = is_gone(client, volume).await;
        }
    }
    cluster
}

/// True if the volume outlives its claim. False also if that could not be read.
async fn is_retained(client: &Client, volume: &str) -> bool {
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let Ok(Some(volume)) = volumes.get_opt(volume).await else { return false };
    volume.spec.and_then(|spec| spec.persistent_volume_reclaim_policy).as_deref() == Some("Retain")
}

async fn is_gone(client: &Client, volume: &str) -> bool {
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let on = match volumes.get_opt(volume).await {
        Ok(Some(volume)) => Seen::Known(hosts(&volume).unwrap_or_default()),
        Ok(None) => Seen::Absent,
        Err(error) => Seen::Unknown(error.to_string()),
    };
    let there = match on.known() {
        Some(hosts) if !hosts.is_empty() => any_there(client, hosts).await,
        Some(_) | None => Seen::Known(()),
    };
    is_lost(&on, &there)
}

/// The hosts that a volume lies on. `None` = it is not bound to hosts.
fn hosts(volume: &PersistentVolume) -> Option<Vec<String>> {
    let terms = &volume.spec.as_ref()?.node_affinity.as_ref()?.required.as_ref()?.node_selector_terms;
    let named = |term: &k8s_openapi::api::core::v1::NodeSelectorTerm| {
        let by_host =
            |r: &&k8s_openapi::api::core::v1::NodeSelectorRequirement| r.key == HOST_LABEL && r.operator == "In";
        term.match_expressions.as_ref()?.iter().find(by_host)?.values.clone()
    };
    // A term that does not name hosts can be met anywhere.
    terms.iter().map(named).collect::<Option<Vec<_>>>().map(|hosts| hosts.concat())
}

async fn any_there(client: &Client, hosts: &[String]) -> Seen<()> {
    let api: Api<Host> = Api::all(client.clone());
    let named = ListParams::default().labels(&format!("{HOST_LABEL} in ({})", hosts.join(",")));
    match api.list(&named).await {
        Ok(found) if found.items.is_empty() => Seen::Absent,
        Ok(_) => Seen::Known(()),
        Err(error) => Seen::Unknown(error.to_string()),
    }
}
