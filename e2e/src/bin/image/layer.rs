//! The one layer of an image: its files as a tar, sorted, with no time and no owner of the machine that made it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use tar::{EntryType, Header};

/// One file of the image.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Absolute path of the file in the image.
    pub(crate) path: String,
    /// True if the file can be run.
    pub(crate) executable: bool,
    /// Content of the file.
    pub(crate) bytes: Vec<u8>,
}

impl Entry {
    /// Reads it from a file, whose permission to be run it keeps.
    pub(crate) fn read(from: &Path, to: String) -> anyhow::Result<Self> {
        let failed = || format!("failed to read {}", from.display());
        let executable = std::fs::metadata(from).with_context(failed)?.permissions().mode() & 0o111 != 0;
        Ok(Self { path: to, executable, bytes: std::fs::read(from).with_context(failed)? })
    }
}

/// Builds the layer as a tar archive.
pub(crate) fn build(entries: Vec<Entry>) -> anyhow::Result<Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = BTreeMap::new();
    for entry in entries {
        let path = relative(&entry.path)?;
        for (end, _) in path.match_indices('/') {
            folders.insert(format!("{}/", &path[..end]), ());
        }
        if files.insert(path, entry).is_some() {
            bail!("two files are to have the same path in the image");
        }
    }
    let mut tar = tar::Builder::new(Vec::new());
    for folder in folders.keys() {
        if files.contains_key(folder.trim_end_matches('/')) {
            bail!("/{folder} is to be a file and a folder in the image");
        }
        append(&mut tar, EntryType::Directory, folder, 0o755, &[])?;
    }
    for (path, entry) in &files {
        append(&mut tar, EntryType::Regular, path, if entry.executable { 0o755 } else { 0o644 }, &entry.bytes)?;
    }
    Ok(tar.into_inner()?)
}

/// One entry of a tar, with neither a time nor an owner in it.
pub(crate) fn append(
    tar: &mut tar::Builder<Vec<u8>>,
    kind: EntryType,
    path: &str,
    mode: u32,
    bytes: &[u8],
) -> std::io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    tar.append_data(&mut header, path, bytes)
}

fn relative(path: &str) -> anyhow::Result<String> {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    if !path.starts_with('/') || parts.iter().any(|p| matches!(*p, "" | "." | "..")) {
        bail!("{path:?} must be an absolute path without empty parts, '.' and '..'");
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, executable: bool) -> Entry {
        Entry { path: path.to_owned(), executable, bytes: path.as_bytes().to_vec() }
    }

    #[test]
    fn layer_holds_folders_before_files_in_order_without_times_and_owners() {
        let layer = build(vec![entry("/skerry-node", true), entry("/etc/skerry/motd", false)]).unwrap();
        let mut found = Vec::new();
        for entry in tar::Archive::new(layer.as_slice()).entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (0, 0, 0));
            found.push((entry.path().unwrap().display().to_string(), header.mode().unwrap()));
        }
        let expected = [("etc/", 0o755), ("etc/skerry/", 0o755), ("etc/skerry/motd", 0o644), ("skerry-node", 0o755)];
        assert_eq!(found, expected.map(|(path, mode)| (path.to_owned(), mode)));
    }

    #[test]
    fn layer_is_the_same_whatever_the_order_of_its_files() {
        let (a, b) = (entry("/a", true), entry("/b/c", false));
        assert_eq!(build(vec![a.clone(), b.clone()]).unwrap(), build(vec![b, a]).unwrap());
    }

    #[test]
    fn paths_that_leave_the_image_or_meet_are_refused() {
        for path in ["a", "/", "/a//b", "/../a", "/a/./b"] {
            assert!(build(vec![entry(path, false)]).is_err(), "{path}");
        }
        assert!(build(vec![entry("/a", false), entry("/a", false)]).is_err());
        assert!(build(vec![entry("/a", false), entry("/a/b", false)]).is_err());
    }
}
