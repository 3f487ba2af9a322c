//! Tells people what was done, as events of the resource.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType};
use skerry_core::system::AdminChange;
use skerry_operator_core::kubernetes::Action;
use tracing::{info, warn};

use crate::context::Context;

/// Tells of one write. That it cannot be told holds nothing up.
pub async fn tell(context: &Context, of: &ObjectReference, action: &Action) {
    let (reason, note) = words(action);
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

fn words(action: &Action) -> (&'static str, String) {
    match action {
        Action::RecordVictims(victims) if victims.is_empty() => {
            ("ScaleInEnded", "nobody is to leave any more".to_owned())
        }
        Action::RecordVictims(victims) => {
            let slots: Vec<&str> = victims.iter().map(|v| v.slot.as_str()).collect();
            ("ScaleInStarted", format!("{} to leave", slots.join(", ")))
        }
        Action::RecordRemovals(removals) if removals.is_empty() => {
            ("TableRemovalEnded", "no table is to go any more".to_owned())
        }
        Action::RecordRemovals(removals) => {
            let tables: Vec<&str> = removals.iter().map(|r| r.name.as_str()).collect();
            (
                "TableRemovalStarted",
                format!("tables to go, unless they are put back into the spec: {}", tables.join(", ")),
            )
        }
        Action::RecordFounded => ("DatabaseFounded", "the database is founded".to_owned()),
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
        Action::Change(change) => changed(change),
        Action::RemoveNode { node, .. } => {
            ("NodeRemoved", format!("node {node} has left the database, under a certificate"))
        }
    }
}

fn changed(change: &AdminChange) -> (&'static str, String) {
    match change {
        AdminChange::CreateTable { name, shards, .. } => {
            ("TableCreated", format!("table {name} is made, of {} shards", shards.len()))
        }
        AdminChange::AlterTable { table, replication_factor } => {
            ("ReplicationFactorChanged", format!("table {table} is to have {replication_factor} copies"))
        }
        AdminChange::DropTable { table } => ("TableDropped", format!("table {table} is dropped")),
        AdminChange::SetTargets(targets) => ("ShardsMoving", format!("{} shards have new targets", targets.len())),
        AdminChange::Drain(node) => ("NodeDraining", format!("node {node} is to be emptied")),
        AdminChange::Reactivate(node) => ("NodeKept", format!("node {node} is kept after all")),
        AdminChange::Remove(node) => ("NodeRemoved", format!("node {node} has left the database")),
        AdminChange::SetLimits(_) => ("MoveLimitsChanged", "moves have new limits".to_owned()),
    }
}
