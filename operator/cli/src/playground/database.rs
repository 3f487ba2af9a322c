//! The database as its YAML describes it, checked: what a playground reads of a `DistributedDatabase`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Deserialize;
use skerry_core::limits::{REPLICATION_FACTOR_MAX, TABLE_SHARDS_MAX, is_dns_label};
use skerry_core::map::{Fragmentation, MoveLimits};

/// Shards of a hash table, for each node of the start, if the table does not say.
const HASH_SHARDS_PER_NODE: u32 = 4;

/// A checked database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Database {
    /// Its name.
    pub(crate) name: String,
    /// Storage nodes.
    pub(crate) replicas: u32,
    /// Failure domains; empty = none named.
    pub(crate) zones: Vec<String>,
    /// Keeps the data.
    pub(crate) engine: Engine,
    /// In the file's order.
    pub(crate) tables: Vec<Table>,
    /// Bounds of the moves.
    pub(crate) limits: MoveLimits,
    /// Nothing is changed while this is true.
    pub(crate) paused: bool,
}

/// A checked table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    /// Its name.
    pub(crate) name: String,
    /// How keys are laid out.
    pub(crate) fragmentation: Fragmentation,
    /// Copies of every shard.
    pub(crate) replication_factor: u32,
    /// First encoded keys of the shards that it starts with.
    pub(crate) starts: Vec<Bytes>,
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("failed to read {0}")]
    Read(PathBuf, #[source] io::Error),
    #[error("{0} is not a DistributedDatabase")]
    Form(PathBuf, #[source] serde_yaml::Error),
    #[error("{0}: {1}")]
    Refused(PathBuf, Refusal),
}

/// What a well-formed file may not say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("this is {0} {1}; apiVersion must be skerry.io/v1alpha1 and kind DistributedDatabase")]
    Kind(String, String),
    #[error("{0} {1:?} must be a DNS label: lower-case letters, digits and inner hyphens, at most 63")]
    Name(&'static str, String),
    #[error("spec.replicas must be greater than 0")]
    NoReplicas,
    #[error(
        "{field} is {factor}, it must be between 1 and spec.replicas, which is {replicas}, and at most {REPLICATION_FACTOR_MAX}"
    )]
    ReplicationFactor { field: String, factor: u32, replicas: u32 },
    #[error("spec.zones names {0:?} twice")]
    ZoneTwice(String),
    #[error("two tables are named {0:?}")]
    TableTwice(String),
    #[error("table {table:?}: splitPoints must rise; {point:?} does not")]
    SplitPoints { table: String, point: String },
    #[error("table {table:?}: shards must be between 1 and {TABLE_SHARDS_MAX}, it is {shards}")]
    Shards { table: String, shards: u32 },
    #[error("table {0:?}: Quorum tables are not available yet; use consistency type Leader")]
    Quorum(String),
    #[error("spec.rebalance.{0} is out of range or not a quantity such as 64Mi")]
    Limits(&'static str),
}

/// Reads and checks a file.
pub(crate) fn read(path: &Path) -> Result<Database, DatabaseError> {
    let text = fs::read_to_string(path).map_err(|e| DatabaseError::Read(path.to_owned(), e))?;
    let resource: Resource = serde_yaml::from_str(&text).map_err(|e| DatabaseError::Form(path.to_owned(), e))?;
    resource.check().map_err(|refusal| DatabaseError::Refused(path.to_owned(), refusal))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Resource {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Spec,
    #[serde(rename = "status")]
    _status: Option<serde_yaml::Value>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    #[serde(default = "three")]
    replicas: u32,
    #[serde(default = "three")]
    replication_factor: u32,
    #[serde(default)]
    zones: Vec<String>,
    #[serde(default)]
    storage: Storage,
    #[serde(default)]
    tables: Vec<TableSpec>,
    #[serde(default)]
    rebalance: Rebalance,
    #[serde(rename = "volumeRetention")]
    _volume_retention: Option<VolumeRetention>,
    #[serde(default)]
    paused: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Storage {
    #[serde(rename = "size")]
    _size: Option<String>,
    #[serde(rename = "storageClassName")]
    _storage_class_name: Option<String>,
    #[serde(default)]
    engine: Engine,
}

/// What keeps the data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum Engine {
    /// sled.
    #[default]
    Sled,
    /// fjall.
    Fjall,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TableSpec {
    name: String,
    fragmentation: FragmentationSpec,
    consistency: Option<ConsistencySpec>,
    replication_factor: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
enum FragmentationSpec {
    Range {
        #[serde(default, rename = "splitPoints")]
        split_points: Vec<String>,
    },
    Hash {
        shards: Option<u32>,
    },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConsistencySpec {
    r#type: ConsistencyType,
    #[serde(rename = "writeQuorum")]
    _write_quorum: Option<u32>,
    #[serde(rename = "readQuorum")]
    _read_quorum: Option<u32>,
    #[serde(rename = "conflictResolution")]
    _conflict_resolution: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum ConsistencyType {
    Leader,
    Quorum,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rebalance {
    #[serde(rename = "approval")]
    _approval: Option<String>,
    max_moves_per_node: Option<u32>,
    max_bytes_per_second: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VolumeRetention {
    #[serde(rename = "whenScaled")]
    _when_scaled: Option<String>,
    #[serde(rename = "whenDeleted")]
    _when_deleted: Option<String>,
}

fn three() -> u32 {
    3
}

impl Resource {
    fn check(self) -> Result<Database, Refusal> {
        if self.api_version != "skerry.io/v1alpha1" || self.kind != "DistributedDatabase" {
            return Err(Refusal::Kind(self.api_version, self.kind));
        }
        let (name, spec) = (self.metadata.name, self.spec);
        if !is_dns_label(&name) {
            return Err(Refusal::Name("metadata.name", name));
        }
        if spec.replicas == 0 {
            return Err(Refusal::NoReplicas);
        }
        let factor_fits = |field: String, factor: u32| {
            let fits = factor >= 1 && factor <= spec.replicas && factor as usize <= REPLICATION_FACTOR_MAX;
            if fits { Ok(factor) } else { Err(Refusal::ReplicationFactor { field, factor, replicas: spec.replicas }) }
        };
        let default_factor = factor_fits("spec.replicationFactor".to_owned(), spec.replication_factor)?;
        let mut zones = BTreeSet::new();
        for zone in &spec.zones {
            if !is_dns_label(zone) {
                return Err(Refusal::Name("zone", zone.clone()));
            }
            if !zones.insert(zone) {
                return Err(Refusal::ZoneTwice(zone.clone()));
            }
        }
        let mut names = BTreeSet::new();
        let mut tables = Vec::new();
        for table in spec.tables {
            if !names.insert(table.name.clone()) {
                return Err(Refusal::TableTwice(table.name));
            }
            let factor = match table.replication_factor {
                Some(factor) => factor_fits(format!("table {:?}: replicationFactor", table.name), factor)?,
                None => default_factor,
            };
            tables.push(table.check(factor, spec.replicas)?);
        }
        let limits = spec.rebalance.check()?;
        let (replicas, engine, paused) = (spec.replicas, spec.storage.engine, spec.paused);
        Ok(Database { name, replicas, zones: spec.zones, engine, tables, limits, paused })
    }
}

impl TableSpec {
    fn check(self, replication_factor: u32, nodes: u32) -> Result<Table, Refusal> {
        let name = self.name;
        if !is_dns_label(&name) {
            return Err(Refusal::Name("table name", name));
        }
        if self.consistency.is_some_and(|c| c.r#type == ConsistencyType::Quorum) {
            return Err(Refusal::Quorum(name));
        }
        let (fragmentation, starts) = match self.fragmentation {
            FragmentationSpec::Range { split_points } => {
                let mut starts = vec![Bytes::new()];
                for point in split_points {
                    if starts.last().is_some_and(|last| last.as_ref() >= point.as_bytes()) {
                        return Err(Refusal::SplitPoints { table: name, point });
                    }
                    starts.push(Bytes::from(point));
                }
                (Fragmentation::Range, starts)
            }
            FragmentationSpec::Hash { shards } => {
                let shards = shards.unwrap_or(nodes.saturating_mul(HASH_SHARDS_PER_NODE));
                if shards == 0 || shards as usize > TABLE_SHARDS_MAX {
                    return Err(Refusal::Shards { table: name, shards });
                }
                (Fragmentation::Hash, (0..shards).map(|i| hash_start(i, shards)).collect())
            }
        };
        Ok(Table { name, fragmentation, replication_factor, starts })
    }
}

impl Rebalance {
    fn check(self) -> Result<MoveLimits, Refusal> {
        let default = MoveLimits::default();
        let moves_per_node = self.max_moves_per_node.unwrap_or(default.moves_per_node);
        if moves_per_node == 0 {
            return Err(Refusal::Limits("maxMovesPerNode"));
        }
        let bytes_per_second = match self.max_bytes_per_second {
            Some(text) => quantity(&text).filter(|b| *b >= 64 << 10).ok_or(Refusal::Limits("maxBytesPerSecond"))?,
            None => default.bytes_per_second,
        };
        Ok(MoveLimits { moves_per_node, bytes_per_second })
    }
}

/// The first key of one of equal parts of the hashes; the very first shard begins with the empty key.
fn hash_start(shard: u32, shards: u32) -> Bytes {
    if shard == 0 {
        return Bytes::new();
    }
    let start = (u128::from(shard) << 64) / u128::from(shards);
    Bytes::copy_from_slice(&u64::try_from(start).unwrap_or(u64::MAX).to_be_bytes())
}

/// A Kubernetes quantity of bytes.
fn quantity(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let factor: u64 = match &text[digits..] {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(factor)
}
