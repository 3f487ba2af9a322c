//! The lab's network: one namespace with a bridge for the control plane, one for each host, and nothing that leads out of them.

use anyhow::{Context, Result};

use super::environment::{self, CONTROL, CONTROL_ADDRESS, NAMESPACE};
use super::run::run;

/// The part of a host's traffic that is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// All traffic of the host.
    Both,
    /// The traffic that comes to the host.
    In,
    /// The traffic that comes from the host.
    Out,
}

/// A cut is a table of its own, so that healing is to delete it.
const CUT_TABLE: &str = "skerry_lab_cut";

/// Makes the control plane's namespace.
pub(super) fn create() -> Result<()> {
    make_namespace(CONTROL)?;
    ip(CONTROL, &["link", "add", "lab", "type", "bridge"])?;
    ip(CONTROL, &["address", "add", &format!("{CONTROL_ADDRESS}/24"), "dev", "lab"])?;
    ip(CONTROL, &["link", "set", "lab", "up"])
}

/// Makes a host's namespace and joins it to the bridge.
pub(super) fn add_host(host: &str, number: usize) -> Result<()> {
    make_namespace(host)?;
    let address = environment::host_address(number);
    let namespace = environment::namespace(host);
    ip(CONTROL, &["link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", &namespace])?;
    ip(CONTROL, &["link", "set", host, "master", "lab", "up"])?;
    ip(host, &["address", "add", &format!("{address}/24"), "dev", "eth0"])?;
    ip(host, &["link", "set", "eth0", "up"])?;
    ip(host, &["route", "add", "default", "via", CONTROL_ADDRESS])?;
    ip(CONTROL, &["route", "add", &environment::pod_range(number), "via", &address])
}

/// Pulls the host's cable, or puts it back.
pub(super) fn set_link(host: &str, is_up: bool) -> Result<()> {
    ip(CONTROL, &["link", "set", host, if is_up { "up" } else { "down" }])
}

/// Drops a host's traffic with all others, before anything on the host sees it. Pods of the host still reach each other.
pub(super) fn cut(host: &str, way: Way) -> Result<()> {
    heal(host)?;
    let mut rules = vec![format!("add table inet {CUT_TABLE}")];
    if way != Way::Out {
        rules.push(format!("add chain inet {CUT_TABLE} arriving {{ type filter hook prerouting priority -400 ; }}"));
        rules.push(format!("add rule inet {CUT_TABLE} arriving iifname \"eth0\" drop"));
    }
    if way != Way::In {
        rules.push(format!("add chain inet {CUT_TABLE} leaving {{ type filter hook postrouting priority 400 ; }}"));
        rules.push(format!("add rule inet {CUT_TABLE} leaving oifname \"eth0\" drop"));
    }
    inside(host, &["nft", &rules.join("\n")]).with_context(|| format!("failed to cut {host} off"))
}

/// Ends a cut, if there is one.
pub(super) fn heal(host: &str) -> Result<()> {
    // To add a table that is there changes nothing, and without one there would be none to delete.
    inside(host, &["nft", &format!("add table inet {CUT_TABLE}\ndelete table inet {CUT_TABLE}")])
        .with_context(|| format!("failed to heal {host}"))
}

/// The lab's namespaces that are there.
pub(super) fn namespaces() -> Result<Vec<String>> {
    let text = run("ip", &["netns", "list"])?;
    let names = text.lines().filter_map(|l| l.split_whitespace().next());
    Ok(names.filter(|n| *n == NAMESPACE || n.starts_with(&format!("{NAMESPACE}-"))).map(str::to_owned).collect())
}

/// Removes all network namespaces of the lab.
pub(super) fn remove() -> Result<()> {
    for name in namespaces()? {
        run("ip", &["netns", "delete", &name])?;
    }
    Ok(())
}

fn make_namespace(host: &str) -> Result<()> {
    run("ip", &["netns", "add", &environment::namespace(host)])?;
    ip(host, &["link", "set", "lo", "up"])?;
    inside(host, &["sysctl", "-qw", "net.ipv4.ip_forward=1"])?;
    // Hosts are on one link, so forwarding between their pods would be answered with advice to go directly.
    inside(host, &["sysctl", "-qw", "net.ipv4.conf.all.send_redirects=0"])?;
    inside(host, &["sysctl", "-qw", "net.ipv4.conf.default.send_redirects=0"])
}

fn ip(host: &str, args: &[&str]) -> Result<()> {
    let namespace = environment::namespace(host);
    run("ip", &[&["-n", &namespace], args].concat())?;
    Ok(())
}

fn inside(host: &str, args: &[&str]) -> Result<()> {
    let net = format!("--net=/run/netns/{}", environment::namespace(host));
    run("nsenter", &[&[net.as_str()], args].concat())?;
    Ok(())
}
