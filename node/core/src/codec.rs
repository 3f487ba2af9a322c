//! The one encoding of what the core keeps in store and log: a version byte, then postcard.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

const FORMAT: u8 = 1;
/// The format of values that have more than the first releases wrote; only where a format level has it.
const EXTENDED: u8 = 2;

/// Bytes that are not what they should be: another format, or damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not readable: {reason}")]
pub struct Undecodable {
    /// Name of what the bytes should encode, such as `replica state`.
    pub what: &'static str,
    /// Why the bytes cannot be decoded, in words.
    pub reason: String,
    /// True if a newer release wrote it, of whose formats this one does not know.
    pub is_newer: bool,
}

impl Undecodable {
    /// An error for bytes that are damaged, or that nobody can have written.
    pub(crate) fn damaged(what: &'static str, reason: String) -> Self {
        Self { what, reason, is_newer: false }
    }

    /// An error for bytes that a newer release wrote.
    pub(crate) fn newer(what: &'static str, reason: String) -> Self {
        Self { what, reason, is_newer: true }
    }
}

/// Encodes a value of our own types; they all can be.
pub(crate) fn encode<T: Serialize>(value: &T) -> Bytes {
    encode_as(FORMAT, value)
}

/// Encodes a value that has more than the first releases can read.
pub(crate) fn encode_extended<T: Serialize>(value: &T) -> Bytes {
    encode_as(EXTENDED, value)
}

fn encode_as<T: Serialize>(format: u8, value: &T) -> Bytes {
    let bytes = postcard::to_extend(value, vec![format]);
    Bytes::from(bytes.expect("own types always encode"))
}

/// True if bytes of an enum may be of a newer release than this: of another format, or of a kind beyond the `kinds` that
/// this one knows.
pub(crate) fn is_newer(bytes: &[u8], kinds: u8) -> bool {
    match bytes {
        [FORMAT, kind, ..] => *kind >= kinds,
        [format, _, ..] => *format > FORMAT,
        [] | [_] => false,
    }
}

/// True if bytes of an enum are of this format and kind.
pub(crate) fn is_kind(bytes: &[u8], kind: u8) -> bool {
    matches!(bytes, [FORMAT, of, ..] if *of == kind)
}

/// Decodes what [`encode`] made; `what` names it in the error.
pub(crate) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, Undecodable> {
    decode_as(what, FORMAT, bytes)
}

/// Decodes what [`encode_extended`] made; `None` = it is of the first format.
pub(crate) fn decode_extended<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<Option<T>, Undecodable> {
    if bytes.first() == Some(&FORMAT) { Ok(None) } else { decode_as(what, EXTENDED, bytes).map(Some) }
}

fn decode_as<T: DeserializeOwned>(what: &'static str, known: u8, bytes: &[u8]) -> Result<T, Undecodable> {
    match bytes.split_first() {
        Some((format, rest)) if *format == known => {
            postcard::from_bytes(rest).map_err(|e| Undecodable::damaged(what, e.to_string()))
        }
        Some((format, _)) => {
            let reason = format!("it has format {format}, up to {known} is known");
            Err(Undecodable { what, reason, is_newer: *format > known })
        }
        None => Err(Undecodable::damaged(what, "it is empty".to_owned())),
    }
}
