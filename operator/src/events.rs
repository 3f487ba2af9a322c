//! Tells people what was done, as events of the resource.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder};
use skerry_core::system::AdminChange;
use skerry_operator_core::kubernetes::Action;
use skerry_operator_core::words;
use tracing::{info, warn};

use crate::context::Context;

/// More bytes than this of a note are refused; a character has up to four.
const NOTE_CHARS_MAX: usize = 250;

/// Tells of one thing that was done. That it cannot be told holds nothing up.
pub async fn tell(context: &Context, of: &ObjectReference, reason: &'static str, note: String) {
    info!(reason, note, "done");
    publish(context.recorder.as_ref(), of, EventType::Normal, (reason, note)).await;
}

/// Tells of something that is wrong with a resource.
pub async fn warn_of(context: &Context, of: &ObjectReference, reason: &'static str, note: String) {
    warn!(reason, note, "database cannot be looked after");
    publish(context.recorder.as_ref(), of, EventType::Warning, (reason, note)).await;
}

/// Publishes one event. Without a recorder nobody is told.
pub async fn publish(
    recorder: Option<&Recorder>,
    of: &ObjectReference,
    type_: EventType,
    (reason, note): (&'static str, String),
) {
    let Some(recorder) = recorder else { return };
    // As Kubernetes bounds it.
    let note = note.chars().take(NOTE_CHARS_MAX).collect();
    let (reason, action) = (reason.to_owned(), "Reconcile".to_owned());
    let event = Event { type_, reason, note: Some(note), action, secondary: None };
    if let Err(error) = recorder.publish(&event, of).await {
        warn!(%error, "failed to tell of what was done");
    }
}

/// What a write was, for people.
pub fn words(action: &Action) -> (&'static str, String) {
    match action {
        Action::Record(record) => words::of_record(record),
        Action::Found { address } => ("DatabaseFounding", format!("the node at {address} founds the database")),
        Action::CreateSet { zone, replicas } => ("ZoneCreated", format!("zone {zone:?} has {replicas} nodes")),
        Action::ApplySet { zone, .. } => ("ZoneChanged", format!("nodes of zone {zone:?} are described anew")),
        Action::ScaleSet { set, replicas, .. } => ("ZoneScaled", format!("{set} is to have {replicas} nodes")),
        Action::DeleteSet { set, .. } => ("ZoneRemoved", format!("{set} has no nodes and is removed")),
        Action::DeletePod { pod, at_once: true, .. } => {
            ("NodeReplaced", format!("{pod} is replaced: its host is silent, and is not waited for"))
        }
        Action::DeletePod { pod, .. } => ("NodeRestarted", format!("{pod} is restarted")),
        Action::Quarantine { claim, node, .. } => {
            let whose = node.map(|n| format!(" of node {n}")).unwrap_or_default();
            ("VolumeSetAside", format!("the volume {claim}{whose} is set aside: no node comes back on it"))
        }
        Action::LiftQuarantine { claim, .. } => {
            ("VolumeTakenBack", format!("the volume {claim} is its node's again, and stays"))
        }
        Action::RetainVolume { volume, .. } => ("VolumeKept", format!("the volume {volume} is kept without its claim")),
        Action::DeleteClaim { claim, .. } => ("VolumeReleased", format!("the claim {claim} is given up")),
        Action::GrowClaim { claim, size, .. } => ("VolumeGrowing", format!("{claim} asks for {size}")),
        Action::Change(change) => words::of_change(change),
        Action::RemoveNode { node, .. } => words::of_change(&AdminChange::Remove(*node)),
    }
}
