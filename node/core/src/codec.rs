//! The one encoding of what the core keeps in store and log: a version byte, then postcard.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

const FORMAT: u8 = 1;

/// Bytes that are not what they should be: another format, or damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not readable: {reason}")]
pub struct Undecodable {
    /// What was expected.
    pub what: &'static str,
    /// Why not.
    pub reason: String,
    /// True if a newer release wrote it, of whose formats this one does not know.
    pub is_newer: bool,
}

impl Undecodable {
    /// Of bytes that are damaged, or that nobody can have written.
    pub(crate) fn damaged(what: &'static str, reason: String) -> Self {
        Self { what, reason, is_newer: false }
    }
}

/// Encodes a value of our own types; they all can be.
pub(crate) fn encode<T: Serialize>(value: &T) -> Bytes {
    let bytes = postcard::to_extend(value, vec![FORMAT]);
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

/// Decodes what [`encode`] made.
pub(crate) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, Undecodable> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|e| Undecodable::damaged(what, e.to_string())),
        Some((format, _)) => {
            let reason = format!("it has format {format}, only {FORMAT} is known");
            Err(Undecodable { what, reason, is_newer: *format > FORMAT })
        }
        None => Err(Undecodable::damaged(what, "it is empty".to_owned())),
    }
}
