//! Reads of one key.

use bytes::Bytes;
use skerry_core::command::{Read, ReadBasis, ReadConsistency, ReadResult};
use skerry_core::ids::NodeId;
use skerry_core::key::KeyError;
use skerry_core::limits::LimitExceeded;
use skerry_proto::v1;
use skerry_proto::v1::session_result::Result as Answer;
use tokio::time::Instant;

use crate::client::Client;
use crate::key::{Key, Record};
use crate::operation::{ATTEMPT_MAX, Attempted, Failed, From, Operation, Times, Why};
use crate::retry::Fault;
use crate::wire::{Denial, Malformed, QuorumDenial, ReadOptions, read_result_from_wire, read_to_op};

/// Why a read did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is none of this name.
    #[error("table {0:?} is unknown or dropped")]
    UnknownTable(String),
    /// The key is none that the table can have.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The request exceeds a limit.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// The keys of a hash table are in no order that means anything to a reader.
    #[error("table {0:?} is a Hash table: it has no ranges of keys, only partitions")]
    NoKeyRanges(String),
    /// A client that encodes keys itself wrote a record that has none, to an earlier release. A scan can skip it
    /// ([`crate::ScanOptions::skip`]), and [`Client::delete_encoded`] removes it.
    #[error("the record under the encoded key {key:02x} of table {table:?} cannot be read")]
    UnreadableRecord {
        /// Name of the table that the record is in.
        table: String,
        /// The key as it is stored.
        key: Bytes,
    },
    /// Only quorum tables refuse this, or the table is none.
    #[error(transparent)]
    Quorum(QuorumDenial),
    /// The deadline passed before there was an answer.
    #[error("the deadline has passed")]
    Deadline {
        /// What kept it from success. `None` = there was no answer at all.
        #[source]
        last: Option<Fault>,
    },
    /// Of a [`crate::Session`]: the copies that answer show less of the key than the session has seen, and the others do not
    /// answer. Another session has seen nothing, and is content with what there is.
    #[error(
        "the copies that answer show less of the key than this session has seen, and the others do not answer in time"
    )]
    LessThanSeen {
        /// What kept the others from it. `None` = there was no answer at all, or each was of other copies than the one before.
        #[source]
        last: Option<Fault>,
    },
    /// The node refuses it in a way that this client cannot help.
    #[error("failed to agree with the node on the request")]
    Protocol {
        /// Why the node did not answer the read.
        #[source]
        fault: Fault,
    },
}

impl ReadError {
    /// True if trying again may help, after a pause.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Deadline { .. } | Self::LessThanSeen { .. })
    }

    pub(crate) fn from_failed(failed: Failed, table: &str) -> Self {
        match failed.why {
            Why::NoTable => Self::UnknownTable(table.to_owned()),
            Why::Deadline(last) => Self::Deadline { last },
            Why::Fault(Fault::Denied(Denial::Limit(limit))) => Self::Limit(limit),
            Why::Fault(Fault::Denied(Denial::Quorum(denial))) => Self::Quorum(denial),
            Why::Fault(fault) => Self::Protocol { fault },
            Why::Scattered => Self::Protocol { fault: Fault::NoRoute },
        }
    }

    pub(crate) fn answer(malformed: Malformed) -> Self {
        Self::Protocol { fault: Fault::Answer(malformed) }
    }
}

/// What a read has found of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Values {
    /// From the highest version down; empty = there is no record. More than one only in a quorum table that keeps
    /// siblings: values that were written without knowledge of each other.
    pub records: Vec<Record>,
    /// What the read has seen, to be given back with a write that is to replace it. Empty = the table follows leaders.
    /// Its bytes mean something to nodes alone.
    pub context: Bytes,
}

/// What a read has found, and what it certainly shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    pub(crate) values: Values,
    /// `None` = the table follows leaders.
    pub(crate) basis: Option<ReadBasis>,
}

impl Client {
    /// The record of a key. `None` = there is none. Of a quorum table that keeps siblings: the one with the highest version.
    pub async fn get(&self, table: &str, key: Key, consistency: ReadConsistency) -> Result<Option<Record>, ReadError> {
        Ok(self.get_values(table, key, consistency.into()).await?.records.into_iter().next())
    }

    /// All values of a key, and the context with which a write replaces them.
    pub async fn get_values(&self, table: &str, key: Key, options: ReadOptions) -> Result<Values, ReadError> {
        Ok(self.find(table, key, options).await?.values)
    }

    pub(crate) async fn find(&self, table: &str, key: Key, options: ReadOptions) -> Result<Found, ReadError> {
        let found = self.inner.table_soon(table).await;
        let table_keys = found.ok_or_else(|| ReadError::UnknownTable(table.to_owned()))?;
        let encoded = key.encode(table_keys.fragmentation)?;
        let read = Read::Get { key: encoded.clone() };
        let operation = Operation {
            table: table_keys.id,
            key: encoded,
            from: from(options.consistency),
            bytes: 0,
            turn: None,
            issuing: None,
            op: |_: &_, _| Some(read_to_op(read.clone(), options)),
        };
        let answered = self
            .run(operation, Times::lasting(self.deadline))
            .await
            .map_err(|failed| ReadError::from_failed(failed, table))?;
        self.found(&key, answered.answer)
    }

    /// What the copy on one node has of a key of a quorum table by itself. Comparing copies so shows whether they have become
    /// equal; programs read with [`Client::get_values`].
    ///
    /// # Errors
    /// [`ReadError::Protocol`] if that node has no copy or does not serve from it now, or cannot be reached.
    pub async fn values_of_copy(&self, node: NodeId, table: &str, key: Key) -> Result<Values, ReadError> {
        let found = self.inner.table_soon(table).await;
        let table_keys = found.ok_or_else(|| ReadError::UnknownTable(table.to_owned()))?;
        let read = Read::Get { key: key.encode(table_keys.fragmentation)? };
        let op = read_to_op(read, ReadConsistency::Local.into());
        let item = v1::SessionItem { id: 0, table_id: table_keys.id.0, op: Some(op) };
        let now = Instant::now();
        let answer = self.inner.ask(node, item, 0, (now + ATTEMPT_MAX, now + self.deadline)).await;
        match answer {
            Ok(answer) => Ok(self.found(&key, answer)?.values),
            Err(Attempted::Fault(fault)) => Err(ReadError::Protocol { fault }),
            Err(Attempted::NoTable) => Err(ReadError::UnknownTable(table.to_owned())),
            Err(Attempted::OutOfTime | Attempted::Scattered) => Err(ReadError::Deadline { last: None }),
        }
    }

    fn found(&self, key: &Key, answer: Answer) -> Result<Found, ReadError> {
        let (records, context, basis) = match read_result_from_wire(answer).map_err(ReadError::answer)? {
            Some(ReadResult::Value(record)) => (Vec::from_iter(record), Bytes::new(), None),
            Some(ReadResult::Values { records, context, basis }) => (records, context, Some(basis)),
            Some(ReadResult::Page { .. }) | None => return Err(ReadError::answer(Malformed::Missing("get"))),
        };
        if let Some(highest) = records.iter().map(|record| record.version).max() {
            self.inner.request_ids.see_of_key(highest, basis.is_some());
        }
        let named = |record: skerry_core::command::Record| {
            let skerry_core::command::Record { version, value, expires_ms, .. } = record;
            Record { key: key.clone(), version, value, expires_ms }
        };
        Ok(Found { values: Values { records: records.into_iter().map(named).collect(), context }, basis })
    }
}

/// Which replicas can serve a read of this consistency.
pub(crate) fn from(consistency: ReadConsistency) -> From {
    match consistency {
        ReadConsistency::Linearizable => From::Leader,
        ReadConsistency::Local => From::AnyReplica,
        ReadConsistency::BoundedStaleness(_) => From::FreshReplica,
    }
}
