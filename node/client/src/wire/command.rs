//! A session's operations and their results, on encoded keys.

use skerry_core::command::{
    Command, Condition, Expected, Mutation, Read, ReadConsistency, ReadResult, Record, RequestId,
};
use skerry_core::limits::SCAN_RECORDS_MAX;
use skerry_core::time::Version;
use skerry_proto::v1;
use skerry_proto::v1::encoded_condition::Expected as WireExpected;
use skerry_proto::v1::session_item::Op;
use skerry_proto::v1::session_result::Result as WireResult;

use super::{Malformed, Wire, all, all_into};

impl Wire for RequestId {
    type Message = v1::RequestId;

    fn into_wire(self) -> v1::RequestId {
        v1::RequestId { issued: self.issued.0, client: self.client, sequence: self.sequence }
    }

    fn from_wire(m: v1::RequestId) -> Result<Self, Malformed> {
        Ok(Self { issued: Version(m.issued), client: m.client, sequence: m.sequence })
    }
}

impl Wire for Mutation {
    type Message = v1::EncodedMutation;

    fn into_wire(self) -> v1::EncodedMutation {
        match self {
            Self::Put { key, value, expires_ms } => v1::EncodedMutation { key, value: Some(value), expires_ms },
            Self::Delete { key } => v1::EncodedMutation { key, value: None, expires_ms: None },
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

impl Wire for Command {
    type Message = v1::WriteOp;

    fn into_wire(self) -> v1::WriteOp {
        v1::WriteOp {
            request_id: self.request.map(RequestId::into_wire),
            mutations: all_into(self.mutations),
            conditions: all_into(self.conditions),
        }
    }

    fn from_wire(m: v1::WriteOp) -> Result<Self, Malformed> {
        Ok(Self {
            request: m.request_id.map(RequestId::from_wire).transpose()?,
            conditions: all(m.conditions)?,
            mutations: all(m.mutations)?,
        })
    }
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

/// A read as a session's operation.
pub fn read_to_op(read: Read, consistency: ReadConsistency) -> Op {
    let (consistency, staleness_ms) = consistency.into_wire();
    match read {
        Read::Get { key } => Op::Get(v1::GetOp { key, consistency, staleness_ms }),
        Read::Scan { start, end, limit } => {
            let limit = u32::try_from(limit.min(SCAN_RECORDS_MAX)).unwrap_or(u32::MAX);
            Op::Scan(v1::ScanOp { start, end, limit, consistency, staleness_ms })
        }
    }
}

/// The read of a session's operation. `None` = it is a write.
pub fn read_from_op(op: Op) -> Result<Option<(Read, ReadConsistency)>, Malformed> {
    match op {
        Op::Write(_) => Ok(None),
        Op::Get(m) => {
            let consistency = ReadConsistency::from_wire((m.consistency, m.staleness_ms))?;
            Ok(Some((Read::Get { key: m.key }, consistency)))
        }
        Op::Scan(m) => {
            let consistency = ReadConsistency::from_wire((m.consistency, m.staleness_ms))?;
            let limit = match m.limit as usize {
                0 => SCAN_RECORDS_MAX,
                limit => limit.min(SCAN_RECORDS_MAX),
            };
            Ok(Some((Read::Scan { start: m.start, end: m.end, limit }, consistency)))
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
    match result {
        ReadResult::Value(record) => {
            let record = record.map(|record| v1::EncodedRecord { key: bytes::Bytes::new(), ..record.into_wire() });
            WireResult::Get(v1::GetResult { record })
        }
        ReadResult::Values { records, .. } => read_result_into_wire(ReadResult::Value(records.into_iter().next())),
        ReadResult::Page { records, next } => WireResult::Page(v1::PageResult { records: all_into(records), next }),
    }
}

/// What a read saw; the record of a get has an empty key. `None` = not the result of a read.
pub fn read_result_from_wire(result: WireResult) -> Result<Option<ReadResult>, Malformed> {
    match result {
        WireResult::Get(m) => Ok(Some(ReadResult::Value(m.record.map(Record::from_wire).transpose()?))),
        WireResult::Page(m) => Ok(Some(ReadResult::Page { records: all(m.records)?, next: m.next })),
        WireResult::Written(_) | WireResult::Error(_) => Ok(None),
    }
}
