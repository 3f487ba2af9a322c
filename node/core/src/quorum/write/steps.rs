//! What a write's coordinator is told, and what it wants done.

use serde::{Deserialize, Serialize};

use crate::ids::{Generation, ReplicaId};
use crate::quorum::copies::OutOfRange;

/// What a copy says of a record that it was sent. It names the generation that the message had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// It has the record, or more, durably in its log.
    Durable,
    /// It holds a newer generation: this one, durably.
    Newer(Generation),
    /// It holds an older generation, and asks for the map. It is sent the record again.
    Older,
    /// Its clock says that the stamp is too far ahead.
    Ahead,
    /// It takes nothing so old any more: see [`crate::quorum::floor::Refused::TooOld`].
    TooOld,
    /// It has no room.
    Full,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// W copies of each set have it durably.
    Written,
    /// Some copies may have it, or may get it yet.
    Unknown,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteStep {
    /// Send the record to a copy, which may be this node's own, under this generation.
    Send(ReplicaId, Generation),
    /// Ask for the shard's record at this generation or a newer one, and call [`super::WriteRound::renew`] with it.
    Learn(Generation),
    /// Answer the client. Once for each write.
    Answer(Outcome),
    /// Keep a hint: the copy has not confirmed.
    Hint(ReplicaId),
}

/// Why a write is not done. Nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    /// Another W than is possible.
    #[error("write quorum: {0}")]
    Quorum(#[from] OutOfRange),
    /// Too many disks are full.
    #[error("{full} copies have no room, and {needed} must take the write")]
    Full {
        /// Copies of one set that say that their disks are full.
        full: usize,
        /// How many of the set must take it.
        needed: usize,
    },
}
