//! `skerry import`: CSV and JSON lines into a table, many rows under way at a time; an interrupted import goes on.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use skerry_client::Client;
use tokio::signal::ctrl_c;

use super::put::explained;
use crate::args::Global;
use crate::connect;
use crate::failure::{Explain, Failure, Outcome};
use crate::import::checkpoint::{Checkpoint, CheckpointError, Job};
use crate::import::record::{Form, Make};
use crate::import::rows::{self, RowFormat};
use crate::import::template::Template;
use crate::import::write::{Stopped, write};
use crate::output::Output;
use crate::playground::folder::HOME;
use crate::progress::Progress;
use crate::view::size;

/// Of `skerry import`.
#[derive(Debug, Args)]
#[command(
    after_help = "Templates: {column} is the row's cell, {column:04} pads it with zeros to 4 digits so that it sorts as a
number, {column|none} stands in for an empty cell. Without templates, JSON lines are taken as `skerry export` wrote them.

  skerry import sales sales.csv --partition '{store}' --sort '{number:08}'"
)]
pub(crate) struct Import {
    /// Into which table.
    table: String,
    /// CSV with a header, or JSON lines; either may be compressed with gzip.
    file: PathBuf,
    /// The key of a range table.
    #[arg(long, value_name = "TEMPLATE", conflicts_with_all = ["partition", "sort"])]
    key: Option<String>,
    /// What decides where a row of a hash table lives.
    #[arg(long, value_name = "TEMPLATE")]
    partition: Option<String>,
    /// What orders the rows of one partition.
    #[arg(long, value_name = "TEMPLATE", requires = "partition")]
    sort: Option<String>,
    /// The value. By default the whole row as a JSON object.
    #[arg(long, value_name = "TEMPLATE")]
    value: Option<String>,
    /// How rows are written, where the file's name does not say so.
    #[arg(long, value_enum)]
    format: Option<FileFormat>,
    /// Rows under way at a time.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=4096))]
    in_flight: u16,
    /// Where progress is kept until the import is complete. By default in the folder .skerry.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Begin anew, whatever the state file says.
    #[arg(long)]
    restart: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FileFormat {
    Csv,
    Jsonl,
}

impl Import {
    /// Imports.
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Outcome<ExitCode> {
        let format = self.row_format()?;
        let make = self.make(format)?;
        let client = connect::client(global).await?;
        let (checkpoint, done) = self.checkpoint(&client)?;
        let rows = rows::open(&self.file, format).doing(format!("failed to read {}", self.file.display()))?;
        if done > 0 {
            output.say(&format!("an earlier import went up to row {}: going on there", size::count(done)));
        }
        let mut progress = Progress::counted(output, &format!("import {}", self.table), None);
        let records = rows.map(move |row| make.record(&row?));
        let writing = write(&client, &self.table, records, done, usize::from(self.in_flight), |below| {
            progress.at(below);
            checkpoint.save(below).map_err(Failure::from)
        });
        let ended = tokio::select! {
            ended = writing => ended,
            _ = ctrl_c() => {
                progress.failed("interrupted");
                return Err(Failure::new("the import was interrupted").next("run the same command again: it goes on where it was"));
            }
        };
        match ended {
            Ok(all) => {
                checkpoint.remove()?;
                progress.done(&size::plural(all, "row"));
                Ok(ExitCode::SUCCESS)
            }
            Err(stopped) => {
                progress.failed("stopped");
                Err(self.stopped(stopped))
            }
        }
    }

    fn stopped(&self, stopped: Stopped) -> Failure {
        let (row, failure) = match stopped {
            Stopped::Row { row, source } => (row, Failure::from(source)),
            Stopped::Write { row, source } => (row, explained(&self.table, source)),
            Stopped::Note(failure) => return failure,
        };
        let failed: Outcome<()> = Err(failure);
        match failed.doing(format!("row {} of {} was not imported", size::count(row + 1), self.file.display())) {
            Err(failure) => failure.next("mend it, then run the same command again: it goes on where it was"),
            Ok(()) => Failure::new("the import stopped"),
        }
    }

    fn row_format(&self) -> Outcome<RowFormat> {
        match self.format {
            Some(FileFormat::Csv) => Ok(RowFormat::Csv),
            Some(FileFormat::Jsonl) => Ok(RowFormat::JsonLines),
            None => RowFormat::of(&self.file).ok_or_else(|| {
                Failure::new(format!("{} does not say by its name what it is", self.file.display()))
                    .next("say so: --format csv or --format jsonl")
            }),
        }
    }

    fn make(&self, format: RowFormat) -> Outcome<Make> {
        let parse = |text: &Option<String>| text.as_deref().map(Template::parse).transpose();
        let form = match (parse(&self.key)?, parse(&self.partition)?, format) {
            (Some(key), _, _) | (None, Some(key), _) => Form::Templates { key, sort: parse(&self.sort)? },
            (None, None, RowFormat::JsonLines) => Form::Exported,
            (None, None, RowFormat::Csv) => {
                return Err(Failure::new("nothing says what the keys are").next(
                    "for a range table --key '{column}', for a hash table --partition '{column}' --sort '{column}'",
                ));
            }
        };
        Ok(Make { form, value: parse(&self.value)? })
    }

    fn checkpoint(&self, client: &Client) -> Outcome<(Checkpoint, u64)> {
        let templates = [&self.key, &self.partition, &self.sort, &self.value];
        let templates = templates.map(|t| t.clone().unwrap_or_default()).to_vec();
        let cluster = client.map().cluster.0.clone();
        let job = Job::of(&self.file, cluster, self.table.clone(), templates)
            .doing(format!("failed to read {}", self.file.display()))?;
        let path = self.state.clone().unwrap_or_else(|| {
            let mut hasher = DefaultHasher::new();
            (&job.file, &job.cluster).hash(&mut hasher);
            PathBuf::from(HOME).join("imports").join(format!("{}-{:016x}.json", self.table, hasher.finish()))
        });
        if self.restart {
            Checkpoint::forget(&path)?;
        }
        match Checkpoint::open(path, job) {
            Err(other @ CheckpointError::Other { .. }) => Err(Failure::from(other).next("begin anew with --restart")),
            opened => Ok(opened?),
        }
    }
}
