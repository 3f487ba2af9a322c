//! The stores that a node can run on, behind [`skerry_core::engine::Engine`].
//!
//! Assumes: one process has the folder. The kind of store is written into the folder, so that a resource that names
//! another one is told so instead of finding an empty store. Every call blocks: keep them off the async threads.

mod fjall;
mod kind;
mod sled;

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skerry_core::engine::Engine;

pub use self::fjall::FjallEngine;
pub use self::kind::EngineKind;
pub use self::sled::SledEngine;

/// A store that the worker writes and another thread syncs.
pub type SharedEngine = Arc<dyn Engine + Send + Sync>;

/// Why a store could not be opened. With [`OpenError::Store`] and [`OpenError::Panicked`] the replicas of this node are
/// lost and must be built anew from their peers.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be used.
    #[error("failed to open the store in {}", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The folder holds another kind of store.
    #[error("{} holds a store of kind {found}, not of kind {wanted}", folder.display())]
    OtherKind {
        /// Which.
        folder: PathBuf,
        /// In the folder.
        found: EngineKind,
        /// Asked for.
        wanted: EngineKind,
    },
    /// The folder's mark cannot be read, or is of a later version.
    #[error("{} has an unreadable mark of its kind of store: {mark:?}", folder.display())]
    Mark {
        /// Which.
        folder: PathBuf,
        /// What was found.
        mark: String,
    },
    /// The store says that it cannot be opened.
    #[error("{kind} store in {} is unusable: {message}", folder.display())]
    Store {
        /// Which.
        folder: PathBuf,
        /// Its kind.
        kind: EngineKind,
        /// What it said.
        message: String,
    },
    /// The store panicked while it was opened, as a damaged one may.
    #[error("{kind} store in {} panicked while opening: {message}", folder.display())]
    Panicked {
        /// Which.
        folder: PathBuf,
        /// Its kind.
        kind: EngineKind,
        /// What it said.
        message: String,
    },
}

/// Opens the store in a folder, or makes one. `cache_bytes` is what the store may keep in memory; a real process takes
/// up to about twice that.
pub fn open(kind: EngineKind, folder: &Path, cache_bytes: u64) -> Result<SharedEngine, OpenError> {
    kind::claim(kind, folder)?;
    let opened = catch_unwind(AssertUnwindSafe(|| -> Result<SharedEngine, String> {
        Ok(match kind {
            EngineKind::Sled => Arc::new(SledEngine::open(folder, cache_bytes)?),
            EngineKind::Fjall => Arc::new(FjallEngine::open(folder, cache_bytes)?),
        })
    }));
    let folder = folder.to_owned();
    match opened {
        Ok(Ok(engine)) => Ok(engine),
        Ok(Err(message)) => Err(OpenError::Store { folder, kind, message }),
        Err(panic) => Err(OpenError::Panicked { folder, kind, message: panic_message(panic.as_ref()) }),
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}
