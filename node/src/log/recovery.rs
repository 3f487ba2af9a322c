//! Reads an old log: what every replica had, which replicas are lost, and where the log goes on.
//!
//! A record that cannot be read is either the tail that a crash tore, which was never answered for and is cut, or damage to
//! what was durable, after which a replica is whole only if its later records prove it. These tell them apart:
//! - A group is written only after the fsync of the group before it. So only the last group can be torn, and the writer
//!   soon puts a seal, a group of its own, behind the last one.
//! - Segments are zeroed. A record whose end mark is there, and none of whose sectors is blank, was written to its end.
//!
//! A torn group is cut whole. What remains undecided counts as torn: the last group, not yet sealed, with a damaged
//! record that has a whole sector of zeros in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use skerry_core::ids::ShardId;
use skerry_core::log::RecoveredLog;

use super::body::BadPayload;
use super::extents::Location;
use super::format::{FIRST_OF_GROUP, Kind, LAST_OF_GROUP, RecordHeader, SEGMENT_HEADER_BYTES, Seed};
use super::index::Index;
use super::scan::{Found, Item, scan};
use super::segment::{self, Segment};
use super::{Damage, LogConfig, LogError, Recovered, body, checkpoint};
use crate::disk;
use crate::newer::Newer;

/// What was read from a log that was there at the start.
#[derive(Debug)]
pub(super) struct Replayed {
    /// What the log holds of all replicas, and where.
    pub(super) index: Index,
    /// All but the last segment: number, and bytes of records beside the checkpoint.
    pub(super) closed: BTreeMap<u64, Closed>,
    /// The last segment, which is appended to.
    pub(super) last: Segment,
    /// Bytes of records beside the checkpoint in it.
    pub(super) written: u64,
    /// Where the next group is to be written in the last segment, in bytes.
    pub(super) offset: u64,
    /// Number that the next group gets.
    pub(super) group: u64,
    /// Salt of the log. `None` = no segment can be read.
    pub(super) salt: Option<u64>,
    /// What was found broken and not torn.
    pub(super) damage: Vec<Damage>,
    /// The last segment cannot be appended to, or does not say yet who is lost.
    pub(super) must_rotate: bool,
}

/// A segment that is no longer appended to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Closed {
    /// Length of the file, in bytes.
    pub(super) capacity: u64,
    /// Bytes of records beside the checkpoint.
    pub(super) written: u64,
}

/// Reads all segments, of which there is at least one.
pub(super) fn replay(config: &LogConfig, numbers: &[u64]) -> Result<Replayed, LogError> {
    let (folder, sync) = (&config.folder, &config.sync);
    let mut replay = Replay { salt: config.salt, ..Replay::default() };
    disk::sync_folder(folder).map_err(LogError::io("sync", folder))?;
    let mut closed = BTreeMap::new();
    let mut last = None;
    for &number in numbers {
        let (segment, header, bytes) = Segment::read(folder, number)?;
        // The process before may have died between a write and its fsync: what can be read now counts from now on.
        sync(&segment.file).map_err(LogError::io("sync a segment of", folder))?;
        let salt = header.map(|header| header.salt);
        let is_last = numbers.last() == Some(&number);
        let end = replay.segment(number, salt, &bytes, is_last);
        if let Some((offset, what)) = replay.newer {
            let what = format!("it has {what} at {offset} that is not known here");
            return Err(Newer::found(&segment::path_of(folder, number), what).into());
        }
        if header.is_some_and(|header| header.capacity != segment.capacity) {
            // It was made in its full length: records at its end may be missing.
            replay.damaged(number, usize::try_from(segment.capacity).unwrap_or(usize::MAX));
        }
        if is_last {
            if end.torn {
                let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1) as u64;
                let failed = LogError::io("cut the torn tail of", folder);
                segment::zero(&segment.file, end.offset as u64, used, sync).map_err(failed)?;
            }
            last = Some((segment, end.offset as u64));
        } else {
            closed.insert(number, Closed { capacity: segment.capacity, written: replay.written });
        }
    }
    let (last, end) =
        last.ok_or_else(|| LogError::io("find a segment in", folder)(std::io::ErrorKind::NotFound.into()))?;
    replay.index.finish_replay();
    let newly_lost = replay.index.replicas.iter().any(|(shard, r)| r.lost && !replay.told_lost.contains(shard));
    Ok(Replayed {
        must_rotate: replay.damaged_here || newly_lost,
        index: replay.index,
        closed,
        written: replay.written,
        offset: end,
        // After damage a number is left out, so that the next reading does not take the damage for free space.
        group: replay.previous.map_or(0, |previous| previous.group) + 1 + u64::from(replay.damaged_here),
        salt: replay.salt,
        damage: replay.damage,
        last,
    })
}

#[derive(Debug, Default)]
struct Replay {
    index: Index,
    salt: Option<u64>,
    previous: Option<Previous>,
    previous_segment: Option<u64>,
    damage: Vec<Damage>,
    /// There is damage in the segment that was read last.
    damaged_here: bool,
    /// Shards that the latest checkpoint says are lost.
    told_lost: BTreeSet<ShardId>,
    /// Of the segment that was read last.
    written: u64,
    /// Where something was met that is whole, and that a later version of this program wrote; and what it is.
    newer: Option<(usize, &'static str)>,
}

/// Where the records of a segment end.
#[derive(Debug, Clone, Copy)]
struct End {
    offset: usize,
    /// Bytes of a torn group follow, to be zeroed.
    torn: bool,
}

/// Group of the record before, and whether that record ends the group.
#[derive(Debug, Clone, Copy)]
struct Previous {
    group: u64,
    ends_group: bool,
}

impl Previous {
    fn of(found: &Found) -> Self {
        Self { group: found.header.group, ends_group: found.header.is(LAST_OF_GROUP) }
    }

    /// True if no record is missing between this and `next`, given that no unreadable bytes lie between them either.
    fn continues_with(self, next: &Found) -> bool {
        if self.ends_group {
            self.group_follows(next)
        } else {
            next.header.group == self.group && !next.header.is(FIRST_OF_GROUP)
        }
    }

    /// True if no record is missing between this and `next`, whatever bytes lie between them.
    fn group_follows(self, next: &Found) -> bool {
        self.ends_group && next.header.is(FIRST_OF_GROUP) && next.header.group == self.group + 1
    }
}

impl Replay {
    /// Takes in the records of one segment.
    fn segment(&mut self, number: u64, salt: Option<u64>, bytes: &[u8], is_last: bool) -> End {
        self.damaged_here = false;
        self.written = 0;
        let gap = self.previous_segment.replace(number).is_some_and(|previous| previous + 1 != number);
        self.salt = self.salt.or(salt);
        let Some(salt) = salt.filter(|salt| self.salt == Some(*salt)) else {
            self.damaged(number, 0);
            return End { offset: bytes.len(), torn: false };
        };
        if gap {
            self.damaged(number, 0);
        }
        let seed = Seed { salt, segment: number };
        let mut items = scan(bytes, seed);
        let offset = items.last().map_or(SEGMENT_HEADER_BYTES, |item| match item {
            Item::Record(found) => found.end(),
            Item::Hole(_) => bytes.len(),
        });
        let mut end = End { offset, torn: false };
        if is_last && let Some(cut) = torn_tail(&items, self.previous) {
            items.retain(|item| item.offset() < cut);
            end = End { offset: cut, torn: true };
        }
        let mut hole = None;
        for item in &items {
            match item {
                Item::Hole(at) => {
                    hole = Some(at.offset);
                    let frame = bytes.get(at.offset..).and_then(|rest| rest.first_chunk());
                    if frame.is_some_and(|frame| RecordHeader::is_of_later_kind(frame, seed, at.offset)) {
                        self.newer.get_or_insert((at.offset, "a record of a kind"));
                    }
                }
                Item::Record(found) => {
                    self.record(number, found, &bytes[found.payload()], hole.take());
                }
            }
        }
        // Of an earlier segment too: a torn tail is cut before another one follows.
        if let Some(offset) = hole {
            self.damaged(number, offset);
        }
        end
    }

    fn record(&mut self, segment: u64, found: &Found, payload: &[u8], hole: Option<usize>) {
        let header = &found.header;
        let nothing_missing = match (self.previous, hole) {
            (None, None) => header.is(FIRST_OF_GROUP),
            (None, Some(_)) => false,
            (Some(previous), None) => previous.continues_with(found),
            (Some(previous), Some(_)) => previous.group_follows(found),
        };
        if !nothing_missing {
            let is_before_segment = hole.is_none() && found.offset == SEGMENT_HEADER_BYTES;
            // What is missing before a segment is no reason not to append to it.
            let damaged_here = self.damaged_here || !is_before_segment;
            self.damaged(segment, hole.unwrap_or(found.offset));
            self.damaged_here = damaged_here;
        }
        self.previous = Some(Previous::of(found));
        let payload = Some(payload).filter(|_| found.whole);
        match header.kind {
            Kind::Seal => {}
            Kind::Checkpoint => self.checkpoint(segment, found, payload),
            Kind::Write | Kind::Cut | Kind::Move => self.of_replica(segment, found, payload),
        }
    }

    fn checkpoint(&mut self, segment: u64, found: &Found, payload: Option<&[u8]>) {
        if found.header.is(FIRST_OF_GROUP) {
            self.told_lost.clear();
        }
        let Some(replicas) = self.read(found, payload, checkpoint::decode) else {
            // No record of a replica is missing; a replica that only this checkpoint knew is missed at its next record.
            self.note(segment, found.offset, None);
            return;
        };
        for counted in &replicas {
            self.index.replay_census(counted);
        }
        self.told_lost.extend(replicas.iter().filter(|counted| counted.lost).map(|counted| counted.shard));
    }

    fn of_replica(&mut self, segment: u64, found: &Found, payload: Option<&[u8]>) {
        let head = self.read(found, payload, body::decode_head);
        if head.is_none() {
            self.note(segment, found.offset, Some(ShardId(found.header.shard)));
        }
        // Offsets and lengths fit: a segment has less than 4 GiB.
        let offset = u32::try_from(found.offset).unwrap_or(u32::MAX);
        let bytes = u32::try_from(found.header.bytes()).unwrap_or(u32::MAX);
        self.written += u64::from(bytes);
        self.index.replay(&found.header, head.as_ref(), Location { segment, offset, bytes });
    }

    /// What a payload says. One that is whole, as its checksums prove, and says nothing here is of a later version.
    fn read<T>(
        &mut self,
        found: &Found,
        payload: Option<&[u8]>,
        decode: impl Fn(&[u8]) -> Result<T, BadPayload>,
    ) -> Option<T> {
        let decoded = decode(payload?);
        if decoded.is_err() {
            self.newer.get_or_insert((found.offset, "a record with content"));
        }
        decoded.ok()
    }

    fn damaged(&mut self, segment: u64, offset: usize) {
        self.note(segment, offset, None);
        self.index.suspect_all();
    }

    fn note(&mut self, segment: u64, offset: usize, shard: Option<ShardId>) {
        self.damage.push(Damage { segment, offset: offset as u64, shard });
        self.damaged_here = true;
    }
}

/// Where a torn last group begins, if the segment ends in one.
fn torn_tail(items: &[Item], before: Option<Previous>) -> Option<usize> {
    let records = || items.iter().filter_map(|item| if let Item::Record(found) = item { Some(found) } else { None });
    let last_group = records().map(|found| found.header.group).max();
    let is_earlier = |item: &Item| match item {
        Item::Record(found) => Some(found.header.group) != last_group,
        Item::Hole(_) => false,
    };
    // Holes right before the last group are of it, provided that the group before it is there to its end.
    let start = items.iter().rposition(is_earlier).map_or(0, |at| at + 1);
    let tail = &items[start..];
    let before = match start.checked_sub(1).map(|at| &items[at]) {
        Some(Item::Record(found)) => Some(Previous::of(found)),
        Some(Item::Hole(_)) | None => before,
    };
    // Before the first group of a log there is nothing, and it is the last as long as nothing follows it.
    let before = before.unwrap_or(Previous { group: 0, ends_group: true });
    if !before.ends_group || last_group.is_some_and(|group| group > before.group + 1) {
        return None;
    }
    let group_end = tail.iter().position(|item| matches!(item, Item::Record(f) if f.header.is(LAST_OF_GROUP)));
    let (group, rest) = tail.split_at(group_end.map_or(tail.len(), |at| at + 1));
    let broken = group.iter().any(|item| !matches!(item, Item::Record(found) if found.whole));
    if group_end.is_some() && !broken {
        // The last group is whole; behind it there may be the beginning of one of which no record can be read.
        return rest.first().filter(|item| torn(item)).map(Item::offset);
    }
    let unfinished = group_end.is_none() && !matches!(group.last(), Some(Item::Hole(_)));
    (!group.is_empty() && (unfinished || group.iter().any(torn))).then(|| group[0].offset())
}

fn torn(item: &Item) -> bool {
    match item {
        Item::Record(found) => found.torn,
        Item::Hole(hole) => hole.torn,
    }
}

/// Reads the live entries of all replicas.
pub(super) fn read_back(folder: &Path, index: &Index, salt: u64) -> Result<Recovered, LogError> {
    let mut segments = BTreeMap::new();
    let mut buffer = Vec::new();
    let mut recovered = Recovered::default();
    for (&shard, replica) in &index.replicas {
        if replica.lost {
            recovered.lost.insert(shard);
            continue;
        }
        let mut entries = Vec::new();
        for extent in replica.extents.iter() {
            let number = extent.location.segment;
            if let std::collections::btree_map::Entry::Vacant(vacant) = segments.entry(number) {
                vacant.insert(Segment::open(folder, number)?);
            }
            let payload = segments[&number].read_record(salt, extent.location, &mut buffer)?;
            // Its checksums were right.
            let newer = |_| {
                let what = format!("it has entries at {} that are not known here", extent.location.offset);
                Newer::found(&segment::path_of(folder, number), what)
            };
            entries.extend(body::decode_entries(payload, extent.first..=extent.last).map_err(newer)?);
        }
        let log =
            RecoveredLog { replica: replica.replica, start: replica.start, entries, hard_state: replica.hard_state };
        recovered.logs.insert(shard, log);
    }
    Ok(recovered)
}

#[cfg(test)]
mod tests;
