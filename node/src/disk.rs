//! What the disk can still take, and the few file operations that durability needs.
//!
//! Assumes: one volume a node. Decides nothing: the core is told whether the disk is full.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// With less than this free a store may not open for want of space alone.
pub const SPACE_MIN: u64 = 4 << 20;

/// Written to see whether files can be.
const PROBE: &str = "space.probe";
const PROBE_BYTES: usize = 1 << 20;
/// With fewer names left for new files a store or log may not open either.
const FILES_MIN: u64 = 32;
/// With fewer names left for new files than this, puts are refused.
const FILES_RESERVE: u64 = 256;

/// Makes a file's content durable. A seam: tests count the calls and make them fail.
pub type SyncFile = Arc<dyn Fn(&File) -> io::Result<()> + Send + Sync>;

/// The real thing: content, and as much of the metadata as is needed to read it back.
pub fn sync_data() -> SyncFile {
    Arc::new(File::sync_data)
}

/// The real thing: content and metadata.
pub fn sync_all() -> SyncFile {
    Arc::new(File::sync_all)
}

/// Makes the names in a folder durable.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes durable whatever a folder and the folders in it hold by now. Files that vanish meanwhile are not waited for.
pub fn sync_tree(folder: &Path) -> io::Result<()> {
    each_file(folder, &mut |path| File::open(path)?.sync_all())?;
    sync_folder(folder)
}

/// What the file system of a folder has left. One that does not count has enough.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(folder)?;
    if stat.f_blocks == 0 {
        return Ok(u64::MAX);
    }
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// How many more files the file system of a folder can hold. One that does not count them has no limit.
fn free_files(folder: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(folder)?;
    Ok(if stat.f_files == 0 { u64::MAX } else { stat.f_favail })
}

/// What a folder is short of so much that nothing opens there. `None` = of nothing.
pub fn shortage(folder: &Path) -> io::Result<Option<String>> {
    let (bytes, files) = (free_bytes(folder)?, free_files(folder)?);
    Ok(if bytes < SPACE_MIN {
        Some(format!("only {bytes} bytes are free there, {SPACE_MIN} are needed"))
    } else if files < FILES_MIN {
        Some(format!("only {files} more files can be made there, {FILES_MIN} are needed"))
    } else {
        None
    })
}

/// True if an error of the file system, in its words, is for want of space: by the system's number of it, which fjall tells
/// in its own way.
pub fn is_want_of_space(said: &str) -> bool {
    use rustix::io::Errno;
    let numbers = [Errno::NOSPC, Errno::DQUOT].map(Errno::raw_os_error);
    numbers
        .iter()
        .any(|number| said.contains(&format!("(os error {number})")) || said.contains(&format!("code: {number},")))
}

/// True if a file could not be opened since the process, or the machine, has as many open as it may.
pub fn is_want_of_files(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// What keeps files in a folder from being read and written, if anything does: beside damage the reasons why a store may
/// not open. Reads every file to its end, and writes one for a moment: a quota is seen in no other way.
pub fn hinders(folder: &Path) -> io::Result<Option<String>> {
    if let Some(shortage) = shortage(folder)? {
        return Ok(Some(shortage));
    }
    let probe = folder.join(PROBE);
    let written = fs::write(&probe, vec![0; PROBE_BYTES]).and_then(|()| File::open(&probe)?.sync_all());
    if let Err(error) = written.and_then(|()| fs::remove_file(&probe)) {
        return Ok(Some(format!("{}: {error}", probe.display())));
    }
    let mut why = None;
    each_file(folder, &mut |path| {
        let read =
            File::options().read(true).write(true).open(path).and_then(|mut file| io::copy(&mut file, &mut io::sink()));
        why = why.take().or(read.err().map(|error| format!("{}: {error}", path.display())));
        Ok(())
    })?;
    Ok(why)
}

fn each_file(folder: &Path, visit: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let visited = if entry.file_type()?.is_dir() {
            each_file(&path, visit).and_then(|()| sync_folder(&path))
        } else {
            visit(&path)
        };
        match visited {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

/// Replaces a file's content so that a crash at any point leaves the old or the new content, and makes it durable.
pub fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_folder(folder)
}

/// What was done with a file or folder. `None` = it is not there.
pub fn if_there<T>(done: io::Result<T>) -> io::Result<Option<T>> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a file holds. `None` = it is not there.
pub fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    if_there(fs::read(path))
}

/// Removes a file. False if it was not there.
pub fn remove_if_there(path: &Path) -> io::Result<bool> {
    Ok(if_there(fs::remove_file(path))?.is_some())
}

/// The state of a disk, as [`DiskGuard::check`] has found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskState {
    /// True if the disk is nearly full: puts must be refused.
    pub full: bool,
    /// Bytes that the folder takes on disk.
    pub bytes: u64,
    /// Bytes that may still be written: the lesser of what the file system has and what is left of the capacity.
    pub free: u64,
}

/// Watches the space left for one folder. Full below the reserve, and no longer full only when a quarter more than the
/// reserve is free, so that a disk at the edge does not flap.
#[derive(Debug, Clone)]
pub struct DiskGuard {
    /// The declared size of the volume. `None` = the file system's free space alone counts.
    capacity: Option<u64>,
    /// Bytes kept free for deletes, moves away and recovery.
    reserve: u64,
    full: bool,
}

impl DiskGuard {
    /// A guard that has not looked yet.
    pub fn new(capacity: Option<u64>, reserve: u64) -> Self {
        Self { capacity, reserve, full: false }
    }

    /// Looks. Costs a walk over the folder.
    pub fn check(&mut self, folder: &Path) -> io::Result<DiskState> {
        let bytes = folder_bytes(folder)?;
        Ok(self.judge(bytes, free_bytes(folder)?, free_files(folder)?))
    }

    /// Free bytes from which on a disk that was full no longer counts as full.
    pub fn room(&self) -> u64 {
        self.reserve.saturating_add(self.reserve / 4)
    }

    /// Free bytes beside which space is kept back for the next start: also on a disk that counts as full some of the reserve.
    pub fn room_beside_spare(&self) -> u64 {
        if self.full { self.reserve / 4 } else { self.room() }
    }

    fn judge(&mut self, bytes: u64, file_system_free: u64, files: u64) -> DiskState {
        let left = self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(bytes));
        let free = left.min(file_system_free);
        let limit = if self.full { self.room() } else { self.reserve };
        let files_min = if self.full { FILES_RESERVE + FILES_RESERVE / 4 } else { FILES_RESERVE };
        self.full = free < limit || files < files_min;
        DiskState { full: self.full, bytes, free }
    }
}

/// Bytes that a folder and everything in it take on disk. Files that vanish meanwhile count nothing.
pub fn folder_bytes(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        } {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if metadata.is_dir() {
                folders.push(entry.path());
            }
            // The unit of `blocks` is 512 bytes whatever the file system's block size.
            bytes += metadata.blocks() * 512;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_is_full_below_the_reserve_and_free_again_only_a_quarter_above_it() {
        let mut guard = DiskGuard::new(Some(1_000), 100);
        assert!(!guard.judge(900, 10_000, u64::MAX).full);
        assert!(guard.judge(901, 10_000, u64::MAX).full);
        assert!(guard.judge(880, 10_000, u64::MAX).full, "120 free is not enough to be free again");
        assert!(!guard.judge(875, 10_000, u64::MAX).full);
    }

    #[test]
    fn disk_that_takes_hardly_another_file_is_full() {
        let mut guard = DiskGuard::new(None, 100);
        assert!(!guard.judge(0, 10_000, FILES_RESERVE).full);
        assert!(guard.judge(0, 10_000, FILES_RESERVE - 1).full);
        assert!(guard.judge(0, 10_000, FILES_RESERVE + 1).full, "that is not enough to be free again");
        assert!(!guard.judge(0, 10_000, FILES_RESERVE * 5 / 4).full);
    }

    #[test]
    fn free_space_of_the_file_system_counts_even_below_the_capacity() {
        let mut guard = DiskGuard::new(Some(1_000), 100);
        assert_eq!(guard.judge(0, 99, u64::MAX), DiskState { full: true, bytes: 0, free: 99 });
        let mut guard = DiskGuard::new(None, 100);
        assert_eq!(guard.judge(5, 100, u64::MAX), DiskState { full: false, bytes: 5, free: 100 });
    }

    #[test]
    fn a_folder_that_outgrows_its_declared_capacity_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let mut guard = DiskGuard::new(Some(64 << 10), 16 << 10);
        assert!(!guard.check(folder.path()).unwrap().full);
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("inner/file"), vec![7; 60 << 10]).unwrap();
        let state = guard.check(folder.path()).unwrap();
        assert!(state.full && state.bytes >= 60 << 10);
        fs::remove_file(folder.path().join("inner/file")).unwrap();
        assert!(!guard.check(folder.path()).unwrap().full);
    }

    #[test]
    fn a_folder_that_takes_no_file_hinders_a_store_and_one_that_does_is_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), b"content").unwrap();
        assert_eq!(hinders(folder.path()).unwrap(), None);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::create_dir(folder.path().join(PROBE)).unwrap();
        assert!(hinders(folder.path()).unwrap().unwrap().contains(PROBE));
    }

    #[test]
    fn want_of_space_is_told_from_other_failures_by_its_words() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let error = (1..200).map(io::Error::from_raw_os_error).find(|error| error.kind() == kind).unwrap();
            assert!(is_want_of_space(&format!("log failed: {error}")), "{error}");
            assert!(is_want_of_space(&format!("fjall: FjallError: Io({error:?})")), "{error:?}");
        }
        assert!(!is_want_of_space(&io::Error::from_raw_os_error(5).to_string()));
        assert!(!is_want_of_space(&format!("{:?}", io::Error::from_raw_os_error(5))));
        assert!(!is_want_of_space("fsync failed"));
    }

    #[test]
    fn atomic_write_leaves_only_the_new_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_atomically(&path, b"old and longer").unwrap();
        write_atomically(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
