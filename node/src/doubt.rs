//! A durable note that the store may be damaged though nothing has said so, which has a later start read it through.
//!
//! An engine's own threads end with what they met and tell it to nobody: calls only say that they have ended. sled tells what
//! it failed to write, and not what that did to its data; the same holds of what the disk refused after its process. A panic
//! may come of a page that does not fit another, or of anything else. What comes of damage comes back at every start.

use std::io;
use std::path::{Path, PathBuf};

use tracing::error;

use crate::disk;

const FILE: &str = "store.doubt";
/// So many points of doubt are a reason to read the store through. One panic is one: most have nothing to do with it.
const POINTS_MIN: u32 = 3;

/// What speaks for damage of a volume's store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// One for each panic, and enough for a reading where the engine itself has failed.
    points: u32,
    /// What was met last, in words.
    pub reason: String,
}

impl Found {
    /// True if the store is to be read through before it is used. A reading that ends the process, or that somebody ends, is
    /// begun again only once as much has been met anew: else the store is used as before.
    pub fn is_due(&self) -> bool {
        self.points >= POINTS_MIN
    }

    fn parse(text: &str) -> Option<Self> {
        let (points, reason) = text.split_once(' ')?;
        Some(Self { points: points.parse().ok()?, reason: reason.to_owned() })
    }

    fn text(&self) -> String {
        format!("{} {}", self.points, self.reason)
    }
}

/// The file on a volume that says how doubtful its store is.
#[derive(Debug, Clone)]
pub struct Doubt {
    path: PathBuf,
}

impl Doubt {
    /// Of the volume in this folder.
    pub fn of(data: &Path) -> Self {
        Self { path: data.join(FILE) }
    }

    /// Path of the file that holds the note.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The engine's own threads have failed, or the disk has refused what it wrote. On a volume without space that is the
    /// reason.
    pub fn raise(&self, reason: &str) {
        if self.path.parent().is_some_and(|volume| matches!(disk::shortage(volume), Ok(None))) {
            self.add(POINTS_MIN, reason);
        }
    }

    /// A panic has ended the process. One that comes back at every start is soon enough for a reading.
    pub fn panicked(&self, reason: &str) {
        self.add(1, reason);
    }

    fn add(&self, points: u32, reason: &str) {
        // The store lies beside the note. Without one there is nothing to doubt, and a fresh volume stays fresh.
        if !self.path.with_extension("").is_dir() {
            return;
        }
        let had = self.read().ok().flatten().map_or(0, |found| found.points);
        self.write(&Found { points: had.saturating_add(points), reason: reason.replace('\n', " ") });
    }

    /// A reading begins: one that never ends is not to be begun at every start, only for what is met after it.
    pub fn reads(&self, found: &Found) {
        self.write(&Found { points: 0, ..found.clone() });
    }

    /// If it cannot be written, the next start is as this one was.
    fn write(&self, found: &Found) {
        if let Err(failure) = disk::write_atomically(&self.path, found.text().as_bytes()) {
            error!(error = %failure, "failed to note that the store may be damaged");
        }
    }

    /// What speaks for damage. `None` = nothing. A note that cannot be understood is reason enough for a reading.
    pub fn read(&self) -> io::Result<Option<Found>> {
        let Some(bytes) = disk::read_if_there(&self.path)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Some(Found::parse(&text).unwrap_or(Found { points: POINTS_MIN, reason: text })))
    }

    /// The store was read through, put aside, or closed in good order.
    pub fn remove(&self) -> io::Result<()> {
        let was_there = disk::remove_if_there(&self.path)?;
        self.path.parent().filter(|_| was_there).map_or(Ok(()), disk::sync_folder)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn is_due(doubt: &Doubt) -> bool {
        doubt.read().unwrap().is_some_and(|found| found.is_due())
    }

    #[test]
    fn threads_that_failed_are_reason_enough_and_panics_only_once_there_are_three() {
        let folder = tempfile::tempdir().unwrap();
        let doubt = Doubt::of(folder.path());
        doubt.panicked("before there is a store");
        assert_eq!(doubt.read().unwrap(), None);
        fs::create_dir(folder.path().join("store")).unwrap();
        for panics in 1..=3 {
            doubt.panicked("thread worker panicked:\nat a page");
            assert_eq!(is_due(&doubt), panics == 3);
        }
        assert_eq!(doubt.read().unwrap().unwrap().reason, "thread worker panicked: at a page");
        doubt.remove().unwrap();
        doubt.remove().unwrap();
        doubt.raise("its own threads have failed");
        assert!(is_due(&doubt));
    }

    #[test]
    fn a_reading_that_never_ends_is_begun_again_only_for_what_is_met_anew() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("store")).unwrap();
        let doubt = Doubt::of(folder.path());
        doubt.raise("its own threads have failed");
        for _ in 0..3 {
            assert!(is_due(&doubt));
            doubt.reads(&doubt.read().unwrap().unwrap());
            assert!(!is_due(&doubt));
            doubt.panicked("in the reading");
            assert!(!is_due(&doubt));
            doubt.raise("its own threads have failed");
        }
    }

    #[test]
    fn a_note_that_nobody_understands_is_reason_enough() {
        let folder = tempfile::tempdir().unwrap();
        let doubt = Doubt::of(folder.path());
        fs::write(doubt.path(), b"\xff").unwrap();
        assert!(is_due(&doubt));
    }
}
