//! How a shard's leader brings its members to the assigned copies, one safe change at a time: new copies come as
//! learners, are promoted in a joint configuration once they are in sync, and only then do old copies go.
//!
//! Level-based: every step is decided from what is, so any new leader goes on where the last one stopped, and another
//! assignment midway turns the move round. Ongaro, "Consensus: Bridging Theory and Practice", 2014, chapter 4.
//!
//! A joint configuration needs majorities of both its sets, and it can only be left by both. So it is entered only once
//! every copy that it needs has just acknowledged an entry, on the way with the fewest copies whose loss would end the
//! shard, and left at once. The rest of that window is the protocol's own.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::ReplicaId;
use crate::map::{Descriptor, Member, Replica, Role};
use crate::planted::{Planted, is_planted};

/// A change of a shard's members, as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberChange {
    /// A new copy that receives and does not vote.
    AddLearner(Replica),
    /// A copy goes without a joint configuration: a learner, or a voter that can never be in sync again.
    Remove(ReplicaId),
    /// Enters a joint configuration.
    Joint {
        /// Learners that become voters.
        promote: Vec<ReplicaId>,
        /// Members that are removed.
        remove: Vec<ReplicaId>,
    },
    /// Leaves the joint configuration.
    Leave,
}

impl MemberChange {
    /// Kinds that this release knows: the numbers below this one, in their encoding.
    pub(crate) const KINDS: u8 = 4;
}

/// What a leader should do next for its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextStep {
    /// Everything is as assigned, or must be waited for.
    Nothing,
    /// Propose this change of the members to the Raft group.
    Change(MemberChange),
    /// Hand leadership to this voter: the leader's own copy is to go.
    Transfer(ReplicaId),
    /// Append an empty entry, and see who acknowledges it: a joint configuration is to be entered.
    Probe,
}

/// What a leader knows of its members.
#[derive(Debug)]
pub struct Situation<'a> {
    /// The shard's descriptor, as of the leader's last applied entry.
    pub descriptor: &'a Descriptor,
    /// The copies that the shard is to have.
    pub assigned: &'a [Replica],
    /// Id of the leader's own replica.
    pub leader: ReplicaId,
    /// Members that have all that is committed, the leader included.
    pub in_sync: &'a BTreeSet<ReplicaId>,
    /// Members that have acknowledged the entry of a [`NextStep::Probe`] just now, the leader included.
    pub answered: &'a BTreeSet<ReplicaId>,
    /// True if a joint configuration has waited so long for an incoming copy that leaving it is the lesser evil: only
    /// then can another assignment take effect.
    pub joint_overdue: bool,
}

/// The next step from here to the assigned copies.
pub fn next_step(now: &Situation<'_>) -> NextStep {
    let members = &now.descriptor.members;
    if now.descriptor.is_joint() {
        return now.leave();
    }
    if now.assigned.is_empty() {
        return NextStep::Nothing;
    }
    if let Some(learner) = members.iter().find(|m| m.role == Role::Learner && !now.is_assigned(m.replica.id)) {
        return NextStep::Change(MemberChange::Remove(learner.replica.id));
    }
    if let Some(new) = now.assigned.iter().find(|r| !members.iter().any(|m| m.replica.id == r.id)) {
        return match members.iter().find(|m| m.replica.node == new.node) {
            None => NextStep::Change(MemberChange::AddLearner(*new)),
            Some(old) => now.make_room(old),
        };
    }
    now.promote_and_remove()
}

impl Situation<'_> {
    fn is_assigned(&self, id: ReplicaId) -> bool {
        self.assigned.iter().any(|r| r.id == id)
    }

    fn has_in_sync(&self, id: ReplicaId) -> bool {
        is_planted(Planted::RemoveBeforeCaughtUp) || self.in_sync.contains(&id)
    }

    /// Leaves the joint configuration once all that come are in sync; a leader that goes hands over first. Leaving needs
    /// nobody that staying does not need, so nothing is waited for beside the copies' number.
    fn leave(&self) -> NextStep {
        let members = &self.descriptor.members;
        let comes = |m: &&Member| matches!(m.role, Role::Incoming | Role::Voter);
        if !members.iter().filter(comes).any(|m| m.replica.id == self.leader) {
            let transfer_target = members.iter().filter(comes).find(|m| self.in_sync.contains(&m.replica.id));
            return transfer_target
                .map_or(NextStep::Nothing, |transfer_target| NextStep::Transfer(transfer_target.replica.id));
        }
        let incoming_in_sync =
            members.iter().filter(|m| m.role == Role::Incoming).all(|m| self.has_in_sync(m.replica.id));
        if incoming_in_sync || self.joint_overdue { NextStep::Change(MemberChange::Leave) } else { NextStep::Nothing }
    }

    /// A new copy belongs where a lost one is still a member: the lost one goes first, if a majority of the rest is in
    /// step. No copy in sync ever goes this way.
    fn make_room(&self, old: &Member) -> NextStep {
        let rest =
            || self.descriptor.members.iter().filter(|m| m.role == Role::Voter && m.replica.id != old.replica.id);
        let in_sync = rest().filter(|m| self.in_sync.contains(&m.replica.id)).count();
        let safe = in_sync * 2 > rest().count();
        if safe && old.replica.id != self.leader && !self.in_sync.contains(&old.replica.id) {
            NextStep::Change(MemberChange::Remove(old.replica.id))
        } else {
            NextStep::Nothing
        }
    }

    /// All assigned copies are members. Once all are in sync the learners are promoted and the others go together.
    fn promote_and_remove(&self) -> NextStep {
        let members = &self.descriptor.members;
        let promote: Vec<_> = members.iter().filter(|m| m.role == Role::Learner).map(|m| m.replica.id).collect();
        let mut remove: Vec<_> = members.iter().map(|m| m.replica.id).filter(|id| !self.is_assigned(*id)).collect();
        if promote.is_empty() && remove.is_empty() {
            return NextStep::Nothing;
        }
        if !self.assigned.iter().all(|r| self.has_in_sync(r.id)) {
            return NextStep::Nothing;
        }
        let (direct, by_promotion) = self.exposures(&promote, &remove);
        if remove.contains(&self.leader) {
            let transfer_target = members.iter().find(|m| m.role == Role::Voter && self.is_assigned(m.replica.id));
            match transfer_target {
                Some(transfer_target) => return NextStep::Transfer(transfer_target.replica.id),
                // No assigned copy votes yet: promote first, keep the old ones until leadership has moved.
                None if direct >= by_promotion => remove.clear(),
                None => {}
            }
        } else if direct > by_promotion {
            remove.clear();
        }
        self.enter(promote, remove)
    }

    /// What the two ways to the assigned copies expose: at once, and by promoting first and removing then.
    fn exposures(&self, promote: &[ReplicaId], remove: &[ReplicaId]) -> (Exposure, Exposure) {
        let old = self.voters();
        if promote.is_empty() || is_planted(Planted::PromotedBeforeRemoval) {
            return (Exposure::default(), Exposure::default());
        }
        let both: BTreeSet<ReplicaId> = old.iter().chain(promote).copied().collect();
        let new: BTreeSet<ReplicaId> = both.iter().filter(|id| !remove.contains(id)).copied().collect();
        let direct = Exposure::of(&[self.critical(&[&old, &new])]);
        let steps = [self.critical(&[&old, &both]), self.critical(&[&both]), self.critical(&[&both, &new])];
        (direct, Exposure::of(&steps))
    }

    /// Copies whose loss would leave one of these sets without a majority of copies in sync.
    fn critical(&self, sets: &[&BTreeSet<ReplicaId>]) -> usize {
        let is_critical = |lost: &&ReplicaId| {
            let left = |set: &BTreeSet<ReplicaId>| set.intersection(self.in_sync).filter(|id| id != lost).count();
            sets.iter().any(|set| 2 * left(set) <= set.len())
        };
        let all: BTreeSet<ReplicaId> = sets.iter().flat_map(|set| set.intersection(self.in_sync)).copied().collect();
        all.iter().filter(is_critical).count()
    }

    fn voters(&self) -> BTreeSet<ReplicaId> {
        let voters = self.descriptor.members.iter().filter(|m| m.role == Role::Voter);
        voters.map(|m| m.replica.id).collect()
    }

    /// Into a joint configuration, once every copy that it needs has just shown that it is there: all assigned ones, and a
    /// majority of those that vote now. One that was heard of a moment ago may be gone for good, and then a joint
    /// configuration strands the copies that are left.
    fn enter(&self, promote: Vec<ReplicaId>, remove: Vec<ReplicaId>) -> NextStep {
        let old = self.voters();
        let has_majority = 2 * old.intersection(self.answered).count() > old.len();
        let are_here = has_majority && self.assigned.iter().all(|r| self.answered.contains(&r.id));
        if are_here || is_planted(Planted::JointUnprobed) || is_planted(Planted::RemoveBeforeCaughtUp) {
            NextStep::Change(MemberChange::Joint { promote, remove })
        } else {
            NextStep::Probe
        }
    }
}

/// How much a way through joint configurations risks. Lower is better, in the order of the fields.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Exposure {
    /// The most copies at one time whose loss alone would end the shard.
    most: usize,
    /// The same, summed over the steps.
    all: usize,
}

impl Exposure {
    fn of(critical: &[usize]) -> Self {
        Self { most: critical.iter().copied().max().unwrap_or_default(), all: critical.iter().sum() }
    }
}

/// The descriptor after a change. A change that does not fit leaves it as it is.
pub fn changed(descriptor: &Descriptor, change: &MemberChange) -> Descriptor {
    let mut next = descriptor.clone();
    next.generation.0 += 1;
    match change {
        MemberChange::AddLearner(replica) => next.members.push(Member { replica: *replica, role: Role::Learner }),
        MemberChange::Remove(id) => next.members.retain(|m| m.replica.id != *id),
        MemberChange::Joint { promote, remove } => {
            next.members.retain(|m| !(m.role == Role::Learner && remove.contains(&m.replica.id)));
            for member in &mut next.members {
                let id = member.replica.id;
                match member.role {
                    Role::Learner if promote.contains(&id) => member.role = Role::Incoming,
                    Role::Voter if remove.contains(&id) => member.role = Role::Outgoing,
                    Role::Learner | Role::Voter | Role::Incoming | Role::Outgoing => {}
                }
            }
        }
        MemberChange::Leave => {
            next.members.retain(|m| m.role != Role::Outgoing);
            for member in &mut next.members {
                if member.role == Role::Incoming {
                    member.role = Role::Voter;
                }
            }
        }
    }
    next.members.sort_by_key(|m| m.replica.id);
    next
}

#[cfg(test)]
mod tests;
