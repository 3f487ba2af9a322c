//! The storage class `local` and the volumes that are there for it, some on each host.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use super::kubectl::Kubectl;
use super::{Host, disk, template};

const CLASS: &str = include_str!("../../lab/storage-class.yaml");
const VOLUME: &str = include_str!("../../lab/volume.yaml");

/// Scenarios that run at once find the same volumes.
static RENEWING: Mutex<()> = Mutex::new(());

/// Makes the class and all volumes.
pub(super) fn create(kubectl: &Kubectl, hosts: &[Host]) -> Result<()> {
    let mut yaml = CLASS.to_owned();
    for host in hosts {
        for number in 0..disk::VOLUMES {
            yaml.push_str(&object(&host.name, number));
        }
    }
    kubectl.apply("volumes", &yaml)
}

/// Empties the volumes whose claims are gone, and offers them anew. Kubernetes keeps them for a person to look at, since they are
/// retained.
pub(super) fn renew(kubectl: &Kubectl) -> Result<usize> {
    let _one_at_a_time = RENEWING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut renewed = 0;
    for volume in kubectl.list("persistentvolumes")? {
        let name = volume["metadata"]["name"].as_str().context("a volume has no name")?;
        if !matches!(volume["status"]["phase"].as_str(), Some("Released" | "Failed")) {
            continue;
        }
        let host = volume["metadata"]["labels"]["skerry.io/lab-host"].as_str();
        let (Some(host), Some((_, number))) = (host, name.rsplit_once('-')) else { continue };
        let number = number.parse().with_context(|| format!("volume {name} is none of the lab's"))?;
        kubectl.run(&["delete", "persistentvolume", name, "--timeout=30s"])?;
        disk::wipe(host, number)?;
        kubectl.apply("volume", &object(host, number))?;
        renewed += 1;
    }
    Ok(renewed)
}

fn object(host: &str, number: usize) -> String {
    let path = disk::volume(host, number);
    let values = [("name", &*format!("{host}-{number}")), ("host", host), ("path", text(&path))];
    template::fill(VOLUME, &values)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the lab's paths are plain")
}
