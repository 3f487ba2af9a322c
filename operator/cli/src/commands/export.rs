//! `skerry export`: a whole table as JSON lines, which `skerry import` reads back.

mod sink;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use futures::StreamExt;
use serde_json::{Value, json};
use skerry_client::{ScanOptions, ScanRange, SkippedKeys};

use super::get::explained;
use super::key::object;
use super::skipped;
use crate::args::{Format, Global};
use crate::connect;
use crate::failure::{Explain, Outcome};
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
        let failed = |error| explained(&self.table, error);
        let skip = self.skip_unreadable.then(SkippedKeys::default);
        let options = ScanOptions { skip: skip.clone(), ..ScanOptions::default() };
        let pages = client.scan_parallel(&self.table, ScanRange::All, options, self.shards);
        let mut pages = std::pin::pin!(pages.map_err(failed)?);
        let writing = || format!("failed to write {}", self.file.display());
        let mut sink = Sink::open(&self.file).doing(writing())?;
        let mut progress = Progress::counted(output, &format!("export {}", self.table), None);
        let mut records = 0;
        while let Some(page) = pages.next().await {
            for record in page.map_err(failed)? {
                sink.line(&Value::Object(object(&record)).to_string()).doing(writing())?;
                records += 1;
            }
            progress.at(records);
        }
        sink.finish().doing(writing())?;
        progress.done(&size::plural(records, "record"));
        skipped::tell(output, &self.table, skip.as_ref());
        if output.format == Format::Json && self.file.as_os_str() != "-" {
            output.json(&json!({"records": records}))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
