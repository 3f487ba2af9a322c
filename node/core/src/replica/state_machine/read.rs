//! Reads one key, or one page of a range, from the store.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::command::{Read, ReadResult, Record};
use crate::engine::{Engine, EngineError, data_end, data_key, encoded_key};
use crate::limits::{SCAN_BYTES_MAX, SCAN_RECORDS_MAX};
use crate::map::Descriptor;
use crate::planted::{Planted, is_planted};
use crate::record;

/// By what time records have ended, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// The shard's own time, by which records count as ended.
    pub(super) shard_ms: u64,
    /// The clock's, which that is to follow.
    pub(super) now_ms: u64,
}

/// The result of a read on the store.
#[derive(Debug)]
pub(in crate::replica) struct Found {
    pub(in crate::replica) result: ReadResult,
    /// The latest end of a record that it shows which the clock has passed, and the shard's time has not, in milliseconds
    /// since 1970. `None` = it shows none.
    pub(in crate::replica) late_ms: Option<u64>,
}

impl Times {
    fn is_over(self, record: &Record) -> bool {
        record::is_expired(record, self.shard_ms)
    }

    /// The end of a record that is shown, if the clock has passed it.
    fn late_ms(self, record: &Record) -> Option<u64> {
        record.expires_ms.filter(|_| record::is_expired(record, self.now_ms))
    }
}

/// What the store holds. `None` = the wanted keys are not in the shard's bounds.
pub(super) fn read(
    descriptor: &Descriptor,
    read: &Read,
    engine: &dyn Engine,
    times: Times,
) -> Result<Option<Found>, EngineError> {
    match read {
        Read::Get { key } if !descriptor.contains(key) => Ok(None),
        Read::Get { key } => {
            let stored = engine.get(&data_key(descriptor.table, key))?;
            let record =
                stored.map(|s| record::decode(key.clone(), &s)).transpose().map_err(EngineError::unreadable)?;
            let shown = record.flatten().filter(|record| !times.is_over(record));
            let late_ms = shown.as_ref().and_then(|record| times.late_ms(record));
            Ok(Some(Found { result: ReadResult::Value(shown), late_ms }))
        }
        Read::Scan { start, .. } if !descriptor.contains(start) => Ok(None),
        Read::Scan { start, end, limit } => page(descriptor, start, end.as_ref(), *limit, engine, times).map(Some),
    }
}

/// One page; it ends at the limit, once it has looked at enough, or at the shard's or the range's end.
fn page(
    descriptor: &Descriptor,
    start: &Bytes,
    end: Option<&Bytes>,
    limit: usize,
    engine: &dyn Engine,
    times: Times,
) -> Result<Found, EngineError> {
    let end = match (end, &descriptor.end) {
        (Some(wanted), Some(shard)) => Some(wanted.min(shard)),
        (wanted, shard) => wanted.or(shard.as_ref()),
    };
    if end.is_some_and(|end| end <= start) {
        return Ok(Found { result: ReadResult::Page { records: Vec::new(), next: None }, late_ms: None });
    }
    let limit = limit.clamp(1, SCAN_RECORDS_MAX);
    let (mut records, mut next, mut failed, mut late_ms) = (Vec::new(), None, None, None);
    // Of all, whether they are shown or not: else those that have ended could hold a node up for as long as there are any.
    let (mut looked_at, mut bytes) = (0, 0);
    let is_unbounded = is_planted(Planted::EndedNotCounted);
    let first = data_key(descriptor.table, start);
    engine.scan(&first, &data_end(descriptor.table, end.map(|e| &e[..])), &mut |key, stored| {
        let key = Bytes::copy_from_slice(encoded_key(key));
        if records.len() >= limit || looked_at >= SCAN_RECORDS_MAX || bytes >= SCAN_BYTES_MAX {
            next = Some(key);
            return ControlFlow::Break(());
        }
        match record::decode(key, &Bytes::copy_from_slice(stored)) {
            Ok(None) => {
                looked_at += 1;
                bytes += stored.len();
            }
            Ok(Some(record)) => {
                let is_over = times.is_over(&record);
                if !is_over || !is_unbounded {
                    looked_at += 1;
                    bytes += record.key.len() + record.value.len();
                }
                if !is_over {
                    late_ms = times.late_ms(&record).max(late_ms);
                    records.push(record);
                }
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
        None => Ok(Found { result: ReadResult::Page { records, next }, late_ms }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineWrite;
    use crate::ids::{ShardId, TableId};
    use crate::replica::tests::Memory;
    use crate::time::Version;

    const TIMES: Times = Times { shard_ms: 5, now_ms: 5 };

    /// Records that have ended, and one behind them that has not.
    fn store(ended: usize, value: usize) -> Memory {
        let engine = Memory::default();
        let put = |key: String, expires_ms| {
            let stored = record::encode(Version(1), expires_ms, &vec![b'v'; value]);
            EngineWrite::Put(data_key(TableId(1), key.as_bytes()), stored)
        };
        let writes = (0..ended).map(|number| put(format!("a{number:06}"), Some(5)));
        engine.write(writes.chain([put("b".to_owned(), None)]).collect()).expect("it is in memory");
        engine
    }

    /// How many records each page shows, up to the end.
    fn pages(engine: &Memory) -> Vec<usize> {
        let shard = Descriptor { shard: ShardId(1), table: TableId(1), ..Descriptor::default() };
        let (mut start, mut shown) = (Some(Bytes::new()), Vec::new());
        while let Some(from) = start.take() {
            let scan = Read::Scan { start: from, end: None, limit: usize::MAX };
            let found = read(&shard, &scan, engine, TIMES).expect("it is in memory").expect("it is in bounds");
            let ReadResult::Page { records, next } = found.result else { panic!("no page") };
            shown.push(records.len());
            start = next;
        }
        shown
    }

    #[test]
    fn a_tombstone_is_shown_to_nobody_and_counts_as_looked_at() {
        let tombstone = |number: usize| {
            let delete = record::Value { is_tombstone: true, ..record::Value::default() };
            let stored = record::Stored::new(delete, record::Context::default());
            EngineWrite::Put(data_key(TableId(1), format!("a{number:06}").as_bytes()), stored.encode())
        };
        let engine = Memory::default();
        engine.write((0..SCAN_RECORDS_MAX).map(tombstone).collect()).expect("it is in memory");
        engine
            .write(vec![EngineWrite::Put(data_key(TableId(1), b"b"), record::encode(Version(1), None, b""))])
            .unwrap();
        assert_eq!(pages(&engine), [0, 1]);
        let shard = Descriptor { shard: ShardId(1), table: TableId(1), ..Descriptor::default() };
        let get = Read::Get { key: Bytes::from_static(b"a000000") };
        let found = read(&shard, &get, &engine, TIMES).unwrap().unwrap();
        assert_eq!(found.result, ReadResult::Value(None));
    }

    fn pages_of_ended_records() -> [Vec<usize>; 2] {
        [pages(&store(2 * SCAN_RECORDS_MAX, 0)), pages(&store(12, SCAN_BYTES_MAX / 4))]
    }

    #[test]
    fn a_page_looks_at_so_many_records_and_bytes_whether_they_have_ended_or_not() {
        assert_eq!(pages_of_ended_records(), [vec![0, 0, 1], vec![0, 0, 0, 1]]);
    }

    #[cfg(feature = "planted")]
    #[test]
    fn a_page_that_does_not_count_what_has_ended_is_noticed() {
        crate::planted::plant(Some(Planted::EndedNotCounted));
        let pages = pages_of_ended_records();
        crate::planted::plant(None);
        assert_eq!(pages, [vec![1], vec![1]]);
    }
}
