//! How a record lies in the store: a fixed head, then the value as it is.

use bytes::Bytes;

use crate::command::Record;
use crate::time::Version;

const FORMAT: u8 = 1;
const HAS_EXPIRY: u8 = 1;
/// Format, flags, version, expiry.
const HEAD_BYTES: usize = 18;

/// A record that cannot be read: another format, or cut short.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record of {bytes} bytes with format {format:?} is not readable")]
pub(crate) struct Unreadable {
    /// Its length.
    pub bytes: usize,
    /// Its first byte.
    pub format: Option<u8>,
}

impl crate::engine::Unreadable for Unreadable {
    fn is_newer(&self) -> bool {
        self.format.is_some_and(|format| format > FORMAT)
    }
}

/// The stored form of a value.
pub(crate) fn encode(version: Version, expires_ms: Option<u64>, value: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + value.len());
    bytes.push(FORMAT);
    bytes.push(if expires_ms.is_some() { HAS_EXPIRY } else { 0 });
    bytes.extend_from_slice(&version.0.to_be_bytes());
    bytes.extend_from_slice(&expires_ms.unwrap_or(0).to_be_bytes());
    bytes.extend_from_slice(value);
    bytes.into()
}

/// The record of an encoded key, from its stored form.
pub(crate) fn decode(key: Bytes, stored: &Bytes) -> Result<Record, Unreadable> {
    let unreadable = || Unreadable { bytes: stored.len(), format: stored.first().copied() };
    if stored.len() < HEAD_BYTES || stored[0] != FORMAT {
        return Err(unreadable());
    }
    let number = |at: usize| stored[at..at + 8].try_into().map(u64::from_be_bytes).map_err(|_| unreadable());
    let expires_ms = if stored[1] & HAS_EXPIRY != 0 { Some(number(10)?) } else { None };
    Ok(Record { key, version: Version(number(2)?), value: stored.slice(HEAD_BYTES..), expires_ms })
}

/// When a stored record ends, in milliseconds since 1970. `None` = never, or it cannot be read.
pub(crate) fn expires_ms(stored: &[u8]) -> Option<u64> {
    let has_end = stored.first() == Some(&FORMAT) && stored.get(1).is_some_and(|flags| flags & HAS_EXPIRY != 0);
    let end = stored.get(10..HEAD_BYTES)?.first_chunk::<8>()?;
    has_end.then_some(u64::from_be_bytes(*end))
}

/// True if the record is absent at this time.
pub(crate) fn is_expired(record: &Record, wall_ms: u64) -> bool {
    record.expires_ms.is_some_and(|at| at <= wall_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        for expires_ms in [None, Some(7)] {
            let stored = encode(Version(42), expires_ms, b"value");
            let record = decode(Bytes::from_static(b"k"), &stored).unwrap();
            assert_eq!(
                (record.version, record.expires_ms, &record.value[..]),
                (Version(42), expires_ms, &b"value"[..])
            );
        }
    }

    #[test]
    fn the_end_of_a_stored_record_is_read_without_its_value() {
        assert_eq!(expires_ms(&encode(Version(42), Some(7), b"value")), Some(7));
        assert_eq!(expires_ms(&encode(Version(42), None, b"value")), None);
        assert_eq!(expires_ms(&encode(Version(42), Some(7), b"")[..17]), None);
        assert_eq!(expires_ms(&[9; 40]), None);
    }

    #[test]
    fn a_short_or_foreign_record_is_refused() {
        assert!(decode(Bytes::new(), &Bytes::from_static(b"\x01short")).is_err());
        assert!(decode(Bytes::new(), &Bytes::from(vec![9; 40])).is_err());
    }
}
