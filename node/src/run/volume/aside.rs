//! What is damaged, or is not what the identity knows, is put aside: renamed, never changed, never overwritten, and removed
//! by people only. It may hold what no other copy has.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tracing::error;

use super::{RunError, failed};
use crate::disk;
use crate::identity::VolumeError;

/// Each takes space that the copies built anew need too. A node that has put aside so many has a fault that more of them
/// do not mend.
const ASIDE_MAX: usize = 4;
/// Between a part's name and the number.
const LOST: &str = ".lost";

/// Everything that was put aside on a volume, by name.
pub(super) fn all(data: &Path) -> Result<Vec<PathBuf>, RunError> {
    let listed = |source| failed("list", data, source);
    let mut found = Vec::new();
    for entry in fs::read_dir(data).map_err(listed)? {
        let path = entry.map_err(listed)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.contains(LOST) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Puts a part of the volume aside, under the next free number, durably.
pub(super) fn put(data: &Path, part: &str, why: &str) -> Result<(), RunError> {
    let before = all(data)?;
    if before.len() >= ASIDE_MAX {
        let name =
            |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        return Err(VolumeError::Aside { folder: data.to_owned(), parts: before.iter().map(name).collect() }.into());
    }
    let from = data.join(part);
    let mut number = 1;
    let to = loop {
        let to = data.join(format!("{part}{LOST}.{number}"));
        if !to.try_exists().map_err(|source| failed("look at", &to, source))? {
            break to;
        }
        number += 1;
    };
    error!(why, part, aside = %to.display(), "a part of the volume is lost and put aside, replicas are built anew");
    match fs::rename(&from, &to) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(failed("put aside", &from, source)),
    }
    disk::sync_folder(data).map_err(|source| failed("sync", data, source))
}
