//! The store on fjall 3: one key space, so that there is one memtable and one journal to budget for.

mod journals;
mod versions;

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fjall::compaction::Leveled;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use skerry_core::engine::{Engine, EngineError, EngineWrite};

use self::journals::SealedJournals;
use self::versions::VersionsWatch;
use super::{Cause, Failed, Sizes};
use crate::disk;

/// A memtable of this size is written out in the background; another takes its place meanwhile.
const MEMTABLE_BYTES_MAX: u64 = 32 << 20;
const MEMTABLE_BYTES_MIN: u64 = 1 << 20;
/// Tables that a merge writes are of this size. What it merges takes its space twice until it is done.
const TABLE_BYTES_MAX: u64 = 64 << 20;
const TABLE_BYTES_MIN: u64 = 1 << 20;
/// A table is so small a part of the volume.
const TABLES_PER_VOLUME: u64 = 512;
/// So many tables' space is kept for merges. One that is under way takes less than half beside what it merges: tables that
/// wait for the first level are at most thirty memtables, each half a table, and its own are four and as many as were merged
/// into it before; the levels below merge a dozen at once. The next may begin before what the last one has replaced is gone.
const MERGED_TABLES_MAX: u64 = 64;
/// One of two writes full memtables out while the other compacts. A single one leaves them waiting behind compactions:
/// under steady writes they pile up in memory, several times the cache, and all of them are read again at the next start.
/// The first hands merges on to itself while the other is at one, and spins meanwhile. With three there are two to take them,
/// but also two merges at once, which take their space at once.
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
    _versions: VersionsWatch,
}

impl FjallEngine {
    /// Opens or makes a store. Panics inside fjall are the caller's to catch.
    pub(super) fn open(folder: &Path, sizes: Sizes) -> Result<Self, Failed> {
        let folder = folder.join("fjall");
        let Sizes { cache_bytes, volume_bytes } = sizes;
        let table_bytes = table_bytes(volume_bytes);
        // Two memtables may be in memory at once; the rest is for blocks.
        let memtable_bytes = (cache_bytes / 8).min(table_bytes / 2).clamp(MEMTABLE_BYTES_MIN, MEMTABLE_BYTES_MAX);
        // A store that was made before keeps memtables as large as this, whatever the volume.
        let kept_bytes = (cache_bytes / 8).clamp(MEMTABLE_BYTES_MIN, MEMTABLE_BYTES_MAX);
        let block_bytes = cache_bytes.saturating_sub(2 * kept_bytes).max(MEMTABLE_BYTES_MIN);
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
        let opened = Database::builder(&folder)
            .cache_size(block_bytes)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .worker_threads(WORKERS)
            .open();
        // Also where it did not open for another reason.
        if let Some(cut) = sealed.cut().map_err(other)? {
            return Err(Failed { cause: Cause::Damage, message: format!("fjall: a sealed journal is damaged: {cut}") });
        }
        let database = opened.map_err(failed)?;
        sealed.are_whole().map_err(other)?;
        // A store keeps those with which it was made.
        let options = || {
            let leveled = Leveled::default().with_table_target_size(table_bytes);
            KeyspaceCreateOptions::default().max_memtable_size(memtable_bytes).compaction_strategy(Arc::new(leveled))
        };
        let records = database.keyspace("records", options).map_err(failed)?;
        let versions = VersionsWatch::start(database.clone()).map_err(other)?;
        Ok(Self { database, records, folder, _versions: versions })
    }
}

fn table_bytes(volume_bytes: u64) -> u64 {
    (volume_bytes / TABLES_PER_VOLUME).clamp(TABLE_BYTES_MIN, TABLE_BYTES_MAX)
}

/// What merges of a store on a volume of this size may take for a while.
pub(super) fn merge_bytes_max(volume_bytes: u64) -> u64 {
    MERGED_TABLES_MAX * table_bytes(volume_bytes)
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
