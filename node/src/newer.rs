//! What a later version of this program wrote: whole, and not for this one to read or to change. It is never counted as
//! damage, or a node whose image is put back would give up all that it has.

use std::path::{Path, PathBuf};

/// Something on the volume that only a later version of this program can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} was written by a newer version of this program ({what}): run that version, nothing was changed", path.display())]
pub struct Newer {
    /// File or folder that a later release wrote.
    pub path: PathBuf,
    /// What this release does not know, in words.
    pub what: String,
}

impl Newer {
    /// A later release wrote this file or folder.
    pub(crate) fn found(path: &Path, what: impl ToString) -> Self {
        Self { path: path.to_owned(), what: what.to_string() }
    }

    /// The file or folder has a format with a higher number than is known here.
    pub(crate) fn format(path: &Path, found: impl std::fmt::Display, known: impl std::fmt::Display) -> Self {
        Self::found(path, format_args!("its format is {found}, up to {known} is known here"))
    }
}
