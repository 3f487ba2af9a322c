//! A failed fsync ends the log for good; a full disk does not as long as the log can live in the space it has.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use skerry_core::ids::ShardId;
use skerry_core::node::LogBatch;
use skerry_node::disk::SyncFile;
use skerry_node::log::{Completion, LogConfig, LogError, NoteMark, Refusal, SEGMENT_BYTES_MIN};

use super::support::{Model, PATIENCE, TestLog, apply, apply_cut, cut, segments, small, write_entries, write_state};

fn is_segment(file: &File) -> io::Result<bool> {
    let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    Ok(path.extension().is_some_and(|extension| extension == "log"))
}

fn next_failure(log: &TestLog) -> Arc<LogError> {
    loop {
        match log.completions.recv_timeout(PATIENCE).unwrap() {
            Completion::Failed { error } => return error,
            Completion::Durable { .. } => {}
        }
    }
}

#[test]
fn a_failed_fsync_poisons_the_log_and_is_never_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let (fails, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (failing, counted) = (Arc::clone(&fails), Arc::clone(&calls));
    let sync = Arc::new(move |file: &File| {
        if is_segment(file)? && failing.load(Ordering::SeqCst) {
            counted.fetch_add(1, Ordering::SeqCst);
            return Err(io::Error::other("planted"));
        }
        Ok(())
    });
    let mut log = TestLog::open(LogConfig { sync, ..small(folder.path()) }).unwrap();
    log.append(vec![write_state(1, 1, 1)]);
    fails.store(true, Ordering::SeqCst);
    log.send(vec![write_state(1, 1, 2)]);
    assert!(matches!(*next_failure(&log), LogError::Io { action: "sync", .. }));
    fails.store(false, Ordering::SeqCst);
    for sequence in 3..10 {
        let batch = LogBatch { sequence, writes: vec![write_state(1, 1, sequence)] };
        assert!(matches!(log.handle.append(batch), Err(LogError::Poisoned(_))));
    }
    assert!(log.completions.try_recv().is_err(), "nothing is said to be durable after the failure");
    assert!(matches!(log.handle.close(), Err(LogError::Poisoned(_))));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[test]
fn each_group_takes_one_fsync() {
    let folder = tempfile::tempdir().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let sync = Arc::new(move |file: &File| {
        counted.fetch_add(usize::from(is_segment(file)?), Ordering::SeqCst);
        file.sync_data()
    });
    let mut log = TestLog::open(LogConfig { sync, ..LogConfig::new(folder.path()) }).unwrap();
    log.append(vec![write_state(1, 1, 1)]);
    let before = calls.load(Ordering::SeqCst);
    let last = (0..1000).map(|_| log.send(vec![write_state(1, 1, 2)])).last().unwrap();
    log.wait_for(last);
    let groups = calls.load(Ordering::SeqCst) - before;
    assert!((1..=500).contains(&groups), "1000 batches took {groups} fsyncs");
}

#[test]
fn a_write_that_would_leave_a_gap_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = TestLog::open(small(folder.path())).unwrap();
    log.append(vec![write_entries(1, 1, 1, 3, 10)]);
    log.send(vec![write_entries(1, 1, 5, 6, 10)]);
    let error = next_failure(&log);
    let LogError::Refused { shard: ShardId(1), refusal, .. } = *error else { panic!("{error}") };
    assert_eq!(refusal, Refusal::Gap { first: 5, last: 3 });
}

/// A disk with room for so many segments.
fn disk_of(folder: &Path, segments: u64) -> SyncFile {
    disk_with(folder, Arc::new(AtomicU64::new(segments * SEGMENT_BYTES_MIN)))
}

/// The same of so many bytes.
fn disk_with(folder: &Path, room: Arc<AtomicU64>) -> SyncFile {
    let folder = folder.to_owned();
    Arc::new(move |file: &File| {
        let taken = fs::read_dir(&folder)?.flatten().filter_map(|entry| entry.metadata().ok()).map(|m| m.len()).sum();
        let is_new = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?.extension() == Some("new".as_ref());
        if is_new && room.load(Ordering::Relaxed) < taken { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    })
}

#[test]
fn a_log_on_a_full_disk_goes_on_in_the_space_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let sync = disk_of(folder.path(), 3);
    let mut log = TestLog::open(LogConfig { sync, ..small(folder.path()) }).unwrap();
    let mut model = Model::new();
    let idle = write_entries(2, 1, 1, 5, 100);
    apply(&mut model, &idle);
    log.append(vec![idle]);
    for index in 1..200 {
        let write = write_entries(1, 1, index, index, 900);
        apply(&mut model, &write);
        log.append(vec![write]);
        let forget = cut(1, 1, index, 1);
        apply_cut(&mut model, &forget);
        log.handle.cut(vec![forget]).unwrap();
    }
    assert!(segments(folder.path()).len() <= 3);
    log.handle.close().unwrap();
    let log = TestLog::open(small(folder.path())).unwrap();
    assert_eq!(log.recovered.logs, model);
}

#[test]
fn a_log_that_needs_more_than_the_disk_has_says_so_and_loses_nothing_durable() {
    let folder = tempfile::tempdir().unwrap();
    let sync = disk_of(folder.path(), 4);
    let log = TestLog::open(LogConfig { sync, ..small(folder.path()) }).unwrap();
    let mut durable = 0;
    let error = 'full: {
        for index in 1..200 {
            let writes = vec![write_entries(1, 1, index, index, 900)];
            log.handle.append(LogBatch { sequence: index, writes }).unwrap();
            match log.completions.recv_timeout(PATIENCE).unwrap() {
                Completion::Durable { .. } => durable = index,
                Completion::Failed { error } => break 'full error,
            }
        }
        panic!("200 entries do not fit");
    };
    assert!(error.is_full(), "{error}");
    let log = TestLog::open(small(folder.path())).unwrap();
    assert_eq!(log.recovered.logs[&ShardId(1)].entries, super::support::entries(1, durable, 1, 900));
}

/// The node ended at each start: with room for less than a segment it was let in, and the first record, which would have
/// freed whole segments, wanted a whole one.
#[test]
fn a_log_on_a_disk_with_less_than_a_segment_free_takes_the_cut_that_frees_whole_ones() {
    let folder = tempfile::tempdir().unwrap();
    let room = Arc::new(AtomicU64::new(3 * SEGMENT_BYTES_MIN));
    let sync = disk_with(folder.path(), room.clone());
    let log = TestLog::open(LogConfig { sync: sync.clone(), ..small(folder.path()) }).unwrap();
    let durable = (1..200).take_while(|index| {
        let writes = vec![write_entries(1, 1, *index, *index, 900)];
        log.handle.append(LogBatch { sequence: *index, writes }).unwrap();
        matches!(log.completions.recv_timeout(PATIENCE).unwrap(), Completion::Durable { .. })
    });
    let last = durable.last().unwrap();
    drop(log);
    room.fetch_add(SEGMENT_BYTES_MIN / 2, Ordering::Relaxed);
    let mut log = TestLog::open(LogConfig { sync, ..small(folder.path()) }).unwrap();
    log.handle.cut(vec![cut(1, 1, last, 1)]).unwrap();
    log.append(vec![write_entries(1, 1, last + 1, last + 1, 900)]);
    log.handle.close().unwrap();
    let log = TestLog::open(small(folder.path())).unwrap();
    assert_eq!(log.recovered.logs[&ShardId(1)].entries, super::support::entries(last + 1, last + 1, 1, 900));
}

/// Its newest segment could not be noted, and the log ended for ever, though it had a spare segment to go on in.
#[test]
fn a_log_goes_on_where_there_is_no_space_to_note_its_newest_segment_and_has_it_noted_later() {
    let folder = tempfile::tempdir().unwrap();
    let (is_full, noted) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let (full, latest) = (is_full.clone(), noted.clone());
    let note: NoteMark = Arc::new(move |mark| {
        if full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        latest.store(mark.newest, Ordering::Relaxed);
        Ok(())
    });
    let mut log = TestLog::open(LogConfig { note, ..small(folder.path()) }).unwrap();
    for index in 1..100 {
        log.append(vec![write_entries(1, 1, index, index, 900)]);
    }
    let newest = u64::try_from(segments(folder.path()).len()).unwrap();
    assert!(newest > 3 && noted.load(Ordering::Relaxed) == 0);
    is_full.store(false, Ordering::Relaxed);
    log.append(vec![write_entries(1, 1, 100, 100, 10)]);
    assert!(noted.load(Ordering::Relaxed) >= newest, "with the next group");
    log.handle.close().unwrap();
}
