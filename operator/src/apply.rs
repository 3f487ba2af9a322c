//! The only writes. One after the other; the first failure ends them, and the next look goes on from what is there. Right
//! before each, this operator makes sure that it still leads.

mod beside;
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
use skerry_api::{CLUSTER_ID, DATABASE_LABEL, DistributedDatabase};
use skerry_operator_core::kubernetes::{Action, Scene, actions, upkeep};
use skerry_operator_core::{Decision, Step, Wait, one_may_go};

use crate::context::Context;
use crate::observe::{ObserveError, Sight};

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
    status.cluster_id = status.cluster_id.or(adopted).or(metadata.uid.clone());
    status.image = status.image.or_else(|| Some(context.node_image.clone()));
    status.selector = Some(format!("{DATABASE_LABEL}={name}"));
    database.status = Some(status);
    let written = resources.replace_status(&name, &PostParams::default(), &database).await;
    written.map_err(ObserveError::Resource)
}

/// Carries out what was decided. Returns the failure that ended it early, in words.
pub async fn apply(writer: &mut Writer<'_>, decision: &Decision, seen: &Sight) -> Option<String> {
    if decision.plan.waits.contains(&Wait::Paused) {
        return keep_secret(writer).await;
    }
    let scene = Scene {
        names: &seen.names,
        cluster: &seen.cluster,
        desired: &decision.desired,
        status: seen.observed.database.known(),
        founded: seen.observed.founded,
    };
    let done = async {
        writer.take_secret().await?;
        let is_new = writer.write_beside(&scene, may_evict(decision, seen)).await?;
        let mut plan = decision.plan.clone();
        // Until it was written, another pod may have been evicted that was ready at this look. The next one sees it.
        plan.steps.retain(|step| !(is_new && matches!(step, Step::RestartNode { .. })));
        let mut grown = Ok(());
        for action in writer.upkeep(&scene).into_iter().chain(actions(&plan, &scene)) {
            let done = writer.act(&action, decision.plan.based_on.epoch).await;
            match action {
                // Not every storage class lets volumes grow. Nothing else waits for it.
                Action::GrowClaim { .. } => grown = grown.and(done),
                _ => done?,
            }
        }
        grown
    };
    done.await.err().map(|error| error.text())
}

/// What is kept though nothing else is written, of a database that is paused or cannot be what its resource says: without
/// its Secret no pod of it starts again.
pub async fn keep_secret(writer: &mut Writer<'_>) -> Option<String> {
    if !writer.database().status.as_ref().is_some_and(|status| status.founded) {
        return None;
    }
    writer.take_secret().await.err().map(|error| error.text())
}

/// True if one pod may be evicted, and nothing is about to be ended anyway.
fn may_evict(decision: &Decision, seen: &Sight) -> bool {
    let slots = seen.cluster.slots(&seen.names);
    let status = seen.observed.database.known();
    decision.plan.steps.is_empty() && status.is_some_and(|status| one_may_go(&slots, status))
}

impl Writer<'_> {
    fn upkeep(&self, scene: &Scene<'_>) -> Vec<Action> {
        let spec = &self.database().spec;
        let size = spec.storage.size.as_str();
        let digest = |zone: &str, set: &skerry_operator_core::kubernetes::Set| self.digest(zone, set);
        upkeep(scene, digest, size, spec.volume_retention.when_scaled)
    }
}
