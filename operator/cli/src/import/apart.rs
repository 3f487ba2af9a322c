//! The files that one import reads and writes must be different files: what is written would take the place of what is
//! read.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::paths::folder_of;

/// What a path stands for, however it is written: links and hard links lead to one file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// A file that is there.
    File { device: u64, inode: u64 },
    /// Nothing is there yet; this is where a file would be made.
    Absent(PathBuf),
    /// A terminal, a pipe or a device: writing there destroys nothing.
    Stream,
}

/// Why an import does not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApartError {
    #[error("{one} and {other} are the same file: {path}")]
    Same { one: &'static str, other: &'static str, path: PathBuf },
    #[error("failed to look at {path}")]
    Io { path: PathBuf, source: io::Error },
}

/// Refuses two names of one file. Each comes with what it is to the import; `-` is stdin.
pub(crate) fn apart(files: &[(&'static str, &Path)]) -> Result<(), ApartError> {
    let mut known: Vec<(&'static str, Place)> = Vec::new();
    for (what, path) in files {
        let place = place(path).map_err(|source| ApartError::Io { path: (*path).to_owned(), source })?;
        if place != Place::Stream
            && let Some((one, _)) = known.iter().find(|(_, before)| *before == place)
        {
            return Err(ApartError::Same { one, other: what, path: (*path).to_owned() });
        }
        known.push((what, place));
    }
    Ok(())
}

fn place(path: &Path) -> io::Result<Place> {
    let of = |found: Metadata| match found.is_file() {
        true => Place::File { device: found.dev(), inode: found.ino() },
        false => Place::Stream,
    };
    if path.as_os_str() == "-" {
        return File::from(io::stdin().as_fd().try_clone_to_owned()?).metadata().map(of);
    }
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Place::Absent(would_be(path))),
        found => found.map(of),
    }
}

/// The full path of a file that is not there; its folder may not be there either.
fn would_be(path: &Path) -> PathBuf {
    match (fs::canonicalize(folder_of(path)), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_names_of_one_file_are_refused_however_they_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a.csv"), "id\n1\n").unwrap();
        fs::write(at("b.csv"), "id\n1\n").unwrap();
        std::os::unix::fs::symlink(at("a.csv"), at("soft.csv")).unwrap();
        fs::hard_link(at("a.csv"), at("hard.csv")).unwrap();
        let same = |one: &Path, other: &Path| apart(&[("one", one), ("other", other)]).is_err();
        for name in ["a.csv", "soft.csv", "hard.csv", "./a.csv"] {
            assert!(same(&at("a.csv"), &at(name)), "{name}");
        }
        assert!(same(&at("new"), &folder.path().join(".").join("new")), "both would be made");
        assert!(!same(&at("a.csv"), &at("b.csv")) && !same(&at("a.csv"), &at("new")) && !same(&at("x"), &at("y")));
        assert!(!same(Path::new("/dev/null"), Path::new("/dev/null")), "no file");
    }
}
