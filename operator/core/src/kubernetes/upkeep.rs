//! What is to be written whatever the plan: templates that have changed, volumes that are to grow or to go, StatefulSets
//! that nobody needs any more.

use skerry_api::Retention;

use super::actions::{Action, Scene};
use super::cluster::{Claim, Set};
use super::names::ordinal;

/// The writes. `is_stale` says of a StatefulSet, by its name, whether it is not as it is to be.
pub(super) fn upkeep(
    scene: &Scene<'_>,
    is_stale: impl Fn(&String) -> bool,
    size: &str,
    when_scaled: Retention,
) -> Vec<Action> {
    let stale = scene.cluster.sets.iter().filter(|(name, _)| is_stale(name));
    let mut actions: Vec<Action> =
        stale.map(|(_, set)| Action::ApplySet { zone: set.zone.clone(), replicas: set.replicas }).collect();
    let is_needed = |zone: &str| scene.desired.slots.values().any(|z| z == zone);
    for (name, set) in &scene.cluster.sets {
        if scene.may_go(name, set) && (!is_needed(&set.zone) || scene.is_to_be_made_anew(name, set)) {
            actions.push(Action::DeleteSet { set: name.clone(), uid: set.uid.clone() });
        }
    }
    for (name, claim) in scene.cluster.claims.iter().filter(|(_, claim)| !claim.leaving) {
        let (claim_name, uid) = (name.clone(), claim.uid.clone());
        if claim.quarantined {
            // One that never got its volume keeps nothing. Of any other that counts only what the database says itself: that it
            // was founded may be forgotten, by hand.
            let may_be_lost = claim.volume.is_none() || (when_scaled == Retention::Delete && scene.status.is_some());
            if may_be_lost && scene.is_over(name) {
                actions.push(Action::DeleteClaim { claim: claim_name, uid });
            }
        } else if claim.volume.is_some() && asks_for_less(claim, size) {
            actions.push(Action::GrowClaim { claim: claim_name, uid, size: size.to_owned() });
        }
    }
    actions
}

/// What cannot be read is not compared.
fn asks_for_less(claim: &Claim, size: &str) -> bool {
    let asked = claim.size.as_deref().and_then(|asked| skerry_api::bytes(asked).ok());
    asked.zip(skerry_api::bytes(size).ok()).is_some_and(|(asked, wanted)| asked < wanted)
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
            && self.has_left(slot) == Some(true)
    }
}
