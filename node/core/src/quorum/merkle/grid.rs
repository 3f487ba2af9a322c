//! How keys lie in leaves: each leaf is a range of encoded keys, so that its records are read without the others.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::LEAVES;

/// The ranges of the leaves of one shard. Two copies can be compared only by one grid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grid {
    /// The shard's range cut evenly, by the first eight bytes of keys. In hash tables these are a hash; where keys begin
    /// alike, leaves have as many records as that gives.
    Even {
        /// Where the shard begins, as a number.
        start: u64,
        /// Where it ends, as a number above; at most 2^64.
        end: u128,
    },
    /// Leaves begin at these keys.
    At(Vec<Bytes>),
}

impl Grid {
    /// Cuts a shard evenly. `end` = `None` for the table's end.
    pub fn even(start: &[u8], end: Option<&[u8]>) -> Self {
        let start = number(start);
        let end = end.map_or(1 << 64, |end| u128::from(number(end)));
        Self::Even { start, end: end.max(u128::from(start) + 1) }
    }

    /// Tells grids apart.
    pub fn id(&self) -> u64 {
        let mut bytes = Vec::new();
        match self {
            Self::Even { start, end } => {
                bytes.push(0);
                bytes.extend(start.to_be_bytes());
                bytes.extend(end.to_be_bytes());
            }
            Self::At(starts) => {
                bytes.push(1);
                for start in starts {
                    bytes.extend((start.len() as u64).to_be_bytes());
                    bytes.extend_from_slice(start);
                }
            }
        }
        xxh3_64(&bytes)
    }

    /// The leaf of a key. Keys beyond the shard's range are in the first or last one.
    pub fn leaf(&self, key: &[u8]) -> u16 {
        let leaf = match self {
            Self::Even { start, end } => {
                let span = end - u128::from(*start);
                let at = u128::from(number(key).saturating_sub(*start));
                usize::try_from(at * LEAVES as u128 / span).unwrap_or(LEAVES)
            }
            Self::At(starts) => starts.partition_point(|start| **start <= *key),
        };
        u16::try_from(leaf.min(LEAVES - 1)).unwrap_or(u16::MAX)
    }

    /// The range of a leaf's keys: its first key, and the first one beyond it. The first leaf begins at the shard's start,
    /// which is empty here, and the last one ends at its end, which is `None`. `None` = the grid has no such leaf.
    pub fn range(&self, leaf: u16) -> Option<(Bytes, Option<Bytes>)> {
        let leaf = usize::from(leaf);
        let start = if leaf == 0 { Bytes::new() } else { self.begin(leaf)? };
        Some((start, self.begin(leaf + 1)))
    }

    /// Where a leaf begins. `None` = there is none, or no key that is so high.
    fn begin(&self, leaf: usize) -> Option<Bytes> {
        match self {
            _ if leaf >= LEAVES => None,
            Self::Even { start, end } => {
                let span = end - u128::from(*start);
                let at = u128::from(*start) + (span * leaf as u128).div_ceil(LEAVES as u128);
                let bytes = u64::try_from(at).ok()?.to_be_bytes();
                // A key that is these zeros shorter is not below.
                let kept = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                Some(Bytes::copy_from_slice(&bytes[..kept]))
            }
            Self::At(starts) => starts.get(leaf.checked_sub(1)?).cloned(),
        }
    }
}

/// The first eight bytes of a key as a number; a shorter one is filled up with zeros.
fn number(key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let length = key.len().min(8);
    bytes[..length].copy_from_slice(&key[..length]);
    u64::from_be_bytes(bytes)
}
