//! Where the lab lives on its machine: one name for all that is its own, so that leftovers are found again.

use std::path::{Path, PathBuf};

/// What lasts as long as a lab: configurations, logs, images, disks.
pub(super) const FOLDER: &str = "/var/lib/skerry-lab";

/// Sockets and what containers run on. A socket's path may have 108 bytes, so this is short.
pub(super) const RUN: &str = "/run/skerry-lab";

/// The network namespace of the control plane. Those of the hosts begin with it too.
pub(super) const NAMESPACE: &str = "skerry-lab";

/// The control group that every process of the lab is in, or below.
pub(super) const GROUP: &str = "skerry-lab";

/// The host of the tests' own pods.
pub(super) const TOOLS: &str = "tools";

/// Stands for the control plane where hosts are named.
pub(super) const CONTROL: &str = "control";

/// The control plane's address on the bridge.
pub(super) const CONTROL_ADDRESS: &str = "10.77.0.1";

/// The first service address, which is the API server's.
pub(super) const API_SERVICE_ADDRESS: &str = "10.96.0.1";

pub(super) const SERVICE_RANGE: &str = "10.96.0.0/16";

pub(super) const POD_RANGE: &str = "10.78.0.0/16";

/// Path of a folder or file below the lab's folder.
pub(super) fn folder(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

/// Folder with the files of a host.
pub(super) fn host_folder(host: &str) -> PathBuf {
    folder("hosts").join(host)
}

/// Folder with the sockets of a host.
pub(super) fn host_run(host: &str) -> PathBuf {
    Path::new(RUN).join(host)
}

/// Where a daemon writes what it has to say.
pub(super) fn log(host: &str, daemon: &str) -> PathBuf {
    folder("logs").join(format!("{host}-{daemon}.log"))
}

/// The network namespace of a host, or of the control plane.
pub(super) fn namespace(host: &str) -> String {
    if host == CONTROL { NAMESPACE.to_owned() } else { format!("{NAMESPACE}-{host}") }
}

/// The address of a host on the bridge; hosts count from 1.
pub(super) fn host_address(number: usize) -> String {
    format!("10.77.0.{}", number + 10)
}

/// The addresses of a host's pods.
pub(super) fn pod_range(number: usize) -> String {
    format!("10.78.{number}.0/24")
}
