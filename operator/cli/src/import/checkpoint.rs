//! How far an import has come, kept in a small file so that an interrupted one goes on where it was. Rows after the mark
//! may have been written too; writing them again changes nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::mark::Mark;
use super::rows::{Line, RowError};

/// What is being imported, and how: an import goes on only if all of this is as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Id of the database that is imported into.
    pub(crate) cluster: String,
    /// Name of the table that is imported into.
    pub(crate) table: String,
    /// The file's full path; `-` = stdin.
    pub(crate) file: PathBuf,
    /// The templates, and how the file is read.
    pub(crate) templates: Vec<String>,
    /// For each column of a CSV file: true if it becomes a number.
    #[serde(default)]
    pub(crate) numeric: Vec<bool>,
}

/// The state file of an import.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    path: PathBuf,
    job: Job,
}

#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    job: Job,
    rows: u64,
    /// Checksum of those rows. Absent = it was written by an earlier release.
    check: Option<u64>,
}

/// How far an earlier import came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Earlier {
    /// Number of rows at the start of the file that are imported.
    pub(crate) rows: u64,
    check: u64,
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
    #[error("one of the first {rows} rows, which are imported, is no longer what it was")]
    Changed { rows: u64 },
    #[error(transparent)]
    Row(#[from] RowError),
}

impl Job {
    fn differs(&self, other: &Self) -> Option<&'static str> {
        let pairs = [
            (self.cluster == other.cluster, "the database"),
            (self.table == other.table, "the table"),
            (self.file == other.file, "the file's name"),
            (self.templates == other.templates, "a template or how the file is read"),
            (self.numeric == other.numeric, "which columns are numbers (--types says so)"),
        ];
        pairs.into_iter().find(|(same, _)| !same).map(|(_, what)| what)
    }
}

impl Checkpoint {
    /// Opens the state file; tells what is done.
    pub(crate) fn open(path: PathBuf, job: Job) -> Result<(Self, Earlier), CheckpointError> {
        let earlier = match fs::read(&path) {
            Ok(bytes) => {
                let saved: Saved = serde_json::from_slice(&bytes)
                    .map_err(|source| CheckpointError::Garbled { path: path.clone(), source })?;
                if let Some(differs) = saved.job.differs(&job) {
                    return Err(CheckpointError::Other { path, differs });
                }
                let Some(check) = saved.check else {
                    return Err(CheckpointError::Other { path, differs: "the release of the command line" });
                };
                Earlier { rows: saved.rows, check }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Earlier::default(),
            Err(source) => return Err(CheckpointError::Io { path, source }),
        };
        Ok((Self { path, job }, earlier))
    }

    /// Notes that all rows below the mark are done.
    pub(crate) fn save(&self, mark: &Mark) -> Result<(), CheckpointError> {
        let failed = |source| CheckpointError::Io { path: self.path.clone(), source };
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let saved = Saved { job: self.job.clone(), rows: mark.below(), check: Some(mark.check()) };
        let text = serde_json::to_vec(&saved).map_err(|e| failed(e.into()))?;
        let new = Self::next_to(&self.path);
        fs::write(&new, text).and_then(|()| fs::rename(&new, &self.path)).map_err(failed)
    }

    /// Removes the state file, since the import is complete.
    pub(crate) fn remove(self) -> Result<(), CheckpointError> {
        removed(&self.path)
    }

    /// Removes a state file, if there is one. A file that holds anything else is somebody's, and stays.
    pub(crate) fn forget(path: &Path) -> Result<(), CheckpointError> {
        match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(CheckpointError::Io { path: path.to_owned(), source }),
            // A crash may have left it without content.
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => {
                serde_json::from_slice::<Saved>(&bytes)
                    .map_err(|source| CheckpointError::Garbled { path: path.to_owned(), source })?;
            }
        }
        removed(path)
    }

    /// The file that takes the state file's place whenever progress is noted.
    pub(crate) fn next_to(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        name.into()
    }
}

fn removed(path: &Path) -> Result<(), CheckpointError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(CheckpointError::Io { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

impl Earlier {
    /// Passes over the rows that are done, if they are still what they were: the rest of the file may have been mended.
    pub(crate) fn pass_over(
        self,
        lines: &mut impl Iterator<Item = Result<Line, RowError>>,
    ) -> Result<Mark, CheckpointError> {
        let mut mark = Mark::start();
        while mark.below() < self.rows {
            let Some(line) = lines.next() else { break };
            let row = mark.begin(line?.check);
            mark.done(row);
        }
        match mark.below() == self.rows && mark.check() == self.check {
            true => Ok(mark),
            false => Err(CheckpointError::Changed { rows: self.rows }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::rows::read;
    use crate::import::rows::tests::CSV;

    fn job(template: &str) -> Job {
        let (cluster, table) = ("c".to_owned(), "t".to_owned());
        Job { cluster, table, file: "a.csv".into(), templates: vec![template.to_owned()], numeric: Vec::new() }
    }

    fn after(text: &'static str, rows: u64) -> Mark {
        let (mut mark, mut lines) = (Mark::start(), read(text.as_bytes(), &CSV));
        for _ in 0..rows {
            let row = mark.begin(lines.next().unwrap().unwrap().check);
            mark.done(row);
        }
        mark
    }

    #[test]
    fn import_goes_on_only_with_the_same_templates() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("deep/state.json");
        let (checkpoint, earlier) = Checkpoint::open(state.clone(), job("{a}")).unwrap();
        assert_eq!(earlier, Earlier::default());
        let mark = after("a\n1\n2\n", 2);
        checkpoint.save(&mark).unwrap();
        assert_eq!(Checkpoint::open(state.clone(), job("{a}")).unwrap().1.rows, 2);
        let other = Checkpoint::open(state.clone(), job("{b}")).unwrap_err().to_string();
        assert!(other.ends_with("a template or how the file is read differs"), "{other}");
        checkpoint.remove().unwrap();
        assert_eq!(Checkpoint::open(state, job("{a}")).unwrap().1, Earlier::default());
    }

    #[test]
    fn mended_file_goes_on_if_what_is_imported_is_unchanged() {
        let earlier = Earlier { rows: 2, check: after("a\n1\n2\nbroken\n", 2).check() };
        let over = |text: &'static str| earlier.pass_over(&mut read(text.as_bytes(), &CSV));
        assert_eq!(over("a\n1\n2\nmended\n4\n").unwrap().below(), 2);
        for changed in ["a\n1\n3\nmended\n", "a\n1\n"] {
            assert!(matches!(over(changed), Err(CheckpointError::Changed { rows: 2 })), "{changed}");
        }
    }

    #[test]
    fn only_a_state_file_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state.json");
        fs::write(&state, "id,name\n1,a\n").unwrap();
        assert!(matches!(Checkpoint::forget(&state), Err(CheckpointError::Garbled { .. })));
        assert_eq!(fs::read(&state).unwrap(), b"id,name\n1,a\n");
        Checkpoint { path: state.clone(), job: job("{a}") }.save(&after("a\n1\n", 1)).unwrap();
        Checkpoint::forget(&state).unwrap();
        assert!(fs::metadata(&state).is_err());
        Checkpoint::forget(&state).unwrap();
    }

    #[test]
    fn state_of_an_earlier_release_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state.json");
        let text = r#"{"job": {"cluster": "c", "table": "t", "file": "a.csv", "bytes": 1, "modified_ms": 2, "templates": ["{a}"]}, "rows": 3}"#;
        fs::write(&state, text).unwrap();
        let other = Checkpoint::open(state, job("{a}")).unwrap_err().to_string();
        assert!(other.ends_with("the release of the command line differs"), "{other}");
    }
}
