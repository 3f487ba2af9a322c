//! All writes of a round on Kubernetes, in their order: the Secret, what stands beside the StatefulSets, what is due whatever
//! the plan, the plan's steps, and volumes that grow.

use std::collections::BTreeMap;

use skerry_api::DistributedDatabase;

use super::actions::{Action, Scene, actions};
use super::cluster::{Cluster, Set};
use super::names::Names;
use super::upkeep::upkeep;
use crate::decide::Decision;
use crate::eviction::one_may_go;
use crate::observed::{Observed, Seen};
use crate::plan::{Step, Wait};
use crate::planted::{Planted, is_planted};
use crate::round::{Agenda, Batch, Entry, GivesUp, Order, Write};
use crate::validate::Invalid;

/// Volumes that may not grow in one round before it gives up: the others would be refused as well, and there may be a
/// thousand.
const REFUSED_MAX: usize = 8;

/// Far more pods than a database has: of fewer, none may go.
const PODS_MAX: usize = 100_000;

/// One write to the Kubernetes API, or one order to the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectWrite {
    /// Take the secrets out of the database's Secret, for the orders to come. It is made if it is not there.
    TakeSecret {
        /// Nothing is to come in this round that needs the Secret: it is enough that it was there lately.
        is_at_rest: bool,
    },
    /// Write an object that stands beside the StatefulSets, unless it is as it was written.
    Auxiliary(Auxiliary),
    /// Make an object that stands beside the StatefulSets, if there is none. One that is there stays as a person has it.
    Missing(Auxiliary),
    /// A write to what holds data, or of the database itself.
    Action(Action),
}

/// The database's objects besides the StatefulSets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auxiliary {
    /// The ServiceAccount of the pods.
    ServiceAccount,
    /// The Service of the nodes that are ready, and the one that gives each node its name.
    Services,
    /// The ConfigMap that tells clients how to connect.
    ConfigMap,
    /// Who may reach the pods; or its end, where policies are not wanted.
    NetworkPolicy,
    /// How many pods Kubernetes may evict.
    DisruptionBudget {
        /// Pods that there are to be.
        pods: usize,
        /// True if one of them may go.
        one_may_go: bool,
    },
}

/// Whether a StatefulSet is as it is to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drift {
    /// It is to be written anew now.
    pub is_stale: bool,
    /// Somebody else has changed it since it was written: its pods would come back so.
    pub is_changed: bool,
    /// It was written from another spec, or by another release: its pods are not as the spec says now.
    pub is_outdated: bool,
}

/// What the writes of a round are worked out from.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The resource that describes the database.
    pub database: &'a DistributedDatabase,
    /// Names of the database's objects.
    pub names: &'a Names,
    /// The database's objects as they were seen.
    pub cluster: &'a Cluster,
    /// The resource, slots and database as they were observed.
    pub observed: &'a Observed,
}

impl Write for ObjectWrite {
    fn order(&self) -> Option<Order> {
        let Self::Action(action) = self else { return None };
        match action {
            Action::Record(record) => Some(Order::Record(record.clone())),
            Action::Change(change) => Some(Order::Change(change.clone())),
            Action::RemoveNode { node, incarnation } => Some(Order::Remove(*node, *incarnation)),
            Action::Found { .. }
            | Action::CreateSet { .. }
            | Action::ApplySet { .. }
            | Action::ScaleSet { .. }
            | Action::DeleteSet { .. }
            | Action::DeletePod { .. }
            | Action::Quarantine { .. }
            | Action::LiftQuarantine { .. }
            | Action::RetainVolume { .. }
            | Action::DeleteClaim { .. }
            | Action::GrowClaim { .. } => None,
        }
    }

    fn gives_up(&self) -> GivesUp {
        match self {
            // One that comes down has no node, or one that has left: by now it may be another.
            Self::Action(
                Action::DeletePod { .. }
                | Action::Quarantine { .. }
                | Action::ScaleSet { .. }
                | Action::DeleteSet { .. },
            ) => GivesUp::Process,
            Self::Action(Action::DeleteClaim { .. }) => GivesUp::Volume,
            Self::TakeSecret { .. } | Self::Auxiliary(_) | Self::Missing(_) | Self::Action(_) => GivesUp::Nothing,
        }
    }
}

/// The writes of a round. `drift` says of a StatefulSet whether it is as it is to be.
///
/// None of the objects beside the StatefulSets follows from the spec. So a database that was founded keeps them also while
/// its spec cannot be carried out: without its Secret no pod starts again, without the Services no name leads to a node, and
/// by the disruption budget Kubernetes evicts pods. While the resource is paused those that are gone are made again, and
/// the others stay as a person has them, but for the budget. While it is not known what there is, nothing is written that
/// follows from it.
pub fn writes(
    ground: &Ground<'_>,
    decision: &Result<Decision, Invalid>,
    drift: impl Fn(&Set) -> Drift,
) -> Agenda<ObjectWrite> {
    let secret = |is_at_rest| Batch { is_needed: true, ..Batch::of([ObjectWrite::TakeSecret { is_at_rest }]) };
    let is_paused = ground.database.spec.paused;
    let write = |which| if is_paused { ObjectWrite::Missing(which) } else { ObjectWrite::Auxiliary(which) };
    let others =
        [Auxiliary::ServiceAccount, Auxiliary::Services, Auxiliary::ConfigMap, Auxiliary::NetworkPolicy].into_iter();
    let beside = beside(others.map(write).chain(budget(ground, decision)));
    let decision = match decision {
        Ok(decision) if !is_paused => decision,
        Ok(_) | Err(_) if ground.observed.founded => return Agenda::new(vec![secret(true), beside], None),
        Ok(_) | Err(_) => return Agenda::new(vec![], None),
    };
    if decision.plan.waits.iter().any(|wait| matches!(wait, Wait::SlotsUnknown(_))) {
        return Agenda::new(vec![secret(true), beside], None);
    }
    let (all, left_out) = of_objects(ground, decision, &drift);
    let is_growth = |entry: &Entry<ObjectWrite>| matches!(entry.write, ObjectWrite::Action(Action::GrowClaim { .. }));
    let (growing, others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_growth);
    let secret = secret(growing.is_empty() && others.is_empty());
    // Neither waits for the other: not every storage class lets volumes grow, and a database may need larger ones to take
    // anything.
    let others = Batch { writes: others.into(), ..Batch::of([]) };
    let growing = Batch { writes: growing.into(), failures_max: REFUSED_MAX, ..Batch::of([]) };
    let changing = changing(ground.cluster, drift);
    Agenda::new(vec![secret, beside, others, growing], left_out).with_changing(changing)
}

/// The first StatefulSet of which it is not known yet which of its pods are as the spec says: it is written anew in this
/// round, or its controller has not seen what was written. Until then no pod of it is told to be of an older revision.
fn changing(cluster: &Cluster, drift: impl Fn(&Set) -> Drift) -> Option<String> {
    let mut sets = cluster.sets.iter();
    sets.find_map(|(name, set)| match (drift(set).is_outdated, &set.revision) {
        (true, _) => Some(format!("the StatefulSet {name} is not written as the spec says yet")),
        (false, None) => Some(format!("the controller of the StatefulSet {name} has not seen its newest template yet")),
        (false, Some(_)) => None,
    })
}

/// Written whatever failed before. Each of them is tried; if one fails, nothing else is done.
fn beside(writes: impl IntoIterator<Item = ObjectWrite>) -> Batch<ObjectWrite> {
    Batch { failures_max: usize::MAX, is_needed: true, is_always_done: true, ..Batch::of(writes) }
}

/// Of pods that are not known none may go, however many there are. `None` = that was never written down to be a database.
fn budget(ground: &Ground<'_>, decision: &Result<Decision, Invalid>) -> Option<ObjectWrite> {
    let none = BTreeMap::new();
    let slots = match &ground.observed.slots {
        Seen::Known(slots) => slots,
        Seen::Absent => &none,
        Seen::Unknown(_) if !ground.observed.founded || is_planted(Planted::BudgetUnknown) => return None,
        Seen::Unknown(_) => {
            let none_may_go = Auxiliary::DisruptionBudget { pods: PODS_MAX, one_may_go: false };
            return Some(ObjectWrite::Auxiliary(none_may_go));
        }
    };
    // No pod may go while one is about to be ended anyway.
    let is_idle = decision.as_ref().map_or(true, |decision| decision.plan.steps.is_empty());
    let is_idle = is_idle || is_planted(Planted::BudgetKept);
    let one_may_go = is_idle && ground.observed.database.known().is_some_and(|status| one_may_go(slots, status));
    Some(ObjectWrite::Auxiliary(Auxiliary::DisruptionBudget { pods: slots.len(), one_may_go }))
}

/// What is due whatever the plan, and the plan's steps; and what of them is left out.
fn of_objects(
    ground: &Ground<'_>,
    decision: &Decision,
    drift: impl Fn(&Set) -> Drift,
) -> (Vec<Entry<ObjectWrite>>, Option<String>) {
    let (names, cluster, observed) = (ground.names, ground.cluster, ground.observed);
    let (status, founded) = (observed.database.known(), observed.founded);
    let scene = Scene { names, cluster, desired: &decision.desired, status, founded };
    let drifts: BTreeMap<&String, Drift> = cluster.sets.iter().map(|(name, set)| (name, drift(set))).collect();
    let set_of = |step: &Step| {
        let is_restart = matches!(step, Step::RestartNode { .. });
        let slot = step.takes_down().filter(|_| is_restart || !is_planted(Planted::ReplacedAsChanged))?;
        Some(slot.rsplit_once('-')?.0.to_owned())
    };
    // No pod comes back as somebody else has written: that is put right first.
    let is_changed = |set: &String| drifts.get(set).is_some_and(|drift| drift.is_changed);
    let changed = |step: &Step| set_of(step).filter(is_changed);
    let mut plan = decision.plan.clone();
    let left_out = plan.steps.iter().find_map(changed).map(|set| {
        format!(
            "the StatefulSet {set} is not as it was written, and is put right within minutes: no pod of it is ended"
        )
    });
    plan.steps.retain(|step| changed(step).is_none());
    let spec = &ground.database.spec;
    let is_stale = |name: &String| drifts.get(name).is_some_and(|drift| drift.is_stale);
    let due = upkeep(&scene, is_stale, spec.storage.size.as_str(), spec.volume_retention.when_scaled);
    let due = due.into_iter().map(|action| (action, false));
    let entry = |(action, takes_down)| Entry { write: ObjectWrite::Action(action), takes_down };
    (due.chain(actions(&plan, &scene)).map(entry).collect(), left_out)
}

#[cfg(test)]
mod tests;
