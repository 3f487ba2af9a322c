//! What is kept of a scenario that failed: the resource, events, pods, and everybody's logs, a file each.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::OPERATOR_NAMESPACE;
use super::kube::{DATABASE, Kube};
use super::objects::{CHECKER, CHECKER_PORT};

/// Option of kubectl: how many lines of each log to write.
const LOG_LINES: &str = "--tail=3000";

/// Writes all of it. What cannot be had is said in its file: a failure here must not hide the scenario's own.
pub fn dump(kube: &Kube<'_>, folder: &Path, failure: &str) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let write = |name: &str, text: Result<String>| {
        let text = text.unwrap_or_else(|error| format!("{error:#}\n"));
        fs::write(folder.join(name), text).with_context(|| format!("failed to write {name}"))
    };
    write("failure.txt", Ok(format!("{failure}\n")))?;
    write("databases.yaml", kube.run(&["get", DATABASE, "-o", "yaml"]))?;
    write("events.txt", kube.run(&["get", "events", "--sort-by=.lastTimestamp", "-o", "wide"]))?;
    let kinds = "pods,statefulsets,persistentvolumeclaims,poddisruptionbudgets,services,endpointslices";
    write("objects.txt", kube.run(&["get", kinds, "-o", "wide"]))?;
    write("objects.yaml", kube.run(&["get", kinds, "-o", "yaml"]))?;
    write("hosts.txt", kube.run(&["get", "nodes,persistentvolumes", "-o", "wide"]))?;
    write("checker.json", kube.ask_pod(false, CHECKER, CHECKER_PORT, "summary"))?;
    logs(kube, folder)?;
    let operator = kube.within(OPERATOR_NAMESPACE);
    write("operator.txt", operator.run(&["get", "pods,deployments,leases", "-o", "wide"]))?;
    logs(&operator, folder)
}

fn logs(kube: &Kube<'_>, folder: &Path) -> Result<()> {
    let pods = kube.list("pods", "").unwrap_or_default();
    for pod in pods.iter().filter_map(|p| p["metadata"]["name"].as_str()) {
        // The run before a restart tells why there was one.
        for (part, more) in [("", None), ("-before", Some("--previous"))] {
            let mut args = vec!["logs", pod, LOG_LINES, "--all-containers", "--timestamps"];
            args.extend(more);
            if let Ok(text) = kube.run(&args) {
                fs::write(folder.join(format!("{pod}{part}.log")), text).context("failed to write a log")?;
            }
        }
    }
    Ok(())
}
