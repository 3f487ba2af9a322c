//! The same image under another tag: what an upgrade to another image is tried with.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// The file of an image's tar that names it.
const NAMING: &str = "manifest.json";

/// Copies an image's tar, and names it with another tag.
pub fn retag(image: &Path, tag: &str, next: &str, out: &Path) -> Result<()> {
    let opened = File::open(image).with_context(|| format!("failed to open {}", image.display()))?;
    let written = File::create(out).with_context(|| format!("failed to create {}", out.display()))?;
    let (mut from, mut to) = (tar::Archive::new(opened), tar::Builder::new(written));
    let mut named = 0;
    for entry in from.entries().context("failed to read the image")? {
        let mut entry = entry.context("failed to read the image")?;
        let path = entry.path().context("failed to read the image")?.into_owned();
        let mut header = entry.header().clone();
        if path != Path::new(NAMING) {
            to.append_data(&mut header, &path, &mut entry).context("failed to write the image")?;
            continue;
        }
        let mut text = String::new();
        entry.read_to_string(&mut text).with_context(|| format!("failed to read {}", path.display()))?;
        let renamed = rename(&text, tag, next);
        named += usize::from(renamed != text);
        header.set_size(renamed.len() as u64);
        to.append_data(&mut header, &path, renamed.as_bytes()).context("failed to write the image")?;
    }
    ensure!(named > 0, "{} is not tagged {tag}", image.display());
    to.into_inner().and_then(|file| file.sync_all()).context("failed to write the image")
}

/// A tag stands at the end of a name.
fn rename(json: &str, tag: &str, next: &str) -> String {
    json.replace(&format!(":{tag}\""), &format!(":{next}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tag_is_changed() {
        let json = r#"{"RepoTags":["skerry-node:0.1.0"],"Layers":["blobs/sha256/0.1.0ff"]}"#;
        let next = r#"{"RepoTags":["skerry-node:0.1.0-next"],"Layers":["blobs/sha256/0.1.0ff"]}"#;
        assert_eq!(rename(json, "0.1.0", "0.1.0-next"), next);
    }
}
