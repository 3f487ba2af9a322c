//! Has what is read at a start come from the disk, and not from what the operating system still holds of it.
//!
//! Where a write to the disk fails, Linux tells whoever syncs the file once, and then takes its pages for clean: a later sync
//! succeeds, and whoever reads the file gets what the disk never had. A node that started on that would take it for durable,
//! promise on it, and lose it with the next power cut. So before anything is read, each file is synced, after which none of
//! its pages waits for the disk, and then all of them are let go: what comes back is what the disk has.
//!
//! Assumes: no other process has the files, and nobody maps them into memory yet. What else may lie between a file and its
//! disk, such as the cache of a host below this machine, is not reached.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

use crate::disk::if_there;

/// A file could not be brought to the disk before it is read.
#[derive(Debug, thiserror::Error)]
#[error(
    "failed to sync {} before it is read: what it seems to hold may not be on the disk, so nothing rests on it and nothing was changed. Start the node again; if it ends so again, look at the disk and its file system, or replace the node by one with an empty volume",
    path.display()
)]
pub struct NotOnDisk {
    /// File or folder that was to be synced.
    path: PathBuf,
    /// Error of the file system.
    #[source]
    source: io::Error,
}

/// Makes durable what a file, or a folder with all in it, holds, and lets the operating system forget it: from here on it is
/// read from the disk. One that is not there holds nothing.
pub fn settle(path: &Path) -> Result<(), NotOnDisk> {
    settle_with(path, &|file| file.sync_all())
}

/// The same of a file whose content is always replaced by another file of its name: that this is the one which has the name must
/// be durable too.
pub fn settle_replaced(path: &Path) -> Result<(), NotOnDisk> {
    settle_replaced_with(path, &|file| file.sync_all())
}

fn settle_replaced_with(path: &Path, sync: &dyn Fn(&File) -> io::Result<()>) -> Result<(), NotOnDisk> {
    settle_with(path, sync)?;
    let Some(folder) = path.parent() else { return Ok(()) };
    let failed = |source| NotOnDisk { path: folder.to_owned(), source };
    let Some(file) = if_there(File::open(folder)).map_err(failed)? else { return Ok(()) };
    sync(&file).map_err(failed)
}

fn settle_with(path: &Path, sync: &dyn Fn(&File) -> io::Result<()>) -> Result<(), NotOnDisk> {
    let failed = |source| NotOnDisk { path: path.to_owned(), source };
    let Some(metadata) = if_there(fs::metadata(path)).map_err(failed)? else { return Ok(()) };
    if metadata.is_dir() {
        let Some(entries) = if_there(fs::read_dir(path)).map_err(failed)? else { return Ok(()) };
        for entry in entries {
            settle_with(&entry.map_err(failed)?.path(), sync)?;
        }
    } else if !metadata.is_file() {
        return Ok(());
    }
    let Some(file) = if_there(File::open(path)).map_err(failed)? else { return Ok(()) };
    sync(&file).and_then(|()| if metadata.is_file() { forget(&file) } else { Ok(()) }).map_err(failed)
}

fn forget(file: &File) -> io::Result<()> {
    Ok(fadvise(file, 0, None, Advice::DontNeed)?)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::error::Error;

    use super::*;

    fn volume() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("store/tables")).unwrap();
        fs::write(folder.path().join("store/journal"), b"journal").unwrap();
        fs::write(folder.path().join("store/tables/1"), b"table").unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("store/link")).unwrap();
        folder
    }

    /// What is synced below a folder, in this order, while something is settled there.
    fn synced(below: &Path, settle: impl Fn(&dyn Fn(&File) -> io::Result<()>) -> Result<(), NotOnDisk>) -> Vec<String> {
        use std::os::fd::AsRawFd;
        let synced = RefCell::new(Vec::new());
        let sync = |file: &File| {
            let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
            synced.borrow_mut().push(path.strip_prefix(below.canonicalize()?).unwrap().display().to_string());
            file.sync_all()
        };
        settle(&sync).unwrap();
        synced.into_inner()
    }

    /// A process that died between the renaming of its identity and the sync of the folder leaves a name that only the operating
    /// system has: the next one answered by it, and a power cut made it blank again.
    #[test]
    fn a_file_that_has_taken_the_place_of_another_has_it_durably() {
        let folder = volume();
        let path = folder.path().join("store/journal");
        assert_eq!(synced(folder.path(), |sync| settle_replaced_with(&path, sync)), ["store/journal", "store"]);
        let missing = folder.path().join("store/missing");
        assert_eq!(synced(folder.path(), |sync| settle_replaced_with(&missing, sync)), ["store"]);
        settle_replaced(&folder.path().join("nowhere/missing")).unwrap();
    }

    #[test]
    fn every_file_and_folder_is_synced_and_keeps_its_content() {
        let folder = volume();
        let store = folder.path().join("store");
        let mut synced = synced(folder.path(), |sync| settle_with(&store, sync));
        // A folder comes after what is in it.
        assert_eq!(synced.last().unwrap(), "store");
        synced.sort();
        assert_eq!(synced, ["store", "store/journal", "store/tables", "store/tables/1"]);
        assert_eq!(fs::read(store.join("tables/1")).unwrap(), b"table");
        settle(&folder.path().join("nothing")).unwrap();
    }

    #[test]
    fn a_sync_that_fails_says_of_which_file_and_what_to_do() {
        let folder = volume();
        let refused = settle_with(&folder.path().join("store/journal"), &|_| Err(io::Error::from_raw_os_error(5)));
        let error = refused.unwrap_err();
        assert!(error.to_string().contains("store/journal before it is read"), "{error}");
        assert!(error.source().unwrap().to_string().contains("os error 5"));
    }
}
