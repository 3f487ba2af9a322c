//! When this node last heard of each other node, and in which start: what its copies know of their peers' processes
//! without asking for each shard.

use std::collections::BTreeMap;

use crate::ids::{Incarnation, NodeId};
use crate::planted::{Planted, is_planted};
use crate::time::SILENT_TICKS;

/// Who was heard of, and when.
#[derive(Debug)]
pub(crate) struct Liveness {
    own: NodeId,
    tick: u64,
    nodes: BTreeMap<NodeId, Process>,
}

#[derive(Debug)]
struct Process {
    incarnation: Incarnation,
    at: u64,
    /// What it last said of its disk; of a new start the last word of the one before, until it has looked itself.
    disk_full: bool,
    /// What it last said of its disk: a write waits for too long.
    disk_stalled: bool,
}

impl Process {
    fn new(incarnation: Incarnation, at: u64) -> Self {
        Self { incarnation, at, disk_full: false, disk_stalled: false }
    }
}

/// Which process of a node a message is from, compared with the process that was heard of before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// The process that spoke before, or the first.
    Known,
    /// Another process of a node that was known: nothing that was heard before counts for it.
    Restarted,
    /// An earlier process of the node, which another one has replaced since.
    Replaced,
}

impl Liveness {
    pub(crate) fn new(own: NodeId, incarnation: Incarnation) -> Self {
        Self { own, tick: 0, nodes: BTreeMap::from([(own, Process::new(incarnation, 0))]) }
    }

    /// A period has passed: the nodes that have just become silent.
    pub(crate) fn tick(&mut self) -> Vec<NodeId> {
        self.tick += 1;
        let falls_silent =
            |process: &Process| self.tick - process.at == SILENT_TICKS + 1 && !is_planted(Planted::SilenceUnnoticed);
        let others = self.nodes.iter().filter(|(node, _)| **node != self.own);
        others.filter(|(_, process)| falls_silent(process)).map(|(node, _)| *node).collect()
    }

    /// A process has sent something: tells whether it is the node's present process.
    pub(crate) fn hear(&mut self, node: NodeId, incarnation: Incarnation) -> Speaker {
        let at = self.tick;
        let process = self.nodes.entry(node).or_insert(Process::new(incarnation, at));
        if incarnation < process.incarnation {
            return Speaker::Replaced;
        }
        let is_new = incarnation > process.incarnation;
        (process.incarnation, process.at) = (incarnation, at);
        if is_new { Speaker::Restarted } else { Speaker::Known }
    }

    /// Ticks since the node was last heard of. Always 0 for this node, and the most there is for one never heard of.
    pub(crate) fn silent_ticks(&self, node: NodeId) -> u64 {
        match self.nodes.get(&node) {
            Some(_) if node == self.own => 0,
            Some(process) => self.tick - process.at,
            None => u64::MAX,
        }
    }

    /// A node says whether its disk is nearly full; this one too.
    pub(crate) fn hear_disk(&mut self, node: NodeId, disk_full: bool) {
        if let Some(process) = self.nodes.get_mut(&node) {
            process.disk_full = disk_full;
        }
    }

    /// True if the node says that its disk is nearly full. What a silent one said last counts no more: nobody knows how
    /// it is now, and a dead node must not stop the writes of those that live.
    pub(crate) fn is_full(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|process| process.disk_full) && self.is_heard(node)
    }

    /// A node says whether its disk has stalled; this one too.
    pub(crate) fn hear_stall(&mut self, node: NodeId, disk_stalled: bool) {
        if let Some(process) = self.nodes.get_mut(&node) {
            process.disk_stalled = disk_stalled;
        }
    }

    /// True if the node said last that its disk has stalled.
    pub(crate) fn is_stalled(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|process| process.disk_stalled)
    }

    /// True unless the node is silent.
    pub(crate) fn is_heard(&self, node: NodeId) -> bool {
        is_planted(Planted::SilenceUnnoticed) || self.silent_ticks(node) <= SILENT_TICKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: NodeId = NodeId(2);

    fn after(ticks: u64, liveness: &mut Liveness) -> Vec<NodeId> {
        (0..ticks).flat_map(|_| liveness.tick()).collect()
    }

    #[test]
    fn a_node_falls_silent_once_and_is_heard_again() {
        let mut liveness = Liveness::new(NodeId(1), Incarnation(1));
        assert!(!liveness.is_heard(OTHER));
        assert_eq!(liveness.hear(OTHER, Incarnation(4)), Speaker::Known);
        assert_eq!(after(SILENT_TICKS, &mut liveness), []);
        assert!(liveness.is_heard(OTHER));
        assert_eq!(after(50, &mut liveness), [OTHER]);
        assert!(!liveness.is_heard(OTHER));
        assert_eq!(liveness.hear(OTHER, Incarnation(4)), Speaker::Known);
        assert_eq!(liveness.silent_ticks(OTHER), 0);
        assert_eq!(after(50, &mut liveness), [OTHER]);
    }

    #[test]
    fn another_start_of_a_node_is_told_from_the_one_before() {
        let mut liveness = Liveness::new(NodeId(1), Incarnation(1));
        liveness.hear(OTHER, Incarnation(4));
        assert_eq!(liveness.hear(OTHER, Incarnation(5)), Speaker::Restarted);
        assert_eq!(liveness.hear(OTHER, Incarnation(4)), Speaker::Replaced);
        assert_eq!(liveness.hear(OTHER, Incarnation(5)), Speaker::Known);
    }

    #[test]
    fn a_full_disk_counts_while_its_node_is_heard_of_and_over_its_restart() {
        let mut liveness = Liveness::new(NodeId(1), Incarnation(1));
        assert!(!liveness.is_full(OTHER), "unknown is not full");
        liveness.hear(OTHER, Incarnation(4));
        liveness.hear_disk(OTHER, true);
        liveness.hear_disk(NodeId(1), true);
        assert!(liveness.is_full(OTHER) && liveness.is_full(NodeId(1)));
        after(SILENT_TICKS + 1, &mut liveness);
        assert!(!liveness.is_full(OTHER) && liveness.is_full(NodeId(1)));
        liveness.hear(OTHER, Incarnation(5));
        assert!(liveness.is_full(OTHER), "the new start has not looked yet");
        liveness.hear_disk(OTHER, false);
        assert!(!liveness.is_full(OTHER));
    }

    #[test]
    fn this_node_is_never_silent() {
        let mut liveness = Liveness::new(NodeId(1), Incarnation(1));
        assert_eq!(after(50, &mut liveness), []);
        assert!(liveness.is_heard(NodeId(1)));
    }
}
