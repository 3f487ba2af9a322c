//! When the system is at rest: the newest spec is carried out, as Kubernetes, the database and the status all say; or the
//! status says what holds it.

use std::collections::BTreeMap;

use skerry_operator_core::{Environment, condition, desired_slots, stopped, validate};

use super::place::Place;
use super::resource::template;
use crate::run::restless;

/// What a status may say that holds a spec up for good.
const HELD: [&str; 5] = ["Invalid", "NoPlacement", "Paused", "OtherFragmentation", "ApprovalAwaited"];

/// Carried out. What is not is told.
pub(super) fn settled(place: &Place) -> Result<(), String> {
    is_true("Ready", place).map_err(|why| format!("not ready: {why}"))?;
    let resource = place.kube.resource.now();
    let (pods, wanted) = (&place.kube.pods, wanted(place)?);
    if !wanted.keys().eq(pods.keys()) {
        return Err(format!("there are pods {:?}, wanted are {:?}", pods.keys(), wanted.keys()));
    }
    let template = template(resource);
    if let Some((slot, _)) = pods.iter().find(|(_, pod)| !pod.ready || pod.template != template) {
        return Err(format!("{slot} is not ready, or outdated"));
    }
    restless(&place.world).map_or(Ok(()), Err)
}

/// The slots of the newest spec, and their zones.
pub(super) fn wanted(place: &Place) -> Result<BTreeMap<String, String>, String> {
    let validated = validate(place.kube.resource.now(), &Environment::default()).map_err(|why| why.to_string())?;
    let in_zone = |zone: &str| {
        let set = place.kube.names.set(zone);
        place.kube.pods.keys().filter(|pod| pod.rsplit_once('-').is_some_and(|(of, _)| of == set)).count()
    };
    let there = ["a", "b", "c"].into_iter().map(|zone| (zone.to_owned(), in_zone(zone))).collect();
    Ok(desired_slots(&validated, &there))
}

/// Carried out, or held up by what is told.
pub(super) fn settled_or_told(place: &Place) -> Result<(), String> {
    let resource = place.kube.resource.now();
    let status = resource.status.as_ref().filter(|status| status.observed_generation == resource.metadata.generation);
    match status.and_then(|status| stopped(&status.conditions)) {
        Some(reason) if HELD.contains(&reason) => Ok(()),
        _ => settled(place),
    }
}

/// The reason of a condition that is true of the newest generation.
fn is_true(type_: &str, place: &Place) -> Result<String, String> {
    let resource = place.kube.resource.now();
    let conditions = resource.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let there = condition(conditions, type_).ok_or("the status has no conditions")?;
    if there.observed_generation != resource.metadata.generation {
        return Err(format!("{type_} is of an older generation"));
    }
    if there.status == "True" {
        Ok(there.reason.clone())
    } else {
        let blocked = resource.status.as_ref().map(|s| &s.blocked_by);
        Err(format!("{}: {}; {blocked:?}", there.reason, there.message))
    }
}
