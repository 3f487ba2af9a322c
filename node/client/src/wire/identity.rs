//! A node's identity, and why it refuses to found a database, as messages.

use skerry_core::ids::{ClusterId, Incarnation, NodeId};
use skerry_proto::v1;
use skerry_proto::v1::founding_refusal::Reason;

use super::{Malformed, Wire};
use crate::identity::{FoundingRefusal, Identity};

impl Wire for Identity {
    type Message = v1::Identity;

    fn into_wire(self) -> v1::Identity {
        v1::Identity {
            cluster_id: self.cluster.0,
            node_id: self.node.unwrap_or_default().0,
            incarnation: self.incarnation.unwrap_or_default().0,
            zone: self.zone,
            address: self.address,
            version: self.version,
            peer_port: self.peer_port.unwrap_or(0).into(),
            admin_port: self.admin_port.unwrap_or(0).into(),
            engine: self.engine.unwrap_or_default(),
        }
    }

    fn from_wire(m: v1::Identity) -> Result<Self, Malformed> {
        if m.cluster_id.is_empty() {
            return Err(Malformed::Missing("cluster_id"));
        }
        Ok(Self {
            cluster: ClusterId(m.cluster_id),
            node: (m.node_id > 0).then_some(NodeId(m.node_id)),
            incarnation: (m.incarnation > 0).then_some(Incarnation(m.incarnation)),
            zone: m.zone,
            address: m.address,
            version: m.version,
            peer_port: port(m.peer_port, "peer_port")?,
            admin_port: port(m.admin_port, "admin_port")?,
            engine: Some(m.engine).filter(|engine| !engine.is_empty()),
        })
    }
}

/// A port of the node. `None` = the number is 0: the node has no port of its own for this.
fn port(number: u32, field: &'static str) -> Result<Option<u16>, Malformed> {
    let port = u16::try_from(number).map_err(|_| Malformed::Range(field))?;
    Ok((port > 0).then_some(port))
}

impl Wire for FoundingRefusal {
    type Message = v1::FoundingRefusal;

    fn into_wire(self) -> v1::FoundingRefusal {
        let reason = match self {
            Self::OtherDatabase { own, asked } => {
                Reason::OtherDatabase(v1::OtherDatabase { own: own.0, asked: asked.0 })
            }
            Self::HasIdentity { node } => Reason::HasIdentity(v1::HasIdentity { node_id: node.0 }),
            Self::DatabaseExists { seed } => Reason::Exists(v1::DatabaseExists { seed }),
            Self::NotNow { why } => Reason::NotNow(v1::NotNow { why }),
        };
        v1::FoundingRefusal { reason: Some(reason) }
    }

    fn from_wire(m: v1::FoundingRefusal) -> Result<Self, Malformed> {
        Ok(match m.reason.ok_or(Malformed::Missing("reason"))? {
            Reason::OtherDatabase(m) => Self::OtherDatabase { own: ClusterId(m.own), asked: ClusterId(m.asked) },
            Reason::HasIdentity(m) => Self::HasIdentity { node: NodeId(m.node_id) },
            Reason::Exists(m) => Self::DatabaseExists { seed: m.seed },
            Reason::NotNow(m) => Self::NotNow { why: m.why },
        })
    }
}
