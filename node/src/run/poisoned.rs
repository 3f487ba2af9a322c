//! What a node whose log or store has failed says at its end: what failed, what that means for its data, and what to do.

use std::fmt;
use std::io;
use std::path::Path;
use std::process;
use std::thread;
use std::time::Duration;

use super::EXIT_POISONED;
use crate::damage::DamageNote;
use crate::doubt::Doubt;

/// A node whose log or store has failed ends in less. It may still be held up by whatever lies on the disk that has failed, such
/// as the pipe that its log goes to.
const END_MAX: Duration = Duration::from_secs(7);

/// Has the process end in a while whatever holds it up, without a word if need be.
pub(super) fn end_for_certain() {
    let end = || {
        thread::sleep(END_MAX);
        process::exit(EXIT_POISONED.into());
    };
    // Where no thread can be had the process ends by itself, if nothing holds it up.
    let _started = thread::Builder::new().name("last-end".to_owned()).spawn(end);
}

/// Log or store have failed, and the process ends: nothing is tried again before everything was read anew from the disk.
#[derive(Debug, thiserror::Error)]
#[error(
    "log or store failed: {reason}; {data}. Start the node again; if it ends so again, look at the disk and its file system, or replace the node by one with an empty volume"
)]
pub struct Poisoned {
    reason: String,
    data: Data,
}

/// What is known of the data on the volume.
#[derive(Debug)]
enum Data {
    Whole,
    Doubtful,
    Damaged,
    Unknown(io::Error),
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str(
                "nothing says that data is damaged: what failed was acknowledged to nobody, and the next start goes by what the disk has",
            ),
            Self::Doubtful => f.write_str("the store may be damaged, and the next start reads it through"),
            Self::Damaged => {
                f.write_str("the store is damaged: the next start puts it aside, and its copies are built anew from others")
            }
            Self::Unknown(error) => write!(f, "whether data is damaged cannot be told, for the volume cannot be read: {error}"),
        }
    }
}

impl Poisoned {
    /// Of a node that failed for this reason. What was noted of its store on the volume was noted before.
    pub(super) fn of(reason: &str, volume: &Path) -> Self {
        let data = known(volume).unwrap_or_else(Data::Unknown);
        Self { reason: reason.to_owned(), data }
    }

    /// Of one whose volume cannot be looked at.
    pub(super) fn unseen(reason: &str) -> Self {
        Self { reason: reason.to_owned(), data: Data::Unknown(io::ErrorKind::TimedOut.into()) }
    }
}

fn known(volume: &Path) -> io::Result<Data> {
    if DamageNote::of(volume).read()?.is_some() {
        return Ok(Data::Damaged);
    }
    let is_due = Doubt::of(volume).read()?.is_some_and(|found| found.is_due());
    Ok(if is_due { Data::Doubtful } else { Data::Whole })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use skerry_core::engine::EngineError;

    use super::*;

    #[test]
    fn the_end_says_what_failed_and_what_the_notes_say_of_the_data() {
        let folder = tempfile::tempdir().unwrap();
        let said = || Poisoned::of("log failed: Input/output error (os error 5)", folder.path()).to_string();
        for words in ["os error 5", "nothing says that data is damaged", "Start the node again"] {
            assert!(said().contains(words), "{}", said());
        }
        fs::create_dir(folder.path().join("store")).unwrap();
        Doubt::of(folder.path()).raise("its own threads have failed");
        assert!(said().contains("may be damaged, and the next start reads it through"), "{}", said());
        DamageNote::of(folder.path()).leave_for(&EngineError::damaged("a page has another checksum"));
        assert!(said().contains("the store is damaged: the next start puts it aside"), "{}", said());
        fs::remove_file(DamageNote::of(folder.path()).path()).unwrap();
        fs::create_dir(DamageNote::of(folder.path()).path()).unwrap();
        assert!(said().contains("cannot be told"), "{}", said());
    }
}
