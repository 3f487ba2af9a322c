//! What the entries of a shard's log hold, in our own encoding.

use serde::{Deserialize, Serialize};

use crate::codec::{self, Undecodable};
use crate::command::Command;
use crate::log::{EntryKind, LogEntry};
use crate::replica::members::MemberChange;
use crate::system::SystemCommand;

/// What an entry of the kind normal holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::replica) enum Payload {
    /// For a data shard: commands, and the leader's wall clock for their versions.
    Data {
        /// Milliseconds since 1970.
        wall_ms: u64,
        /// Applied in order.
        commands: Vec<Command>,
    },
    /// For the system shard.
    System(Vec<SystemCommand>),
}

impl Payload {
    /// Numbers of the kinds in their encoding.
    const DATA: u8 = 0;
    const SYSTEM: u8 = 1;
    /// Kinds that this release knows.
    const KINDS: u8 = 2;
}

/// What an entry says.
pub(in crate::replica) enum Content {
    /// A leader's first entry, or one that only tells of a commit.
    Nothing,
    /// Commands.
    Commands(Payload),
    /// A change of the shard's members.
    Members(MemberChange),
}

/// What an entry says.
///
/// # Errors
///
/// If this release cannot read it.
pub(in crate::replica) fn read(entry: &LogEntry) -> Result<Content, Undecodable> {
    match entry.kind {
        EntryKind::Normal if entry.data.is_empty() => Ok(Content::Nothing),
        EntryKind::Normal => payload(&entry.data).map(Content::Commands),
        EntryKind::Members => codec::decode("change of members", &entry.context).map(Content::Members),
    }
}

/// True if an entry of the system shard, or of another, may hold this, as far as its first bytes tell. What a newer
/// release may have written passes.
pub(in crate::replica) fn may_hold(data: &[u8], is_system: bool) -> bool {
    let kind = if is_system { Payload::SYSTEM } else { Payload::DATA };
    codec::is_newer(data, Payload::KINDS) || codec::is_kind(data, kind)
}

/// What an entry holds.
pub(in crate::replica) fn payload(data: &[u8]) -> Result<Payload, Undecodable> {
    codec::decode("log entry", data)
}
