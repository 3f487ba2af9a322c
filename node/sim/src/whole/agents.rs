//! The agents on the machines: they start and end the processes of pods, and say which are ready. Here too processes on
//! empty volumes get their identity.

use std::collections::BTreeSet;

use rand::Rng;
use rand::seq::IndexedRandom;
use skerry_core::ids::NodeId;
use skerry_core::level::FormatLevel;
use skerry_core::map::NodeState;
use skerry_core::node::{AdminRefusal, AdminReply, AdminRequest, Answer, Input, bootstrap};
use skerry_core::system::{NewNode, SystemCommand, SystemReply};
use skerry_operator_core::Running;

use super::kubernetes::{Kind, Kubernetes, Process, Standing};
use super::resource::is_broken;
use crate::host::{Host, cluster};
use crate::world::{Event, MILLISECOND, SECOND, World};

/// How long a process that asks to join waits for an answer.
const JOIN_TIMEOUT: u64 = SECOND;

/// One look of the agents of all machines: they end processes and start them.
pub(super) fn look(kube: &mut Kubernetes, world: &mut World) {
    end_processes(kube, world);
    start_processes(kube, world);
    for uid in kube.processes.keys().cloned().collect::<Vec<_>>() {
        if let Some(mut process) = kube.processes.remove(&uid) {
            live(&mut process, kube, world);
            kube.processes.insert(uid, process);
        }
    }
    probe(kube, world);
}

fn is_up(kube: &Kubernetes, machine: &str) -> bool {
    kube.machines.get(machine).is_some_and(|m| m.standing == Standing::Up)
}

/// What runs for a pod that is leaving or gone is told to end, and killed if it takes its time.
fn end_processes(kube: &mut Kubernetes, world: &mut World) {
    let now = world.time;
    let staying: BTreeSet<&String> = kube.pods.values().filter(|p| !p.leaving).map(|p| &p.uid).collect();
    let over = |(uid, process): &(&String, &Process)| !staying.contains(uid) && is_up(kube, &process.machine);
    let over: Vec<String> = kube.processes.iter().filter(over).map(|(uid, _)| uid.clone()).collect();
    for uid in over {
        let Some(process) = kube.processes.get_mut(&uid) else { continue };
        match process.ends {
            None => {
                process.ends = Some(now + world.rng.random_range(100 * MILLISECOND..SECOND));
                if let Some(host) = process.node() {
                    world.after(MILLISECOND, Event::Request { host, input: Input::StepAside });
                }
            }
            Some(ends) if now >= ends => {
                process.node().into_iter().for_each(|node| world.crash(node));
                kube.processes.remove(&uid);
            }
            Some(_) => {}
        }
    }
    let ended = |uid: &String| !kube.processes.contains_key(uid);
    let machines = &kube.machines;
    let up = |machine: &String| machines.get(machine).is_some_and(|m| m.standing == Standing::Up);
    kube.pods.retain(|_, pod| !(pod.leaving && ended(&pod.uid) && pod.machine.as_ref().is_some_and(up)));
}

fn start_processes(kube: &mut Kubernetes, world: &mut World) {
    for (slot, pod) in kube.pods.clone() {
        let Some(machine) = pod.machine.filter(|m| is_up(kube, m)) else { continue };
        if pod.leaving || kube.processes.contains_key(&pod.uid) || !world.rng.random_bool(0.4) {
            continue;
        }
        let claim = kube.claims.get(&kube.names.claim(&slot));
        let Some(volume) = claim.and_then(|c| c.volume.clone()) else { continue };
        take_from_silent(&volume, kube, world);
        let taken = kube.processes.values().any(|p| p.volume == volume);
        let Some(there) = kube.volumes.get(&volume).filter(|v| !v.lost && !taken) else { continue };
        let kind = match there.node {
            _ if is_broken(&pod.template) => Kind::Broken,
            Some(node) => {
                world.start(node, BTreeSet::new());
                Kind::Member(node)
            }
            None => Kind::Blank(None),
        };
        let process =
            Process { slot, zone: pod.zone, machine, volume, kind, ends: None, seed: None, started: world.time };
        kube.processes.insert(pod.uid, process);
    }
}

/// A volume that can be reached from any machine is, in the end, taken from one that is not heard of, whatever still
/// runs there.
fn take_from_silent(volume: &str, kube: &mut Kubernetes, world: &mut World) {
    let holds = |(_, process): &(&String, &Process)| process.volume == volume;
    let Some((uid, process)) = kube.processes.iter().find(holds) else { return };
    let silent = kube.machines.get(&process.machine).is_some_and(|m| m.standing == Standing::Unreachable);
    let (uid, node) = (uid.clone(), process.node());
    if silent && !kube.local_volumes && world.rng.random_bool(0.1) {
        kube.processes.remove(&uid);
        world.mark(&format!("{volume} is taken away from {node:?}"));
        let ends = world.time + world.rng.random_range(SECOND..8 * SECOND);
        node.into_iter().for_each(|node| world.take_volume_away(node, ends));
    }
}

/// A process that died is started again; one without identity goes on asking for one.
fn live(process: &mut Process, kube: &mut Kubernetes, world: &mut World) {
    if process.ends.is_some() {
        return;
    }
    match &process.kind {
        Kind::Member(node) => {
            let died = world.hosts.get(node).is_some_and(|h| !h.is_up() && !h.gone);
            if died && is_up(kube, &process.machine) && world.rng.random_bool(0.15) {
                world.start(*node, BTreeSet::new());
            }
        }
        Kind::Blank(asked) => join(*asked, process, kube, world),
        Kind::Broken => {}
    }
}

fn join(
    asked: Option<(skerry_core::ids::Token, u64)>,
    process: &mut Process,
    kube: &mut Kubernetes,
    world: &mut World,
) {
    if let Some((token, sent)) = asked {
        match world.answers.remove(&token) {
            Some(Answer::Admin(Ok(AdminReply::Command(SystemReply::Joined(node))))) => {
                process.kind = Kind::Member(node);
                kube.volumes.entry(process.volume.clone()).and_modify(|v| v.node = Some(node));
                return become_node(node, new_node(process, kube), world);
            }
            Some(Answer::Admin(Err(AdminRefusal::NotLeader { leader }))) => process.seed = leader,
            None if world.time < sent + JOIN_TIMEOUT => return,
            Some(_) | None => process.seed = None,
        }
        process.kind = Kind::Blank(None);
    }
    let seeds = kube.ready_nodes();
    let Some(host) = process.seed.filter(|s| seeds.contains(s)).or(seeds.choose(&mut world.rng).copied()) else {
        return;
    };
    let token = world.token();
    let join = SystemCommand::JoinAt { node: new_node(process, kube), level: FormatLevel::NEWEST };
    let request = AdminRequest::Command(join);
    let delay = world.rng.random_range(100..20 * MILLISECOND);
    world.after(delay, Event::Request { host, input: Input::Admin { token, request: Box::new(request) } });
    process.kind = Kind::Blank(Some((token, world.time)));
}

fn new_node(process: &Process, kube: &Kubernetes) -> NewNode {
    NewNode { volume: process.volume.clone(), address: kube.names.address(&process.slot), zone: process.zone.clone() }
}

fn become_node(node: NodeId, new: NewNode, world: &mut World) {
    let seeds = world.hosts.values().map(Host::record).collect();
    let host = Host::new(node, new, seeds, (&world.setting, &mut world.rng));
    assert!(world.hosts.insert(node, host).is_none(), "an id is given once");
    world.start(node, BTreeSet::new());
}

/// The founding call on the node of this address. Made again, it is answered as if it had just been done.
pub(super) fn found(address: &str, kube: &mut Kubernetes, world: &mut World) -> Result<(), String> {
    let first = NodeId(1);
    let here = |(slot, pod): (&String, &super::kubernetes::PodObject)| {
        (kube.names.address(slot) == address).then(|| pod.uid.clone())
    };
    let uid = kube.pods.iter().find_map(here).ok_or("nobody is there")?;
    let mut process = kube.processes.remove(&uid).ok_or("it does not run")?;
    let answer = match process.kind {
        Kind::Member(node) if node == first => Ok(()),
        Kind::Blank(_) if kube.ready_nodes().is_empty() => {
            process.kind = Kind::Member(first);
            kube.volumes.entry(process.volume.clone()).and_modify(|v| v.node = Some(first));
            let new = new_node(&process, kube);
            let host = Host::new(first, new.clone(), Vec::new(), (&world.setting, &mut world.rng));
            bootstrap(cluster(), &new, &host.engine).expect("a store in memory never fails");
            host.engine.finish_sync(u64::MAX);
            if world.hosts.insert(first, host).is_some() {
                world.checker.broken.push("the database was founded twice".to_owned());
            }
            world.start(first, BTreeSet::new());
            Ok(())
        }
        Kind::Blank(_) => Err("there is a database".to_owned()),
        Kind::Member(node) => Err(format!("it is {node}")),
        Kind::Broken => Err("it does not run".to_owned()),
    };
    kube.processes.insert(uid, process);
    answer
}

/// A node is ready when it has a map and is in it.
fn probe(kube: &mut Kubernetes, world: &mut World) {
    let serves = |uid: &String| {
        let node = kube.processes.get(uid).filter(|p| p.ends.is_none()).and_then(Process::node)?;
        let host = world.hosts.get(&node).filter(|h| h.paused_until <= world.time)?;
        let map = host.node.as_ref()?.map();
        Some(map.nodes.get(&node).is_some_and(|n| n.state != NodeState::Removed) && map.epoch.0 > 0)
    };
    for pod in kube.pods.values_mut() {
        let standing = pod.machine.as_ref().and_then(|m| kube.machines.get(m)).map(|m| m.standing);
        let ready = serves(&pod.uid).unwrap_or(false);
        if standing == Some(Standing::Up) && ready != pod.ready && world.rng.random_bool(0.5) {
            (pod.ready, pod.since) = (ready, world.time);
        }
        let is_broken = matches!(kube.processes.get(&pod.uid), Some(Process { kind: Kind::Broken, .. }));
        if standing == Some(Standing::Up) && is_broken && world.rng.random_bool(0.5) {
            pod.running = Running::Failing;
        }
    }
}
