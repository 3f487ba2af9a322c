//! The files of the log: their names, making them, reading them.
//!
//! A segment is zeroed to its full length before it gets its name, so that appending to it changes no metadata.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::LogError;
use super::extents::Location;
use super::format::{FORMAT_VERSION, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES, Seed, SegmentHeader};
use crate::disk::{self, SyncFile};
use crate::newer::Newer;

const SUFFIX: &str = ".log";
const ZEROS_BYTES: usize = 1 << 20;
/// Zeros are synced in steps, so that they do not hold up the fsyncs of the log for long.
const ZEROS_PER_SYNC: u64 = 4 << 20;

/// A segment that records are appended to or read from.
#[derive(Debug)]
pub(super) struct Segment {
    /// Number of the segment. Later segments have higher ones.
    pub(super) number: u64,
    /// The segment's open file.
    pub(super) file: File,
    /// Length of the file, in bytes.
    pub(super) capacity: u64,
}

/// Path of the file of a segment with this number.
pub(super) fn path_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:020}{SUFFIX}"))
}

/// Numbers of all segments in a folder, in order.
pub(super) fn list(folder: &Path) -> Result<Vec<u64>, LogError> {
    let failed = LogError::io("list", folder);
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder).map_err(&failed)? {
        let name = entry.map_err(&failed)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes a file of zeros, durable but for its name.
pub(super) fn make_zeroed(path: &Path, capacity: u64, sync: &SyncFile) -> Result<File, LogError> {
    let failed = LogError::io("make", path);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(&failed)?;
    zero(&file, 0, capacity, sync).and_then(|()| file.set_len(capacity)).map_err(&failed)?;
    sync(&file).map_err(&failed)?;
    Ok(file)
}

/// Overwrites a range with zeros, and makes that durable.
pub(super) fn zero(file: &File, mut from: u64, to: u64, sync: &SyncFile) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES.min(usize::try_from(to.saturating_sub(from)).unwrap_or(ZEROS_BYTES))];
    let mut unsynced = 0;
    while from < to {
        let bytes = (to - from).min(zeros.len() as u64);
        file.write_all_at(&zeros[..usize::try_from(bytes).unwrap_or(0)], from)?;
        from += bytes;
        unsynced += bytes;
        if unsynced >= ZEROS_PER_SYNC || from == to {
            sync(file)?;
            unsynced = 0;
        }
    }
    Ok(())
}

impl Segment {
    /// Gives a zeroed file its header and its name, both durable.
    pub(super) fn name(
        folder: &Path,
        zeroed: (&Path, File),
        header: SegmentHeader,
        sync: &SyncFile,
    ) -> Result<Self, LogError> {
        let (old_path, file) = zeroed;
        let path = path_of(folder, header.number);
        let failed = LogError::io("name", &path);
        file.write_all_at(&header.encode(), 0).and_then(|()| sync(&file)).map_err(&failed)?;
        fs::rename(old_path, &path).and_then(|()| disk::sync_folder(folder)).map_err(&failed)?;
        Ok(Self { number: header.number, file, capacity: header.capacity })
    }

    /// Opens a segment to read single records.
    pub(super) fn open(folder: &Path, number: u64) -> Result<Self, LogError> {
        let path = path_of(folder, number);
        let failed = LogError::io("open", &path);
        let file = File::open(&path).map_err(&failed)?;
        let capacity = file.metadata().map_err(&failed)?.len();
        Ok(Self { number, file, capacity })
    }

    /// Opens a segment and reads all of it. The header is `None` if it is damaged.
    pub(super) fn read(folder: &Path, number: u64) -> Result<(Self, Option<SegmentHeader>, Vec<u8>), LogError> {
        let path = path_of(folder, number);
        let failed = LogError::io("read", &path);
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(&failed)?;
        let length = file.metadata().map_err(&failed)?.len();
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| failed(io::ErrorKind::FileTooLarge.into()))?];
        file.read_exact_at(&mut bytes, 0).map_err(&failed)?;
        let header = match SegmentHeader::decode(&bytes) {
            Ok(header) if header.number == number => Some(header),
            Ok(_) | Err(super::format::BadSegmentHeader::Unreadable) => None,
            Err(super::format::BadSegmentHeader::Version(found)) => {
                return Err(Newer::format(&path, found, FORMAT_VERSION).into());
            }
        };
        bytes.resize(bytes.len().max(SEGMENT_HEADER_BYTES), 0);
        Ok((Self { number, file, capacity: length }, header, bytes))
    }

    /// Reads one record back and checks it. The payload lies behind the header in `buffer`.
    pub(super) fn read_record<'a>(
        &self,
        salt: u64,
        location: Location,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], LogError> {
        let damaged = || LogError::Damaged { segment: self.number, offset: u64::from(location.offset) };
        buffer.resize(location.bytes as usize, 0);
        let read = self.file.read_exact_at(buffer, u64::from(location.offset));
        read.map_err(|source| LogError::Io {
            action: "read",
            path: format!("segment {}", self.number).into(),
            source,
        })?;
        let seed = Seed { salt, segment: self.number };
        let frame = buffer.first_chunk::<RECORD_HEADER_BYTES>().ok_or_else(damaged)?;
        let offset = location.offset as usize;
        let header = RecordHeader::decode(frame, seed, offset).or_else(|| RecordHeader::repair(frame, seed, offset));
        let header = header.ok_or_else(damaged)?;
        let end = RECORD_HEADER_BYTES + header.length as usize;
        let payload = buffer.get(RECORD_HEADER_BYTES..end).ok_or_else(damaged)?;
        if crc32c::crc32c(payload) != header.payload_crc {
            return Err(damaged());
        }
        Ok(payload)
    }
}
