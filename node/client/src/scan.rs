//! Reads of many records: page after page and shard after shard in key order, or all shards side by side.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use skerry_core::command::{Read, ReadConsistency, ReadResult};
use skerry_core::ids::TableId;
use skerry_core::key::{partition_range, sort_bound};
use skerry_core::limits::SCAN_RECORDS_MAX;
use skerry_core::map::{Descriptor, Fragmentation, Map};

use crate::client::Client;
use crate::key::{Record, Unreadable};
use crate::operation::{From, Operation, Times};
use crate::read::{ReadError, from};
use crate::routes::Table;
use crate::wire::{Malformed, ReadOptions, read_result_from_wire, read_to_op};

/// Which keys of a table to scan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ScanRange {
    /// The whole table; of a hash table, in the order of the hashes.
    #[default]
    All,
    /// A range of keys, in a range table.
    Keys {
        /// First key; empty = from the first.
        start: Bytes,
        /// First key that is not wanted. `None` = to the last.
        end: Option<Bytes>,
    },
    /// One partition of a hash table, in the order of the sort parts.
    Partition {
        /// Partition part of the wanted keys.
        partition: Bytes,
        /// First sort part; empty = from the first.
        sort_start: Bytes,
        /// First sort part that is not wanted. `None` = to the last.
        sort_end: Option<Bytes>,
    },
}

/// The encoded keys of records that a scan has left out, since they are no keys of its table. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct SkippedKeys(Arc<Mutex<Skipped>>);

#[derive(Debug, Default)]
struct Skipped {
    first: Vec<Bytes>,
    count: u64,
}

/// So many keys are remembered; those after them are counted.
const SKIPPED_KEYS_MAX: usize = 1_000;

impl SkippedKeys {
    /// How many were left out so far.
    pub fn count(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// The keys of the first thousand of them.
    pub fn first(&self) -> Vec<Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).first.clone()
    }

    fn note(&self, key: Bytes) {
        let mut skipped = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        skipped.count += 1;
        if skipped.first.len() < SKIPPED_KEYS_MAX {
            skipped.first.push(key);
        }
    }
}

/// Settings of a scan.
#[derive(Debug, Clone)]
pub struct ScanOptions {
    /// How fresh. Each page is read at a time of its own.
    pub consistency: ReadConsistency,
    /// Of a quorum table: R for each page, which promises nothing where it is lower than the table's. `None` = the table's.
    pub copies: Option<usize>,
    /// Records of one page at most; a page of large records has fewer.
    pub page_records: usize,
    /// Leaves out records that cannot be read, and notes their keys there. `None` = such a record fails the scan.
    pub skip: Option<SkippedKeys>,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self { consistency: ReadConsistency::default(), copies: None, page_records: 1_000, skip: None }
    }
}

/// A scan of a table, which fetches page after page.
#[derive(Debug, Clone)]
pub struct Scan {
    client: Client,
    name: String,
    table: Table,
    options: ScanOptions,
    /// Key to go on from. `None` = the scan is done.
    next: Option<Bytes>,
    end: Option<Bytes>,
    /// With which copies it begins where any will do: all pages of a shard come from the same copy while that answers.
    turn: usize,
}

impl Client {
    /// Begins a scan in key order.
    pub async fn scan(&self, table: &str, range: ScanRange, options: ScanOptions) -> Result<Scan, ReadError> {
        let found = self.inner.table_soon(table).await;
        let table_keys = found.ok_or_else(|| ReadError::UnknownTable(table.to_owned()))?;
        let (start, end) = bounds(table, table_keys.fragmentation, range)?;
        let next = end.as_ref().is_none_or(|end| start < *end).then_some(start);
        let turn = self.inner.coordinators.next_turn();
        Ok(Scan { client: self.clone(), name: table.to_owned(), table: table_keys, options, next, end, turn })
    }

    /// Scans so many shards at a time; the pages of one shard come in key order, those of different shards in any.
    pub async fn scan_parallel(
        &self,
        table: &str,
        range: ScanRange,
        options: ScanOptions,
        shards: usize,
    ) -> Result<impl Stream<Item = Result<Vec<Record>, ReadError>> + Send + use<>, ReadError> {
        let parts = self.scan(table, range, options).await?.split();
        Ok(stream::iter(parts).flat_map_unordered(shards.max(1), |part| Box::pin(part.into_stream())))
    }
}

impl Scan {
    /// The next page; it may be empty. `None` = that was all. After an error the same page can be asked for again.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Record>>, ReadError> {
        let Some(start) = self.next.clone() else { return Ok(None) };
        let limit = self.options.page_records.clamp(1, SCAN_RECORDS_MAX);
        let ScanOptions { consistency, copies, .. } = self.options;
        let options = ReadOptions { consistency, copies };
        let from = from(consistency);
        let op = |descriptor: &Descriptor, _| {
            let end = earlier(self.end.clone(), descriptor.end.clone());
            Some(read_to_op(Read::Scan { start: start.clone(), end, limit }, options))
        };
        let operation = Operation {
            table: self.table.id,
            key: start.clone(),
            from,
            bytes: 0,
            turn: (from == From::AnyReplica).then_some(self.turn),
            issuing: None,
            op,
        };
        let ran = self.client.run(operation, Times::lasting(self.client.deadline)).await;
        let answered = ran.map_err(|failed| ReadError::from_failed(failed, &self.name))?;
        let Some(ReadResult::Page { records, next }) =
            read_result_from_wire(answered.answer).map_err(ReadError::answer)?
        else {
            return Err(ReadError::answer(Malformed::Missing("page")));
        };
        if next.as_ref().is_some_and(|next| *next <= start) {
            return Err(ReadError::answer(Malformed::Range("next")));
        }
        let records = self.readable(records)?;
        if let Some(version) = records.iter().map(|record| record.version).max() {
            self.client.inner.request_ids.see_of_key(version, self.client.is_of_quorum(self.table.id));
        }
        // The shard's part is done: go on where the next shard begins, if that is still in the range.
        let next = next.or(answered.shard_end);
        self.next = next.filter(|next| self.end.as_ref().is_none_or(|end| next < end));
        Ok(Some(records))
    }

    fn readable(&self, found: Vec<skerry_core::command::Record>) -> Result<Vec<Record>, ReadError> {
        let mut records = Vec::with_capacity(found.len());
        for record in found {
            match (Record::decode(self.table.fragmentation, record), &self.options.skip) {
                (Ok(record), _) => records.push(record),
                (Err(Unreadable(key)), Some(skipped)) => skipped.note(key),
                (Err(Unreadable(key)), None) => {
                    return Err(ReadError::UnreadableRecord { table: self.name.clone(), key });
                }
            }
        }
        Ok(records)
    }

    /// All pages that follow; the next one is asked for while one is looked at. Ends after an error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Vec<Record>, ReadError>> + Send {
        stream::unfold(Some(self), |scan| async {
            let mut scan = scan?;
            match scan.next_page().await {
                Ok(Some(page)) => Some((Ok(page), Some(scan))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// One scan for each shard of the range, as the map is now, and one for each part of which the map has no shard: the
    /// shards there are looked for when it is that part's turn.
    fn split(self) -> Vec<Self> {
        let Some(start) = self.next.clone() else { return Vec::new() };
        let parts = parts(&self.client.map(), self.table.id, start, self.end.clone());
        let turn = || self.client.inner.coordinators.next_turn();
        parts.into_iter().map(|(start, end)| Self { next: Some(start), end, turn: turn(), ..self.clone() }).collect()
    }
}

/// Parts a range where shards begin and end. The parts cover all of it, whatever the map knows: one that comes in pieces, or
/// that has gone back to an earlier one, may lack shards.
fn parts(map: &Map, table: TableId, start: Bytes, end: Option<Bytes>) -> Vec<(Bytes, Option<Bytes>)> {
    let mut parts = Vec::new();
    // `None` = the range is covered.
    let mut next = Some(start);
    for shard in map.shards_of(table) {
        let Descriptor { start: first, end: behind, .. } = &shard.descriptor;
        let Some(from) = next.clone() else { break };
        if behind.as_ref().is_some_and(|behind| *behind <= from) {
            continue;
        }
        if end.as_ref().is_some_and(|end| first >= end) {
            break;
        }
        if from < *first {
            parts.push((from.clone(), Some(first.clone())));
        }
        parts.push((from.max(first.clone()), earlier(end.clone(), behind.clone())));
        next = behind.clone().filter(|behind| end.as_ref().is_none_or(|end| behind < end));
    }
    parts.extend(next.map(|from| (from, end)));
    parts
}

/// The encoded range of what a reader wants.
fn bounds(table: &str, fragmentation: Fragmentation, range: ScanRange) -> Result<(Bytes, Option<Bytes>), ReadError> {
    match range {
        ScanRange::All => Ok((Bytes::new(), None)),
        ScanRange::Keys { start, end } => match fragmentation {
            Fragmentation::Range => Ok((start, end)),
            Fragmentation::Hash => Err(ReadError::NoKeyRanges(table.to_owned())),
        },
        ScanRange::Partition { partition, sort_start, sort_end } => {
            let (start, end) = partition_range(fragmentation, &partition)?;
            let start = match sort_start.is_empty() {
                true => start,
                false => sort_bound(fragmentation, &partition, &sort_start)?,
            };
            let end = match sort_end {
                Some(sort_end) => Some(sort_bound(fragmentation, &partition, &sort_end)?),
                None => end,
            };
            Ok((start, end))
        }
    }
}

/// The earlier of two ends; `None` = the table's end.
fn earlier(a: Option<Bytes>, b: Option<Bytes>) -> Option<Bytes> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use skerry_core::ids::{Epoch, ShardId};
    use skerry_core::key::encode;
    use skerry_core::limits::KEY_BYTES_MAX;
    use skerry_core::map::{Consistency, ShardRecord, TableRecord};

    use super::*;
    use crate::config::ClientConfig;
    use crate::routes::Routes;

    #[test]
    fn a_partitions_bounds_lie_within_each_other() {
        let whole = ScanRange::Partition { partition: "p".into(), sort_start: Bytes::new(), sort_end: None };
        let part = ScanRange::Partition { partition: "p".into(), sort_start: "b".into(), sort_end: Some("d".into()) };
        let (start, end) = bounds("t", Fragmentation::Hash, whole).unwrap();
        let (inner_start, inner_end) = bounds("t", Fragmentation::Hash, part).unwrap();
        assert!(start < inner_start && inner_start < inner_end.clone().unwrap() && inner_end < end);
    }

    #[test]
    fn the_place_behind_the_longest_key_of_a_partition_is_a_bound() {
        let longest = vec![0xFF; KEY_BYTES_MAX - 1];
        let key = encode(Fragmentation::Hash, b"p", &longest).unwrap();
        let sort = Bytes::from([&longest[..], &[0]].concat());
        for (sort_start, sort_end) in [(sort.clone(), None), (Bytes::new(), Some(sort.clone()))] {
            let range = ScanRange::Partition { partition: "p".into(), sort_start: sort_start.clone(), sort_end };
            let (start, end) = bounds("t", Fragmentation::Hash, range).unwrap();
            assert_eq!(start <= key, sort_start.is_empty());
            assert!(end.is_some_and(|end| end > key));
        }
    }

    fn range_table(name: &str) -> TableRecord {
        TableRecord {
            id: TableId(1),
            name: name.to_owned(),
            fragmentation: Fragmentation::Range,
            consistency: Consistency::Leader,
            replication_factor: 1,
            dropped: false,
            epoch: Epoch(1),
        }
    }

    /// A table that was made a moment ago is not in this client's map yet, and then it is.
    #[tokio::test]
    async fn a_table_that_was_just_made_is_scanned_once_the_map_has_it() {
        let (client, publish) = Client::of_map(ClientConfig::new(["none:1"]), map_of(&[]));
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            let mut map = map_of(&[0]);
            map.tables.insert(TableId(1), range_table("t"));
            publish.send_replace(Arc::new(Routes::new(map)));
        });
        assert!(client.scan("t", ScanRange::All, ScanOptions::default()).await.is_ok());
        let unknown = client.scan("u", ScanRange::All, ScanOptions::default()).await;
        assert_eq!(unknown.unwrap_err(), ReadError::UnknownTable("u".to_owned()));
    }

    /// A map of one table that has, of four shards, only those with these numbers.
    fn map_of(shards: &[u64]) -> Map {
        let bounds = ["", "d", "m", "t"];
        let mut map = Map::default();
        for &n in shards {
            let at = |n: u64| bounds.iter().zip(0..).find(|(_, i)| *i == n).map(|(bound, _)| Bytes::from(*bound));
            let (start, end) = (at(n).unwrap(), at(n + 1));
            let descriptor =
                Descriptor { shard: ShardId(10 + n), table: TableId(1), start, end, ..Descriptor::default() };
            map.put_shard(ShardRecord { descriptor, epoch: Epoch(1 + n), ..ShardRecord::default() });
        }
        map
    }

    #[test]
    fn parts_cover_the_range_whatever_shards_the_map_lacks() {
        for known in 0_u32..16 {
            let shards: Vec<u64> = (0..4).filter(|n| known & (1 << n) != 0).collect();
            let map = map_of(&shards);
            for (start, end) in [("", None), ("b", Some("x")), ("e", Some("m")), ("m", None), ("f", Some("g"))] {
                let end = end.map(Bytes::from);
                let parts = parts(&map, TableId(1), Bytes::from(start), end.clone());
                assert_eq!(parts.first().map(|(first, _)| first.clone()), Some(Bytes::from(start)), "{shards:?}");
                assert_eq!(parts.last().unwrap().1, end, "{shards:?} {start}");
                for pair in parts.windows(2) {
                    assert_eq!(pair[0].1.as_ref(), Some(&pair[1].0), "{shards:?} {start}");
                }
                assert!(parts.iter().all(|(first, behind)| behind.as_ref().is_none_or(|behind| first < behind)));
                let split = shards.iter().map(|n| map.shards[&ShardId(10 + n)].descriptor.clone());
                let inside = |d: &Descriptor| d.start > *start.as_bytes() && end.as_ref().is_none_or(|e| d.start < *e);
                assert!(split.filter(inside).all(|d| parts.iter().any(|(first, _)| *first == d.start)), "{shards:?}");
            }
        }
        assert_eq!(parts(&map_of(&[0, 1, 2, 3]), TableId(1), Bytes::new(), None).len(), 4);
    }

    #[test]
    fn key_ranges_of_a_hash_table_are_refused() {
        let keys = ScanRange::Keys { start: "a".into(), end: None };
        assert_eq!(bounds("t", Fragmentation::Range, keys.clone()).unwrap(), (Bytes::from("a"), None));
        assert_eq!(bounds("t", Fragmentation::Hash, keys), Err(ReadError::NoKeyRanges("t".into())));
    }

    #[test]
    fn the_earlier_end_counts_and_none_is_the_last() {
        let (a, b) = (Some(Bytes::from("a")), Some(Bytes::from("b")));
        assert_eq!(earlier(a.clone(), b), a);
        assert_eq!(earlier(None, a.clone()), a);
        assert_eq!(earlier(None, None), None);
    }
}
