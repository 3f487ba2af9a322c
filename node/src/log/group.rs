//! Builds the bytes of one group: the records that one write and one fsync bring to disk together.

use skerry_core::ids::ShardId;

use super::extents::Location;
use super::format::{FIRST_OF_GROUP, FRESH, Kind, LAST_OF_GROUP, RECORD_HEADER_BYTES, RecordHeader, Seed, end_record};

/// What a record costs beside its payload.
pub(super) const FRAME_BYTES_MAX: usize = RECORD_HEADER_BYTES + 8;

/// A record's head, before it is framed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Framed {
    /// Kind of the record.
    pub(super) kind: Kind,
    /// Shard that the record belongs to.
    pub(super) shard: ShardId,
    /// Sequence number of the record within its shard.
    pub(super) sequence: u64,
    /// True for the first record of a replica.
    pub(super) fresh: bool,
}

/// A record does not fit a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record has more than 4 GiB")]
pub(super) struct TooLarge;

/// One group. The buffer is used again for the next.
#[derive(Debug, Default)]
pub(super) struct Group {
    bytes: Vec<u8>,
    place: Option<Place>,
    /// The last record, whose header is written when it is known whether another follows.
    open: Option<(usize, RecordHeader)>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    seed: Seed,
    offset: usize,
    group: u64,
}

/// A buffer that grew beyond this is given back after its group.
const BUFFER_BYTES_KEPT: usize = 8 << 20;

impl Group {
    /// Starts anew, for this place of a segment.
    pub(super) fn begin(&mut self, seed: Seed, offset: usize, group: u64) {
        self.bytes.clear();
        self.bytes.shrink_to(BUFFER_BYTES_KEPT);
        self.open = None;
        self.place = Some(Place { seed, offset, group });
    }

    /// Appends a record to the group.
    pub(super) fn push(
        &mut self,
        framed: Framed,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(RecordHeader, Location), TooLarge> {
        let place = self.place.ok_or(TooLarge)?;
        let first = self.open.is_none();
        self.close_record(0);
        let at = self.bytes.len();
        self.bytes.resize(at + RECORD_HEADER_BYTES, 0);
        encode(&mut self.bytes);
        let payload = &self.bytes[at + RECORD_HEADER_BYTES..];
        let header = RecordHeader {
            length: u32::try_from(payload.len()).map_err(|_| TooLarge)?,
            payload_crc: crc32c::crc32c(payload),
            group: place.group,
            shard: framed.shard.0,
            sequence: framed.sequence,
            kind: framed.kind,
            flags: if first { FIRST_OF_GROUP } else { 0 } | if framed.fresh { FRESH } else { 0 },
        };
        end_record(&mut self.bytes);
        self.open = Some((at, header));
        let offset = u32::try_from(place.offset + at).map_err(|_| TooLarge)?;
        let bytes = u32::try_from(header.bytes()).map_err(|_| TooLarge)?;
        Ok((header, Location { segment: place.seed.segment, offset, bytes }))
    }

    /// The whole group, ready to be written. Empty = there is nothing to write.
    pub(super) fn finish(&mut self) -> &[u8] {
        self.close_record(LAST_OF_GROUP);
        &self.bytes
    }

    fn close_record(&mut self, flags: u8) {
        let (Some((at, mut header)), Some(place)) = (self.open, self.place) else { return };
        header.flags |= flags;
        let encoded = header.encode(place.seed, place.offset + at);
        self.bytes[at..at + RECORD_HEADER_BYTES].copy_from_slice(&encoded);
    }
}
