//! A leader's way into a joint configuration and out of it: a probe shows who is there, and no tick is waited for once it
//! can be left.

use std::collections::BTreeSet;

use crate::ids::ReplicaId;
use crate::map::Replica as Copy;
use crate::replica::Replica;
use crate::replica::members::{NextStep, Situation, next_step};

/// A probe is taken for the present for so long: longer than a slow disk takes for an entry, and as short as that allows.
const PROBE_TICKS: u64 = 20;

/// An empty entry that tells who is there: whoever acknowledges it has it on disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe {
    term: u64,
    index: u64,
    tick: u64,
}

impl Replica {
    /// Takes the next step to the assigned copies.
    pub(super) fn take_step(&mut self, assigned: &[Copy], in_sync: &BTreeSet<ReplicaId>, joint_overdue: bool) {
        let (leader, answered) = (self.id(), self.answered());
        let descriptor = self.descriptor();
        let now = Situation { descriptor, assigned, leader, in_sync, answered: &answered, joint_overdue };
        match next_step(&now) {
            NextStep::Nothing => {}
            NextStep::Transfer(to) => {
                if self.raw.raft.lead_transferee.is_none() {
                    self.transfer(to);
                }
            }
            NextStep::Change(change) => self.propose_change(&change),
            NextStep::Probe => self.start_probe(),
        }
    }

    /// Leaves a joint configuration as soon as that may be. What is in it needs more copies than what is outside.
    pub(super) fn leave_joint(&mut self) {
        let raft = &self.raw.raft;
        let may = self.is_leader()
            && self.descriptor().is_joint()
            && raft.lead_transferee.is_none()
            && !raft.has_pending_conf()
            && self.has_committed_in_term();
        if may {
            self.take_step(&[], &self.in_sync(), false);
        }
    }

    /// The members that have acknowledged the probe under way, this leader included.
    pub(super) fn answered(&self) -> BTreeSet<ReplicaId> {
        let Some(probe) = self.current_probe() else { return BTreeSet::from([self.id()]) };
        let prs = self.raw.raft.prs();
        let has_it = |id: &ReplicaId| *id == self.id() || prs.get(id.0).is_some_and(|p| p.matched >= probe.index);
        self.descriptor().members.iter().map(|m| m.replica.id).filter(has_it).collect()
    }

    fn current_probe(&self) -> Option<Probe> {
        self.probe.filter(|p| p.term == self.term() && self.ticks - p.tick <= PROBE_TICKS)
    }

    pub(super) fn start_probe(&mut self) {
        // One at a time: a copy that has fallen silent answers none, and is out of step soon.
        if self.current_probe().is_none() && self.raw.propose(Vec::new(), Vec::new()).is_ok() {
            let index = self.raw.raft.raft_log.last_index();
            self.probe = Some(Probe { term: self.term(), index, tick: self.ticks });
        }
    }
}
