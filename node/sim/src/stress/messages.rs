//! Kinds of messages between copies of quorum shards, and of what brings layouts to them; each kind can be lost or late for a
//! while, to or from one node or all.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use skerry_core::ids::NodeId;
use skerry_core::message::PeerMessage;
use skerry_core::quorum::message::Body;

/// Messages that are hit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Write,
    Said,
    Read,
    Page,
    Repair,
    Hints,
    Compare,
    Compared,
    Push,
    Pushed,
    Bar,
    Barred,
    Floor,
    /// What brings a shard's record to a node: it goes on under the layout that it has.
    Map,
    /// All that copies of quorum shards say.
    Any,
}

impl Kind {
    const ALL: [Self; 15] = [
        Self::Write,
        Self::Said,
        Self::Read,
        Self::Page,
        Self::Repair,
        Self::Hints,
        Self::Compare,
        Self::Compared,
        Self::Push,
        Self::Pushed,
        Self::Bar,
        Self::Barred,
        Self::Floor,
        Self::Map,
        Self::Any,
    ];

    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        Self::ALL.choose(rng).copied().unwrap_or(Self::Any)
    }

    fn of(message: &PeerMessage) -> Option<Self> {
        let body = match message {
            PeerMessage::Quorum(envelope) => &envelope.body,
            PeerMessage::Map(_) => return Some(Self::Map),
            _ => return None,
        };
        Some(match body {
            Body::Write(..) => Self::Write,
            Body::Said(..) => Self::Said,
            Body::Read(..) => Self::Read,
            Body::Page(..) | Body::Newer(..) => Self::Page,
            Body::Repair(..) | Body::Repaired(_) => Self::Repair,
            Body::Hints(_) | Body::Hinted(_) => Self::Hints,
            Body::Compare(..) => Self::Compare,
            Body::Compared(..) => Self::Compared,
            Body::Push(..) => Self::Push,
            Body::Pushed(_) => Self::Pushed,
            Body::Bar(_) => Self::Bar,
            Body::Barred(_) => Self::Barred,
            Body::Floor(_) | Body::Elapsed(_) | Body::Bounds(_) | Body::BoundsWanted => Self::Floor,
        })
    }

    pub(super) fn is_of(self, message: &PeerMessage) -> bool {
        match self {
            Self::Any => matches!(message, PeerMessage::Quorum(_)),
            kind => Self::of(message) == Some(kind),
        }
    }
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Lost,
    /// It arrives after so long, in microseconds.
    Late(u64),
}

/// What happens to messages of a kind for a while.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) kind: Kind,
    /// Only those from, or to, this node.
    pub(super) node: Option<(NodeId, Side)>,
    /// Of 1,000, how many are hit.
    pub(super) share: u32,
    /// How late they are at most, in microseconds. 0 = they are lost.
    pub(super) late_max: u64,
    pub(super) until: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Sends,
    Hears,
}

impl Window {
    pub(super) fn fate(
        &self,
        (from, to): (NodeId, NodeId),
        message: &PeerMessage,
        rng: &mut ChaCha8Rng,
    ) -> Option<Fate> {
        let is_between = match self.node {
            None => true,
            Some((node, Side::Sends)) => node == from,
            Some((node, Side::Hears)) => node == to,
        };
        let is_hit = is_between && self.kind.is_of(message) && rng.random_range(0..1_000) < self.share;
        let late = |rng: &mut ChaCha8Rng| match self.late_max {
            0 => Fate::Lost,
            most => Fate::Late(rng.random_range(0..most)),
        };
        is_hit.then(|| late(rng))
    }
}
