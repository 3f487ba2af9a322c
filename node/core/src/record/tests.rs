//! Claims about stored records of both formats.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::command::RequestId;
use crate::engine::{EngineError, Unreadable as _};
use crate::ids::{Incarnation, ReplicaId};

/// Bytes before what flags tell of: the head, and who ordered the write.
const EXTENDED_HEAD_BYTES: usize = HEAD_BYTES + 16;

/// A record of one write without more.
fn plain(value: Value) -> Stored {
    Stored::new(value, Context::default())
}

fn key() -> Bytes {
    Bytes::from_static(b"k")
}

#[test]
fn a_record_comes_back_as_it_was_written() {
    for expires_ms in [None, Some(7)] {
        let stored = encode(Version(42), expires_ms, b"value");
        let record = decode(key(), &stored).unwrap().unwrap();
        assert_eq!((record.version, record.expires_ms, &record.value[..]), (Version(42), expires_ms, &b"value"[..]));
        assert_eq!((version(&stored), is_tombstone(&stored)), (Some(Version(42)), false));
    }
}

#[test]
fn the_end_of_a_stored_record_is_read_without_its_value() {
    assert_eq!(expires_ms(&encode(Version(42), Some(7), b"value")), Some(7));
    assert_eq!(expires_ms(&encode(Version(42), None, b"value")), None);
    assert_eq!(expires_ms(&encode(Version(42), Some(7), b"")[..17]), None);
    assert_eq!(expires_ms(&plain(Value { expires_ms: Some(7), ..Value::default() }).encode()), Some(7));
    assert_eq!(expires_ms(&[9; 40]), None);
}

#[test]
fn a_short_or_foreign_record_is_refused() {
    assert!(decode(Bytes::new(), &Bytes::from_static(b"\x01short")).is_err());
    assert!(decode(Bytes::new(), &Bytes::from_static(b"\x03")).is_err());
    assert!(decode(Bytes::new(), &Bytes::new()).is_err());
    assert!(decode(Bytes::new(), &Bytes::from(vec![9; 40])).is_err());
    assert_eq!(version(&Bytes::from(vec![9; 40])), None, "whatever lies where a version would");
}

#[test]
fn a_tombstone_is_no_record_and_has_a_version() {
    let stamp = Stamp::lowest(Version(42));
    let tombstone = plain(Value { stamp, is_tombstone: true, ..Value::default() }).encode();
    assert_eq!(decode(key(), &tombstone), Ok(None));
    assert_eq!((version(&tombstone), is_tombstone(&tombstone)), (Some(Version(42)), true));
    let mut with_value = tombstone.to_vec();
    with_value.push(b'v');
    assert!(decode(key(), &with_value.into()).is_err(), "a delete has no value");
}

#[test]
fn a_sibling_of_a_newer_release_is_told_as_such() {
    let newest = Value { stamp: Stamp::lowest(Version(7)), ..Value::default() };
    let bytes = Stored { siblings: vec![Value::default()], ..plain(newest) }.encode();
    // After the head, the number of siblings and the length of the first: its format, then its flags.
    let flags = EXTENDED_HEAD_BYTES + 2 + 4 + 1;
    let mut bytes = bytes.to_vec();
    bytes[flags] = 128;
    assert!(decode(key(), &bytes.into()).unwrap_err().is_newer());
}

#[test]
fn flags_and_formats_of_a_newer_release_are_told_as_such_and_count_as_no_damage() {
    let change = |at: usize, to: u8| {
        let mut bytes = plain(Value { value: Bytes::from_static(b"value"), ..Value::default() }).encode().to_vec();
        bytes[at] = to;
        decode(key(), &bytes.into())
    };
    for flag in [64, 128] {
        let error = change(1, flag).unwrap_err();
        assert!(error.is_newer(), "{error}");
        assert!(!EngineError::unreadable(error).is_damage);
    }
    assert!(change(0, 4).unwrap_err().is_newer());
    assert!(!change(0, 0).unwrap_err().is_newer());
    assert!(!change(0, 2).unwrap_err().is_newer(), "nobody has written it");
    // The flag of a request, and too little behind it.
    assert!(!change(1, 4).unwrap_err().is_newer());
}

/// A record in whose sibling there is a sibling, and so on, so deep.
fn nested(depth: u32) -> Bytes {
    let leaf = plain(Value::default()).encode();
    // Each has a head, the number of its siblings, and the length of the only one.
    let step = EXTENDED_HEAD_BYTES + 2 + 4;
    let mut bytes = Vec::new();
    for inner in (0..depth).rev() {
        let within = u32::try_from(leaf.len() + step * usize::try_from(inner).unwrap()).unwrap();
        bytes.extend([FORMAT_EXTENDED, 16]);
        // Its version counts from the inside out: a sibling is lower than the newest value.
        bytes.extend(u64::from(inner + 1).to_be_bytes());
        bytes.extend([0; EXTENDED_HEAD_BYTES - 10]);
        bytes.extend(1_u16.to_be_bytes());
        bytes.extend(within.to_be_bytes());
    }
    bytes.extend_from_slice(&leaf);
    bytes.into()
}

#[test]
fn siblings_of_siblings_are_refused_however_deep_they_are_nested() {
    assert!(Stored::decode(&nested(1)).is_ok());
    // As much as a piece of a snapshot may hold: reading one within the other would take more than the stack.
    for depth in [2, 3, 300_000] {
        let bytes = nested(depth);
        let error = decode(key(), &bytes).unwrap_err();
        assert!(!error.is_newer());
        assert_eq!(error.bytes, bytes.len(), "it is seen in the record itself");
        assert_eq!(version(&bytes), None);
    }
}

#[cfg(feature = "planted")]
#[test]
fn siblings_of_siblings_that_are_read_are_noticed() {
    crate::planted::plant(Some(crate::planted::Planted::SiblingsOfSiblingsRead));
    let read = decode(key(), &nested(3));
    crate::planted::plant(None);
    assert_ne!(read.unwrap_err().bytes, nested(3).len());
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(version, replica, start)| Stamp {
        version: Version(version),
        actor: Actor { replica: ReplicaId(replica), incarnation: Incarnation(start) },
    })
}

fn value() -> impl Strategy<Value = Value> {
    let request = (any::<u64>(), any::<u64>(), any::<u64>());
    let request =
        request.prop_map(|(issued, client, sequence)| RequestId { issued: Version(issued), client, sequence });
    let request = prop::option::of((request, any::<u32>()));
    let fields = (stamp(), any::<(bool, bool)>(), any::<Option<u64>>(), request, vec(any::<u8>(), 0..40));
    fields.prop_map(|(stamp, (by_last_writer, is_tombstone), expires_ms, request, value)| {
        let (value, (request, attempt)) = (if is_tombstone { Vec::new() } else { value }, request.unzip());
        let attempt = attempt.unwrap_or_default();
        Value { stamp, by_last_writer, is_tombstone, expires_ms, request, attempt, value: value.into() }
    })
}

fn stored() -> impl Strategy<Value = Stored> {
    (vec(value(), 1..5), vec(stamp(), 0..5), any::<(u8, u64)>()).prop_map(|(mut values, seen, (last, floor))| {
        values.sort_by_key(|value| std::cmp::Reverse(value.stamp));
        values.dedup_by_key(|value| value.stamp);
        let newest = values.remove(0);
        let mut context = match last % 3 {
            0 => Context::default(),
            1 => Context::of_last_writer(newest.stamp),
            _ => Context::of_last_writer(Stamp::lowest(Version(newest.stamp.version.0 / 2))),
        };
        context.raise(Version(if last > 99 { floor.min(newest.stamp.version.0.saturating_sub(1)) } else { 0 }));
        seen.into_iter().filter(|seen| seen.version < newest.stamp.version).for_each(|seen| context.add(seen));
        Stored { newest, siblings: values, context }
    })
}

proptest! {
    #[test]
    fn all_that_a_record_can_hold_comes_back(record in stored()) {
        let bytes = record.encode();
        prop_assert_eq!(Stored::decode(&bytes), Ok(record.clone()));
        let read = decode(key(), &bytes).unwrap();
        prop_assert_eq!(read.is_none(), record.newest.is_tombstone);
        prop_assert_eq!(version(&bytes), Some(record.newest.stamp.version));
        prop_assert_eq!(expires_ms(&bytes), record.newest.expires_ms);
        if let Some(read) = read {
            let Value { stamp, value, expires_ms, .. } = record.newest;
            prop_assert_eq!((read.version, read.value, read.expires_ms), (stamp.version, value, expires_ms));
        }
    }

    #[test]
    fn a_record_that_is_cut_short_is_refused_or_lacks_the_end_of_its_value(record in stored(), keep in 0..1_000_usize) {
        let bytes = record.encode();
        let cut = bytes.slice(..keep.min(bytes.len() - 1));
        let missing = bytes.len() - cut.len();
        match Stored::decode(&cut) {
            Ok(read) => prop_assert_eq!(&read.newest.value[..], &record.newest.value[..record.newest.value.len() - missing]),
            Err(error) => prop_assert!(!error.is_newer()),
        }
    }

    #[test]
    fn whatever_bytes_there_are_they_are_read_or_refused(mut bytes in vec(any::<u8>(), 0..200), format in 0..5_u8) {
        if let Some(first) = bytes.first_mut() {
            *first = format;
        }
        let bytes = Bytes::from(bytes);
        if let Ok(record) = Stored::decode(&bytes) {
            prop_assert_eq!(record.encode(), bytes.clone());
        }
        let _read = decode(key(), &bytes);
        let _end = expires_ms(&bytes);
    }
}
