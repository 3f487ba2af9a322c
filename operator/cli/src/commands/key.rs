//! How a key is named on the command line, and how records are shown: the same in every command.

use std::io::{self, Read};

use clap::Args;
use serde_json::{Map, Value};
use skerry_client::{Key, Record};

use crate::args::Format;
use crate::bytes_text::{from_hex, from_readable, insert, readable};
use crate::exit::Kind;
use crate::failure::{Explain, Failure, Outcome};
use crate::output::Output;

/// How keys are given on the command line. By default as they are.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Notation {
    /// Keys and sort parts are given in hex, as in the `keyHex` and `sortHex` of JSON.
    #[arg(long, conflicts_with = "escapes")]
    hex: bool,
    /// Keys and sort parts are given as lists of records show them: \xNN is a byte in hex, \\ a backslash.
    #[arg(long, short)]
    escapes: bool,
}

impl Notation {
    /// The bytes that are meant.
    pub(crate) fn bytes(self, text: &str) -> Outcome<Vec<u8>> {
        let read = match (self.hex, self.escapes) {
            (true, _) => {
                from_hex(text).ok_or_else(|| "it is not hex: two digits for each byte, such as ff00".to_owned())
            }
            (false, true) => from_readable(text),
            (false, false) => Ok(text.as_bytes().to_vec()),
        };
        read.map_err(|why| Failure::new(format!("{text:?} is no key: {why}")).kind(Kind::Usage))
    }
}

/// Names one key.
#[derive(Debug, Clone, Args)]
pub(crate) struct KeyArgs {
    /// The key; in a hash table its partition, which decides where it lives.
    key: String,
    /// In a hash table: orders the keys of one partition.
    #[arg(long, short)]
    sort: Option<String>,
    #[command(flatten)]
    notation: Notation,
}

impl KeyArgs {
    /// As the client wants it.
    pub(crate) fn key(&self) -> Outcome<Key> {
        let sort = self.sort.as_deref().unwrap_or_default();
        Ok(Key::with_sort(self.notation.bytes(&self.key)?, self.notation.bytes(sort)?))
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

/// A record for programs; `import` reads it back. Its version is a string: as a number it would lose digits in programs
/// that keep numbers as 64-bit floats.
pub(crate) fn object(record: &Record) -> Map<String, Value> {
    let mut object = Map::new();
    insert(&mut object, "key", &record.key.partition);
    if !record.key.sort.is_empty() {
        insert(&mut object, "sort", &record.key.sort);
    }
    insert(&mut object, "value", &record.value);
    object.insert("version".to_owned(), record.version.0.to_string().into());
    if let Some(expires) = record.expires_ms {
        object.insert("expiresMs".to_owned(), expires.into());
    }
    object
}

/// Writes records as they come.
pub(crate) fn show(output: &Output, records: &[Record], keys_only: bool) -> Outcome<()> {
    for record in records {
        match (output.format, keys_only) {
            (Format::Json, keys_only) => {
                let mut object = object(record);
                object.retain(|name, _| !(keys_only && matches!(name.as_str(), "value" | "valueHex")));
                output.line(&Value::Object(object).to_string())?;
            }
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

#[cfg(test)]
mod tests {
    use skerry_core::time::Version;

    use super::*;

    fn named(hex: bool, escapes: bool, key: &str) -> Outcome<Key> {
        let notation = Notation { hex, escapes };
        KeyArgs { key: key.to_owned(), sort: Some(key.to_owned()), notation }.key()
    }

    #[test]
    fn every_key_can_be_named() {
        let bytes: &[u8] = b"a\xff\n";
        let key = Key::with_sort(bytes, bytes);
        assert_eq!(named(true, false, "61ff0a").unwrap(), key);
        assert_eq!(named(false, true, "a\\xff\\x0a").unwrap(), key);
        assert_eq!(named(false, false, "a\\xff").unwrap(), Key::with_sort("a\\xff", "a\\xff"));
        assert_eq!(named(true, false, "6").unwrap_err().meaning(), Kind::Usage);
    }

    #[test]
    fn versions_are_strings_for_programs() {
        let version = Version((1 << 53) + 1);
        let record = Record { key: Key::new("k"), version, value: "v".into(), expires_ms: None };
        assert_eq!(object(&record)["version"], "9007199254740993");
    }
}
