//! `skerry import`: CSV and JSON into a table, many rows under way at a time; an interrupted import goes on.

mod put;
mod source;
mod watch;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use skerry_client::Client;
use tokio::signal::ctrl_c;

use super::get;
use super::put::explained;
use crate::args::Global;
use crate::connect;
use crate::exit::Kind;
use crate::failure::{Explain, Failure, Outcome};
use crate::import::apart::apart;
use crate::import::bad::BadRows;
use crate::import::checkpoint::{Checkpoint, CheckpointError, Earlier, Job};
use crate::import::record::{Form, Make, Record, Several};
use crate::import::rows::{self, RowFormat};
use crate::import::template::Template;
use crate::import::write::{NotWritten, Stopped, write};
use crate::output::Output;
use crate::playground::folder::HOME;
use crate::view::size;
use put::Target;
use source::{Source, SourceArgs};
use watch::Watch;

/// Of `skerry import`.
#[derive(Debug, Args)]
#[command(
    after_help = "Templates: {column} is the row's cell, {column:04} pads it with zeros to 4 digits so that it sorts as a
number, {column|none} stands in for an empty cell. Without templates, JSON is taken as `skerry export` wrote it: keys,
values and expiry to the last byte.

  skerry import sales sales.csv --partition '{store}' --sort '{number:08}'

An import that stopped goes on if the same command is run again, also after rows that are not imported yet were mended."
)]
pub(crate) struct Import {
    /// Into which table.
    table: String,
    #[command(flatten)]
    source: SourceArgs,
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
    /// Rows that cannot be imported as they are go into this file, in the form of the import's own file and in UTF-8,
    /// and the import goes on.
    #[arg(long, value_name = "FILE")]
    skip_bad: Option<PathBuf>,
    /// Rows under way at a time.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=4096))]
    in_flight: u16,
    /// Where progress is kept until the import is complete. By default in the folder .skerry, and of stdin nowhere.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Begin anew, whatever the state file says. Of a key with several values those that are there already are not written
    /// again; those that somebody has replaced since, as with `skerry resolve`, come back beside what replaced them.
    #[arg(long)]
    restart: bool,
    /// Of a key that had several values when it was exported, only the newest is imported. Without it a table that keeps
    /// siblings gets all of them, and any other refuses such rows.
    #[arg(long)]
    newest_sibling: bool,
}

impl Import {
    /// Imports.
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Outcome<ExitCode> {
        self.apart(self.state.as_deref())?;
        let format = self.source.format()?;
        let mut make = self.make(format)?;
        let judges = make.value.is_none() && make.form != Form::Exported;
        let source = self.source.open(format, judges, output)?;
        let client = connect::client(global).await?;
        let target = Target::new(&client, &self.table);
        make.several = target.several(self.newest_sibling);
        let (checkpoint, earlier) = self.checkpoint(&client, &source)?;
        let reading = || format!("failed to read {}", self.source.name());
        let mut lines = rows::open(source.path(), &source.reading).doing(reading())?;
        if earlier.rows > 0 {
            output.say(&format!("an earlier import went up to row {}: going on there", size::count(earlier.rows)));
        }
        let mark = match earlier.pass_over(&mut lines) {
            Err(CheckpointError::Row(error)) => return Err(Failure::from(error)).doing(reading()),
            passed => passed.next("begin anew with --restart: rows that are there already are written again")?,
        };
        let delimiter = source.delimiter();
        let open_bad = |path| BadRows::open(path, earlier.rows > 0, delimiter);
        let bad = self.skip_bad.as_deref().map(open_bad).transpose().doing("failed to open the file of --skip-bad")?;
        let keep_raw = bad.is_some().then_some(delimiter);
        let mut watch = Watch::new(output, &self.table, checkpoint, bad);
        let mut ending = None;
        let items = std::iter::from_fn(|| match lines.next()? {
            Ok(line) => Some(make.item(line, keep_raw)),
            Err(error) => {
                ending = Some(error);
                None
            }
        });
        let put = |record: Record| target.put(record);
        let ended = tokio::select! {
            ended = write(items, mark, usize::from(self.in_flight), put, &mut watch) => ended,
            _ = ctrl_c() => {
                watch.progress.failed("interrupted");
                return Err(Failure::new("the import was interrupted").next(self.again("run the same command again")));
            }
        };
        let ended = ended.map_err(|stopped| self.stopped(stopped));
        match (ended, ending) {
            (Ok(rows), None) => watch.finish(output, rows),
            (Err(failure), _) => {
                watch.progress.failed("stopped");
                Err(failure)
            }
            (Ok(rows), Some(error)) => {
                watch.progress.failed("stopped");
                let failed: Outcome<ExitCode> = Err(Failure::from(error));
                failed
                    .doing(format!("{} cannot be read beyond row {}", self.source.name(), size::count(rows)))
                    .next(self.again("mend it, then run the same command again"))
            }
        }
    }

    fn stopped(&self, stopped: Stopped) -> Failure {
        let (row, failure) = match stopped {
            Stopped::Row { row, why: NotWritten::NoRecord(error) } => (row, Failure::from(error)),
            Stopped::Row { row, why: NotWritten::Refused(error) } => (row, explained(&self.table, error)),
            Stopped::Row { row, why: NotWritten::Unread(error) } => (row, get::explained(&self.table, error)),
            Stopped::Note(failure) => return failure,
        };
        let failed: Outcome<()> = Err(failure);
        match failed.doing(format!("row {} of {} was not imported", size::count(row + 1), self.source.name())) {
            Err(failure) => failure.next(format!(
                "{}; or pass over such rows with --skip-bad FILE",
                self.again("mend it, then run the same command again")
            )),
            Ok(()) => Failure::new("the import stopped"),
        }
    }

    fn again(&self, what: &str) -> String {
        match self.source.is_stdin() && self.state.is_none() {
            true => format!("{what}: it begins anew, and writes what is there once more (--state FILE lets it go on)"),
            false => format!("{what}: it goes on where it was"),
        }
    }

    fn make(&self, format: RowFormat) -> Outcome<Make> {
        let parse = |text: &Option<String>| text.as_deref().map(Template::parse).transpose();
        let form = match (parse(&self.key)?, parse(&self.partition)?, format) {
            (Some(key), _, _) | (None, Some(key), _) => Form::Templates { key, sort: parse(&self.sort)? },
            (None, None, RowFormat::Json) => Form::Exported,
            (None, None, RowFormat::Csv { .. }) => {
                return Err(Failure::new("nothing says what the keys are").next(
                    "for a range table --key '{column}', for a hash table --partition '{column}' --sort '{column}'",
                ));
            }
        };
        Ok(Make { form, value: parse(&self.value)?, several: Several::Refused })
    }

    /// Refuses to begin where one of the files would be written over another one. `state` = the state file.
    fn apart(&self, state: Option<&Path>) -> Outcome<()> {
        let next_state = state.map(Checkpoint::next_to);
        let files = [
            ("the file to import", Some(self.source.given())),
            ("the file of --skip-bad", self.skip_bad.as_deref()),
            ("the state file", state),
            ("the state file's next version", next_state.as_deref()),
        ];
        let files: Vec<_> = files.into_iter().filter_map(|(what, path)| Some((what, path?))).collect();
        apart(&files).next("name another file: nothing was changed").map_err(|failure| failure.kind(Kind::Usage))
    }

    fn checkpoint(&self, client: &Client, source: &Source) -> Outcome<(Option<Checkpoint>, Earlier)> {
        if self.source.is_stdin() && self.state.is_none() {
            return Ok((None, Earlier::default()));
        }
        let templates = [&self.key, &self.partition, &self.sort, &self.value];
        let mut templates = templates.map(|t| t.clone().unwrap_or_default()).to_vec();
        templates.push(source.how());
        let cluster = client.map().cluster.0.clone();
        let file = self.source.full_path()?;
        let job = Job { cluster, table: self.table.clone(), file, templates, numeric: source.numeric() };
        let path = self.state.clone().unwrap_or_else(|| {
            let mut hasher = DefaultHasher::new();
            (&job.file, &job.cluster).hash(&mut hasher);
            PathBuf::from(HOME).join("imports").join(format!("{}-{:016x}.json", self.table, hasher.finish()))
        });
        self.apart(Some(&path))?;
        if self.restart {
            Checkpoint::forget(&path).next("name another file with --state, or remove this one yourself")?;
        }
        match Checkpoint::open(path, job) {
            Err(other @ CheckpointError::Other { .. }) => Err(Failure::from(other).next("begin anew with --restart")),
            opened => {
                let (checkpoint, earlier) = opened?;
                Ok((Some(checkpoint), earlier))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser as _;

    use super::*;
    use crate::args::Args;
    use crate::commands;

    #[tokio::test]
    async fn an_import_writes_over_none_of_its_own_files() {
        const ROWS: &str = "id,name\n1,a\n2,b\n";
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let rows = at("rows.csv");
        fs::write(&rows, ROWS).unwrap();
        fs::write(at("rows.new"), ROWS).unwrap();
        std::os::unix::fs::symlink(&rows, at("link.csv")).unwrap();
        let refused: [(&str, &[&str]); 6] = [
            (&rows, &["--skip-bad", &rows]),
            (&rows, &["--skip-bad", &at("link.csv")]),
            (&rows, &["--state", &rows]),
            (&rows, &["--state", &at("link.csv"), "--restart"]),
            (&at("rows.new"), &["--state", &at("rows")]),
            (&rows, &["--state", &at("one"), "--skip-bad", &at("one")]),
        ];
        for (file, options) in refused {
            let line = [&["skerry", "import", "t", file, "--key", "{id}"], options].concat();
            let args = Args::try_parse_from(&line).unwrap();
            let output = Output::new(&args.global);
            let failure = commands::run(args, &output).await.unwrap_err();
            assert!(failure.text().contains("are the same file"), "{line:?}: {}", failure.text());
            assert_eq!(failure.meaning(), Kind::Usage);
            assert_eq!(fs::read_to_string(file).unwrap(), ROWS);
        }
    }
}
