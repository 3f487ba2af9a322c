//! How far an import has come, kept in a small file so that an interrupted one goes on where it was. Rows after the mark
//! may have been written too; writing them again changes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// What is being imported, and how: an import goes on only if all of this is as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Which database.
    pub(crate) cluster: String,
    /// Into which table.
    pub(crate) table: String,
    /// The file's full path.
    pub(crate) file: PathBuf,
    /// Its length.
    pub(crate) bytes: u64,
    /// When it last changed, in milliseconds since 1970.
    pub(crate) modified_ms: u64,
    /// The templates and the form of the value.
    pub(crate) templates: Vec<String>,
}

/// The file on disk.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    path: PathBuf,
    job: Job,
}

#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    job: Job,
    rows: u64,
}

/// Why an import cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointError {
    #[error("failed to use the state file {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("the state file {path} is not one")]
    Garbled { path: PathBuf, source: serde_json::Error },
    #[error("the state file {path} is of another import: {differs} differs")]
    Other { path: PathBuf, differs: &'static str },
}

impl Job {
    /// Looks at the file.
    pub(crate) fn of(file: &Path, cluster: String, table: String, templates: Vec<String>) -> io::Result<Self> {
        let file = fs::canonicalize(file)?;
        let about = fs::metadata(&file)?;
        let age = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let modified_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        Ok(Self { cluster, table, file, bytes: about.len(), modified_ms, templates })
    }

    fn differs(&self, other: &Self) -> Option<&'static str> {
        let pairs = [
            (self.cluster == other.cluster, "the database"),
            (self.table == other.table, "the table"),
            (self.file == other.file, "the file's name"),
            (self.bytes == other.bytes && self.modified_ms == other.modified_ms, "the file's content"),
            (self.templates == other.templates, "a template"),
        ];
        pairs.into_iter().find(|(same, _)| !same).map(|(_, what)| what)
    }
}

impl Checkpoint {
    /// Opens the state file; gives the number of rows that are done.
    pub(crate) fn open(path: PathBuf, job: Job) -> Result<(Self, u64), CheckpointError> {
        let rows = match fs::read(&path) {
            Ok(bytes) => {
                let saved: Saved = serde_json::from_slice(&bytes)
                    .map_err(|source| CheckpointError::Garbled { path: path.clone(), source })?;
                if let Some(differs) = saved.job.differs(&job) {
                    return Err(CheckpointError::Other { path, differs });
                }
                saved.rows
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(source) => return Err(CheckpointError::Io { path, source }),
        };
        Ok((Self { path, job }, rows))
    }

    /// Notes that this many rows are done.
    pub(crate) fn save(&self, rows: u64) -> Result<(), CheckpointError> {
        let failed = |source| CheckpointError::Io { path: self.path.clone(), source };
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let text = serde_json::to_vec(&Saved { job: self.job.clone(), rows }).map_err(|e| failed(e.into()))?;
        let new = self.path.with_extension("new");
        fs::write(&new, text).and_then(|()| fs::rename(&new, &self.path)).map_err(failed)
    }

    /// The import is complete.
    pub(crate) fn remove(self) -> Result<(), CheckpointError> {
        Self::forget(&self.path)
    }

    /// Removes a state file, if there is one.
    pub(crate) fn forget(path: &Path) -> Result<(), CheckpointError> {
        match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(CheckpointError::Io { path: path.to_owned(), source })
            }
            _ => Ok(()),
        }
    }
}

/// Rows finish in any order; this is up to where all of them have.
#[derive(Debug)]
pub(crate) struct Mark {
    below: u64,
    beyond: BTreeSet<u64>,
}

impl Mark {
    /// All rows below are done.
    pub(crate) fn at(below: u64) -> Self {
        Self { below, beyond: BTreeSet::new() }
    }

    /// One more is.
    pub(crate) fn done(&mut self, row: u64) {
        self.beyond.insert(row);
        while self.beyond.remove(&self.below) {
            self.below += 1;
        }
    }

    /// All rows below this are done.
    pub(crate) fn below(&self) -> u64 {
        self.below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_rises_only_over_finished_rows() {
        let mut mark = Mark::at(5);
        for (row, below) in [(7, 5), (6, 5), (5, 8), (9, 8), (8, 10)] {
            mark.done(row);
            assert_eq!(mark.below(), below);
        }
    }

    #[test]
    fn import_goes_on_only_with_the_same_file_and_templates() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.csv");
        fs::write(&file, "a\n1\n").unwrap();
        let job = |template: &str| Job::of(&file, "c".into(), "t".into(), vec![template.to_owned()]).unwrap();
        let state = folder.path().join("deep/state.json");

        let (checkpoint, rows) = Checkpoint::open(state.clone(), job("{a}")).unwrap();
        assert_eq!(rows, 0);
        checkpoint.save(42).unwrap();
        assert_eq!(Checkpoint::open(state.clone(), job("{a}")).unwrap().1, 42);
        let other = Checkpoint::open(state.clone(), job("{b}")).unwrap_err().to_string();
        assert!(other.ends_with("a template differs"), "{other}");
        fs::write(&file, "a\n1\n2\n").unwrap();
        let changed = Checkpoint::open(state.clone(), job("{a}")).unwrap_err().to_string();
        assert!(changed.ends_with("the file's content differs"), "{changed}");
        checkpoint.remove().unwrap();
        assert_eq!(Checkpoint::open(state, job("{a}")).unwrap().1, 0);
    }
}
