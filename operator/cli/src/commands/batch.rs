//! `skerry batch`: changes that happen together or not at all, one JSON object a line.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use serde::Deserialize;
use skerry_client::{Condition, Key, Mutation};
use skerry_core::command::Expected;
use skerry_core::time::Version;

use super::put::done;
use crate::args::Global;
use crate::connect;
use crate::failure::{Explain, Failure, Outcome};
use crate::output::Output;

/// Of `skerry batch`.
#[derive(Debug, Args)]
#[command(after_help = "Lines, in any order; all keys in one shard, such as one partition of a hash table:
  {\"put\": \"store-15\", \"sort\": \"0001\", \"value\": \"12.50\"}
  {\"delete\": \"store-15\", \"sort\": \"0000\"}
  {\"expect\": \"store-15\", \"sort\": \"0001\", \"absent\": true}
  {\"expect\": \"store-15\", \"sort\": \"0002\", \"version\": 453984562934}
  {\"expect\": \"store-15\", \"sort\": \"0003\", \"value\": \"9.90\"}")]
pub(crate) struct Batch {
    /// Which table.
    table: String,
    /// The file of changes and conditions; `-` is stdin.
    #[arg(default_value = "-")]
    file: PathBuf,
}

/// One line.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Put(PutLine),
    Delete(DeleteLine),
    Expect(ExpectLine),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PutLine {
    put: String,
    #[serde(default)]
    sort: String,
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteLine {
    delete: String,
    #[serde(default)]
    sort: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectLine {
    expect: String,
    #[serde(default)]
    sort: String,
    absent: Option<bool>,
    version: Option<u64>,
    value: Option<String>,
}

impl Batch {
    /// Writes all of it, or nothing.
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Outcome<ExitCode> {
        let text = read(&self.file).doing(format!("failed to read {}", self.file.display()))?;
        let (conditions, mutations) = parse(&text)?;
        let client = connect::client(global).await?;
        done(output, &self.table, client.batch(&self.table, conditions, mutations).await)
    }
}

fn read(file: &std::path::Path) -> io::Result<String> {
    if file.as_os_str() != "-" {
        return fs::read_to_string(file);
    }
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}

fn parse(text: &str) -> Outcome<(Vec<Condition>, Vec<Mutation>)> {
    let (mut conditions, mut mutations) = (Vec::new(), Vec::new());
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let bad = |why: &str| {
            Failure::new(format!("line {}: {why}", i + 1)).next("`skerry batch --help` shows what lines look like")
        };
        match serde_json::from_str(line).map_err(|_| bad("neither put, delete nor expect"))? {
            Line::Put(PutLine { put, sort, value }) => {
                mutations.push(Mutation::Put { key: Key::with_sort(put, sort), value: value.into(), expires_ms: None });
            }
            Line::Delete(DeleteLine { delete, sort }) => {
                mutations.push(Mutation::Delete { key: Key::with_sort(delete, sort) });
            }
            Line::Expect(ExpectLine { expect, sort, absent, version, value }) => {
                let expected = match (absent, version, value) {
                    (Some(true), None, None) => Expected::Absent,
                    (None, Some(version), None) => Expected::Version(Version(version)),
                    (None, None, Some(value)) => Expected::Value(Bytes::from(value)),
                    _ => return Err(bad("expect wants one of \"absent\": true, \"version\" and \"value\"")),
                };
                conditions.push(Condition { key: Key::with_sort(expect, sort), expected });
            }
        }
    }
    if mutations.is_empty() {
        return Err(Failure::new("there is nothing to change").next("`skerry batch --help` shows what lines look like"));
    }
    Ok((conditions, mutations))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_conditions_and_mutations() {
        let text = "{\"put\": \"p\", \"sort\": \"s\", \"value\": \"v\"}\n\n{\"delete\": \"p\"}\n{\"expect\": \"p\", \"version\": 7}\n";
        let (conditions, mutations) = parse(text).unwrap();
        assert_eq!(conditions, [Condition { key: Key::new("p"), expected: Expected::Version(Version(7)) }]);
        assert_eq!(mutations[1], Mutation::Delete { key: Key::new("p") });
    }

    #[test]
    fn bad_lines_are_refused_by_number() {
        for bad in ["{\"put\": \"p\"}", "{\"expect\": \"p\"}", "{\"put\": \"p\", \"value\": \"v\", \"vlaue\": 1}"] {
            let text = format!("{{\"delete\": \"p\"}}\n{bad}\n");
            assert!(parse(&text).unwrap_err().text().starts_with("line 2: "), "{bad}");
        }
        assert!(parse("").is_err());
    }
}
