//! The keys of the system table's records.

use bytes::Bytes;

use crate::ids::{NodeId, ShardId, TableId};

/// Which record of the system table; its encoding is the record's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RecordKey {
    Head,
    Node(NodeId),
    Shard(ShardId),
    Table(TableId),
    Recovery(ShardId),
    Level,
}

impl RecordKey {
    pub(super) fn encode(self) -> Bytes {
        let (family, id): (u8, Vec<u8>) = match self {
            Self::Head => (b'h', Vec::new()),
            Self::Node(id) => (b'n', id.0.to_be_bytes().into()),
            Self::Shard(id) => (b's', id.0.to_be_bytes().into()),
            Self::Table(id) => (b't', id.0.to_be_bytes().into()),
            Self::Recovery(id) => (b'r', id.0.to_be_bytes().into()),
            Self::Level => (b'l', Vec::new()),
        };
        [vec![family], id].concat().into()
    }

    /// `None` = no record of the system table has this key.
    pub(super) fn decode(key: &[u8]) -> Option<Self> {
        let (family, id) = key.split_first()?;
        let long = || id.try_into().map(u64::from_be_bytes).ok();
        let short = || id.try_into().map(u32::from_be_bytes).ok();
        match family {
            b'h' if id.is_empty() => Some(Self::Head),
            b'l' if id.is_empty() => Some(Self::Level),
            b'n' => Some(Self::Node(NodeId(long()?))),
            b's' => Some(Self::Shard(ShardId(long()?))),
            b't' => Some(Self::Table(TableId(short()?))),
            b'r' => Some(Self::Recovery(ShardId(long()?))),
            _ => None,
        }
    }
}
