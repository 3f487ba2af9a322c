//! A log that a later version has written is whole, and left as it is.

use std::fs;
use std::path::{Path, PathBuf};

use skerry_core::ids::{ReplicaId, ShardId};
use skerry_core::log::{EntryKind, HardState, LogEntry, LogWrite};
use skerry_core::node::LogBatch;

use super::super::format::{Kind, RECORD_HEADER_BYTES, SegmentHeader};
use super::super::{Log, LogConfig, SEGMENT_BYTES_MIN};
use super::*;

fn open(folder: &Path) -> Result<super::super::Opened, LogError> {
    Log::open(LogConfig { segment_bytes: SEGMENT_BYTES_MIN, ..LogConfig::new(folder) }, Box::new(|_| {}))
}

/// A log of one segment with some records.
fn written(folder: &Path) -> PathBuf {
    let log = open(folder).unwrap();
    for sequence in 1..=3 {
        let (data, context) = (vec![7; 100].into(), bytes::Bytes::new());
        let write = LogWrite {
            shard: ShardId(4),
            replica: ReplicaId(9),
            reset: (sequence == 1).then_some((0, 0)),
            entries: vec![LogEntry { index: sequence, term: 1, kind: EntryKind::Normal, data, context }],
            hard_state: Some(HardState { term: 1, vote: 1, commit: 0 }),
            destroyed: false,
        };
        log.handle.append(LogBatch { sequence, writes: vec![write] }).unwrap();
    }
    log.handle.close().unwrap();
    segment::path_of(folder, 1)
}

/// Changes the first record of a kind as a later version would write it, checksums included.
fn rewrite(path: &Path, kind: Kind, change: impl FnOnce(&mut [u8])) {
    let mut bytes = fs::read(path).unwrap();
    let seed = Seed { salt: SegmentHeader::decode(&bytes).unwrap().salt, segment: 1 };
    let of_kind = |item| match item {
        Item::Record(found) => Some(found).filter(|found: &Found| found.header.kind == kind),
        Item::Hole(_) => None,
    };
    let found = scan(&bytes, seed).into_iter().find_map(of_kind).unwrap();
    let end = found.payload().end;
    change(&mut bytes[found.offset..end]);
    let payload_crc = crc32c::crc32c(&bytes[found.payload()]);
    let frame = &mut bytes[found.offset..found.offset + RECORD_HEADER_BYTES];
    frame[8..12].copy_from_slice(&payload_crc.to_le_bytes());
    let crc = seed.crc(found.offset, &frame[4..]);
    frame[..4].copy_from_slice(&crc.to_le_bytes());
    fs::write(path, bytes).unwrap();
}

fn is_left_as_newer(kind: Kind, what: &str, change: impl FnOnce(&mut [u8])) {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path());
    let before = fs::read(&path).unwrap();
    rewrite(&path, kind, change);
    let later = fs::read(&path).unwrap();
    assert_ne!(before, later);
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, LogError::Newer(_)), "{what}: {error}");
    assert_eq!(fs::read(&path).unwrap(), later, "{what}: it is left as it is");
    // What is of this version is read as ever.
    fs::write(&path, before).unwrap();
    let opened = open(folder.path()).unwrap();
    assert!(opened.damage.is_empty() && opened.recovered.logs[&ShardId(4)].entries.len() == 3);
    opened.handle.close().unwrap();
}

#[test]
fn records_that_only_a_later_version_can_have_written_cost_no_replica() {
    is_left_as_newer(Kind::Write, "another kind of record", |record| record[36] = 9);
    is_left_as_newer(Kind::Seal, "another kind of record at the end", |record| record[36] = 9);
    is_left_as_newer(Kind::Write, "another part of a record", |record| record[RECORD_HEADER_BYTES] |= 0x40);
    is_left_as_newer(Kind::Checkpoint, "another checkpoint", |record| record[RECORD_HEADER_BYTES] = 0xFF);
    // Flags, replica, start, hard state, first index and count: a byte each but for the start's two and the state's three.
    is_left_as_newer(Kind::Write, "another kind of entry", |record| record[RECORD_HEADER_BYTES + 9] = 9);
}

#[test]
fn a_segment_of_a_later_version_costs_no_replica() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[..36]);
    bytes[36..40].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    assert!(matches!(open(folder.path()), Err(LogError::Newer(_))));
    assert!(matches!(super::super::find(folder.path()), Err(LogError::Newer(_))));
}
