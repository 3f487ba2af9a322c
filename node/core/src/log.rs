//! What a node's shared log keeps of every replica, as values. The shell appends and recovers; the core decides.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{ReplicaId, ShardId};

/// No log gets so long: at a million entries a second it takes 100,000 years. Sums of two indexes do not overflow.
pub const INDEX_MAX: u64 = 1 << 62;

/// One entry of a replica's Raft log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// Position, counted from 1.
    pub index: u64,
    /// Raft term of the leader that created the entry.
    pub term: u64,
    /// What is in `data`.
    pub kind: EntryKind,
    /// Commands or a change of members.
    pub data: Bytes,
    /// The new members of a change of members.
    pub context: Bytes,
}

/// The kind of a log entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// Commands; empty at the start of a leader's term.
    Normal,
    /// A change of members (raft's ConfChangeV2).
    Members,
}

/// The state that must be durable before any vote or term is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardState {
    /// Highest Raft term that the replica has seen.
    pub term: u64,
    /// Replica voted for in it; 0 = none.
    pub vote: u64,
    /// Highest log index that the replica knows to be committed.
    pub commit: u64,
}

/// What to append for one replica in one go. Applied in the order of the fields: `reset`, then entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogWrite {
    /// Shard whose log is written.
    pub shard: ShardId,
    /// Which copy. A write for a higher replica id makes everything of lower ones void.
    pub replica: ReplicaId,
    /// The log starts anew after this (index, term): a snapshot was installed.
    pub reset: Option<(u64, u64)>,
    /// Entries; one whose index exists replaces it and everything after it.
    pub entries: Vec<LogEntry>,
    /// The latest hard state. `None` = it has not changed.
    pub hard_state: Option<HardState>,
    /// This replica is gone from this node for good; nothing of it need be kept.
    pub destroyed: bool,
}

/// What recovery found of one replica: the sum of its writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveredLog {
    /// Replica that the log belongs to.
    pub replica: ReplicaId,
    /// (index, term) before the first entry.
    pub start: (u64, u64),
    /// Contiguous from `start.0 + 1`.
    pub entries: Vec<LogEntry>,
    /// The latest hard state that was written.
    pub hard_state: HardState,
}

/// Tells the log what it may forget: entries of a shard at or below `index` are durable in the engine and no longer wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogCut {
    /// Shard whose log is cut.
    pub shard: ShardId,
    /// Replica that the log belongs to.
    pub replica: ReplicaId,
    /// New start: (index, term) of the last entry that may go.
    pub start: (u64, u64),
}
