//! How a key is named on the command line, and how records are shown: the same in every command.

use std::io::{self, Read};

use clap::Args;
use serde_json::{Map, Value};
use skerry_client::{Key, Record};

use crate::args::Format;
use crate::bytes_text::{insert, readable};
use crate::failure::{Explain, Outcome};
use crate::output::Output;

/// Names one key.
#[derive(Debug, Clone, Args)]
pub(crate) struct KeyArgs {
    /// The key; in a hash table its partition, which decides where it lives.
    key: String,
    /// In a hash table: orders the keys of one partition.
    #[arg(long, short)]
    sort: Option<String>,
}

impl KeyArgs {
    /// As the client wants it.
    pub(crate) fn key(self) -> Key {
        Key::with_sort(self.key, self.sort.unwrap_or_default())
    }
}

/// A key for people: `partition` or `partition › sort`.
pub(crate) fn shown(key: &Key) -> String {
    if key.sort.is_empty() {
        readable(&key.partition)
    } else {
        format!("{} › {}", readable(&key.partition), readable(&key.sort))
    }
}

/// A record for programs; `import` reads it back.
pub(crate) fn object(record: &Record) -> Map<String, Value> {
    let mut object = Map::new();
    insert(&mut object, "key", &record.key.partition);
    if !record.key.sort.is_empty() {
        insert(&mut object, "sort", &record.key.sort);
    }
    insert(&mut object, "value", &record.value);
    object.insert("version".to_owned(), record.version.0.into());
    if let Some(expires) = record.expires_ms {
        object.insert("expiresMs".to_owned(), expires.into());
    }
    object
}

/// Writes records as they come.
pub(crate) fn show(output: &Output, records: &[Record], keys_only: bool) -> Outcome<()> {
    for record in records {
        match (output.format, keys_only) {
            (Format::Json, _) => output.line(&Value::Object(object(record)).to_string())?,
            (Format::Table | Format::Wide, true) => output.line(&shown(&record.key))?,
            (Format::Table, false) => {
                output.line(&format!("{}\t{}", shown(&record.key), readable(&record.value)))?;
            }
            (Format::Wide, false) => {
                let version = record.version;
                output.line(&format!("{}\t{version}\t{}", shown(&record.key), readable(&record.value)))?;
            }
        }
    }
    Ok(())
}

/// A value: as given, or with `-` all of stdin.
pub(crate) fn value(given: String) -> Outcome<Vec<u8>> {
    if given != "-" {
        return Ok(given.into_bytes());
    }
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes).doing("failed to read the value from stdin")?;
    Ok(bytes)
}
