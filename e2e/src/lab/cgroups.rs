//! The lab's control groups. Every process of the lab is below one group, whatever becomes of the program that started it,
//! so that it can be found and ended. Knows both layouts: one hierarchy, or one for each controller.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::environment::GROUP;
use super::run::{Look, wait};

const MOUNT: &str = "/sys/fs/cgroup";

/// The kernel ends a killed process in moments, unless it waits for a disk.
const END_LIMIT: Duration = Duration::from_secs(20);

/// Name of the control group of one daemon.
pub(super) fn daemon(host: &str, name: &str) -> String {
    format!("daemons/{host}/{name}")
}

/// Makes the group, with those above it.
pub(super) fn create(group: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let mut at = hierarchy;
        for part in Path::new(GROUP).join(group).components() {
            delegate(&at)?;
            at.push(part);
            match fs::create_dir(&at) {
                Ok(()) => inherit(&at)?,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("failed to create {}", at.display())),
            }
        }
    }
    Ok(())
}

/// The file that a process writes its number to, to be in the group.
pub(super) fn entry(group: &str) -> Result<PathBuf> {
    let mount = Path::new(MOUNT);
    // Any one hierarchy will do to find processes by.
    let hierarchy = if is_single()? { mount.to_path_buf() } else { mount.join("pids") };
    Ok(hierarchy.join(GROUP).join(group).join("cgroup.procs"))
}

/// True if a process is in the group or below it.
pub(super) fn is_alive(group: &str) -> Result<bool> {
    Ok(!processes(group)?.is_empty())
}

/// Ends every process in the group and below it.
pub(super) fn kill(group: &str) -> Result<()> {
    wait("killed processes to end", END_LIMIT, None, || {
        let left = processes(group)?;
        for process in &left {
            // It may have ended by itself since it was listed.
            let _ = Pid::from_raw(*process).map(|pid| kill_process(pid, Signal::KILL));
        }
        Ok(if left.is_empty() { Look::Done } else { Look::Missing(format!("processes {left:?}")) })
    })
}

/// Removes all groups of the lab. Their processes have ended.
pub(super) fn remove() -> Result<()> {
    for hierarchy in hierarchies()? {
        let top = hierarchy.join(GROUP);
        wait("control groups to become empty", END_LIMIT, None, || {
            for group in below(&top)?.iter().rev() {
                if let Err(error) = fs::remove_dir(group)
                    && error.kind() != ErrorKind::NotFound
                {
                    return Ok(Look::Missing(format!("{}: {error}", group.display())));
                }
            }
            Ok(Look::Done)
        })?;
    }
    Ok(())
}

/// The lab's topmost groups that are there.
pub(super) fn left() -> Result<Vec<PathBuf>> {
    Ok(hierarchies()?.iter().map(|h| h.join(GROUP)).filter(|g| g.is_dir()).collect())
}

fn processes(group: &str) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for hierarchy in hierarchies()? {
        for at in below(&hierarchy.join(GROUP).join(group))? {
            // The group may vanish while it is read.
            let text = fs::read_to_string(at.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()).filter(|p| *p > 0));
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The group and all below it, each before those it holds; none if it is not there.
fn below(group: &Path) -> Result<Vec<PathBuf>> {
    if !group.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = vec![group.to_path_buf()];
    let mut next = 0;
    while next < found.len() {
        if let Ok(entries) = fs::read_dir(&found[next]) {
            found.extend(entries.flatten().map(|e| e.path()).filter(|p| p.is_dir()));
        }
        next += 1;
    }
    Ok(found)
}

fn is_single() -> Result<bool> {
    Path::new(MOUNT).join("cgroup.controllers").try_exists().context("failed to look at the control groups")
}

fn hierarchies() -> Result<Vec<PathBuf>> {
    if is_single()? {
        return Ok(vec![PathBuf::from(MOUNT)]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(MOUNT).with_context(|| format!("failed to list {MOUNT}"))? {
        let entry = entry.context("failed to list the control groups")?;
        // Links are second names: cpu for cpu,cpuacct.
        if entry.file_type().is_ok_and(|t| t.is_dir()) && entry.path().join("cgroup.procs").is_file() {
            found.push(entry.path());
        }
    }
    if found.is_empty() {
        bail!("no control groups are mounted at {MOUNT}");
    }
    Ok(found)
}

/// Lets the groups below use every controller, which a single hierarchy does not by itself.
fn delegate(group: &Path) -> Result<()> {
    let Ok(controllers) = fs::read_to_string(group.join("cgroup.controllers")) else { return Ok(()) };
    for controller in controllers.split_whitespace() {
        let to = group.join("cgroup.subtree_control");
        fs::write(&to, format!("+{controller}")).with_context(|| format!("failed to pass {controller} on"))?;
    }
    Ok(())
}

/// A new group of the old layout may run on no processor until it is told.
fn inherit(group: &Path) -> Result<()> {
    let Some(parent) = group.parent() else { return Ok(()) };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if is_single()? || !group.join(file).is_file() {
            continue;
        }
        let value = fs::read(parent.join(file)).with_context(|| format!("failed to read {file}"))?;
        fs::write(group.join(file), value).with_context(|| format!("failed to write {file}"))?;
    }
    Ok(())
}
