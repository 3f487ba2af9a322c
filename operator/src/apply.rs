//! The only writes, one after the other, as the round says. Right before each, this operator makes sure that it still leads.

mod auxiliary;
mod objects;
mod secret;
mod whose;
mod writer;
mod written;

pub use whose::ForeignVolume;
pub use writer::{ApplyError, Writer};
pub use written::Written;

use kube::Api;
use kube::api::PostParams;
use skerry_api::{CLUSTER_ID, DATABASE_LABEL, DistributedDatabase, REPLACE, Replacement};

use crate::context::Context;
use crate::observe::ObserveError;

/// Writes down, once, what a database is called by its nodes and which image they run: neither changes with the operator.
pub async fn identify(
    mut database: DistributedDatabase,
    resources: &Api<DistributedDatabase>,
    context: &Context,
) -> Result<DistributedDatabase, ObserveError> {
    let metadata = &database.metadata;
    let status = database.status.clone().unwrap_or_default();
    if status.cluster_id.is_some() && status.image.is_some() || context.leadership.token().is_err() {
        return Ok(database);
    }
    let (name, adopted) = (metadata.name.clone().unwrap_or_default(), metadata.annotations.as_ref());
    let adopted = adopted.and_then(|a| a.get(CLUSTER_ID)).cloned();
    let mut status = status;
    // What is taken up was founded before.
    status.founded |= adopted.is_some();
    // A status that was lost does not say what was replaced before: what is asked for by now may be done.
    let asked = metadata.annotations.as_ref().and_then(|a| a.get(REPLACE)).filter(|_| status.cluster_id.is_none());
    let asked = asked.map(|slot| slot.trim()).filter(|slot| (1..=63).contains(&slot.chars().count()));
    let as_done = |slot: &str| Replacement { slot: slot.to_owned(), node: None, volume: None };
    status.replacement = status.replacement.or(asked.map(as_done));
    status.cluster_id = status.cluster_id.or(adopted).or(metadata.uid.clone());
    status.image = status.image.or_else(|| Some(context.node_image.clone()));
    status.selector = Some(format!("{DATABASE_LABEL}={name}"));
    database.status = Some(status);
    let written = resources.replace_status(&name, &PostParams::default(), &database).await;
    written.map_err(ObserveError::Resource)
}
