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

/// Puts a part of the volume aside, under the next free number, durably. One that is not there was put aside before.
pub(super) fn put(data: &Path, part: &str, why: &str) -> Result<(), RunError> {
    let from = data.join(part);
    if !is_named(&from)? {
        return Ok(());
    }
    let before = all(data)?;
    if before.len() >= ASIDE_MAX {
        let name =
            |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        return Err(VolumeError::Aside { folder: data.to_owned(), parts: before.iter().map(name).collect() }.into());
    }
    let mut number = 1;
    let to = loop {
        let to = data.join(format!("{part}{LOST}.{number}"));
        if !is_named(&to)? {
            break to;
        }
        number += 1;
    };
    error!(why, part, aside = %to.display(), "a part of the volume is lost and put aside, replicas are built anew");
    fs::rename(&from, &to).map_err(|source| failed("put aside", &from, source))?;
    disk::sync_folder(data).map_err(|source| failed("sync", data, source))
}

/// True if there is something by that name, be it a link to nowhere.
fn is_named(path: &Path) -> Result<bool, RunError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(failed("look at", path, source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_put_aside_under_a_free_number_and_one_that_is_not_there_takes_none() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        std::os::unix::fs::symlink("nowhere", data.join("store.lost.1")).unwrap();
        for (content, aside) in [("a", "store.lost.2"), ("b", "store.lost.3"), ("c", "store.lost.4")] {
            fs::create_dir(data.join("store")).unwrap();
            fs::write(data.join("store/content"), content).unwrap();
            put(data, "store", "a test").unwrap();
            assert_eq!(fs::read_to_string(data.join(aside).join("content")).unwrap(), content);
        }
        // A start that died right after this goes on with the next.
        put(data, "store", "a test").unwrap();
        fs::create_dir(data.join("store")).unwrap();
        let refused = put(data, "store", "a test").unwrap_err().to_string();
        assert!(refused.contains("store.lost.4"), "{refused}");
        assert!(data.join("store").is_dir());
    }
}
