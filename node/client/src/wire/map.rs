//! The shard map's records.

use skerry_core::ids::{ClusterId, Epoch, Generation, Incarnation, NodeId, ReplicaId, ShardId, TableId};
use skerry_core::level::FormatLevel;
use skerry_core::map::{
    Descriptor, Fragmentation, MapDelta, Member, MoveLimits, NodeRecord, NodeState, Replica, Role, ShardRecord,
    TableRecord,
};
use skerry_proto::v1;

use super::quorum::{consistency_from_wire, consistency_into_wire};
use super::{Malformed, Wire, all, all_into, numbers, required};

numbers!(NodeState, "state", Active, Draining, Removed);
numbers!(Fragmentation, "fragmentation", Range, Hash);
numbers!(Role, "role", Voter, Learner, Incoming, Outgoing);

impl Wire for NodeRecord {
    type Message = v1::NodeRecord;

    fn into_wire(self) -> v1::NodeRecord {
        v1::NodeRecord {
            id: self.id.0,
            incarnation: self.incarnation.0,
            volume: self.volume,
            address: self.address,
            zone: self.zone,
            state: self.state.into_wire(),
            epoch: self.epoch.0,
        }
    }

    fn from_wire(m: v1::NodeRecord) -> Result<Self, Malformed> {
        Ok(Self {
            id: NodeId(m.id),
            incarnation: Incarnation(m.incarnation),
            volume: m.volume,
            address: m.address,
            zone: m.zone,
            state: NodeState::from_wire(m.state)?,
            epoch: Epoch(m.epoch),
        })
    }
}

impl Wire for TableRecord {
    type Message = v1::TableRecord;

    fn into_wire(self) -> v1::TableRecord {
        let (consistency, quorum) = consistency_into_wire(self.consistency);
        v1::TableRecord {
            id: self.id.0,
            name: self.name,
            fragmentation: self.fragmentation.into_wire(),
            consistency,
            replication_factor: self.replication_factor,
            dropped: self.dropped,
            epoch: self.epoch.0,
            quorum,
        }
    }

    fn from_wire(m: v1::TableRecord) -> Result<Self, Malformed> {
        Ok(Self {
            id: TableId(m.id),
            name: m.name,
            fragmentation: Fragmentation::from_wire(m.fragmentation)?,
            consistency: consistency_from_wire(m.consistency, m.quorum)?,
            replication_factor: m.replication_factor,
            dropped: m.dropped,
            epoch: Epoch(m.epoch),
        })
    }
}

impl Wire for Replica {
    type Message = v1::Replica;

    fn into_wire(self) -> v1::Replica {
        v1::Replica { node_id: self.node.0, id: self.id.0 }
    }

    fn from_wire(m: v1::Replica) -> Result<Self, Malformed> {
        Ok(Self { node: NodeId(m.node_id), id: ReplicaId(m.id) })
    }
}

impl Wire for Member {
    type Message = v1::Member;

    fn into_wire(self) -> v1::Member {
        v1::Member { replica: Some(self.replica.into_wire()), role: self.role.into_wire() }
    }

    fn from_wire(m: v1::Member) -> Result<Self, Malformed> {
        Ok(Self { replica: required(m.replica, "replica")?, role: Role::from_wire(m.role)? })
    }
}

impl Wire for Descriptor {
    type Message = v1::Descriptor;

    fn into_wire(self) -> v1::Descriptor {
        v1::Descriptor {
            shard_id: self.shard.0,
            table_id: self.table.0,
            start: self.start,
            end: self.end,
            generation: self.generation.0,
            members: all_into(self.members),
        }
    }

    fn from_wire(m: v1::Descriptor) -> Result<Self, Malformed> {
        Ok(Self {
            shard: ShardId(m.shard_id),
            table: TableId(m.table_id),
            start: m.start,
            end: m.end,
            generation: Generation(m.generation),
            members: all(m.members)?,
        })
    }
}

impl Wire for ShardRecord {
    type Message = v1::ShardRecord;

    fn into_wire(self) -> v1::ShardRecord {
        v1::ShardRecord {
            descriptor: Some(self.descriptor.into_wire()),
            target: self.target.into_iter().map(|node| node.0).collect(),
            assigned: all_into(self.assigned),
            epoch: self.epoch.0,
            quorum: self.quorum.map(Wire::into_wire),
        }
    }

    fn from_wire(m: v1::ShardRecord) -> Result<Self, Malformed> {
        Ok(Self {
            descriptor: required(m.descriptor, "descriptor")?,
            target: m.target.into_iter().map(NodeId).collect(),
            assigned: all(m.assigned)?,
            epoch: Epoch(m.epoch),
            quorum: m.quorum.map(Wire::from_wire).transpose()?,
        })
    }
}

impl Wire for MoveLimits {
    type Message = v1::MoveLimits;

    fn into_wire(self) -> v1::MoveLimits {
        v1::MoveLimits { moves_per_node: self.moves_per_node, bytes_per_second: self.bytes_per_second }
    }

    fn from_wire(m: v1::MoveLimits) -> Result<Self, Malformed> {
        Ok(Self { moves_per_node: m.moves_per_node, bytes_per_second: m.bytes_per_second })
    }
}

impl Wire for MapDelta {
    type Message = v1::MapDelta;

    fn into_wire(self) -> v1::MapDelta {
        v1::MapDelta {
            cluster_id: self.cluster.0,
            since: self.since.0,
            epoch: self.epoch.0,
            replica_max: self.replica_max.0,
            limits_epoch: self.limits.map_or(0, |(_, epoch)| epoch.0),
            format_level: self.level.map_or(0, |(level, _)| level.0),
            format_level_epoch: self.level.map_or(0, |(_, epoch)| epoch.0),
            limits: self.limits.map(|(limits, _)| limits.into_wire()),
            nodes: all_into(self.nodes),
            tables: all_into(self.tables),
            shards: all_into(self.shards),
            recoveries: all_into(self.recoveries),
        }
    }

    fn from_wire(m: v1::MapDelta) -> Result<Self, Malformed> {
        let limits = m.limits.map(MoveLimits::from_wire).transpose()?;
        Ok(Self {
            cluster: ClusterId(m.cluster_id),
            since: Epoch(m.since),
            epoch: Epoch(m.epoch),
            replica_max: ReplicaId(m.replica_max),
            limits: limits.map(|limits| (limits, Epoch(m.limits_epoch))),
            level: (m.format_level > 0).then_some((FormatLevel(m.format_level), Epoch(m.format_level_epoch))),
            nodes: all(m.nodes)?,
            tables: all(m.tables)?,
            shards: all(m.shards)?,
            recoveries: all(m.recoveries)?,
        })
    }
}
