//! The command line of `skerry-operator`, and the environment behind it.

use std::net::SocketAddr;

use clap::{ArgAction, Parser, Subcommand};
use skerry_operator_core::kubernetes::objects::OperatorPods;

use crate::leadership::LeaseConfig;
use crate::lease::COMMON;

/// Runs Skerry databases on Kubernetes.
#[derive(Debug, Clone, Parser)]
#[command(name = "skerry-operator", version, about, subcommand_negates_reqs = true)]
pub struct Program {
    /// Instead of running.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// To run. `None` = there is a command.
    #[command(flatten)]
    pub args: Option<Args>,
}

/// What the program does instead of running.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Ask an address such as http://host:8080/readyz, and succeed if the answer is 200.
    Probe {
        /// Which.
        url: String,
    },
}

/// What an operator runs with.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where the Lease is by which one operator acts at a time.
    #[arg(long, env = "SKERRY_NAMESPACE")]
    pub namespace: String,

    /// Name of that Lease. Operators of one Lease are one operator; those that look after different namespaces have one each.
    #[arg(long, env = "SKERRY_LEASE", default_value = COMMON)]
    pub lease: String,

    /// Names this operator in the Lease, as its pod is named; no two may have the same.
    #[arg(long, env = "SKERRY_IDENTITY")]
    pub identity: String,

    /// Namespace whose databases are looked after. Empty = all.
    #[arg(long, env = "SKERRY_WATCH_NAMESPACE", default_value = "")]
    pub watch_namespace: String,

    /// Image of the nodes of databases that are made from now on and do not name one.
    #[arg(long, env = "SKERRY_NODE_IMAGE")]
    pub node_image: String,

    /// Make a NetworkPolicy for each database: nodes are reached by each other alone, and take orders from the operator alone.
    #[arg(long, env = "SKERRY_NETWORK_POLICIES", default_value_t = true, action = ArgAction::Set)]
    pub network_policies: bool,

    /// Labels of this operator's pods, as `key=value`. Without any, a database's NetworkPolicy lets orders in from anywhere.
    #[arg(long, env = "SKERRY_POD_LABELS", value_delimiter = ',', value_parser = label)]
    pub pod_labels: Vec<(String, String)>,

    /// Where /metrics, /livez and /readyz are served.
    #[arg(long, env = "SKERRY_HTTP", default_value = "[::]:8080")]
    pub http: SocketAddr,

    /// How much is logged: a level, or a filter such as `info,skerry_operator=debug`.
    #[arg(long, env = "SKERRY_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}

impl Args {
    /// The Lease by which this operator leads.
    pub fn lease(&self) -> LeaseConfig {
        LeaseConfig {
            namespace: self.namespace.clone(),
            name: self.lease.clone(),
            identity: self.identity.clone(),
            watched: self.watch_namespace.clone(),
        }
    }

    /// Whom the databases' NetworkPolicies let in. `None` = none are made.
    pub fn policies(&self) -> Option<OperatorPods> {
        let pods =
            || OperatorPods { namespace: self.namespace.clone(), labels: self.pod_labels.iter().cloned().collect() };
        self.network_policies.then(pods)
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be key=value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operator_needs_its_arguments_and_a_probe_none_of_them() {
        let parse = |args: &[&str]| Program::try_parse_from(std::iter::once(&"skerry-operator").chain(args));
        assert!(parse(&["--namespace", "n", "--identity", "i"]).is_err());
        assert!(parse(&["--namespace", "n", "--identity", "i", "--node-image", "x:1"]).unwrap().args.is_some());
        let more = ["--namespace", "n", "--identity", "i", "--node-image", "x:1", "--pod-labels", "a=b,c=d"];
        let labels = parse(&more).unwrap().args.unwrap().policies().unwrap().labels;
        assert_eq!(labels.into_iter().collect::<Vec<_>>(), [("a".into(), "b".into()), ("c".into(), "d".into())]);
        let off = parse(&[&more[..], &["--network-policies", "false"]].concat()).unwrap();
        assert_eq!(off.args.unwrap().policies(), None);
        assert!(parse(&["--namespace", "n", "--identity", "i", "--node-image", "x:1", "--pod-labels", "a"]).is_err());
        assert!(matches!(parse(&["probe", "http://a:1/x"]).unwrap().command, Some(Command::Probe { .. })));
    }
}
