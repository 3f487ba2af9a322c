//! Images without a registry: one layer that holds static programs and nothing else, in one tar file.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use super::run::run;

/// Name of the image whose container holds a pod's namespaces.
pub(super) const PAUSE: &str = "skerry.io/pause:1";

/// Writes an image that has these static programs in its root; the first is its entry point.
pub(super) fn write(tar: &Path, name: &str, programs: &[&Path]) -> Result<()> {
    let parts = tar.with_extension("parts");
    let root = parts.join("root");
    fs::create_dir_all(&root).with_context(|| format!("failed to create {}", root.display()))?;
    let mut files = Vec::new();
    for program in programs {
        let file = program.file_name().with_context(|| format!("{} is no program", program.display()))?;
        fs::copy(program, root.join(file)).with_context(|| format!("failed to copy {}", program.display()))?;
        files.push(file.to_string_lossy().into_owned());
    }
    let entry = files.first().context("an image needs a program")?;
    let layer = parts.join("layer.tar");
    let fixed = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "--format=gnu"];
    pack(&layer, &root, &[fixed.as_slice(), &files.iter().map(String::as_str).collect::<Vec<_>>()].concat())?;
    let digest = run("sha256sum", &[&layer])?;
    let digest = digest.split_whitespace().next().context("sha256sum said nothing")?;
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": { "Entrypoint": [format!("/{entry}")], "Env": ["PATH=/"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
    });
    let manifest = json!([{ "Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"] }]);
    fs::write(parts.join("config.json"), config.to_string()).context("failed to write the image's configuration")?;
    fs::write(parts.join("manifest.json"), manifest.to_string()).context("failed to write the image's manifest")?;
    pack(tar, &parts, &["manifest.json", "config.json", "layer.tar"])?;
    fs::remove_dir_all(&parts).context("failed to remove the image's parts")
}

fn pack(tar: &Path, folder: &Path, what: &[&str]) -> Result<()> {
    let (tar, folder) = (tar.display().to_string(), folder.display().to_string());
    run("tar", &[&["-cf", &tar, "-C", &folder], what].concat())?;
    Ok(())
}
