//! The identity's file: a version, the content, and a checksum of the content without layout. Old versions are read for
//! ever; what is written is of the newest.

use std::path::Path;

use serde::{Deserialize, Serialize};
use skerry_core::ids::Incarnation;

use super::{Kept, Owner, VolumeError};
use crate::disk;
use crate::newer::Newer;

const FORMAT: u32 = 2;
/// The file's field beside the content.
const CRC: &str = "crc32c";

/// The content of the identity file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Content {
    format: u32,
    /// Random id of the volume. It is drawn when the volume is made, and never changes.
    pub(super) volume: String,
    pub(super) owner: Option<Owner>,
    /// Incarnation of the latest start.
    pub(super) incarnation: Incarnation,
    /// A log and a store were made here: if one is gone later, it is lost, not new.
    pub(super) has_data: bool,
    /// Which ones. `None` with data = made by a program that did not note it.
    pub(super) kept: Option<Kept>,
}

/// The content of an identity file of version 1.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content1 {
    format: u32,
    volume: String,
    owner: Option<Owner>,
    incarnation: Incarnation,
    has_data: bool,
}

impl Content {
    /// The content for an empty volume, with this id.
    pub(super) fn new(volume: String) -> Self {
        Self { format: FORMAT, volume, owner: None, incarnation: Incarnation(0), has_data: false, kept: None }
    }
}

impl From<Content1> for Content {
    fn from(old: Content1) -> Self {
        let Content1 { volume, owner, incarnation, has_data, .. } = old;
        Self { owner, incarnation, has_data, ..Self::new(volume) }
    }
}

/// Reads a file of any version so far.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Content, VolumeError> {
    let unreadable = |why: String| VolumeError::Unreadable { path: path.to_owned(), why };
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
    match value["format"].as_u64() {
        Some(format) if format > u64::from(FORMAT) => {
            own_format(&value).ok_or_else(|| Newer::format(path, format, FORMAT).into())
        }
        _ => decode(value).map_err(unreadable),
    }
}

/// The content if its checksum proves that only the number of its format is damaged.
fn own_format(value: &serde_json::Value) -> Option<Content> {
    (1..=FORMAT).find_map(|format| {
        let mut value = value.clone();
        value["format"] = format.into();
        decode(value).ok()
    })
}

fn decode(mut value: serde_json::Value) -> Result<Content, String> {
    let format = value["format"].clone();
    let crc = value.as_object_mut().and_then(|object| object.remove(CRC));
    if format == 1 {
        whole::<Content1>(value, crc).map(Content::from)
    } else if format == FORMAT {
        whole(value, crc)
    } else {
        Err(format!("format {format} is none of 1 to {FORMAT}"))
    }
}

fn whole<T: Serialize + for<'de> Deserialize<'de>>(
    value: serde_json::Value,
    crc: Option<serde_json::Value>,
) -> Result<T, String> {
    let content: T = serde_json::from_value(value).map_err(|e| e.to_string())?;
    if crc == Some(crc_of(&content).map_err(|e| e.to_string())?.into()) {
        Ok(content)
    } else {
        Err("it is damaged".to_owned())
    }
}

/// Writes the file. It is durable when this returns.
pub(super) fn write(path: &Path, content: &Content) -> Result<(), VolumeError> {
    let bytes = encode(content).map_err(|error| VolumeError::io("encode", path)(error.into()))?;
    disk::write_atomically(path, &bytes).map_err(VolumeError::io("write", path))
}

fn encode(content: &Content) -> serde_json::Result<Vec<u8>> {
    let mut value = serde_json::to_value(content)?;
    value[CRC] = crc_of(content)?.into();
    serde_json::to_vec_pretty(&value)
}

/// Of the content without layout, so that only what has a meaning is covered.
fn crc_of(content: &impl Serialize) -> serde_json::Result<u32> {
    Ok(crc32c::crc32c(&serde_json::to_vec(content)?))
}
