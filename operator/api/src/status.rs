//! What the operator reports. Counts, never the shard map: what grows with the data does not belong in the resource.
#![expect(unreachable_pub, reason = "the derive repeats the structs where nobody reaches them")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What is there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DistributedDatabaseStatus {
    /// The generation that all of this speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `Reconciling`, `Stalled`, `Available`, `Rebalancing`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Nodes that are members; what the scale subresource shows.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub replicas: u32,
    /// Members that have been heard of lately.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub ready_replicas: u32,
    /// Ready of wanted, such as `4/5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub nodes: Option<String>,
    /// Label selector of the nodes' pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub selector: Option<String>,
    /// How much there is. Absent = the database was not reached yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// What would move, or is about to. Absent = nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,
    /// What moves now. Absent = nothing, or the database does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moves: Option<MovesStatus>,
    /// Names the database to its nodes and volumes. By default the uid of the resource when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub cluster_id: Option<String>,
    /// True once the database was founded. It is never founded again.
    #[serde(default)]
    pub founded: bool,
    /// Which nodes may have founded the database, until it is written down that it was founded. Absent = not known: it was
    /// founded, or its first nodes were there before anybody wrote this down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub founding: Option<Founding>,
    /// Of the nodes, unless the spec names another: what the database was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image: Option<String>,
    /// What the largest volume is, or was asked to be where that is less. `spec.storage.size` may go back to it. Absent =
    /// there are none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub volume_size: Option<String>,
    /// Nodes that were chosen to leave. The choice is made once, and acted on from here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["slot".into()]))]
    pub victims: Vec<Victim>,
    /// Tables that the spec does not name any more, and that go when its delay is over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub table_removals: Vec<PendingRemoval>,
    /// Nodes that are not heard of, where `spec.replaceSilentAfterSeconds` says that such are to be replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["slot".into()]))]
    pub silent_nodes: Vec<SilentNode>,
    /// What the annotation `skerry.io/replace` asks for, and of which node and volume it was asked. It is done once. The last
    /// one that was done stays, so that an annotation that is written back does nothing to the node that came in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<Replacement>,
    /// The most that may fail now with nothing lost and every shard available: `1 zone`, `1 node`, `nothing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub survives: Option<String>,
    /// What is going on, in a few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub operation: Option<String>,
    /// Why what is wished is not there yet, or cannot be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub blocked_by: Vec<Blocked>,
}

/// How much there is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Tables.
    #[schemars(range(min = 0))]
    pub tables: u32,
    /// Shards of all tables.
    #[schemars(range(min = 0))]
    pub shards: u32,
    /// Shards whose copies are where they belong, and in sync.
    #[schemars(range(min = 0))]
    pub settled_shards: u32,
    /// Copies that are lost and being built anew.
    #[schemars(range(min = 0))]
    pub lost_copies: u32,
}

/// What would move, or is about to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    /// What the annotation that approves it must carry. Absent = nobody need approve it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub id: Option<String>,
    /// Of the spec that it serves.
    #[schemars(range(min = 0))]
    pub generation: i64,
    /// Of the shard map that it was made from.
    #[schemars(range(min = 0))]
    pub epoch: i64,
    /// Shards that change places.
    #[schemars(range(min = 0))]
    pub shards: u32,
    /// Copies that arrive somewhere.
    #[schemars(range(min = 0))]
    pub replicas: u32,
    /// Of these copies, as far as known.
    #[schemars(range(min = 0))]
    pub bytes: i64,
    /// The fewest copies that could move.
    #[schemars(range(min = 0))]
    pub lower_bound: u32,
}

/// What moves now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MovesStatus {
    /// When it was first seen that something moves.
    pub start_time: Time,
    /// When it was last seen that something had come through: since then, nothing.
    pub last_progress_time: Time,
    /// Shards whose copies are not yet where they belong.
    #[schemars(range(min = 0))]
    pub shards: u32,
    /// Copies that are to arrive.
    #[schemars(range(min = 0))]
    pub replicas: u32,
    /// Yet to be sent for them, rounded up to two digits. Absent = unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub bytes: Option<i64>,
    /// Sent since `startTime`, as far as it was seen.
    #[schemars(range(min = 0))]
    pub sent_bytes: i64,
    /// Until all is sent, as it looks now: by the limit of bytes a second, or by what has come through so far where that
    /// is slower. Rounded up to two digits. Absent = unknown, also while nothing comes through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub seconds_left: Option<i64>,
    /// How far the shards of Quorum tables are whose copies change, or W and R. Absent = none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum_stages: Option<QuorumStages>,
}

/// Shards of Quorum tables whose copies change, or W and R, counted by the stage of the change. They pass the stages in
/// this order; back only from the first two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuorumStages {
    /// Writes go to the old copies and the new ones, reads to the old ones. The new ones copy what they lack.
    #[schemars(range(min = 0))]
    pub write_both: u32,
    /// Writes go to the old copies and the new ones, reads to the new ones.
    #[schemars(range(min = 0))]
    pub read_new: u32,
    /// Writes and reads go to the new copies. The old ones hand over what others may lack, and go.
    #[schemars(range(min = 0))]
    pub new_only: u32,
}

/// Which nodes may have founded the database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Founding {
    /// Those that were told to. A node that was not has founded nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["slot".into()]))]
    pub told: Vec<Founder>,
}

/// A node that was told to found the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Founder {
    /// Its place: `<database>-<zone>-<ordinal>`.
    #[schemars(length(min = 1, max = 63))]
    pub slot: String,
    /// The uid of the volume claim that its place had.
    #[schemars(length(max = 64))]
    pub volume: String,
}

/// A node that was chosen to leave.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Victim {
    /// Its place: `<database>-<zone>-<ordinal>`.
    #[schemars(length(min = 1, max = 63))]
    pub slot: String,
    /// Its id in the database. Absent = it has not joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub node: Option<i64>,
}

/// A table that is to be dropped, unless it is put back into the spec before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingRemoval {
    /// The table's name, as the spec had it.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Its id in the database: another table of the same name is not meant.
    #[schemars(range(min = 0))]
    pub table: i64,
    /// When it was first seen to be missing in the spec.
    pub since: Time,
}

/// A node that is not heard of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SilentNode {
    /// Its place: `<database>-<zone>-<ordinal>`.
    #[schemars(length(min = 1, max = 63))]
    pub slot: String,
    /// Its id in the database.
    #[schemars(range(min = 0))]
    pub node: i64,
    /// The uid of the volume claim that its place had when it was first seen to be silent: no other one is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub volume: Option<String>,
    /// When it was first seen to be silent: neither heard of, nor its pod ready.
    pub since: Time,
}

/// A node that a person wants to be replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replacement {
    /// Its place, as the annotation names it.
    #[schemars(length(min = 1, max = 63))]
    pub slot: String,
    /// Its id in the database. Absent = none had joined from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub node: Option<i64>,
    /// The uid of the volume claim that its place had: no other one is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub volume: Option<String>,
    /// The node that came in its place: it was done, and is not done again to this one. Absent = it is not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub done_by: Option<i64>,
}

/// One reason why what is wished is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Blocked {
    /// In CamelCase, for programs.
    #[schemars(length(min = 1, max = 64))]
    pub reason: String,
    /// With numbers, for people.
    #[schemars(length(max = 1024))]
    pub message: String,
}
