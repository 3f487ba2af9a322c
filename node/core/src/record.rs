//! How a record lies in the store: a fixed head, then the value as it is.
//!
//! Format 1 is what the first releases write: a value, and when it ends. It is read for ever, and goes on being written
//! where it is enough: by every table whose writes one leader orders. Format 3 has the same head, and after it what its
//! flags say: the stamp of a write that any copy may have ordered, what that write had seen, and the values that were
//! written at the same time. It may be a tombstone: a delete that is kept, so that no older value comes back; readers take
//! it for no record at all. One release knew a format 2, with stamps that were not unique; none has written it.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | format |
//! | 1 | flags |
//! | 8 | version, big-endian as all numbers here |
//! | 8 | end in milliseconds since 1970; 0 without the flag |
//! | 8 + 8 | replica and incarnation of the stamp; from here on only in format 3 |
//! | 8 + 8 + 8 + 4 | issued, client and sequence of the request, and which attempt of it, if flagged |
//! | 3 or more | context, if flagged: see `record/context.rs` |
//! | 2 + (4 + length) each | siblings, each a record of format 3 without context and siblings, if flagged |
//! | rest | value; none in a tombstone |

mod context;
mod extended;
mod rest;
mod stamp;

use bytes::Bytes;

use crate::command::Record;
use crate::time::Version;

pub use context::{BadToken, Context};
pub use extended::{Stored, VALUE_BYTES_HELD_MAX, VALUES_HELD_MAX, Value};
pub use stamp::{Actor, Stamp};

const FORMAT: u8 = 1;
const FORMAT_EXTENDED: u8 = 3;
const HAS_EXPIRY: u8 = 1;
/// Bytes before the value: format (1), flags (1), version (8), expiry (8).
const HEAD_BYTES: usize = 18;

/// A record that cannot be read: another format, flags that are not known, or cut short.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record of {bytes} bytes with format {format:?} and flags {flags:?} is not readable")]
pub struct Unreadable {
    /// Length of what is stored, in bytes.
    pub bytes: usize,
    /// First byte of what is stored, its format. `None` = nothing is stored.
    pub format: Option<u8>,
    /// Second byte of what is stored, its flags. `None` = it is shorter than that.
    pub flags: Option<u8>,
}

impl Unreadable {
    fn of(stored: &[u8]) -> Self {
        Self { bytes: stored.len(), format: stored.first().copied(), flags: stored.get(1).copied() }
    }
}

impl crate::engine::Unreadable for Unreadable {
    fn is_newer(&self) -> bool {
        let has_unknown_flag = self.flags.is_some_and(|flags| flags & !extended::KNOWN_FLAGS != 0);
        match self.format {
            Some(FORMAT_EXTENDED) => has_unknown_flag,
            format => format.is_some_and(|format| format > FORMAT_EXTENDED),
        }
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

/// The record of an encoded key, from its stored form, as a reader sees it. `None` = a tombstone: there is no record.
pub(crate) fn decode(key: Bytes, stored: &Bytes) -> Result<Option<Record>, Unreadable> {
    if stored.first() == Some(&FORMAT_EXTENDED) {
        let Value { stamp, expires_ms, is_tombstone, value, .. } = Stored::decode(stored)?.newest;
        return Ok((!is_tombstone).then_some(Record { key, version: stamp.version, value, expires_ms }));
    }
    if stored.len() < HEAD_BYTES || stored[0] != FORMAT {
        return Err(Unreadable::of(stored));
    }
    let expires_ms = if stored[1] & HAS_EXPIRY != 0 { number(stored, 10) } else { None };
    let version = Version(number(stored, 2).unwrap_or_default());
    Ok(Some(Record { key, version, value: stored.slice(HEAD_BYTES..), expires_ms }))
}

/// The version of a stored record, whether or not it is a tombstone. `None` = it cannot be read.
pub(crate) fn version(stored: &Bytes) -> Option<Version> {
    if stored.first() == Some(&FORMAT_EXTENDED) {
        return Stored::decode(stored).ok().map(|stored| stored.newest.stamp.version);
    }
    let is_known = stored.len() >= HEAD_BYTES && stored[0] == FORMAT;
    is_known.then(|| number(stored, 2).map(Version))?
}

/// True for a delete that is kept, and no value beside it. It does not count for what a shard holds.
pub(crate) fn is_tombstone(stored: &[u8]) -> bool {
    stored.first() == Some(&FORMAT_EXTENDED) && stored.get(1).is_some_and(|flags| extended::is_tombstone(*flags))
}

/// When a stored record ends, in milliseconds since 1970. `None` = never, or it cannot be read.
pub(crate) fn expires_ms(stored: &[u8]) -> Option<u64> {
    let is_known = matches!(stored.first(), Some(&FORMAT | &FORMAT_EXTENDED));
    let has_end = is_known && stored.get(1).is_some_and(|flags| flags & HAS_EXPIRY != 0);
    let end = number(stored, 10)?;
    has_end.then_some(end)
}

/// True if the record is absent at this time.
pub(crate) fn is_expired(record: &Record, wall_ms: u64) -> bool {
    record.expires_ms.is_some_and(|at| at <= wall_ms)
}

fn number(stored: &[u8], at: usize) -> Option<u64> {
    stored.get(at..at + 8)?.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests;
