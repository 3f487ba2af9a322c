//! Writes an image that holds one program, as a tar that `ctr images import` and `docker load` take. No engine is needed.
//!
//! The same files give the same image, to the byte. The program must be linked statically: nothing else is in the image.

mod archive;
mod layer;
mod program;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use archive::{Image, Reference};
use clap::Parser;
use layer::Entry;
use program::Program;

/// Writes an image that holds one program.
#[derive(Debug, Parser)]
#[command(name = "image", version, about)]
struct Args {
    /// The program, linked statically.
    #[arg(long)]
    binary: PathBuf,

    /// Repository of the image, such as skerry-node. The program lies at / under its last part.
    #[arg(long)]
    name: String,

    /// Tag of the image.
    #[arg(long)]
    tag: String,

    /// The tar to write.
    #[arg(long)]
    out: PathBuf,

    /// `PATH=IN_IMAGE`: one more file. May be repeated.
    #[arg(long, value_parser = parse_extra)]
    extra: Vec<Extra>,
}

/// One more file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Extra {
    from: PathBuf,
    /// Absolute, in the image.
    to: String,
}

fn parse_extra(text: &str) -> Result<Extra, String> {
    match text.split_once('=') {
        Some((from, to)) if !from.is_empty() && to.starts_with('/') && !to.ends_with('/') => {
            Ok(Extra { from: from.into(), to: to.to_owned() })
        }
        _ => Err("must be PATH=IN_IMAGE, with an absolute path in the image".to_owned()),
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let reference = Reference::new(&args.name, &args.tag)?;
    let bytes = std::fs::read(&args.binary).with_context(|| format!("failed to read {}", args.binary.display()))?;
    let program = Program::read(&bytes).with_context(|| args.binary.display().to_string())?;
    if program.asks_for_loader {
        bail!(
            "{} is linked dynamically, and the image would hold no libraries: build it for a named target with \
             RUSTFLAGS=\"-C target-feature=+crt-static\"",
            args.binary.display()
        );
    }
    let entrypoint = format!("/{}", reference.short_name());
    let mut entries = vec![Entry { path: entrypoint.clone(), executable: true, bytes }];
    for extra in args.extra {
        entries.push(Entry::read(&extra.from, extra.to)?);
    }
    let layer = layer::build(entries)?;
    let archive = Image { reference: &reference, architecture: program.architecture, entrypoint, layer }.archive()?;
    // Whoever reads the file while it is written, or after a failure, must not find half of it.
    let part = args.out.with_extension("part");
    let mut file = BufWriter::new(File::create(&part).with_context(|| format!("failed to create {}", part.display()))?);
    file.write_all(&archive).and_then(|()| file.flush()).context("failed to write the image")?;
    std::fs::rename(&part, &args.out).with_context(|| format!("failed to rename to {}", args.out.display()))?;
    writeln!(std::io::stdout(), "{reference} ({}, {} bytes)", program.architecture, archive.len())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_files_need_an_absolute_path_in_the_image() {
        let extra = parse_extra("target/probe=/bin/probe").unwrap();
        assert_eq!(extra, Extra { from: "target/probe".into(), to: "/bin/probe".to_owned() });
        for wrong in ["target/probe", "=/bin/probe", "target/probe=bin/probe", "target/probe=/bin/"] {
            assert!(parse_extra(wrong).unwrap_err().contains("absolute"), "{wrong}");
        }
    }
}
