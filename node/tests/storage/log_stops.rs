//! A log whose process stops at any of its fsyncs, also in the middle of going over to a new segment, of copying and of removing,
//! has what was durable by then.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use skerry_core::log::RecoveredLog;
use skerry_node::disk::SyncFile;
use skerry_node::log::LogConfig;
use tempfile::TempDir;

use super::support::{
    Model, TestLog, apply, apply_cut, copy_folder, cut, scratch, segments, small, write_entries, write_state,
};

/// A copy of the folder at one fsync, and how many rounds were durable by then.
struct Stop {
    folder: TempDir,
    rounds: usize,
}

fn stopping(folder: &Path, rounds: &Arc<AtomicUsize>, stops: &Arc<Mutex<Vec<Stop>>>) -> SyncFile {
    let (folder, rounds, stops) = (folder.to_owned(), Arc::clone(rounds), Arc::clone(stops));
    Arc::new(move |_: &File| {
        // Only while the log itself waits does nothing but the spare change.
        if std::thread::current().name() != Some("log") {
            return Ok(());
        }
        let rounds = rounds.load(Ordering::SeqCst);
        let mut stops = stops.lock().unwrap();
        let copy = scratch();
        // The spare comes and goes meanwhile; a copy that misses it is no stop.
        if copy_folder(&folder, copy.path()).is_ok() {
            stops.push(Stop { folder: copy, rounds });
        }
        Ok(())
    })
}

/// Equal but for cuts that were not yet durable.
fn is_state(found: &RecoveredLog, expected: &RecoveredLog) -> bool {
    let wanted = found.entries.iter().filter(|entry| entry.index > expected.start.0);
    found.start.0 <= expected.start.0
        && (found.replica, found.hard_state) == (expected.replica, expected.hard_state)
        && wanted.eq(&expected.entries)
}

#[test]
fn a_log_stopped_at_any_fsync_has_what_was_durable() {
    let folder = scratch();
    let (rounds, stops) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let sync = stopping(folder.path(), &rounds, &stops);
    let mut log = TestLog::open(LogConfig { sync, ..small(folder.path()) }).unwrap();
    let mut models = vec![Model::new()];
    for round in 1..=120 {
        let mut model = models.last().unwrap().clone();
        let mut writes = vec![write_entries(1, 1, round, round, 800), write_state(3, 1, round)];
        if round % 4 == 0 {
            writes.push(write_entries(2, 1, round / 4, round / 4, 300));
        }
        let mut cuts = vec![cut(1, 1, round.saturating_sub(3), 1)];
        if round % 50 == 0 {
            cuts.push(cut(2, 1, round / 4 - 2, 1));
        }
        writes.iter().for_each(|write| apply(&mut model, write));
        cuts.iter().for_each(|cut| apply_cut(&mut model, cut));
        models.push(model);
        log.append(writes);
        rounds.store(usize::try_from(round).unwrap(), Ordering::SeqCst);
        log.handle.cut(cuts).unwrap();
    }
    assert!(!segments(folder.path())[0].ends_with("00000000000000000001.log"), "old segments went meanwhile");
    log.handle.close().unwrap();
    let stops = std::mem::take(&mut *stops.lock().unwrap());
    assert!(stops.len() > 120, "only {} stops", stops.len());
    for (nth, Stop { folder, rounds }) in stops.iter().enumerate() {
        let log = TestLog::open(small(folder.path())).unwrap();
        assert!(log.recovered.lost.is_empty() && log.damage.is_empty(), "stop {nth}: {:?}", log.damage);
        // The group at hand may have been on disk already when the copy was made.
        let fits = |model: &Model| {
            let found = &log.recovered.logs;
            found.keys().eq(model.keys()) && model.iter().all(|(shard, expected)| is_state(&found[shard], expected))
        };
        assert!(models[*rounds..].iter().take(2).any(fits), "stop {nth} after round {rounds}");
    }
}
