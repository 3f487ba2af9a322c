//! One look at one database: observe, decide, apply, report.

use std::time::Duration;

use kube::Api;
use skerry_api::DistributedDatabase;
use skerry_operator_core::{Decision, Environment, Invalid, decide};

use crate::apply::{Writer, apply, identify, keep_secret};
use crate::context::Context;
use crate::observe::{ObserveError, observe};
use crate::report::{ReportError, report};

/// While something is under way.
const SOON: Duration = Duration::from_secs(1);
/// At rest. Watches tell earlier of what happens in Kubernetes; this is for what happens in the database, and is what a
/// hundred databases with nothing to do cost.
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
    let decision = decide(&database, &Environment::default(), &seen.observed);
    let mut writer = Writer::new(context, resources, database, &seen);
    let failure = match &decision {
        Ok(decision) => apply(&mut writer, decision, &seen).await,
        Err(_) => {
            context.histories.met_invalid_spec(writer.database());
            keep_secret(&mut writer).await
        }
    };
    let pause = pause(&decision, failure.as_deref());
    let pause = context.histories.lengthened(writer.database(), pause, told(&decision, failure.as_deref()));
    report(writer, &seen, &decision, failure.as_deref()).await?;
    Ok(pause)
}

/// All that is planned, waited for and failed, in words: as long as they stay the same, nothing gets on.
fn told(decision: &Result<Decision, Invalid>, failure: Option<&str>) -> String {
    let plan = decision.as_ref().ok().map(|d| (&d.plan.steps, &d.plan.waits));
    format!("{plan:?} {failure:?}")
}

fn pause(decision: &Result<Decision, Invalid>, failure: Option<&str>) -> Duration {
    let at_rest = decision.as_ref().is_ok_and(|d| d.plan.is_done()) && failure.is_none();
    let stuck = decision.as_ref().map_or(true, |d| d.plan.is_waiting_for_long());
    if at_rest || stuck { LATER } else { SOON }
}
