//! What daemons leave outside the lab's folders, because its place cannot be set. Others may have theirs beside it.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::environment::{FOLDER, RUN};

/// Folder of the links to containers' logs.
const LINKED_LOGS: &str = "/var/log/containers";

/// What network plugins noted of each pod.
const NETWORK_NOTES: &str = "/var/lib/cni/results";

/// Sockets of those who mind a pod's processes, and of kubelets for devices.
const SOCKETS: [&str; 2] = ["/run/containerd/s", "/var/lib/kubelet/device-plugins"];

/// Removes those of a lab whose processes have ended.
pub(super) fn remove() -> Result<()> {
    remove_if(LINKED_LOGS, |path| fs::read_link(path).is_ok_and(|to| to.starts_with(FOLDER)))?;
    remove_if(NETWORK_NOTES, |path| fs::read_to_string(path).is_ok_and(|text| text.contains(RUN)))?;
    // Whose a socket was cannot be told, but one that nobody listens at is of no use to anyone.
    SOCKETS.iter().try_for_each(|folder| remove_if(folder, is_dead))
}

fn is_dead(socket: &Path) -> bool {
    UnixStream::connect(socket).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

fn remove_if(folder: &str, is_ours: impl Fn(&Path) -> bool) -> Result<()> {
    // Where there is no such folder, nothing was left in it.
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    let paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| is_ours(p)).collect();
    paths.iter().try_for_each(|p| fs::remove_file(p).with_context(|| format!("failed to remove {}", p.display())))
}
