//! What a replica wants done, and the bounds within which it may want it.

use crate::answer::Answer;
use crate::duty::Duty;
use crate::ids::{NodeId, Token};
use crate::level::FormatLevel;
use crate::log::LogWrite;
use crate::message::PeerMessage;
use crate::time::Now;

/// Bytes of records that reads may be answered with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnswerRoom(pub(crate) usize);

impl Default for AnswerRoom {
    fn default() -> Self {
        Self(usize::MAX)
    }
}

/// The latest that a shard's time may follow a clock now, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeLimit(pub(crate) u64);

impl Default for TimeLimit {
    fn default() -> Self {
        Self(u64::MAX)
    }
}

impl TimeLimit {
    /// `now` with a wall clock that a shard's time may follow.
    pub(crate) fn limited(self, now: Now) -> Now {
        Now { wall_ms: now.wall_ms.min(self.0), ..now }
    }
}

/// What a replica wants the node to do.
#[derive(Default)]
pub(crate) struct Collected {
    pub(crate) log: Option<LogWrite>,
    pub(crate) send: Vec<(NodeId, PeerMessage)>,
    pub(crate) answers: Vec<(Token, Answer)>,
    /// Bytes of records that reads may still be answered with.
    pub(crate) answer_room: AnswerRoom,
    /// How far shards' time may follow the clock.
    pub(crate) time_limit: TimeLimit,
    /// The format level that is enabled, as far as the node knows.
    pub(crate) level: FormatLevel,
    /// What the node has to do by itself, since this copy's leadership is confirmed.
    pub(crate) duties: Vec<Duty>,
    pub(crate) wants_sync: bool,
    pub(crate) members_changed: bool,
    pub(crate) system_changed: bool,
}
