//! What a person has been shown of a recovery: nothing beyond it is carried out on their word.

use std::collections::{BTreeMap, BTreeSet};

use skerry_core::ids::{ReplicaId, ShardId};
use skerry_core::map::Replica;
use skerry_core::steward::RecoveryPlan;

use super::Told;

/// The plans that were shown: of each shard which copy it goes on from, and which are given up.
#[derive(Debug, Default)]
pub(super) struct Shown(BTreeMap<ShardId, (ReplicaId, BTreeSet<Replica>)>);

impl Shown {
    pub(super) fn of(plans: &[Told]) -> Self {
        let mut shown = Self::default();
        shown.note(plans);
        shown
    }

    /// These are shown as well.
    pub(super) fn note(&mut self, plans: &[Told]) {
        let plans = plans.iter().filter_map(|(_, plan)| plan.as_ref().ok());
        self.0.extend(plans.map(|plan| (plan.shard, (plan.survivor.id, plan.given_up.iter().copied().collect()))));
    }

    /// The plans that give up more than what was shown: a copy that was not named, records that another survivor does not
    /// have, or a shard of which no plan was shown at all.
    pub(super) fn beyond<'a>(&self, plans: &'a [Told]) -> impl Iterator<Item = &'a Told> {
        plans.iter().filter(|(_, plan)| plan.as_ref().is_ok_and(|plan| !self.covers(plan)))
    }

    fn covers(&self, plan: &RecoveryPlan) -> bool {
        self.0.get(&plan.shard).is_some_and(|(survivor, given_up)| {
            *survivor == plan.survivor.id && plan.given_up.iter().all(|replica| given_up.contains(replica))
        })
    }
}

#[cfg(test)]
mod tests {
    use skerry_core::ids::{Epoch, Generation, NodeId};
    use skerry_core::steward::RecoveryRefusal;

    use super::*;

    fn replica(n: u64) -> Replica {
        Replica { node: NodeId(n), id: ReplicaId(10 + n) }
    }

    /// The shard goes on from the copy on this node.
    fn plan(shard: u64, survivor: u64, given_up: &[u64]) -> Told {
        let plan = RecoveryPlan {
            shard: ShardId(shard),
            based_on: Epoch(1),
            survivor: replica(survivor),
            copies: Vec::new(),
            given_up: given_up.iter().copied().map(replica).collect(),
            generation: Generation::default(),
        };
        (plan.shard, Ok(plan))
    }

    fn beyond(shown: &Shown, plans: &[Told]) -> Vec<u64> {
        shown.beyond(plans).map(|(shard, _)| shard.0).collect()
    }

    #[test]
    fn what_gives_up_no_more_than_was_shown_is_carried_out() {
        let shown = Shown::of(&[plan(4, 1, &[2, 3])]);
        assert_eq!(beyond(&shown, &[plan(4, 1, &[2, 3]), plan(4, 1, &[3])]), [0; 0]);
    }

    #[test]
    fn a_plan_of_a_later_round_that_was_not_shown_is_not_carried_out() {
        let refused = (ShardId(5), Err(RecoveryRefusal::Majority { shard: ShardId(5) }));
        let mut shown = Shown::of(&[plan(4, 1, &[2]), refused.clone()]);
        let later = [plan(4, 1, &[2, 3]), plan(4, 2, &[]), plan(5, 1, &[2]), plan(6, 1, &[]), refused];
        assert_eq!(beyond(&shown, &later), [4, 4, 5, 6]);
        shown.note(&later[2..]);
        assert_eq!(beyond(&shown, &later[2..]), [0; 0]);
    }
}
