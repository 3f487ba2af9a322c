//! What this operator will not notice or do, for want of rights: it goes on without, and says so when it starts.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node as Host, PersistentVolume};
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::time::timeout;
use tracing::warn;

/// How long each right may take to be tried.
const TRY_MAX: Duration = Duration::from_secs(5);
/// A volume that need not be there: whether it may be read is asked first.
const ANY_VOLUME: &str = "skerry";

/// The rights to volumes.
const WITHOUT_VOLUMES: &str = "read and patch persistent volumes: a volume that is gone is not noticed; and where a volume \
     was set aside its slot is not used again, after a scale-in or by skerry.io/replace, before somebody has set that volume \
     to Retain and deleted its claim";
/// The right to hosts.
const WITHOUT_HOSTS: &str = "read nodes: a volume whose host is gone is not noticed; and a pod that does not start is \
     not ended while the database does not answer";

/// Says in the log what is missing.
pub async fn tell_missing(client: Client) {
    for without in missing(&client).await {
        warn!(without, "rights to what is in no namespace are missing: the chart's rbac.clusterScoped gives them");
    }
}

/// The rights to what is in no namespace that are missing, each with what does not happen without it. A right that could
/// not be tried counts as there.
pub async fn missing(client: &Client) -> Vec<&'static str> {
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let hosts: Api<Host> = Api::all(client.clone());
    let one = ListParams::default().limit(1);
    let volumes = timeout(TRY_MAX, volumes.get_opt(ANY_VOLUME)).await.map(|read| read.map(drop));
    let hosts = timeout(TRY_MAX, hosts.list(&one)).await.map(|read| read.map(drop));
    let tried = [(volumes, WITHOUT_VOLUMES), (hosts, WITHOUT_HOSTS)];
    let is_forbidden = |error: &kube::Error| matches!(error, kube::Error::Api(refused) if refused.code == 403);
    let without = tried.into_iter().filter(|(read, _)| matches!(read, Ok(Err(error)) if is_forbidden(error)));
    without.map(|(_, words)| words).collect()
}
