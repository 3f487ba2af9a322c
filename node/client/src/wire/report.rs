//! What nodes and shards' leaders report.

use skerry_core::ids::{Epoch, Incarnation, NodeId, ReplicaId, ShardId};
use skerry_core::level::FormatLevel;
use skerry_core::message::{LedReport, NodeReport, ShardReport};
use skerry_proto::v1;

use super::{Malformed, Wire, all, all_into, required};

impl Wire for (ShardId, ReplicaId) {
    type Message = v1::LostReplica;

    fn into_wire(self) -> v1::LostReplica {
        v1::LostReplica { shard_id: self.0.0, replica_id: self.1.0 }
    }

    fn from_wire(m: v1::LostReplica) -> Result<Self, Malformed> {
        Ok((ShardId(m.shard_id), ReplicaId(m.replica_id)))
    }
}

impl Wire for ShardReport {
    type Message = v1::ShardReport;

    fn into_wire(self) -> v1::ShardReport {
        v1::ShardReport {
            descriptor: Some(self.descriptor.into_wire()),
            leader_replica_id: self.leader.0,
            term: self.term,
            in_sync: self.in_sync.into_iter().map(|r| r.0).collect(),
            bytes: self.bytes,
            moving_sent_bytes: self.moving.0,
            moving_total_bytes: self.moving.1,
        }
    }

    fn from_wire(m: v1::ShardReport) -> Result<Self, Malformed> {
        Ok(Self {
            descriptor: required(m.descriptor, "descriptor")?,
            leader: ReplicaId(m.leader_replica_id),
            term: m.term,
            in_sync: m.in_sync.into_iter().map(ReplicaId).collect(),
            bytes: m.bytes,
            moving: (m.moving_sent_bytes, m.moving_total_bytes),
        })
    }
}

impl Wire for NodeReport {
    type Message = v1::NodeReport;

    fn into_wire(self) -> v1::NodeReport {
        v1::NodeReport {
            node_id: self.node.0,
            incarnation: self.incarnation.0,
            format_level: self.level.0,
            address: self.address,
            zone: self.zone,
            map_epoch: self.map_epoch.0,
            disk_full: self.disk_full,
            disk_stalled: self.disk_stalled,
            store_doubtful: self.store_doubtful,
            disk_bytes: self.disk_bytes,
            replicas: self.replicas,
            lost: all_into(self.lost),
            leaderless: all_into(self.leaderless),
            ahead: all_into(self.ahead),
        }
    }

    fn from_wire(m: v1::NodeReport) -> Result<Self, Malformed> {
        Ok(Self {
            node: NodeId(m.node_id),
            incarnation: Incarnation(m.incarnation),
            level: FormatLevel::told(m.format_level),
            address: m.address,
            zone: m.zone,
            map_epoch: Epoch(m.map_epoch),
            disk_full: m.disk_full,
            disk_stalled: m.disk_stalled,
            store_doubtful: m.store_doubtful,
            disk_bytes: m.disk_bytes,
            replicas: m.replicas,
            lost: all(m.lost)?,
            leaderless: all(m.leaderless)?,
            ahead: all(m.ahead)?,
        })
    }
}

impl Wire for LedReport {
    type Message = v1::LedReport;

    fn into_wire(self) -> v1::LedReport {
        v1::LedReport {
            version: self.version,
            since: self.since,
            changed: all_into(self.changed),
            resigned: self.resigned.into_iter().map(|shard| shard.0).collect(),
        }
    }

    fn from_wire(m: v1::LedReport) -> Result<Self, Malformed> {
        Ok(Self {
            version: m.version,
            since: m.since,
            changed: all(m.changed)?,
            resigned: m.resigned.into_iter().map(ShardId).collect(),
        })
    }
}
