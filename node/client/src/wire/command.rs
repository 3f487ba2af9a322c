//! A session's operations and their results, on encoded keys.

use std::collections::BTreeMap;

use bytes::Bytes;
use skerry_core::command::{
    Again, Command, Condition, Expected, Mutation, Read, ReadConsistency, ReadResult, Record, RequestId, WriteOptions,
};
use skerry_core::limits::SCAN_RECORDS_MAX;
use skerry_core::time::Version;
use skerry_proto::v1;
use skerry_proto::v1::encoded_condition::Expected as WireExpected;
use skerry_proto::v1::session_item::Op;
use skerry_proto::v1::session_result::Result as WireResult;

use super::{Malformed, Wire, all, all_into, required, size};

impl Wire for RequestId {
    type Message = v1::RequestId;

    fn into_wire(self) -> v1::RequestId {
        v1::RequestId { issued: self.issued.0, client: self.client, sequence: self.sequence }
    }

    fn from_wire(m: v1::RequestId) -> Result<Self, Malformed> {
        Ok(Self { issued: Version(m.issued), client: m.client, sequence: m.sequence })
    }
}

/// A mutation without what was seen of its key, which is beside the command.
impl Wire for Mutation {
    type Message = v1::EncodedMutation;

    fn into_wire(self) -> v1::EncodedMutation {
        let context = Bytes::new();
        match self {
            Self::Put { key, value, expires_ms } => {
                v1::EncodedMutation { key, value: Some(value), expires_ms, context }
            }
            Self::Delete { key } => v1::EncodedMutation { key, value: None, expires_ms: None, context },
        }
    }

    fn from_wire(m: v1::EncodedMutation) -> Result<Self, Malformed> {
        Ok(match m.value {
            Some(value) => Self::Put { key: m.key, value, expires_ms: m.expires_ms },
            None => Self::Delete { key: m.key },
        })
    }
}

impl Wire for Condition {
    type Message = v1::EncodedCondition;

    fn into_wire(self) -> v1::EncodedCondition {
        let expected = match self.expected {
            Expected::Absent => WireExpected::Absent(true),
            Expected::Version(version) => WireExpected::Version(version.0),
            Expected::Value(value) => WireExpected::Value(value),
        };
        v1::EncodedCondition { key: self.key, expected: Some(expected) }
    }

    fn from_wire(m: v1::EncodedCondition) -> Result<Self, Malformed> {
        let expected = match m.expected.ok_or(Malformed::Missing("expected"))? {
            WireExpected::Absent(_) => Expected::Absent,
            WireExpected::Version(version) => Expected::Version(Version(version)),
            WireExpected::Value(value) => Expected::Value(value),
        };
        Ok(Self { key: m.key, expected })
    }
}

/// A write, and what it asks of a quorum table.
impl Wire for (Command, WriteOptions) {
    type Message = v1::WriteOp;

    fn into_wire(self) -> v1::WriteOp {
        let (command, WriteOptions { copies, seen, again }) = self;
        let seen: BTreeMap<Bytes, Bytes> = seen.into_iter().collect();
        let mutations = command.mutations.into_iter().map(Mutation::into_wire).map(|mutation| {
            let context = seen.get(&mutation.key).cloned().unwrap_or_default();
            v1::EncodedMutation { context, ..mutation }
        });
        v1::WriteOp {
            request_id: command.request.map(RequestId::into_wire),
            mutations: mutations.collect(),
            conditions: all_into(command.conditions),
            copies: copies.map(copies_into_wire),
            again_ms: again.map(|again| again.first_sent_ms),
            attempt: again.map_or(0, |again| again.attempt),
        }
    }

    fn from_wire(m: v1::WriteOp) -> Result<Self, Malformed> {
        let (mut mutations, mut contexts) = (Vec::with_capacity(m.mutations.len()), Vec::new());
        for mut mutation in m.mutations {
            contexts.push((mutation.key.clone(), std::mem::take(&mut mutation.context)));
            mutations.push(Mutation::from_wire(mutation)?);
        }
        let command = Command {
            request: m.request_id.map(RequestId::from_wire).transpose()?,
            conditions: all(m.conditions)?,
            mutations,
        };
        Ok((command, write_options(m.copies, contexts, (m.again_ms, m.attempt))?))
    }
}

/// What a write asks of a quorum table. `contexts` = the encoded key of each mutation, with what was seen of it; of a key
/// that is there twice the later one counts, as its mutation does. No bytes at all: nothing was seen. Which attempt it is
/// counts only of one that was sent before.
pub fn write_options(
    copies: Option<u32>,
    contexts: impl IntoIterator<Item = (Bytes, Bytes)>,
    (again_ms, attempt): (Option<u64>, u32),
) -> Result<WriteOptions, Malformed> {
    let last: BTreeMap<Bytes, Bytes> = contexts.into_iter().collect();
    let seen = last.into_iter().filter(|(_, context)| !context.is_empty()).collect();
    let copies = copies.map(|copies| size(copies.into(), "copies")).transpose()?;
    let again = again_ms.map(|first_sent_ms| Again { first_sent_ms, attempt });
    Ok(WriteOptions { copies, seen, again })
}

fn copies_into_wire(copies: usize) -> u32 {
    u32::try_from(copies).unwrap_or(u32::MAX)
}

impl Wire for ReadConsistency {
    type Message = (i32, u64);

    fn into_wire(self) -> (i32, u64) {
        match self {
            Self::Linearizable => (v1::ReadConsistency::Linearizable.into(), 0),
            Self::Local => (v1::ReadConsistency::Local.into(), 0),
            Self::BoundedStaleness(ms) => (v1::ReadConsistency::BoundedStaleness.into(), ms),
        }
    }

    fn from_wire((kind, staleness_ms): (i32, u64)) -> Result<Self, Malformed> {
        match v1::ReadConsistency::try_from(kind) {
            Ok(v1::ReadConsistency::Unspecified | v1::ReadConsistency::Linearizable) => Ok(Self::Linearizable),
            Ok(v1::ReadConsistency::Local) => Ok(Self::Local),
            Ok(v1::ReadConsistency::BoundedStaleness) => Ok(Self::BoundedStaleness(staleness_ms)),
            Err(_) => Err(Malformed::Unknown { field: "consistency", value: kind }),
        }
    }
}

/// How a read is to be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// How fresh the answer must be.
    pub consistency: ReadConsistency,
    /// Of a quorum table: R for this read, which promises nothing where it is lower than the table's. `None` = the table's.
    pub copies: Option<usize>,
}

impl From<ReadConsistency> for ReadOptions {
    fn from(consistency: ReadConsistency) -> Self {
        Self { consistency, copies: None }
    }
}

impl Wire for ReadOptions {
    /// Kind and milliseconds of the consistency, and R.
    type Message = ((i32, u64), Option<u32>);

    fn into_wire(self) -> Self::Message {
        (self.consistency.into_wire(), self.copies.map(copies_into_wire))
    }

    fn from_wire((consistency, copies): Self::Message) -> Result<Self, Malformed> {
        let consistency = ReadConsistency::from_wire(consistency)?;
        let copies = copies.map(|copies| size(copies.into(), "copies")).transpose()?;
        // The others say themselves how many copies are asked.
        if copies.is_some() && consistency != ReadConsistency::Linearizable {
            return Err(Malformed::Range("copies"));
        }
        Ok(Self { consistency, copies })
    }
}

/// A read as a session's operation.
pub fn read_to_op(read: Read, options: ReadOptions) -> Op {
    let ((consistency, staleness_ms), copies) = options.into_wire();
    match read {
        Read::Get { key } => Op::Get(v1::GetOp { key, consistency, staleness_ms, copies }),
        Read::Scan { start, end, limit } => {
            let limit = u32::try_from(limit.min(SCAN_RECORDS_MAX)).unwrap_or(u32::MAX);
            Op::Scan(v1::ScanOp { start, end, limit, consistency, staleness_ms, copies })
        }
    }
}

/// The same operation, but that a read must see every acknowledged write: so any copy says who leads, and whatever was asked
/// for less is answered too.
pub fn linearizable(op: Op) -> Op {
    let (consistency, staleness_ms) = ReadConsistency::Linearizable.into_wire();
    match op {
        Op::Get(get) => Op::Get(v1::GetOp { consistency, staleness_ms, ..get }),
        Op::Scan(scan) => Op::Scan(v1::ScanOp { consistency, staleness_ms, ..scan }),
        Op::Write(write) => Op::Write(write),
    }
}

/// The read of a session's operation. `None` = it is a write.
pub fn read_from_op(op: Op) -> Result<Option<(Read, ReadOptions)>, Malformed> {
    match op {
        Op::Write(_) => Ok(None),
        Op::Get(m) => {
            let options = ReadOptions::from_wire(((m.consistency, m.staleness_ms), m.copies))?;
            Ok(Some((Read::Get { key: m.key }, options)))
        }
        Op::Scan(m) => {
            let options = ReadOptions::from_wire(((m.consistency, m.staleness_ms), m.copies))?;
            let limit = match m.limit as usize {
                0 => SCAN_RECORDS_MAX,
                limit => limit.min(SCAN_RECORDS_MAX),
            };
            Ok(Some((Read::Scan { start: m.start, end: m.end, limit }, options)))
        }
    }
}

impl Wire for Record {
    type Message = v1::EncodedRecord;

    fn into_wire(self) -> v1::EncodedRecord {
        v1::EncodedRecord { key: self.key, version: self.version.0, value: self.value, expires_ms: self.expires_ms }
    }

    fn from_wire(m: v1::EncodedRecord) -> Result<Self, Malformed> {
        Ok(Self { key: m.key, version: Version(m.version), value: m.value, expires_ms: m.expires_ms })
    }
}

/// What a read saw, as a session's result.
pub fn read_result_into_wire(result: ReadResult) -> WireResult {
    let without_key = |record: Record| v1::EncodedRecord { key: Bytes::new(), ..record.into_wire() };
    match result {
        ReadResult::Value(record) => {
            WireResult::Get(v1::GetResult { record: record.map(without_key), ..v1::GetResult::default() })
        }
        ReadResult::Values { records, context, basis } => {
            let mut records = records.into_iter().map(without_key);
            let record = records.next();
            let basis = Some(basis.into_wire());
            WireResult::Get(v1::GetResult { record, siblings: records.collect(), context, basis })
        }
        ReadResult::Page { records, next } => WireResult::Page(v1::PageResult { records: all_into(records), next }),
    }
}

/// What a read saw; the record of a get has an empty key. `None` = not the result of a read.
pub fn read_result_from_wire(result: WireResult) -> Result<Option<ReadResult>, Malformed> {
    match result {
        WireResult::Get(v1::GetResult { record, siblings, context, basis }) if !context.is_empty() => {
            let records = record.into_iter().chain(siblings).map(Record::from_wire).collect::<Result<_, _>>()?;
            Ok(Some(ReadResult::Values { records, context, basis: required(basis, "basis")? }))
        }
        // Only a quorum table's reads have a context.
        WireResult::Get(m) => Ok(Some(ReadResult::Value(m.record.map(Record::from_wire).transpose()?))),
        WireResult::Page(m) => Ok(Some(ReadResult::Page { records: all(m.records)?, next: m.next })),
        WireResult::Written(_) | WireResult::Error(_) => Ok(None),
    }
}
