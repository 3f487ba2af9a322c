//! The bytes of a segment: its header, and the frame around each record.
//!
//! ```text
//! segment  header, twice (4 KiB) | record | record | … | zeros
//! record   header (40) | payload | end mark (1) | padding to 8
//! header   crc u32 | length u32 | payload crc u32 | group u64 | shard u64 | sequence u64 | kind u8 | flags u8 | 0 | mark
//! ```
//! Numbers are little-endian. The header's CRC also covers the log's salt, the segment and the offset, so that bytes
//! which a client wrote into a value can never pass for a record. The marks are not zero: in a zeroed segment
//! a record whose end mark is there was written to its end.

/// Version of everything under this folder.
pub(super) const FORMAT_VERSION: u32 = 1;
/// Where the first record of a segment lies.
pub(super) const SEGMENT_HEADER_BYTES: usize = 4096;
/// Size of a record's header, in bytes.
pub(super) const RECORD_HEADER_BYTES: usize = 40;
/// Records begin at multiples of this.
pub(super) const ALIGNMENT: usize = 8;
/// What a disk writes as a whole.
const SECTOR_BYTES: usize = 512;

const MAGIC: [u8; 8] = *b"SKERRYLG";
const MARK: u8 = 0xA5;
const HEADER_COPIES: [usize; 2] = [0, SEGMENT_HEADER_BYTES / 2];
const HEADER_COPY_BYTES: usize = 40;

/// The record begins a group: what one fsync made durable together.
pub(super) const FIRST_OF_GROUP: u8 = 1;
/// The record ends a group.
pub(super) const LAST_OF_GROUP: u8 = 2;
/// The first record of a replica: everything before it of its shard is void.
pub(super) const FRESH: u8 = 4;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Counted from 1, without gaps.
    pub(super) number: u64,
    /// The same in all segments of one log.
    pub(super) salt: u64,
    /// Length of the segment's file, in bytes.
    pub(super) capacity: u64,
}

/// Why a segment's header cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadSegmentHeader {
    /// Neither copy of the header is whole.
    Unreadable,
    /// The header was written by a later version of the format, of this number.
    Version(u32),
}

impl SegmentHeader {
    /// The bytes of both copies of the header, with zeros between them.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(HEADER_COPY_BYTES);
        copy.extend_from_slice(&MAGIC);
        copy.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        copy.extend_from_slice(&self.number.to_le_bytes());
        copy.extend_from_slice(&self.salt.to_le_bytes());
        copy.extend_from_slice(&self.capacity.to_le_bytes());
        copy.extend_from_slice(&crc32c::crc32c(&copy).to_le_bytes());
        let mut block = vec![0; SEGMENT_HEADER_BYTES];
        for at in HEADER_COPIES {
            block[at..at + HEADER_COPY_BYTES].copy_from_slice(&copy);
        }
        block
    }

    /// From the first bytes of a file.
    pub(super) fn decode(file: &[u8]) -> Result<Self, BadSegmentHeader> {
        for at in HEADER_COPIES {
            let Some(copy) = file.get(at..at + HEADER_COPY_BYTES) else { continue };
            if copy[..8] != MAGIC || u32_at(copy, 36) != crc32c::crc32c(&copy[..36]) {
                continue;
            }
            let version = u32_at(copy, 8);
            if version != FORMAT_VERSION {
                return Err(BadSegmentHeader::Version(version));
            }
            return Ok(Self { number: u64_at(copy, 12), salt: u64_at(copy, 20), capacity: u64_at(copy, 28) });
        }
        Err(BadSegmentHeader::Unreadable)
    }
}

/// The kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A replica's reset, entries, hard state, or end.
    Write,
    /// The new start of a replica's log.
    Cut,
    /// Entries of a replica copied from an old segment: they replace their like and nothing after them.
    Move,
    /// The state of all replicas, at the start of a segment.
    Checkpoint,
    /// Nothing: proves that the group before it is durable.
    Seal,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Write => 1,
            Self::Cut => 2,
            Self::Move => 3,
            Self::Checkpoint => 4,
            Self::Seal => 5,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Write, Self::Cut, Self::Move, Self::Checkpoint, Self::Seal].into_iter().find(|kind| kind.code() == code)
    }
}

/// A record's frame without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    /// Length of the payload, in bytes.
    pub(super) length: u32,
    /// CRC of the payload.
    pub(super) payload_crc: u32,
    /// Rises by one with each fsync, through all segments.
    pub(super) group: u64,
    /// Whose; 0 also for records of no shard.
    pub(super) shard: u64,
    /// Counts the shard's records since the fresh one, so that a missing one is seen.
    pub(super) sequence: u64,
    /// Kind of the record.
    pub(super) kind: Kind,
    /// [`FIRST_OF_GROUP`] and its like.
    pub(super) flags: u8,
}

/// What a header's CRC covers beside the header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seed {
    /// Salt of the log.
    pub(super) salt: u64,
    /// Number of the segment.
    pub(super) segment: u64,
}

impl Seed {
    pub(super) fn crc(self, offset: usize, rest_of_header: &[u8]) -> u32 {
        let mut place = [0; 24];
        place[..8].copy_from_slice(&self.salt.to_le_bytes());
        place[8..16].copy_from_slice(&self.segment.to_le_bytes());
        place[16..].copy_from_slice(&(offset as u64).to_le_bytes());
        crc32c::crc32c_append(crc32c::crc32c(&place), rest_of_header)
    }
}

impl RecordHeader {
    /// For a record at this offset of its segment.
    pub(super) fn encode(&self, seed: Seed, offset: usize) -> [u8; RECORD_HEADER_BYTES] {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.group.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.shard.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[36] = self.kind.code();
        bytes[37] = self.flags;
        bytes[39] = MARK;
        let crc = seed.crc(offset, &bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` = these bytes are no header of a record at this offset.
    pub(super) fn decode(bytes: &[u8; RECORD_HEADER_BYTES], seed: Seed, offset: usize) -> Option<Self> {
        // The cheapest first: this runs at every place of a damaged segment.
        if bytes[39] != MARK {
            return None;
        }
        let kind = Kind::from_code(bytes[36])?;
        if u32_at(bytes, 0) != seed.crc(offset, &bytes[4..]) {
            return None;
        }
        Some(Self {
            length: u32_at(bytes, 4),
            payload_crc: u32_at(bytes, 8),
            group: u64_at(bytes, 12),
            shard: u64_at(bytes, 20),
            sequence: u64_at(bytes, 28),
            kind,
            flags: bytes[37],
        })
    }

    /// True if these bytes are the header of a record at this offset, of a kind that a later version has added.
    pub(super) fn is_of_later_kind(bytes: &[u8; RECORD_HEADER_BYTES], seed: Seed, offset: usize) -> bool {
        bytes[39] == MARK && Kind::from_code(bytes[36]).is_none() && u32_at(bytes, 0) == seed.crc(offset, &bytes[4..])
    }

    /// Undoes the flip of one bit, if that is all that is wrong.
    pub(super) fn repair(bytes: &[u8; RECORD_HEADER_BYTES], seed: Seed, offset: usize) -> Option<Self> {
        (0..RECORD_HEADER_BYTES * 8).find_map(|bit| {
            let mut flipped = *bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            Self::decode(&flipped, seed, offset)
        })
    }

    /// Header, payload and end mark; without padding.
    pub(super) fn bytes(&self) -> usize {
        RECORD_HEADER_BYTES + self.length as usize + 1
    }

    /// True if all of `flags` are set.
    pub(super) fn is(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }
}

/// Puts the end mark and the padding after a payload.
pub(super) fn end_record(bytes: &mut Vec<u8>) {
    bytes.push(MARK);
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
}

/// True if a crash in the middle of writing `range` of a zeroed segment may have left it as it is: its last byte, a
/// mark, is not there, or a whole sector's part of it is zero. False proves that it was once written to its end.
pub(super) fn may_be_torn(segment: &[u8], range: std::ops::Range<usize>) -> bool {
    // The mark with one bit flipped is still taken for a mark, a zero with one bit flipped is not.
    let marked = (segment[range.end - 1] ^ MARK).count_ones() <= 1;
    let mut from = range.start;
    let mut blank_sector = false;
    while from < range.end {
        let to = ((from / SECTOR_BYTES + 1) * SECTOR_BYTES).min(range.end);
        blank_sector |= is_zero(&segment[from..to]);
        from = to;
    }
    !marked || blank_sector
}

/// True if there are only zeros.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    static ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| *chunk == ZEROS[..chunk.len()])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: Seed = Seed { salt: 77, segment: 3 };

    fn header() -> RecordHeader {
        RecordHeader {
            length: 300,
            payload_crc: 0xDEAD_BEEF,
            group: 9,
            shard: 12,
            sequence: 4,
            kind: Kind::Move,
            flags: FIRST_OF_GROUP | FRESH,
        }
    }

    #[test]
    fn a_record_header_is_valid_only_at_its_own_place() {
        let bytes = header().encode(SEED, 4096);
        assert_eq!(RecordHeader::decode(&bytes, SEED, 4096), Some(header()));
        assert_eq!(RecordHeader::decode(&bytes, SEED, 4104), None);
        assert_eq!(RecordHeader::decode(&bytes, Seed { salt: 78, ..SEED }, 4096), None);
        assert_eq!(RecordHeader::decode(&bytes, Seed { segment: 4, ..SEED }, 4096), None);
    }

    #[test]
    fn every_single_flipped_bit_of_a_record_header_is_repaired() {
        for bit in 0..RECORD_HEADER_BYTES * 8 {
            let mut bytes = header().encode(SEED, 4096);
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecordHeader::decode(&bytes, SEED, 4096), None);
            assert_eq!(RecordHeader::repair(&bytes, SEED, 4096), Some(header()), "bit {bit}");
        }
    }

    #[test]
    fn a_segment_header_survives_the_loss_of_either_copy() {
        let header = SegmentHeader { number: 5, salt: 6, capacity: 1 << 20 };
        for lost in [0..100, 2000..3000] {
            let mut bytes = header.encode();
            bytes[lost].fill(0xFF);
            assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        }
        assert_eq!(SegmentHeader::decode(&[0; 4096]), Err(BadSegmentHeader::Unreadable));
    }

    #[test]
    fn a_later_format_version_is_told_apart_from_damage() {
        let mut bytes = SegmentHeader { number: 5, salt: 6, capacity: 1 << 20 }.encode();
        bytes[8..12].copy_from_slice(&2u32.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..36]);
        bytes[36..40].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(BadSegmentHeader::Version(2)));
    }

    #[test]
    fn a_record_without_its_end_or_without_a_sector_may_be_torn() {
        let mut segment = vec![7; 4096];
        segment[1999] = MARK;
        assert!(!may_be_torn(&segment, 8..2000));
        segment[1999] ^= 0x10;
        assert!(!may_be_torn(&segment, 8..2000), "a flipped bit in the mark is no tear");
        segment[1999] = MARK;
        segment[512..1024].fill(0);
        assert!(may_be_torn(&segment, 8..2000));
        segment[512] = 1;
        assert!(!may_be_torn(&segment, 8..2000));
        segment[1999] = 0;
        assert!(may_be_torn(&segment, 8..2000));
    }
}
