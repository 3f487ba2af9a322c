//! The user's YAML file, edited as a person would: one number changes, every comment stays.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// A number of the spec that the command line may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    /// `replicas`: the number of storage nodes.
    Replicas,
    /// A table's number of copies of every shard.
    ReplicationFactor,
}

/// Why a file was not edited. It is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EditError {
    #[error("there is no `spec:` on a line of its own, with its fields indented below")]
    NoSpec,
    #[error("the edit of spec.{0} would not give valid YAML with that value")]
    NotAsMeant(&'static str),
    #[error("failed to read the file")]
    Io(#[from] io::Error),
}

impl Field {
    /// Name of the field, as the resource spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Replicas => "replicas",
            Self::ReplicationFactor => "replicationFactor",
        }
    }
}

/// The text of a file with a field set. The file is as it was.
pub(crate) fn edited(path: &Path, field: Field, value: u32) -> Result<String, EditError> {
    with_value(&fs::read_to_string(path)?, field, value)
}

/// Replaces a file's text, by way of a new file that takes the old one's place when it is durable.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    // The target, not the link to it, is what gets replaced.
    let path = fs::canonicalize(path)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".skerry-{}", std::process::id()));
    let new = path.with_file_name(name);
    let write = || -> io::Result<()> {
        let mut file = fs::File::create(&new)?;
        file.set_permissions(fs::metadata(&path)?.permissions())?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)
    };
    write().inspect_err(|_| _ = fs::remove_file(&new))
}

/// The text with the field of `spec` set, all else as it was.
pub(crate) fn with_value(text: &str, field: Field, value: u32) -> Result<String, EditError> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let spec = lines.iter().position(|l| is_block_key(l, "spec")).ok_or(EditError::NoSpec)?;
    let inside = || lines[spec + 1..].iter().take_while(|l| is_blank(l) || indent(l) > 0);
    let depth = inside().find(|l| !is_blank(l)).map(|l| indent(l)).ok_or(EditError::NoSpec)?;
    let at = inside().position(|l| !is_blank(l) && indent(l) == depth && key(l) == Some(field.name()));

    let mut edited = String::with_capacity(text.len() + 32);
    for (i, line) in lines.iter().enumerate() {
        match at {
            Some(at) if i == spec + 1 + at => edited.push_str(&replaced(line, value)),
            _ => edited.push_str(line),
        }
        if at.is_none() && i == spec {
            edited.push_str(&format!("{}{}: {value}\n", " ".repeat(depth), field.name()));
        }
    }
    let reads = |parsed: serde_yaml::Value| parsed.get("spec")?.get(field.name())?.as_u64();
    match serde_yaml::from_str(&edited).ok().and_then(reads) {
        Some(read) if read == u64::from(value) => Ok(edited),
        _ => Err(EditError::NotAsMeant(field.name())),
    }
}

/// The line with another scalar after its colon; blanks and a comment after it stay.
fn replaced(line: &str, value: u32) -> String {
    let colon = line.find(':').map_or(line.len(), |c| c + 1);
    let (head, tail) = line.split_at(colon);
    let lead = &tail[..tail.len() - tail.trim_start_matches([' ', '\t']).len()];
    let rest = &tail[lead.len()..];
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let gap = if lead.is_empty() { " " } else { lead };
    format!("{head}{gap}{value}{}", &rest[end..])
}

fn is_block_key(line: &str, name: &str) -> bool {
    let after = line.strip_prefix(name).and_then(|l| l.strip_prefix(':'));
    after.is_some_and(|rest| rest.trim().is_empty() || rest.trim_start().starts_with('#'))
}

fn key(line: &str) -> Option<&str> {
    line.trim_start().split_once(':').map(|(key, _)| key.trim_end())
}

fn is_blank(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# A shop.\nspec:\n  # How many.\n\n  replicas: 3   # one per zone\n  tables:\n  - name: a\n    \
                        replicationFactor: 2\nstatus: {}\n";

    #[test]
    fn only_the_value_changes() {
        let edited = with_value(TEXT, Field::Replicas, 5).unwrap();
        assert_eq!(edited, TEXT.replace("replicas: 3 ", "replicas: 5 "));
    }

    #[test]
    fn absent_field_is_added_to_the_spec_and_not_to_a_table() {
        let edited = with_value(TEXT, Field::ReplicationFactor, 5).unwrap();
        assert_eq!(edited, TEXT.replace("spec:\n", "spec:\n  replicationFactor: 5\n"));
        let again = with_value(&edited, Field::ReplicationFactor, 3).unwrap();
        assert_eq!(again, TEXT.replace("spec:\n", "spec:\n  replicationFactor: 3\n"));
    }

    #[test]
    fn line_ends_and_a_missing_last_one_are_kept() {
        assert_eq!(with_value("spec:\r\n  replicas: 3\r\n", Field::Replicas, 4).unwrap(), "spec:\r\n  replicas: 4\r\n");
        assert_eq!(with_value("spec:\n  replicas: 3", Field::Replicas, 4).unwrap(), "spec:\n  replicas: 4");
    }

    #[test]
    fn what_cannot_be_edited_safely_is_refused() {
        let flow = with_value("spec: {replicas: 3}\n", Field::Replicas, 4);
        assert!(matches!(flow, Err(EditError::NoSpec)));
        let anchored = with_value("spec:\n  replicas: &n 3\n", Field::Replicas, 4);
        assert!(matches!(anchored, Err(EditError::NotAsMeant("replicas"))));
    }

    #[test]
    fn edit_replaces_the_file_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.yaml");
        fs::write(&path, TEXT).unwrap();
        replace(&path, &edited(&path, Field::Replicas, 7).unwrap()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), TEXT.replace("replicas: 3 ", "replicas: 7 "));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
