//! The store on sled 0.34.
//!
//! Three things sled does not do by itself: its `flush` ends in `sync_file_range`, which is no fsync; pages larger than
//! a quarter of its segments lie in files of their own under `blobs`, which it never syncs; and its background flusher
//! only logs its errors, so it is off. Everything lies in one tree, because a batch is atomic within one tree only.
//!
//! A limit that no caller can lift: between two syncs sled may write over space whose content it has just copied
//! elsewhere. A killed process loses nothing by that, nor does a power cut where the disk keeps unsynced writes in order.
//! A disk that keeps later ones and loses earlier ones may leave a store that opens as a mixture of older and newer
//! records, and sled does not always notice. So a store that was open when the machine stopped is told of as doubtful.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use skerry_core::engine::{Engine, EngineError, EngineWrite};
use tracing::warn;

use super::{Cause, Failed};
use crate::disk::{self, SyncFile};

/// Part of what sled says when the file is locked; the error has no kind of its own.
const LOCKED: &str = "could not acquire lock";
/// What sled writes of the settings that we give it.
const SETTINGS: &[u8] = b"segment_size: 524288\nuse_compression: false\nversion: 0.34\n\x76\x19\x51\xc1";
/// What errors of an open store begin with.
const SAYS: &str = "sled: ";
const UNLOCK_WAIT_MAX: Duration = Duration::from_secs(10);
const UNLOCK_POLL: Duration = Duration::from_millis(5);

/// A process with sled holds up to this many times what sled counts as its cache, once it reads and scans; and about 50
/// bytes for each record, which no setting bounds. Measured with `examples/engines.rs`.
const HELD_PER_CACHED: u64 = 2;

/// A store that keeps its data with sled.
pub struct SledEngine {
    db: sled::Db,
    folder: PathBuf,
    sync_file: SyncFile,
    /// Files under `blobs` that a finished sync covers.
    synced_blobs: Mutex<HashSet<OsString>>,
}

impl SledEngine {
    /// Opens or makes a store. Panics inside sled are the caller's to catch.
    pub(super) fn open(folder: &Path, cache_bytes: u64) -> Result<Self, Failed> {
        Self::open_with(folder, cache_bytes, disk::sync_all())
    }

    /// Removes from a store that is not open what was left half written there.
    pub(super) fn remove_unfinished(store: &Path) -> io::Result<()> {
        remove_unfinished(&folder_in(store))
    }

    fn open_with(folder: &Path, cache_bytes: u64, sync_file: SyncFile) -> Result<Self, Failed> {
        let folder = folder_in(folder);
        let failed = |error: io::Error| Failed { cause: Cause::Other, message: error.to_string() };
        remove_unfinished(&folder).map_err(failed)?;
        mend_settings(&folder).map_err(failed)?;
        let config =
            sled::Config::new().path(&folder).cache_capacity(cache_bytes / HELD_PER_CACHED).flush_every_ms(None);
        let db = open_unlocked(&config).map_err(|error| Failed {
            cause: if is_damage(&error) || !is_text(&folder) { Cause::Damage } else { Cause::Other },
            message: error.to_string(),
        })?;
        Ok(Self { db, folder, sync_file, synced_blobs: Mutex::default() })
    }

    fn sync_files(&self) -> io::Result<()> {
        (self.sync_file)(&File::open(self.folder.join("db"))?)?;
        self.sync_blobs()?;
        (self.sync_file)(&File::open(&self.folder)?)
    }

    /// A file there is written once and never changed, so each is synced once.
    fn sync_blobs(&self) -> io::Result<()> {
        let blobs = self.folder.join("blobs");
        let mut synced = self.synced_blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut present = HashSet::new();
        let mut news = false;
        for entry in fs::read_dir(&blobs)? {
            let entry = entry?;
            if !synced.contains(&entry.file_name()) {
                match File::open(entry.path()) {
                    Ok(file) => (self.sync_file)(&file)?,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
                news = true;
            }
            present.insert(entry.file_name());
        }
        if news {
            (self.sync_file)(&File::open(&blobs)?)?;
        }
        *synced = present;
        Ok(())
    }
}

impl Engine for SledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let value = self.db.get(key).map_err(failed)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        if start >= end {
            return Ok(());
        }
        for record in self.db.range(start..end) {
            let (key, value) = record.map_err(failed)?;
            if visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, batch: Vec<EngineWrite>) -> Result<(), EngineError> {
        let mut together = sled::Batch::default();
        for write in &batch {
            match write {
                EngineWrite::Put(key, value) => together.insert(key.as_ref(), value.as_ref()),
                EngineWrite::Delete(key) => together.remove(key.as_ref()),
            }
        }
        self.db.apply_batch(together).map_err(failed)
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.db.flush().map_err(failed)?;
        loop {
            match self.sync_files() {
                // Nothing was refused: what could not be opened was not synced yet.
                Err(error) if disk::is_want_of_files(&error) => thread::sleep(FILES_PAUSE),
                synced => return synced.map_err(io_failed),
            }
        }
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        disk::folder_bytes(&self.folder).map_err(io_failed)
    }
}

/// A process that can open no more files tries again after this: connections of clients may be what takes them.
const FILES_PAUSE: Duration = Duration::from_millis(100);

/// Folder in which sled has its files, within that of the store.
fn folder_in(store: &Path) -> PathBuf {
    store.join("sled")
}

/// A store that this process has just closed stays locked until sled's own threads have let go of it.
fn open_unlocked(config: &sled::Config) -> Result<sled::Db, sled::Error> {
    let deadline = Instant::now() + UNLOCK_WAIT_MAX;
    loop {
        match config.open() {
            Err(sled::Error::Io(error)) if error.to_string().contains(LOCKED) && Instant::now() < deadline => {
                thread::sleep(UNLOCK_POLL);
            }
            opened => return opened,
        }
    }
}

/// True if these words are of an error of a store on sled.
pub(super) fn has_said(message: &str) -> bool {
    message.starts_with(SAYS)
}

fn failed(error: sled::Error) -> EngineError {
    EngineError { is_damage: is_damage(&error), message: format!("{SAYS}{error}") }
}

/// What sled takes for a bug of its own is met when pages do not fit each other.
fn is_damage(error: &sled::Error) -> bool {
    match error {
        sled::Error::Corruption { .. } | sled::Error::ReportableBug(_) => true,
        sled::Error::Io(error) => super::is_damage(error),
        sled::Error::CollectionNotFound(_) | sled::Error::Unsupported(_) => false,
    }
}

/// sled takes a snapshot for damaged that was cut short under its temporary name, by a full disk or a crash in the midst of
/// opening. One under that name is never needed: the one before, or the log alone, says the same.
fn remove_unfinished(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// sled does not open with settings that have a flipped bit, and says that they are of another version or were changed. Ours
/// are always the same, with their checksum.
fn mend_settings(folder: &Path) -> io::Result<()> {
    let path = folder.join("conf");
    match fs::read(&path) {
        Ok(found) if super::is_one_bit_off(&found, SETTINGS) => {
            warn!(path = %path.display(), "settings of the store had a flipped bit and are written anew");
            disk::write_atomically(&path, SETTINGS)
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// sled takes settings that are no text for those of an early version of its own. We never wrote such.
fn is_text(folder: &Path) -> bool {
    let Ok(settings) = fs::read(folder.join("conf")) else { return true };
    let (text, _checksum) = settings.split_at(settings.len().saturating_sub(4));
    std::str::from_utf8(text).is_ok()
}

fn io_failed(error: io::Error) -> EngineError {
    EngineError::failed(format!("{SAYS}{error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Remembers the paths of synced files, or fails.
    #[derive(Default)]
    struct Watch {
        paths: Mutex<Vec<PathBuf>>,
        fail: AtomicBool,
    }

    fn watched(folder: &Path) -> (SledEngine, Arc<Watch>) {
        let watch = Arc::new(Watch::default());
        let seen = Arc::clone(&watch);
        let engine = SledEngine::open_with(
            folder,
            1 << 20,
            Arc::new(move |file| {
                if seen.fail.load(Ordering::Relaxed) {
                    return Err(io::Error::other("planted"));
                }
                use std::os::fd::AsRawFd;
                let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
                seen.paths.lock().unwrap().push(path);
                file.sync_all()
            }),
        );
        (engine.ok().unwrap(), watch)
    }

    fn put(engine: &SledEngine, key: &'static str, value: Vec<u8>) {
        engine.write(vec![EngineWrite::Put(key.into(), value.into())]).unwrap();
    }

    #[test]
    fn sync_fsyncs_the_file_that_holds_the_records() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, watch) = watched(folder.path());
        put(&engine, "key", vec![1; 100]);
        engine.sync().unwrap();
        let db = folder.path().canonicalize().unwrap().join("sled/db");
        assert!(watch.paths.lock().unwrap().contains(&db));
        let content = fs::read(db).unwrap();
        assert!(content.windows(100).any(|window| window == [1; 100]), "the flush came before the fsync");
    }

    #[test]
    fn sync_fsyncs_each_large_page_once() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, watch) = watched(folder.path());
        put(&engine, "large", vec![9; 1 << 20]);
        engine.sync().unwrap();
        let in_blobs = |path: &PathBuf| path.to_string_lossy().contains("/blobs/");
        let first = watch.paths.lock().unwrap().iter().filter(|path| in_blobs(path)).count();
        assert!(first > 0, "a page of a mebibyte lies in its own file");
        engine.sync().unwrap();
        assert_eq!(watch.paths.lock().unwrap().iter().filter(|path| in_blobs(path)).count(), first);
    }

    #[test]
    fn a_snapshot_that_was_cut_short_while_opening_damages_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let open = || SledEngine::open(folder.path(), 1 << 20).map_err(|failed| failed.message).unwrap();
        let engine = open();
        put(&engine, "key", vec![1; 100]);
        engine.sync().unwrap();
        drop(engine);
        fs::write(folder.path().join("sled/snap.7FFFFFFFFFFFFFFF.generating"), [0; 7]).unwrap();
        assert_eq!(open().get(b"key").unwrap().unwrap(), vec![1; 100]);
    }

    #[test]
    fn a_failed_fsync_is_an_error_of_sync() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, watch) = watched(folder.path());
        put(&engine, "key", vec![1]);
        watch.fail.store(true, Ordering::Relaxed);
        assert!(engine.sync().unwrap_err().message.contains("planted"));
    }
}
