//! The lab: a real Kubernetes on one Linux machine, for tests and for people who want to try things out.
//!
//! Each host is a network namespace with a containerd, a kubelet and a kube-proxy of its own. Nothing leads out of these namespaces,
//! so the lab needs no network and disturbs none. One lab can be up on a machine, and it needs root. Hosts can crash, lose their
//! disks, be cut off and fill up.

mod certificates;
mod cgroups;
mod control;
mod daemon;
mod disk;
mod environment;
mod host;
mod image;
mod kubectl;
mod leftovers;
mod lock;
mod network;
mod programs;
mod progress;
mod run;
mod settings;
mod start;
mod state;
mod status;
mod template;
mod traces;
mod volumes;

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

pub use network::Way;

use kubectl::Kubectl;
use lock::Lock;
use state::State;

/// Number of hosts and zones of a lab.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Hosts for the database, beside one for the tests' own pods.
    pub hosts: usize,
    /// Zones they are spread over, in turn.
    pub zones: usize,
}

/// One host of the lab: a Kubernetes node of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// `host-1` and so on; its node has the same name.
    pub name: String,
    /// `zone-a` and so on.
    pub zone: String,
}

/// A lab that is up. It stays up when this is dropped: `down` takes it down.
#[derive(Debug)]
pub struct Lab {
    state: State,
    kubeconfig: PathBuf,
}

impl Lab {
    /// Starts a lab and waits until all its hosts are ready. Whatever lab was there before is removed first.
    pub fn up(shape: &Shape) -> Result<Lab> {
        start::require_root()?;
        let _lock = Lock::take()?;
        start::up(shape).map(Lab::of)
    }

    /// Joins the lab that is up.
    pub fn attach() -> Result<Lab> {
        start::require_root()?;
        State::read().map(Lab::of)
    }

    /// Takes the lab down, and leaves nothing behind.
    pub fn down(self) -> Result<()> {
        Lab::remove()
    }

    /// Removes whatever is left of any lab, also of one that was interrupted.
    pub fn remove() -> Result<()> {
        start::require_root()?;
        let _lock = Lock::take()?;
        leftovers::remove()
    }

    /// Fails with the names of the namespaces, processes, mounts, control groups and folders that a lab has left.
    pub fn is_clean() -> Result<()> {
        leftovers::check()
    }

    /// Fails where the machine's own disk has too little room for what the hosts write.
    pub fn expect_room() -> Result<()> {
        disk::expect_room()
    }

    /// The hosts for the database; not that of the tests.
    pub fn hosts(&self) -> &[Host] {
        &self.state.hosts
    }

    /// The administrator's kubeconfig. Its server is reached inside the lab's network only.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The folder of all daemons' logs. It goes with the lab.
    pub fn logs(&self) -> PathBuf {
        environment::folder("logs")
    }

    /// A command that runs inside the lab's network, as administrator, with the lab's own kubectl and helm.
    pub fn command(&self, program: &str) -> Command {
        let mut path = self.state.programs.clone().into_os_string();
        path.push(":");
        path.push(env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", environment::NAMESPACE)).arg("--").arg(program);
        command.env("PATH", path).env("KUBECONFIG", &self.kubeconfig);
        // What these programs keep goes with the lab, and not into the home of whoever runs it.
        command.env("KUBECACHEDIR", environment::folder("kubectl"));
        for kind in ["CACHE", "CONFIG", "DATA"] {
            command.env(format!("HELM_{kind}_HOME"), environment::folder("helm").join(kind.to_lowercase()));
        }
        command
    }

    /// Loads an image into every host.
    pub fn load_image(&self, tar: &Path) -> Result<()> {
        start::on_each(&self.state.all(), |host| host::load(&host.name, tar))
    }

    /// Stops a host as a loss of power does: nobody is told. Its disk keeps what was written.
    pub fn crash(&self, host: &str) -> Result<()> {
        host::crash(&self.find(host)?.name)
    }

    /// Starts a crashed host again, ends a cut, and waits until the host is ready.
    pub fn restore(&self, host: &str) -> Result<()> {
        let host = self.find(host)?;
        let kubectl = self.kubectl();
        let last = host::heartbeat(&kubectl, &host.name);
        network::heal(&host.name)?;
        network::set_link(&host.name, true)?;
        if !host::dead(&host.name)?.is_empty() {
            // What still runs of it would be in the way of what is started.
            host::crash(&host.name)?;
            network::set_link(&host.name, true)?;
            host::start(host, &self.state.programs)?;
        }
        host::await_heartbeat(&kubectl, &host.name, last.as_deref())?;
        host::await_ready(&kubectl, &[host])
    }

    /// Crashes a host and wipes its volumes. Its Node object stays, as it does when a machine is gone for good.
    pub fn lose(&self, host: &str) -> Result<()> {
        let host = self.find(host)?;
        host::crash(&host.name)?;
        disk::free(&host.name)?;
        (0..disk::VOLUMES).try_for_each(|number| disk::wipe(&host.name, number))
    }

    /// Cuts a host off from all others and from the control plane. Its own pods still reach each other.
    pub fn cut(&self, host: &str, way: Way) -> Result<()> {
        network::cut(&self.find(host)?.name, way)
    }

    /// Ends the cut of a host's network.
    pub fn heal(&self, host: &str) -> Result<()> {
        network::heal(&self.find(host)?.name)
    }

    /// Takes all the room on the file system that a host's volumes share. The rest of the host has room on.
    pub fn fill_disk(&self, host: &str) -> Result<()> {
        disk::fill(&self.find(host)?.name)
    }

    /// Frees what [`Self::fill_disk`] has taken of a host's disk.
    pub fn free_disk(&self, host: &str) -> Result<()> {
        disk::free(&self.find(host)?.name)
    }

    /// Empties the volumes whose claims are gone and offers them anew; returns how many.
    pub fn renew_volumes(&self) -> Result<usize> {
        volumes::renew(&self.kubectl())
    }

    /// True if the control plane runs. Hosts may be down.
    pub fn is_running(&self) -> bool {
        control::dead().is_ok_and(|dead| dead.is_empty())
    }

    /// What is up and what is not, a line each.
    pub fn status(&self) -> Result<Vec<String>> {
        status::lines(&self.state, &self.kubectl())
    }

    fn of(state: State) -> Lab {
        Lab { state, kubeconfig: certificates::kubeconfig("admin") }
    }

    fn kubectl(&self) -> Kubectl {
        Kubectl::new(&self.state.programs)
    }

    fn find(&self, host: &str) -> Result<&Host> {
        let names = || self.state.hosts.iter().map(|h| h.name.as_str()).collect::<Vec<_>>().join(", ");
        self.state
            .hosts
            .iter()
            .find(|h| h.name == host)
            .with_context(|| format!("no host {host}; there are {}", names()))
    }
}
