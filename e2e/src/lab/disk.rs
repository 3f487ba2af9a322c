//! A host's disk: a file system of its own, so that it can be full without harm to the machine, with one folder for each volume.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::environment;
use super::run::run;

/// Number of volumes on a host.
pub(super) const VOLUMES: usize = 4;

/// Four volumes of 10 GiB, as the quickstart asks for. The file takes only what is written.
const SIZE_BYTES: u64 = 40 << 30;

/// Name of the file that fills a disk.
const FILLER: &str = "filler";

/// What the machine itself must have free for a lab, and before each use of one: a scenario writes less than half of it.
const MACHINE_ROOM_MIN_BYTES: u64 = 3 << 30;

/// Checks that the machine has room for what the hosts' disks take. They are sparse files: where it has none, the hosts
/// believe that they have room, and what they write and sync fails with input/output errors.
pub(super) fn expect_room() -> Result<()> {
    let folder = environment::folder("");
    let room = statvfs(&folder).context("failed to ask for the room on the machine's disk")?;
    let free = room.f_bavail * room.f_frsize;
    ensure!(
        free >= MACHINE_ROOM_MIN_BYTES,
        "the machine has {} MiB free at {}, and the lab needs {} MiB: its hosts' disks lie there. Remove what is not needed, such \
         as old build caches",
        free >> 20,
        folder.display(),
        MACHINE_ROOM_MIN_BYTES >> 20
    );
    Ok(())
}

/// Makes a host's disk, empty.
pub(super) fn create(host: &str) -> Result<()> {
    let image = environment::host_folder(host).join("disk.img");
    let file = File::create(&image).context("failed to create a disk's file")?;
    file.set_len(SIZE_BYTES).context("failed to size a disk's file")?;
    let (image, disk) = (image.display().to_string(), folder(host).display().to_string());
    // By its nominal size the journal would take a quarter of a gigabyte.
    run("mkfs.ext4", &["-q", "-m", "0", "-J", "size=64", &image])?;
    fs::create_dir_all(&disk).context("failed to create a disk's folder")?;
    // What is deleted is given back to the machine.
    run("mount", &["-o", "loop,discard,noatime", &image, &disk])?;
    for number in 0..VOLUMES {
        fs::create_dir(volume(host, number)).context("failed to create a volume's folder")?;
    }
    Ok(())
}

/// Folder of one of a host's volumes.
pub(super) fn volume(host: &str, number: usize) -> PathBuf {
    folder(host).join(format!("volume-{number}"))
}

/// Removes all that is on a volume.
pub(super) fn wipe(host: &str, number: usize) -> Result<()> {
    let volume = volume(host, number);
    // The folder itself stays: it may be mounted into a pod's folder.
    for entry in fs::read_dir(&volume).with_context(|| format!("failed to list {}", volume.display()))? {
        let path = entry.context("failed to list a volume")?.path();
        let removed =
            if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("failed to remove {}", path.display()))?;
    }
    Ok(())
}

/// Takes all the room that is left.
pub(super) fn fill(host: &str) -> Result<()> {
    let path = folder(host).join(FILLER);
    let file = File::options().create(true).append(true).open(&path).context("failed to create what fills a disk")?;
    // The file system keeps some room for its own records, so the last piece is found by trying.
    let mut piece = SIZE_BYTES;
    while piece >= 4096 {
        let room = statvfs(&path).context("failed to ask for the room on a disk")?;
        let free = room.f_bavail * room.f_frsize;
        let next = piece.min(free);
        let length = file.metadata().context("failed to ask for a file's length")?.len();
        if next == 0 || fallocate(&file, FallocateFlags::empty(), length, next).is_err() {
            piece = next / 2;
        }
    }
    Ok(())
}

/// Removes the file that fills a host's disk, if there is one.
pub(super) fn free(host: &str) -> Result<()> {
    match fs::remove_file(folder(host).join(FILLER)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("failed to free a disk"),
        _ => Ok(()),
    }
}

fn folder(host: &str) -> PathBuf {
    environment::host_folder(host).join("disk")
}
