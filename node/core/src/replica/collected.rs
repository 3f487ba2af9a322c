//! What a replica wants done, and the bounds within which it may want it.

use crate::answer::Answer;
use crate::duty::Duty;
use crate::ids::{NodeId, Token};
use crate::level::FormatLevel;
use crate::log::LogWrite;
use crate::message::PeerMessage;
use crate::planted::{Planted, is_planted};
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

/// Snapshots that may yet be begun in this period: each reads all request ids of its shard at once. Of the others raft asks
/// again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SnapshotStarts(pub(crate) usize);

impl Default for SnapshotStarts {
    fn default() -> Self {
        Self(usize::MAX)
    }
}

impl SnapshotStarts {
    /// For each period of a node. Reading the most request ids that a shard has takes some milliseconds, and a node that says
    /// nothing for a few hundred is taken for dead. Even so a hundred shards begin within two seconds.
    pub(crate) const IN_PERIOD: Self = Self(4);

    /// Takes one. False = there is none left.
    pub(crate) fn take(&mut self) -> bool {
        let is_left = self.0 > 0 || is_planted(Planted::SnapshotsBegunTogether);
        self.0 = self.0.saturating_sub(1);
        is_left
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
    pub(crate) snapshot_starts: SnapshotStarts,
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
