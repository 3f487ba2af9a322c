//! What the database takes in, checked at every door. A value at the limit is accepted, one above it is refused.

use crate::command::{Command, Mutation};

/// Longest key as the client writes it; for hash tables partition and sort part together.
pub const KEY_BYTES_MAX: usize = 4 << 10;
/// Longest value of a record, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Keys and values of one batch together.
pub const BATCH_BYTES_MAX: usize = 4 << 20;
/// Mutations, and also conditions, of one batch.
pub const BATCH_MUTATIONS_MAX: usize = 10_000;
/// Longest id of a database, in bytes.
pub const CLUSTER_ID_BYTES_MAX: usize = 64;
/// Longest table name: a DNS label.
pub const TABLE_NAME_BYTES_MAX: usize = 63;
/// Records that one page of a scan looks at, those that have ended included: a page may be empty and not the last.
pub const SCAN_RECORDS_MAX: usize = 10_000;
/// Keys and values of the records that one page of a scan looks at; at least one is looked at.
pub const SCAN_BYTES_MAX: usize = 1 << 20;
/// Highest replication factor: copies that one shard is to have.
pub const REPLICATION_FACTOR_MAX: usize = 7;
/// Milliseconds that a request id may be issued ahead of the leader's clock, unless the shard has given such a version
/// itself. More than clocks differ by that are kept in sync, and little enough that nobody is refused for long by what
/// somebody else sent: a shard's versions follow what is issued.
pub const ISSUED_AHEAD_MS_MAX: u64 = 500;
/// Values of one key that were written at the same time, deletes and what has ended included. A write that would make
/// them more is refused, unless it replaces some. Copies that come together again may have more: none is ever dropped.
pub const SIBLINGS_MAX: usize = 32;
/// Values of one key that were written at the same time, in bytes together: the longest value twice. A write that would
/// make them more is refused as with [`SIBLINGS_MAX`]. Several coordinators that do not hear of each other can each go so
/// far: of the most copies, during a move, less than half of what a frame between nodes may hold.
pub const SIBLING_BYTES_MAX: usize = 2 << 20;
/// Parts of what was seen of one key: one for each copy, and each start of its node, that has ordered a write of it which
/// was replaced, and one for each write that was begun again since its first attempt was found nowhere. The tombstone floor
/// ends those that are older. A write that would make them more is refused.
pub const CONTEXT_PARTS_MAX: usize = 256;
/// Parts that are read, from a store, a peer or a client: each of up to 14 copies, the most during a move, may have gone up
/// to [`CONTEXT_PARTS_MAX`] alone.
pub const CONTEXT_PARTS_HELD_MAX: usize = 16 * CONTEXT_PARTS_MAX;
/// Milliseconds by which the first attempt of a write of a quorum table may have been issued before the clock of who
/// coordinates it: where the last writer wins, its stamp follows that time, and a node that hung takes nothing that its
/// client has sent elsewhere meanwhile, or given up. As much as it may be ahead.
pub const ISSUED_BEHIND_MS_MAX: u64 = ISSUED_AHEAD_MS_MAX;
/// Milliseconds by which the stamp of a write may be above its request's time of issue, where siblings are kept: once a floor
/// is so far above that time, no attempt of the request can come any more, and nothing has to be known of it. Longer than
/// clients go on trying.
pub const REQUEST_STAMP_MS_MAX: u64 = 60_000;
/// Attempts of one request that are counted, few against [`STAMP_STEPS_MAX`]. Clients make some a second, and give up long
/// before.
pub const ATTEMPTS_MAX: u32 = 1 << 8;
/// Bytes of hints that a copy keeps for one other copy: about what a table takes in ten minutes of one that is away. What
/// does not fit is found by comparing all.
pub const HINT_BYTES_MAX: u64 = 64 << 20;
/// Milliseconds that a stamp may be ahead of the clock of who takes it. The same bound as for what is issued.
pub const STAMP_AHEAD_MS_MAX: u64 = ISSUED_AHEAD_MS_MAX;
/// Steps of a version's counter that a write may be above what a copy holds of its key, though that is ahead of the clock:
/// about as many writes of one key as are under way at a time. There are 256 times as many steps in a millisecond.
pub const STAMP_STEPS_MAX: u64 = 1 << 10;
/// Shards that one table may start with.
pub const TABLE_SHARDS_MAX: usize = 4_096;

/// The longest encoding of the longest key: a hash, every byte escaped, a terminator.
pub const ENCODED_KEY_BYTES_MAX: usize = 8 + 2 * KEY_BYTES_MAX + 2;
/// Longest volume, address or zone of a node: a domain name and a port fit.
pub const NODE_WORD_BYTES_MAX: usize = 300;

/// An input that is over a limit. Refused before anything happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitExceeded {
    /// The key is empty or too long.
    #[error("key has {bytes} bytes, it must have 1 to {KEY_BYTES_MAX}")]
    Key {
        /// Length of the key, in bytes.
        bytes: usize,
    },
    /// The value is too long.
    #[error("value has {bytes} bytes, it must have at most {VALUE_BYTES_MAX}")]
    Value {
        /// Length of the value, in bytes.
        bytes: usize,
    },
    /// The batch is too large.
    #[error("batch has {bytes} bytes, it must have at most {BATCH_BYTES_MAX}")]
    Batch {
        /// Length of all keys and values of the batch together, in bytes.
        bytes: usize,
    },
    /// The batch has no or too many mutations or conditions.
    #[error(
        "batch has {mutations} mutations and {conditions} conditions, it must have 1 to {BATCH_MUTATIONS_MAX} mutations and at most {BATCH_MUTATIONS_MAX} conditions"
    )]
    Mutations {
        /// Number of mutations in the batch.
        mutations: usize,
        /// Number of conditions in the batch.
        conditions: usize,
    },
}

/// Checks a key as the client wrote it.
pub fn check_key(key: &[u8]) -> Result<(), LimitExceeded> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX { Err(LimitExceeded::Key { bytes: key.len() }) } else { Ok(()) }
}

/// Refuses a value that is longer than [`VALUE_BYTES_MAX`].
pub fn check_value(value: &[u8]) -> Result<(), LimitExceeded> {
    if value.len() > VALUE_BYTES_MAX { Err(LimitExceeded::Value { bytes: value.len() }) } else { Ok(()) }
}

/// Checks a whole command: counts, sizes, every value. Keys are encoded by now, so their length was checked before.
pub fn check_command(command: &Command) -> Result<(), LimitExceeded> {
    let (mutations, conditions) = (command.mutations.len(), command.conditions.len());
    if mutations == 0 || mutations > BATCH_MUTATIONS_MAX || conditions > BATCH_MUTATIONS_MAX {
        return Err(LimitExceeded::Mutations { mutations, conditions });
    }
    for mutation in &command.mutations {
        if let Mutation::Put { value, .. } = mutation {
            check_value(value)?;
        }
    }
    let bytes = command.bytes();
    if bytes > BATCH_BYTES_MAX { Err(LimitExceeded::Batch { bytes }) } else { Ok(()) }
}

/// True for a DNS label: lower-case letters, digits and inner hyphens, at most 63 bytes.
pub fn is_dns_label(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = name.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= TABLE_NAME_BYTES_MAX
        && bytes.iter().all(|&b| inner(b) || b == b'-')
        && inner(bytes[0])
        && inner(bytes[bytes.len() - 1])
}
