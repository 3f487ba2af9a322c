//! The kinds of stores, and the mark in a store's folder that names its kind.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::OpenError;
use crate::disk;
use crate::newer::Newer;

/// The engine that a store keeps its data with.
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
/// The start of a mark, with the version of the folder's layout.
const MARK_START: &str = "skerry store 1 ";
/// Of any version. From the second on, a mark ends with the CRC-32C of all that is before it, in eight hexadecimal digits
/// after a space: without it a damaged mark of ours would pass for one of a later release.
const MARK_WORDS: &str = "skerry store ";

/// What the mark in a store's folder says of its kind.
#[derive(Debug, PartialEq, Eq)]
enum Mark {
    /// A store of this kind, in the layout that is known here.
    Of(EngineKind),
    /// The same with one flipped bit.
    Flipped(EngineKind),
    /// The mark was written by a later release.
    Newer,
    /// No release wrote this: the mark is damaged.
    Damaged,
}

impl Mark {
    fn text(kind: EngineKind) -> String {
        format!("{MARK_START}{kind}\n")
    }

    fn read(mark: &[u8]) -> Self {
        let text = String::from_utf8_lossy(mark);
        let own = text.strip_prefix(MARK_START).and_then(|name| name.trim_end().parse().ok());
        if let Some(kind) = own {
            return Self::Of(kind);
        }
        for kind in [EngineKind::Sled, EngineKind::Fjall] {
            if super::is_one_bit_off(mark, Self::text(kind).as_bytes()) {
                return Self::Flipped(kind);
            }
        }
        let is_whole = |(said, crc): (&str, &str)| {
            said.starts_with(MARK_WORDS) && crc == format!("{:08x}", crc32c::crc32c(said.as_bytes()))
        };
        if text.trim_end().rsplit_once(' ').is_some_and(is_whole) { Self::Newer } else { Self::Damaged }
    }
}

/// Marks an empty folder as one of this kind, or checks the mark that is there.
pub(super) fn claim(kind: EngineKind, folder: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Folder { folder: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    let path = folder.join(MARK_FILE);
    match fs::read(&path) {
        Ok(mark) => match Mark::read(&mark) {
            Mark::Of(found) | Mark::Flipped(found) if found != kind => {
                Err(OpenError::OtherKind { folder: folder.to_owned(), found, wanted: kind })
            }
            Mark::Of(_) => Ok(()),
            Mark::Flipped(_) => {
                warn!(path = %path.display(), "mark of the store had a flipped bit and is written anew");
                disk::write_atomically(&path, Mark::text(kind).as_bytes()).map_err(failed)
            }
            Mark::Newer => {
                let said = String::from_utf8_lossy(&mark);
                Err(Newer::found(&path, format_args!("it says {:?}", said.trim_end())).into())
            }
            Mark::Damaged => {
                let mark = String::from_utf8_lossy(&mark).into_owned();
                Err(OpenError::Mark { folder: folder.to_owned(), mark })
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // The mark is the first file; a folder that has others is not a store of ours.
            if let Some(other) = fs::read_dir(folder).map_err(failed)?.next() {
                let name = other.map_err(failed)?.file_name();
                if name != format!("{MARK_FILE}.new").as_str() {
                    return Err(OpenError::Mark { folder: folder.to_owned(), mark: String::new() });
                }
            }
            disk::write_atomically(&path, Mark::text(kind).as_bytes()).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_a_later_release_only_if_its_checksum_says_so_and_one_flipped_bit_is_undone() {
        let later = |said: &str| format!("{said} {:08x}\n", crc32c::crc32c(said.as_bytes()));
        for said in ["skerry store 2 sled", "skerry store 3 another kind", "skerry store 1 rocks"] {
            let whole = later(said);
            assert_eq!(Mark::read(whole.as_bytes()), Mark::Newer, "{said}");
            for bit in 0..(whole.len() - 1) * 8 {
                let mut bytes = whole.clone().into_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                let read = Mark::read(&bytes);
                assert!(matches!(read, Mark::Damaged), "{said}, bit {bit}: {read:?}");
            }
        }
        for kind in [EngineKind::Sled, EngineKind::Fjall] {
            let own = Mark::text(kind).into_bytes();
            assert_eq!(Mark::read(&own), Mark::Of(kind));
            for bit in 0..own.len() * 8 {
                let mut bytes = own.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(
                    matches!(Mark::read(&bytes), Mark::Of(read) | Mark::Flipped(read) if read == kind),
                    "bit {bit}"
                );
            }
        }
        for damaged in ["", "skerry store 2 sled", "skerry store 2 fjall\n", "skerry store", "holiday"] {
            assert_eq!(Mark::read(damaged.as_bytes()), Mark::Damaged, "{damaged:?}");
        }
    }
}
