//! A durable note that the store was found damaged while the node ran, with the reason: without it the next start would
//! open the same store, meet the same damage and end again, for ever.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use skerry_core::engine::EngineError;
use tracing::error;

use crate::disk;
use crate::doubt::Doubt;
use crate::engine;

const FILE: &str = "store.damaged";

/// The file on a volume that notes that its store is damaged.
#[derive(Debug, Clone)]
pub struct DamageNote {
    path: PathBuf,
}

impl DamageNote {
    /// Of the volume in this folder.
    pub fn of(data: &Path) -> Self {
        Self { path: data.join(FILE) }
    }

    /// Path of the file that holds the note.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the note if this error says that the store is damaged. If it cannot be left, the next start finds out anew. An
    /// error that does not say what the engine met has the next start read the store through.
    pub fn leave_for(&self, error: &EngineError) {
        if !error.is_damage {
            if let Some(volume) = self.path.parent().filter(|_| engine::is_unexplained(error)) {
                Doubt::of(volume).raise(&error.message);
            }
            return;
        }
        if let Err(failure) = disk::write_atomically(&self.path, error.to_string().as_bytes()) {
            error!(error = %failure, "failed to note that the store is damaged");
        }
    }

    /// What the note says. `None` = there is none.
    pub fn read(&self) -> io::Result<Option<String>> {
        let bytes = disk::read_if_there(&self.path)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The damaged store was put aside.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)?;
        self.path.parent().map_or(Ok(()), disk::sync_folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_damage_is_noted_and_the_note_stays_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let note = DamageNote::of(folder.path());
        note.leave_for(&EngineError::failed("no space left"));
        assert_eq!(note.read().unwrap(), None);
        fs::create_dir(folder.path().join("store")).unwrap();
        let is_doubtful = || Doubt::of(folder.path()).read().unwrap().is_some_and(|found| found.is_due());
        assert!(!is_doubtful());
        note.leave_for(&EngineError::failed("sled: IO error: Input/output error (os error 5)"));
        assert!(is_doubtful(), "sled does not say what became of its data");
        note.leave_for(&EngineError::damaged("a page has another checksum"));
        assert_eq!(
            DamageNote::of(folder.path()).read().unwrap().unwrap(),
            "engine failed: a page has another checksum"
        );
        note.remove().unwrap();
        assert_eq!(note.read().unwrap(), None);
    }
}
