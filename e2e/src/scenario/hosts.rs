//! Hosts: which run what, and how a scenario's traces are removed.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::OPERATOR_NAMESPACE;
use super::await_condition::{await_condition, once};
use super::kube::{DATABASE, Kube};
use super::stage::{LONG, Setup};
use super::value::{is_true, name, text};
use super::{objects, operator};
use crate::lab::{Host, Lab};

/// A deleted database takes its pods with it; a namespace is gone after that.
const GONE_WITHIN: Duration = Duration::from_secs(180);

/// Waits until Kubernetes knows that a host is down.
pub(super) fn await_down(kube: &Kube<'_>, host: &str) -> Result<()> {
    await_condition(&format!("{host} to be known as down"), LONG, || {
        let node = kube.get_known("node", host)?;
        Ok(once(!is_true(&node, "Ready"), "Ready"))
    })
}

/// The zone that a host is in.
pub(super) fn zone_of<'l>(lab: &'l Lab, host: &str) -> Result<&'l str> {
    let found = lab.hosts().iter().find(|h| h.name == host);
    found.map(|h| h.zone.as_str()).with_context(|| format!("{host} is none of the lab's hosts"))
}

/// The hosts that are in a zone.
pub(super) fn of_zone<'l>(lab: &'l Lab, zone: &'l str) -> impl Iterator<Item = &'l Host> {
    lab.hosts().iter().filter(move |h| h.zone == zone)
}

/// Mends what a scenario may have left: hosts that are down, cut off, full or closed, a storage class that lets volumes grow, an
/// operator that is gone.
pub fn mend(lab: &Lab, setup: &Setup) -> Result<()> {
    let kube = Kube::new(lab, OPERATOR_NAMESPACE);
    for host in lab.hosts() {
        lab.heal(&host.name)?;
        lab.free_disk(&host.name)?;
        let node = kube.get("node", &host.name)?;
        if node.is_none_or(|node| !is_true(&node, "Ready")) {
            lab.restore(&host.name)?;
        }
        kube.run(&["uncordon", &host.name])?;
    }
    kube.patch("storageclass", objects::CLASS, &json!({ "allowVolumeExpansion": null }))?;
    operator::install(&kube, setup, &[])
}

/// Removes a scenario's namespace and all that is in it.
pub fn remove(lab: &Lab, namespace: &str) -> Result<()> {
    let kube = Kube::new(lab, namespace);
    for database in kube.list(DATABASE, "")? {
        kube.delete(DATABASE, name(&database))?;
    }
    kube.delete("namespace", namespace)?;
    await_condition("the namespace to be gone", GONE_WITHIN, || {
        let found = kube.get("namespace", namespace)?;
        let stand = found.as_ref().map_or("", |n| text(n, "/status/phase")).to_owned();
        Ok(once(found.is_none(), stand))
    })?;
    lab.renew_volumes().context("failed to renew the volumes")?;
    Ok(())
}
