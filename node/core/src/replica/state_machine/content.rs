//! What the entries of a shard's log hold, in our own encoding.

use serde::{Deserialize, Serialize};

use crate::codec::{self, Undecodable};
use crate::command::Command;
use crate::level::FormatLevel;
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
        /// The commands, to be applied in order.
        commands: Vec<Command>,
    },
    /// Commands for the system shard.
    System(Vec<SystemCommand>),
    /// For a data shard: from here on its copies follow the rules of this format level. From level 2 on.
    Level(FormatLevel),
}

impl Payload {
    /// Numbers of the kinds in their encoding.
    const DATA: u8 = 0;
    const SYSTEM: u8 = 1;
    const LEVEL: u8 = 2;
    /// Number of kinds that this release knows.
    const KINDS: u8 = 3;

    /// The format level that a copy needs in order to apply this.
    fn level(&self) -> FormatLevel {
        match self {
            Self::Data { .. } => FormatLevel::FIRST,
            Self::System(commands) => commands.iter().map(SystemCommand::level).max().unwrap_or_default(),
            Self::Level(level) => FormatLevel(2).max(*level),
        }
    }
}

/// The decoded content of a log entry.
pub(in crate::replica) enum Content {
    /// A leader's first entry, or one that only tells of a commit.
    Nothing,
    /// A batch of commands to apply.
    Commands(Payload),
    /// A change of the shard's members.
    Members(MemberChange),
}

/// What an entry says.
///
/// # Errors
///
/// If a release with format levels up to `highest` cannot read it.
pub(in crate::replica) fn read(entry: &LogEntry, highest: FormatLevel) -> Result<Content, Undecodable> {
    match entry.kind {
        EntryKind::Normal if entry.data.is_empty() => Ok(Content::Nothing),
        EntryKind::Normal => payload(&entry.data, highest).map(Content::Commands),
        EntryKind::Members => codec::decode("change of members", &entry.context).map(Content::Members),
    }
}

/// True if an entry of the system shard, or of another, may hold this, as far as its first bytes tell. What a newer
/// release may have written passes.
pub(in crate::replica) fn may_hold(data: &[u8], is_system: bool) -> bool {
    let kinds: &[u8] = if is_system { &[Payload::SYSTEM] } else { &[Payload::DATA, Payload::LEVEL] };
    codec::is_newer(data, Payload::KINDS) || kinds.iter().any(|kind| codec::is_kind(data, *kind))
}

/// What an entry holds.
///
/// # Errors
///
/// If a release with format levels up to `highest` cannot read it.
pub(in crate::replica) fn payload(data: &[u8], highest: FormatLevel) -> Result<Payload, Undecodable> {
    let payload: Payload = codec::decode("log entry", data)?;
    let too_high = highest.admit(payload.level()).err();
    too_high.map_or(Ok(payload), |error| Err(Undecodable::newer("log entry", error.to_string())))
}

/// The format level that a node needs in order to read an entry of its log.
///
/// # Errors
///
/// Of one that this release cannot read.
pub fn entry_level(entry: &LogEntry) -> Result<FormatLevel, Undecodable> {
    let is_command = entry.kind == EntryKind::Normal && !entry.data.is_empty();
    if !is_command {
        return Ok(FormatLevel::FIRST);
    }
    payload(&entry.data, FormatLevel::MAX).map(|payload| payload.level())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, Generation, ShardId};
    use crate::system::StepKind;

    /// A step of a quorum shard, behind a command of the first level.
    fn with_step() -> bytes::Bytes {
        let (shard, based_on) = (ShardId(1), Generation(2));
        let assign = SystemCommand::Assign { shard, based_on: Epoch(1), replicas: Vec::new(), target: None };
        let step = SystemCommand::Step { shard, based_on, step: StepKind::Begin };
        codec::encode(&Payload::System(vec![assign, step]))
    }

    #[test]
    fn an_entry_is_of_the_highest_level_of_its_commands_and_newer_to_who_has_less() {
        let data = with_step();
        assert_eq!(payload(&data, FormatLevel::QUORUM).map(|payload| payload.level()), Ok(FormatLevel::QUORUM));
        let error = payload(&data, FormatLevel::NEWEST).expect_err("it is too high");
        assert!(error.is_newer, "{error}");
    }
}
