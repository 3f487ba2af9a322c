//! Takes away whatever a lab has left, whether it was taken down, interrupted or half made: it looks at the machine, not at records.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

use super::environment::{FOLDER, RUN};
use super::run::{Look, wait};
use super::{cgroups, network, settings, traces};

const MOUNT_LIMIT: Duration = Duration::from_secs(20);

/// Removes all that a lab has left on this machine.
pub(super) fn remove() -> Result<()> {
    cgroups::kill("")?;
    end_visitors()?;
    wait("the lab's mounts to go", MOUNT_LIMIT, None, || {
        let mut mounts = mounts()?;
        // What is mounted last lies on top.
        mounts.reverse();
        for mount in &mounts {
            // One unmount can take others with it.
            let _ = unmount(mount, UnmountFlags::DETACH);
        }
        Ok(if mounts.is_empty() { Look::Done } else { Look::Missing(format!("{mounts:?}")) })
    })?;
    network::remove()?;
    cgroups::remove()?;
    traces::remove()?;
    settings::restore()?;
    for folder in [FOLDER, RUN] {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("failed to remove {folder}"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Fails with the names of all that is left.
pub(super) fn check() -> Result<()> {
    let mut left: Vec<String> = network::namespaces()?.iter().map(|n| format!("network namespace {n}")).collect();
    left.extend(mounts()?.iter().map(|m| format!("mount {}", m.display())));
    left.extend(cgroups::left()?.iter().map(|g| format!("control group {}", g.display())));
    left.extend(processes()?.iter().map(|p| format!("process {p}")));
    left.extend([FOLDER, RUN].iter().filter(|f| Path::new(f).is_dir()).map(|f| format!("folder {f}")));
    if !left.is_empty() {
        bail!("the lab has left {}", left.join(", "));
    }
    Ok(())
}

/// Mounts below the lab's folders, in the order they were made.
fn mounts() -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("failed to list mounts")?;
    let points = text.lines().filter_map(|l| l.split(' ').nth(4)).map(PathBuf::from);
    Ok(points.filter(|p| p.starts_with(FOLDER) || p.starts_with(RUN)).collect())
}

/// Ends those who came into the lab's network by themselves, such as a test's commands; not who asks, if it is there too.
fn end_visitors() -> Result<()> {
    let mut ours = Vec::new();
    for name in network::namespaces()? {
        ours.extend(fs::metadata(Path::new("/run/netns").join(name)).map(|m| m.ino()));
    }
    let asking = ancestors();
    for id in all_processes()? {
        let net = fs::metadata(format!("/proc/{id}/ns/net")).map(|m| m.ino());
        if net.is_ok_and(|n| ours.contains(&n)) && !asking.contains(&id) {
            // It may have ended since.
            let _ = Pid::from_raw(id).map(|pid| kill_process(pid, Signal::KILL));
        }
    }
    Ok(())
}

/// Programs that run on the lab's folders.
fn processes() -> Result<Vec<String>> {
    let mut found = Vec::new();
    for id in all_processes()? {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let words: Vec<String> = line.split(|b| *b == 0).map(|w| String::from_utf8_lossy(w).into_owned()).collect();
        let name = words[0].rsplit('/').next().unwrap_or_default();
        let is_daemon = ["etcd", "kube", "coredns", "containerd", "runc"].iter().any(|d| name.starts_with(d));
        if is_daemon && words.iter().any(|w| w.contains(FOLDER) || w.contains(RUN)) {
            found.push(format!("{id} ({name})"));
        }
    }
    Ok(found)
}

fn all_processes() -> Result<Vec<i32>> {
    let entries = fs::read_dir("/proc").context("failed to list processes")?;
    Ok(entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect())
}

/// This process and those it came from.
fn ancestors() -> Vec<i32> {
    let mut line = Vec::new();
    let mut next = i32::try_from(process::id()).ok();
    while let Some(id) = next.filter(|id| *id > 0) {
        line.push(id);
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        next = status.lines().find_map(|l| l.strip_prefix("PPid:")).and_then(|p| p.trim().parse().ok());
    }
    line
}
