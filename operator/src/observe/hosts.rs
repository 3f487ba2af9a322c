//! What was last said of a pod holds as long as its host is heard of. On one that is silent, or that cannot be looked at, a
//! pod that could not start may run by now.

use k8s_openapi::api::core::v1::Node as Host;
use kube::{Api, Client};
use skerry_operator_core::Running;
use skerry_operator_core::kubernetes::Cluster;

/// Looks at the hosts of pods that are said not to start. Those are few: a rollout stops at the first.
pub(super) async fn doubt_silent(client: &Client, mut cluster: Cluster) -> Cluster {
    for pod in cluster.pods.values_mut().filter(|pod| pod.running == Running::Failing) {
        if let Some(host) = &pod.host
            && !is_heard(client, host).await
        {
            pod.running = Running::Maybe;
        }
    }
    cluster
}

/// True if Kubernetes has the host as `Ready`. False also if that could not be read.
async fn is_heard(client: &Client, host: &str) -> bool {
    let hosts: Api<Host> = Api::all(client.clone());
    let Ok(Some(host)) = hosts.get_opt(host).await else { return false };
    let conditions = host.status.and_then(|status| status.conditions).unwrap_or_default();
    conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}
