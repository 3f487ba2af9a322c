//! Which store, and the mark of it in the store's folder.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::OpenError;
use crate::disk;
use crate::newer::Newer;

/// A kind of store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// sled 0.34: the default.
    #[default]
    Sled,
    /// fjall 3: an LSM tree.
    Fjall,
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sled => "sled",
            Self::Fjall => "fjall",
        })
    }
}

/// A name that is no kind of store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no store {0:?}, only \"sled\" and \"fjall\"")]
pub struct UnknownKind(String);

impl FromStr for EngineKind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        match name.to_ascii_lowercase().as_str() {
            "sled" => Ok(Self::Sled),
            "fjall" => Ok(Self::Fjall),
            _ => Err(UnknownKind(name.to_owned())),
        }
    }
}

const MARK_FILE: &str = "skerry-store";
/// With the version of the folder's layout.
const MARK_START: &str = "skerry store 1 ";
/// Of any version.
const MARK_WORDS: &str = "skerry store ";

/// Marks an empty folder as one of this kind, or checks the mark that is there.
pub(super) fn claim(kind: EngineKind, folder: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Folder { folder: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    let path = folder.join(MARK_FILE);
    match fs::read(&path) {
        Ok(mark) => {
            let mark = String::from_utf8_lossy(&mark).into_owned();
            let found = mark.strip_prefix(MARK_START).and_then(|name| name.trim_end().parse::<EngineKind>().ok());
            match found {
                Some(found) if found == kind => Ok(()),
                Some(found) => Err(OpenError::OtherKind { folder: folder.to_owned(), found, wanted: kind }),
                None if mark.starts_with(MARK_WORDS) => {
                    Err(Newer::found(&path, format_args!("it says {:?}", mark.trim_end())).into())
                }
                None => Err(OpenError::Mark { folder: folder.to_owned(), mark }),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // The mark is the first file; a folder that has others is not a store of ours.
            if let Some(other) = fs::read_dir(folder).map_err(failed)?.next() {
                let name = other.map_err(failed)?.file_name();
                if name != format!("{MARK_FILE}.new").as_str() {
                    return Err(OpenError::Mark { folder: folder.to_owned(), mark: String::new() });
                }
            }
            disk::write_atomically(&path, format!("{MARK_START}{kind}\n").as_bytes()).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}
