//! A leader brings its members to the assigned copies, into a joint configuration and out of it: a probe shows who is
//! there, and no tick is waited for once it can be left.

use std::collections::BTreeSet;

use crate::ids::{NodeId, ReplicaId};
use crate::map::{Replica as Copy, Role, ShardRecord};
use crate::replica::Replica;
use crate::replica::members::{NextStep, Situation, next_step};

impl Replica {
    /// Brings the members closer to the assigned copies. Acts only on a record that has caught up with this leader:
    /// an older one may name copies that were removed since. True = they are as assigned.
    pub(super) fn change_members(&mut self, record: Option<&ShardRecord>) -> bool {
        let is_joint = self.descriptor().is_joint();
        let caught_up = record.is_some_and(|r| r.descriptor.generation == self.descriptor().generation);
        let is_overdue = self.membership.is_joint_overdue(is_joint, self.consensus.ticks());
        let is_settled = caught_up && record.is_some_and(ShardRecord::assigned_reached);
        let may_change = self.consensus.has_committed_in_term() && !self.consensus.has_pending_change();
        if is_settled || !may_change || !(is_joint || caught_up) {
            return is_settled;
        }
        let assigned = record.map_or(&[][..], |r| &r.assigned[..]);
        let in_sync = self.in_sync();
        self.take_step(assigned, &in_sync, is_overdue);
        false
    }

    /// Without writes of clients, an empty entry tells a majority what the last change made of the members.
    pub(super) fn make_members_known(&mut self) {
        if !self.membership.is_known_at(self.consensus.last_index()) {
            // Refused while leadership is handed over; then the next leader's first entry does it.
            self.consensus.propose_nothing();
        }
    }

    /// Takes the next step to the assigned copies.
    fn take_step(&mut self, assigned: &[Copy], in_sync: &BTreeSet<ReplicaId>, joint_overdue: bool) {
        let (leader, answered) = (self.id(), self.answered());
        let descriptor = self.descriptor();
        let now = Situation { descriptor, assigned, leader, in_sync, answered: &answered, joint_overdue };
        match next_step(&now) {
            NextStep::Nothing => {}
            NextStep::Transfer(to) => {
                if !self.consensus.is_handing_over() {
                    self.transfer(to);
                }
            }
            NextStep::Change(change) => self.consensus.propose_change(&change),
            NextStep::Probe => self.start_probe(),
        }
    }

    /// Leaves a joint configuration as soon as that may be. What is in it needs more copies than what is outside.
    pub(super) fn leave_joint(&mut self) {
        let may = self.is_leader()
            && self.descriptor().is_joint()
            && !self.consensus.is_handing_over()
            && !self.consensus.has_pending_change()
            && self.consensus.has_committed_in_term();
        if may {
            self.take_step(&[], &self.in_sync(), false);
        }
    }

    /// The members that have acknowledged the probe under way, this leader included.
    pub(super) fn answered(&self) -> BTreeSet<ReplicaId> {
        let Some(probe) = self.membership.probe(self.term(), self.consensus.ticks()) else {
            return BTreeSet::from([self.id()]);
        };
        let has_it = |id: &ReplicaId| *id == self.id() || self.consensus.matched(*id).is_some_and(|m| m >= probe);
        self.descriptor().members.iter().map(|m| m.replica.id).filter(has_it).collect()
    }

    pub(super) fn start_probe(&mut self) {
        let (term, tick) = (self.term(), self.consensus.ticks());
        // One at a time: a copy that has fallen silent answers none, and is out of step soon.
        if self.membership.probe(term, tick).is_none() && self.consensus.propose_nothing() {
            self.membership.probed(self.consensus.last_index(), term, tick);
        }
    }

    /// Hands leadership to another voter. Does nothing unless this replica leads.
    pub(crate) fn transfer(&mut self, to: ReplicaId) {
        self.consensus.transfer(to);
    }

    /// Other voters that are in sync, on nodes that are fit, for this leader to hand over to.
    pub(crate) fn transfer_targets(&self, is_fit: impl Fn(NodeId) -> bool) -> Vec<ReplicaId> {
        let in_sync = if self.is_leader() { self.in_sync() } else { BTreeSet::new() };
        let voters = self.descriptor().members.iter().filter(|m| matches!(m.role, Role::Voter | Role::Incoming));
        let fit = voters.map(|m| m.replica).filter(|copy| is_fit(copy.node));
        fit.map(|copy| copy.id).filter(|id| *id != self.id() && in_sync.contains(id)).collect()
    }
}
