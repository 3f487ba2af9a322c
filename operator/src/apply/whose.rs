//! Whose an object is that has a name which this database would use. Names of databases and zones can meet: `shop` with the
//! zone `a` and the database `shop-a` both have a StatefulSet `shop-a` and a claim `data-shop-a-0`.

use std::fmt;

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::PartialObjectMeta;
use kube::{Api, ResourceExt};
use skerry_api::{CLUSTER_ID, DATABASE_LABEL};

use super::writer::{ApplyError, Writer};

/// A claim that is not known to be this database's is where one of its own would be.
#[derive(Debug, PartialEq, Eq)]
pub struct ForeignVolume {
    /// Name of the claim (PersistentVolumeClaim).
    claim: String,
    /// The name of the database that it belongs to. `None` = nobody wrote it down.
    database: Option<String>,
    /// Id of the database that the claim belongs to. `None` = nobody wrote it down.
    cluster_id: Option<String>,
    /// Name and id of this database.
    own: (String, String),
}

impl std::error::Error for ForeignVolume {}

impl fmt::Display for ForeignVolume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (claim, (name, id)) = (&self.claim, &self.own);
        match (&self.database, &self.cluster_id) {
            (Some(of), Some(cluster)) if of == name => write!(
                f,
                "the claim {claim} is there, of a former database {of}: delete it, or, if no other resource has that database, in \
                 whatever namespace, make the resource anew with the annotation {CLUSTER_ID}: {cluster}"
            ),
            (Some(of), _) => write!(
                f,
                "the claim {claim} is there, and holds data of database {of}: give this database or its zone another name, \
                 or delete the claim if nobody needs it"
            ),
            (None, _) => write!(
                f,
                "the claim {claim} is there, and nobody knows whose: delete it, or label it {DATABASE_LABEL}={name} and \
                 {CLUSTER_ID}={id} if it is of this database"
            ),
        }
    }
}

impl Writer<'_> {
    /// Refuses pods that would get volumes of another database: asked for by their exact names, right before.
    pub(super) async fn check_volumes(&self, set: &str, new: std::ops::Range<u32>) -> Result<(), ApplyError> {
        for ordinal in new {
            let name = self.names.claim(&format!("{set}-{ordinal}"));
            let there = self.claims().get_metadata_opt(&name).await.map_err(ApplyError::of(&name))?;
            if let Some(foreign) = there.and_then(|claim| self.foreign(name, &claim)) {
                return Err(foreign.into());
            }
        }
        Ok(())
    }

    fn foreign<K>(&self, claim: String, there: &PartialObjectMeta<K>) -> Option<ForeignVolume> {
        let label = |name: &str| there.metadata.labels.as_ref().and_then(|labels| labels.get(name)).cloned();
        let (database, cluster_id) = (label(DATABASE_LABEL), label(CLUSTER_ID));
        let own = (self.names.database.clone(), self.target.cluster.0.clone());
        let is_own = database.as_ref() == Some(&own.0) && cluster_id.as_ref() == Some(&own.1);
        (!is_own).then_some(ForeignVolume { claim, database, cluster_id, own })
    }

    /// True if an object is this database's: its resource owns it, or nobody does, and it was made for the database of this
    /// name and id. Such are left where a resource is deleted without what it owns, and taken up by the next one of that id.
    pub(super) fn is_ours(&self, there: &impl ResourceExt, made: &impl ResourceExt) -> bool {
        let is_labelled = there.labels().get(DATABASE_LABEL) == Some(&self.names.database)
            && there.annotations().get(CLUSTER_ID) == Some(&self.target.cluster.0);
        let owners = there.owner_references();
        owners == made.owner_references() || (owners.is_empty() && is_labelled)
    }

    /// A StatefulSet of this name is there, and is not this database's.
    pub(super) async fn set_of_somebody(&self, name: &str) -> Option<ApplyError> {
        let sets: Api<StatefulSet> = Api::namespaced(self.context.client.clone(), &self.names.namespace);
        let there = sets.get_metadata_opt(name).await.ok()??;
        Some(self.not_ours("StatefulSet", name, &there))
    }

    /// An object of this name is there, and is not this database's.
    pub(super) fn not_ours(&self, kind: &str, name: &str, there: &impl ResourceExt) -> ApplyError {
        let of = match there.labels().get(DATABASE_LABEL) {
            Some(of) if *of == self.names.database => format!("a former database {of}, or was not seen yet"),
            Some(of) => format!("database {of}"),
            None => "somebody else".to_owned(),
        };
        ApplyError::NotOurs { kind: kind.to_owned(), name: name.to_owned(), of }
    }
}
