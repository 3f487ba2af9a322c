//! Files of a log that are gone, cut short, or of another log: whatever may have been promised in them counts as lost.

use std::fs::{self, File};
use std::path::Path;

use skerry_core::ids::ShardId;
use skerry_node::log::{Found, LogConfig, LogMark, find};

use super::support::{TestLog, copy_folder, scratch, segments, small, write_entries};

const SHARDS: u64 = 3;

/// A closed log of several segments, of which each shard has entries in every one; and its mark.
fn log_of_many_segments(folder: &Path) -> LogMark {
    let mut log = TestLog::open(small(folder)).unwrap();
    for index in 1..=30 {
        log.append((1..=SHARDS).map(|shard| write_entries(shard, shard, index, index, 700)).collect());
    }
    let salt = log.mark.salt;
    log.handle.close().unwrap();
    let Found::Segments { newest, salts } = find(folder).unwrap() else { panic!("a log without segments") };
    assert!(newest > 3 && salts == [salt]);
    LogMark { salt, newest }
}

/// A copy with a change, and what the mark and the recovery say of it: the shards whose logs are given up.
fn lost_after(log: &Path, mark: LogMark, change: impl FnOnce(&Path)) -> Vec<u64> {
    let copy = scratch();
    copy_folder(log, copy.path()).unwrap();
    change(copy.path());
    if find(copy.path()).unwrap().differs_from(mark).is_some() {
        return (1..=SHARDS).collect();
    }
    let opened = TestLog::open(LogConfig { salt: Some(mark.salt), ..small(copy.path()) }).unwrap();
    let is_whole = |shard: u64| {
        let log = opened.recovered.logs.get(&ShardId(shard));
        log.is_some_and(|log| log.entries.len() == 30) && !opened.recovered.lost.contains(&ShardId(shard))
    };
    (1..=SHARDS).filter(|shard| !is_whole(*shard)).collect()
}

#[test]
fn every_segment_that_is_gone_or_cut_short_costs_the_copies_whose_records_were_in_it() {
    let folder = scratch();
    let mark = log_of_many_segments(folder.path());
    assert_eq!(lost_after(folder.path(), mark, |_| ()), Vec::<u64>::new());
    let all: Vec<u64> = (1..=SHARDS).collect();
    for nth in 0..segments(folder.path()).len() {
        let remove = |folder: &Path| fs::remove_file(&segments(folder)[nth]).unwrap();
        assert_eq!(lost_after(folder.path(), mark, remove), all, "segment {nth} is gone");
        for length in [0, 100, 4_096, 8_192] {
            let cut = |folder: &Path| {
                File::options().write(true).open(&segments(folder)[nth]).unwrap().set_len(length).unwrap();
            };
            assert_eq!(lost_after(folder.path(), mark, cut), all, "segment {nth} has {length} bytes");
        }
    }
}

#[test]
fn segments_that_have_changed_places_or_are_of_another_log_are_damage() {
    let (folder, other) = (scratch(), scratch());
    let mark = log_of_many_segments(folder.path());
    log_of_many_segments(other.path());
    let all: Vec<u64> = (1..=SHARDS).collect();
    let count = segments(folder.path()).len();
    for nth in 0..count {
        let swap = |folder: &Path| {
            let (one, two) = (&segments(folder)[nth], &segments(folder)[(nth + 1) % count]);
            let third = folder.join("third");
            fs::rename(one, &third).unwrap();
            fs::rename(two, one).unwrap();
            fs::rename(&third, two).unwrap();
        };
        assert_eq!(lost_after(folder.path(), mark, swap), all, "segment {nth} and the next one");
        let replace = |folder: &Path| {
            fs::copy(&segments(other.path())[nth], &segments(folder)[nth]).unwrap();
        };
        assert_eq!(lost_after(folder.path(), mark, replace), all, "segment {nth} is of another log");
    }
}

#[test]
fn a_folder_that_was_emptied_and_another_log_are_not_the_log_that_was_noted() {
    let (folder, other) = (scratch(), scratch());
    let mark = log_of_many_segments(folder.path());
    log_of_many_segments(other.path());
    assert!(find(other.path()).unwrap().differs_from(mark).is_some());
    assert!(find(scratch().path()).unwrap().differs_from(mark).is_some());
    assert!(find(&folder.path().join("never there")).unwrap().differs_from(mark).is_some());
    // A log that was made anew, without a record yet.
    let new = scratch();
    TestLog::open(small(new.path())).unwrap().handle.close().unwrap();
    assert!(find(new.path()).unwrap().differs_from(mark).is_some());
}
