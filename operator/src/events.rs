//! Tells people what was done, as events of the resource.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType};
use skerry_core::system::AdminChange;
use skerry_operator_core::kubernetes::Action;
use skerry_operator_core::words;
use tracing::{info, warn};

use crate::context::Context;

/// Tells of one thing that was done. That it cannot be told holds nothing up.
pub async fn tell(context: &Context, of: &ObjectReference, reason: &'static str, note: String) {
    info!(reason, note, "done");
    let Some(recorder) = &context.recorder else { return };
    let event = Event {
        type_: EventType::Normal,
        reason: reason.to_owned(),
        note: Some(note),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
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
        Action::RetainVolume { volume, .. } => ("VolumeKept", format!("the volume {volume} is kept without its claim")),
        Action::DeleteClaim { claim, .. } => ("VolumeReleased", format!("the claim {claim} is given up")),
        Action::GrowClaim { claim, size, .. } => ("VolumeGrowing", format!("{claim} is to grow to {size}")),
        Action::Change(change) => words::of_change(change),
        Action::RemoveNode { node, .. } => words::of_change(&AdminChange::Remove(*node)),
    }
}
