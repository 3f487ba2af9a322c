//! What a person wants to know of a lab: which daemons run, and which hosts Kubernetes sees.

use anyhow::Result;
use serde_json::Value;

use super::kubectl::Kubectl;
use super::state::State;
use super::{Host, control, host};

/// One line for the control plane and one for each host.
pub(super) fn lines(state: &State, kubectl: &Kubectl) -> Result<Vec<String>> {
    let dead = control::dead()?;
    let mut lines = vec![match dead.as_slice() {
        [] => "control plane: runs".to_owned(),
        dead => format!("control plane: {} ended", dead.join(", ")),
    }];
    let nodes = kubectl.list("nodes").unwrap_or_default();
    for host in state.all() {
        lines.push(line(host, &nodes)?);
    }
    Ok(lines)
}

fn line(host: &Host, nodes: &[Value]) -> Result<String> {
    let dead = host::dead(&host.name)?;
    let runs = match dead.as_slice() {
        [] => "runs".to_owned(),
        dead if dead.len() == host::DAEMONS.len() => "crashed".to_owned(),
        dead => format!("{} ended", dead.join(", ")),
    };
    let node = nodes.iter().find(|n| n["metadata"]["name"] == host.name);
    let seen = match node.map(|n| host::condition(n, "Ready")) {
        None => "not known to Kubernetes",
        Some(Some("True")) => "ready",
        Some(_) => "not ready",
    };
    let zone = if host.zone.is_empty() { "no zone" } else { &host.zone };
    Ok(format!("{} ({zone}): {runs}, {seen}", host.name))
}
