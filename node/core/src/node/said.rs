//! What other nodes have said of one record of the map.

use std::collections::BTreeSet;

use crate::ids::{Epoch, NodeId};

/// Ticks without a word after which a node is not waited for.
pub(super) const PATIENCE_TICKS: u64 = 200;

/// Who knows the record that the map has, and who does not.
#[derive(Debug, Default)]
pub(super) struct Said {
    epoch: Epoch,
    by: BTreeSet<NodeId>,
    against: BTreeSet<NodeId>,
    since: u64,
}

impl Said {
    /// A node has sent just this record. Of another epoch it is another record, of which nothing was said before.
    pub(super) fn agrees(&mut self, epoch: Epoch, from: NodeId, ticks: u64) {
        if self.epoch != epoch || (self.by.is_empty() && self.against.is_empty()) {
            *self = Self { epoch, since: ticks, ..Self::default() };
        }
        self.against.remove(&from);
        self.by.insert(from);
    }

    /// A node that knows of all changes of that time does not know this record.
    pub(super) fn denies(&mut self, from: NodeId) {
        self.by.remove(&from);
        self.against.insert(from);
    }

    /// Epoch of the record that is to be confirmed.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// True if the record is one of those after the first epoch, and up to the second.
    pub(super) fn is_within(&self, (since, upto): (Epoch, Epoch)) -> bool {
        since < self.epoch && self.epoch <= upto
    }

    /// How many of the nodes that count have sent it.
    pub(super) fn by(&self, counts: impl Fn(NodeId) -> bool) -> usize {
        self.by.iter().filter(|node| counts(**node)).count()
    }

    /// How many of the nodes that count do not know it.
    pub(super) fn against(&self, counts: impl Fn(NodeId) -> bool) -> usize {
        self.against.iter().filter(|node| counts(**node)).count()
    }

    /// True if all of these have sent it.
    pub(super) fn is_of_all(&self, nodes: &BTreeSet<NodeId>) -> bool {
        nodes.is_subset(&self.by)
    }

    /// True if it was first sent long ago.
    pub(super) fn is_old(&self, ticks: u64) -> bool {
        ticks.saturating_sub(self.since) > PATIENCE_TICKS
    }

    /// True if nobody has spoken against it since then.
    pub(super) fn is_undenied_for_long(&self, ticks: u64) -> bool {
        self.against.is_empty() && self.is_old(ticks)
    }
}

#[cfg(test)]
mod tests;
