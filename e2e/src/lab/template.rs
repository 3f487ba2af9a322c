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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_where_their_names_stood() {
        assert_eq!(fill("{{host}}: {{run}}/{{host}}", &[("host", "host-1"), ("run", "/run")]), "host-1: /run/host-1");
    }

    #[test]
    #[should_panic(expected = "has no value")]
    fn a_name_without_a_value_is_a_bug() {
        fill("{{host}}", &[]);
    }
}
