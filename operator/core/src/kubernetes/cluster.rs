//! What was seen of a database's objects, read live from the API server, and the slots that they make.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSetSpec;

use super::names::{Names, ordinal};
use crate::observed::{ClaimTemplate, Process, Running, Slot, SlotVolume};

/// The Kubernetes objects of a database, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cluster {
    /// The StatefulSets, one for each zone.
    pub sets: BTreeMap<String, Set>,
    /// The pods of all these StatefulSets, by name.
    pub pods: BTreeMap<String, Pod>,
    /// Claims of volumes, also those that are set aside.
    pub claims: BTreeMap<String, Claim>,
}

/// A StatefulSet of the database, as far as the operator needs to know it.
#[derive(Debug, Clone, PartialEq)]
pub struct Set {
    /// Its own; another object of its name has another.
    pub uid: String,
    /// The uid of the resource that owns it. `None` = nobody does.
    pub owner: Option<String>,
    /// Names the database that it was made for. `None` = nobody wrote it down.
    pub database: Option<String>,
    /// Changes with every write to it.
    pub version: String,
    /// Zone of the nodes in this StatefulSet. Empty = no zones are named.
    pub zone: String,
    /// Pods that it is to have.
    pub replicas: u32,
    /// Revision of the pods that it makes now. `None` = its controller has not seen the newest template yet.
    pub revision: Option<String>,
    /// What its template was made from.
    pub digest: Option<String>,
    /// Spec of the StatefulSet as it is, whoever has changed it since. `None` = nobody looked.
    pub spec: Option<Arc<StatefulSetSpec>>,
    /// What its claims ask for. It cannot be changed.
    pub claims: ClaimTemplate,
}

/// A pod of the database, as far as the operator needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its Kubernetes uid. Another pod of the same name has another.
    pub uid: String,
    /// The uid of the StatefulSet that owns it. `None` = nobody does.
    pub owner: Option<String>,
    /// True if the pod is ready: its node takes requests.
    pub ready: bool,
    /// True if the pod is being deleted.
    pub leaving: bool,
    /// Revision of the template that the pod was made from.
    pub revision: Option<String>,
    /// For how long the pod has not been ready.
    pub down: Duration,
    /// Why it does not run, as the scheduler or its host says. `None` = it does, or nobody has said why not.
    pub held_up: Option<String>,
    /// Whether it runs, as they say.
    pub running: Running,
    /// Name of the host that the pod is to run on. `None` = nowhere yet.
    pub host: Option<String>,
}

/// A claim of a volume (PersistentVolumeClaim).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// Its Kubernetes uid. Another claim of the same name has another.
    pub uid: String,
    /// Changes with every write to it.
    pub version: String,
    /// Its node has left the database: no node comes back on it.
    pub quarantined: bool,
    /// True if the claim is being deleted.
    pub leaving: bool,
    /// Name of the volume that the claim is bound to. `None` = none yet.
    pub volume: Option<String>,
    /// The volume outlives the claim. False = it does not, or nobody has looked.
    pub retained: bool,
    /// The volume is gone, or the only host that has it. Certain.
    pub lost: bool,
    /// Size that the claim asks for, as a Kubernetes quantity. `None` = it names none.
    pub size: Option<String>,
    /// Size of the volume that is there, as a Kubernetes quantity. `None` = there is none yet, or nobody says.
    pub capacity: Option<String>,
    /// Why the volume is not as large as the claim asks, in words. `None` = it is, or nobody says why not.
    pub growth: Option<String>,
    /// Names the database that it was made for. `None` = nobody wrote it down.
    pub database: Option<String>,
    /// Its StatefulSet owns it: it goes with that.
    pub owned: bool,
}

impl Cluster {
    /// The slots: pods that are to be, and pods that still are.
    pub fn slots(&self, names: &Names) -> BTreeMap<String, Slot> {
        let wanted = self.sets.iter().flat_map(|(name, set)| (0..set.replicas).map(move |i| format!("{name}-{i}")));
        let present = self.pods.keys().filter(|pod| self.set_of(pod).is_some()).cloned();
        wanted.chain(present).filter_map(|name| Some((name.clone(), self.slot(&name, names)?))).collect()
    }

    /// The StatefulSet of a slot, and the slot's number therein.
    pub(super) fn set_of<'a>(&'a self, slot: &'a str) -> Option<(&'a str, &'a Set, u32)> {
        let (name, ordinal) = ordinal(slot)?;
        Some((name, self.sets.get(name)?, ordinal))
    }

    /// Without what is another database's, though its names and labels say otherwise: of one that was deleted and made
    /// again, say. Nothing is written to what is not known to be this database's.
    pub fn only_of(mut self, resource_uid: &str, database: &str) -> Self {
        self.sets.retain(|_, set| match &set.owner {
            Some(owner) => owner == resource_uid,
            None => set.database.as_deref() == Some(database),
        });
        let sets: BTreeSet<&String> = self.sets.values().map(|set| &set.uid).collect();
        // One without an owner is adopted by the StatefulSet of its name.
        self.pods.retain(|_, pod| pod.owner.as_ref().is_none_or(|owner| sets.contains(owner)));
        self.claims.retain(|_, claim| claim.database.as_deref() == Some(database));
        self
    }

    fn slot(&self, name: &str, names: &Names) -> Option<Slot> {
        let (_, set, _) = self.set_of(name)?;
        let claim = self.claims.get(&names.claim(name));
        let volume_lost = claim.is_some_and(|c| c.lost);
        let process = match self.pods.get(name) {
            None => Process { ready: false, volume_lost, running: Running::Replaced, ..Process::STEADY },
            Some(pod) => Process {
                ready: pod.ready && !pod.leaving,
                outdated: set.revision.is_some() && pod.revision.is_some() && pod.revision != set.revision,
                down: pod.down,
                volume_lost,
                running: pod.running,
                ending: pod.leaving,
            },
        };
        let held_up = self.pods.get(name).and_then(|pod| pod.held_up.clone());
        let volume = SlotVolume {
            set_aside: claim.is_some_and(|c| c.quarantined || c.leaving),
            leaving: claim.is_some_and(|c| c.leaving),
            unmade: claim.is_some_and(|c| c.volume.is_none() && !c.lost),
            asked: set.claims.clone(),
            id: claim.map(|c| c.uid.clone()),
            size: claim.and_then(|c| c.size.clone()),
            capacity: claim.and_then(|c| c.capacity.clone()),
            growth: claim.and_then(|c| c.growth.clone()),
        };
        let host = self.pods.get(name).and_then(|pod| pod.host.clone());
        Some(Slot { zone: set.zone.clone(), address: names.address(name), process, volume, held_up, host })
    }
}
