//! A log under test, and what it must hold, kept the simple way.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use skerry_core::ids::{ReplicaId, ShardId};
use skerry_core::log::{EntryKind, HardState, LogCut, LogEntry, LogWrite, RecoveredLog};
use skerry_core::node::LogBatch;
use skerry_node::disk::SyncFile;
use skerry_node::log::{Completion, Damage, Log, LogConfig, LogError, LogHandle, LogMark, Opened, SEGMENT_BYTES_MIN};
use tempfile::TempDir;

/// No wait in these tests is longer than this, and none is for a fixed time.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What each shard's log must be.
pub(super) type Model = BTreeMap<ShardId, RecoveredLog>;

/// A folder in memory where there is one: these tests open thousands of logs, and look at files, not at disks.
pub(super) fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// An fsync that does nothing and succeeds.
pub(super) fn no_sync() -> SyncFile {
    Arc::new(|_| Ok(()))
}

/// The settings of a log with the smallest segments that are allowed.
pub(super) fn small(folder: &Path) -> LogConfig {
    LogConfig { segment_bytes: SEGMENT_BYTES_MIN, sync: no_sync(), ..LogConfig::new(folder) }
}

/// A log under test, and its completions.
pub(super) struct TestLog {
    pub(super) handle: LogHandle,
    pub(super) completions: Receiver<Completion>,
    pub(super) recovered: skerry_core::node::Recovered,
    pub(super) damage: Vec<Damage>,
    pub(super) mark: LogMark,
    sequence: u64,
}

impl TestLog {
    pub(super) fn open(config: LogConfig) -> Result<Self, LogError> {
        let (sender, completions) = channel();
        let complete = Box::new(move |completion| {
            let _test_ended = sender.send(completion);
        });
        let Opened { handle, recovered, damage, mark } = Log::open(config, complete)?;
        Ok(Self { handle, completions, recovered, damage, mark, sequence: 0 })
    }

    /// Appends a batch without waiting until it is durable. Returns its sequence.
    pub(super) fn send(&mut self, writes: Vec<LogWrite>) -> u64 {
        self.sequence += 1;
        self.handle.append(LogBatch { sequence: self.sequence, writes }).unwrap();
        self.sequence
    }

    /// Appends, and waits until it is durable.
    pub(super) fn append(&mut self, writes: Vec<LogWrite>) {
        let sequence = self.send(writes);
        self.wait_for(sequence);
    }

    pub(super) fn wait_for(&self, sequence: u64) {
        loop {
            match self.completions.recv_timeout(PATIENCE).expect("the log answers") {
                Completion::Durable { sequence: durable } if durable >= sequence => return,
                Completion::Durable { .. } => {}
                Completion::Failed { error } => panic!("{error:?}"),
            }
        }
    }
}

/// A write that does nothing yet.
pub(super) fn write(shard: u64, replica: u64) -> LogWrite {
    LogWrite {
        shard: ShardId(shard),
        replica: ReplicaId(replica),
        reset: None,
        entries: Vec::new(),
        hard_state: None,
        destroyed: false,
    }
}

/// Entries `first..=last` of so many bytes each, with content that tells them apart and has no zeros.
pub(super) fn entries(first: u64, last: u64, term: u64, bytes: usize) -> Vec<LogEntry> {
    let entry = |index: u64| {
        let data: Vec<u8> = (0..bytes as u64).map(|at| 1 + ((index * 31 + term * 7 + at * 13) % 255) as u8).collect();
        let kind = if index.is_multiple_of(5) { EntryKind::Members } else { EntryKind::Normal };
        LogEntry { index, term, kind, data: data.into(), context: Bytes::from(vec![7; index as usize % 3]) }
    };
    (first..=last).map(entry).collect()
}

/// A write of entries `first..=last`.
pub(super) fn write_entries(shard: u64, replica: u64, first: u64, last: u64, bytes: usize) -> LogWrite {
    LogWrite { entries: entries(first, last, 1, bytes), ..write(shard, replica) }
}

/// A write of a hard state.
pub(super) fn write_state(shard: u64, replica: u64, term: u64) -> LogWrite {
    LogWrite { hard_state: Some(HardState { term, vote: replica, commit: 0 }), ..write(shard, replica) }
}

/// A cut after the entry with this index and term.
pub(super) fn cut(shard: u64, replica: u64, index: u64, term: u64) -> LogCut {
    LogCut { shard: ShardId(shard), replica: ReplicaId(replica), start: (index, term) }
}

/// What the core's documentation says a write means.
pub(super) fn apply(model: &mut Model, write: &LogWrite) {
    let known = model.get(&write.shard).map(|log| log.replica);
    if known.is_some_and(|known| write.replica < known) {
        return;
    }
    if write.destroyed {
        model.remove(&write.shard);
        return;
    }
    if known != Some(write.replica) {
        model.insert(write.shard, RecoveredLog { replica: write.replica, ..RecoveredLog::default() });
    }
    let log = model.get_mut(&write.shard).unwrap();
    if let Some(start) = write.reset {
        log.start = start;
        log.entries.clear();
    }
    if let Some(first) = write.entries.first() {
        log.entries.retain(|entry| entry.index < first.index);
        log.entries.extend(write.entries.iter().cloned());
    }
    log.hard_state = write.hard_state.unwrap_or(log.hard_state);
}

/// Applies a cut to the model of the log.
pub(super) fn apply_cut(model: &mut Model, cut: &LogCut) {
    let Some(log) = model.get_mut(&cut.shard).filter(|log| log.replica == cut.replica) else { return };
    if cut.start.0 > log.start.0 {
        log.start = cut.start;
        log.entries.retain(|entry| entry.index > cut.start.0);
    }
}

/// The segments of a log, by name in order.
pub(super) fn segments(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    paths
}

/// Copies all files of a folder that has no folders in it.
pub(super) fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to.join(entry.file_name()))?;
        } else {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
