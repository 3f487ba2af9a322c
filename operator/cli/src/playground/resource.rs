//! The `DistributedDatabase` of a file, held against what Kubernetes and the operator would refuse.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use skerry_api::{DistributedDatabase, ParseError, parse};
use skerry_operator_core::{Environment, Invalid, Validated, validate};

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResourceError {
    #[error("failed to read {0}")]
    Read(PathBuf, #[source] io::Error),
    #[error("{0}")]
    Parse(PathBuf, #[source] ParseError),
    #[error("{0}")]
    Invalid(PathBuf, #[source] Invalid),
    #[error("metadata.name cannot change: it was {0:?}")]
    Renamed(String),
    #[error("{0}")]
    Update(PathBuf, #[source] ParseError),
}

/// Zones of this machine are but names: any will do.
pub(crate) fn environment() -> Environment {
    Environment::default()
}

/// Reads a YAML file and checks the resource in it.
pub(crate) fn read(path: &Path) -> Result<(DistributedDatabase, Validated), ResourceError> {
    let text = fs::read_to_string(path).map_err(|e| ResourceError::Read(path.to_owned(), e))?;
    check(path, &text)
}

/// Reads a file that is to follow what it said before.
pub(crate) fn read_update(path: &Path, old: &DistributedDatabase) -> Result<DistributedDatabase, ResourceError> {
    let text = fs::read_to_string(path).map_err(|e| ResourceError::Read(path.to_owned(), e))?;
    check_update(path, &text, old)
}

/// Checks a text that is to stand in a file, where it follows what the file said before.
pub(crate) fn check_update(
    path: &Path,
    text: &str,
    old: &DistributedDatabase,
) -> Result<DistributedDatabase, ResourceError> {
    let (new, _) = check(path, text)?;
    if new.metadata.name != old.metadata.name {
        return Err(ResourceError::Renamed(old.metadata.name.clone().unwrap_or_default()));
    }
    skerry_api::check_update(&new, old).map_err(|e| ResourceError::Update(path.to_owned(), e))?;
    Ok(new)
}

/// Checks a text that is to stand in a file.
pub(crate) fn check(path: &Path, text: &str) -> Result<(DistributedDatabase, Validated), ResourceError> {
    let database = parse(text).map_err(|e| ResourceError::Parse(path.to_owned(), e))?;
    let validated = validate(&database, &environment()).map_err(|e| ResourceError::Invalid(path.to_owned(), e))?;
    Ok((database, validated))
}
