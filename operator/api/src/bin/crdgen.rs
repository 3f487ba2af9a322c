//! Prints the resource's definition: `make crds` keeps it in `crds/`.

use std::io::{self, Write};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let yaml = skerry_api::crd_yaml()?;
    Ok(io::stdout().lock().write_all(yaml.as_bytes())?)
}
