//! One host: its disk, containerd, kubelet and kube-proxy; how it starts, crashes and comes back.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::daemon::{Daemon, installed};
use super::environment::{self, CONTROL_ADDRESS, GROUP, POD_RANGE, TOOLS};
use super::kubectl::Kubectl;
use super::run::{Look, answered, run, run_within, tail, wait};
use super::{Host, certificates, cgroups, disk, image, network, programs, template};

const CONTAINERD: &str = include_str!("../../lab/containerd.toml");
const CNI: &str = include_str!("../../lab/cni.conflist");
const KUBELET: &str = include_str!("../../lab/kubelet.yaml");
const KUBE_PROXY: &str = include_str!("../../lab/kube-proxy.yaml");

/// Keeps the database's pods off the host of the tests' own.
const TOOLS_TAINTS: &str = r#"[{ key: skerry.io/lab, value: tools, effect: NoSchedule }]"#;

/// Two seconds on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(180);

/// Large images on a busy disk.
const IMPORT_LIMIT: Duration = Duration::from_secs(300);

/// All of its daemons, in the order of their start.
pub(super) const DAEMONS: [&str; 3] = ["containerd", "kubelet", "kube-proxy"];

/// Makes what a host needs before its first start. Hosts count from 1.
pub(super) fn create(host: &Host, number: usize) -> Result<()> {
    let name = host.name.as_str();
    let (folder, run) = (environment::host_folder(name), environment::host_run(name));
    fs::create_dir_all(folder.join("cni")).context("failed to create a host's folder")?;
    fs::create_dir_all(&run).context("failed to create a host's folder of sockets")?;
    let address = environment::host_address(number);
    network::add_host(name, number)?;
    cgroups::create(name)?;
    certificates::host(name, &address)?;
    if name != TOOLS {
        disk::create(name)?;
    }
    fs::write(folder.join("resolv.conf"), format!("nameserver {CONTROL_ADDRESS}\n"))
        .context("failed to write a host's names")?;
    fs::write(folder.join("address"), &address).context("failed to write a host's address")?;
    let (folder, run) = (folder.display().to_string(), run.display().to_string());
    let certificates = certificates::folder().display().to_string();
    let pods = environment::pod_range(number);
    let values = [
        ("host", name),
        ("folder", &folder),
        ("run", &run),
        ("certificates", &certificates),
        ("group", GROUP),
        ("dns", CONTROL_ADDRESS),
        ("pause", image::PAUSE),
        ("cni", programs::network_plugins()?),
        ("taints", if name == TOOLS { TOOLS_TAINTS } else { "[]" }),
    ];
    let to = Path::new(&folder);
    template::write(&to.join("containerd.toml"), CONTAINERD, &values)?;
    template::write(&to.join("kubelet.yaml"), KUBELET, &values)?;
    template::write(&to.join("cni/lab.conflist"), CNI, &[("pods", &pods), ("run", &run)])?;
    let values = [("host", name), ("pods", POD_RANGE), ("certificates", &*certificates)];
    template::write(&to.join("kube-proxy.yaml"), KUBE_PROXY, &values)
}

/// Starts the daemons of a host.
pub(super) fn start(host: &Host, programs: &Path) -> Result<()> {
    let name = host.name.as_str();
    let folder = environment::host_folder(name);
    let daemon = |daemon| Daemon { host: name, name: daemon };
    let containerd = installed("containerd").context("containerd is not installed")?;
    let config = |file: &str| format!("--config={}", folder.join(file).display());
    daemon("containerd").start(&containerd, &[config("containerd.toml")])?;
    let log = daemon("containerd").log();
    wait(&format!("containerd on {name} to answer"), START_LIMIT, Some(&log), || {
        Ok(answered(run("ctr", &["--address", &socket(name), "version"])))
    })?;
    load(name, &programs.join("pause.tar"))?;
    daemon("kubelet").start(&programs.join("kubelet"), &kubelet(host, config("kubelet.yaml"))?)?;
    daemon("kube-proxy").start(&programs.join("kube-proxy"), &[config("kube-proxy.yaml")])
}

/// Stops it as a loss of power does: nobody is told, and nothing is finished.
pub(super) fn crash(name: &str) -> Result<()> {
    network::set_link(name, false)?;
    cgroups::kill(&format!("daemons/{name}"))?;
    cgroups::kill(name)
}

/// Waits until Kubernetes sees the hosts ready.
pub(super) fn await_ready(kubectl: &Kubectl, hosts: &[&Host]) -> Result<()> {
    let names = hosts.iter().map(|h| h.name.as_str()).collect::<Vec<_>>();
    let log = names.first().map(|name| environment::log(name, "kubelet"));
    wait(&format!("{} to be ready", names.join(", ")), START_LIMIT, log.as_deref(), || {
        let nodes = kubectl.list("nodes")?;
        let is_ready = |name: &&&str| {
            nodes.iter().any(|node| node["metadata"]["name"] == ***name && condition(node, "Ready") == Some("True"))
        };
        let missing: Vec<&str> = names.iter().filter(|n| !is_ready(n)).copied().collect();
        for name in &missing {
            if let Some(daemon) = dead(name)?.first() {
                let log = environment::log(name, daemon);
                bail!("{daemon} on {name} has ended; {} ends so:\n{}", log.display(), tail(&log));
            }
        }
        Ok(if missing.is_empty() { Look::Done } else { Look::Missing(format!("{} not ready", missing.join(", "))) })
    })
}

/// When the host last said that it lives, as Kubernetes noted it; nothing if it is not known.
pub(super) fn heartbeat(kubectl: &Kubectl, name: &str) -> Option<String> {
    kubectl.run(&["get", "lease", name, "--namespace=kube-node-lease", "-o", "jsonpath={.spec.renewTime}"]).ok()
}

/// Waits until it says so again: before that, Kubernetes may still take a host that has crashed for ready.
pub(super) fn await_heartbeat(kubectl: &Kubectl, name: &str, last: Option<&str>) -> Result<()> {
    wait(&format!("a sign of life of {name}"), START_LIMIT, Some(&environment::log(name, "kubelet")), || {
        let now = heartbeat(kubectl, name);
        let is_new = now.is_some() && now.as_deref() != last;
        Ok(if is_new { Look::Done } else { Look::Missing(format!("the last one was at {last:?}")) })
    })
}

/// The status of a node's condition.
pub(super) fn condition<'a>(node: &'a serde_json::Value, kind: &str) -> Option<&'a str> {
    node["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == kind)?["status"].as_str()
}

/// Names of the host's daemons that have ended.
pub(super) fn dead(name: &str) -> Result<Vec<&'static str>> {
    let mut dead = Vec::new();
    for daemon in DAEMONS {
        if !(Daemon { host: name, name: daemon }).is_alive()? {
            dead.push(daemon);
        }
    }
    Ok(dead)
}

/// Imports an image from a tar archive into a host's containerd.
pub(super) fn load(name: &str, tar: &Path) -> Result<()> {
    if dead(name)?.contains(&"containerd") {
        bail!("{name} is down and cannot load an image: restore it first");
    }
    let tar = tar.display().to_string();
    let args = ["--address", &socket(name), "--namespace", "k8s.io", "images", "import", &tar];
    run_within(IMPORT_LIMIT, "ctr", &args).with_context(|| format!("failed to load an image into {name}"))?;
    Ok(())
}

fn kubelet(host: &Host, config: String) -> Result<Vec<String>> {
    let name = &host.name;
    let folder = environment::host_folder(name);
    let address = fs::read_to_string(folder.join("address")).context("failed to read a host's address")?;
    let labels = if name == TOOLS {
        "skerry.io/lab=tools".to_owned()
    } else {
        format!("topology.kubernetes.io/zone={}", host.zone)
    };
    Ok(vec![
        config,
        format!("--kubeconfig={}", certificates::kubeconfig(name).display()),
        format!("--root-dir={}", folder.join("kubelet").display()),
        format!("--cert-dir={}", folder.join("pki").display()),
        format!("--hostname-override={name}"),
        format!("--node-ip={address}"),
        format!("--node-labels={labels}"),
    ])
}

fn socket(name: &str) -> String {
    environment::host_run(name).join("containerd.sock").display().to_string()
}
