//! `skerry batch`: changes that are written together, one JSON object a line.

mod line;

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use skerry_client::{BatchOptions, Condition, Key, Mutation};

use super::put::done;
use super::quorum::copies;
use crate::args::Global;
use crate::connect;
use crate::exit::Kind;
use crate::failure::{Explain, Failure, Outcome};
use crate::output::Output;
use line::Line;

/// Of `skerry batch`.
#[derive(Debug, Args)]
#[command(
    after_help = "In a table that follows leaders all of it happens, or nothing. In a quorum table each write is one for itself, and a
reader may see some before the others.

Lines, in any order; all keys in one shard, such as one partition of a hash table:
  {\"put\": \"store-15\", \"sort\": \"0001\", \"value\": \"12.50\"}
  {\"put\": \"store-15\", \"sort\": \"0001\", \"value\": \"12.50\", \"ttlSeconds\": 60, \"ifAbsent\": true}
  {\"delete\": \"store-15\", \"sort\": \"0000\"}
  {\"delete\": \"store-15\", \"sort\": \"0000\", \"ifVersion\": \"453984562934\"}
  {\"expect\": \"store-15\", \"sort\": \"0001\", \"absent\": true}
  {\"expect\": \"store-15\", \"sort\": \"0002\", \"version\": \"453984562934\"}
  {\"expect\": \"store-15\", \"sort\": \"0003\", \"value\": \"9.90\"}
Bytes that are no text are given in hex, by the same names with Hex behind them: putHex, sortHex, valueHex. A put may
also have expiresMs, in milliseconds since 1970. Of a quorum table a put or delete may have the context that get has shown of
the key, and expect is refused."
)]
pub(crate) struct Batch {
    /// Which table.
    table: String,
    /// The file of changes and conditions; `-` is stdin.
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Of a quorum table: so many copies must have it on disk, at least the table's W.
    #[arg(long, value_name = "COPIES", value_parser = copies)]
    w: Option<usize>,
}

impl Batch {
    /// Writes all of it; where leaders are followed, all or nothing.
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Outcome<ExitCode> {
        let text = read(&self.file).doing(format!("failed to read {}", self.file.display()))?;
        let Parsed { conditions, mutations, seen } = parse(&text)?;
        let client = connect::client(global).await?;
        let options = BatchOptions { copies: self.w, seen };
        let written = client.batch_with(&self.table, conditions.clone(), mutations, options).await;
        done(output, &self.table, &conditions, written)
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

/// What the lines ask for.
#[derive(Debug, Default)]
struct Parsed {
    conditions: Vec<Condition>,
    mutations: Vec<Mutation>,
    /// Keys with the contexts of the reads that their mutations replace.
    seen: Vec<(Key, Bytes)>,
}

fn parse(text: &str) -> Outcome<Parsed> {
    const HELP: &str = "`skerry batch --help` shows what lines look like";
    let mut parsed = Parsed::default();
    let text = text.trim_start_matches('\u{feff}');
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let Line { condition, mutation, context } = line::parse(line)
            .doing(format!("line {}", i + 1))
            .next(HELP)
            .map_err(|failure| failure.kind(Kind::Usage))?;
        let key = mutation.as_ref().map(|(Mutation::Put { key, .. } | Mutation::Delete { key })| key.clone());
        parsed.conditions.extend(condition);
        parsed.mutations.extend(mutation);
        parsed.seen.extend(key.zip(context));
    }
    if parsed.mutations.is_empty() {
        return Err(Failure::new("there is nothing to change").next(HELP));
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use skerry_core::command::Expected;
    use skerry_core::time::Version;

    use super::*;

    #[test]
    fn lines_become_conditions_and_mutations() {
        let text = "{\"put\": \"p\", \"sort\": \"s\", \"value\": \"v\"}\n\n{\"delete\": \"p\"}\n{\"expect\": \"p\", \"version\": 7}\n{\"delete\": \"q\", \"context\": \"01\"}\n";
        let Parsed { conditions, mutations, seen } = parse(text).unwrap();
        assert_eq!(seen, [(Key::new("q"), Bytes::from_static(b"\x01"))]);
        assert_eq!(conditions, [Condition { key: Key::new("p"), expected: Expected::Version(Version(7)) }]);
        assert_eq!(mutations[1], Mutation::Delete { key: Key::new("p") });
    }

    #[test]
    fn bad_lines_are_refused_by_number() {
        let failure = parse("{\"delete\": \"p\"}\n{\"put\": \"p\", \"value\": \"v\", \"vlaue\": 1}\n").unwrap_err();
        assert_eq!(failure.text(), "line 2: \"vlaue\" is no field of put");
        assert!(parse("").is_err());
    }
}
