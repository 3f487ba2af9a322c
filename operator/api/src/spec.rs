//! What users wish. Rules that compare fields are CEL, beside the fields that they compare; their messages say what is
//! allowed.
//!
//! The pattern of quantities is narrower than Kubernetes' grammar where a number is far from any that is allowed: rules are
//! evaluated on the client's side too, in 128 bits.
#![expect(unreachable_pub, reason = "the derive repeats the structs where nobody reaches them")]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::status::DistributedDatabaseStatus;

/// A sharded, replicated key-value database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "skerry.io",
    version = "v1alpha1",
    kind = "DistributedDatabase",
    plural = "distributeddatabases",
    singular = "distributeddatabase",
    shortname = "ddb",
    category = "databases",
    namespaced,
    cel,
    doc = "A sharded, replicated key-value database.",
    status = "DistributedDatabaseStatus",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.nodes"),
    printcolumn(name = "Copies", type_ = "integer", json_path = ".spec.replicationFactor"),
    printcolumn(name = "Shards", type_ = "integer", json_path = ".status.counts.shards"),
    printcolumn(name = "Survives", type_ = "string", json_path = ".status.survives"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.operation"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([a-z0-9-]{0,24}[a-z0-9])?$')")
        .message("metadata.name must begin with a lower-case letter, hold lower-case letters, digits and inner hyphens, and have at most 26 characters")
        .reason(Reason::FieldValueInvalid),
    // Before that no volume has data, and what nobody provides is corrected by editing.
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.founded) || !oldSelf.status.founded || !isQuantity(self.spec.storage.size) || !isQuantity(oldSelf.spec.storage.size) || quantity(self.spec.storage.size).compareTo(quantity(oldSelf.spec.storage.size)) >= 0 || (has(oldSelf.status.volumeSize) && isQuantity(oldSelf.status.volumeSize) && quantity(self.spec.storage.size).compareTo(quantity(oldSelf.status.volumeSize)) >= 0)")
        .message("size must not become less than the volumes are: they can only grow"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.founded) || !oldSelf.status.founded || (has(self.spec.storage.storageClassName) ? self.spec.storage.storageClassName : '') == (has(oldSelf.spec.storage.storageClassName) ? oldSelf.spec.storage.storageClassName : '')")
        .message("storageClassName may not be set, changed or taken out after the database was founded: the volumes are of the old class")
)]
#[x_kube(
    validation = Rule::new("self.replicationFactor <= self.replicas")
        .message("replicationFactor must be at most replicas: every copy of a shard needs a node of its own")
        .field_path(".replicationFactor"),
    validation = Rule::new("!has(self.zones) || self.replicas >= size(self.zones)")
        .message("replicas must be at least the number of zones: every zone needs a node")
        .field_path(".replicas"),
    validation = Rule::new("!has(self.tables) || self.tables.all(t, !has(t.replicationFactor) || t.replicationFactor <= self.replicas)")
        .message("a table's replicationFactor must be at most replicas: every copy of a shard needs a node of its own")
        .field_path(".tables"),
    // Not on the table: the client side evaluation pairs old and new entries of a list by place, not by name.
    validation = Rule::new("!has(self.tables) || !has(oldSelf.tables) || self.tables.all(t, oldSelf.tables.all(o, o.name != t.name || o.fragmentation.type == t.fragmentation.type))")
        .message("fragmentation.type of an existing table may not be changed: make another table")
        .field_path(".tables")
)]
#[serde(rename_all = "camelCase")]
pub struct DistributedDatabaseSpec {
    /// Storage nodes.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: u32,
    /// Copies of every shard, unless a table says otherwise.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 7))]
    pub replication_factor: u32,
    /// Failure domains. The copies of a shard lie in as many of them as there are. Empty = none named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 25), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub zones: Vec<String>,
    /// Of each node.
    #[serde(default)]
    pub storage: Storage,
    /// The tables. One that is taken out here keeps its data, and is named in `status.blockedBy`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub tables: Vec<Table>,
    /// How shards move.
    #[serde(default)]
    pub rebalance: Rebalance,
    /// What becomes of volumes that are no longer used.
    #[serde(default)]
    pub volume_retention: VolumeRetention,
    /// What becomes of a table that is taken out of `tables`.
    #[serde(default)]
    pub table_removal: TableRemoval,
    /// With `tableRemoval: Drop`, a table goes when it has been out of `tables` for so long. Until then it can be put back
    /// with nothing lost.
    #[serde(default = "ten_minutes")]
    #[schemars(range(max = 604_800))]
    pub table_removal_delay_seconds: u32,
    /// A node whose volume is lost (its host was deleted, say) is replaced by one with an empty volume after so long.
    #[serde(default = "ten_minutes")]
    #[schemars(range(min = 10, max = 604_800))]
    pub replace_after_seconds: u32,
    /// A node that nobody has heard of for so long, and whose pod is not ready, is replaced by one with an empty volume,
    /// though its host is still listed: one at a time, and only while every shard goes on without it. The old volume stays.
    /// Absent = never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 604_800))]
    pub replace_silent_after_seconds: Option<u32>,
    /// Whether nodes may share a host, whose loss takes all of them at once. What is shared is named in `status.blockedBy`.
    #[serde(default)]
    pub spread_by_host: SpreadByHost,
    /// Of the nodes. Absent = the one that the database was made with, so that no upgrade of the operator restarts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// Of each node.
    #[serde(default)]
    pub resources: Resources,
    /// Nothing is changed while this is true.
    #[serde(default)]
    pub paused: bool,
}

/// The volume of each node, and what keeps the data on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("self.size.matches('^([0-9]{1,19}([.][0-9]{0,9})?[num]?|[.][0-9]{1,9}[num]?|([0-9]{1,10}([.][0-9]{0,9})?|[.][0-9]{1,9})([kMGTPE]|[KMGTPE]i|[eE]([+]?1?[0-9]|-[0-9])))$') && isQuantity(self.size) && quantity(self.size).compareTo(quantity('256Mi')) >= 0 && quantity(self.size).compareTo(quantity('1Pi')) <= 0")
        .message("size must be a quantity without sign between 256Mi and 1Pi, such as 10Gi")
        .field_path(".size"),
    validation = Rule::new("self.engine == oldSelf.engine")
        .message("engine may not be changed: the data on the volumes is in its format")
        .field_path(".engine")
)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Of each node's volume. May grow.
    #[serde(default = "ten_gibibytes")]
    #[schemars(length(min = 1, max = 32))]
    pub size: String,
    /// Absent = the default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// Keeps the data.
    #[serde(default)]
    pub engine: Engine,
}

/// What keeps the data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Engine {
    /// sled.
    #[default]
    Sled,
    /// fjall.
    Fjall,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Table {
    /// A DNS label.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// How keys are laid out.
    pub fragmentation: Fragmentation,
    /// How the copies agree.
    #[serde(default)]
    pub consistency: Consistency,
    /// Copies of every shard of this table. Absent = as the database says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 7))]
    pub replication_factor: Option<u32>,
}

/// How a table's keys are laid out over its first shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("self.type == 'Range' || !has(self.splitPoints)")
        .message("splitPoints may only be specified when type is Range")
        .field_path(".splitPoints"),
    validation = Rule::new("self.type == 'Hash' || !has(self.shards)")
        .message("shards may only be specified when type is Hash")
        .field_path(".shards"),
    validation = Rule::new("!has(self.splitPoints) || self.splitPoints.isSorted()")
        .message("splitPoints must rise, such as [D, M, T]")
        .field_path(".splitPoints")
)]
#[serde(rename_all = "camelCase")]
pub struct Fragmentation {
    /// Whether keys lie in their own order, or in that of their hash.
    pub r#type: FragmentationType,
    /// Of a `Range` table: first keys of its second and later shards, each once and rising.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 255), inner(length(min = 1, max = 1024)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub split_points: Vec<String>,
    /// Of a `Hash` table. Absent = four for each node that there is when the table is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub shards: Option<u32>,
}

/// Whether keys lie in their own order, or in that of their hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FragmentationType {
    /// As they are.
    Range,
    /// By the hash of their partition.
    Hash,
}

/// How the copies of a table's shards agree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("self.type != 'Quorum'")
        .message("Quorum tables are not available yet; use consistency.type Leader")
        .field_path(".type"),
    validation = Rule::new("self.type == 'Quorum' || (!has(self.writeQuorum) && !has(self.readQuorum) && !has(self.conflictResolution))")
        .message("writeQuorum, readQuorum and conflictResolution may only be specified when type is Quorum")
)]
#[serde(rename_all = "camelCase")]
pub struct Consistency {
    /// Leader: one copy orders the writes. Quorum: not available yet.
    #[serde(default)]
    pub r#type: ConsistencyType,
    /// Of a `Quorum` table: copies that a write waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 7))]
    pub write_quorum: Option<u32>,
    /// Of a `Quorum` table: copies that a read asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 7))]
    pub read_quorum: Option<u32>,
    /// Of a `Quorum` table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict_resolution: Option<ConflictResolution>,
}

/// How the copies of a table's shards agree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConsistencyType {
    /// One copy orders the writes.
    #[default]
    Leader,
    /// Not available yet.
    Quorum,
}

/// Which of two concurrent writes stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConflictResolution {
    /// The one with the later version.
    LastWriterWins,
}

/// How shards move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("self.maxBytesPerSecond.matches('^([0-9]{1,19}([.][0-9]{0,9})?[num]?|[.][0-9]{1,9}[num]?|([0-9]{1,10}([.][0-9]{0,9})?|[.][0-9]{1,9})([kMGTPE]|[KMGTPE]i|[eE]([+]?1?[0-9]|-[0-9])))$') && isQuantity(self.maxBytesPerSecond) && quantity(self.maxBytesPerSecond).compareTo(quantity('64Ki')) >= 0 && quantity(self.maxBytesPerSecond).compareTo(quantity('1Ti')) <= 0")
        .message("maxBytesPerSecond must be a quantity without sign of at least 64Ki and at most 1Ti, such as 64Mi")
        .field_path(".maxBytesPerSecond")
)]
#[serde(rename_all = "camelCase")]
pub struct Rebalance {
    /// Manual: a plan waits until the annotation `skerry.io/approved-plan` carries its name, `status.plan.id`. A plan that
    /// has changed since has another name, and asks again.
    #[serde(default)]
    pub approval: Approval,
    /// Shards that move into or out of one node at a time.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 100))]
    pub max_moves_per_node: u32,
    /// That one node sends while shards move.
    #[serde(default = "sixty_four_mebibytes")]
    #[schemars(length(min = 1, max = 32))]
    pub max_bytes_per_second: String,
}

/// Who lets a plan begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Approval {
    /// It begins by itself.
    #[default]
    Automatic,
    /// A person.
    Manual,
}

/// What becomes of volumes that are no longer used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeRetention {
    /// Of nodes that were removed.
    #[serde(default)]
    pub when_scaled: Retention,
    /// Of a database that was deleted.
    #[serde(default)]
    pub when_deleted: Retention,
}

/// What each node asks of its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("self.cpu.matches('^([0-9]{1,19}([.][0-9]{0,9})?[num]?|[.][0-9]{1,9}[num]?|([0-9]{1,10}([.][0-9]{0,9})?|[.][0-9]{1,9})([kMGTPE]|[KMGTPE]i|[eE]([+]?1?[0-9]|-[0-9])))$') && isQuantity(self.cpu) && quantity(self.cpu).compareTo(quantity('10m')) >= 0 && quantity(self.cpu).compareTo(quantity('10k')) <= 0")
        .message("cpu must be a quantity without sign between 10m and 10k, such as 500m or 2")
        .field_path(".cpu"),
    validation = Rule::new("self.memory.matches('^([0-9]{1,19}([.][0-9]{0,9})?[num]?|[.][0-9]{1,9}[num]?|([0-9]{1,10}([.][0-9]{0,9})?|[.][0-9]{1,9})([kMGTPE]|[KMGTPE]i|[eE]([+]?1?[0-9]|-[0-9])))$') && isQuantity(self.memory) && quantity(self.memory).compareTo(quantity('128Mi')) >= 0 && quantity(self.memory).compareTo(quantity('64Ti')) <= 0")
        .message("memory must be a quantity without sign between 128Mi and 64Ti, such as 1Gi or 1.5Gi")
        .field_path(".memory")
)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// That it is sure to get; it may use more.
    #[serde(default = "quarter_of_a_core")]
    #[schemars(length(min = 1, max = 32))]
    pub cpu: String,
    /// That it may use. A quarter is for the store's cache.
    #[serde(default = "one_gibibyte")]
    #[schemars(length(min = 1, max = 32))]
    pub memory: String,
}

/// Whether nodes may share a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SpreadByHost {
    /// Each gets a host of its own where there are enough.
    #[default]
    Preferred,
    /// No two share a host: one for which there is none waits for it, and does not run.
    Required,
}

/// What becomes of a table that is taken out of the spec.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TableRemoval {
    /// It stays, and is named in `status.blockedBy`.
    #[default]
    Retain,
    /// It goes after `tableRemovalDelaySeconds`, and its data with it.
    Drop,
}

/// What becomes of a volume.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Retention {
    /// It stays.
    #[default]
    Retain,
    /// It goes, and its data with it.
    Delete,
}

impl Default for Storage {
    fn default() -> Self {
        Self { size: ten_gibibytes(), storage_class_name: None, engine: Engine::default() }
    }
}

impl Default for Rebalance {
    fn default() -> Self {
        let (max_moves_per_node, max_bytes_per_second) = (two(), sixty_four_mebibytes());
        Self { approval: Approval::default(), max_moves_per_node, max_bytes_per_second }
    }
}

impl Default for Resources {
    fn default() -> Self {
        Self { cpu: quarter_of_a_core(), memory: one_gibibyte() }
    }
}

fn quarter_of_a_core() -> String {
    "250m".to_owned()
}

fn one_gibibyte() -> String {
    "1Gi".to_owned()
}

fn ten_minutes() -> u32 {
    600
}

fn two() -> u32 {
    2
}

fn three() -> u32 {
    3
}

fn ten_gibibytes() -> String {
    "10Gi".to_owned()
}

fn sixty_four_mebibytes() -> String {
    "64Mi".to_owned()
}
