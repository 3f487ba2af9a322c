//! What is to be written whatever the plan: templates that have changed, volumes that are to grow or to go, StatefulSets
//! that nobody needs any more.

use std::cmp::Ordering;

use skerry_api::Retention;

use super::actions::{Action, Scene};
use super::cluster::{Claim, Set};
use super::names::ordinal;
use crate::observed::compared;
use crate::planted::{Planted, is_planted};

/// The writes. `is_stale` says of a StatefulSet, by its name, whether it is not as it is to be.
pub(super) fn upkeep(
    scene: &Scene<'_>,
    is_stale: impl Fn(&String) -> bool,
    size: &str,
    when_scaled: Retention,
) -> Vec<Action> {
    let is_needed = |zone: &str| scene.desired.slots.values().any(|z| z == zone);
    let mut actions = Vec::new();
    for (name, set) in &scene.cluster.sets {
        let goes = scene.may_go(name, set) && (!is_needed(&set.zone) || scene.is_to_be_made_anew(name, set));
        if is_stale(name) && !goes {
            actions.push(Action::ApplySet { zone: set.zone.clone(), replicas: set.replicas });
        }
        if goes {
            actions.push(Action::DeleteSet { set: name.clone(), uid: set.uid.clone(), version: set.version.clone() });
        }
    }
    let kept = scene.cluster.pods.keys().filter_map(|slot| scene.kept_by_hand(slot));
    actions.extend(kept);
    for (name, claim) in scene.cluster.claims.iter().filter(|(_, claim)| !claim.leaving) {
        let (claim_name, uid) = (name.clone(), claim.uid.clone());
        if claim.quarantined && scene.is_to_stay(name) {
            actions.push(Action::LiftQuarantine { claim: claim_name, uid });
        } else if claim.quarantined {
            // One that never got its volume keeps nothing. Of any other that counts only what the database says itself: that it
            // was founded may be forgotten, by hand.
            let may_be_lost = claim.volume.is_none() || (when_scaled == Retention::Delete && scene.status.is_some());
            if may_be_lost && scene.is_over(name) {
                actions.push(Action::DeleteClaim { claim: claim_name, uid, version: claim.version.clone() });
            }
        } else if claim.volume.is_some() && asks_otherwise(claim, size) {
            actions.push(Action::GrowClaim { claim: claim_name, uid, size: size.to_owned() });
        }
    }
    actions
}

/// True if the claim is to ask for this size: for more than it does; or for less, while the volume has not become so large.
/// Kubernetes takes a request down as long as it stays above what is there.
fn asks_otherwise(claim: &Claim, size: &str) -> bool {
    match compared(claim.size.as_deref(), size) {
        Some(Ordering::Less) => true,
        Some(Ordering::Greater) => compared(claim.capacity.as_deref(), size).is_some_and(Ordering::is_lt),
        Some(Ordering::Equal) | None => false,
    }
}

impl Scene<'_> {
    /// True if nothing goes with the StatefulSet.
    pub(super) fn may_go(&self, name: &str, set: &Set) -> bool {
        set.replicas == 0 && !self.has_pods(name) && !self.owns_claims(name)
    }

    fn has_pods(&self, set: &str) -> bool {
        self.cluster.pods.keys().any(|pod| ordinal(pod).is_some_and(|(of, _)| of == set))
    }

    /// True if volumes would go with the StatefulSet. They go with the database, if its resource says so, and not before.
    fn owns_claims(&self, set: &str) -> bool {
        let is_of_set = |claim: &str| claim.strip_prefix("data-").and_then(ordinal).is_some_and(|(of, _)| of == set);
        self.cluster.claims.iter().any(|(name, claim)| claim.owned && is_of_set(name))
    }

    /// True if no pod has the claim or is to have it, and no node of its slot is in the database. A node may have joined
    /// while its slot came down: only what the map says counts. A slot that is to be makes it go itself.
    fn is_over(&self, claim: &str) -> bool {
        let Some(slot) = claim.strip_prefix("data-") else { return false };
        let wanted = self.cluster.set_of(slot).is_some_and(|(_, set, ordinal)| ordinal < set.replicas);
        !wanted
            && !self.desired.slots.contains_key(slot)
            && !self.cluster.pods.contains_key(slot)
            && (self.has_left(slot) == Some(true) || is_planted(Planted::DeletedUncertified))
    }

    /// True if a claim that is set aside is of a slot that is there and to stay, and its node is in the database: it joined while
    /// the slot came down, and has come back.
    fn is_to_stay(&self, claim: &str) -> bool {
        let Some(slot) = claim.strip_prefix("data-") else { return false };
        let is_there = self.cluster.set_of(slot).is_some_and(|(_, set, ordinal)| ordinal < set.replicas);
        is_there && self.desired.slots.contains_key(slot) && self.has_left(slot) == Some(false)
    }
}
