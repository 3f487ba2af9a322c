//! The stores that a node can run on, behind [`skerry_core::engine::Engine`].
//!
//! Assumes: one process has the folder. The kind of store is written into the folder, so that a resource that names
//! another one is told so instead of finding an empty store. Every call blocks: keep them off the async threads.

mod fjall;
mod kind;
mod reading;
mod sled;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skerry_core::engine::{Engine, EngineError};

pub use self::fjall::FjallEngine;
use self::fjall::{THREADS_FAILED, merge_bytes_max};
pub use self::kind::EngineKind;
pub use self::reading::{Reading, read_through};
pub use self::sled::SledEngine;
use self::sled::has_said as has_sled_said;
use crate::newer::Newer;
use crate::{disk, panics};

/// A store that the worker writes and another thread syncs.
pub type SharedEngine = Arc<dyn Engine + Send + Sync>;

/// The least memory that a store may be given as cache: below it an engine does not open, or reads every page anew.
pub const CACHE_BYTES_MIN: u64 = 1 << 20;
/// The most: no machine has more, so a larger number is a mistake.
pub const CACHE_BYTES_MAX: u64 = 1 << 43;

/// Why a store could not be opened. Only [`OpenError::Damaged`] says that it never will be.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store's folder cannot be used.
    #[error("failed to open the store in {}", folder.display())]
    Folder {
        /// Folder of the store.
        folder: PathBuf,
        /// Error of the file system.
        #[source]
        source: io::Error,
    },
    /// The folder holds another kind of store.
    #[error("{} holds a store of kind {found}, not of kind {wanted}", folder.display())]
    OtherKind {
        /// Folder of the store.
        folder: PathBuf,
        /// Kind of the store that the folder holds.
        found: EngineKind,
        /// Kind of store that the configuration asks for.
        wanted: EngineKind,
    },
    /// The store is of a later version of this program, or of the engine.
    #[error(transparent)]
    Newer(#[from] Newer),
    /// The folder's mark cannot be read.
    #[error("{} has an unreadable mark of its kind of store: {mark:?}", folder.display())]
    Mark {
        /// Folder of the store.
        folder: PathBuf,
        /// The mark as it was read.
        mark: String,
    },
    /// The store cannot be opened, for a reason that is not in its data: it may be whole.
    #[error("{kind} store in {} cannot be opened: {message}", folder.display())]
    Unusable {
        /// Folder of the store.
        folder: PathBuf,
        /// Kind of the store.
        kind: EngineKind,
        /// The engine's own error message.
        message: String,
    },
    /// The store's data is damaged: its replicas are lost and must be built anew from their peers.
    #[error("{kind} store in {} is damaged: {message}", folder.display())]
    Damaged {
        /// Folder of the store.
        folder: PathBuf,
        /// Kind of the store.
        kind: EngineKind,
        /// The engine's own error message.
        message: String,
    },
}

/// What an engine says of its store when it does not open.
pub(crate) struct Failed {
    /// The engine's own error message.
    pub(crate) message: String,
    pub(crate) cause: Cause,
}

/// Why a store does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Its data is not as it was written.
    Damage,
    /// Its data is of a later version.
    Newer,
    /// Settings, permissions, space, memory, or another process.
    Other,
}

/// Opens the store in a folder, or makes one. `cache_bytes` is what the store may keep in memory, by what a process really
/// holds and not by what an engine calls its cache.
///
/// Everything that can be read in it then is durable, whatever the process before had synced.
pub fn open(kind: EngineKind, folder: &Path, cache_bytes: u64) -> Result<SharedEngine, OpenError> {
    open_sized(kind, folder, Sizes { cache_bytes, volume_bytes: u64::MAX })
}

/// What a store may take of memory and disk.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Memory that it may keep, by what a process really holds.
    pub cache_bytes: u64,
    /// Size of its volume. A store that is made on a small one works in small pieces, for which there is space.
    pub volume_bytes: u64,
}

/// Opens the store in a folder, or makes one for a volume of this size.
pub fn open_sized(kind: EngineKind, folder: &Path, sizes: Sizes) -> Result<SharedEngine, OpenError> {
    kind::claim(kind, folder)?;
    let opened = panics::catch(|| -> Result<SharedEngine, Failed> {
        Ok(match kind {
            EngineKind::Sled => Arc::new(SledEngine::open(folder, sizes.cache_bytes)?),
            EngineKind::Fjall => Arc::new(FjallEngine::open(folder, sizes)?),
        })
    });
    let folder = folder.to_owned();
    match opened {
        Ok(Ok(engine)) => {
            disk::sync_tree(&folder).map_err(|source| OpenError::Folder { folder, source })?;
            Ok(engine)
        }
        Ok(Err(Failed { message, cause: Cause::Other })) => Err(OpenError::Unusable { folder, kind, message }),
        Ok(Err(Failed { message, cause: Cause::Newer })) => Err(Newer::found(&folder, message).into()),
        Ok(Err(Failed { message, cause: Cause::Damage })) => Err(judge(folder, kind, message)),
        Err(panic) if is_want_of_memory(&panic) => {
            Err(OpenError::Unusable { folder, kind, message: format!("it panicked: {panic}") })
        }
        Err(panic) => Err(judge(folder, kind, format!("it panicked: {panic}"))),
    }
}

/// Space that a store of this kind may take for a while beside what it holds, on a volume of this size: it works in the
/// background, also on a volume that counts as full, and cannot go on without.
pub fn working_bytes(kind: EngineKind, volume_bytes: u64) -> u64 {
    match kind {
        EngineKind::Sled => 0,
        EngineKind::Fjall => merge_bytes_max(volume_bytes),
    }
}

/// Removes what a store that has run out of space left half written, as far as that can be told before it is opened. To be
/// called while no other process has the volume.
pub fn remove_unfinished(folder: &Path) -> io::Result<()> {
    SledEngine::remove_unfinished(folder)
}

/// Damage is what is left when every file can be read and written and there is space: whatever else can be the reason
/// may be gone at the next start.
fn judge(folder: PathBuf, kind: EngineKind, message: String) -> OpenError {
    match disk::hinders(&folder) {
        Ok(None) => OpenError::Damaged { folder, kind, message },
        Ok(Some(why)) => OpenError::Unusable { folder, kind, message: format!("{message}; {why}") },
        Err(source) => OpenError::Folder { folder, source },
    }
}

/// True if a panic in an engine that opens this folder says that the store there is damaged.
pub fn is_damage_told_by(panic: &str, folder: &Path) -> bool {
    !is_want_of_memory(panic) && matches!(disk::hinders(folder), Ok(None))
}

/// True if an engine has failed without a word of what it met, or of what that did to its data: it may be damaged. sled may
/// have written over what it had copied elsewhere, where just the copy was refused by the disk.
pub fn is_unexplained(error: &EngineError) -> bool {
    !error.is_damage && (error.message == THREADS_FAILED || has_sled_said(&error.message))
}

/// True if one flipped bit is all that tells what was found from what was written.
fn is_one_bit_off(found: &[u8], written: &[u8]) -> bool {
    let bits = || found.iter().zip(written).map(|(found, written)| (found ^ written).count_ones()).sum::<u32>();
    found.len() == written.len() && bits() == 1
}

/// sled panics where it gets no memory or no thread, and nothing of that is left to be seen afterwards.
fn is_want_of_memory(panic: &str) -> bool {
    let said = ["converting zero into `Owned`", "failed to allocate", "kind: OutOfMemory", "kind: WouldBlock"];
    said.iter().any(|words| panic.contains(words))
}

/// True if an error of the file system says that files are not as they were written.
pub(crate) fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, InvalidData, NotFound, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | InvalidData | NotFound | AlreadyExists)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_for_want_of_memory_or_threads_says_nothing_of_the_data() {
        let thread = format!("{:?}", io::Error::from_raw_os_error(11));
        for said in ["converting zero into `Owned`", "failed to allocate critical IO buffer", &thread] {
            assert!(is_want_of_memory(said), "{said}");
        }
        assert!(!is_want_of_memory("called active_to_inactive on Free"));
    }
}
