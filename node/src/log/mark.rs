//! What tells whether a log is still there: kept outside of it, and compared before anything is written to it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::format::{BadSegmentHeader, FORMAT_VERSION, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::{LogError, segment};
use crate::newer::Newer;

/// A log, and how far it reached at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogMark {
    /// Drawn for the log when it was made.
    pub salt: u64,
    /// Number of a segment that was there.
    pub newest: u64,
}

/// What lies in a log's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// There is no segment in the folder.
    Nothing,
    /// One segment without a record: a log that was just made.
    Unused {
        /// Salt of the log, as the segment's header says. `None` = it cannot be read.
        salt: Option<u64>,
    },
    /// There are segments with records.
    Segments {
        /// The highest number of a segment.
        newest: u64,
        /// The salts that they name, once each. Segments whose headers cannot be read name none.
        salts: Vec<u64>,
    },
}

impl Found {
    /// Why this is not the log of the mark. `None` = it is, as far as a mark tells.
    pub fn differs_from(&self, mark: LogMark) -> Option<String> {
        match self {
            Self::Nothing => Some("it has no segment".to_owned()),
            Self::Unused { salt } if mark.newest > 1 || *salt != Some(mark.salt) => Some("it is a new log".to_owned()),
            Self::Segments { newest, .. } if *newest < mark.newest => {
                Some(format!("it ends with segment {newest}, segment {} was there", mark.newest))
            }
            Self::Segments { salts, .. } if !salts.contains(&mark.salt) => Some("it is another log".to_owned()),
            Self::Unused { .. } | Self::Segments { .. } => None,
        }
    }
}

/// Looks into a log's folder, which may be absent. Changes nothing.
pub fn find(folder: &Path) -> Result<Found, LogError> {
    let is_there = folder.try_exists().map_err(LogError::io("look at", folder))?;
    let numbers = if is_there { segment::list(folder)? } else { Vec::new() };
    let Some(&newest) = numbers.last() else { return Ok(Found::Nothing) };
    let mut salts = Vec::new();
    for number in &numbers {
        let path = segment::path_of(folder, *number);
        let failed = LogError::io("read", &path);
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        let file = File::open(&path).map_err(&failed)?;
        file.take(SEGMENT_HEADER_BYTES as u64).read_to_end(&mut bytes).map_err(&failed)?;
        match SegmentHeader::decode(&bytes) {
            Ok(header) if !salts.contains(&header.salt) => salts.push(header.salt),
            Ok(_) | Err(BadSegmentHeader::Unreadable) => {}
            Err(BadSegmentHeader::Version(found)) => return Err(Newer::format(&path, found, FORMAT_VERSION).into()),
        }
    }
    let is_unused = numbers == [1] && has_no_record(folder)?;
    Ok(if is_unused { Found::Unused { salt: salts.first().copied() } } else { Found::Segments { newest, salts } })
}

fn has_no_record(folder: &Path) -> Result<bool, LogError> {
    let path = segment::path_of(folder, 1);
    let failed = LogError::io("read", &path);
    let mut file = File::open(&path).map_err(&failed)?;
    let mut block = vec![0; 1 << 16];
    let mut at = 0;
    loop {
        match file.read(&mut block).map_err(&failed)? {
            0 => return Ok(true),
            read => {
                let records = block[..read].iter().zip(at..).any(|(byte, at)| *byte != 0 && at >= SEGMENT_HEADER_BYTES);
                if records {
                    return Ok(false);
                }
                at += read;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_ends_earlier_or_is_another_or_is_gone_is_not_the_one_that_was_noted() {
        let mark = LogMark { salt: 5, newest: 7 };
        let segments = |newest, salts: &[u64]| Found::Segments { newest, salts: salts.to_vec() };
        for same in [segments(7, &[5]), segments(8, &[5]), segments(7, &[9, 5])] {
            assert_eq!(same.differs_from(mark), None, "{same:?}");
        }
        for other in
            [Found::Nothing, Found::Unused { salt: Some(5) }, segments(6, &[5]), segments(7, &[9]), segments(7, &[])]
        {
            assert!(other.differs_from(mark).is_some(), "{other:?}");
        }
        let first = LogMark { newest: 1, ..mark };
        assert_eq!(Found::Unused { salt: Some(5) }.differs_from(first), None);
        assert!(Found::Unused { salt: Some(6) }.differs_from(first).is_some());
    }
}
