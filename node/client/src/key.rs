//! Keys and records as their writers know them.

use bytes::Bytes;
use skerry_core::key::{self, KeyError};
use skerry_core::map::Fragmentation;
use skerry_core::time::Version;

/// A key. In a hash table all keys of one partition lie together, in the order of their sort part; in a range table
/// the partition is the whole key.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Partition part of the key. It decides the shard: by its hash in a hash table, by its order in a range table.
    pub partition: Bytes,
    /// Orders the keys of one partition; empty = none.
    pub sort: Bytes,
}

impl Key {
    /// A key that has a partition and no sort part.
    pub fn new(partition: impl Into<Bytes>) -> Self {
        Self { partition: partition.into(), sort: Bytes::new() }
    }

    /// A key of a hash table.
    pub fn with_sort(partition: impl Into<Bytes>, sort: impl Into<Bytes>) -> Self {
        Self { partition: partition.into(), sort: sort.into() }
    }

    pub(crate) fn encode(&self, fragmentation: Fragmentation) -> Result<Bytes, KeyError> {
        key::encode(fragmentation, &self.partition, &self.sort)
    }
}

/// A record as it was read from a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Key of the record.
    pub key: Key,
    /// Version of the write that set the record.
    pub version: Version,
    /// Value of the record.
    pub value: Bytes,
    /// Milliseconds since 1970 after which it is absent. `None` = never.
    pub expires_ms: Option<u64>,
}

/// The encoded key of a record that is not one of its table's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable(pub(crate) Bytes);

impl Record {
    pub(crate) fn decode(
        fragmentation: Fragmentation,
        record: skerry_core::command::Record,
    ) -> Result<Self, Unreadable> {
        let skerry_core::command::Record { key, version, value, expires_ms } = record;
        let (partition, sort) = match fragmentation {
            Fragmentation::Range => (key, Bytes::new()),
            Fragmentation::Hash => key::decode(fragmentation, &key).map_err(|_| Unreadable(key))?,
        };
        Ok(Self { key: Key { partition, sort }, version, value, expires_ms })
    }
}
