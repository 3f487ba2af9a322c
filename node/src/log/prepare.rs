//! Makes the next segment ahead of time, on a thread of its own, so that going over to it does not wait for zeros.
//!
//! The spare is also the reserve on a full disk: deletes and moves away are still logged. If there is no space for
//! another, an old segment that is no longer wanted is zeroed and becomes the spare.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

use super::segment::{self, make_zeroed};
use super::{LogConfig, LogError};
use crate::disk::{self, SPACE_MIN};

const SPARE: &str = "spare";
const SPARE_NEW: &str = "spare.new";
const LARGE_NEW: &str = "large.new";
const BLOCK_BYTES: u64 = 4096;
/// A short segment takes at most one part in so many of what is free.
const SHORT_PART: u64 = 8;

/// A file of zeros that is ready to become a segment.
#[derive(Debug)]
pub(super) struct Spare {
    /// Path of the file.
    pub(super) path: PathBuf,
    /// The open file.
    pub(super) file: File,
    /// Length of the file, in bytes.
    pub(super) capacity: u64,
}

/// Keeps one spare file ready for the next segment.
#[derive(Debug)]
pub(super) struct Preparer {
    folder: PathBuf,
    config: PreparerConfig,
    /// `None` = the thread is to end.
    wanted: Option<SyncSender<()>>,
    made: Receiver<Result<Spare, LogError>>,
    thread: Option<JoinHandle<()>>,
    state: State,
}

struct PreparerConfig(LogConfig);

impl std::fmt::Debug for PreparerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "segments of {} bytes", self.0.segment_bytes)
    }
}

#[derive(Debug)]
enum State {
    Absent,
    Preparing,
    Ready(Spare),
}

impl Preparer {
    /// Starts the thread, which ends when this value is dropped.
    pub(super) fn start(config: LogConfig) -> Result<Self, LogError> {
        let (wanted, requests) = sync_channel(1);
        let (results, made) = sync_channel(1);
        let folder = config.folder.clone();
        let on_thread = config.clone();
        let thread = std::thread::Builder::new()
            .name("log-prepare".to_owned())
            .spawn(move || prepare_all(&on_thread, &requests, &results))
            .map_err(LogError::io("start a thread for", &folder))?;
        let state = kept_spare(&config)?.map_or(State::Absent, State::Ready);
        Ok(Self { folder, config: PreparerConfig(config), wanted: Some(wanted), made, thread: Some(thread), state })
    }

    /// Begins to make a spare, unless there is one.
    pub(super) fn want(&mut self) {
        let is_absent = matches!(self.state, State::Absent);
        if is_absent && self.wanted.as_ref().is_some_and(|wanted| wanted.try_send(()).is_ok()) {
            self.state = State::Preparing;
        }
    }

    /// True if there is no spare and none is being made: there was no space for it.
    pub(super) fn is_starved(&mut self) -> Result<bool, LogError> {
        if matches!(self.state, State::Preparing) {
            match self.made.try_recv() {
                Ok(result) => self.made(result)?,
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Err(LogError::Gone),
            }
        }
        Ok(matches!(self.state, State::Absent))
    }

    /// A file of at least so many zeros. Waits for the spare in the making; one that is too small is left for later. Where
    /// there is no space for a whole segment a short one is made: what is written next may be what frees whole ones. A log
    /// that has none yet has none to free, and needs a whole one.
    pub(super) fn take(&mut self, bytes_min: u64) -> Result<Spare, LogError> {
        if matches!(self.state, State::Preparing) {
            let result = self.made.recv().map_err(|_| LogError::Gone)?;
            self.made(result)?;
        }
        match std::mem::replace(&mut self.state, State::Absent) {
            State::Ready(spare) if spare.capacity >= bytes_min => Ok(spare),
            other => {
                self.state = other;
                let (path, least) = (self.folder.join(LARGE_NEW), bytes_min.next_multiple_of(BLOCK_BYTES));
                let make = |capacity| {
                    let made = make_or_give_back(&path, capacity, &self.config.0);
                    made.map(|file| Spare { path: path.clone(), file, capacity })
                };
                let is_first = segment::list(&self.folder)?.is_empty();
                let free = if is_first { u64::MAX } else { free_bytes(&self.folder) };
                let capacity = capacity(least, self.config.0.segment_bytes, free);
                match make(capacity) {
                    Err(error) if error.is_full() && least < capacity && !is_first => make(least),
                    made => made,
                }
            }
        }
    }

    /// Where a segment that is no longer wanted may be moved to become the next spare.
    pub(super) fn recycled_path(&self) -> PathBuf {
        self.folder.join(SPARE_NEW)
    }

    fn made(&mut self, result: Result<Spare, LogError>) -> Result<(), LogError> {
        self.state = match result {
            Ok(spare) => State::Ready(spare),
            Err(error) if error.is_full() => {
                tracing::warn!("no space for the log's next segment");
                State::Absent
            }
            Err(error) => return Err(error),
        };
        Ok(())
    }
}

impl Drop for Preparer {
    /// Waits for the spare in the making: whoever opens the log next makes one under the same name.
    fn drop(&mut self) {
        self.wanted = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// The spare that an earlier start left.
fn kept_spare(config: &LogConfig) -> Result<Option<Spare>, LogError> {
    let path = config.folder.join(SPARE);
    let failed = LogError::io("open", &path);
    match File::options().read(true).write(true).open(&path) {
        Ok(file) if file.metadata().map_err(&failed)?.len() == config.segment_bytes => {
            Ok(Some(Spare { path, file, capacity: config.segment_bytes }))
        }
        Ok(_) => fs::remove_file(&path).map(|()| None).map_err(failed),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn prepare_all(config: &LogConfig, requests: &Receiver<()>, results: &SyncSender<Result<Spare, LogError>>) {
    while requests.recv().is_ok() {
        if results.send(prepare(config)).is_err() {
            return;
        }
    }
}

/// Length of a segment that is to take so many bytes where so many are free. Others need room too: a whole one leaves them
/// some, and a short one takes a part of what is there, so that the next is not needed at once.
fn capacity(least: u64, segment_bytes: u64, free: u64) -> u64 {
    let whole = least.max(segment_bytes);
    if free >= whole.saturating_add(SPACE_MIN) {
        return whole;
    }
    least.max(free / SHORT_PART / BLOCK_BYTES * BLOCK_BYTES).min(whole)
}

/// What is free on the disk of a folder. Where that cannot be told, whoever writes finds out.
fn free_bytes(folder: &Path) -> u64 {
    disk::free_bytes(folder).unwrap_or(u64::MAX)
}

/// Removes what an earlier start was making when it ended: on a full volume it may be all that keeps the next from starting.
pub fn remove_unfinished(folder: &Path) -> std::io::Result<()> {
    for name in [LARGE_NEW, SPARE_NEW] {
        disk::remove_if_there(&folder.join(name))?;
    }
    Ok(())
}

fn prepare(config: &LogConfig) -> Result<Spare, LogError> {
    let (new, path): (PathBuf, PathBuf) = (config.folder.join(SPARE_NEW), config.folder.join(SPARE));
    // An old segment that is to become the spare has its space already.
    let there = fs::metadata(&new).map_or(0, |metadata| metadata.len());
    let missing = config.segment_bytes.saturating_sub(there);
    if missing > 0 && free_bytes(&config.folder) < missing.saturating_add(SPACE_MIN) {
        if there > 0 {
            give_back(&new);
        }
        return Err(LogError::io("make", &new)(std::io::ErrorKind::StorageFull.into()));
    }
    let file = make_or_give_back(&new, config.segment_bytes, config)?;
    fs::rename(&new, &path).map_err(LogError::io("name", &path))?;
    Ok(Spare { path, file, capacity: config.segment_bytes })
}

fn make_or_give_back(path: &Path, capacity: u64, config: &LogConfig) -> Result<File, LogError> {
    make_zeroed(path, capacity, &config.sync).inspect_err(|error| {
        if error.is_full() {
            give_back(path);
        }
    })
}

/// What was made of a file for which there is no space would only make the want of space worse.
fn give_back(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "failed to remove an unfinished segment");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_whole_where_there_is_room_beside_it_else_a_part_of_what_is_free() {
        const MIB: u64 = 1 << 20;
        let whole = 16 * MIB;
        let table = [
            (4_096, u64::MAX, whole),
            (4_096, whole + SPACE_MIN, whole),
            (4_096, whole + SPACE_MIN - 1, 5 * MIB / 2 - 4_096),
            (4_096, 8 * MIB, MIB),
            (4_096, 8_192, 4_096),
            (2 * MIB, 8 * MIB, 2 * MIB),
            (2 * MIB, 0, 2 * MIB),
            (20 * MIB, 23 * MIB, 20 * MIB),
            (20 * MIB, u64::MAX, 20 * MIB),
        ];
        for (least, free, expected) in table {
            assert_eq!(capacity(least, whole, free), expected, "{least} bytes, {free} free");
        }
    }

    #[test]
    fn what_was_not_finished_goes_and_segments_stay() {
        let folder = tempfile::tempdir().unwrap();
        for name in [LARGE_NEW, SPARE_NEW, SPARE, "1.log"] {
            fs::write(folder.path().join(name), b"x").unwrap();
        }
        remove_unfinished(folder.path()).unwrap();
        remove_unfinished(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
