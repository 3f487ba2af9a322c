//! Space of a volume that is kept back for its next start.
//!
//! An engine that has run out of space leaves what it had half written, and removes that only when it opens again, which
//! takes space. Nobody can free any meanwhile: a node that does not run takes no deletes. So a file is kept that is given up
//! for that start alone, and made again once the volume has room.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::disk::{self, DiskGuard, DiskState, SPACE_MIN};

/// Size of the file: enough to open, and as much again to work with.
pub const SPARE_SPACE_BYTES: u64 = 2 * SPACE_MIN;
const FILE: &str = "space.spare";
const FILE_NEW: &str = "space.spare.new";
const BLOCK_BYTES: usize = 1 << 20;

/// The file on a volume that keeps the space.
#[derive(Debug, Clone)]
pub struct SpareSpace {
    path: PathBuf,
    new: PathBuf,
}

impl SpareSpace {
    /// Of the volume in this folder.
    pub fn of(data: &Path) -> Self {
        Self { path: data.join(FILE), new: data.join(FILE_NEW) }
    }

    /// Gives the space up. False if there was none.
    pub fn give_up(&self) -> io::Result<bool> {
        let unfinished = disk::remove_if_there(&self.new)?;
        Ok(disk::remove_if_there(&self.path)? || unfinished)
    }

    /// Keeps the space where a look at the disk has found enough beside it. Gives it up where it is all that keeps the disk
    /// from having room again.
    pub fn settle(&self, found: DiskState, guard: &DiskGuard) -> io::Result<()> {
        let room = guard.room();
        let is_in_the_way = found.full && (room.saturating_sub(SPARE_SPACE_BYTES)..room).contains(&found.free);
        if is_in_the_way { self.give_up().map(drop) } else { self.keep(found.free, guard.room_beside_spare()) }
    }

    /// Keeps the space, if the volume has so much free beside it, and does not keep it already.
    fn keep(&self, free: u64, beside: u64) -> io::Result<()> {
        if free < beside.saturating_add(SPARE_SPACE_BYTES) || self.path.try_exists()? {
            return Ok(());
        }
        self.make().inspect_err(|_| {
            // Half of it is of no use to the next start, and takes space from this one.
            let _gone = fs::remove_file(&self.new);
        })
    }

    fn make(&self) -> io::Result<()> {
        let mut file = File::create(&self.new)?;
        let block = vec![0; BLOCK_BYTES];
        for _ in 0..SPARE_SPACE_BYTES / BLOCK_BYTES as u64 {
            file.write_all(&block)?;
        }
        file.sync_all()?;
        fs::rename(&self.new, &self.path)?;
        self.path.parent().map_or(Ok(()), disk::sync_folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_kept_only_where_enough_is_left_beside_it_and_given_up_once() {
        let folder = tempfile::tempdir().unwrap();
        let spare = SpareSpace::of(folder.path());
        spare.keep(SPARE_SPACE_BYTES + 99, 100).unwrap();
        assert!(!spare.give_up().unwrap());
        spare.keep(SPARE_SPACE_BYTES + 100, 100).unwrap();
        assert!(disk::folder_bytes(folder.path()).unwrap() >= SPARE_SPACE_BYTES);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(spare.give_up().unwrap());
        assert!(!spare.give_up().unwrap());
    }

    #[test]
    fn a_disk_that_was_full_has_room_again_once_all_is_deleted() {
        const MIB: u64 = 1 << 20;
        let folder = tempfile::tempdir().unwrap();
        let (spare, data) = (SpareSpace::of(folder.path()), folder.path().join("data"));
        let mut guard = DiskGuard::new(Some(20 * MIB), 12 * MIB);
        let mut look = || {
            let found = guard.check(folder.path()).unwrap();
            spare.settle(found, &guard).unwrap();
            found.full
        };
        assert!(!look() && !look(), "empty, it has room");
        fs::write(&data, vec![7; (8 << 20) + 4_096]).unwrap();
        assert!(look());
        fs::remove_file(&data).unwrap();
        look();
        assert!(!look() && !look(), "as empty as before");
    }
}
