//! Certificates, and the status of the database.

use std::sync::Arc;

use skerry_core::ids::{Epoch, Incarnation, NodeId, ShardId};
use skerry_core::map::{Map, MapDelta};
use skerry_core::message::{NodeReport, QuorumReport, ShardReport};
use skerry_core::node::{Certificate, NotYet, Removal, Status};
use skerry_proto::v1;
use skerry_proto::v1::certify_removal_response::Removal as WireRemoval;
use skerry_proto::v1::not_yet::Reason;

use super::{Malformed, Wire, all, all_into, required};

impl Wire for Certificate {
    type Message = v1::Certificate;

    fn into_wire(self) -> v1::Certificate {
        v1::Certificate {
            node_id: self.node.0,
            incarnation: self.incarnation.0,
            epoch: self.epoch.0,
            shards: self.shards,
        }
    }

    fn from_wire(m: v1::Certificate) -> Result<Self, Malformed> {
        Ok(Self {
            node: NodeId(m.node_id),
            incarnation: Incarnation(m.incarnation),
            epoch: Epoch(m.epoch),
            shards: m.shards,
        })
    }
}

impl Wire for NotYet {
    type Message = v1::NotYet;

    fn into_wire(self) -> v1::NotYet {
        let reason = match self {
            Self::NotDraining(node) => Reason::NotDraining(node.0),
            Self::OtherIncarnation { asked, latest } => {
                Reason::OtherIncarnation(v1::OtherIncarnation { asked: asked.0, latest: latest.0 })
            }
            Self::Holds { shard } => Reason::Holds(shard.0),
            Self::Copies { shard, in_sync, wanted } => {
                Reason::Copies(v1::TooFewCopies { shard_id: shard.0, in_sync, wanted })
            }
            Self::Changing { shard } => Reason::Changing(shard.0),
        };
        v1::NotYet { reason: Some(reason) }
    }

    fn from_wire(m: v1::NotYet) -> Result<Self, Malformed> {
        Ok(match m.reason.ok_or(Malformed::Missing("reason"))? {
            Reason::NotDraining(node) => Self::NotDraining(NodeId(node)),
            Reason::OtherIncarnation(m) => {
                Self::OtherIncarnation { asked: Incarnation(m.asked), latest: Incarnation(m.latest) }
            }
            Reason::Holds(shard) => Self::Holds { shard: ShardId(shard) },
            Reason::Changing(shard) => Self::Changing { shard: ShardId(shard) },
            Reason::Copies(m) => Self::Copies { shard: ShardId(m.shard_id), in_sync: m.in_sync, wanted: m.wanted },
        })
    }
}

impl Wire for Removal {
    type Message = v1::CertifyRemovalResponse;

    fn into_wire(self) -> v1::CertifyRemovalResponse {
        let removal = match self {
            Self::Safe(certificate) => WireRemoval::Safe(certificate.into_wire()),
            Self::NotYet(reasons) => WireRemoval::NotYet(v1::NotYetReasons { reasons: all_into(reasons) }),
            Self::Unknown { shards } => {
                WireRemoval::Unknown(v1::UnansweredShards { shard_ids: shards.into_iter().map(|s| s.0).collect() })
            }
        };
        v1::CertifyRemovalResponse { removal: Some(removal) }
    }

    fn from_wire(m: v1::CertifyRemovalResponse) -> Result<Self, Malformed> {
        Ok(match m.removal.ok_or(Malformed::Missing("removal"))? {
            WireRemoval::Safe(m) => Self::Safe(Certificate::from_wire(m)?),
            WireRemoval::NotYet(m) => Self::NotYet(all(m.reasons)?),
            WireRemoval::Unknown(m) => Self::Unknown { shards: m.shard_ids.into_iter().map(ShardId).collect() },
        })
    }
}

/// Converts the database's status into the message that is sent.
pub fn status_into_wire(status: Status) -> v1::StatusResponse {
    let node = |(report, age_ms): (NodeReport, u64)| v1::NodeStatus { report: Some(report.into_wire()), age_ms };
    let shard = |(report, age_ms): (ShardReport, u64)| v1::ShardStatus { report: Some(report.into_wire()), age_ms };
    let copy =
        |(node, report): (NodeId, QuorumReport)| v1::CopyStatus { node_id: node.0, report: Some(report.into_wire()) };
    v1::StatusResponse {
        map: Some(status.map.since(Epoch(0)).into_wire()),
        nodes: status.nodes.into_iter().map(node).collect(),
        shards: status.shards.into_iter().map(shard).collect(),
        copies: status.copies.into_iter().map(copy).collect(),
        steward_node_id: status.steward.0,
        lost: all_into(status.lost),
    }
}

/// Converts a received message into the database's status.
pub fn status_from_wire(m: v1::StatusResponse) -> Result<Status, Malformed> {
    let mut map = Map::default();
    map.merge(required::<MapDelta>(m.map, "map")?);
    Ok(Status {
        map: Arc::new(map),
        nodes: m.nodes.into_iter().map(|n| Ok((required(n.report, "report")?, n.age_ms))).collect::<Result<_, _>>()?,
        shards: m
            .shards
            .into_iter()
            .map(|s| Ok((required(s.report, "report")?, s.age_ms)))
            .collect::<Result<_, _>>()?,
        copies: m
            .copies
            .into_iter()
            .map(|c| Ok((NodeId(c.node_id), required(c.report, "report")?)))
            .collect::<Result<_, _>>()?,
        steward: NodeId(m.steward_node_id),
        lost: all(m.lost)?,
    })
}
