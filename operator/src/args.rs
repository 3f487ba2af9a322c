//! The command line of `skerry-operator`, and the environment behind it.

use std::net::SocketAddr;

use clap::Parser;

/// Runs Skerry databases on Kubernetes.
#[derive(Debug, Clone, Parser)]
#[command(name = "skerry-operator", version, about)]
pub struct Args {
    /// Where the Lease is by which one operator acts at a time.
    #[arg(long, env = "SKERRY_NAMESPACE")]
    pub namespace: String,

    /// Names this operator in the Lease; no two may have the same.
    #[arg(long, env = "SKERRY_IDENTITY")]
    pub identity: String,

    /// Namespace whose databases are looked after. Empty = all.
    #[arg(long, env = "SKERRY_WATCH_NAMESPACE", default_value = "")]
    pub watch_namespace: String,

    /// Image of the nodes of databases that are made from now on and do not name one.
    #[arg(long, env = "SKERRY_NODE_IMAGE")]
    pub node_image: String,

    /// Where /metrics, /livez and /readyz are served.
    #[arg(long, env = "SKERRY_HTTP", default_value = "0.0.0.0:8080")]
    pub http: SocketAddr,

    /// How much is logged: a level, or a filter such as `info,skerry_operator=debug`.
    #[arg(long, env = "SKERRY_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}
