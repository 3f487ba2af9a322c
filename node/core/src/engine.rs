//! The seam to the store of one node, and the layout of its one ordered key space.
//!
//! First byte of a key = family. Applied index and data of one step lie in one atomic batch.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::codec::Undecodable;
use crate::ids::{ShardId, TableId};
use crate::planted::{Planted, is_planted};

/// One change of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineWrite {
    /// Sets the value of a key.
    Put(Bytes, Bytes),
    /// Removes a key; no error if there is none.
    Delete(Bytes),
}

/// The store failed; the node must stop writing (it is poisoned).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("engine failed: {message}")]
pub struct EngineError {
    /// The store's own error message.
    pub message: String,
    /// True if what the store holds is damaged: it fails at every start, and its copies must be built anew. False for
    /// all that may be another time: a full disk, a read that failed, a lack of memory.
    pub is_damage: bool,
}

impl EngineError {
    /// An error of a store whose content may be whole.
    pub fn failed(message: impl ToString) -> Self {
        Self { message: message.to_string(), is_damage: false }
    }

    /// An error of a store whose content is damaged.
    pub fn damaged(message: impl ToString) -> Self {
        Self { message: message.to_string(), is_damage: true }
    }

    /// The store gave something that this release does not write.
    pub(crate) fn unreadable(error: impl Unreadable) -> Self {
        if error.is_newer() && !is_planted(Planted::NewerTakenForDamage) {
            return Self::failed(format!(
                "{error}: it was written by a newer version of this program, run that version"
            ));
        }
        Self::damaged(error)
    }
}

/// Why something that the store holds cannot be read.
pub(crate) trait Unreadable: std::error::Error {
    /// True if a newer release wrote it. It is whole then, and not to be given up: that release can read it.
    fn is_newer(&self) -> bool;
}

impl Unreadable for Undecodable {
    fn is_newer(&self) -> bool {
        self.is_newer
    }
}

/// An ordered store of bytes. Called from one thread at a time for writes. `write` is atomic and at once visible, and
/// durable only after a later `sync`: after a crash the store holds a prefix of the batches that contains every one
/// that was written before the last finished `sync`.
pub trait Engine {
    /// The value of a key. `None` = the store has no such key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// Visits keys from `start` (inclusive) to `end` (exclusive) in order until told to break.
    #[expect(clippy::type_complexity, reason = "a visitor of key and value, named here once")]
    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), EngineError>;

    /// Makes the changes together, in order.
    fn write(&self, batch: Vec<EngineWrite>) -> Result<(), EngineError>;

    /// Makes durable whatever was written before the call. Blocks on fsync; may run on another thread than `write`.
    fn sync(&self) -> Result<(), EngineError>;

    /// Bytes that the store takes on disk.
    fn disk_bytes(&self) -> Result<u64, EngineError>;
}

/// Families of keys: the first byte.
pub mod family {
    /// Records of tables. The rest of the key: table id, encoded key.
    pub const DATA: u8 = b'd';
    /// State of this node's replicas: shard id, then one of [`super::state`].
    pub const SHARD: u8 = b's';
    /// What this node keeps for itself beside its replicas: one of [`super::own`].
    pub const NODE: u8 = b'n';
}

/// The kinds of records in the family [`family::NODE`].
pub mod own {
    /// The nodes of the database, for the next start.
    pub const NODES: u8 = b'n';
    /// Which copies of an earlier store this node may have spoken for.
    pub const FORGOTTEN: u8 = b'f';
    /// Bytes that quorum copies have taken by repairs since the disk is nearly full. Only where a format level has them.
    pub const REPAIRED: u8 = b'r';
    /// The shell's: which store this is, and the last start that used it.
    pub const STORE: u8 = b's';
}

/// The kinds of records in the family [`family::SHARD`].
pub mod state {
    /// Who the replica is, its descriptor, applied index, last version.
    pub const REPLICA: u8 = b'a';
    /// Ids of requests that were answered, in groups by applied index.
    pub const REQUESTS: u8 = b'q';
    /// The highest replica id of this shard that this node must never speak for again.
    pub const TOMBSTONE: u8 = b't';
    /// The copy that was given up for another one to go on alone, and never speaks again.
    pub const SILENCED: u8 = b'u';
    /// A range of records that a destroyed replica left, not wholly deleted yet; by replica id.
    pub const GARBAGE: u8 = b'g';
    /// What another copy of the shard has not confirmed: replica id, encoded key. A store of an earlier release has none,
    /// and one that finds some passes over them.
    pub const HINT: u8 = b'h';
    /// What a copy of a quorum shard is, as [`REPLICA`] is for others. Only where a format level has it.
    pub const QUORUM: u8 = b'o';
    /// That hints of a replica were not kept, and all records must be compared with it; by replica id.
    pub const COMPARE: u8 = b'c';
    /// The map's records of a quorum shard and of its table: see [`QUORUM`].
    pub const RECORD: u8 = b'p';
    /// Sums over the shard's records: see [`crate::quorum::merkle`].
    pub const MERKLE: u8 = b'm';
}

/// The store's key of a record.
pub fn data_key(table: TableId, key: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(5 + key.len());
    bytes.push(family::DATA);
    bytes.extend_from_slice(&table.0.to_be_bytes());
    bytes.extend_from_slice(key);
    bytes.into()
}

/// The client's encoded key in a store's key of a record.
pub fn encoded_key(data_key: &[u8]) -> &[u8] {
    &data_key[5..]
}

/// The store's end of an encoded range: `None` = the table's end.
pub fn data_end(table: TableId, end: Option<&[u8]>) -> Bytes {
    match end {
        Some(end) => data_key(table, end),
        None if table.0 == u32::MAX => Bytes::from_static(&[family::DATA + 1]),
        None => data_key(TableId(table.0 + 1), &[]),
    }
}

/// The store's key of one of [`own`].
pub fn own_key(kind: u8) -> Bytes {
    Bytes::copy_from_slice(&[family::NODE, kind])
}

/// The store's key of a shard's state; `suffix` tells several of one kind apart.
pub fn shard_key(shard: ShardId, kind: u8, suffix: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(10 + suffix.len());
    bytes.push(family::SHARD);
    bytes.extend_from_slice(&shard.0.to_be_bytes());
    bytes.push(kind);
    bytes.extend_from_slice(suffix);
    bytes.into()
}
