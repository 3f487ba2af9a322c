//! The command line of `skerry-node`, and the environment behind it. Only names and syntax are checked here;
//! [`crate::config::Config`] checks what the values mean together.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::engine::EngineKind;

/// One storage node of a Skerry database.
#[derive(Debug, Clone, Parser)]
#[command(name = "skerry-node", version, about)]
pub struct Args {
    /// Folder of this node's volume: its identity, log and store.
    #[arg(long, env = "SKERRY_DATA")]
    pub data: PathBuf,

    /// Where the node listens for clients (gRPC). Port 0 = any free one. `[::]` is every address of IPv6 and of IPv4.
    #[arg(long, env = "SKERRY_LISTEN", default_value = "[::]:7400")]
    pub listen: SocketAddr,

    /// Where the node listens for the other nodes (gRPC), which ask on its clients' port for this one. Port 0 = any free one.
    /// By default the address of --listen, port 7402.
    #[arg(long, env = "SKERRY_PEER_LISTEN")]
    pub peer_listen: Option<SocketAddr>,

    /// Where the node listens for orders (gRPC): the operator's, and those of the command line. Port 0 = any free one. By
    /// default the address of --listen, port 7403.
    #[arg(long, env = "SKERRY_ADMIN_LISTEN")]
    pub admin_listen: Option<SocketAddr>,

    /// File with the database's secret, which is demanded on the ports for nodes and for orders, and sent to other nodes.
    /// One a line: the first is sent, all are accepted. Read again when it changes. Without it nothing is demanded.
    #[arg(long, env = "SKERRY_SECRET_FILE")]
    pub secret_file: Option<PathBuf>,

    /// Let nodes of the release before, which know no other port, speak on the clients' port, until the last of them has changed.
    #[arg(long, env = "SKERRY_ACCEPT_OLDER_PEERS")]
    pub accept_older_peers: bool,

    /// Where the node listens for /metrics, /livez and /readyz. Port 0 = any free one.
    #[arg(long, env = "SKERRY_HTTP", default_value = "[::]:7401")]
    pub http: SocketAddr,

    /// `host:port` where clients and the other nodes reach this one. By default the address that it listens on.
    #[arg(long, env = "SKERRY_ADVERTISE")]
    pub advertise: Option<String>,

    /// Names the database; a volume or a node of another one is refused.
    #[arg(long, env = "SKERRY_CLUSTER_ID")]
    pub cluster_id: String,

    /// Failure domain of this node.
    #[arg(long, env = "SKERRY_ZONE", default_value = "")]
    pub zone: String,

    /// Make the database, if the volume is empty. Exactly one node of a database may be told so, at its first start.
    #[arg(long, env = "SKERRY_BOOTSTRAP", conflicts_with = "join")]
    pub bootstrap: bool,

    /// `host:port` of a node to join through, if the volume is empty. May be repeated.
    #[arg(long, env = "SKERRY_JOIN", value_delimiter = ',')]
    pub join: Vec<String>,

    /// What keeps the data. A volume stays with the engine that it was made with.
    #[arg(long, env = "SKERRY_ENGINE", default_value_t = EngineKind::Sled)]
    pub engine: EngineKind,

    /// Memory that the store may use as cache, in bytes. At least 1 MiB.
    #[arg(long, env = "SKERRY_CACHE_BYTES", default_value_t = 256 << 20)]
    pub cache_bytes: u64,

    /// Memory for requests, answers, and what lags behind, in bytes; the store's cache is extra. By default an eighth of
    /// the memory limit of the process's control group, or of the machine's memory, at most 1 GiB. At least 64 MiB.
    #[arg(long, env = "SKERRY_MEMORY_BUDGET_BYTES")]
    pub memory_budget_bytes: Option<u64>,

    /// Size of the volume, where it is smaller than what the file system says.
    #[arg(long, env = "SKERRY_CAPACITY_BYTES")]
    pub capacity_bytes: Option<u64>,

    /// With less than this left of the volume, only deletes are taken. By default a tenth of the volume, at most 1 GiB;
    /// with fjall at least a sixteenth of it, at most 2 GiB.
    #[arg(long, env = "SKERRY_RESERVE_BYTES")]
    pub reserve_bytes: Option<u64>,

    /// Size of one segment of the log.
    #[arg(long, env = "SKERRY_SEGMENT_BYTES", default_value_t = 64 << 20)]
    pub segment_bytes: u64,

    /// A write of the log that waits for so many milliseconds means that the disk has stalled: the node then leads nothing
    /// that others can lead, and is not ready, until the disk answers. From 500 to 60000.
    #[arg(long, env = "SKERRY_DISK_STALL_MS", default_value_t = 2_000)]
    pub disk_stall_ms: u64,

    /// Connections to each port at most: the calls of those beyond are refused. From 8 to 65536.
    #[arg(long, env = "SKERRY_CONNECTIONS_MAX", default_value_t = 4_096)]
    pub connections_max: usize,

    /// Sessions of clients at most: those beyond are refused. From 1 to 65536.
    #[arg(long, env = "SKERRY_SESSIONS_MAX", default_value_t = 4_096)]
    pub sessions_max: u64,

    /// How much is logged.
    #[arg(long, env = "SKERRY_LOG_LEVEL", value_enum, default_value = "info")]
    pub log_level: LogLevel,
}

/// Levels of the program's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the usual levels")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// Our own crates at this level, everything else only its warnings: the raft crate and the stores speak of what this
    /// program reports itself, in its own words. But what fjall's own threads meet before they end, they tell nobody else.
    pub fn filter(self) -> String {
        let ours = self.as_str();
        format!(
            "warn,skerry_node={ours},skerry_core={ours},skerry_program={ours},raft=off,sled=off,fjall=error,lsm_tree=off"
        )
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bootstrap_and_join_exclude_each_other() {
        let error =
            Args::try_parse_from(["skerry-node", "--data", "d", "--cluster-id", "c", "--bootstrap", "--join", "a:1"]);
        assert!(error.unwrap_err().to_string().contains("cannot be used with"));
    }

    #[test]
    fn seeds_may_be_repeated_or_listed() {
        let args = ["skerry-node", "--data", "d", "--cluster-id", "c", "--join", "a:1", "--join", "b:2,c:3"];
        assert_eq!(Args::try_parse_from(args).unwrap().join, ["a:1", "b:2", "c:3"]);
    }
}
