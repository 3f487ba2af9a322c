//! Below the leaves: the records of a leaf by the hashes of their keys, 64 ways at each step, until few are left. Nothing of
//! it is kept; it is made of a leaf's records when two copies look into the leaf.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{LEAVES, digest};
use crate::record::Stored;

/// Children of a node.
pub const CHILDREN: usize = 64;
const CHILD_BITS: u32 = 6;
/// Records of a node that are told one by one rather than as sums of children.
pub const FEW: usize = 32;
/// Steps down from a leaf: 64 to the fifth times as many records as are few, more than a shard can have.
pub const DEPTH_MAX: u8 = 5;

/// Some of a leaf's records: those whose keys' hashes begin so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Node {
    /// Number of the leaf that the node lies in, below [`super::LEAVES`].
    pub leaf: u16,
    /// Steps down from the leaf; 0 = all of its records.
    pub depth: u8,
    /// Which child was taken at each step, six bits each, the last one lowest.
    pub path: u32,
}

/// One record of a leaf, as it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The encoded key of the record, within its table.
    pub key: Bytes,
    /// Hash of the key.
    pub hash: u64,
    /// What the record counts for in the sum of its leaf: see [`digest`].
    pub digest: u128,
}

/// What a copy holds of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// Sum of the digests.
    pub sum: u128,
    /// Number of records.
    pub records: u32,
}

impl Entry {
    /// A record as it counts.
    pub fn of(key: &Bytes, record: &Stored) -> Self {
        Self { key: key.clone(), hash: xxh3_64(key), digest: digest(key, record) }
    }
}

impl Node {
    /// All records of a leaf.
    pub fn leaf(leaf: u16) -> Self {
        Self { leaf, depth: 0, path: 0 }
    }

    /// True if there is such a node.
    pub fn is_sound(self) -> bool {
        let paths = 1_u64 << (CHILD_BITS * u32::from(self.depth.min(DEPTH_MAX)));
        usize::from(self.leaf) < LEAVES && self.depth <= DEPTH_MAX && u64::from(self.path) < paths
    }

    /// True if a record of the leaf with this hash of its key is in the node.
    pub fn has(self, hash: u64) -> bool {
        let bits = CHILD_BITS * u32::from(self.depth);
        bits == 0 || hash >> (u64::BITS - bits) == u64::from(self.path)
    }

    /// One of the node's children.
    pub fn child(self, child: u8) -> Self {
        Self { depth: self.depth + 1, path: self.path << CHILD_BITS | u32::from(child), ..self }
    }

    /// The sums of all children, of a leaf's records.
    pub fn children(self, entries: &[Entry]) -> Vec<Sum> {
        let mut sums = vec![Sum::default(); CHILDREN];
        let bits = CHILD_BITS * (u32::from(self.depth) + 1);
        for entry in entries.iter().filter(|entry| self.has(entry.hash)) {
            let child = (entry.hash >> (u64::BITS - bits)) % CHILDREN as u64;
            if let Some(sum) = usize::try_from(child).ok().and_then(|child| sums.get_mut(child)) {
                sum.sum = sum.sum.wrapping_add(entry.digest);
                sum.records = sum.records.saturating_add(1);
            }
        }
        sums
    }
}
