//! How a client's key becomes a key of its table's ordered range, and back.
//!
//! Range tables keep keys as they are. Hash tables order by the hash of the partition, so that partitions spread over
//! the range while all keys of one partition lie side by side, in the order of their sort part:
//!
//! ```text
//! xxh3_64(partition), big-endian │ partition, each 0x00 as 0x00 0xFF │ 0x00 0x01 │ sort
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_64;

use crate::limits::KEY_BYTES_MAX;
use crate::map::Fragmentation;

const HASH_BYTES: usize = 8;
const ESCAPED_ZERO: u8 = 0xFF;
const TERMINATOR: u8 = 0x01;

/// A key that is none, as the client wrote it or as it was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing to hash or to order by.
    #[error("the key is empty; it must have 1 to {KEY_BYTES_MAX} bytes")]
    Empty,
    /// Partition and sort part together are too long.
    #[error("the key has {bytes} bytes, partition and sort part together; it must have 1 to {KEY_BYTES_MAX}")]
    TooLong {
        /// Their length.
        bytes: usize,
    },
    /// Range tables order whole keys.
    #[error("a key of a Range table has no sort part; only keys of Hash tables have one")]
    SortInRange,
    /// Not what [`encode`] makes.
    #[error("the encoded key is malformed")]
    Malformed,
}

/// The encoded key. `sort` is empty where there is none.
pub fn encode(fragmentation: Fragmentation, partition: &[u8], sort: &[u8]) -> Result<Bytes, KeyError> {
    let bytes = partition.len() + sort.len();
    match fragmentation {
        _ if partition.is_empty() => Err(KeyError::Empty),
        _ if bytes > KEY_BYTES_MAX => Err(KeyError::TooLong { bytes }),
        Fragmentation::Range if !sort.is_empty() => Err(KeyError::SortInRange),
        Fragmentation::Range => Ok(Bytes::copy_from_slice(partition)),
        Fragmentation::Hash => {
            let mut key = partition_prefix(partition);
            key.put_slice(sort);
            Ok(key.freeze())
        }
    }
}

fn partition_prefix(partition: &[u8]) -> BytesMut {
    let mut key = BytesMut::with_capacity(HASH_BYTES + partition.len() + 2);
    key.put_u64(xxh3_64(partition));
    for &byte in partition {
        key.put_u8(byte);
        if byte == 0 {
            key.put_u8(ESCAPED_ZERO);
        }
    }
    key.put_slice(&[0, TERMINATOR]);
    key
}

/// Partition and sort part of an encoded key.
pub fn decode(fragmentation: Fragmentation, key: &[u8]) -> Result<(Bytes, Bytes), KeyError> {
    match fragmentation {
        Fragmentation::Range => Ok((Bytes::copy_from_slice(key), Bytes::new())),
        Fragmentation::Hash => decode_hash(key).ok_or(KeyError::Malformed),
    }
}

fn decode_hash(key: &[u8]) -> Option<(Bytes, Bytes)> {
    let (hash, mut rest) = key.split_first_chunk::<HASH_BYTES>()?;
    let mut partition = BytesMut::with_capacity(rest.len());
    loop {
        let zero = rest.iter().position(|&b| b == 0)?;
        partition.put_slice(&rest[..zero]);
        let marker = *rest.get(zero + 1)?;
        rest = &rest[zero + 2..];
        match marker {
            ESCAPED_ZERO => partition.put_u8(0),
            TERMINATOR => break,
            _ => return None,
        }
    }
    (xxh3_64(&partition) == u64::from_be_bytes(*hash)).then(|| (partition.freeze(), Bytes::copy_from_slice(rest)))
}

/// The encoded range that holds all keys of one partition; of a Range table, the one key.
pub fn partition_range(fragmentation: Fragmentation, partition: &[u8]) -> Result<(Bytes, Option<Bytes>), KeyError> {
    let start = encode(fragmentation, partition, &[])?;
    let end = match fragmentation {
        Fragmentation::Range => Some(successor(&start)),
        Fragmentation::Hash => prefix_end(&start),
    };
    Ok((start, end))
}

/// The first key after all keys with this prefix. `None` = there is none: the prefix is empty or all 0xFF.
pub fn prefix_end(prefix: &[u8]) -> Option<Bytes> {
    let keep = prefix.iter().rposition(|&b| b != 0xFF)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end.into())
}

/// The next key after this one.
pub fn successor(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

/// Where the shards of a Hash table start that cut the space of hashes evenly; the first is empty.
pub fn hash_starts(shards: usize) -> Vec<Bytes> {
    let count = shards.max(1) as u128;
    let start = |position: u128| {
        let hash = u64::try_from((position << 64) / count).unwrap_or(u64::MAX);
        Bytes::copy_from_slice(&hash.to_be_bytes())
    };
    std::iter::once(Bytes::new()).chain((1..count).map(start)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::map::in_bounds;

    fn part() -> impl Strategy<Value = Vec<u8>> {
        vec(prop_oneof![Just(0), Just(1), Just(0xFE), Just(0xFF), any::<u8>()], 1..20)
    }

    proptest! {
        #[test]
        fn a_key_comes_back_as_it_was(partition in part(), sort in vec(any::<u8>(), 0..20)) {
            let key = encode(Fragmentation::Hash, &partition, &sort).unwrap();
            prop_assert_eq!(decode(Fragmentation::Hash, &key).unwrap(), (partition.into(), sort.into()));
        }

        #[test]
        fn a_partitions_keys_are_ordered_by_their_sort_part(partition in part(), a in vec(any::<u8>(), 0..9), b in vec(any::<u8>(), 0..9)) {
            let encoded = |sort: &[u8]| encode(Fragmentation::Hash, &partition, sort).unwrap();
            prop_assert_eq!(a.cmp(&b), encoded(&a).cmp(&encoded(&b)));
        }

        #[test]
        fn a_partitions_range_holds_its_keys_and_no_others(partition in part(), other in part(), sort in vec(any::<u8>(), 0..9)) {
            let (start, end) = partition_range(Fragmentation::Hash, &partition).unwrap();
            let holds = |partition: &[u8]| in_bounds(&encode(Fragmentation::Hash, partition, &sort).unwrap(), &start, end.as_deref());
            prop_assert!(holds(&partition));
            prop_assert_eq!(holds(&other), partition == other);
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert_eq!(encode(Fragmentation::Range, b"", b""), Err(KeyError::Empty));
        assert_eq!(encode(Fragmentation::Range, b"k", b"s"), Err(KeyError::SortInRange));
        assert_eq!(encode(Fragmentation::Hash, &[1; 4_000], &[1; 97]), Err(KeyError::TooLong { bytes: 4_097 }));
        assert!(encode(Fragmentation::Hash, &[1; 4_000], &[1; 96]).is_ok());
        assert_eq!(decode(Fragmentation::Hash, b"12345678no end"), Err(KeyError::Malformed));
    }

    #[test]
    fn hash_shards_start_evenly() {
        let starts = hash_starts(4);
        assert_eq!(starts[0], Bytes::new());
        assert_eq!(starts[2], Bytes::copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0]));
        assert!(hash_starts(4_096).is_sorted());
    }
}
