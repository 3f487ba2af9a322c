//! A file that is written beside the one that it is to replace, and takes its place only once it is whole and durable.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

/// The new file. It is removed again unless it was put in place.
#[derive(Debug)]
pub(super) struct Beside {
    new: NamedTempFile,
    target: PathBuf,
}

impl Beside {
    /// Begins a new file in the folder of the target, which stays as it is. `None` = the target is a pipe or a device, which
    /// no file can replace.
    ///
    /// # Errors
    /// Also if the target is there and may not be written.
    pub(super) fn new(target: &Path) -> io::Result<Option<Self>> {
        let permissions = match fs::metadata(target) {
            Ok(there) if !there.is_file() => return Ok(None),
            Ok(there) => {
                drop(OpenOptions::new().write(true).open(target)?);
                Some(there.permissions())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // The file that a link leads to gets replaced, not the link.
        let target = if permissions.is_some() { fs::canonicalize(target)? } else { target.to_owned() };
        let mut prefix = target.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_owned();
        prefix.push(".skerry-");
        let mut builder = Builder::new();
        // As for any new file, the process's mask takes from these.
        let new = builder.prefix(&prefix).permissions(Permissions::from_mode(0o666)).tempfile_in(folder(&target))?;
        if let Some(permissions) = permissions {
            new.as_file().set_permissions(permissions)?;
        }
        Ok(Some(Self { new, target }))
    }

    /// A handle to write through.
    pub(super) fn file(&self) -> io::Result<File> {
        self.new.as_file().try_clone()
    }

    /// Puts the file in the target's place, once all of it is on disk.
    pub(super) fn put_in_place(self) -> io::Result<()> {
        self.new.as_file().sync_all()?;
        self.new.persist(&self.target).map_err(|failed| failed.error)?;
        File::open(folder(&self.target))?.sync_all()
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn the_old_file_stays_until_the_new_one_is_put_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("a.jsonl"), folder.path().join("link"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let begun = |text: &str| {
            let beside = Beside::new(&link).unwrap().unwrap();
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
        assert!(Beside::new(Path::new("/dev/null")).unwrap().is_none());
    }
}
