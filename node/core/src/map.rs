//! The shard map: what every node, client and operator knows of the database, at one epoch. Records carry the epoch of
//! their last change, so a newer map reaches an older one as the records that changed.

mod check;
mod quorum;
mod shard;

pub use check::GENERATION_JUMP_MAX;
pub(crate) use check::{REPLICAS_JUMP_MAX, check_descriptor, check_layout, check_members, check_quorum, home_of};
pub use quorum::{QuorumChange, QuorumRecord, Quorums};
pub use shard::ShardRecord;

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{ClusterId, Epoch, Generation, Incarnation, NodeId, ReplicaId, ShardId, TableId};
use crate::level::FormatLevel;
use crate::planted::{Planted, is_planted};
use crate::quorum::shown::Resolve;

/// A storage node, as the system shard has recorded it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The node's id. It is given when the node joins, and never reused.
    pub id: NodeId,
    /// Incarnation of the node's latest recorded start.
    pub incarnation: Incarnation,
    /// Drawn once for the volume; a second join of the same volume gets the same node id.
    pub volume: String,
    /// `host:port` where the other nodes and the clients reach it.
    pub address: String,
    /// Failure domain; empty = none named.
    pub zone: String,
    /// What the operator wants of it.
    pub state: NodeState,
    /// Epoch of the last change of this record.
    pub epoch: Epoch,
}

/// What the operator wants of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeState {
    /// The node may hold replicas.
    Active,
    /// Is to hold none; nothing new lands on it.
    Draining,
    /// Was removed under a certificate; never speaks again.
    Removed,
}

/// How a table's keys become its ordered range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fragmentation {
    /// By the keys themselves, in their order.
    Range,
    /// By the hash of their partition.
    Hash,
}

/// One table, as the map describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRecord {
    /// The table's id. It is never reused.
    pub id: TableId,
    /// A DNS label, unique among the tables that are not dropped.
    pub name: String,
    /// How the table's keys become its ordered range.
    pub fragmentation: Fragmentation,
    /// How the copies of the table's shards agree.
    pub consistency: Consistency,
    /// Number of copies that every shard of the table is to have.
    pub replication_factor: u32,
    /// True once dropped: its replicas destroy themselves.
    pub dropped: bool,
    /// Epoch of the last change of this record.
    pub epoch: Epoch,
}

/// How the copies of a table's shards agree. A table keeps its kind for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Consistency {
    /// One leader orders the writes; the replicas are in sync before the answer.
    Leader,
    /// Several copies take the writes, and converge. From format level 3 on.
    Quorum {
        /// W: copies that must have a write on disk before it is acknowledged. From 1 to the replication factor.
        write: u32,
        /// R: copies that must have answered before a read is. From 1 to the replication factor.
        read: u32,
        /// How values that were written at the same time become what a reader is shown.
        resolve: Resolve,
    },
}

/// A planned or real copy: which, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Replica {
    /// Node that the replica is on.
    pub node: NodeId,
    /// The replica's id. It is never reused.
    pub id: ReplicaId,
}

/// A copy's part in its Raft group, or in the sets of a quorum shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// A full member: it votes in elections, and its acknowledgement counts towards a commit. Of a quorum shard: in the old
    /// set and in the new one.
    Voter,
    /// A member that receives the log and does not vote. A quorum shard has none.
    Learner,
    /// Votes in the coming configuration of a joint one only. Of a quorum shard: in the new set alone.
    Incoming,
    /// Votes in the outgoing configuration of a joint one only. Of a quorum shard: in the old set alone.
    Outgoing,
}

/// A copy that is in the shard's Raft configuration, or in a set of a quorum shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Id and node of the member's replica.
    pub replica: Replica,
    /// The replica's part in the Raft configuration.
    pub role: Role,
}

/// What a shard is, as its own replicas know it: replicated in its log, so exact. Of a quorum shard the system shard alone
/// says what it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Id of the shard.
    pub shard: ShardId,
    /// Table that the shard is of.
    pub table: TableId,
    /// First encoded key of the shard.
    pub start: Bytes,
    /// First encoded key beyond; `None` = the table's end.
    pub end: Option<Bytes>,
    /// Rises with every change of what is in this struct.
    pub generation: Generation,
    /// The Raft configuration, or all copies of a quorum shard's sets, in order of replica id.
    pub members: Vec<Member>,
}

impl Descriptor {
    /// True if the key lies in the shard's bounds.
    pub fn contains(&self, key: &[u8]) -> bool {
        in_bounds(key, &self.start, self.end.as_deref())
    }

    /// The node that a member is on. `None` = no member has this replica id.
    pub fn node_of(&self, replica: ReplicaId) -> Option<NodeId> {
        self.members.iter().find(|m| m.replica.id == replica).map(|m| m.replica.node)
    }

    /// True while two configurations are in force.
    pub fn is_joint(&self) -> bool {
        self.members.iter().any(|m| matches!(m.role, Role::Incoming | Role::Outgoing))
    }
}

/// A shard that had lost its majority for ever, and that a person had go on from one copy; or that went on by itself, since
/// nothing was ever written to it. The last time, for each shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryRecord {
    /// Shard that was recovered.
    pub shard: ShardId,
    /// The copy whose log and records were kept. It never speaks again under this id.
    pub from: Replica,
    /// The id under which they live on, on the same node: the only voter at first.
    pub to: ReplicaId,
    /// Index and term of the last entry that was kept. Writes that were acknowledged after it are lost.
    pub last: (u64, u64),
    /// The copies that were given up.
    pub given_up: Vec<Replica>,
    /// Milliseconds since 1970. 0 = it went on by itself, and nothing can have been lost.
    pub at_ms: u64,
    /// The shard's first generation after it.
    pub generation: Generation,
    /// Epoch of the map that it came with.
    pub epoch: Epoch,
}

/// The limits of data moves between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveLimits {
    /// Shards that may move into or out of one node at a time. At least 1.
    pub moves_per_node: u32,
    /// Bytes a second that one node sends in snapshots. At least 64 KiB.
    pub bytes_per_second: u64,
}

impl Default for MoveLimits {
    fn default() -> Self {
        Self { moves_per_node: 2, bytes_per_second: 64 << 20 }
    }
}

/// The shard map at one epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Map {
    /// Id of the database that this is the map of.
    pub cluster: ClusterId,
    /// Epoch of the map: that of its newest record.
    pub epoch: Epoch,
    /// In force since `limits.1`.
    pub limits: (MoveLimits, Epoch),
    /// Enabled since `level.1`; never lowered.
    pub level: (FormatLevel, Epoch),
    /// Every node that ever joined, also those removed since.
    pub nodes: BTreeMap<NodeId, NodeRecord>,
    /// Every table that was ever created, also those dropped since.
    pub tables: BTreeMap<TableId, TableRecord>,
    /// Every shard, also of dropped tables.
    pub shards: BTreeMap<ShardId, ShardRecord>,
    /// The last recovery of each shard that ever had one.
    pub recoveries: BTreeMap<ShardId, RecoveryRecord>,
    /// Of each table its shards by their first key. Every read and write looks here, at the client and at the node.
    by_start: BTreeMap<TableId, BTreeMap<Bytes, ShardId>>,
    replica_max: ReplicaId,
}

/// The records of a map that are newer than some epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapDelta {
    /// Id of the database that this is a part of the map of.
    pub cluster: ClusterId,
    /// The epoch that was asked from.
    pub since: Epoch,
    /// Epoch of the newest record; all records between `since` and this one are here.
    pub epoch: Epoch,
    /// The highest replica id that was given up to `epoch`. The records alone do not tell: the last to name an id may
    /// have changed again.
    pub replica_max: ReplicaId,
    /// In force since the epoch beside them.
    pub limits: Option<(MoveLimits, Epoch)>,
    /// Enabled since the epoch beside it.
    pub level: Option<(FormatLevel, Epoch)>,
    /// Records of the nodes that have changed since then.
    pub nodes: Vec<NodeRecord>,
    /// Records of the tables that have changed since then.
    pub tables: Vec<TableRecord>,
    /// Records of the shards that have changed since then.
    pub shards: Vec<ShardRecord>,
    /// Records of the recoveries since then.
    pub recoveries: Vec<RecoveryRecord>,
}

impl Map {
    /// Nodes, and nothing else that is known. At epoch zero, so that whatever the system shard says is newer.
    pub(crate) fn of_nodes(cluster: ClusterId, nodes: Vec<NodeRecord>) -> Self {
        let mut map = Self { cluster, ..Self::default() };
        for node in nodes {
            map.put_node(NodeRecord { epoch: Epoch(0), ..node });
        }
        map
    }

    /// The shard that holds an encoded key of a table. `None` = no such table, or it is dropped.
    pub fn route(&self, table: TableId, key: &[u8]) -> Option<&ShardRecord> {
        if self.tables.get(&table).is_some_and(|t| t.dropped) {
            return None;
        }
        let upto = (Bound::Unbounded, Bound::Included(key));
        let (_, shard) = self.by_start.get(&table)?.range::<[u8], _>(upto).next_back()?;
        let record = self.shards.get(shard)?;
        record.descriptor.contains(key).then_some(record)
    }

    /// The table of this name that is not dropped.
    pub fn table_named(&self, name: &str) -> Option<&TableRecord> {
        self.tables.values().find(|t| t.name == name && !t.dropped)
    }

    /// The shards of a table in key order.
    pub fn shards_of(&self, table: TableId) -> impl Iterator<Item = &ShardRecord> {
        let of_table = self.by_start.get(&table).into_iter().flat_map(BTreeMap::values);
        of_table.filter_map(|shard| self.shards.get(shard))
    }

    /// True if the system shard has gone on from one copy: records may be older than the shards that they are of.
    pub fn may_be_behind(&self) -> bool {
        self.recoveries.contains_key(&ShardId::SYSTEM)
    }

    /// The shards that take part in placement: of tables that are not dropped, without the system shard.
    pub fn live_shards(&self) -> impl Iterator<Item = &ShardRecord> {
        self.shards.values().filter(|s| s.descriptor.shard != ShardId::SYSTEM && self.is_live(s))
    }

    /// True if the shard's table is not dropped; the system shard always is.
    pub fn is_live(&self, shard: &ShardRecord) -> bool {
        self.tables.get(&shard.descriptor.table).is_some_and(|t| !t.dropped)
    }

    /// Adds a node's record, or replaces it, and raises the map's epoch to the record's.
    pub fn put_node(&mut self, record: NodeRecord) {
        self.epoch = self.epoch.max(record.epoch);
        self.nodes.insert(record.id, record);
    }

    /// Adds a table's record, or replaces it, and raises the map's epoch to the record's.
    pub fn put_table(&mut self, record: TableRecord) {
        self.epoch = self.epoch.max(record.epoch);
        self.tables.insert(record.id, record);
    }

    /// Sets a shard's record and its place in the routing.
    pub fn put_shard(&mut self, record: ShardRecord) {
        self.epoch = self.epoch.max(record.epoch);
        let descriptor = &record.descriptor;
        if let Some(old) = self.shards.get(&descriptor.shard)
            && old.descriptor.start != descriptor.start
            && let Some(starts) = self.by_start.get_mut(&old.descriptor.table)
        {
            starts.remove(&old.descriptor.start);
        }
        let named = descriptor.members.iter().map(|m| m.replica.id).chain(record.assigned.iter().map(|r| r.id));
        self.replica_max = named.max().unwrap_or_default().max(self.replica_max);
        self.by_start.entry(descriptor.table).or_default().insert(descriptor.start.clone(), descriptor.shard);
        self.shards.insert(descriptor.shard, record);
    }

    /// Notes a recovery. Its shard's record is set by itself.
    pub fn put_recovery(&mut self, record: RecoveryRecord) {
        self.epoch = self.epoch.max(record.epoch);
        self.given(record.to);
        self.recoveries.insert(record.shard, record);
    }

    /// The recovery after which nothing has become of the shard yet, as far as this map knows: its only member is the copy
    /// that was kept.
    pub fn fresh_recovery(&self, record: &ShardRecord) -> Option<&RecoveryRecord> {
        let recovery = self.recoveries.get(&record.descriptor.shard)?;
        (recovery.generation == record.descriptor.generation).then_some(recovery)
    }

    /// The highest replica id that this map knows of: an id above it was given later.
    pub fn replica_max(&self) -> ReplicaId {
        self.replica_max
    }

    /// The highest replica id that a copy may have whose shard's record is unsure: a recovery of the system shard that is not
    /// known here may have given it.
    pub(crate) fn replica_limit(&self) -> ReplicaId {
        ReplicaId(self.replica_max.0.saturating_add(REPLICAS_JUMP_MAX))
    }

    /// A replica id was given, whether or not a record still names it.
    pub(crate) fn given(&mut self, id: ReplicaId) {
        self.replica_max = self.replica_max.max(id);
    }

    /// The records that have changed after the epoch `have`.
    pub fn since(&self, have: Epoch) -> MapDelta {
        MapDelta {
            cluster: self.cluster.clone(),
            since: have,
            epoch: self.epoch,
            replica_max: self.replica_max,
            limits: (self.limits.1 > have).then_some(self.limits),
            level: (self.level.1 > have).then_some(self.level),
            nodes: self.nodes.values().filter(|r| r.epoch > have).cloned().collect(),
            tables: self.tables.values().filter(|r| r.epoch > have).cloned().collect(),
            shards: self.shards.values().filter(|r| r.epoch > have).cloned().collect(),
            recoveries: self.recoveries.values().filter(|r| r.epoch > have).cloned().collect(),
        }
    }

    /// What changed after `have`, up to about so many records; whoever takes it asks for the rest from its epoch on.
    /// Records of one epoch are never parted.
    pub fn piece_since(&self, have: Epoch, records_max: usize) -> MapDelta {
        let mut delta = self.since(have);
        let nodes = delta.nodes.iter().map(|r| r.epoch);
        let tables = delta.tables.iter().map(|r| r.epoch);
        let shards = delta.shards.iter().map(|r| r.epoch).chain(delta.recoveries.iter().map(|r| r.epoch));
        let mut epochs: Vec<Epoch> = nodes.chain(tables).chain(shards).collect();
        if epochs.len() <= records_max {
            return delta;
        }
        epochs.sort_unstable();
        let Some(upto) = records_max.checked_sub(1).and_then(|last| epochs.get(last).copied()) else { return delta };
        if upto < self.epoch {
            delta.nodes.retain(|r| r.epoch <= upto);
            delta.tables.retain(|r| r.epoch <= upto);
            delta.shards.retain(|r| r.epoch <= upto);
            delta.recoveries.retain(|r| r.epoch <= upto);
            delta.limits = delta.limits.filter(|(_, epoch)| *epoch <= upto);
            delta.level = delta.level.filter(|(_, epoch)| *epoch <= upto);
            // Which ids were given by then is not known any more. Ids that no record names yet are not gone.
            (delta.epoch, delta.replica_max) = (upto, ReplicaId::default());
        }
        delta
    }

    /// Forgets the tables and shards of before a recovery of the system shard. Each that the database still has got a
    /// record by that recovery; the others were made by the majority that was given up. Nodes stay: whoever is not known
    /// is not listened to.
    fn give_up_before(&mut self, recoveries: u64) {
        if recoveries <= self.epoch.recoveries() || is_planted(Planted::GivenUpStaysInMap) {
            return;
        }
        self.tables.retain(|_, record| record.epoch.recoveries() >= recoveries);
        self.shards.retain(|_, record| record.epoch.recoveries() >= recoveries);
        self.recoveries.retain(|_, record| record.epoch.recoveries() >= recoveries);
        let shards = &self.shards;
        self.by_start.retain(|_, starts| {
            starts.retain(|_, shard| shards.contains_key(shard));
            !starts.is_empty()
        });
    }

    /// True if the node joined by the word of a majority that a recovery of the system shard has given up: ids are given
    /// in order, and later ones are known.
    pub fn has_given_up(&self, node: NodeId) -> bool {
        let is_later_known = || self.nodes.range(node..).next().is_some();
        self.epoch.recoveries() > 0 && !self.nodes.contains_key(&node) && is_later_known()
    }

    /// Takes over what is newer. A record never goes back to an older epoch, whatever order deltas arrive in, and a
    /// delta that leaves a gap is not taken: the map always holds all there was at its epoch. True if anything changed.
    pub fn merge(&mut self, delta: MapDelta) -> bool {
        if delta.since > self.epoch && !is_planted(Planted::MapGapTaken) {
            return false;
        }
        let before = self.epoch;
        if self.cluster.0.is_empty() {
            self.cluster = delta.cluster;
        }
        self.give_up_before(delta.epoch.recoveries());
        if let Some(limits) = delta.limits.filter(|l| l.1 > self.limits.1) {
            self.limits = limits;
        }
        if let Some(level) = delta.level.filter(|l| l.1 > self.level.1 && l.0 >= self.level.0) {
            self.level = level;
        }
        for record in delta.nodes {
            if self.nodes.get(&record.id).is_none_or(|old| old.epoch < record.epoch) {
                self.put_node(record);
            }
        }
        for record in delta.tables {
            if self.tables.get(&record.id).is_none_or(|old| old.epoch < record.epoch) {
                self.put_table(record);
            }
        }
        for record in delta.shards {
            if self.shards.get(&record.descriptor.shard).is_none_or(|old| old.epoch < record.epoch) {
                self.put_shard(record);
            }
        }
        for record in delta.recoveries {
            if self.recoveries.get(&record.shard).is_none_or(|old| old.epoch < record.epoch) {
                self.put_recovery(record);
            }
        }
        self.given(delta.replica_max);
        self.epoch = self.epoch.max(delta.epoch);
        self.epoch > before
    }
}

/// True if `start` ≤ `key` < `end`; `None` = no end.
pub fn in_bounds(key: &[u8], start: &[u8], end: Option<&[u8]>) -> bool {
    key >= start && end.is_none_or(|end| key < end)
}
