//! Reads one key, or one page of a range, from the store.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::command::{Read, ReadResult};
use crate::engine::{Engine, EngineError, data_end, data_key, encoded_key};
use crate::limits::{SCAN_BYTES_MAX, SCAN_RECORDS_MAX};
use crate::map::Descriptor;
use crate::record;

/// What the store holds. `None` = the wanted keys are not in the shard's bounds.
pub(super) fn read(
    descriptor: &Descriptor,
    read: &Read,
    engine: &dyn Engine,
    wall_ms: u64,
) -> Result<Option<ReadResult>, EngineError> {
    match read {
        Read::Get { key } if !descriptor.contains(key) => Ok(None),
        Read::Get { key } => {
            let stored = engine.get(&data_key(descriptor.table, key))?;
            let record =
                stored.map(|s| record::decode(key.clone(), &s)).transpose().map_err(EngineError::unreadable)?;
            Ok(Some(ReadResult::Value(record.filter(|r| !record::is_expired(r, wall_ms)))))
        }
        Read::Scan { start, .. } if !descriptor.contains(start) => Ok(None),
        Read::Scan { start, end, limit } => page(descriptor, start, end.as_ref(), *limit, engine, wall_ms).map(Some),
    }
}

/// One page; it ends at the limit, at enough bytes, or at the shard's or the range's end.
fn page(
    descriptor: &Descriptor,
    start: &Bytes,
    end: Option<&Bytes>,
    limit: usize,
    engine: &dyn Engine,
    wall_ms: u64,
) -> Result<ReadResult, EngineError> {
    let end = match (end, &descriptor.end) {
        (Some(wanted), Some(shard)) => Some(wanted.min(shard)),
        (wanted, shard) => wanted.or(shard.as_ref()),
    };
    if end.is_some_and(|end| end <= start) {
        return Ok(ReadResult::Page { records: Vec::new(), next: None });
    }
    let limit = limit.clamp(1, SCAN_RECORDS_MAX);
    let (mut records, mut bytes, mut next, mut failed) = (Vec::new(), 0, None, None);
    let first = data_key(descriptor.table, start);
    engine.scan(&first, &data_end(descriptor.table, end.map(|e| &e[..])), &mut |key, stored| {
        let key = Bytes::copy_from_slice(encoded_key(key));
        if records.len() >= limit || bytes >= SCAN_BYTES_MAX {
            next = Some(key);
            return ControlFlow::Break(());
        }
        match record::decode(key, &Bytes::copy_from_slice(stored)) {
            Ok(record) if record::is_expired(&record, wall_ms) => {}
            Ok(record) => {
                bytes += record.key.len() + record.value.len();
                records.push(record);
            }
            Err(error) => {
                failed = Some(error);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    match failed {
        Some(error) => Err(EngineError::unreadable(error)),
        None => Ok(ReadResult::Page { records, next }),
    }
}
