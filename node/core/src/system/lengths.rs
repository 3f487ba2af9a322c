//! How long the words of a command may be, checked before it is proposed.

use super::{AdminChange, NewNode, SystemCommand, SystemRefusal};
use crate::limits::{ENCODED_KEY_BYTES_MAX, NODE_WORD_BYTES_MAX};

/// Checks the lengths in a command to the system shard; its state checks the rest.
///
/// # Errors
///
/// Of the first word that is too long.
pub(crate) fn check_lengths(command: &SystemCommand) -> Result<(), SystemRefusal> {
    let check = |what: &str, bytes: usize, allowed| {
        let too_long = SystemRefusal::TooLong { what: what.to_owned(), bytes, allowed };
        if bytes > allowed { Err(too_long) } else { Ok(()) }
    };
    let words =
        |words: &[(&str, &str)]| words.iter().try_for_each(|(what, word)| check(what, word.len(), NODE_WORD_BYTES_MAX));
    match command {
        SystemCommand::Join(NewNode { volume, address, zone })
        | SystemCommand::JoinAt { node: NewNode { volume, address, zone }, .. } => {
            words(&[("the volume", volume), ("the address", address), ("the zone", zone)])
        }
        SystemCommand::Start { address, zone, .. } => words(&[("the address", address), ("the zone", zone)]),
        SystemCommand::Admin {
            change: AdminChange::CreateTable { shards, .. } | AdminChange::CreateQuorumTable { shards, .. },
            ..
        } => {
            shards.iter().try_for_each(|shard| check("the start of a shard", shard.start.len(), ENCODED_KEY_BYTES_MAX))
        }
        SystemCommand::Admin { .. }
        | SystemCommand::Record(_)
        | SystemCommand::Assign { .. }
        | SystemCommand::EnableLevel { .. }
        | SystemCommand::Step { .. }
        | SystemCommand::RecoverQuorum { .. }
        | SystemCommand::Recover { .. } => Ok(()),
    }
}
