//! The store on fjall 3: one key space, so that there is one memtable and one journal to budget for.

mod journals;

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use skerry_core::engine::{Engine, EngineError, EngineWrite};

use self::journals::SealedJournals;
use super::{Cause, Failed};
use crate::disk;

/// A memtable of this size is written out in the background; another takes its place meanwhile.
const MEMTABLE_BYTES_MAX: u64 = 32 << 20;
const MEMTABLE_BYTES_MIN: u64 = 1 << 20;
/// One of two writes full memtables out while the other compacts. A single one leaves them waiting behind compactions:
/// under steady writes they pile up in memory, several times the cache, and all of them are read again at the next start.
const WORKERS: usize = 2;
/// The least that fjall takes, to leave small volumes their space.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;
/// What calls say once fjall's own threads have ended: what those met, they tell only in the log.
pub(super) const THREADS_FAILED: &str = "fjall: its own threads have failed";
/// Of fjall's database, as its mark says, and of its trees, as their manifests say.
const VERSION: u8 = 3;

/// A store that keeps its data with fjall.
pub struct FjallEngine {
    database: Database,
    records: Keyspace,
    folder: PathBuf,
}

impl FjallEngine {
    /// Opens or makes a store. Panics inside fjall are the caller's to catch.
    pub(super) fn open(folder: &Path, cache_bytes: u64) -> Result<Self, Failed> {
        let folder = folder.join("fjall");
        // Two memtables may be in memory at once; the rest is for blocks.
        let memtable_bytes = (cache_bytes / 8).clamp(MEMTABLE_BYTES_MIN, MEMTABLE_BYTES_MAX);
        let block_bytes = cache_bytes.saturating_sub(2 * memtable_bytes).max(MEMTABLE_BYTES_MIN);
        let failed = |error: fjall::Error| Failed {
            cause: match is_damage(&error) {
                _ if is_of_later_version(&error, &folder) => Cause::Newer,
                true => Cause::Damage,
                false => Cause::Other,
            },
            message: format!("fjall: {error}"),
        };
        let other = |error: io::Error| Failed { cause: Cause::Other, message: format!("fjall: {error}") };
        let sealed = SealedJournals::look(&folder).map_err(other)?;
        let database = Database::builder(&folder)
            .cache_size(block_bytes)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .worker_threads(WORKERS)
            .open()
            .map_err(failed)?;
        if let Some(cut) = sealed.cut().map_err(other)? {
            return Err(Failed { cause: Cause::Damage, message: format!("fjall: a sealed journal is damaged: {cut}") });
        }
        let options = || KeyspaceCreateOptions::default().max_memtable_size(memtable_bytes);
        let records = database.keyspace("records", options).map_err(failed)?;
        Ok(Self { database, records, folder })
    }
}

impl Engine for FjallEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let value = self.records.get(key).map_err(failed)?;
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
        for record in self.records.range(start..end) {
            let (key, value) = record.into_inner().map_err(failed)?;
            if visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, batch: Vec<EngineWrite>) -> Result<(), EngineError> {
        let mut together = self.database.batch();
        for write in &batch {
            match write {
                EngineWrite::Put(key, value) => together.insert(&self.records, key.as_ref(), value.as_ref()),
                EngineWrite::Delete(key) => together.remove(&self.records, key.as_ref()),
            }
        }
        together.commit().map_err(failed)
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.database.persist(PersistMode::SyncData).map_err(failed)
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        disk::folder_bytes(&self.folder).map_err(io_failed)
    }
}

fn failed(error: fjall::Error) -> EngineError {
    match error {
        fjall::Error::Poisoned => EngineError::failed(THREADS_FAILED),
        error => EngineError { is_damage: is_damage(&error), message: format!("fjall: {error}") },
    }
}

fn io_failed(error: io::Error) -> EngineError {
    EngineError::failed(format!("fjall: {error}"))
}

/// Whatever fjall reads and cannot make sense of.
fn is_damage(error: &fjall::Error) -> bool {
    use fjall::Error::{InvalidVersion, Io, KeyspaceDeleted, Locked, Poisoned, Storage};
    match error {
        InvalidVersion(_) => true,
        Storage(fjall::LsmError::InvalidVersion(version)) => !is_later(*version),
        Io(error) | Storage(fjall::LsmError::Io(error)) => super::is_damage(error),
        Locked | Poisoned | KeyspaceDeleted => false,
        _ => true,
    }
}

/// A later version is told from a damaged one by the mark before it. There was no earlier one in this program.
fn is_of_later_version(error: &fjall::Error, folder: &Path) -> bool {
    match error {
        fjall::Error::InvalidVersion(_) => {
            let mark = fs::read(folder.join("version")).unwrap_or_default();
            mark.strip_prefix(b"FJL").and_then(|version| version.first()).is_some_and(|version| is_later(*version))
        }
        fjall::Error::Storage(fjall::LsmError::InvalidVersion(version)) => is_later(*version),
        _ => false,
    }
}

/// No checksum covers the number. One flipped bit makes 7 or more of ours, and a release with such a fjall has another mark
/// in the store's folder.
fn is_later(version: u8) -> bool {
    version > VERSION && (version ^ VERSION).count_ones() > 1
}
