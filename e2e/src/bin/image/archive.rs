//! The image around its layer, and the tar as `docker save` writes it: engines, containerd and kind all read it, and each puts
//! before a short name what it always does. Files are named by their digests.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::bail;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::EntryType;

use crate::layer::append;

/// Neither root nor one of the usual users of a host.
const USER: &str = "10001:10001";

/// Repository and tag of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    name: String,
    tag: String,
}

impl Reference {
    /// Makes a reference of this repository and tag.
    ///
    /// # Errors
    ///
    /// Either is not what an image can be called.
    pub(crate) fn new(name: &str, tag: &str) -> anyhow::Result<Self> {
        let part = |p: &str| {
            let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-:".contains(c);
            p.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()) && p.chars().all(inner)
        };
        if !name.split('/').all(part) {
            bail!("{name:?} is not the name of an image");
        }
        let is_tag = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if tag.is_empty() || tag.len() > 128 || tag.starts_with(['.', '-']) || !tag.chars().all(is_tag) {
            bail!("{tag:?} is not the tag of an image");
        }
        Ok(Self { name: name.to_owned(), tag: tag.to_owned() })
    }

    /// The last part of the repository.
    pub(crate) fn short_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.tag)
    }
}

/// All that an image is made from.
#[derive(Debug)]
pub(crate) struct Image<'a> {
    pub(crate) reference: &'a Reference,
    /// Processor architecture, as image configurations spell it.
    pub(crate) architecture: &'static str,
    /// Path in the image of the program that is run.
    pub(crate) entrypoint: String,
    /// The image's only layer: the bytes of a tar archive.
    pub(crate) layer: Vec<u8>,
}

impl Image<'_> {
    /// The image as a tar archive, ready to import.
    pub(crate) fn archive(self) -> anyhow::Result<Vec<u8>> {
        let config = to_bytes(&self.config())?;
        let (config_path, layer_path) = (blob(&digest(&config)), blob(&digest(&self.layer)));
        let saved = json!([{
            "Config": config_path,
            "RepoTags": [self.reference.to_string()],
            "Layers": [layer_path],
        }]);
        let files = BTreeMap::from([
            (config_path, config),
            (layer_path, self.layer),
            ("manifest.json".to_owned(), to_bytes(&saved)?),
        ]);
        let mut tar = tar::Builder::new(Vec::new());
        for folder in ["blobs/", "blobs/sha256/"] {
            append(&mut tar, EntryType::Directory, folder, 0o755, &[])?;
        }
        for (path, bytes) in files {
            append(&mut tar, EntryType::Regular, &path, 0o644, &bytes)?;
        }
        Ok(tar.into_inner()?)
    }

    fn config(&self) -> Value {
        // The same for the same files: the time of the build would make every image another.
        let created = "1970-01-01T00:00:00Z";
        json!({
            "architecture": self.architecture,
            "os": "linux",
            "created": created,
            "config": {
                "User": USER,
                "Entrypoint": [self.entrypoint],
                "WorkingDir": "/",
                "Env": ["PATH=/"],
                "Labels": {
                    "org.opencontainers.image.title": self.reference.short_name(),
                    "org.opencontainers.image.version": self.reference.tag,
                    "org.opencontainers.image.licenses": "Apache-2.0",
                    "org.opencontainers.image.url": "https://skerry.io",
                },
            },
            "rootfs": { "type": "layers", "diff_ids": [digest(&self.layer)] },
            "history": [{ "created": created, "created_by": "make images" }],
        })
    }
}

fn to_bytes(value: &Value) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(value)
}

fn digest(bytes: &[u8]) -> String {
    let hex: Vec<String> = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{}", hex.concat())
}

fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

#[cfg(test)]
mod tests;
