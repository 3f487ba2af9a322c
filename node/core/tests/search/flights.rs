//! Messages under way between the nodes.

use skerry_core::ids::{Incarnation, NodeId};
use skerry_core::message::{PeerMessage, RaftKind};

use crate::choices::Place;

/// A message that was sent and has not arrived.
#[derive(Debug, Clone)]
pub(crate) struct Flight {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) message: PeerMessage,
}

/// Chooses the messages that something is to happen to.
pub(crate) type Meant = Box<dyn Fn(&Flight) -> bool>;

impl Flight {
    /// The kind of a message between copies.
    pub(crate) fn kind(&self) -> Option<RaftKind> {
        match &self.message {
            PeerMessage::Raft(envelope) => Some(envelope.kind),
            _ => None,
        }
    }

    /// True for this kind, on this way.
    pub(crate) fn is(&self, kind: RaftKind, from: NodeId, to: NodeId) -> bool {
        self.kind() == Some(kind) && self.from == from && self.to == to
    }

    /// What the scheduler decides of it as.
    pub(crate) fn place(&self) -> Place {
        match &self.message {
            PeerMessage::Raft(envelope) => match envelope.kind {
                RaftKind::RequestVote
                | RaftKind::RequestPreVote
                | RaftKind::RequestVoteResponse
                | RaftKind::RequestPreVoteResponse
                | RaftKind::TimeoutNow => Place::Vote,
                RaftKind::Append | RaftKind::AppendResponse | RaftKind::Heartbeat | RaftKind::HeartbeatResponse => {
                    Place::Other
                }
            },
            PeerMessage::SnapshotOffer(_) | PeerMessage::SnapshotChunk(_) | PeerMessage::SnapshotAck(_) => {
                Place::Snapshot
            }
            _ => Place::Other,
        }
    }

    /// True for what copies, and the nodes for their copies, say to one another.
    pub(crate) fn is_between_copies(&self) -> bool {
        matches!(
            self.message,
            PeerMessage::Raft(_)
                | PeerMessage::SnapshotOffer(_)
                | PeerMessage::SnapshotChunk(_)
                | PeerMessage::SnapshotAck(_)
                | PeerMessage::Beat(_)
        )
    }
}
