//! A plan's steps as single writes. Each can be made twice, and names the very object that was looked at: what has
//! changed since is not written to.

use std::collections::BTreeSet;

use skerry_core::ids::{Epoch, Incarnation, NodeId};
use skerry_core::map::{NodeRecord, NodeState};
use skerry_core::node::Status;
use skerry_core::system::AdminChange;

use super::cluster::{Claim, Cluster, Set};
use super::names::{Names, ordinal};
use crate::desired::Desired;
use crate::observed::Running;
use crate::plan::{Plan, Record, Step};
use crate::planted::{Planted, is_planted};

/// One write to Kubernetes, to the status of the resource or to the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write something down in the status.
    Record(Record),
    /// Tell the node at this address to found the database.
    Found {
        /// Address of the node, `host:port`.
        address: String,
    },
    /// Make a zone's StatefulSet.
    CreateSet {
        /// Zone that the StatefulSet is for. Empty = no zones are named.
        zone: String,
        /// Pods that it is to have.
        replicas: u32,
    },
    /// Write the StatefulSet's pod template anew.
    ApplySet {
        /// Zone that the StatefulSet is for. Empty = no zones are named.
        zone: String,
        /// Pods that it has, and keeps.
        replicas: u32,
    },
    /// Change how many pods a StatefulSet is to have.
    ScaleSet {
        /// Name of the StatefulSet.
        set: String,
        /// Resource version of the StatefulSet that the decision was made on.
        version: String,
        /// Number of pods that the StatefulSet is to have.
        replicas: u32,
    },
    /// Remove a StatefulSet that has no pods.
    DeleteSet {
        /// Name of the StatefulSet.
        set: String,
        /// Uid of the StatefulSet that the decision was made on.
        uid: String,
        /// Its resource version then: one that has pods by now is another.
        version: String,
    },
    /// End a pod; its StatefulSet makes it anew.
    DeletePod {
        /// Name of the pod.
        pod: String,
        /// Uid of the pod that the decision was made on.
        uid: String,
        /// Without waiting for its host to say that it has ended.
        at_once: bool,
    },
    /// Mark a claim as one that no node comes back on.
    Quarantine {
        /// Name of the claim (PersistentVolumeClaim).
        claim: String,
        /// Uid of the claim that the decision was made on.
        uid: String,
        /// Node whose data is on the volume. `None` = no node of the slot is known.
        node: Option<NodeId>,
        /// Epoch of the map under which the node was removed. `None` = the steward was not heard.
        epoch: Option<Epoch>,
    },
    /// Take that mark away: the claim's node is in the database, and to stay.
    LiftQuarantine {
        /// Name of the claim (PersistentVolumeClaim).
        claim: String,
        /// Uid of the claim that the decision was made on.
        uid: String,
    },
    /// See to it that a volume outlives its claim.
    RetainVolume {
        /// Name of the volume (PersistentVolume).
        volume: String,
        /// Node whose data is on the volume. `None` = no node of the slot is known.
        node: Option<NodeId>,
    },
    /// Delete a claim.
    DeleteClaim {
        /// Name of the claim (PersistentVolumeClaim).
        claim: String,
        /// Uid of the claim that the decision was made on.
        uid: String,
        /// Its resource version then: one that had no volume may have one by now, which was not kept.
        version: String,
    },
    /// Ask for a larger volume; or for less than was asked for, which the volume did not become.
    GrowClaim {
        /// Name of the claim (PersistentVolumeClaim).
        claim: String,
        /// Uid of the claim that the decision was made on.
        uid: String,
        /// Size that the claim is to ask for, as a Kubernetes quantity.
        size: String,
    },
    /// Make a change of the system shard.
    Change(AdminChange),
    /// Ask for a certificate now, and only with it remove the node from the database.
    RemoveNode {
        /// Node that is to be removed from the database.
        node: NodeId,
        /// Its start that was looked at.
        incarnation: Incarnation,
    },
}

/// What the writes are worked out from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a> {
    /// Names of the database's objects.
    pub(super) names: &'a Names,
    /// The Kubernetes objects of the database, as they were seen.
    pub(super) cluster: &'a Cluster,
    /// The slots, tables and settings that the spec asks for.
    pub(super) desired: &'a Desired,
    /// What the steward says. `None` = it was not heard.
    pub(super) status: Option<&'a Status>,
    /// True if it is written down that the database was founded. Before that no slot has a node.
    pub(super) founded: bool,
}

/// The writes of a plan, in its order, each with whether it takes a node down that may serve. A step whose time has not come
/// gives none; it is planned again.
pub(super) fn actions(plan: &Plan, scene: &Scene<'_>) -> Vec<(Action, bool)> {
    let mut grown = BTreeSet::new();
    let of_step = |step: &Step| {
        let actions = match step {
            Step::Record(record) => vec![Action::Record(record.clone())],
            Step::Found { slot } => vec![Action::Found { address: scene.names.address(slot) }],
            Step::AddSlot { slot, zone } => match ordinal(slot) {
                Some(_) if grown.insert(zone.clone()) => scene.grow(zone, plan),
                Some(_) | None => vec![],
            },
            Step::RestartNode { slot } => scene.restart(slot),
            Step::ReplaceVolume { slot, silent } => scene.renew(slot, *silent),
            Step::RemoveSlot { slot } => scene.remove(slot),
            Step::Change(change) => vec![Action::Change(change.clone())],
            Step::RemoveNode { node, incarnation } => {
                vec![Action::RemoveNode { node: *node, incarnation: *incarnation }]
            }
        };
        let takes_down = step.takes_down().is_some();
        actions.into_iter().map(move |action| (action, takes_down)).collect::<Vec<_>>()
    };
    plan.steps.iter().flat_map(of_step).collect()
}

impl Scene<'_> {
    /// All slots that a plan adds to a zone, as far as their numbers follow on those that are there. A claim that is set
    /// aside makes way first, unless its node is in the database after all: it comes back on it. So does an empty
    /// StatefulSet that asks for other volumes: see [`Scene::is_to_be_made_anew`].
    fn grow(&self, zone: &str, plan: &Plan) -> Vec<Action> {
        let name = self.names.set(zone);
        let present = self.cluster.sets.get(&name);
        let added = |step: &Step| {
            let Step::AddSlot { slot, zone: of } = step else { return None };
            ordinal(slot).filter(|_| of == zone).map(|(_, ordinal)| ordinal)
        };
        let added: BTreeSet<u32> = plan.steps.iter().filter_map(added).collect();
        let before = present.map_or(0, |set| set.replicas);
        let (mut replicas, mut actions) = (before, Vec::new());
        while added.contains(&replicas) {
            let slot = format!("{name}-{replicas}");
            let claim = self.claim(&slot).filter(|(claim, _)| self.is_in_the_way(claim));
            if let Some((claim, name)) = claim
                && (claim.leaving || self.has_left(&slot) != Some(false))
            {
                let given_up = self.has_left(&slot).filter(|_| !claim.leaving).map(|_| self.give_up(claim, name, None));
                actions.extend(given_up.unwrap_or_default());
                break;
            }
            replicas += 1;
        }
        match present {
            _ if replicas == before => {}
            Some(set) if self.is_to_be_made_anew(&name, set) => {}
            None => actions.push(Action::CreateSet { zone: zone.to_owned(), replicas }),
            Some(set) => actions.push(Action::ScaleSet { set: name, version: set.version.clone(), replicas }),
        }
        actions
    }

    /// The claim is marked first: whatever happens next, no node comes back on it. Pods go from the end of their
    /// StatefulSet; one in the middle that is wanted gets another volume, which will not be marked; any other waits for
    /// those after it.
    fn remove(&self, slot: &str) -> Vec<Action> {
        let Some((name, set, ordinal)) = self.cluster.set_of(slot) else { return vec![] };
        let node = self.node_of(slot);
        let mut actions = Vec::new();
        let unmarked = self.claim(slot).filter(|(claim, _)| !claim.quarantined && !claim.leaving);
        let is_marked = unmarked.is_none();
        if let Some((claim, name)) = unmarked {
            let epoch = self.status.map(|s| s.map.epoch);
            actions.push(Action::Quarantine { claim: name, uid: claim.uid.clone(), node, epoch });
        }
        if ordinal >= set.replicas {
            actions.extend(self.forget_pod(slot));
        } else if ordinal + 1 == set.replicas {
            actions.push(Action::ScaleSet { set: name.to_owned(), version: set.version.clone(), replicas: ordinal });
        } else if is_marked && self.desired.slots.contains_key(slot) {
            actions.extend(self.renew(slot, false));
            actions.extend(self.forget_pod(slot).filter(|_| !is_planted(Planted::OverdueAwaited)));
        }
        actions
    }

    /// Another volume for a slot, and another pod on it. Of a silent host the pod is not waited for: should it still run, its
    /// node has another id than the one that comes, and another volume.
    fn renew(&self, slot: &str, silent: bool) -> Vec<Action> {
        let claim = self.claim(slot).filter(|(claim, _)| !claim.leaving);
        let given_up = claim.map(|(claim, name)| self.give_up(claim, name, self.node_of(slot))).unwrap_or_default();
        let ended = self.end_pod(slot, silent);
        // Somebody else may have deleted it: then nobody has kept the volume.
        let kept = ended.as_ref().and_then(|_| self.kept_by_hand(slot));
        kept.into_iter().chain(given_up).chain(ended).collect()
    }

    /// The pod comes back on its volume; or, if somebody has deleted its claim, on another one: the claim goes with the pod,
    /// and takes the volume with it unless that is kept.
    fn restart(&self, slot: &str) -> Vec<Action> {
        let ended = self.end_pod(slot, false);
        let kept = ended.as_ref().and_then(|_| self.kept_by_hand(slot));
        kept.into_iter().chain(ended).collect()
    }

    /// The volume is kept before its claim goes.
    fn give_up(&self, claim: &Claim, name: String, node: Option<NodeId>) -> Vec<Action> {
        let retain = claim.volume.clone().map(|volume| Action::RetainVolume { volume, node });
        let delete = Action::DeleteClaim { claim: name, uid: claim.uid.clone(), version: claim.version.clone() };
        let mut given_up: Vec<Action> = retain.into_iter().chain([delete]).collect();
        if is_planted(Planted::DeletedBeforeKept) {
            given_up.reverse();
        }
        given_up
    }

    /// The volume of a node that is in the database, if its claim goes, and the volume would go with that.
    pub(super) fn kept_by_hand(&self, slot: &str) -> Option<Action> {
        let (claim, _) = self.claim(slot).filter(|(claim, _)| claim.leaving && !claim.retained)?;
        let is_needed = self.has_left(slot) != Some(true) && !is_planted(Planted::DeletedByHandNotKept);
        let volume = claim.volume.clone().filter(|_| is_needed)?;
        Some(Action::RetainVolume { volume, node: self.node_of(slot) })
    }

    fn end_pod(&self, slot: &str, at_once: bool) -> Option<Action> {
        let pod = self.cluster.pods.get(slot).filter(|pod| at_once || !pod.leaving)?;
        Some(Action::DeletePod { pod: slot.to_owned(), uid: pod.uid.clone(), at_once })
    }

    /// A pod that was to end long ago, on a host that does not say that it has: its node has left the database, so that
    /// whatever still runs there is of no use and no harm.
    fn forget_pod(&self, slot: &str) -> Option<Action> {
        let pod = self.cluster.pods.get(slot)?;
        let is_overdue = pod.leaving && pod.running == Running::Maybe && self.has_left(slot) == Some(true);
        is_overdue.then(|| self.end_pod(slot, true)).flatten()
    }

    fn claim(&self, slot: &str) -> Option<(&Claim, String)> {
        let name = self.names.claim(slot);
        Some((self.cluster.claims.get(&name)?, name))
    }

    /// No node comes back on it; or nobody ever had it, and it may be of an earlier spec.
    fn is_in_the_way(&self, claim: &Claim) -> bool {
        let was_never_made = claim.volume.is_none() && !claim.lost;
        claim.quarantined || claim.leaving || (!self.founded && was_never_made)
    }

    /// True for a StatefulSet without pods whose volumes would be others than the spec says: it is made anew, for that
    /// cannot be changed. Unless volumes would go with it: then it stays, and they are grown one by one.
    pub(super) fn is_to_be_made_anew(&self, name: &str, set: &Set) -> bool {
        !set.claims.is_as(&self.desired.claims) && self.may_go(name, set)
    }

    /// True if the last node of this slot has left the database, or there was none: its volume is of no use. `None` =
    /// unknown.
    pub(super) fn has_left(&self, slot: &str) -> Option<bool> {
        if self.status.is_none() {
            return (!self.founded).then_some(true);
        }
        Some(self.last_node(slot).is_none_or(|n| n.state == NodeState::Removed))
    }

    fn node_of(&self, slot: &str) -> Option<NodeId> {
        self.last_node(slot).map(|n| n.id)
    }

    fn last_node(&self, slot: &str) -> Option<&NodeRecord> {
        let address = self.names.address(slot);
        self.status?.map.nodes.values().filter(|n| n.address == address).max_by_key(|n| n.id)
    }
}

#[cfg(test)]
mod tests;
