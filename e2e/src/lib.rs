//! Tests of the whole on a real Kubernetes: the lab it runs in, the scenarios, and the check that runs beside each.

use std::env;
use std::path::PathBuf;

pub mod check;
pub mod lab;
pub mod scenario;

/// This crate's folder, as cargo says that starts the program: what is compiled in may be that of another clone.
#[must_use]
pub fn folder() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
}
