//! What a comparison sees of a copy's records.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::span::Span;
use crate::record::Stored;
use crate::time::Version;

/// Is shown a key, its record, and the bytes that both take in the store.
pub type Visit<'a> = dyn FnMut(&Bytes, &Stored, usize) -> ControlFlow<()> + 'a;

/// What a copy's store gives of a shard. Only what is durable: who asks counts on it.
pub trait View {
    /// Shows the records of a range of keys, in order, until told to break.
    fn walk(&self, span: &Span, visit: &mut Visit<'_>);
    /// The whole record of an encoded key, deletes included. `None` = the copy holds none.
    fn get(&self, key: &[u8]) -> Option<Stored>;
    /// The copy's [`crate::quorum::floor::Floor::absence`].
    fn absence(&self) -> Version;
}
