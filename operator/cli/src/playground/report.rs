//! What the supervisor tells of itself: for `skerry playground status`, and for whoever waits for it to come to rest.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use skerry_api::DistributedDatabaseStatus;
use skerry_core::map::NodeState;
use skerry_core::node::Status;

use super::fleet::{Fleet, ProcessState};
use super::folder::Kept;

/// The state of a playground.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// Name of the database.
    pub(crate) name: String,
    /// Id of the database.
    pub(crate) cluster: String,
    /// The YAML file that is watched for changes.
    pub(crate) file: PathBuf,
    /// Id of the supervisor's process.
    pub(crate) pid: u32,
    /// Rises with every change of the YAML that was taken.
    pub(crate) generation: i64,
    /// The state in one word.
    pub(crate) phase: Phase,
    /// The state in a sentence.
    pub(crate) message: String,
    /// The status, as the resource on Kubernetes has it.
    pub(crate) status: DistributedDatabaseStatus,
    /// One line for each node.
    pub(crate) nodes: Vec<NodeLine>,
}

/// How the playground stands to its YAML.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// It is what the YAML says, and every copy is in sync.
    Settled,
    /// Changes are under way.
    Working,
    /// It stays as it is until a person does something.
    Stalled,
    /// The YAML is refused; the last good one holds.
    Refused,
    /// The nodes are being stopped.
    Stopping,
}

/// How one node of the playground stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeLine {
    /// Name of the slot that the node is in.
    pub(crate) slot: String,
    /// Its id in the database. `None` = unknown yet.
    pub(crate) node: Option<u64>,
    /// Failure domain of the node. Empty = none named.
    pub(crate) zone: String,
    /// `host:port` where clients reach the node.
    pub(crate) address: String,
    /// Where its probes and metrics are.
    pub(crate) http: String,
    /// How its process stands. `None` = there is none.
    pub(crate) process: Option<ProcessState>,
    /// What it writes to its stderr.
    pub(crate) log: PathBuf,
}

/// The lines of the nodes, in order of their slots.
pub(crate) fn node_lines(
    folder: &super::folder::Folder,
    kept: &Kept,
    fleet: &Fleet,
    status: Option<&Status>,
) -> Vec<NodeLine> {
    let id_at = |address: &str| {
        let nodes = status?.map.nodes.values().rev();
        nodes.filter(|n| n.state != NodeState::Removed).find(|n| n.address == address).map(|n| n.id.0)
    };
    let line = |(name, slot): (&String, &super::folder::Slot)| NodeLine {
        slot: name.clone(),
        node: id_at(&slot.address()),
        zone: slot.zone.clone(),
        address: slot.address(),
        http: format!("127.0.0.1:{}", slot.http_port),
        process: fleet.state(name),
        log: folder.node_log(name),
    };
    kept.slots.iter().map(line).collect()
}
