//! What the supervisor tells of itself: for `skerry playground status`, and for whoever waits for it to come to rest.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use skerry_core::map::NodeState;
use skerry_core::node::Status;

use super::fleet::{Fleet, ProcessState};
use super::folder::Kept;
use crate::view::{is_heard, shards_now};

/// How things stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// The database's name.
    pub(crate) name: String,
    /// Its id.
    pub(crate) cluster: String,
    /// The YAML that is watched.
    pub(crate) file: PathBuf,
    /// The supervisor's process.
    pub(crate) pid: u32,
    /// Rises with every change of the YAML that was taken.
    pub(crate) generation: u64,
    /// In one word.
    pub(crate) phase: Phase,
    /// In a sentence.
    pub(crate) message: String,
    /// By slot.
    pub(crate) nodes: Vec<NodeLine>,
}

/// How the playground stands to its YAML.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// It is what the YAML says, and every copy is in step.
    Settled,
    /// It is on its way.
    Working,
    /// The YAML is refused; the last good one holds.
    Refused,
    /// The nodes are being stopped.
    Stopping,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeLine {
    /// Its slot.
    pub(crate) slot: String,
    /// Its id in the database. `None` = unknown yet.
    pub(crate) node: Option<u64>,
    /// Its failure domain.
    pub(crate) zone: String,
    /// Where clients reach it.
    pub(crate) address: String,
    /// Where its probes and metrics are.
    pub(crate) http: String,
    /// How its process stands. `None` = there is none.
    pub(crate) process: Option<ProcessState>,
    /// What it writes to its stderr.
    pub(crate) log: PathBuf,
}

/// The nodes, slot by slot.
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

/// What keeps a database from rest, in words. `None` = every shard is where it should be, led, and has its copies in
/// step, and every node was heard of.
pub(crate) fn unrest(status: &Status) -> Option<String> {
    let nodes = status.map.nodes.values().filter(|n| n.state != NodeState::Removed);
    let silent = nodes.filter(|n| !is_heard(status, n.id)).count();
    let shards = shards_now(status);
    let moving = shards.iter().filter(|s| !s.record.is_settled()).count();
    let leaderless = shards.iter().filter(|s| s.leader().is_none()).count();
    let behind = shards.iter().filter(|s| s.in_step().len() < s.record.target.len()).count();
    let parts = [
        (silent, "nodes silent"),
        (leaderless, "shards without leader"),
        (moving, "shards moving"),
        (behind, "shards short of copies"),
    ];
    let parts: Vec<String> =
        parts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if parts.is_empty() { None } else { Some(parts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use skerry_core::map::NodeState::Active;

    use super::*;
    use crate::view::tests::{node, shard, status};

    #[test]
    fn rest_needs_every_node_and_every_copy() {
        let at_rest = || {
            let nodes = vec![node(1, "a", Active), node(2, "b", Active), node(3, "c", Active)];
            status(nodes, vec![shard(1, 1, &[1, 2, 3], &[1, 2, 3])])
        };
        assert_eq!(unrest(&at_rest()), None);
        let mut behind = at_rest();
        behind.shards[0].0.in_step.pop();
        assert_eq!(unrest(&behind).as_deref(), Some("1 shards short of copies"));
        let mut silent = at_rest();
        silent.nodes.pop();
        assert_eq!(unrest(&silent).as_deref(), Some("1 nodes silent"));
    }
}
