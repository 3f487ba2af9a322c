//! The only reads: the objects of a database, live, and what its steward says. Everything remote is known, absent or
//! unknown.

mod held_up;
mod hosts;
mod objects;
mod volumes;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use skerry_api::DistributedDatabase;
use skerry_core::ids::ClusterId;
use skerry_core::node::Status;
use skerry_operator_core::bootstrap::{self, Voice};
use skerry_operator_core::kubernetes::{Cluster, Names, namesake};
use skerry_operator_core::{Observed, Seen, Slot};
use tokio::time::Instant;

use crate::context::Context;
use crate::node_admin::{Secrets, Target};
use objects::Listed;

/// Why a database could not be observed, so that nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The resource could not be read.
    #[error("failed to read the resource")]
    Resource(#[source] kube::Error),
    /// The database's objects could not be listed.
    #[error("failed to list its {kind}")]
    List {
        /// Kind of the objects.
        kind: &'static str,
        /// Error of the Kubernetes client.
        #[source]
        source: kube::Error,
    },
}

/// What a look at a database has found.
#[derive(Debug, Clone)]
pub struct Sight {
    /// When the look began.
    pub at: Instant,
    /// What the decision is made from.
    pub observed: Observed,
    /// The Kubernetes objects of the database.
    pub cluster: Cluster,
    /// Names that these objects have or would have.
    pub names: Names,
    /// How the database itself is asked: its id, its addresses and its secrets.
    pub target: Target,
}

/// Looks at everything of a database whose identity is written down.
pub async fn observe(database: &DistributedDatabase, context: &Context) -> Result<Sight, ObserveError> {
    let metadata = &database.metadata;
    let names = Names {
        database: metadata.name.clone().unwrap_or_default(),
        namespace: metadata.namespace.clone().unwrap_or_default(),
    };
    let at = Instant::now();
    let status = database.status.clone().unwrap_or_default();
    let cluster_id = status.cluster_id.clone().unwrap_or_default();
    let resource_uid = metadata.uid.clone().unwrap_or_default();
    let Listed { cluster, unreadable } = objects::list(&context.client, &names, &resource_uid, &cluster_id).await?;
    let cluster = volumes::look_for_lost(&context.client, &names, cluster).await;
    let cluster = hosts::doubt_silent(&context.client, cluster).await;
    let slots = cluster.slots(&names);
    let seeds = slots.values().map(|s| s.address.clone()).collect();
    // Looking needs no secret.
    let resource = format!("{}/{}", names.namespace, names.database);
    let target = Target { cluster: ClusterId(cluster_id), resource, seeds, secrets: Secrets::default() };
    let (seen, blank) = match status.founded {
        true => (ask(&names, &target, context).await, None),
        false => before_founding(&slots, &names, &target, context).await,
    };
    // What is there and cannot be read is not absent.
    let slots = unreadable.map_or(Seen::Known(slots), Seen::Unknown);
    let now = Time(Timestamp::now());
    let mut observed = Observed { slots, database: seen, blank, ..Observed::kept_by(status, now) };
    context.histories.look(database, &mut observed, at);
    Ok(Sight { at, observed, cluster, names, target })
}

/// Nothing is concluded from what nodes of another resource say: they are of a database that is not this resource's.
async fn ask(names: &Names, target: &Target, context: &Context) -> Seen<Status> {
    if target.seeds.is_empty() {
        return Seen::Unknown("it has no nodes now".to_owned());
    }
    match context.admin.status(target).await {
        Ok(status) => namesake(names, &status).map_or(Seen::Known(status), Seen::Unknown),
        Err(failure) => Seen::Unknown(failure.why),
    }
}

async fn before_founding(
    slots: &BTreeMap<String, Slot>,
    names: &Names,
    target: &Target,
    context: &Context,
) -> (Seen<Status>, Option<String>) {
    let mut voices = Vec::new();
    for (name, slot) in slots.iter().take(bootstrap::ASKED_MAX) {
        let voice = match context.admin.identify(&slot.address).await {
            Ok(None) => Voice::Blank,
            Ok(Some(_)) => Voice::Member,
            Err(failure) => Voice::Silent(failure.why),
        };
        voices.push((name.clone(), voice));
    }
    match bootstrap::before_founding(&voices) {
        Some(seen) => seen,
        None => (ask(names, target, context).await, None),
    }
}
