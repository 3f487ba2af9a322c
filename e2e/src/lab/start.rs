//! How a lab starts: what was there goes, the control plane comes, then all hosts at once.

use std::fs;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::geteuid;

use super::environment::{self, TOOLS};
use super::kubectl::Kubectl;
use super::state::State;
use super::{
    Host, Shape, certificates, control, disk, host, leftovers, network, programs, progress, settings, volumes,
};

/// The network has an address range for each host.
const HOSTS_MAX: usize = 100;

const ZONES_MAX: usize = 26;

/// Namespaces, mounts and control groups are root's to make.
pub(super) fn require_root() -> Result<()> {
    if !geteuid().is_root() {
        bail!("the lab makes network namespaces, mounts and control groups and needs root: run it with sudo");
    }
    Ok(())
}

/// Starts a lab of this shape.
pub(super) fn up(shape: &Shape) -> Result<State> {
    let (hosts, tools) = name(shape)?;
    let programs = programs::prepare()?;
    let began = Instant::now();
    leftovers::remove().context("failed to remove what an earlier lab left")?;
    let state = State { hosts, tools, programs };
    fs::create_dir_all(environment::folder("logs")).context("failed to create the lab's folder")?;
    disk::expect_room()?;
    settings::prepare()?;
    network::create()?;
    certificates::create()?;
    progress::tell("starting the control plane");
    control::start(&state.programs)?;
    progress::tell(&format!("starting {} hosts and one for the tests", state.hosts.len()));
    let all = state.all();
    for (index, host) in all.iter().enumerate() {
        host::create(host, index + 1)?;
    }
    on_each(&all, |host| host::start(host, &state.programs))?;
    let kubectl = Kubectl::new(&state.programs);
    host::await_ready(&kubectl, &all)?;
    volumes::create(&kubectl, &state.hosts)?;
    control::await_rest(&kubectl)?;
    state.write()?;
    progress::tell(&format!("up after {} s", began.elapsed().as_secs()));
    Ok(state)
}

/// Does the same on all hosts at the same time; fails with the first failure.
pub(super) fn on_each(hosts: &[&Host], act: impl Fn(&Host) -> Result<()> + Sync) -> Result<()> {
    thread::scope(|scope| {
        let running: Vec<_> = hosts.iter().map(|host| scope.spawn(|| act(host))).collect();
        let ended: Vec<Result<()>> = running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread of the lab has panicked")))
            .collect();
        ended.into_iter().collect()
    })
}

fn name(shape: &Shape) -> Result<(Vec<Host>, Host)> {
    ensure!((1..=HOSTS_MAX).contains(&shape.hosts), "a lab has 1 to {HOSTS_MAX} hosts, not {}", shape.hosts);
    ensure!((1..=ZONES_MAX).contains(&shape.zones), "a lab has 1 to {ZONES_MAX} zones, not {}", shape.zones);
    let zones: Vec<String> = ('a'..='z').take(shape.zones).map(|letter| format!("zone-{letter}")).collect();
    let hosts = (1..=shape.hosts).zip(zones.iter().cycle());
    let hosts = hosts.map(|(number, zone)| Host { name: format!("host-{number}"), zone: zone.clone() }).collect();
    Ok((hosts, Host { name: TOOLS.to_owned(), zone: String::new() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_spread_over_zones_in_turn() {
        let (hosts, tools) = name(&Shape { hosts: 5, zones: 3 }).unwrap();
        let zones: Vec<&str> = hosts.iter().map(|h| h.zone.as_str()).collect();
        assert_eq!(zones, ["zone-a", "zone-b", "zone-c", "zone-a", "zone-b"]);
        assert_eq!((hosts[4].name.as_str(), tools.name.as_str()), ("host-5", "tools"));
    }

    #[test]
    fn a_lab_without_hosts_is_refused() {
        assert!(name(&Shape { hosts: 0, zones: 1 }).is_err());
    }
}
