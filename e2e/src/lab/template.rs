//! The configurations in `e2e/lab`, with the names of one host filled in.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Puts each value where its name stands in double braces.
pub(super) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let filled = values
        .iter()
        .fold(template.to_owned(), |text, (name, value)| text.replace(&["{{", name, "}}"].concat(), value));
    assert!(!filled.contains("{{"), "a name in a template has no value: {filled}");
    filled
}

/// Writes a filled template to a file.
pub(super) fn write(path: &Path, template: &str, values: &[(&str, &str)]) -> Result<()> {
    fs::write(path, fill(template, values)).with_context(|| format!("failed to write {}", path.display()))
}
