//! The system shard's state, and what each command does to it.
//!
//! Every replica of the system shard applies the same commands in the same order, so nothing here may depend on
//! anything but state and command. A refused command changes nothing. Every change raises the map's epoch by one and
//! stamps the records that it changed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::record_key::RecordKey;
use super::{AdminChange, Fence, NewNode, SystemCommand, SystemRefusal, SystemReply};
use crate::ids::{ClusterId, Epoch, Generation, Incarnation, NodeId, ReplicaId, ShardId, TableId};
use crate::level::FormatLevel;
use crate::map::{
    Consistency, Descriptor, Fragmentation, Map, Member, MoveLimits, NodeRecord, NodeState, Replica, Role, ShardRecord,
    TableRecord,
};
use crate::planted::{Planted, is_planted};

/// The name of the system table; no other table may have it.
pub const SYSTEM_TABLE: &str = "system";
/// The first node of every database.
pub const FIRST_NODE: NodeId = NodeId(1);
/// The first replica of the system shard, on the first node.
pub const FIRST_REPLICA: ReplicaId = ReplicaId(1);

/// Catalog, node registry, shard map, targets, and what keeps them from being changed by a former operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemState {
    pub(super) map: Map,
    pub(super) next: NextIds,
    /// Highest fencing token of a command that was carried out.
    pub(super) token: u64,
    /// When a node last joined or changed its state or zone: what placement is decided on.
    pub(super) standing: BTreeMap<NodeId, Epoch>,
    /// When a shard's target last changed.
    pub(super) targeted: BTreeMap<ShardId, Epoch>,
    /// Records that changed since they were last taken.
    pub(super) changed: BTreeSet<RecordKey>,
}

/// The ids that are given next. They only rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct NextIds {
    pub(super) node: NodeId,
    pub(super) table: TableId,
    pub(super) shard: ShardId,
    pub(super) replica: ReplicaId,
}

impl SystemState {
    /// The state of a new database: its first node, and the system shard with one replica on it.
    pub fn bootstrap(cluster: ClusterId, first: &NewNode) -> Self {
        let replica = Replica { node: FIRST_NODE, id: FIRST_REPLICA };
        let mut map = Map::default();
        (map.cluster, map.limits) = (cluster, (MoveLimits::default(), Epoch(1)));
        let mut state = Self {
            map,
            next: NextIds { node: NodeId(2), table: TableId(1), shard: ShardId(1), replica: ReplicaId(2) },
            token: 0,
            standing: BTreeMap::new(),
            targeted: BTreeMap::new(),
            changed: BTreeSet::new(),
        };
        let epoch = state.next_epoch();
        state.put_node(NodeRecord {
            id: FIRST_NODE,
            incarnation: Incarnation(0),
            volume: first.volume.clone(),
            address: first.address.clone(),
            zone: first.zone.clone(),
            state: NodeState::Active,
            epoch,
        });
        state.put_table(TableRecord {
            id: TableId::SYSTEM,
            name: SYSTEM_TABLE.into(),
            fragmentation: Fragmentation::Range,
            consistency: Consistency::Leader,
            replication_factor: 1,
            dropped: false,
            epoch,
        });
        state.put_shard(ShardRecord {
            descriptor: Descriptor {
                shard: ShardId::SYSTEM,
                table: TableId::SYSTEM,
                start: Bytes::new(),
                end: None,
                generation: Generation(1),
                members: vec![Member { replica, role: Role::Voter }],
            },
            target: vec![FIRST_NODE],
            assigned: vec![replica],
            epoch,
            quorum: None,
        });
        state
    }

    /// The map as of the last command that was applied.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// Decides a command and carries it out, or refuses it and changes nothing.
    pub fn apply(&mut self, command: &SystemCommand) -> Result<SystemReply, SystemRefusal> {
        self.check_enabled(command)?;
        match command {
            // Who says of no level has the first.
            SystemCommand::Join(node) => self.join_at(node, FormatLevel::FIRST),
            SystemCommand::JoinAt { node, level } => self.join_at(node, *level),
            SystemCommand::EnableLevel { level, based_on } => self.enable_level(*level, *based_on),
            SystemCommand::Start { node, incarnation, address, zone } => self.start(*node, *incarnation, address, zone),
            SystemCommand::Admin { fence, change } => self.admin(*fence, change),
            SystemCommand::Record(descriptor) => self.record(descriptor),
            SystemCommand::Assign { shard, based_on, replicas, target } => {
                self.assign(*shard, *based_on, replicas, target.as_deref())
            }
            SystemCommand::Recover { shard, based_on, recovery } => self.recover(*shard, *based_on, recovery),
            SystemCommand::Step { shard, based_on, step } => self.step(*shard, *based_on, *step),
            SystemCommand::RecoverQuorum { shard, based_on, recovery } => {
                self.recover_quorum(*shard, *based_on, recovery)
            }
        }
    }

    fn admin(&mut self, fence: Fence, change: &AdminChange) -> Result<SystemReply, SystemRefusal> {
        if fence.token < self.token && !is_planted(Planted::FenceIgnored) {
            return Err(SystemRefusal::Fenced { token: fence.token, highest: self.token });
        }
        let reply = match change {
            AdminChange::CreateTable { name, fragmentation, replication_factor, shards } => {
                self.create_table(name, *fragmentation, *replication_factor, Consistency::Leader, shards)
            }
            AdminChange::CreateQuorumTable { name, fragmentation, replication_factor, quorums, resolve, shards } => {
                let consistency = Self::quorum_consistency(*quorums, *resolve, *replication_factor)?;
                self.create_table(name, *fragmentation, *replication_factor, consistency, shards)
            }
            AdminChange::AlterQuorumTable { table, replication_factor, quorums, resolve } => {
                self.alter_quorum_table(fence.based_on, *table, *replication_factor, *quorums, *resolve)
            }
            AdminChange::AlterTable { table, replication_factor } => {
                self.alter_table(fence.based_on, *table, *replication_factor)
            }
            AdminChange::DropTable { table } => self.drop_table(fence.based_on, *table),
            AdminChange::SetTargets(targets) => self.set_targets(fence.based_on, targets),
            AdminChange::Drain(node) => self.set_node_state(fence.based_on, *node, NodeState::Draining),
            AdminChange::Reactivate(node) => self.set_node_state(fence.based_on, *node, NodeState::Active),
            AdminChange::Remove(node) => self.remove(fence.based_on, *node),
            AdminChange::SetLimits(limits) => self.set_limits(fence.based_on, *limits),
        }?;
        if fence.token > self.token {
            self.token = fence.token;
            self.changed.insert(RecordKey::Head);
        }
        Ok(reply)
    }

    fn set_limits(&mut self, based_on: Option<Epoch>, limits: MoveLimits) -> Result<SystemReply, SystemRefusal> {
        if limits.moves_per_node < 1 || limits.bytes_per_second < 64 << 10 {
            return Err(SystemRefusal::Limits);
        }
        let (current, changed) = self.map.limits;
        if limits == current {
            return Ok(self.done());
        }
        fresh(based_on, changed, || "the limits of moves".into())?;
        self.map.epoch = self.next_epoch();
        self.map.limits = (limits, self.map.epoch);
        self.changed.insert(RecordKey::Head);
        Ok(self.done())
    }

    pub(super) fn done(&self) -> SystemReply {
        SystemReply::Done(self.map.epoch)
    }

    /// What the records that the command at hand changes are stamped with.
    pub(super) fn next_epoch(&self) -> Epoch {
        Epoch(self.map.epoch.0 + 1)
    }

    pub(super) fn new_replica(&mut self) -> ReplicaId {
        let id = self.next.replica;
        self.next.replica = ReplicaId(id.0 + 1);
        self.map.given(id);
        id
    }

    pub(super) fn put_node(&mut self, record: NodeRecord) {
        let placed_on = |r: &NodeRecord| (r.state, r.zone.clone());
        if self.map.nodes.get(&record.id).is_none_or(|old| placed_on(old) != placed_on(&record)) {
            self.standing.insert(record.id, record.epoch);
        }
        self.changed.extend([RecordKey::Head, RecordKey::Node(record.id)]);
        self.map.put_node(record);
    }

    pub(super) fn put_table(&mut self, record: TableRecord) {
        self.changed.extend([RecordKey::Head, RecordKey::Table(record.id)]);
        self.map.put_table(record);
    }

    pub(super) fn put_shard(&mut self, record: ShardRecord) {
        let shard = record.descriptor.shard;
        if self.map.shards.get(&shard).is_none_or(|old| old.target != record.target) {
            self.targeted.insert(shard, record.epoch);
        }
        self.changed.extend([RecordKey::Head, RecordKey::Shard(shard)]);
        self.map.put_shard(record);
    }
}

/// Refuses what was decided on an epoch before the thing changed. `None` = the decision does not depend on the map.
pub(super) fn fresh(
    based_on: Option<Epoch>,
    changed: Epoch,
    what: impl FnOnce() -> String,
) -> Result<(), SystemRefusal> {
    match based_on {
        Some(based_on) if changed > based_on => Err(SystemRefusal::Stale { based_on, changed, what: what() }),
        Some(_) | None => Ok(()),
    }
}
