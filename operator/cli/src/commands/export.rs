//! `skerry export`: a whole table as JSON lines, which `skerry import` reads back.

mod beside;
mod sink;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use futures::StreamExt;
use serde_json::{Value, json};
use skerry_client::{Client, Record, ScanOptions, ScanRange, SkippedKeys};
use tokio::signal::ctrl_c;

use super::get::explained;
use super::key::object;
use super::skipped;
use crate::args::{Format, Global};
use crate::connect;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::progress::Progress;
use crate::view::size;
use sink::Sink;

/// Of `skerry export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Which table.
    table: String,
    /// Where to; a name that ends in .gz is compressed, `-` is stdout.
    #[arg(default_value = "-")]
    file: PathBuf,
    /// So many shards are read side by side; with more than one, records come in no order of keys.
    #[arg(long, default_value_t = 1)]
    shards: usize,
    /// Leave out records that cannot be read, and name their keys on stderr.
    #[arg(long)]
    skip_unreadable: bool,
}

impl Export {
    /// Writes the table.
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Outcome<ExitCode> {
        let client = connect::client(global).await?;
        let skip = self.skip_unreadable.then(SkippedKeys::default);
        let mut progress = Progress::counted(output, &format!("export {}", self.table), None);
        // Whoever interrupts it keeps the file that was there, and finds no half of a new one beside it.
        let written = tokio::select! {
            written = self.write(&client, skip.clone(), &mut progress) => written,
            _ = ctrl_c() => Err(Stopped::Failed(Failure::new("the export was interrupted"))),
        };
        let records = match written {
            Ok(records) => records,
            Err(Stopped::Unread) => return Ok(ExitCode::SUCCESS),
            Err(Stopped::Failed(failure)) => {
                progress.failed("stopped");
                return Err(failure);
            }
        };
        progress.done(&size::plural(records, "record"));
        skipped::tell(output, &self.table, skip.as_ref());
        if output.format == Format::Json && !self.is_to_stdout() {
            output.json(&json!({"records": records}))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn is_to_stdout(&self) -> bool {
        self.file.as_os_str() == "-"
    }

    /// The number of records that were written.
    async fn write(&self, client: &Client, skip: Option<SkippedKeys>, progress: &mut Progress) -> Result<u64, Stopped> {
        let failed = |error| Stopped::Failed(explained(&self.table, error));
        let unwritten = |error: io::Error| match self.is_to_stdout() && error.kind() == io::ErrorKind::BrokenPipe {
            true => Stopped::Unread,
            false => Stopped::Failed(Failure::from(error).doing(format!("failed to write {}", self.file.display()))),
        };
        let options = ScanOptions { skip, ..ScanOptions::default() };
        let pages = client.scan_parallel(&self.table, ScanRange::All, options, self.shards).await;
        let mut pages = std::pin::pin!(pages.map_err(failed)?);
        let mut sink = Sink::open(&self.file).map_err(unwritten)?;
        if let Some(why) = sink.written_in_place() {
            let file = self.file.display();
            progress.say(&format!(
                "{file} is written in place, since no new file can take its place ({why}): if the export fails, what it held is lost"
            ));
        }
        let mut records = 0;
        while let Some(page) = pages.next().await {
            for line in lines(&page.map_err(failed)?) {
                sink.line(&line.to_string()).await.map_err(unwritten)?;
                records += 1;
            }
            progress.at(records);
        }
        if let Some(why) = sink.finish().await.map_err(unwritten)? {
            let file = self.file.display();
            progress.say(&format!(
                "{file} was written in place at the end, since no new file could take its place ({why})"
            ));
        }
        Ok(records)
    }
}

/// Why an export ended before all was written.
enum Stopped {
    /// Whoever read it from stdout has had enough, which is no failure.
    Unread,
    Failed(Failure),
}

/// The lines of a page. Of a key with several values each says by `sibling` which one it is, from 1, the newest, on. The
/// newest comes last: so it stays, whoever writes one after the other.
fn lines(page: &[Record]) -> Vec<Value> {
    let of_key = |values: &[Record]| -> Vec<Value> {
        let line = |(place, record): (usize, &Record)| {
            let mut line = object(record);
            if values.len() > 1 {
                line.insert("sibling".to_owned(), (place + 1).into());
            }
            Value::Object(line)
        };
        values.iter().enumerate().rev().map(line).collect()
    };
    page.chunk_by(|one, next| one.key == next.key).flat_map(of_key).collect()
}

#[cfg(test)]
mod tests {
    use skerry_client::Key;
    use skerry_core::time::Version;

    use super::*;

    #[test]
    fn values_of_one_key_are_marked_and_the_newest_comes_last() {
        let record = |key: &'static str, version: u64| {
            let value = version.to_string().into();
            Record { key: Key::new(key), version: Version(version), value, expires_ms: None }
        };
        let lines = lines(&[record("a", 5), record("b", 9), record("b", 7), record("b", 3), record("c", 4)]);
        let told: Vec<_> = lines.iter().map(|line| (line["value"].clone(), line.get("sibling").cloned())).collect();
        let expected = [
            (json!("5"), None),
            (json!("3"), Some(json!(3))),
            (json!("7"), Some(json!(2))),
            (json!("9"), Some(json!(1))),
            (json!("4"), None),
        ];
        assert_eq!(told, expected);
    }
}
