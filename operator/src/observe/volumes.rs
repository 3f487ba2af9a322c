//! Which volumes are lost for good: those that are gone, and those that lie on hosts that are gone. Only what the API
//! server says for certain counts; a host that is merely silent may come back with its disk.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Node as Host, PersistentVolume};
use kube::api::ListParams;
use kube::{Api, Client};
use skerry_operator_core::kubernetes::{Cluster, Names};

const HOST_LABEL: &str = "kubernetes.io/hostname";

/// Looks at the volumes of pods that are not ready.
pub(super) async fn look_for_lost(client: &Client, names: &Names, mut cluster: Cluster) -> Cluster {
    let away = cluster.pods.iter().filter(|(_, pod)| !pod.ready).map(|(name, _)| names.claim(name));
    for name in away.collect::<BTreeSet<_>>() {
        let Some(claim) = cluster.claims.get_mut(&name).filter(|claim| !claim.lost) else { continue };
        if let Some(volume) = &claim.volume {
            claim.lost = is_lost(client, volume).await;
        }
    }
    cluster
}

/// An error is no answer.
async fn is_lost(client: &Client, volume: &str) -> bool {
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    match volumes.get_opt(volume).await {
        Ok(Some(volume)) => match hosts(&volume) {
            Some(hosts) if !hosts.is_empty() => all_gone(client, &hosts).await,
            Some(_) | None => false,
        },
        Ok(None) => true,
        Err(_) => false,
    }
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

async fn all_gone(client: &Client, hosts: &[String]) -> bool {
    let api: Api<Host> = Api::all(client.clone());
    let named = ListParams::default().labels(&format!("{HOST_LABEL} in ({})", hosts.join(",")));
    api.list(&named).await.is_ok_and(|found| found.items.is_empty())
}
