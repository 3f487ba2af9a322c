//! Records that were durable and cannot be read are missed wherever they lie: before all others, or at the end of a segment
//! behind which nothing was written yet. And damage that was told of is no reason to go over to a new segment at each start.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use skerry_core::ids::ShardId;
use skerry_node::log::SEGMENT_BYTES_MIN;
use tempfile::TempDir;

use super::support::{TestLog, scratch, segments, small, write_entries, write_state};

/// Where the first record of a segment lies.
const FIRST_RECORD: usize = 4096;
/// Bytes of the record that seals the last group.
const SEAL: usize = 48;
/// Not what a crash leaves: a record's header begins no write that ends before its mark.
const NOISE: u8 = 0xA5;

/// A closed log of one segment, in which these shards have a group each. A seal follows.
fn log_of(shards: &[u64]) -> TempDir {
    let folder = scratch();
    let mut log = TestLog::open(small(folder.path())).unwrap();
    for shard in shards {
        log.append(vec![write_entries(*shard, 1, 1, 2, 700), write_state(*shard, 1, 3)]);
    }
    log.handle.close().unwrap();
    folder
}

fn fill(path: &Path, at: usize, with: &[u8]) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(with, at as u64).unwrap();
}

fn end_of_records(path: &Path) -> usize {
    (fs::read(path).unwrap().iter().rposition(|byte| *byte != 0).unwrap() + 1).next_multiple_of(8)
}

/// Overwrites all from the second of two groups on, the seal included.
fn overwrite_second_group(path: &Path) {
    let end = end_of_records(path);
    let from = FIRST_RECORD + (end - SEAL - FIRST_RECORD) / 2;
    fill(path, from, &vec![NOISE; end - from]);
}

/// A segment behind the others that has its name and its header, and no record yet: as the log is when its process stops
/// between going over to it and writing there.
fn goes_over(folder: &Path) {
    let copy = scratch();
    super::support::copy_folder(folder, copy.path()).unwrap();
    // It goes over by itself; only the header of what comes of that is taken.
    let mut log = TestLog::open(small(copy.path())).unwrap();
    for index in 1.. {
        if segments(copy.path()).len() > segments(folder).len() {
            break;
        }
        log.append(vec![write_entries(99, 1, index, index, 1_000)]);
    }
    log.handle.close().unwrap();
    let newest = segments(copy.path()).pop().unwrap();
    let mut content = fs::read(&newest).unwrap();
    content[FIRST_RECORD..].fill(0);
    fs::write(folder.join(newest.file_name().unwrap()), content).unwrap();
}

fn is_missed(log: &TestLog, shard: u64) -> bool {
    let is_known = log.recovered.logs.contains_key(&ShardId(shard));
    !is_known && (log.recovered.lost.contains(&ShardId(shard)) || !log.damage.is_empty())
}

/// Whatever follows a group proves that it was durable: without it the log is not one that has just begun.
#[test]
fn zeros_in_place_of_the_first_records_of_a_log_are_missed() {
    for shards in [&[1][..], &[1, 2], &[1, 2, 3]] {
        for bytes in [40, 512, 1_024, 1_500] {
            let folder = log_of(shards);
            fill(&segments(folder.path())[0], FIRST_RECORD, &vec![0; bytes]);
            let log = TestLog::open(small(folder.path())).unwrap();
            // The first of them is a checkpoint, which the others can do without.
            let is_whole = log.recovered.logs.get(&ShardId(1)).is_some_and(|log| log.entries.len() == 2);
            assert!(is_whole || is_missed(&log, 1), "{shards:?}, {bytes} bytes: {:?}", log.recovered.lost);
            log.handle.close().unwrap();
        }
    }
}

/// The same at the end of a segment, where the next one has no record that would tell.
#[test]
fn what_cannot_be_read_at_the_end_of_a_segment_is_missed_though_the_next_one_is_empty() {
    let folder = log_of(&[1, 2]);
    let first = segments(folder.path()).remove(0);
    goes_over(folder.path());
    overwrite_second_group(&first);
    let log = TestLog::open(small(folder.path())).unwrap();
    assert!(is_missed(&log, 2), "{:?}", log.recovered);
    log.handle.close().unwrap();
}

/// A start found damage at the end of the log and went over to a new segment, and died before it wrote there who is lost.
#[test]
fn damage_is_found_again_by_the_start_after_one_that_died_over_it() {
    let folder = log_of(&[1, 2]);
    let first = segments(folder.path()).remove(0);
    overwrite_second_group(&first);
    let log = TestLog::open(small(folder.path())).unwrap();
    assert!(is_missed(&log, 2), "{:?}", log.recovered);
    let lost = log.recovered.lost.clone();
    log.handle.close().unwrap();
    let newest = segments(folder.path()).pop().unwrap();
    fill(&newest, FIRST_RECORD, &vec![0; usize::try_from(SEGMENT_BYTES_MIN).unwrap() - FIRST_RECORD]);
    let log = TestLog::open(small(folder.path())).unwrap();
    assert!(is_missed(&log, 2), "{:?}", log.recovered);
    assert!(log.recovered.lost.is_superset(&lost), "{:?}, {lost:?} were lost", log.recovered.lost);
    log.handle.close().unwrap();
}

/// Each start went over to a segment of its own, for as long as the segment before the damage was there.
#[test]
fn damage_that_was_told_of_takes_no_segment_at_each_start() {
    let folder = log_of(&[1, 2]);
    let first = segments(folder.path()).remove(0);
    overwrite_second_group(&first);
    let open = || {
        let log = TestLog::open(small(folder.path())).unwrap();
        log.handle.close().unwrap();
        segments(folder.path()).len()
    };
    let after_first = open();
    assert_eq!((0..4).map(|_| open()).collect::<Vec<_>>(), [after_first; 4]);
}
