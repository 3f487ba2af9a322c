//! What is kept of a scenario that failed: the resource, events, pods, and everybody's logs, a file each.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::OPERATOR_NAMESPACE;
use super::kube::{DATABASE, Kube};
use super::objects::{CHECKER, CHECKER_PORT};

/// Option of kubectl: how many lines of each log to write.
const LOG_LINES: &str = "--tail=3000";
/// Of each log, so many of the last warnings are told at the end of the run.
const WARNINGS_TOLD: usize = 4;
/// A warning is cut after so many characters there.
const WARNING_CHARS: usize = 240;

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

/// The last warnings and errors in the logs that [`dump`] has put into a folder, with the name of each log: where only the end
/// of a run's output is kept, they may be all that is known.
pub fn last_warnings(folder: &Path) -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "log"));
    files.sort();
    let mut told = Vec::new();
    for file in files {
        let (name, text) = (file.file_stem().unwrap_or_default(), fs::read_to_string(&file).unwrap_or_default());
        let warnings: Vec<_> = text.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
        for line in warnings.iter().skip(warnings.len().saturating_sub(WARNINGS_TOLD)) {
            told.push(format!("{}: {}", name.display(), line.chars().take(WARNING_CHARS).collect::<String>()));
        }
    }
    told
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_warnings_of_each_log_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let lines: String = (0..9).map(|n| format!("{n} WARN slow\n{n} INFO fine\n")).collect();
        fs::write(folder.path().join("db-0.log"), lines).unwrap();
        fs::write(folder.path().join("db-1.log"), "1 INFO fine\n2 ERROR damaged\n").unwrap();
        fs::write(folder.path().join("events.txt"), "WARN no log\n").unwrap();
        let told = last_warnings(folder.path());
        let expected = [
            "db-0: 5 WARN slow",
            "db-0: 6 WARN slow",
            "db-0: 7 WARN slow",
            "db-0: 8 WARN slow",
            "db-1: 2 ERROR damaged",
        ];
        assert_eq!(told, expected);
        assert_eq!(last_warnings(&folder.path().join("none")), Vec::<String>::new());
    }
}
