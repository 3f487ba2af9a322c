//! Chooses the old segment to get rid of, and finds what must be copied out of it first.
//!
//! Segments go in order, oldest first, and the one before the current always stays: so two checkpoints are there at any
//! time, and a damaged one costs nothing. What is copied is little, or much of what the log has on disk is dead.

use std::collections::BTreeMap;

use skerry_core::ids::{ReplicaId, ShardId};
use skerry_core::log::LogEntry;

use super::extents::Extent;
use super::index::Index;
use super::recovery::Closed;
use super::segment::Segment;
use super::{LogConfig, LogError, body};

/// Copied in one group, so that appends do not wait long for copies.
const COPIED_BYTES_PER_GROUP: u64 = 256 << 10;
/// A segment of which so small a part is live is emptied in any case.
const LITTLE: u64 = 16;

/// Entries that are copied out of an old segment.
#[derive(Debug)]
pub(super) struct Copied {
    /// Shard whose log the entries are of.
    pub(super) shard: ShardId,
    /// Replica that the log belongs to.
    pub(super) replica: ReplicaId,
    /// Entries to copy, with consecutive indexes.
    pub(super) entries: Vec<LogEntry>,
}

/// A segment that is being emptied, so that its file can be used again.
#[derive(Debug)]
pub(super) struct Cleaning {
    segment: Segment,
    /// Those that may have entries in it still.
    shards: Vec<ShardId>,
}

/// The oldest segment, if it is worth emptying. `starved` = there is no space for another segment.
pub(super) fn choose(
    config: &LogConfig,
    index: &Index,
    closed: &BTreeMap<u64, Closed>,
    starved: bool,
) -> Result<Option<Cleaning>, LogError> {
    let Some((&oldest, segment)) = closed.first_key_value().filter(|_| closed.len() > 1) else { return Ok(None) };
    let live_bytes = index.live.bytes(oldest);
    let is_little = live_bytes * LITTLE <= segment.capacity;
    let is_worth_it = starved && live_bytes * 2 <= segment.capacity;
    let written: u64 = closed.values().map(|closed| closed.written).sum();
    let live: u64 = closed.keys().map(|&number| index.live.bytes(number)).sum();
    let mostly_dead = written > 2 * live + 2 * config.segment_bytes;
    if !(is_little || mostly_dead || is_worth_it) {
        return Ok(None);
    }
    let segment = Segment::open(&config.folder, oldest)?;
    Ok(Some(Cleaning { segment, shards: index.shards_in(oldest) }))
}

impl Cleaning {
    /// The next entries to copy. `None` = there are none left.
    pub(super) fn next(&mut self, index: &Index, salt: u64) -> Result<Option<Vec<Copied>>, LogError> {
        let mut copied = Vec::new();
        let (mut bytes, mut buffer) = (0, Vec::new());
        while let Some(&shard) = self.shards.last() {
            let Some(replica) = index.replicas.get(&shard) else {
                self.shards.pop();
                continue;
            };
            for extent in replica.extents.iter().filter(|extent| extent.location.segment == self.segment.number) {
                if bytes >= COPIED_BYTES_PER_GROUP {
                    return Ok(Some(copied));
                }
                bytes += u64::from(extent.location.bytes);
                let entries = self.read(extent, salt, &mut buffer)?;
                copied.push(Copied { shard, replica: replica.replica, entries });
            }
            self.shards.pop();
        }
        Ok(Some(copied).filter(|copied| !copied.is_empty()))
    }

    fn read(&self, extent: &Extent, salt: u64, buffer: &mut Vec<u8>) -> Result<Vec<LogEntry>, LogError> {
        let payload = self.segment.read_record(salt, extent.location, buffer)?;
        let offset = u64::from(extent.location.offset);
        body::decode_entries(payload, extent.first..=extent.last)
            .map_err(|_| LogError::Damaged { segment: self.segment.number, offset })
    }
}
