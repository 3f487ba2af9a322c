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

use kube::api::PostParams;
use kube::{Api, Resource, ResourceExt};
use skerry_api::DistributedDatabase;
use skerry_operator_core::kubernetes::{another_image, identity};

use crate::context::Context;
use crate::events;
use crate::observe::{ObserveError, Sight};

/// Writes down, once, what a database is called by its nodes and which image they run.
pub async fn identify(
    mut database: DistributedDatabase,
    resources: &Api<DistributedDatabase>,
    context: &Context,
) -> Result<DistributedDatabase, ObserveError> {
    let Some(status) = identity(&database, &context.node_image).filter(|_| context.leadership.token().is_ok()) else {
        return Ok(database);
    };
    database.status = Some(status);
    written(database, resources).await
}

/// Writes down this operator's image for the nodes, if no node of the database has ever run the one that is written down.
pub async fn correct_image(
    mut database: DistributedDatabase,
    seen: &Sight,
    resources: &Api<DistributedDatabase>,
    context: &Context,
) -> Result<DistributedDatabase, ObserveError> {
    let image = another_image(&database, &seen.observed, &context.node_image);
    let Some(image) = image.filter(|_| context.leadership.token().is_ok()) else { return Ok(database) };
    let note = format!("no node has run yet: they get the operator's image {image}");
    database.status.get_or_insert_default().image = Some(image);
    let database = written(database, resources).await?;
    events::tell(context, &database.object_ref(&()), "ImageCorrected", note).await;
    Ok(database)
}

async fn written(
    database: DistributedDatabase,
    resources: &Api<DistributedDatabase>,
) -> Result<DistributedDatabase, ObserveError> {
    let written = resources.replace_status(&database.name_any(), &PostParams::default(), &database).await;
    written.map_err(ObserveError::Resource)
}
