//! Settings of the machine's kernel that kubelets change or need. They are put back when the lab goes down.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::environment;

/// Those that a kubelet sets, whatever they were.
const KUBELET: [&str; 6] = [
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];

/// A containerd and a kubelet for each host watch more files than one machine usually does.
const WATCHERS: &str = "fs/inotify/max_user_instances";
const WATCHERS_MIN: u64 = 1024;

/// Notes what they are, and makes room for many watchers.
pub(super) fn prepare() -> Result<()> {
    let mut noted = String::new();
    for name in KUBELET.iter().chain([&WATCHERS]) {
        // A kernel without the setting has nothing to put back.
        if let Ok(value) = fs::read_to_string(path(name)) {
            noted.push_str(&format!("{name} {}\n", value.trim()));
        }
    }
    fs::write(environment::folder("settings"), noted).context("failed to note the kernel's settings")?;
    let watchers = fs::read_to_string(path(WATCHERS)).unwrap_or_default().trim().parse::<u64>();
    if watchers.is_ok_and(|w| w < WATCHERS_MIN) {
        write(WATCHERS, &WATCHERS_MIN.to_string())?;
    }
    Ok(())
}

/// Puts back what was noted, if anything was.
pub(super) fn restore() -> Result<()> {
    let noted = fs::read_to_string(environment::folder("settings")).unwrap_or_default();
    for (name, value) in noted.lines().filter_map(|l| l.split_once(' ')) {
        let now = fs::read_to_string(path(name)).unwrap_or_default();
        if now.trim() != value {
            write(name, value)?;
        }
    }
    Ok(())
}

fn write(name: &str, value: &str) -> Result<()> {
    fs::write(path(name), value).with_context(|| format!("failed to set {name}"))
}

fn path(name: &str) -> std::path::PathBuf {
    Path::new("/proc/sys").join(name)
}
