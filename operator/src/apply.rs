//! The only writes. One after the other; the first failure ends them, and the next look goes on from what is there. Right
//! before each, this operator makes sure that it still leads.

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
use skerry_core::ids::Epoch;
use skerry_operator_core::kubernetes::{Action, Scene, actions, upkeep};
use skerry_operator_core::{Decision, Plan, Step, Wait, one_may_go};

use crate::context::Context;
use crate::observe::{ObserveError, Sight};

/// Volumes that may not grow in one look before it gives up: the others would be refused as well, and there may be a thousand.
const REFUSED_MAX: usize = 8;

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
        let changed = writer.keep_from_changed(&mut plan);
        let all = writer.upkeep(&scene).into_iter().chain(actions(&plan, &scene));
        let (growing, others): (Vec<_>, Vec<_>) = all.partition(|action| matches!(action, Action::GrowClaim { .. }));
        // Neither waits for the other: not every storage class lets volumes grow, and a database may need larger ones to
        // take anything.
        let done = write(writer, &others, plan.based_on.epoch, 1).await;
        let done = done.and(write(writer, &growing, plan.based_on.epoch, REFUSED_MAX).await);
        done.and(changed.map_or(Ok(()), |set| Err(ApplyError::Changed(set))))
    };
    done.await.err().map(|error| error.text())
}

/// Makes writes until so many have failed. Returns the first failure.
async fn write(
    writer: &mut Writer<'_>,
    actions: &[Action],
    based_on: Option<Epoch>,
    failures_max: usize,
) -> Result<(), ApplyError> {
    let (mut done, mut failures) = (Ok(()), 0);
    for action in actions {
        let written = writer.act(action, based_on).await;
        failures += usize::from(written.is_err());
        done = done.and(written);
        if failures == failures_max {
            break;
        }
    }
    done
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
    /// No pod is restarted as somebody else has written: that is put right first. Returns one StatefulSet of which a pod was
    /// to be restarted.
    fn keep_from_changed(&self, plan: &mut Plan) -> Option<String> {
        let set_of = |slot: &str| slot.rsplit_once('-').map(|(set, _)| set.to_owned());
        let is_changed = |set: &String| self.cluster.sets.get(set).is_some_and(|set| self.is_changed(set));
        let changed = |step: &Step| {
            let Step::RestartNode { slot } = step else { return None };
            set_of(slot).filter(is_changed)
        };
        let first = plan.steps.iter().find_map(changed);
        plan.steps.retain(|step| changed(step).is_none());
        first
    }

    fn upkeep(&self, scene: &Scene<'_>) -> Vec<Action> {
        let spec = &self.database().spec;
        let size = spec.storage.size.as_str();
        upkeep(scene, |zone, set| self.is_stale(zone, set), size, spec.volume_retention.when_scaled)
    }
}
