//! The objects of a database, as they should be. Two looks at the same resource give the same objects, to the byte, and
//! so does another version of the operator, unless its changelog says that nodes are restarted.

mod drift;
mod pod;
mod services;
mod set;

pub use drift::is_as_written;
pub use services::{OperatorPods, config_map, disruption_budget, network_policy, secret, service_account, services};
pub use set::{digest, stateful_set};

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use skerry_api::{CLUSTER_ID, DATABASE_LABEL, DistributedDatabase};

use super::names::Names;

/// Label with the zone of a StatefulSet, its pods and volumes.
pub const ZONE_LABEL: &str = "skerry.io/zone";
/// Label on a claim, and on its volume, that no node comes back on.
pub const QUARANTINED_LABEL: &str = "skerry.io/quarantined";
/// Label with the id of the last node on a volume that is set aside.
pub const NODE_LABEL: &str = "skerry.io/node-id";
/// Label with the epoch of the map under which the node of a volume was removed.
pub const EPOCH_LABEL: &str = "skerry.io/epoch";
/// Annotation with what an object was made from, so that it is written again only when that changes.
pub const DIGEST: &str = "skerry.io/digest";
/// In the database's Secret, and the file's name in the pods: one secret a line.
pub const SECRET_KEY: &str = "secret";
/// The label by which tools that apply whole folders tell what is theirs.
const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";
/// Who writes what this operator writes.
pub const MANAGER: &str = "skerry-operator";

/// What the objects are made from.
#[derive(Debug, Clone, Copy)]
pub struct Blueprint<'a> {
    /// The resource that describes the database.
    pub database: &'a DistributedDatabase,
    /// Names of the database's objects.
    pub names: &'a Names,
    /// Names the database to its nodes.
    pub cluster: &'a str,
    /// Container image of the nodes.
    pub image: &'a str,
}

impl Blueprint<'_> {
    fn labels(&self) -> BTreeMap<String, String> {
        [
            (DATABASE_LABEL, self.names.database.as_str()),
            ("app.kubernetes.io/name", "skerry"),
            (INSTANCE_LABEL, &self.names.database),
            ("app.kubernetes.io/component", "node"),
            ("app.kubernetes.io/managed-by", MANAGER),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    /// The labels that select the database's pods.
    fn selector(&self) -> BTreeMap<String, String> {
        [(DATABASE_LABEL.to_owned(), self.names.database.clone())].into()
    }

    /// Owned by the resource: Kubernetes removes it with the resource.
    fn meta(&self, name: String) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.names.namespace.clone()),
            labels: Some(self.labels()),
            annotations: Some([(CLUSTER_ID.to_owned(), self.cluster.to_owned())].into()),
            owner_references: self.owner().map(|owner| vec![owner]),
            ..ObjectMeta::default()
        }
    }

    fn owner(&self) -> Option<OwnerReference> {
        self.database.controller_owner_ref(&())
    }
}
