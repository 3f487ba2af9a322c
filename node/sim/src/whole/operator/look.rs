//! The reads of a round. The resource may be an older one; everything else is read live, one kind after the other, and
//! each read may fail.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::Rng;
use skerry_api::DistributedDatabase;
use skerry_core::node::{AdminReply, AdminRequest, Status};
use skerry_operator_core::bootstrap::{self, Voice};
use skerry_operator_core::kubernetes::Cluster;
use skerry_operator_core::{Memory as Kept, Observed, Seen};

use super::super::admin::{Admin, Asked};
use super::super::bugs::OperatorBug;
use super::super::kubernetes::{Kind, OURS, RESOURCE_UID, Standing};
use super::super::place::Place;
use super::super::place::rules::Look;

/// What an operator remembers from one round to the next, if it is well: the version of the resource that it has seen.
#[derive(Default)]
pub(crate) struct Memory {
    version: u64,
    /// What it has seen itself, since it leads.
    pub(super) kept: Kept,
    /// Of bugs: what was seen long ago.
    pub(super) cluster: Option<Cluster>,
    /// Of bugs: the generation that is brought to its end.
    pub(super) pinned: Option<Box<DistributedDatabase>>,
}

/// Everything that a round is decided on.
pub(crate) struct Material {
    pub(super) resource: Box<DistributedDatabase>,
    pub(super) cluster: Cluster,
    pub(super) observed: Observed,
    pub(super) look: Look,
}

/// A look that is under way.
#[derive(Default)]
pub(crate) struct Sight {
    resource: Option<Box<DistributedDatabase>>,
    cluster: Cluster,
    /// Why the objects could not be read. `None` = no read has failed.
    failed: Option<&'static str>,
    reads: u8,
    began: u64,
    asked: Option<Asked>,
}

impl Sight {
    /// Makes the next read. `Err` = all is read.
    pub(super) fn go_on(
        mut self: Box<Self>,
        admin: &mut Admin,
        memory: &mut Memory,
        place: &mut Place,
    ) -> Result<Box<Self>, Box<Material>> {
        self.reads += 1;
        let failed = place.fails();
        let now = place.world.time;
        match self.reads {
            1 => {
                self.began = now;
                self.resource = read_resource(memory, place);
            }
            2 if !failed => self.cluster.sets = place.kube.list_sets(),
            3 if !failed => self.cluster.pods = place.kube.list_pods(now),
            4 if !failed => self.read_claims(place),
            2..=4 => self.failed = Some("the API server fails"),
            _ => {
                if let Some(database) = self.ask(admin, place) {
                    return Err(Box::new(self.seen(database, memory, place)));
                }
            }
        }
        Ok(self)
    }

    fn read_claims(&mut self, place: &Place) {
        self.cluster.claims = place.kube.list_claims();
        if place.has(OperatorBug::SilenceIsLoss) {
            for claim in self.cluster.claims.values_mut() {
                let volume = claim.volume.as_ref().and_then(|v| place.kube.volumes.get(v));
                let machine = volume.and_then(|v| place.kube.machines.get(v.machine.as_ref()?));
                claim.lost |= machine.is_some_and(|m| m.standing != Standing::Up);
            }
        }
    }

    fn is_founded(&self) -> bool {
        self.resource.as_ref().and_then(|r| r.status.as_ref()).is_some_and(|s| s.founded)
    }

    /// What the database says. `None` = not yet.
    fn ask(&mut self, admin: &mut Admin, place: &mut Place) -> Option<(Seen<Status>, Option<String>)> {
        if let Some(asked) = &mut self.asked {
            return Some(match admin.hear(asked, place)? {
                Ok(AdminReply::Status(status)) => (Seen::Known(*status), None),
                Ok(_) => (Seen::Unknown("not a status".to_owned()), None),
                Err(why) => (Seen::Unknown(why), None),
            });
        }
        let slots = self.cluster.slots(&place.kube.names);
        if !self.is_founded() {
            let unanswered = place.fails();
            let voice = |slot: &String| match place.kube.process_of(slot).map(|p| &p.kind).filter(|_| !unanswered) {
                Some(Kind::Blank(_)) => Voice::Blank,
                Some(Kind::Member(_)) => Voice::Member,
                Some(Kind::Broken) | None => Voice::Silent(format!("{slot} is silent")),
            };
            let voices: Vec<_> =
                slots.keys().take(bootstrap::ASKED_MAX).map(|slot| (slot.clone(), voice(slot))).collect();
            if let Some(seen) = bootstrap::before_founding(&voices) {
                return Some(seen);
            }
        }
        if slots.is_empty() {
            return Some((Seen::Unknown("it has no nodes now".to_owned()), None));
        }
        self.asked = Some(admin.ask(AdminRequest::Status, place));
        None
    }

    fn seen(
        self,
        (database, blank): (Seen<Status>, Option<String>),
        memory: &mut Memory,
        place: &mut Place,
    ) -> Material {
        let resource = self.resource.unwrap_or_else(|| Box::new(place.kube.resource.now().clone()));
        let status = resource.status.clone().unwrap_or_default();
        let mut cluster = self.cluster;
        if !place.has(OperatorBug::TakesAnothersClaim) {
            cluster = cluster.only_of(RESOURCE_UID, OURS);
        }
        if place.has(OperatorBug::DeletedByName) {
            let anew = place.world.rng.random_bool(0.3);
            let old = memory.cluster.take().filter(|_| !anew);
            cluster = old.unwrap_or(cluster);
            memory.cluster = Some(cluster.clone());
        }
        let slots = match self.failed {
            None => Seen::Known(cluster.slots(&place.kube.names)),
            Some(why) => Seen::Unknown(why.to_owned()),
        };
        let mut observed = Observed { slots, database, blank, ..Observed::kept_by(status, place.wall_clock()) };
        memory.kept.look(&resource, &mut observed, Duration::from_micros(self.began));
        let look = Look { began: self.began, heard: observed.database.known().is_some() };
        Material { resource, cluster, observed, look }
    }
}

/// The resource as its watch has brought it: maybe an older one, but never older than the last.
fn read_resource(memory: &mut Memory, place: &mut Place) -> Option<Box<DistributedDatabase>> {
    let lag = if place.lag_max == 0 { 0 } else { place.world.rng.random_range(0..place.lag_max) };
    let version = |database: &DistributedDatabase| {
        database.metadata.resource_version.as_ref().and_then(|v| v.parse::<u64>().ok()).unwrap_or(0)
    };
    let then = place.kube.resource.then(place.world.time.saturating_sub(lag)).clone();
    let read = if version(&then) < memory.version { place.kube.resource.now().clone() } else { then };
    memory.version = version(&read);
    Some(Box::new(read))
}

/// Objects by name, for bugs that mix old and new.
pub(super) fn versions(cluster: &Cluster) -> Vec<(String, String)> {
    let sets: &BTreeMap<_, _> = &cluster.sets;
    sets.values().map(|set| (set.zone.clone(), set.version.clone())).collect()
}
