//! A file that is written beside the one that it is to replace, and takes its place only once it is whole and durable.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use tempfile::{Builder, NamedTempFile};

use crate::paths::folder_of;

/// So many links are followed to where a file is to be made, as by the kernel.
const LINKS_MAX: usize = 40;

/// How a target gets its new content.
#[derive(Debug)]
pub(super) enum Way {
    /// A new file takes its place once that is whole.
    Beside(Beside),
    /// It is written over from its start, since no new file can take its place.
    InPlace {
        /// The target, to write through.
        file: File,
        /// Why no new file can.
        why: io::Error,
    },
    /// It is a pipe or a device, which no file can replace.
    Stream,
}

/// The new file. It is removed again unless it was put in place.
#[derive(Debug)]
pub(super) struct Beside {
    new: NamedTempFile,
    target: PathBuf,
    /// True if it takes the place of a file that was there.
    replaces: bool,
}

impl Way {
    /// Finds out how the target can be written. A file that is there stays as it is so far.
    ///
    /// # Errors
    /// Also if the target is there and may not be written.
    pub(super) fn to(target: &Path) -> io::Result<Self> {
        let about = match fs::metadata(target) {
            Ok(there) if !there.is_file() => return Ok(Self::Stream),
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let target = link_end(target)?;
                return Ok(Self::Beside(Beside { new: new_in(folder_of(&target))?, target, replaces: false }));
            }
            Err(error) => return Err(error),
        };
        let file = OpenOptions::new().write(true).open(target)?;
        // The file that a link leads to gets replaced, not the link.
        let target = fs::canonicalize(target)?;
        let made = match is_mounted(&target) {
            true => Err(io::ErrorKind::ResourceBusy.into()),
            false => new_in(folder_of(&target)).and_then(|new| {
                new.as_file().set_permissions(about.permissions())?;
                Ok(new)
            }),
        };
        match made {
            Ok(new) => Ok(Self::Beside(Beside { new, target, replaces: true })),
            Err(why) if takes_no_other(why.kind()) => Ok(Self::InPlace { file, why }),
            Err(error) => Err(error),
        }
    }
}

impl Beside {
    /// A handle to write through.
    pub(super) fn file(&self) -> io::Result<File> {
        self.new.as_file().try_clone()
    }

    /// Puts the file in the target's place, once all of it is on disk. If no other file can take that place, what it holds is
    /// copied into the target; the answer is why.
    pub(super) fn put_in_place(self) -> io::Result<Option<io::Error>> {
        self.new.as_file().sync_all()?;
        match self.new.persist(&self.target) {
            Ok(_) => {}
            Err(failed) if self.replaces && takes_no_other(failed.error.kind()) => {
                copy_over(failed.file, &self.target)?;
                return Ok(Some(failed.error));
            }
            Err(failed) => return Err(failed.error),
        }
        match File::open(folder_of(&self.target)) {
            // A folder may take files from somebody who may not read it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
            opened => opened?.sync_all().map(|()| None),
        }
    }
}

/// True of a failure to put another file in a file's place that does not keep the file itself from being written: its folder
/// may not be changed, or it is mounted there by itself, as containers do.
fn takes_no_other(failure: io::ErrorKind) -> bool {
    matches!(failure, io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::ResourceBusy)
}

/// Begins a file in this folder. Its name does not grow with the target's, which may be as long as a name can be.
fn new_in(folder: &Path) -> io::Result<NamedTempFile> {
    // As for any new file, the process's mask takes from these.
    Builder::new().prefix("skerry-export-").permissions(Permissions::from_mode(0o666)).tempfile_in(folder)
}

/// Copies what was written into the target. If that fails nothing of it may be lost: it stays where it is, which is told.
fn copy_over(new: NamedTempFile, target: &Path) -> io::Result<()> {
    let copy = || -> io::Result<()> {
        let mut to = OpenOptions::new().write(true).truncate(true).open(target)?;
        io::copy(&mut new.reopen()?, &mut to)?;
        to.sync_all()
    };
    let Err(error) = copy() else { return Ok(()) };
    let (_, path) = new.keep().map_err(|failed| failed.error)?;
    Err(io::Error::new(error.kind(), format!("{error}; all records are in {}", path.display())))
}

/// Where a file is made by this name: at the end of a link that leads to nothing yet.
fn link_end(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&path) {
            Ok(to) => path = folder_of(&path).join(to),
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => {
                return Ok(path);
            }
            Err(error) => return Err(error),
        }
    }
    Err(Errno::LOOP.into())
}

/// True if the file is known to be mounted by itself. Where that is not known, replacing it will tell.
#[cfg(target_os = "linux")]
fn is_mounted(path: &Path) -> bool {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
    statx(CWD, path, AtFlags::empty(), StatxFlags::empty()).is_ok_and(|about| {
        about.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT)
            && about.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
    })
}

#[cfg(not(target_os = "linux"))]
fn is_mounted(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn beside(target: &Path) -> Beside {
        match Way::to(target).unwrap() {
            Way::Beside(beside) => beside,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_old_file_stays_until_the_new_one_is_put_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("a.jsonl"), folder.path().join("link"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let begun = |text: &str| {
            let beside = beside(&link);
            beside.file().unwrap().write_all(text.as_bytes()).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"old");
            beside
        };
        drop(begun("half"));
        assert_eq!((fs::read(&path).unwrap().as_slice(), names(folder.path()).len()), (&b"old"[..], 2));
        begun("new").put_in_place().unwrap();
        assert_eq!((fs::read(&path).unwrap().as_slice(), names(folder.path()).len()), (&b"new"[..], 2));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_device_is_replaced_by_no_file() {
        assert!(matches!(Way::to(Path::new("/dev/null")).unwrap(), Way::Stream));
    }

    #[test]
    fn a_link_to_nothing_yet_leads_to_the_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("far")).unwrap();
        std::os::unix::fs::symlink("second", at("first")).unwrap();
        std::os::unix::fs::symlink("far/a.jsonl", at("second")).unwrap();
        let beside = beside(&at("first"));
        beside.file().unwrap().write_all(b"new").unwrap();
        assert!(beside.put_in_place().unwrap().is_none());
        assert_eq!(fs::read(at("far/a.jsonl")).unwrap(), b"new");
        assert!(at("first").is_symlink() && at("second").is_symlink());
        std::os::unix::fs::symlink("round", at("round")).unwrap();
        assert!(Way::to(&at("round")).is_err() && link_end(&at("round")).is_err());
    }

    #[test]
    fn a_name_may_be_as_long_as_names_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x".repeat(255));
        beside(&path).put_in_place().unwrap();
        assert!(path.is_file());
    }

    #[test]
    fn only_a_place_that_takes_no_other_file_is_written_over() {
        let takes = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::NotFound];
        assert!(!takes.into_iter().any(takes_no_other));
        let takes_none = [Errno::ACCESS, Errno::PERM, Errno::ROFS, Errno::BUSY];
        assert!(takes_none.into_iter().all(|errno| takes_no_other(io::Error::from(errno).kind())));
    }

    #[test]
    fn a_file_in_a_folder_that_takes_none_is_written_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o555)).unwrap();
        let takes_files = File::create(folder.path().join("other")).is_ok();
        let way = Way::to(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        // Modes hold nobody back who may do anything.
        assert!(
            matches!(way, Way::Beside(_)) == takes_files && matches!(way, Way::InPlace { .. }) != takes_files,
            "{way:?}"
        );
        drop(way);
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn what_cannot_take_the_place_of_a_file_is_copied_into_it_or_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let new = || {
            let mut new = new_in(folder.path()).unwrap();
            new.write_all(b"new").unwrap();
            new
        };
        fs::write(&path, "what was there").unwrap();
        copy_over(new(), &path).unwrap();
        assert_eq!((fs::read(&path).unwrap().as_slice(), names(folder.path()).len()), (&b"new"[..], 1));
        let told = copy_over(new(), folder.path()).unwrap_err().to_string();
        let kept = told.split("all records are in ").nth(1).unwrap();
        assert_eq!(fs::read(kept).unwrap(), b"new");
    }
}
