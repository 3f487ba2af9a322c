//! A modelled Kubernetes: the objects of one database, the machines, and the writes that the API server takes. What
//! becomes of the objects by themselves is in `controllers` and `agents`.

use std::collections::BTreeMap;
use std::time::Duration;

use skerry_core::ids::{NodeId, Token};
use skerry_operator_core::kubernetes::{Claim, Names, Pod, Set, is_lost};
use skerry_operator_core::{ClaimTemplate, Running, Seen};

use super::resource::{Refused, Resource};

/// The uid of the resource.
pub(crate) const RESOURCE_UID: &str = "resource";
/// What the claims of this database say whose they are.
pub(crate) const OURS: &str = "ours";

/// A StatefulSet with update strategy `OnDelete` and pod management `Parallel`.
#[derive(Debug, Clone)]
pub(crate) struct SetObject {
    pub(crate) uid: String,
    pub(crate) version: u64,
    pub(crate) zone: String,
    pub(crate) replicas: u32,
    /// What its pods are made from.
    pub(crate) template: String,
    /// The newest template that its controller has seen.
    pub(crate) observed: Option<String>,
    pub(crate) claim_size: String,
}

/// A pod in the modelled API server.
#[derive(Debug, Clone)]
pub(crate) struct PodObject {
    pub(crate) uid: String,
    pub(crate) zone: String,
    pub(crate) template: String,
    /// `None` = not scheduled yet.
    pub(crate) machine: Option<String>,
    pub(crate) leaving: bool,
    pub(crate) ready: bool,
    /// Since when it is as ready as it is now.
    pub(crate) since: u64,
    /// What was last said of whether it runs.
    pub(crate) running: Running,
}

/// A claim of a volume.
#[derive(Debug, Clone)]
pub(crate) struct ClaimObject {
    pub(crate) uid: String,
    pub(crate) size: String,
    pub(crate) quarantined: bool,
    pub(crate) leaving: bool,
    pub(crate) volume: Option<String>,
    /// The database that it was made for.
    pub(crate) database: &'static str,
}

/// A volume, and what is known of whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Volume {
    /// The only machine that has it. `None` = it can be reached from any.
    pub(crate) machine: Option<String>,
    /// True if it outlives its claim.
    pub(crate) retained: bool,
    /// True if the volume is gone, with its machine.
    pub(crate) lost: bool,
    /// The node whose identity it holds.
    pub(crate) node: Option<NodeId>,
}

/// The state of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Up,
    /// Nothing runs there.
    Down,
    /// What runs there runs on, but Kubernetes hears nothing of it.
    Unreachable,
}

/// A machine that pods run on.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) zone: String,
    pub(crate) standing: Standing,
}

/// The state of the process in a pod.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// On an empty volume: asks to join, and waits to be told to found.
    Blank(Option<(Token, u64)>),
    /// The node's process; the world has it.
    Member(NodeId),
    /// An image that does not run.
    Broken,
}

/// A process, whether or not its pod is still there.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) slot: String,
    pub(crate) zone: String,
    pub(crate) machine: String,
    pub(crate) volume: String,
    pub(crate) kind: Kind,
    /// When it is killed, if it was told to end.
    pub(crate) ends: Option<u64>,
    /// Whom a process without identity asks next.
    pub(crate) seed: Option<NodeId>,
    /// When the process was started.
    pub(crate) started: u64,
}

/// The Lease: which operator may act.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lease {
    pub(crate) holder: String,
    pub(crate) transitions: u64,
    pub(crate) renewed: u64,
}

/// All objects of the simulated Kubernetes, and the processes.
pub(crate) struct Kubernetes {
    pub(crate) names: Names,
    pub(crate) resource: Resource,
    pub(crate) sets: BTreeMap<String, SetObject>,
    pub(crate) pods: BTreeMap<String, PodObject>,
    pub(crate) claims: BTreeMap<String, ClaimObject>,
    pub(crate) volumes: BTreeMap<String, Volume>,
    pub(crate) machines: BTreeMap<String, Machine>,
    /// Processes, by the uid of the pod that each was started for.
    pub(crate) processes: BTreeMap<String, Process>,
    pub(crate) lease: Lease,
    /// The disruption budget: of so many pods, and whether one may be evicted. `None` = it was not written yet.
    pub(crate) budget: Option<(usize, bool)>,
    /// Of 1,000 requests, how many are refused, and of as many how many answers are lost.
    pub(crate) errors: u32,
    /// True if volumes can be reached from one machine alone.
    pub(crate) local_volumes: bool,
    serial: u64,
}

impl Kubernetes {
    pub(crate) fn new(resource: Resource, local_volumes: bool) -> Self {
        let zones = ["a", "b", "c"];
        let machine = |(zone, number): (&str, u32)| {
            (format!("{zone}{number}"), Machine { zone: zone.to_owned(), standing: Standing::Up })
        };
        let all = zones.iter().flat_map(|zone| (1..=4).map(move |number| (*zone, number)));
        Self {
            names: Names { database: "shop".to_owned(), namespace: "here".to_owned() },
            resource,
            sets: BTreeMap::new(),
            pods: BTreeMap::new(),
            claims: BTreeMap::new(),
            volumes: BTreeMap::new(),
            machines: all.map(machine).collect(),
            processes: BTreeMap::new(),
            lease: Lease::default(),
            budget: None,
            errors: 0,
            local_volumes,
            serial: 0,
        }
    }

    /// Returns a number that is never given again.
    pub(crate) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(crate) fn uid(&mut self, of: &str) -> String {
        format!("{of}/{}", self.serial())
    }

    /// The StatefulSets, as an operator lists them.
    pub(crate) fn list_sets(&self) -> BTreeMap<String, Set> {
        let set = |set: &SetObject| Set {
            uid: set.uid.clone(),
            owner: Some(RESOURCE_UID.to_owned()),
            database: Some(OURS.to_owned()),
            version: set.version.to_string(),
            zone: set.zone.clone(),
            replicas: set.replicas,
            revision: set.observed.clone().filter(|observed| *observed == set.template),
            digest: Some(set.template.clone()),
            spec: Default::default(),
            claims: ClaimTemplate { size: Some(set.claim_size.clone()), class: None, labels: None },
        };
        self.sets.iter().map(|(name, s)| (name.clone(), set(s))).collect()
    }

    /// The pods, as an operator lists them.
    pub(crate) fn list_pods(&self, now: u64) -> BTreeMap<String, Pod> {
        let pod = |pod: &PodObject| Pod {
            uid: pod.uid.clone(),
            owner: None,
            ready: pod.ready,
            leaving: pod.leaving,
            revision: Some(pod.template.clone()),
            down: if pod.ready { Duration::ZERO } else { Duration::from_micros(now.saturating_sub(pod.since)) },
            held_up: None,
            running: self.running(pod),
            host: pod.machine.clone(),
        };
        self.pods.iter().map(|(name, p)| (name.clone(), pod(p))).collect()
    }

    /// What a machine has said holds as long as it is heard of.
    fn running(&self, pod: &PodObject) -> Running {
        let machine = pod.machine.as_ref().and_then(|m| self.machines.get(m));
        match (pod.leaving, machine) {
            (_, Some(machine)) if machine.standing != Standing::Up => Running::Maybe,
            (true, _) => Running::Replaced,
            (false, _) => pod.running,
        }
    }

    /// The claims, as an operator lists them.
    pub(crate) fn list_claims(&self) -> BTreeMap<String, Claim> {
        let claim = |claim: &ClaimObject| Claim {
            uid: claim.uid.clone(),
            quarantined: claim.quarantined,
            leaving: claim.leaving,
            // By its uid alone it is told to go here.
            version: String::new(),
            retained: claim.volume.as_ref().and_then(|v| self.volumes.get(v)).is_some_and(|v| v.retained),
            volume: claim.volume.clone(),
            lost: claim.volume.as_ref().is_some_and(|v| self.is_lost(v)),
            size: Some(claim.size.clone()),
            database: Some(claim.database.to_owned()),
            // Here volumes never go with their StatefulSet, and are as large as they are asked to be.
            ..Claim::default()
        };
        self.claims.iter().map(|(name, c)| (name.clone(), claim(c))).collect()
    }

    /// True if it is certain that the volume is gone.
    pub(crate) fn is_lost(&self, volume: &str) -> bool {
        let there = self.volumes.get(volume).filter(|volume| !volume.lost || volume.machine.is_some());
        let on = there.map_or(Seen::Absent, |volume| Seen::Known(volume.machine.iter().cloned().collect()));
        // A machine that was taken away comes back under its name at times, without its volumes.
        let hosts = if there.is_some_and(|volume| volume.lost) { Seen::Absent } else { Seen::Known(()) };
        is_lost(&on, &hosts)
    }

    pub(crate) fn create_set(
        &mut self,
        zone: &str,
        replicas: u32,
        template: String,
        size: String,
    ) -> Result<(), Refused> {
        let name = self.names.set(zone);
        if self.sets.contains_key(&name) {
            return Err(Refused::Exists);
        }
        let (uid, version, zone) = (self.uid(&name), self.serial(), zone.to_owned());
        self.sets.insert(name, SetObject { uid, version, zone, replicas, template, observed: None, claim_size: size });
        Ok(())
    }

    /// Changes a StatefulSet of this version.
    pub(crate) fn change_set(
        &mut self,
        name: &str,
        version: &str,
        change: impl FnOnce(&mut SetObject),
    ) -> Result<(), Refused> {
        let next = self.serial();
        let set = self.sets.get_mut(name).ok_or(Refused::NotFound)?;
        if set.version.to_string() != version {
            return Err(Refused::Conflict);
        }
        set.version = next;
        change(set);
        Ok(())
    }

    pub(crate) fn delete_set(&mut self, name: &str, uid: &str, version: &str) -> Result<(), Refused> {
        let set = self.sets.get(name).ok_or(Refused::NotFound)?;
        same(&set.uid, Some(uid))?;
        same(&set.version.to_string(), Some(version))?;
        self.sets.remove(name);
        Ok(())
    }

    /// Tells a pod to end. `None` = whichever has the name. At once = it is forgotten, whatever runs for it.
    pub(crate) fn delete_pod(&mut self, name: &str, uid: Option<&str>, at_once: bool) -> Result<(), Refused> {
        let pod = self.pods.get_mut(name).ok_or(Refused::NotFound)?;
        same(&pod.uid, uid)?;
        pod.leaving = true;
        if at_once {
            self.pods.remove(name);
        }
        Ok(())
    }

    pub(crate) fn change_claim(
        &mut self,
        name: &str,
        uid: Option<&str>,
        change: impl FnOnce(&mut ClaimObject),
    ) -> Result<(), Refused> {
        let claim = self.claims.get_mut(name).ok_or(Refused::NotFound)?;
        same(&claim.uid, uid)?;
        change(claim);
        Ok(())
    }

    /// A claim of another database where one of these pods of a StatefulSet would have its own.
    pub(crate) fn foreign_claim(&self, set: &str, pods: std::ops::Range<u32>) -> Option<String> {
        let mut claims = pods.map(|number| self.names.claim(&format!("{set}-{number}")));
        claims.find(|claim| self.claims.get(claim).is_some_and(|c| c.database != OURS))
    }

    /// The process of a slot's present pod.
    pub(crate) fn process_of(&self, slot: &str) -> Option<&Process> {
        self.processes.get(&self.pods.get(slot)?.uid)
    }

    /// The nodes of pods that are ready: those behind the Service.
    pub(crate) fn ready_nodes(&self) -> Vec<NodeId> {
        let ready = self.pods.values().filter(|p| p.ready);
        ready.filter_map(|p| self.processes.get(&p.uid)).filter_map(Process::node).collect()
    }

    /// The nodes of all pods, ready or not: each has a name.
    pub(crate) fn named_nodes(&self) -> Vec<NodeId> {
        self.pods.values().filter_map(|p| self.processes.get(&p.uid)).filter_map(Process::node).collect()
    }
}

impl Process {
    pub(crate) fn node(&self) -> Option<NodeId> {
        match self.kind {
            Kind::Member(node) => Some(node),
            Kind::Blank(_) | Kind::Broken => None,
        }
    }
}

fn same(there: &str, asked: Option<&str>) -> Result<(), Refused> {
    if asked.is_none_or(|uid| uid == there) { Ok(()) } else { Err(Refused::Conflict) }
}
