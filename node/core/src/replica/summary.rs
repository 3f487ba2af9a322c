//! A replica as a few numbers: cheap enough for invariants that look after every step.

use xxhash_rust::xxh3::xxh3_64;

use crate::ids::{Generation, ReplicaId, ShardId};
use crate::level::FormatLevel;
use crate::replica::Replica;
use crate::time::Version;

/// A replica's numbers at one moment. Equal to the last = nothing that an invariant looks at has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Shard that the replica is of.
    pub shard: ShardId,
    /// Id of the replica that the numbers are of.
    pub replica: ReplicaId,
    /// Raft term that the replica is in.
    pub term: u64,
    /// True if it leads in that term.
    pub is_leader: bool,
    /// Index and term of the highest entry known committed. A term of 0 = the log does not reach so far back.
    pub committed: (u64, u64),
    /// Index and term of the last entry that the state machine has applied.
    pub applied: (u64, u64),
    /// Index that raft counts as applied.
    pub raft_applied: u64,
    /// Index of the last entry in the log.
    pub last: u64,
    /// Generation of the descriptor as of the last applied entry.
    pub generation: Generation,
    /// True while it waits for its snapshot.
    pub is_blank: bool,
    /// True if raft's log has the entry that the state machine stands at, or begins right after it.
    pub is_log_alike: bool,
    /// Highest version given in the shard.
    pub last_version: Version,
    /// Requests issued at or before this are refused.
    pub request_floor: Version,
    /// Format level whose rules the shard's copies follow, as far as this one has applied.
    pub level: FormatLevel,
}

impl Replica {
    /// This replica as a few numbers.
    pub fn summary(&self) -> Summary {
        let (consensus, state) = (&self.consensus, self.state());
        let (index, term) = state.applied;
        Summary {
            shard: state.descriptor.shard,
            replica: state.replica,
            term: self.term(),
            is_leader: self.is_leader(),
            committed: (consensus.committed(), consensus.term_at(consensus.committed()).unwrap_or(0)),
            applied: state.applied,
            raft_applied: consensus.raft_applied(),
            last: consensus.last_index(),
            generation: state.descriptor.generation,
            is_blank: self.is_blank(),
            is_log_alike: consensus.term_at(index).is_some_and(|found| found == term),
            last_version: state.last_version,
            request_floor: state.request_floor,
            level: state.level,
        }
    }

    /// Index, term and hash of the entries in memory after `low` and up to `high`: equal for equal (shard, index) once
    /// committed.
    pub fn entries_between(&self, low: u64, high: u64) -> Vec<(u64, u64, u64)> {
        self.consensus.entries_between(low, high).iter().map(|e| (e.index, e.term, hash(e))).collect()
    }
}

fn hash(entry: &crate::log::LogEntry) -> u64 {
    xxh3_64(&entry.data).rotate_left(1) ^ xxh3_64(&entry.context)
}
