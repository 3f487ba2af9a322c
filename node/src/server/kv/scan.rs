//! Scans by name: a page out of one shard, and where the next one begins, in whichever shard that is.

use bytes::Bytes;
use skerry_core::command::{Read, ReadResult, Record};
use skerry_core::key;
use skerry_core::limits::{ENCODED_KEY_BYTES_MAX, SCAN_RECORDS_MAX};
use skerry_core::map::{Fragmentation, Map};
use skerry_proto::v1;
use skerry_proto::v1::operation_error::Kind;
use skerry_proto::v1::scan_request::Range;

use super::{Kv, Table, status};

impl Kv {
    /// A page token is the encoded key to go on from.
    pub(super) async fn do_scan(&self, request: v1::ScanRequest) -> Result<v1::ScanResponse, Kind> {
        let map = self.context.map();
        let table = Table::named(&request.table, &map)?;
        let (start, end) = bounds(table, request.range)?;
        let start = match request.page_token {
            token if token.is_empty() => start,
            token if token.len() > ENCODED_KEY_BYTES_MAX => return Err(status::field("page_token")),
            token if token >= start && end.as_ref().is_none_or(|end| token < *end) => token,
            _ => return Err(status::field("page_token")),
        };
        let limit = match request.limit as usize {
            0 => SCAN_RECORDS_MAX,
            limit => limit.min(SCAN_RECORDS_MAX),
        };
        let read = Read::Scan { start: start.clone(), end: end.clone(), limit };
        let asked = ((request.consistency, request.staleness_ms), request.copies);
        let result = self.read(table, read, asked).await?;
        let (records, next) = match result {
            ReadResult::Page { records, next } => (records, next),
            ReadResult::Value(_) | ReadResult::Values { .. } => return Err(status::ended()),
        };
        let next = match next {
            Some(next) => Some(next),
            None => next_shard(table, &self.context.map(), &start, end.as_ref())?,
        };
        let (records, unreadable_keys) = table.page(records, request.skip_unreadable)?;
        let next_page_token = next.unwrap_or_default();
        Ok(v1::ScanResponse { header: self.header(), records, next_page_token, unreadable_keys })
    }
}

impl Table {
    /// The records of a page, and the keys of those that were left out since they cannot be read.
    fn page(self, found: Vec<Record>, skip_unreadable: bool) -> Result<(Vec<v1::Record>, Vec<Bytes>), Kind> {
        let (mut records, mut unreadable) = (Vec::with_capacity(found.len()), Vec::new());
        for record in found {
            match self.record(record) {
                Ok(record) => records.push(record),
                Err(Kind::UnreadableRecord(v1::UnreadableRecord { key })) if skip_unreadable => unreadable.push(key),
                Err(kind) => return Err(kind),
            }
        }
        Ok((records, unreadable))
    }
}

fn bounds(table: Table, range: Option<Range>) -> Result<(Bytes, Option<Bytes>), Kind> {
    match range {
        None => Ok((Bytes::new(), None)),
        Some(Range::Keys(keys)) => match table.fragmentation {
            Fragmentation::Range => {
                let checked = keys.end.iter().chain([&keys.start]).try_for_each(|place| key::check_place(place));
                checked.map_err(|error| status::key(&error))?;
                Ok((keys.start, keys.end))
            }
            Fragmentation::Hash => Err(status::field("range.keys")),
        },
        Some(Range::Partition(range)) => {
            let (first, end) =
                key::partition_range(table.fragmentation, &range.partition).map_err(|e| status::key(&e))?;
            let sorted = |sort: &Bytes| {
                key::sort_bound(table.fragmentation, &range.partition, sort).map_err(|error| status::key(&error))
            };
            let start = if range.sort_start.is_empty() { first } else { sorted(&range.sort_start)? };
            let end = range.sort_end.as_ref().map(sorted).transpose()?.or(end);
            Ok((start, end))
        }
    }
}

/// Where the shard after the one of `start` begins, if the range goes on there.
///
/// # Errors
/// A map without the shard of `start` does not say where that shard ends: that is no end of the range.
fn next_shard(table: Table, map: &Map, start: &[u8], end: Option<&Bytes>) -> Result<Option<Bytes>, Kind> {
    let Some(shard) = map.route(table.id, start) else {
        return Err(Kind::WrongShard(v1::WrongShard { epoch: map.epoch.0 }));
    };
    let next = shard.descriptor.end.clone();
    Ok(next.filter(|next| end.is_none_or(|end| next < end)))
}

#[cfg(test)]
mod tests {
    use skerry_core::ids::{Epoch, ShardId, TableId};
    use skerry_core::limits::KEY_BYTES_MAX;
    use skerry_core::map::{Descriptor, ShardRecord};
    use skerry_core::time::Version;
    use skerry_proto::v1::limit_exceeded::Limit;

    use super::*;

    fn record(key: Bytes) -> Record {
        Record { key, version: Version(7), value: Bytes::from("v"), expires_ms: None }
    }

    #[test]
    fn a_range_may_begin_and_end_behind_the_longest_key_as_in_a_session() {
        let limit = |bytes: usize| Kind::Limit(v1::LimitExceeded { limit: Some(Limit::KeyBytes(bytes as u64)) });
        let range_of = |start: Bytes, end: Option<Bytes>| {
            let table = Table { id: TableId(1), fragmentation: Fragmentation::Range };
            bounds(table, Some(Range::Keys(v1::KeyRange { start, end })))
        };
        for bytes in [KEY_BYTES_MAX + 1, ENCODED_KEY_BYTES_MAX] {
            let place = Bytes::from(vec![b'k'; bytes]);
            assert_eq!(range_of(place.clone(), None), Ok((place.clone(), None)));
            assert_eq!(range_of(Bytes::new(), Some(place.clone())), Ok((Bytes::new(), Some(place))));
        }
        let longer = Bytes::from(vec![b'k'; ENCODED_KEY_BYTES_MAX + 1]);
        assert_eq!(range_of(longer.clone(), None), Err(limit(longer.len())));
        assert_eq!(range_of(Bytes::new(), Some(longer.clone())), Err(limit(longer.len())));
    }

    #[test]
    fn a_range_of_sort_parts_may_begin_and_end_behind_the_longest_key() {
        let table = Table { id: TableId(1), fragmentation: Fragmentation::Hash };
        let sort = Bytes::from(vec![b's'; KEY_BYTES_MAX]);
        let range = |sort_start, sort_end| {
            let partition = Bytes::from("p");
            bounds(table, Some(Range::Partition(v1::PartitionRange { partition, sort_start, sort_end })))
        };
        let (start, end) = range(sort.clone(), Some(Bytes::from(vec![b't'; KEY_BYTES_MAX]))).unwrap();
        assert!(end.is_some_and(|end| start < end));
        assert!(range(Bytes::from(vec![b's'; ENCODED_KEY_BYTES_MAX]), None).is_err());
    }

    #[test]
    fn a_range_ends_where_its_last_shard_does_and_not_where_the_map_has_none() {
        let table = Table { id: TableId(1), fragmentation: Fragmentation::Range };
        let mut map = Map::default();
        let (start, end) = (Bytes::from("d"), Some(Bytes::from("m")));
        let descriptor = Descriptor { shard: ShardId(7), table: table.id, start, end, ..Descriptor::default() };
        map.put_shard(ShardRecord { descriptor, epoch: Epoch(1), ..ShardRecord::default() });
        assert_eq!(next_shard(table, &map, b"e", None), Ok(Some(Bytes::from("m"))));
        assert_eq!(next_shard(table, &map, b"e", Some(&Bytes::from("m"))), Ok(None));
        for missing in [&b"a"[..], b"m"] {
            assert!(matches!(next_shard(table, &map, missing, None), Err(Kind::WrongShard(_))));
        }
    }

    #[test]
    fn a_record_that_cannot_be_read_fails_the_page_by_its_key_or_is_left_out_and_named() {
        let table = Table { id: TableId(1), fragmentation: Fragmentation::Hash };
        let stranger = Bytes::from("no key");
        let found = || vec![record(key::encode(Fragmentation::Hash, b"p", b"s").unwrap()), record(stranger.clone())];
        let named = v1::UnreadableRecord { key: stranger.clone() };
        assert_eq!(table.page(found(), false), Err(Kind::UnreadableRecord(named.clone())));
        let text = status::status(Kind::UnreadableRecord(named)).message().to_owned();
        assert!(text.contains("6e6f206b6579"), "{text}");
        let (records, unreadable) = table.page(found(), true).unwrap();
        let keys: Vec<_> = records.into_iter().map(|record| record.key.unwrap().partition).collect();
        assert_eq!((keys, unreadable), (vec![Bytes::from("p")], vec![stranger]));
    }
}
