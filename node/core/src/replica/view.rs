//! What the invariants look at: a replica as plain values.

use crate::engine::{Engine, EngineError};
use crate::ids::{NodeId, ReplicaId, ShardId};
use crate::log::LogEntry;
use crate::map::Descriptor;
use crate::replica::Replica;

/// The state of a replica at one moment, for invariants and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaView {
    /// Node that the replica is on.
    pub node: NodeId,
    /// Shard that the replica is of.
    pub shard: ShardId,
    /// Id of the replica.
    pub replica: ReplicaId,
    /// Raft term that the replica is in.
    pub term: u64,
    /// True if it leads in that term.
    pub is_leader: bool,
    /// Highest log index that the replica knows to be committed.
    pub committed: u64,
    /// Index and term of the last applied entry.
    pub applied: (u64, u64),
    /// Index of the last entry in the log.
    pub last: u64,
    /// The shard as of the last applied entry.
    pub descriptor: Descriptor,
    /// Members that the leader finds in sync.
    pub in_sync: Vec<ReplicaId>,
    /// True while it waits for its snapshot.
    pub is_blank: bool,
    /// True if it leads, or has heard of who does.
    pub has_leader: bool,
    /// The highest index that its last leader has told of as committed, also if its log does not reach so far.
    pub told_committed: u64,
    /// True while it counts few of the ticks, since its shard has nothing to do.
    pub is_quiescent: bool,
    /// The index of an entry that this release cannot read: nothing is applied from there on.
    pub unreadable: Option<u64>,
}

impl Replica {
    /// This replica as plain values.
    pub fn view(&self) -> ReplicaView {
        let consensus = &self.consensus;
        ReplicaView {
            node: consensus.node(),
            shard: self.descriptor().shard,
            replica: self.id(),
            term: self.term(),
            is_leader: self.is_leader(),
            committed: consensus.committed(),
            applied: self.machine.applied(),
            last: consensus.last_index(),
            descriptor: self.descriptor().clone(),
            in_sync: if self.is_leader() { self.in_sync().into_iter().collect() } else { Vec::new() },
            is_blank: self.is_blank(),
            has_leader: consensus.leader().is_some(),
            is_quiescent: self.is_quiescent(),
            unreadable: self.unreadable(),
            told_committed: consensus.told_committed().max(consensus.committed()),
        }
    }

    /// Index, term and hash of every entry in memory above the log's start: equal for equal (shard, index) once committed.
    pub fn entries(&self) -> Vec<(u64, u64, u64)> {
        let entries = self.consensus.entries_from(self.consensus.log_start().0 + 1).unwrap_or_default();
        let hash = |e: &LogEntry| xxhash_rust::xxh3::xxh3_64(&[&e.data[..], &e.context[..]].concat());
        entries.iter().map(|e| (e.index, e.term, hash(e))).collect()
    }

    /// Hash of all that is replicated of the shard: its records, what it is, its size, its versions and its request ids.
    /// Equal on all copies at the same applied index.
    pub fn state_hash(&self, engine: &dyn Engine) -> Result<u64, EngineError> {
        self.machine.state_hash(engine)
    }
}
