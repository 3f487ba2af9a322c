//! What Kubernetes' controllers make of the objects, each in its own time: pods and claims of StatefulSets, places for
//! pods, volumes for claims, and the end of what was told to end.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use skerry_operator_core::Running;

use super::kubernetes::{ClaimObject, Kubernetes, OURS, PodObject, Standing, Volume};
use super::place::rules::Rules;
use crate::world::World;

/// Something that a controller may do at a look has come to it by now.
fn due(rng: &mut ChaCha8Rng) -> bool {
    rng.random_bool(0.5)
}

/// One look of all Kubernetes controllers.
pub(super) fn look(kube: &mut Kubernetes, rules: &mut Rules, world: &mut World) {
    let now = world.time;
    see_templates(kube, &mut world.rng);
    fill_sets(kube, now, &mut world.rng);
    trim_sets(kube, &mut world.rng);
    place_pods(kube, &mut world.rng);
    forget_pods(kube, now, &mut world.rng);
    end_claims(kube, rules, world);
}

fn see_templates(kube: &mut Kubernetes, rng: &mut ChaCha8Rng) {
    for set in kube.sets.values_mut() {
        if set.observed.as_ref() != Some(&set.template) && due(rng) {
            set.observed = Some(set.template.clone());
        }
    }
}

/// Makes the claims and pods that the StatefulSets lack.
fn fill_sets(kube: &mut Kubernetes, now: u64, rng: &mut ChaCha8Rng) {
    let sets: Vec<_> = kube.sets.iter().map(|(name, set)| (name.clone(), set.clone())).collect();
    for (name, set) in sets {
        let Some(template) = set.observed.clone() else { continue };
        for slot in (0..set.replicas).map(|i| format!("{name}-{i}")) {
            if kube.pods.contains_key(&slot) || !due(rng) {
                continue;
            }
            let claim = kube.names.claim(&slot);
            match kube.claims.get(&claim) {
                None => {
                    let (uid, size) = (kube.uid(&claim), set.claim_size.clone());
                    let (quarantined, leaving, volume, database) = (false, false, None, OURS);
                    let made = ClaimObject { uid, size, quarantined, leaving, volume, database };
                    kube.claims.insert(claim, made);
                }
                // No pod is made for a claim that is about to go.
                Some(claim) if claim.leaving => {}
                Some(_) => {
                    let (uid, zone) = (kube.uid(&slot), set.zone.clone());
                    let (template, machine, running) = (template.clone(), None, Running::Maybe);
                    let (leaving, ready, since) = (false, false, now);
                    let pod = PodObject { uid, zone, template, machine, leaving, ready, since, running };
                    kube.pods.insert(slot, pod);
                }
            }
        }
    }
}

/// Ends pods that are too many, and those of StatefulSets that are gone.
fn trim_sets(kube: &mut Kubernetes, rng: &mut ChaCha8Rng) {
    for (slot, pod) in &mut kube.pods {
        let Some((set, number)) = slot.rsplit_once('-') else { continue };
        let wanted = kube.sets.get(set).is_some_and(|s| number.parse::<u32>().is_ok_and(|n| n < s.replicas));
        if !wanted && !pod.leaving && due(rng) {
            pod.leaving = true;
        }
    }
}

/// Binds claims, and gives pods their machines. A claim sticks to the machine of its volume.
fn place_pods(kube: &mut Kubernetes, rng: &mut ChaCha8Rng) {
    let waiting: Vec<_> =
        kube.pods.iter().filter(|(_, p)| p.machine.is_none() && !p.leaving).map(|(s, _)| s.clone()).collect();
    for slot in waiting {
        let Some(claim) = kube.claims.get(&kube.names.claim(&slot)).filter(|c| !c.leaving).cloned() else { continue };
        let bound = claim.volume.as_ref().map(|v| kube.volumes.get(v).cloned());
        let only = match bound {
            Some(None) => continue,
            Some(Some(volume)) if volume.lost => continue,
            Some(Some(volume)) => volume.machine,
            None => None,
        };
        if !due(rng) {
            continue;
        }
        let chosen = choose(kube, &slot, only.as_deref(), rng);
        let running = if chosen.is_some() { Running::Maybe } else { Running::Unplaced };
        kube.pods.entry(slot.clone()).and_modify(|p| p.running = running);
        let Some(machine) = chosen else { continue };
        if claim.volume.is_none() {
            let name = format!("v{}", kube.serial());
            let machine = kube.local_volumes.then(|| machine.clone());
            kube.volumes.insert(name.clone(), Volume { machine, retained: false, lost: false, node: None });
            kube.claims.entry(kube.names.claim(&slot)).and_modify(|c| c.volume = Some(name));
        }
        kube.pods.entry(slot).and_modify(|p| p.machine = Some(machine));
    }
}

fn choose(kube: &Kubernetes, slot: &str, only: Option<&str>, rng: &mut ChaCha8Rng) -> Option<String> {
    let zone = &kube.pods.get(slot)?.zone;
    let fits = |(name, m): &(&String, &super::kubernetes::Machine)| {
        m.standing == Standing::Up && (zone.is_empty() || m.zone == *zone) && only.is_none_or(|only| only == *name)
    };
    let load = |name: &String| kube.pods.values().filter(|p| p.machine.as_ref() == Some(name)).count();
    let fitting: Vec<_> = kube.machines.iter().filter(fits).map(|(name, _)| name).collect();
    let least = fitting.iter().map(|name| load(name)).min()?;
    let best: Vec<_> = fitting.into_iter().filter(|name| load(name) == least).collect();
    best.get(rng.random_range(0..best.len())).map(|name| (*name).clone())
}

/// Pods of machines that are gone go too; those of machines that are silent are not ready.
fn forget_pods(kube: &mut Kubernetes, now: u64, rng: &mut ChaCha8Rng) {
    let machines = &kube.machines;
    kube.pods.retain(|_, pod| match &pod.machine {
        Some(machine) if !machines.contains_key(machine) => !due(rng),
        Some(_) => true,
        None => !pod.leaving,
    });
    for pod in kube.pods.values_mut().filter(|p| p.ready) {
        let standing = pod.machine.as_ref().and_then(|m| machines.get(m)).map(|m| m.standing);
        // A silent machine is noticed only after some time.
        if standing != Some(Standing::Up) && rng.random_bool(0.1) {
            (pod.ready, pod.since) = (false, now);
        }
    }
}

/// A claim that was told to end goes when no pod has it, and its volume with it, unless that is retained.
fn end_claims(kube: &mut Kubernetes, rules: &mut Rules, world: &mut World) {
    let over = |(name, claim): &(&String, &ClaimObject)| {
        let slot = name.strip_prefix("data-").unwrap_or_default();
        claim.leaving && !kube.pods.contains_key(slot)
    };
    let over: Vec<_> =
        kube.claims.iter().filter(over).map(|(name, claim)| (name.clone(), claim.volume.clone())).collect();
    for (name, volume) in over {
        if !due(&mut world.rng) {
            continue;
        }
        kube.claims.remove(&name);
        let Some(volume) = volume else { continue };
        if kube.volumes.get(&volume).is_some_and(|v| !v.retained) {
            rules.volume_deleted(&volume, kube, world);
            if let Some(node) = kube.volumes.remove(&volume).and_then(|v| v.node) {
                world.crash(node);
                world.hosts.get_mut(&node).into_iter().for_each(|h| h.gone = true);
            }
        }
    }
}
