//! What this node takes from its peers, before it has any effect. A peer may be of another release, may have failed in
//! ways that nobody thought of, or may not be a peer: nothing that it sends ends this process or destroys a copy, and
//! what it cannot have meant is counted and ignored.

pub mod map;
pub mod message;

use crate::ids::NodeId;

pub(super) use map::MapRefused;

/// What was refused of peers, since this node started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Number of messages that were refused.
    pub count: u64,
    /// Who sent the last one, and why it was refused.
    pub last: Option<(NodeId, String)>,
}

impl Refusals {
    /// A message of this node is not taken.
    pub(super) fn note(&mut self, from: NodeId, why: &dyn std::error::Error) {
        self.count += 1;
        self.last = Some((from, why.to_string()));
    }
}
