//! Finds the records in the bytes of a segment, also behind bytes that cannot be read.

use std::ops::Range;

use super::format::{ALIGNMENT, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES, Seed, is_zero, may_be_torn};

/// Something found in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    /// A record, or at least its header.
    Record(Found),
    /// Bytes that are not zero and no record.
    Hole(Hole),
}

/// A record whose header is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Where the record's header begins in the segment, in bytes.
    pub(super) offset: usize,
    /// Header of the record.
    pub(super) header: RecordHeader,
    /// True if the payload is right too.
    pub(super) whole: bool,
    /// A crash while it was written may have left it as it is.
    pub(super) torn: bool,
}

/// Bytes of a segment that hold no readable record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hole {
    /// Where these bytes begin in the segment.
    pub(super) offset: usize,
    /// A crash while a record was written here may have left them as they are.
    pub(super) torn: bool,
}

impl Found {
    /// Where its payload lies in the segment.
    pub(super) fn payload(&self) -> Range<usize> {
        let from = self.offset + RECORD_HEADER_BYTES;
        from..from + self.header.length as usize
    }

    /// Where the next record begins in the segment, in bytes.
    pub(super) fn end(&self) -> usize {
        (self.offset + self.header.bytes()).next_multiple_of(ALIGNMENT)
    }
}

impl Item {
    /// Where the item begins in the segment, in bytes.
    pub(super) fn offset(&self) -> usize {
        match self {
            Self::Record(found) => found.offset,
            Self::Hole(hole) => hole.offset,
        }
    }
}

/// Everything in a segment, in order. What follows the last item is zero.
pub(super) fn scan(segment: &[u8], seed: Seed) -> Vec<Item> {
    let mut items = Vec::new();
    let mut offset = SEGMENT_HEADER_BYTES;
    while let Some(frame) = segment.get(offset..offset + RECORD_HEADER_BYTES) {
        if let Some(found) = record_at(segment, seed, offset) {
            items.push(Item::Record(found));
            offset = found.end();
            continue;
        }
        if is_zero(frame) && is_zero(&segment[offset..]) {
            return items;
        }
        let torn = may_be_torn(segment, offset..offset + RECORD_HEADER_BYTES);
        items.push(Item::Hole(Hole { offset, torn }));
        match next_record(segment, seed, offset + ALIGNMENT) {
            Some(next) => offset = next,
            None => return items,
        }
    }
    if offset < segment.len() && !is_zero(&segment[offset..]) {
        items.push(Item::Hole(Hole { offset, torn: true }));
    }
    items
}

fn record_at(segment: &[u8], seed: Seed, offset: usize) -> Option<Found> {
    let frame: &[u8; RECORD_HEADER_BYTES] = segment.get(offset..)?.first_chunk()?;
    if is_zero(frame) {
        return None;
    }
    if let Some(header) = RecordHeader::decode(frame, seed, offset) {
        return Some(judge(segment, offset, header)).flatten();
    }
    // A repaired header is believed only if the payload agrees with it.
    let header = RecordHeader::repair(frame, seed, offset)?;
    judge(segment, offset, header).filter(|found| found.whole)
}

/// `None` = the record would reach beyond the segment.
fn judge(segment: &[u8], offset: usize, header: RecordHeader) -> Option<Found> {
    let end = offset + header.bytes();
    let found = Found { offset, header, whole: false, torn: false };
    let payload = segment.get(offset..end).and(segment.get(found.payload()))?;
    let whole = crc32c::crc32c(payload) == header.payload_crc;
    Some(Found { whole, torn: !whole && may_be_torn(segment, offset..end), ..found })
}

fn next_record(segment: &[u8], seed: Seed, from: usize) -> Option<usize> {
    (from..segment.len()).step_by(ALIGNMENT).find(|&offset| {
        let frame = segment.get(offset..).and_then(|rest| rest.first_chunk());
        let header = frame.and_then(|frame| RecordHeader::decode(frame, seed, offset));
        header.and_then(|header| judge(segment, offset, header)).is_some_and(|found| found.whole)
    })
}
