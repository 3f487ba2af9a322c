//! What of a copy is told: to the steward, to invariants, to metrics.

use super::QuorumReplica;
use crate::ids::{Generation, ReplicaId, ShardId};
use crate::message::QuorumReport;
use crate::quorum::layout::{Layout, Part};
use crate::time::Version;

/// The state of a copy of a quorum shard at one moment, as plain values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumView {
    /// Shard that the copy is of.
    pub shard: ShardId,
    /// Id of the copy.
    pub replica: ReplicaId,
    /// The layout that it holds.
    pub layout: Layout,
    /// What it is there for.
    pub part: Part,
    /// True while it may not speak, since the store has not made it durable yet.
    pub is_held_back: bool,
    /// True if what it lacks at or below its floor is deleted.
    pub is_complete: bool,
    /// At or below this it takes no write.
    pub bar: Version,
    /// At or below this all copies have the same.
    pub floor: Version,
    /// Index of the last applied entry.
    pub applied: u64,
    /// Entries that wait for the log.
    pub journaled: usize,
    /// Writes and reads that it coordinates.
    pub coordinated: (usize, usize),
    /// Number and bytes of the hints that it keeps.
    pub hints: (u64, u64),
    /// The sum of its records. `None` = they are being counted.
    pub sum: Option<u128>,
}

impl QuorumReplica {
    /// This copy as plain values.
    pub fn view(&self) -> QuorumView {
        let (state, tree) = (self.state(), self.machine.tree());
        QuorumView {
            shard: state.shard(),
            replica: state.replica(),
            layout: state.layout().clone(),
            part: state.part(),
            is_held_back: self.syncs.is_held(),
            is_complete: state.is_complete(),
            bar: state.floor().bar(),
            floor: state.floor().floor(),
            applied: state.applied(),
            journaled: self.journal.waiting().0,
            coordinated: (self.writes.len(), self.reads.len()),
            hints: self.hints.waiting(),
            sum: tree.passed().is_none().then(|| tree.root()),
        }
    }

    /// What the steward may know of this copy: nothing that a crash could take back.
    pub fn report(&self) -> QuorumReport {
        let state = self.state();
        // A new copy that the store does not have durably may be gone with a crash.
        let held = if self.syncs.is_held() { Generation(0) } else { state.layout().generation };
        QuorumReport {
            shard: state.shard(),
            replica: state.replica(),
            held,
            copied: state.copied().iter().map(|(from, since)| (*from, *since)).collect(),
            is_complete: state.is_complete(),
            floor: state.floor().floor(),
            hints: self.hints.waiting().0,
            under_way: self.writes.unconfirmed(self.id()),
            handed_over: self.convergence.handed_over().filter(|peer| !self.hints.are_due(*peer)).collect(),
            bytes: state.bytes(),
            layout: None,
        }
    }

    /// The layout that it holds durably, if none that is later waits for its log or its store. Who has seen to it that the
    /// copy learns no other one knows then what it holds, and will hold.
    pub fn certain_layout(&self) -> Option<&Layout> {
        let held = self.state().layout();
        (!self.syncs.is_held() && self.journal.layout() == held.generation).then_some(held)
    }

    /// Memory that entries take which wait for the log, about.
    pub fn log_bytes(&self) -> usize {
        self.journal.waiting().1
    }

    /// Requests of clients that wait for their answers.
    pub fn waiting(&self) -> usize {
        self.writes.waiting() + self.reads.len()
    }

    /// True if there is something to collect.
    pub fn has_work(&self) -> bool {
        self.journal.has_work() && !self.syncs.is_held()
    }
}
