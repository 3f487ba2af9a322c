//! The files of the repository, read once a test.

use std::fs;
use std::path::{Path, PathBuf};

/// One file of the repository, with its text.
pub(crate) struct Source {
    /// From the repository's root, with `/`.
    pub(crate) path: String,
    /// Text of the whole file.
    pub(crate) text: String,
}

impl Source {
    /// The last part of the path.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// The folders that may hold code or texts of ours.
const FOLDERS: [&str; 8] = ["node", "operator", "e2e", "examples", "charts", "crds", "docs", ".ci"];

/// Where the repository starts. Cargo runs tests in the crate's folder.
pub(crate) fn root() -> &'static Path {
    Path::new("..")
}

/// All Rust files of the repository.
pub(crate) fn rust_files() -> Vec<Source> {
    text_files().into_iter().filter(|f| f.path.ends_with(".rs")).collect()
}

/// All text files of the repository.
pub(crate) fn text_files() -> Vec<Source> {
    let root = root();
    let mut paths: Vec<PathBuf> = fs::read_dir(root)
        .expect("the root is readable")
        .map(|e| e.expect("the root is readable").path())
        .filter(|p| p.is_file())
        .collect();
    for folder in FOLDERS {
        walk(&root.join(folder), &mut paths);
    }
    let mut files = Vec::new();
    for path in paths {
        // What is not UTF-8 is data.
        if let Ok(text) = String::from_utf8(fs::read(&path).expect("files are readable")) {
            let path = path.strip_prefix(root).expect("found below the root").to_string_lossy().replace('\\', "/");
            files.push(Source { path, text });
        }
    }
    assert!(files.len() > 20, "only {} files under {}", files.len(), root.display());
    files
}

/// The folders that have a Cargo.toml, but for the workspace's own.
pub(crate) fn crates() -> Vec<String> {
    let is_manifest = |f: &Source| f.name() == "Cargo.toml" && f.path != "Cargo.toml";
    text_files().iter().filter(|f| is_manifest(f)).map(|f| f.path.trim_end_matches("/Cargo.toml").to_owned()).collect()
}

fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("folders are readable").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" {
            walk(&path, into);
        } else if path.is_file() {
            into.push(path);
        }
    }
}
