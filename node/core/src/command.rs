//! What a client may ask of one shard: conditions and mutations that take effect together or not at all, and reads.
//! Keys are encoded (see [`crate::key`]) by the time they are here.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::time::Version;

/// Names one write of one client, so that its retries take effect once. Ordered by `issued` first: the table of
/// request ids forgets the oldest first and refuses whatever is older than what it forgot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId {
    /// The highest version that the client had seen when it made the first attempt, or its clock if that is later. The
    /// write's own version is above it. Refused if it is above the shard's last version and more than
    /// [`crate::limits::ISSUED_AHEAD_MS_MAX`] ahead of the leader's clock.
    pub issued: Version,
    /// Drawn at random by the client at its start.
    pub client: u64,
    /// Number of the request, counted by the client.
    pub sequence: u64,
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mutation {
    /// Sets the value of a key.
    Put {
        /// Encoded key of the record to set.
        key: Bytes,
        /// At most [`crate::limits::VALUE_BYTES_MAX`] bytes.
        value: Bytes,
        /// Milliseconds since 1970 after which the record is absent. `None` = never.
        expires_ms: Option<u64>,
    },
    /// Makes a key absent; no error if it was.
    Delete {
        /// Encoded key of the record to delete.
        key: Bytes,
    },
}

impl Mutation {
    /// Encoded key of the record that changes.
    pub fn key(&self) -> &Bytes {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// What must hold of a key for the command to take effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expected {
    /// There is no record.
    Absent,
    /// The record has this version.
    Version(Version),
    /// The record has this value.
    Value(Bytes),
}

/// A key and what must hold of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Encoded key of the record that is checked.
    pub key: Bytes,
    /// What must hold of the record for the command to take effect.
    pub expected: Expected,
}

/// A write: if every condition holds, every mutation happens, at one version. All keys lie in one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// `None` = the client does not retry.
    pub request: Option<RequestId>,
    /// All must hold; empty = unconditional.
    pub conditions: Vec<Condition>,
    /// At least one; if a key occurs twice the later wins.
    pub mutations: Vec<Mutation>,
}

impl Command {
    /// Bytes of all keys and values of the command together.
    pub fn bytes(&self) -> usize {
        let mutations = self.mutations.iter().map(|m| match m {
            Mutation::Put { key, value, .. } => key.len() + value.len(),
            Mutation::Delete { key } => key.len(),
        });
        let conditions = self.conditions.iter().map(|c| match &c.expected {
            Expected::Value(value) => c.key.len() + value.len(),
            Expected::Absent | Expected::Version(_) => c.key.len(),
        });
        mutations.sum::<usize>() + conditions.sum::<usize>()
    }

    /// Every key the command reads or writes.
    pub fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.mutations.iter().map(Mutation::key).chain(self.conditions.iter().map(|c| &c.key))
    }

    /// True if nothing is put: such a command is taken also when the disk is nearly full.
    pub fn only_deletes(&self) -> bool {
        self.mutations.iter().all(|m| matches!(m, Mutation::Delete { .. }))
    }
}

/// What became of a command that was applied: every replica decides the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// All mutations happened, at this version.
    Applied(Version),
    /// Nothing happened: this condition (counted from zero) did not hold.
    ConditionFailed {
        /// Position of the condition in the command, from zero.
        condition: u32,
        /// The version that the key had. `None` = absent.
        actual: Option<Version>,
    },
    /// Nothing happened now; an earlier attempt may have. The table of request ids no longer reaches back this far.
    RequestTooOld {
        /// Requests issued at or before this are refused.
        floor: Version,
    },
    /// Nothing happened: a key left the shard before the command's turn came. Routing anew is safe.
    WrongShard,
}

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadConsistency {
    /// Sees every write that was acknowledged before the read was sent.
    #[default]
    Linearizable,
    /// What the replica at hand has applied.
    Local,
    /// From any replica that has seen everything older than this many milliseconds.
    BoundedStaleness(u64),
}

/// A read of one key or of one page of a range, in one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Read {
    /// Reads the record of one key.
    Get {
        /// Encoded key of the record to read.
        key: Bytes,
    },
    /// Records from `start` (inclusive) to `end` (exclusive, `None` = the shard's end), in key order.
    Scan {
        /// First encoded key that is wanted.
        start: Bytes,
        /// First encoded key that is not wanted.
        end: Option<Bytes>,
        /// The page has at most this many records.
        limit: usize,
    },
}

/// A record as a reader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Encoded key of the record.
    pub key: Bytes,
    /// Version of the write that set the record.
    pub version: Version,
    /// Value of the record.
    pub value: Bytes,
    /// Milliseconds since 1970 after which it is absent. `None` = never.
    pub expires_ms: Option<u64>,
}

/// What a client may ask of a write in a quorum table beside the command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// W for this write, at least the table's. `None` = the table's.
    pub copies: Option<usize>,
    /// Encoded keys, each with the context that a read of it gave: the write replaces what that read has shown.
    pub seen: Vec<(Bytes, Bytes)>,
    /// The request was sent before and may have taken effect. `None` = it was not, or surely has not.
    pub again: Option<Again>,
}

/// A later attempt of a write, which may be at another copy of a quorum table by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Again {
    /// Milliseconds since the first attempt was sent.
    pub first_sent_ms: u64,
    /// Which attempt it is, the first one counted as 0. Each is sent once, and the answer to an earlier one counts only where
    /// the later ones surely have not taken effect.
    pub attempt: u32,
}

/// On which copies of a quorum shard the answer to a read of one key rests, by the layout under which they have answered. So who
/// asked can tell what it certainly shows, though the map that it has may be older.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadBasis {
    /// How many copies have answered.
    pub copies: usize,
    /// How many copies a write needs.
    pub write: usize,
    /// How many copies a read asks that does not say another number.
    pub read: usize,
    /// How many copies there are.
    pub members: usize,
    /// Whatever was written of the key at or below this version, and is not shown, was deleted or replaced, for every reader. It
    /// is no part of the context: another read, of copies that do not know of it yet, shows no less. 0 = nothing is known so.
    pub absence: Version,
}

/// What a read has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadResult {
    /// The record, if there is one.
    Value(Option<Record>),
    /// What a quorum table has of one key.
    Values {
        /// From the highest stamp down; empty = there is no record. More than one only where siblings are kept.
        records: Vec<Record>,
        /// To be given back with a write that is to replace what this shows.
        context: Bytes,
        /// What it certainly shows.
        basis: ReadBasis,
    },
    /// A page, and the key to go on from if the shard holds more of the wanted range.
    Page {
        /// Records of the page, in key order. Where siblings are kept, a key may have several, the highest stamp first.
        records: Vec<Record>,
        /// `None` = the shard's part of the range is done.
        next: Option<Bytes>,
    },
}

impl ReadResult {
    /// Bytes of the keys and values found.
    pub fn bytes(&self) -> usize {
        let bytes = |record: &Record| record.key.len() + record.value.len();
        match self {
            Self::Value(record) => record.as_ref().map_or(0, bytes),
            Self::Values { records, context, .. } => records.iter().map(bytes).sum::<usize>() + context.len(),
            Self::Page { records, .. } => records.iter().map(bytes).sum(),
        }
    }
}
