//! Prints the resource's definition: `make crds` keeps it in `crds/` and, as a template (`--template`), in the chart.

use std::io::{self, Write};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let yaml = match std::env::args().nth(1).as_deref() {
        None => skerry_api::crd_yaml()?,
        Some("--template") => skerry_api::crd_template()?,
        Some(other) => return Err(format!("unknown argument {other:?}: only --template is known").into()),
    };
    Ok(io::stdout().lock().write_all(yaml.as_bytes())?)
}
