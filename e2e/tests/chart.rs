//! The chart is complete and does what its values say.
//!
//! `chart/files.rs` holds what its files say by themselves, and needs nothing. `chart/rendered.rs` needs Helm, from the path or as
//! built for the lab; without it those tests say that they were skipped. How Kubernetes takes it all is tested on the lab.
#![expect(clippy::unwrap_used, reason = "a test's own tools may fail loudly too")]

#[path = "chart/files.rs"]
mod files;
#[path = "chart/helm.rs"]
mod helm;
#[path = "chart/rendered.rs"]
mod rendered;

use std::path::{Path, PathBuf};

/// Cargo runs tests in the crate's folder.
fn root() -> &'static Path {
    Path::new("..")
}

fn chart() -> PathBuf {
    root().join("charts/skerry")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
