//! What goes wrong around the database: machines, pods, operators, the API server, and now and then an edit. What goes
//! wrong inside is as where the database runs alone.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;
use rand::Rng;
use rand::seq::{IndexedMutRandom, IndexedRandom};
use skerry_core::ids::NodeId;

use super::edits::SILENT_SECONDS;
use super::edits::{Edits, told};
use super::kubernetes::{ClaimObject, Kubernetes, OURS, Process, Standing};
use super::operator::Operator;
use super::place::Place;
use super::rest;
use crate::faults::{hand_over, is_expendable, pause};
use crate::host::Host;
use crate::world::{MILLISECOND, SECOND, World};

/// Brings about the faults of a run of the whole system.
pub(crate) struct Faults {
    pub(crate) edits: Edits,
    /// Machines that come back, and when.
    away: Vec<(u64, String)>,
    /// One loss of data in a run: a second one could be of what the first has left.
    has_lost: bool,
    /// A machine that never comes back, and is still listed.
    dead: Option<String>,
}

impl Faults {
    pub(crate) fn new(edits: Edits) -> Self {
        Self { edits, away: Vec::new(), has_lost: false, dead: None }
    }

    /// The next one; gives the time until the one after it.
    pub(crate) fn wake(&mut self, operators: &mut [Operator], place: &mut Place) -> u64 {
        self.return_machines(place, false);
        let now = place.world.time;
        match place.world.rng.random_range(0..100) {
            0..25 => {
                self.edits.edit(&mut place.kube.resource, now, &mut place.world.rng);
                tell_spec(place);
            }
            25..45 => inside(&mut place.world),
            45..60 => disturb_operator(operators, place),
            60..68 => place.kube.errors = if place.kube.errors == 0 { 150 } else { 0 },
            68..73 => end_pod(place),
            73..75 => leave_foreign_claim(place),
            75..90 => self.take_machine(place),
            90..97 => self.lose_machine(place),
            97..99 => jump_wall_clock(place),
            _ => forge_removals(place),
        }
        place.world.rng.random_range(100 * MILLISECOND..1_500 * MILLISECOND)
    }

    /// All is well from now on.
    pub(crate) fn end(&mut self, operators: &mut [Operator], place: &mut Place) {
        self.return_machines(place, true);
        operators.iter_mut().for_each(|o| o.idle_until = 0);
        (place.kube.errors, place.late, place.lag_max) = (0, 0, 100 * MILLISECOND);
        place.kube.claims.retain(|_, claim| claim.database == OURS);
        place.world.network.heal();
        place.world.disk_max = 2 * MILLISECOND;
        let now = place.world.time;
        self.edits.last(&mut place.kube.resource, now, &mut place.world.rng);
        self.replace_dead(place);
        place.world.mark("faults are over");
        tell_spec(place);
    }

    /// Where silence is not enough for a node to be replaced, a person says so.
    fn replace_dead(&mut self, place: &mut Place) {
        let Some(dead) = &self.dead else { return };
        let (now, by_hand) = (place.world.time, place.world.rng.random_bool(0.5));
        let wanted = rest::wanted(place).unwrap_or_default();
        let (resource, pods) = (&mut place.kube.resource, &place.kube.pods);
        if resource.now().spec.replace_silent_after_seconds.is_some() {
            return;
        }
        match pods.iter().find(|(slot, pod)| pod.machine.as_ref() == Some(dead) && wanted.contains_key(*slot)) {
            Some((slot, _)) if by_hand => resource.replace(now, slot),
            _ => resource.edit(now, |spec| spec.replace_silent_after_seconds = Some(SILENT_SECONDS)),
        }
    }

    /// A machine stops for good, and nobody says so: it is listed for ever.
    fn let_die(&mut self, name: String, on_it: &[NodeId], place: &mut Place) {
        place.world.mark(&format!("{name} is dead with {on_it:?}, and stays listed"));
        place.kube.machines.entry(name.clone()).and_modify(|m| m.standing = Standing::Down);
        for node in on_it {
            place.world.hosts.get_mut(node).into_iter().for_each(|host| host.gone = true);
        }
        self.dead = Some(name);
    }

    fn return_machines(&mut self, place: &mut Place, all: bool) {
        let now = place.world.time;
        let (back, away) = std::mem::take(&mut self.away).into_iter().partition(|(at, _)| all || *at <= now);
        self.away = away;
        for (_, name) in <Vec<(u64, String)>>::into_iter(back) {
            place.world.mark(&format!("{name} is back"));
            place.kube.machines.entry(name).and_modify(|m| m.standing = Standing::Up);
        }
    }

    /// A machine stops, or is not heard of, for some time.
    fn take_machine(&mut self, place: &mut Place) {
        let now = place.world.time;
        let Some(name) = used_machine(place) else { return };
        let stops = place.world.rng.random_bool(0.6);
        let standing = if stops { Standing::Down } else { Standing::Unreachable };
        place.world.mark(&format!("{name} is {standing:?}"));
        place.kube.machines.entry(name.clone()).and_modify(|m| m.standing = standing);
        if stops {
            kill(&name, &mut place.kube, &mut place.world);
        }
        let back = now + place.world.rng.random_range(500 * MILLISECOND..6 * SECOND);
        self.away.push((back, name));
    }

    /// A machine goes for good, with its volumes.
    fn lose_machine(&mut self, place: &mut Place) {
        let Some(name) = used_machine(place) else { return };
        let dies = place.world.rng.random_bool(0.4);
        let on_it: Vec<NodeId> = if dies { run_on(&name, &place.kube) } else { nodes_on(&name, &place.kube) };
        let up = |node: &NodeId| place.world.hosts.get(node).is_some_and(Host::is_up);
        let expendable = on_it.len() < 2 && on_it.iter().all(|node| up(node) && is_expendable(*node, &place.world));
        if self.has_lost || self.edits.copies_min < 3 || !expendable {
            return self.take_machine(place);
        }
        self.has_lost = true;
        kill(&name, &mut place.kube, &mut place.world);
        if dies && !on_it.is_empty() {
            return self.let_die(name, &on_it, place);
        }
        place.kube.machines.remove(&name);
        place.world.mark(&format!("{name} is lost with {on_it:?}"));
        for volume in place.kube.volumes.values_mut().filter(|v| v.machine.as_ref() == Some(&name)) {
            volume.lost = true;
            let host = volume.node.and_then(|node| place.world.hosts.get_mut(&node));
            host.into_iter().for_each(|h| h.gone = true);
        }
    }
}

/// The nodes that run on this machine, or whose data is on it alone.
fn run_on(machine: &str, kube: &Kubernetes) -> Vec<NodeId> {
    let running = kube.processes.values().filter(|p| p.machine == machine).filter_map(Process::node);
    let all: BTreeSet<NodeId> = running.chain(nodes_on(machine, kube)).collect();
    all.into_iter().collect()
}

fn tell_spec(place: &mut Place) {
    let spec = told(&place.kube.resource.now().spec);
    place.world.mark(&spec);
}

/// The nodes whose data is on this machine alone.
fn nodes_on(machine: &str, kube: &Kubernetes) -> Vec<NodeId> {
    kube.volumes.values().filter(|v| v.machine.as_deref() == Some(machine)).filter_map(|v| v.node).collect()
}

fn used_machine(place: &mut Place) -> Option<String> {
    let used = |(name, m): &(&String, &super::kubernetes::Machine)| {
        m.standing == Standing::Up && place.kube.processes.values().any(|p| p.machine == **name)
    };
    let used: Vec<String> = place.kube.machines.iter().filter(used).map(|(name, _)| name.clone()).collect();
    used.choose(&mut place.world.rng).cloned()
}

fn kill(machine: &str, kube: &mut Kubernetes, world: &mut World) {
    for process in kube.processes.values().filter(|p| p.machine == machine) {
        process.node().into_iter().for_each(|node| world.crash(node));
    }
    kube.processes.retain(|_, p| p.machine != machine);
}

fn disturb_operator(operators: &mut [Operator], place: &mut Place) {
    let (now, rng) = (place.world.time, &mut place.world.rng);
    let until = now + rng.random_range(200 * MILLISECOND..5 * SECOND);
    let Some(operator) = operators.choose_mut(rng) else { return };
    let dies = rng.random_bool(0.5);
    if dies {
        operator.crash(until);
    } else {
        operator.idle_until = until;
    }
    place.world.mark(&format!("an operator {}", if dies { "dies" } else { "stands still" }));
}

/// A pod is evicted, if all are ready, or deleted by force, whatever runs for it.
fn end_pod(place: &mut Place) {
    let (pods, rng) = (&mut place.kube.pods, &mut place.world.rng);
    let names: Vec<String> = pods.keys().cloned().collect();
    let Some(name) = names.choose(rng) else { return };
    if rng.random_bool(0.5) {
        pods.remove(name);
        place.world.mark(&format!("{name} is deleted by force"));
    } else if pods.values().all(|p| p.ready) {
        pods.entry(name.clone()).and_modify(|p| p.leaving = true);
    }
}

/// Another database, whose names meet this one's, has left a claim where the next pod of a zone would have its own.
fn leave_foreign_claim(place: &mut Place) {
    let kube = &mut place.kube;
    let zone = *["", "a", "b", "c"].choose(&mut place.world.rng).unwrap_or(&"");
    let set = kube.names.set(zone);
    let slot = format!("{set}-{}", kube.sets.get(&set).map_or(0, |set| set.replicas));
    let claim = kube.names.claim(&slot);
    if kube.claims.contains_key(&claim) || kube.pods.contains_key(&slot) {
        return;
    }
    let (uid, volume) = (kube.uid(&claim), Some(format!("of-{slot}")));
    let (size, quarantined, leaving, database) = ("10Gi".to_owned(), true, false, "another");
    kube.claims.insert(claim, ClaimObject { uid, size, quarantined, leaving, volume, database });
    place.world.mark(&format!("another database has left the claim of {slot}"));
}

/// The wall clock by which operators write is wrong from now on, by up to hours, either way.
fn jump_wall_clock(place: &mut Place) {
    place.wall_error = place.world.rng.random_range(-10_000..10_000);
    place.world.mark(&format!("the operators' wall clock is wrong by {} s", place.wall_error));
}

/// The status is of another time, as after a restore: tables that are to go are said to have been so for long.
fn forge_removals(place: &mut Place) {
    let resource = place.kube.resource.now().clone();
    let mut status = resource.status.clone().unwrap_or_default();
    for removal in &mut status.table_removals {
        removal.since = Time(removal.since.0 - SignedDuration::from_hours(1));
    }
    let (now, forged) = (place.world.time, !status.table_removals.is_empty());
    if forged && place.kube.resource.write_status(now, &resource, status).is_ok() {
        place.world.mark("the status says that tables have been to go for an hour");
    }
}

/// What goes wrong with nodes and between them.
fn inside(world: &mut World) {
    let hosts = world.up();
    let Some(&host) = hosts.choose(&mut world.rng) else { return };
    match world.rng.random_range(0..8) {
        0 => world.crash(host),
        1 => pause(host, world),
        2 => hand_over(&hosts, world),
        3 => world.network.part(&hosts, &mut world.rng),
        4 => {
            world.network.loss = world.rng.random_range(0..100);
            world.network.delay_max = world.rng.random_range(MILLISECOND..150 * MILLISECOND);
        }
        5 => world.network.heal(),
        6 => world.disk_max = world.rng.random_range(MILLISECOND..200 * MILLISECOND),
        _ => {
            let jump = world.rng.random_range(-300..300);
            world.hosts.get_mut(&host).into_iter().for_each(|h| h.jump(jump));
        }
    }
}
