//! What the store keeps of a replica beside its records: who it is, and how far its records are.

use serde::{Deserialize, Serialize};

use crate::codec::{self, Undecodable};
use crate::engine::{EngineWrite, shard_key, state};
use crate::ids::{ReplicaId, ShardId};
use crate::map::Descriptor;
use crate::time::Version;

/// Index and term that a shard's first replicas start from, as if a first entry had been applied.
pub const FIRST: (u64, u64) = (1, 1);

/// In one atomic batch with the records that it covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaState {
    /// Which copy.
    pub replica: ReplicaId,
    /// The shard at `applied`. Only the shard id counts while `blank`.
    pub descriptor: Descriptor,
    /// Index and term of the last applied entry.
    pub applied: (u64, u64),
    /// Highest version given in the shard.
    pub last_version: Version,
    /// Requests issued at or before this are refused.
    pub request_floor: Version,
    /// Estimate of the bytes of the shard's records: what was put, less what is known deleted.
    pub bytes: u64,
    /// True until its snapshot is complete: its records mean nothing. What it voted and acknowledged is in its log.
    pub blank: bool,
    /// True from a snapshot's end until an entry after it is applied. If the log does not begin at `applied` by then, the
    /// log is from before the snapshot, which stands for all of it.
    pub from_snapshot: bool,
}

impl ReplicaState {
    /// A first replica of a new shard.
    pub fn first(replica: ReplicaId, descriptor: Descriptor) -> Self {
        Self { applied: FIRST, descriptor, blank: false, ..Self::blank(replica, ShardId::SYSTEM) }
    }

    /// A replica that waits for its snapshot.
    pub fn blank(replica: ReplicaId, shard: ShardId) -> Self {
        Self {
            replica,
            descriptor: Descriptor { shard, ..Descriptor::default() },
            applied: (0, 0),
            last_version: Version(0),
            request_floor: Version(0),
            bytes: 0,
            blank: true,
            from_snapshot: false,
        }
    }

    /// The write that keeps it.
    pub fn write(&self) -> EngineWrite {
        EngineWrite::Put(shard_key(self.descriptor.shard, state::REPLICA, &[]), codec::encode(self))
    }

    /// What the store holds.
    pub fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        codec::decode("replica state", bytes)
    }
}
