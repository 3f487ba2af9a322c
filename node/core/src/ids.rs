//! The identifiers of the design's vocabulary, one type each, so that no two can be mistaken for one another.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(/// A node, given by the system shard, never reused. Zero is "not yet joined".
    NodeId, u64, "n");
id!(/// A table, given by the system shard, never reused. Zero is the system table.
    TableId, u32, "t");
id!(/// A shard, never reused. Shard zero is the system shard.
    ShardId, u64, "s");
id!(/// One copy of one shard on one node; never reused, also not on the same node. Also the Raft id of that copy.
    ReplicaId, u64, "r");
id!(/// Counts the starts of one node; a message with a lower one than the highest seen is refused.
    Incarnation, u64, "i");
id!(/// Version of the shard map.
    Epoch, u64, "e");
id!(/// Version of one shard: rises with every change of its members or bounds.
    Generation, u64, "g");
id!(/// Ties an answer to the request that the shell handed in. Unique within one start of a node.
    Token, u64, "q");

/// Counts recoveries in its high half and all other changes in its low half, so that what begins with a recovery is above
/// anything that the copies which were given up may have reached without anybody's knowledge.
macro_rules! counts_recoveries {
    ($name:ident) => {
        impl $name {
            /// Recoveries from a lost majority so far.
            pub fn recoveries(self) -> u64 {
                self.0 >> 32
            }

            /// The first one after a further recovery.
            #[must_use]
            pub fn recovered(self) -> Self {
                Self((self.0 | u64::from(u32::MAX)).saturating_add(1))
            }
        }
    };
}

counts_recoveries!(Generation);
counts_recoveries!(Epoch);

impl ShardId {
    /// The shard that holds catalog, node registry, shard map and targets.
    pub const SYSTEM: Self = Self(0);
}

impl TableId {
    /// The table whose only shard is the system shard.
    pub const SYSTEM: Self = Self(0);
}

/// Names one database for ever: the uid of its resource. At most [`crate::limits::CLUSTER_ID_BYTES_MAX`] bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(pub String);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
