//! One look at one database: observe, decide, write, report. What is decided, and in which order it is written, is
//! [`skerry_operator_core::Round`]'s.

use std::time::Duration;

use kube::Api;
use skerry_api::DistributedDatabase;
use skerry_operator_core::{Environment, decide};

use crate::apply::{Writer, correct_image, identify};
use crate::context::Context;
use crate::observe::{ObserveError, observe};
use crate::report::{ReportError, report};

/// Pause after a look at a resource that is not there, or is going.
const LATER: Duration = Duration::from_secs(15);

/// Why a look ended early. It begins anew.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The resource, or what belongs to it, could not be read.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// The status could not be written.
    #[error(transparent)]
    Report(#[from] ReportError),
}

/// Looks after one database. Returns when it is to be looked at again.
pub async fn reconcile(namespace: &str, name: &str, context: &Context) -> Result<Duration, ReconcileError> {
    let resources: Api<DistributedDatabase> = Api::namespaced(context.client.clone(), namespace);
    let Some(database) = resources.get_opt(name).await.map_err(ObserveError::Resource)? else { return Ok(LATER) };
    if database.metadata.deletion_timestamp.is_some() {
        // Kubernetes removes what the resource owns; volumes stay or go as their StatefulSets say.
        return Ok(LATER);
    }
    let database = identify(database, &resources, context).await?;
    let seen = observe(&database, context).await?;
    let database = correct_image(database, &seen, &resources, context).await?;
    let decision = decide(&database, &Environment::default(), &seen.observed);
    let mut writer = Writer::new(context, resources, database, &seen);
    let mut round = writer.round(&seen, decision);
    while let Some(next) = round.next_write() {
        let answer = writer.make(&next).await;
        round.heard(answer.map_err(|error| error.text()));
    }
    let pause = context.histories.end(writer.database(), &round);
    report(writer, &round).await?;
    Ok(pause)
}
