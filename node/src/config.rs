//! What the arguments mean together: refused here, before anything is touched.

use std::net::SocketAddr;
use std::path::PathBuf;

use skerry_core::ids::ClusterId;
use skerry_core::limits::CLUSTER_ID_BYTES_MAX;

use crate::args::Args;
use crate::budget::{self, BUDGET_BYTES_MAX, BUDGET_BYTES_MIN};
use crate::engine::{self, CACHE_BYTES_MAX, CACHE_BYTES_MIN, EngineKind};
use crate::log::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::server::Ports;

/// Without a declared reserve a tenth of the volume is kept, and at most this; more where the store's own work takes more.
pub const RESERVE_BYTES_MAX: u64 = 1 << 30;
/// The least that `--disk-stall-ms` may say: below, a busy disk is taken for one that hangs.
pub const DISK_STALL_MS_MIN: u64 = 500;
/// The most that `--disk-stall-ms` may say: clients have given up before.
pub const DISK_STALL_MS_MAX: u64 = 60_000;
/// The least that `--connections-max` may say: with fewer the other nodes and the probes find no place.
pub const CONNECTIONS_MIN: usize = 8;
/// The most that `--connections-max` may say.
pub const CONNECTIONS_MAX: usize = 65_536;
/// The most that `--sessions-max` may say.
pub const SESSIONS_MAX: u64 = 65_536;
/// Where the other nodes are listened for, if not said otherwise.
const PEER_PORT: u16 = 7402;
/// Where orders are listened for, if not said otherwise.
const ADMIN_PORT: u16 = 7403;

/// A validated configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Folder of the volume.
    pub data: PathBuf,
    /// Where gRPC listens, for whom.
    pub listen: Ports<SocketAddr>,
    /// File with the secrets that are demanded of nodes and of who gives orders. `None` = none are.
    pub secret_file: Option<PathBuf>,
    /// Nodes of the release before may speak on the clients' port.
    pub accept_older_peers: bool,
    /// Where HTTP listens.
    pub http: SocketAddr,
    /// Where others reach the node. `None` = where it listens.
    pub advertise: Option<String>,
    /// Which database.
    pub cluster: ClusterId,
    /// Failure domain; empty = none named.
    pub zone: String,
    /// Where an empty volume gets its identity from.
    pub origin: Origin,
    /// Which store.
    pub engine: EngineKind,
    /// Memory for the store's cache.
    pub cache_bytes: u64,
    /// Memory for requests, answers, and what lags behind.
    pub memory_budget_bytes: usize,
    /// Declared size of the volume.
    pub capacity_bytes: Option<u64>,
    /// Below this much free, only deletes are taken.
    pub reserve_bytes: u64,
    /// Size of one segment of the log.
    pub segment_bytes: u64,
    /// After so many milliseconds a write of the log means that the disk has stalled.
    pub disk_stall_ms: u64,
    /// Connections to each port at most.
    pub connections_max: usize,
    /// Sessions of clients at most.
    pub sessions_max: u64,
}

/// Where an empty volume gets its identity from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It must have one already.
    Volume,
    /// It makes the database.
    Bootstrap,
    /// It joins through one of these.
    Join(Vec<String>),
}

/// Why the arguments are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Empty or too long.
    #[error("--cluster-id has {bytes} bytes, it must have 1 to {CLUSTER_ID_BYTES_MAX}")]
    ClusterId {
        /// Its length.
        bytes: usize,
    },
    /// Not `host:port`.
    #[error("{option} {value:?} is not host:port")]
    Address {
        /// Which option.
        option: &'static str,
        /// What was given.
        value: String,
    },
    /// Others cannot reach a node at every address.
    #[error(
        "--listen {0} takes connections on every address: say with --advertise host:port where this node is reached"
    )]
    Unreachable(SocketAddr),
    /// Nothing would be left to write to.
    #[error("--reserve-bytes {reserve} must be less than --capacity-bytes {capacity}")]
    Reserve {
        /// To be kept.
        reserve: u64,
        /// In all.
        capacity: u64,
    },
    /// Out of range.
    #[error(
        "--cache-bytes {0} must be between {CACHE_BYTES_MIN} and {CACHE_BYTES_MAX}: a store with another cache does not open"
    )]
    Cache(u64),
    /// Out of range.
    #[error("--memory-budget-bytes {0} must be between {BUDGET_BYTES_MIN} and {BUDGET_BYTES_MAX}")]
    MemoryBudget(u64),
    /// Out of range.
    #[error("--segment-bytes {0} must be between {SEGMENT_BYTES_MIN} and {SEGMENT_BYTES_MAX}")]
    Segment(u64),
    /// Out of range: below, a busy disk is taken for one that hangs; above, clients have given up before.
    #[error("--disk-stall-ms {0} must be between {DISK_STALL_MS_MIN} and {DISK_STALL_MS_MAX}")]
    DiskStall(u64),
    /// Out of range: with fewer the other nodes and the probes find no place.
    #[error("--connections-max {0} must be between {CONNECTIONS_MIN} and {CONNECTIONS_MAX}")]
    Connections(usize),
    /// Out of range.
    #[error("--sessions-max {0} must be between 1 and {SESSIONS_MAX}")]
    Sessions(u64),
}

impl Config {
    /// Checks the arguments.
    pub fn new(args: Args) -> Result<Self, ConfigError> {
        let bytes = args.cluster_id.len();
        if bytes == 0 || bytes > CLUSTER_ID_BYTES_MAX {
            return Err(ConfigError::ClusterId { bytes });
        }
        for seed in &args.join {
            check_address("--join", seed)?;
        }
        match &args.advertise {
            Some(advertise) => check_address("--advertise", advertise)?,
            None if args.listen.ip().is_unspecified() => return Err(ConfigError::Unreachable(args.listen)),
            None => {}
        }
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&args.segment_bytes) {
            return Err(ConfigError::Segment(args.segment_bytes));
        }
        if !(CACHE_BYTES_MIN..=CACHE_BYTES_MAX).contains(&args.cache_bytes) {
            return Err(ConfigError::Cache(args.cache_bytes));
        }
        let budget = args.memory_budget_bytes.unwrap_or_else(budget::default_bytes);
        if !(BUDGET_BYTES_MIN..=BUDGET_BYTES_MAX).contains(&budget) {
            return Err(ConfigError::MemoryBudget(budget));
        }
        if !(DISK_STALL_MS_MIN..=DISK_STALL_MS_MAX).contains(&args.disk_stall_ms) {
            return Err(ConfigError::DiskStall(args.disk_stall_ms));
        }
        if !(CONNECTIONS_MIN..=CONNECTIONS_MAX).contains(&args.connections_max) {
            return Err(ConfigError::Connections(args.connections_max));
        }
        if !(1..=SESSIONS_MAX).contains(&args.sessions_max) {
            return Err(ConfigError::Sessions(args.sessions_max));
        }
        let reserve_bytes = args.reserve_bytes.unwrap_or_else(|| default_reserve(args.engine, args.capacity_bytes));
        if let Some(capacity) = args.capacity_bytes.filter(|capacity| *capacity <= reserve_bytes) {
            return Err(ConfigError::Reserve { reserve: reserve_bytes, capacity });
        }
        let origin = match (args.bootstrap, args.join) {
            (true, _) => Origin::Bootstrap,
            (false, seeds) if seeds.is_empty() => Origin::Volume,
            (false, seeds) => Origin::Join(seeds),
        };
        Ok(Self {
            data: args.data,
            listen: Ports {
                clients: args.listen,
                peers: args.peer_listen.unwrap_or(SocketAddr::new(args.listen.ip(), PEER_PORT)),
                admin: args.admin_listen.unwrap_or(SocketAddr::new(args.listen.ip(), ADMIN_PORT)),
            },
            secret_file: args.secret_file,
            accept_older_peers: args.accept_older_peers,
            http: args.http,
            advertise: args.advertise,
            cluster: ClusterId(args.cluster_id),
            zone: args.zone,
            origin,
            engine: args.engine,
            cache_bytes: args.cache_bytes,
            memory_budget_bytes: usize::try_from(budget).map_err(|_| ConfigError::MemoryBudget(budget))?,
            capacity_bytes: args.capacity_bytes,
            reserve_bytes,
            segment_bytes: args.segment_bytes,
            disk_stall_ms: args.disk_stall_ms,
            connections_max: args.connections_max,
            sessions_max: args.sessions_max,
        })
    }
}

fn default_reserve(engine: EngineKind, capacity: Option<u64>) -> u64 {
    let tenth = capacity.map_or(RESERVE_BYTES_MAX, |capacity| (capacity / 10).min(RESERVE_BYTES_MAX));
    // Where not even that is there, or nobody says what is, a tenth has to do.
    let work = capacity.map_or(0, |capacity| engine::working_bytes(engine, capacity));
    if capacity.is_some_and(|capacity| work > capacity / 4) { tenth } else { tenth.max(work) }
}

fn check_address(option: &'static str, value: &str) -> Result<(), ConfigError> {
    let well_formed =
        value.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if well_formed { Ok(()) } else { Err(ConfigError::Address { option, value: value.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn config(more: &[&str]) -> Result<Config, ConfigError> {
        let least = ["skerry-node", "--data", "d", "--cluster-id", "c", "--listen", "127.0.0.1:0"];
        Config::new(Args::try_parse_from(least.iter().chain(more)).unwrap())
    }

    #[test]
    fn origin_follows_from_bootstrap_and_seeds() {
        assert_eq!(config(&[]).unwrap().origin, Origin::Volume);
        assert_eq!(config(&["--bootstrap"]).unwrap().origin, Origin::Bootstrap);
        assert_eq!(config(&["--join", "a:1"]).unwrap().origin, Origin::Join(vec!["a:1".into()]));
    }

    #[test]
    fn addresses_must_be_host_and_port() {
        for bad in ["a", ":1", "a:", "a:70000", "a:b"] {
            assert!(matches!(config(&["--join", bad]), Err(ConfigError::Address { option: "--join", .. })), "{bad}");
        }
        let all = Args::try_parse_from(["skerry-node", "--data", "d", "--cluster-id", "c"]).unwrap();
        assert!(matches!(Config::new(all), Err(ConfigError::Unreachable(_))));
    }

    #[test]
    fn a_cache_that_no_store_opens_with_is_refused() {
        for bytes in [0, 1, CACHE_BYTES_MIN - 1, CACHE_BYTES_MAX + 1, u64::MAX] {
            assert_eq!(config(&["--cache-bytes", &bytes.to_string()]), Err(ConfigError::Cache(bytes)));
        }
        assert_eq!(config(&["--cache-bytes", "1048576"]).unwrap().cache_bytes, CACHE_BYTES_MIN);
    }

    #[test]
    fn a_stall_that_is_none_or_comes_too_late_is_refused() {
        for ms in [0, DISK_STALL_MS_MIN - 1, DISK_STALL_MS_MAX + 1, u64::MAX] {
            assert_eq!(config(&["--disk-stall-ms", &ms.to_string()]), Err(ConfigError::DiskStall(ms)));
        }
        assert_eq!(config(&[]).unwrap().disk_stall_ms, 2_000);
    }

    #[test]
    fn ports_for_nodes_and_for_orders_are_on_the_address_of_the_clients() {
        let listen = config(&[]).unwrap().listen;
        assert_eq!(
            (listen.peers.to_string(), listen.admin.to_string()),
            ("127.0.0.1:7402".into(), "127.0.0.1:7403".into())
        );
        let listen = config(&["--peer-listen", "127.0.0.2:1", "--admin-listen", "127.0.0.3:2"]).unwrap().listen;
        assert_eq!((listen.peers.to_string(), listen.admin.to_string()), ("127.0.0.2:1".into(), "127.0.0.3:2".into()));
    }

    #[test]
    fn reserve_is_a_tenth_of_the_capacity_and_below_it() {
        assert_eq!(config(&["--capacity-bytes", "1000"]).unwrap().reserve_bytes, 100);
        assert_eq!(config(&[]).unwrap().reserve_bytes, RESERVE_BYTES_MAX);
        let refused = config(&["--capacity-bytes", "1000", "--reserve-bytes", "1000"]);
        assert_eq!(refused, Err(ConfigError::Reserve { reserve: 1000, capacity: 1000 }));
    }

    /// fjall merges on a full volume too, and a merge that finds no space ends the node.
    #[test]
    fn reserve_of_a_fjall_volume_has_space_for_its_merges() {
        for (mib, reserve_mib) in
            [(256, 64), (1 << 10, 128), (16 << 10, 2 << 10), (32 << 10, 4 << 10), (1 << 20, 4 << 10)]
        {
            let capacity: u64 = mib << 20;
            let config = config(&["--engine", "fjall", "--capacity-bytes", &capacity.to_string()]).unwrap();
            assert_eq!(config.reserve_bytes >> 20, reserve_mib, "{mib} MiB");
            assert!(config.reserve_bytes >= engine::working_bytes(EngineKind::Fjall, capacity));
        }
        assert_eq!(config(&["--engine", "fjall", "--capacity-bytes", "1000"]).unwrap().reserve_bytes, 100);
        assert_eq!(config(&["--engine", "fjall"]).unwrap().reserve_bytes, 1 << 30);
    }

    #[test]
    fn cluster_id_has_one_to_sixty_four_bytes() {
        let long = "c".repeat(65);
        for id in ["", long.as_str()] {
            let args = Args::try_parse_from(["skerry-node", "--data", "d", "--cluster-id", id]).unwrap();
            assert_eq!(Config::new(args), Err(ConfigError::ClusterId { bytes: id.len() }));
        }
    }
}
