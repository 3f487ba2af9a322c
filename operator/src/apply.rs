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
use kube::{Api, ResourceExt};
use skerry_api::DistributedDatabase;
use skerry_operator_core::kubernetes::identity;

use crate::context::Context;
use crate::observe::ObserveError;

/// Writes down, once, what a database is called by its nodes and which image they run.
pub async fn identify(
    mut database: DistributedDatabase,
    resources: &Api<DistributedDatabase>,
    context: &Context,
) -> Result<DistributedDatabase, ObserveError> {
    let Some(status) = identity(&database, &context.node_image).filter(|_| context.leadership.token().is_ok()) else {
        return Ok(database);
    };
    let name = database.name_any();
    database.status = Some(status);
    let written = resources.replace_status(&name, &PostParams::default(), &database).await;
    written.map_err(ObserveError::Resource)
}
