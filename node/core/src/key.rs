//! How a client's key becomes a key of its table's ordered range, and back.
//!
//! Range tables keep keys as they are. Hash tables order by the hash of the partition, so that partitions spread over
//! the range while all keys of one partition lie side by side, in the order of their sort part:
//!
//! ```text
//! xxh3_64(partition), big-endian │ partition, each 0x00 as 0x00 0xFF │ 0x00 0x01 │ sort
//! ```

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_64;

use crate::limits::{ENCODED_KEY_BYTES_MAX, KEY_BYTES_MAX};
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
        /// Length of partition and sort part together, in bytes.
        bytes: usize,
    },
    /// The key has a sort part, but its table is a range table, which orders whole keys.
    #[error("a key of a Range table has no sort part; only keys of Hash tables have one")]
    SortInRange,
    /// The bytes are no key that [`encode`] makes.
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
    let (partition, sort) = split_hash(key)?;
    Some((Bytes::copy_from_slice(&partition), Bytes::copy_from_slice(sort)))
}

/// Partition and sort part; copies only partitions that hold a zero.
fn split_hash(key: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let (hash, rest) = key.split_first_chunk::<HASH_BYTES>()?;
    let (mut partition, mut begin) = (Cow::Borrowed(&rest[..0]), 0);
    loop {
        let zero = begin + rest[begin..].iter().position(|&b| b == 0)?;
        match *rest.get(zero + 1)? {
            ESCAPED_ZERO => partition.to_mut().extend_from_slice(&rest[begin..=zero]),
            TERMINATOR if begin == 0 => partition = Cow::Borrowed(&rest[..zero]),
            TERMINATOR => partition.to_mut().extend_from_slice(&rest[begin..zero]),
            _ => return None,
        }
        begin = zero + 2;
        if rest[zero + 1] == TERMINATOR {
            break;
        }
    }
    (xxh3_64(&partition) == u64::from_be_bytes(*hash)).then_some((partition, &rest[begin..]))
}

/// Checks a key that a client has encoded: it is what [`encode`] makes of a key within the limits.
///
/// # Errors
/// The same as of [`encode`] for a key that breaks a limit, and [`KeyError::Malformed`] for what it never makes.
pub fn check(fragmentation: Fragmentation, key: &[u8]) -> Result<(), KeyError> {
    let bytes = match fragmentation {
        _ if key.is_empty() => 0,
        Fragmentation::Range => key.len(),
        Fragmentation::Hash => {
            let (partition, sort) = split_hash(key).ok_or(KeyError::Malformed)?;
            if partition.is_empty() { 0 } else { partition.len() + sort.len() }
        }
    };
    match bytes {
        0 => Err(KeyError::Empty),
        1..=KEY_BYTES_MAX => Ok(()),
        bytes => Err(KeyError::TooLong { bytes }),
    }
}

/// Checks what names a place between keys: where a scan begins or ends. Also a record whose key is none can be deleted
/// by its place. It may be longer than a key: earlier releases took keys of a Range table up to the longest encoding.
///
/// # Errors
/// [`KeyError::TooLong`] for more than [`ENCODED_KEY_BYTES_MAX`] bytes.
pub fn check_place(place: &[u8]) -> Result<(), KeyError> {
    let bytes = place.len();
    if bytes > ENCODED_KEY_BYTES_MAX { Err(KeyError::TooLong { bytes }) } else { Ok(()) }
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

/// The place in a partition where a range of sort parts begins or ends. It may be longer than a key, as the place behind the
/// longest one is.
///
/// # Errors
/// The same as of [`partition_range`] and [`check_place`], and [`KeyError::SortInRange`].
pub fn sort_bound(fragmentation: Fragmentation, partition: &[u8], sort: &[u8]) -> Result<Bytes, KeyError> {
    let (start, _) = partition_range(fragmentation, partition)?;
    match fragmentation {
        Fragmentation::Range if !sort.is_empty() => Err(KeyError::SortInRange),
        Fragmentation::Range => Ok(start),
        Fragmentation::Hash => {
            let place = [&start[..], sort].concat();
            check_place(&place)?;
            Ok(place.into())
        }
    }
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
            prop_assert_eq!(check(Fragmentation::Hash, &key), Ok(()));
            prop_assert_eq!(decode(Fragmentation::Hash, &key).unwrap(), (partition.into(), sort.into()));
        }

        #[test]
        fn what_is_taken_as_encoded_is_what_encoding_makes(key in vec(prop_oneof![Just(0), Just(1), Just(0xFF), any::<u8>()], 0..30), hashed in any::<bool>()) {
            // Half of the keys have the hash of what follows, or the most would fall at that alone.
            let hash = key.iter().position(|&b| b == 0).map_or(0, |end| xxh3_64(&key[..end]));
            let key = if hashed { [&hash.to_be_bytes()[..], &key[..]].concat() } else { key };
            if check(Fragmentation::Hash, &key).is_ok() {
                let (partition, sort) = decode(Fragmentation::Hash, &key).unwrap();
                prop_assert_eq!(encode(Fragmentation::Hash, &partition, &sort).unwrap(), key);
            }
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
    fn an_encoded_key_is_refused_as_the_key_itself_is() {
        let hashed = |partition: &[u8], sort: &[u8]| {
            let mut key = partition_prefix(partition);
            key.put_slice(sort);
            check(Fragmentation::Hash, &key)
        };
        assert_eq!(hashed(b"", b"sort"), Err(KeyError::Empty));
        assert_eq!(hashed(&[0; 4_000], &[1; 97]), Err(KeyError::TooLong { bytes: 4_097 }));
        assert_eq!(hashed(&[0; 4_000], &[1; 96]), Ok(()));
        for malformed in [&b"k"[..], b"12345678", b"12345678no end", b"12345678wrong hash\x00\x01", b"12345678\x00\x02"]
        {
            assert_eq!(check(Fragmentation::Hash, malformed), Err(KeyError::Malformed), "{malformed:?}");
        }
        for fragmentation in [Fragmentation::Range, Fragmentation::Hash] {
            assert_eq!(check(fragmentation, b""), Err(KeyError::Empty));
        }
        assert_eq!(check(Fragmentation::Range, &[1; KEY_BYTES_MAX]), Ok(()));
        assert_eq!(check(Fragmentation::Range, &[1; KEY_BYTES_MAX + 1]), Err(KeyError::TooLong { bytes: 4_097 }));
        assert_eq!(check_place(&[1; ENCODED_KEY_BYTES_MAX]), Ok(()));
        assert!(check_place(&[1; ENCODED_KEY_BYTES_MAX + 1]).is_err());
        let longest = encode(Fragmentation::Hash, b"p", &[9; KEY_BYTES_MAX - 1]).unwrap();
        assert_eq!(sort_bound(Fragmentation::Hash, b"p", &[9; KEY_BYTES_MAX - 1]), Ok(longest.clone()));
        let behind = [&[9; KEY_BYTES_MAX - 1][..], &[0]].concat();
        assert_eq!(sort_bound(Fragmentation::Hash, b"p", &behind), Ok(successor(&longest)));
        assert!(sort_bound(Fragmentation::Hash, b"p", &[9; ENCODED_KEY_BYTES_MAX]).is_err());
        assert_eq!(sort_bound(Fragmentation::Range, b"p", b"s"), Err(KeyError::SortInRange));
        assert_eq!(sort_bound(Fragmentation::Hash, b"", b"s"), Err(KeyError::Empty));
    }

    #[test]
    fn hash_shards_start_evenly() {
        let starts = hash_starts(4);
        assert_eq!(starts[0], Bytes::new());
        assert_eq!(starts[2], Bytes::copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0]));
        assert!(hash_starts(4_096).is_sorted());
    }
}
