//! Writes: each takes effect once, however often it had to be sent.

mod sending;

use std::collections::HashSet;

use bytes::Bytes;
use skerry_core::command::{self, Expected, WriteOptions};
use skerry_core::ids::NodeId;
use skerry_core::key::KeyError;
use skerry_core::limits::LimitExceeded;
use skerry_core::map::Fragmentation;
use skerry_core::time::Version;

use crate::client::Client;
use crate::key::Key;
use crate::operation::{Failed, Why};
use crate::retry::Fault;
use crate::routes::Table;
use crate::wire::{Denial, QuorumDenial, named};

/// What a put may ask for beside its value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// What must hold of the key for the put to take effect. `None` = whatever.
    pub expected: Option<Expected>,
    /// Milliseconds since 1970 after which the record is absent. `None` = never.
    pub expires_ms: Option<u64>,
    /// Of a quorum table: W for this write, at least the table's. `None` = the table's.
    pub copies: Option<usize>,
    /// Of a quorum table that keeps siblings: the context of the read whose values the write replaces, and no others. Where
    /// the last writer wins, the write only comes after what that read has seen. Empty = nothing was seen.
    pub context: Bytes,
}

/// What a delete may ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// What must hold of the key for the delete to take effect. `None` = whatever.
    pub expected: Option<Expected>,
    /// Of a quorum table: W for this write, at least the table's. `None` = the table's.
    pub copies: Option<usize>,
    /// Of a quorum table that keeps siblings, which needs it: the context of the read whose values are deleted, and no others.
    /// Where the last writer wins, the delete only comes after what that read has seen.
    pub context: Bytes,
}

/// A write of one key, with what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyWrite {
    /// Sets a value.
    Put {
        /// Key of the record to set.
        key: Key,
        /// Value that the key is set to.
        value: Bytes,
        /// What it asks for beside.
        options: PutOptions,
    },
    /// Makes a key absent; no error if it was.
    Delete {
        /// Key of the record to delete.
        key: Key,
        /// What it asks for beside.
        options: DeleteOptions,
    },
}

impl KeyWrite {
    /// The key that is written.
    pub fn key(&self) -> &Key {
        let (Self::Put { key, .. } | Self::Delete { key, .. }) = self;
        key
    }
}

/// A write that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The version of the write, or why it did not succeed.
    pub outcome: Result<Version, WriteError>,
    /// How many attempts may have taken effect, the one that was answered among them. More than one = it was sent again, or
    /// to another node as well, before it was known what became of the first; 0 = certainly none has.
    pub attempts: u32,
}

/// What a batch may ask of a quorum table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchOptions {
    /// W for this write, at least the table's. `None` = the table's.
    pub copies: Option<usize>,
    /// Keys that the batch puts or deletes, each with the context of the read that its mutation replaces.
    pub seen: Vec<(Key, Bytes)>,
}

/// What must hold of a key for a batch to take effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Key of the record that is checked.
    pub key: Key,
    /// What must hold of the record.
    pub expected: Expected,
}

/// One change of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mutation {
    /// Sets the value of a key.
    Put {
        /// Key of the record to set.
        key: Key,
        /// Value that the key is set to.
        value: Bytes,
        /// Milliseconds since 1970 after which the record is absent. `None` = never.
        expires_ms: Option<u64>,
    },
    /// Deletes the record of a key, if there is one.
    Delete {
        /// Key of the record to delete.
        key: Key,
    },
}

/// Why a write did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// There is no table of this name. Nothing was written.
    #[error("table {0:?} is unknown or dropped")]
    UnknownTable(String),
    /// A key is invalid. Nothing was written.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The write is over a limit. Nothing was written.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// The keys of the batch lie in more than one shard. Nothing was written.
    #[error("the keys of the batch are not in one shard")]
    Scattered,
    /// The batch says what was seen of a key, and does nothing with that key. Nothing was written.
    #[error("a context is given for the key {:?}, which no mutation of the batch names", .0)]
    ContextWithoutMutation(Key),
    /// A condition did not hold. Nothing was written.
    #[error("condition {condition} did not hold")]
    ConditionFailed {
        /// Position of the condition in the write, from 0 on.
        condition: usize,
        /// The version that the key has. `None` = absent.
        actual: Option<Version>,
    },
    /// The disk of a node with a copy of the shard is nearly full: only deletes are taken.
    #[error("the disk of {} is nearly full: only deletes are taken{}", named(*.node), earlier(*.may_have_happened))]
    DiskFull {
        /// Whose. `None` = the shard's leader is of an older version, which does not say.
        node: Option<NodeId>,
        /// True if an earlier attempt may have taken effect.
        may_have_happened: bool,
    },
    /// Only quorum tables refuse this, or the table is none.
    #[error("{denial}{}", earlier(*.may_have_happened))]
    Quorum {
        /// True if an earlier attempt may have taken effect.
        may_have_happened: bool,
        /// Why the write was not taken.
        denial: QuorumDenial,
    },
    /// The deadline passed before there was an answer.
    #[error("the deadline has passed{}", if *.may_have_happened { "; the write may have happened" } else { "" })]
    Deadline {
        /// True if an attempt may have taken effect.
        may_have_happened: bool,
        /// What kept it from success. `None` = there was no answer at all.
        #[source]
        last: Option<Fault>,
    },
    /// An attempt may have happened, and the shard no longer remembers it.
    #[error("the write may have happened: its shard no longer remembers")]
    OutcomeUnknown,
    /// The node refuses it in a way that this client cannot help.
    #[error("failed to agree with the node on the request{}", earlier(*.may_have_happened))]
    Protocol {
        /// True if an attempt may have taken effect.
        may_have_happened: bool,
        /// Why the node did not carry out the write.
        #[source]
        fault: Fault,
    },
}

/// What an error says of attempts before the last one.
fn earlier(may_have_happened: bool) -> &'static str {
    if may_have_happened { "; an earlier attempt may have happened" } else { "" }
}

impl WriteError {
    /// True if trying again may help, after a pause.
    pub fn retryable(&self) -> bool {
        match self {
            Self::DiskFull { .. } | Self::Deadline { .. } | Self::OutcomeUnknown => true,
            Self::UnknownTable(_)
            | Self::Key(_)
            | Self::Limit(_)
            | Self::Scattered
            | Self::ContextWithoutMutation(_)
            | Self::ConditionFailed { .. }
            | Self::Quorum { .. }
            | Self::Protocol { .. } => false,
        }
    }

    /// True if the write may have taken effect all the same.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::DiskFull { may_have_happened, .. }
            | Self::Deadline { may_have_happened, .. }
            | Self::Quorum { may_have_happened, .. }
            | Self::Protocol { may_have_happened, .. } => *may_have_happened,
            Self::OutcomeUnknown => true,
            Self::UnknownTable(_)
            | Self::Key(_)
            | Self::Limit(_)
            | Self::Scattered
            | Self::ContextWithoutMutation(_)
            | Self::ConditionFailed { .. } => false,
        }
    }

    fn from_failed(failed: Failed, table: &str) -> Self {
        let may_have_happened = failed.may_have_happened;
        match failed.why {
            Why::Scattered if may_have_happened => Self::OutcomeUnknown,
            Why::Scattered => Self::Scattered,
            Why::NoTable if may_have_happened => Self::OutcomeUnknown,
            Why::NoTable => Self::UnknownTable(table.to_owned()),
            Why::Deadline(last) => Self::Deadline { may_have_happened, last },
            Why::Fault(Fault::Denied(Denial::ConditionFailed { condition, actual })) => {
                Self::ConditionFailed { condition: condition as usize, actual }
            }
            Why::Fault(Fault::Denied(Denial::DiskFull { node })) => Self::DiskFull { node, may_have_happened },
            Why::Fault(Fault::Denied(Denial::Quorum(QuorumDenial::CopiesFull { .. }))) => {
                Self::DiskFull { node: None, may_have_happened }
            }
            Why::Fault(Fault::Denied(Denial::Quorum(denial))) => Self::Quorum { may_have_happened, denial },
            Why::Fault(Fault::Denied(Denial::Limit(limit))) => Self::Limit(limit),
            Why::Fault(Fault::Denied(Denial::RequestTooOld { .. })) => Self::OutcomeUnknown,
            Why::Fault(fault) => Self::Protocol { may_have_happened, fault },
        }
    }
}

impl Client {
    /// Sets the value of a key, without a condition. Returns the version of the write.
    pub async fn put(&self, table: &str, key: Key, value: impl Into<Bytes>) -> Result<Version, WriteError> {
        self.put_with(table, key, value, PutOptions::default()).await
    }

    /// Sets a value on conditions, or for a time.
    pub async fn put_with(
        &self,
        table: &str,
        key: Key,
        value: impl Into<Bytes>,
        options: PutOptions,
    ) -> Result<Version, WriteError> {
        self.write_key(table, KeyWrite::Put { key, value: value.into(), options }).await
    }

    /// Makes a key absent; no error if it was.
    pub async fn delete(&self, table: &str, key: Key) -> Result<Version, WriteError> {
        self.delete_if(table, key, None).await
    }

    /// Makes a key absent if what is expected of it holds.
    pub async fn delete_if(&self, table: &str, key: Key, expected: Option<Expected>) -> Result<Version, WriteError> {
        self.delete_with(table, key, DeleteOptions { expected, ..DeleteOptions::default() }).await
    }

    /// Makes a key absent on conditions, or in a quorum table what a read has seen of it.
    pub async fn delete_with(&self, table: &str, key: Key, options: DeleteOptions) -> Result<Version, WriteError> {
        self.write_key(table, KeyWrite::Delete { key, options }).await
    }

    /// Writes one key.
    pub async fn write_key(&self, table: &str, write: KeyWrite) -> Result<Version, WriteError> {
        self.write_key_counted(table, write).await.outcome
    }

    /// Writes one key, and tells how many attempts that took, for those who check a history.
    pub async fn write_key_counted(&self, table: &str, write: KeyWrite) -> Written {
        let mut attempts = 0;
        let outcome = self.write_one(table, write, &mut attempts).await;
        Written { outcome, attempts }
    }

    async fn write_one(&self, table: &str, write: KeyWrite, attempts: &mut u32) -> Result<Version, WriteError> {
        let table_keys = self.table_of_write(table).await?;
        let key = write.key().encode(table_keys.fragmentation)?;
        let (mutation, expected, copies, context) = match write {
            KeyWrite::Put { value, options: PutOptions { expected, expires_ms, copies, context }, .. } => {
                (command::Mutation::Put { key: key.clone(), value, expires_ms }, expected, copies, context)
            }
            KeyWrite::Delete { options: DeleteOptions { expected, copies, context }, .. } => {
                (command::Mutation::Delete { key: key.clone() }, expected, copies, context)
            }
        };
        let asked = WriteOptions { copies, seen: seen_of(&key, context), again: None };
        self.write((table, table_keys), condition_on(&key, expected), vec![mutation], asked, attempts).await
    }

    /// Removes the record under an encoded key, as [`crate::ReadError::UnreadableRecord`] names it. No other operation
    /// reaches a record whose key is not one of its table's.
    pub async fn delete_encoded(&self, table: &str, key: Bytes) -> Result<Version, WriteError> {
        let table_keys = self.table_of_write(table).await?;
        let asked = WriteOptions::default();
        self.write((table, table_keys), Vec::new(), vec![command::Mutation::Delete { key }], asked, &mut 0).await
    }

    /// If every condition holds, every mutation happens, at one version. All keys must lie in one shard; those of one
    /// partition of a hash table always do.
    pub async fn batch(
        &self,
        table: &str,
        conditions: Vec<Condition>,
        mutations: Vec<Mutation>,
    ) -> Result<Version, WriteError> {
        self.batch_with(table, conditions, mutations, BatchOptions::default()).await
    }

    /// A batch with what it asks of a quorum table. Its mutations go to the copies together, but for keys that a wrong clock
    /// has stamped so far ahead that no request is taken for them and the others; each key resolves by itself. The version is
    /// the highest of its keys.
    pub async fn batch_with(
        &self,
        table: &str,
        conditions: Vec<Condition>,
        mutations: Vec<Mutation>,
        options: BatchOptions,
    ) -> Result<Version, WriteError> {
        if let Some(key) = without_mutation(&options.seen, &mutations) {
            return Err(WriteError::ContextWithoutMutation(key.clone()));
        }
        let table_keys = self.table_of_write(table).await?;
        let fragmentation = table_keys.fragmentation;
        let condition = |Condition { key, expected }: Condition| {
            Ok(command::Condition { key: key.encode(fragmentation)?, expected })
        };
        let conditions = conditions.into_iter().map(condition).collect::<Result<_, KeyError>>()?;
        let mutations = mutations.into_iter().map(|m| m.encode(fragmentation)).collect::<Result<_, _>>()?;
        let seen = options.seen.into_iter().map(|(key, context)| Ok((key.encode(fragmentation)?, context)));
        let seen = seen.collect::<Result<_, KeyError>>()?;
        let asked = WriteOptions { copies: options.copies, seen, again: None };
        self.write((table, table_keys), conditions, mutations, asked, &mut 0).await
    }

    async fn table_of_write(&self, name: &str) -> Result<Table, WriteError> {
        self.inner.table_soon(name).await.ok_or_else(|| WriteError::UnknownTable(name.to_owned()))
    }
}

impl Mutation {
    fn key(&self) -> &Key {
        let (Self::Put { key, .. } | Self::Delete { key }) = self;
        key
    }

    fn encode(self, fragmentation: Fragmentation) -> Result<command::Mutation, KeyError> {
        Ok(match self {
            Self::Put { key, value, expires_ms } => {
                command::Mutation::Put { key: key.encode(fragmentation)?, value, expires_ms }
            }
            Self::Delete { key } => command::Mutation::Delete { key: key.encode(fragmentation)? },
        })
    }
}

/// A key of which something was seen, and that no mutation names: on the way to the node its context would be lost.
fn without_mutation<'a>(seen: &'a [(Key, Bytes)], mutations: &[Mutation]) -> Option<&'a Key> {
    let named: HashSet<&Key> = mutations.iter().map(Mutation::key).collect();
    seen.iter().map(|(key, _)| key).find(|key| !named.contains(key))
}

fn seen_of(key: &Bytes, context: Bytes) -> Vec<(Bytes, Bytes)> {
    if context.is_empty() { Vec::new() } else { vec![(key.clone(), context)] }
}

fn condition_on(key: &Bytes, expected: Option<Expected>) -> Vec<command::Condition> {
    expected.map(|expected| command::Condition { key: key.clone(), expected }).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_belongs_to_a_key_that_the_batch_writes() {
        let seen = |key: &'static str| (Key::new(key), Bytes::from_static(b"c"));
        let put = |key: &'static str| Mutation::Put { key: Key::new(key), value: Bytes::new(), expires_ms: None };
        let mutations = [put("a"), Mutation::Delete { key: Key::new("b") }];
        assert_eq!(without_mutation(&[seen("a"), seen("b")], &mutations), None);
        assert_eq!(without_mutation(&[seen("a"), seen("c")], &mutations), Some(&Key::new("c")));
        let error = WriteError::ContextWithoutMutation(Key::with_sort("a", "c"));
        assert!(!error.may_have_happened() && !error.retryable());
    }

    #[test]
    fn whatever_ends_a_write_says_whether_an_earlier_attempt_may_have_happened() {
        let (denial, fault) = (QuorumDenial::ConditionsNeedLeader, Fault::NoRoute);
        for may_have_happened in [false, true] {
            for error in [
                WriteError::Quorum { may_have_happened, denial: denial.clone() },
                WriteError::DiskFull { node: None, may_have_happened },
                WriteError::Protocol { may_have_happened, fault: fault.clone() },
                WriteError::Deadline { may_have_happened, last: None },
            ] {
                assert_eq!(error.to_string().contains("may have happened"), may_have_happened, "{error}");
            }
        }
    }
}
