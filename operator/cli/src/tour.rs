//! The tour: starts the quickstart database, imports real data, and then scales it, copies it more often and less often,
//! and kills a node of it, while readers and writers go on. Every answer is checked.

mod flights;
mod phase;
mod questions;
mod sides;
mod summary;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join;
use skerry_client::{Client, ClientConfig, Key};
use skerry_core::map::Fragmentation;
use skerry_workload::{Load, QuorumWorkload, Workload, tested_keys};
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::shards::draw;
use crate::connect;
use crate::database_yaml::Field;
use crate::failure::{Explain, Failure, Outcome};
use crate::import::bad::Raw;
use crate::import::mark::Mark;
use crate::import::record::{Item, Record};
use crate::import::write::{NotWritten, Observer, Stopped, write};
use crate::output::{Output, Paint};
use crate::playground::folder::Folder;
use crate::playground::{Access, Playground};
use crate::progress::Progress;
use crate::view::size;
use flights::{BY_AIRCRAFT, BY_CARRIER, Flight};
use phase::Stage;
use summary::Summary;

const QUICKSTART: &str = include_str!("../../../examples/quickstart.yaml");
/// Further tables of it, where a release has them.
const QUORUM_TABLES: &str = include_str!("tour/quorum_tables.yaml");
const WRITERS: usize = 4;
const READERS: usize = 4;
const QUORUM_WRITERS: usize = 2;
const QUORUM_READERS: usize = 2;
/// Between two operations of one reader or writer: room for the moves on a small machine.
const PACE: Duration = Duration::from_millis(10);
/// Rows under way at a time, in each table.
const IN_FLIGHT: usize = 128;

/// Goes round; the exit code says whether all was well.
pub(crate) async fn run(dir: Option<PathBuf>, keep: bool, output: &Output) -> Outcome<ExitCode> {
    let ground = Ground::new(dir, keep)?;
    output.say(&output.paint_message(Paint::Strong, "A database of three nodes in three zones, on this machine"));
    let (mut playground, events) = Playground::up(Folder::new(ground.path.join("quickstart")), &ground.yaml)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let log = tokio::spawn(keep_events(events, ground.path.join("events.log")));
    let toured = tokio::select! {
        toured = tour(playground.access(), &ground.yaml, output) => toured,
        ended = playground.ended() => Err(ended.err().unwrap_or_else(|| Failure::new("the playground was stopped"))),
        _ = ctrl_c() => Err(Failure::new("interrupted")),
        _ = terminate.recv() => Err(Failure::new("told to stop")),
    };
    let result = match toured {
        Ok(summary) => {
            output.line(&format!("\n{}", summary.text(output)))?;
            if output.is_interactive() {
                stay(&playground.access(), output).await;
            }
            let good = summary.is_good();
            if good {
                Ok(ExitCode::SUCCESS)
            } else {
                Err(Failure::new("the database gave answers that it must not give"))
            }
        }
        Err(failure) => Err(failure),
    };
    // After a failure the folders are worth a look.
    let result = result.next(format!("look into {}", ground.path.display()));
    let stopped = playground.down().await;
    log.abort();
    if result.is_ok() {
        ground.clean()?;
        stopped?;
    } else {
        ground.leave();
    }
    result
}

async fn tour(playground: Access, yaml: &Path, output: &Output) -> Outcome<Summary> {
    let endpoints = || playground.endpoints();
    let stage = Stage::new(playground.clone(), yaml, output);
    stage.settle_first().await?;
    let client = Client::connect(ClientConfig::new(endpoints())).await.doing("failed to connect")?;
    let flights = flights::all()?;
    import(&client, &flights, output).await?;
    show_map(&client, output).await?;

    let status = connect::status(&client).await?;
    output.say(&format!("  One aircraft  {}", questions::one_aircraft(&client, &status, &flights).await?));
    output.say(&format!("  Carriers A-D  {}", questions::carriers_a_to_d(&client, &flights).await?));

    output.say(&output.paint_message(Paint::Strong, "\nNow with readers and writers, every answer checked"));
    let tables = [(BY_AIRCRAFT.to_owned(), Fragmentation::Hash), (BY_CARRIER.to_owned(), Fragmentation::Range)];
    let workload = Arc::new(Workload::new(client.clone(), tested_keys(&tables, rand::random())));
    let quorum_tables = Arc::new(QuorumWorkload::new(client.clone(), sides::tables(rand::random())));
    let mut load = Load::start(&workload, WRITERS, READERS, PACE);
    if skerry_api::QUORUM_TABLES {
        load.start_quorum(&quorum_tables, QUORUM_WRITERS, QUORUM_READERS, PACE);
    }
    let phases = phases(&stage, &workload, output).await;
    // Their last operations count too, also when a phase failed.
    load.stop().await?;
    let phases = phases?;
    let mut quorum = None;
    if skerry_api::QUORUM_TABLES {
        quorum = Some(sides::run(&stage, &client, &quorum_tables, output).await?);
    }

    let mut progress = Progress::counted(output, "read everything back", Some(2 * flights.len() as u64));
    let unread = workload.last_reads().await;
    if unread > 0 {
        let failure = Failure::new(format!("{} could not be read at the end", size::plural(unread as u64, "key")));
        return Err(failure.next("see `skerry status`"));
    }
    let rows_back = questions::rows_back(&client, &flights, |rows| progress.at(rows)).await?;
    progress.done(&size::plural(rows_back, "imported row"));
    workload.recorder.check_all();
    let (total, _, _, found) = workload.recorder.so_far();
    Ok(Summary { phases, total, found, rows: 2 * flights.len() as u64, rows_back, quorum })
}

async fn phases(stage: &Stage<'_>, workload: &Workload, output: &Output) -> Outcome<Vec<skerry_workload::Summary>> {
    let mut results = vec![stage.warm_up(workload).await?];
    let edits = [
        ("scale from 3 nodes to 5", Field::Replicas, 5),
        ("copies from 3 to 5", Field::ReplicationFactor, 5),
        ("copies from 5 to 3", Field::ReplicationFactor, 3),
    ];
    for (title, field, value) in edits {
        results.push(stage.edit(workload, title, (field, value)).await?);
        show_map(&workload.client, output).await?;
    }
    results.push(stage.kill(workload).await?);
    results.push(stage.edit(workload, "scale from 5 nodes to 3", (Field::Replicas, 3)).await?);
    show_map(&workload.client, output).await?;
    Ok(results)
}

/// Imports the flights into both tables at the same time.
async fn import(client: &Client, flights: &[Flight], output: &Output) -> Outcome<()> {
    let by_aircraft = |f: &Flight| Key::with_sort(f.aircraft.clone(), f.departure.clone());
    let by_carrier = |f: &Flight| Key::new(f.by_carrier.clone());
    let all = 2 * flights.len() as u64;
    let progress = RefCell::new((Progress::counted(output, "import the flights into both tables", Some(all)), [0, 0]));
    let begun = std::time::Instant::now();
    let one = async |table: usize, name: &str, key: &dyn Fn(&Flight) -> Key| {
        let item = |f: &Flight| {
            let value = f.value.clone().into_bytes();
            let record = Record { key: key(f), value, expires_ms: None, is_sibling: false };
            Item { check: 0, record: Ok(Some(record)), raw: Raw::default() }
        };
        let mut seen = Seen { progress: &progress, table };
        let put = async |record: Record| {
            let written = client.put(name, record.key, record.value).await;
            written.map(drop).map_err(NotWritten::Refused)
        };
        let written = write(flights.iter().map(item), Mark::start(), IN_FLIGHT, put, &mut seen).await;
        written.map_err(|stopped| match stopped {
            Stopped::Row { why, .. } => why.failure(),
            Stopped::Note(failure) => failure,
        })
    };
    let imported = try_join(one(0, BY_AIRCRAFT, &by_aircraft), one(1, BY_CARRIER, &by_carrier)).await;
    imported.doing("failed to import the flights")?;
    let rate = all as f64 / begun.elapsed().as_secs_f64();
    let (progress, _) = progress.into_inner();
    progress.done(&format!("{} rows, {rate:.0} a second", size::count(all)));
    Ok(())
}

/// Adds up what is written in both tables.
struct Seen<'a> {
    progress: &'a RefCell<(Progress, [u64; 2])>,
    table: usize,
}

impl Observer for Seen<'_> {
    fn note(&mut self, mark: &Mark) -> Result<(), Failure> {
        let (progress, done) = &mut *self.progress.borrow_mut();
        done[self.table] = mark.below();
        progress.at(done.iter().sum());
        Ok(())
    }
}

async fn show_map(client: &Client, output: &Output) -> Outcome<()> {
    let status = connect::status(client).await?;
    output.line(&format!("\n{}\n", draw(&status, output)))
}

async fn stay(playground: &Access, output: &Output) {
    let endpoints = playground.endpoints().join(",");
    output.say(&format!("\nThe database stays up until ctrl-C. In another terminal:\n  export SKERRY_ENDPOINTS={endpoints}\n  skerry status\n  skerry shards --watch\n  skerry scan {BY_AIRCRAFT} --partition N730MQ --limit 5"));
    let _either_way = ctrl_c().await;
    output.say("stopping");
}

async fn keep_events(mut events: tokio::sync::mpsc::Receiver<String>, path: PathBuf) {
    while let Some(event) = events.recv().await {
        let line = format!("{event}\n");
        let file = fs::File::options().create(true).append(true).open(&path);
        if let Err(error) = file.and_then(|mut f| std::io::Write::write_all(&mut f, line.as_bytes())) {
            tracing::debug!(%error, "failed to keep an event");
        }
    }
}

/// The folder that the tour works in.
struct Ground {
    path: PathBuf,
    yaml: PathBuf,
    temporary: Option<tempfile::TempDir>,
    keep: bool,
}

impl Ground {
    fn new(dir: Option<PathBuf>, keep: bool) -> Outcome<Self> {
        let (path, temporary) = match dir {
            Some(dir) => {
                if dir.join("quickstart").try_exists()? {
                    return Err(Failure::new(format!("{} holds a tour already", dir.display()))
                        .next("name another folder, or remove that one"));
                }
                fs::create_dir_all(&dir).doing(format!("failed to make {}", dir.display()))?;
                (dir, None)
            }
            None => {
                let temporary = tempfile::Builder::new().prefix("skerry-tour-").tempdir()?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let yaml = path.join("quickstart.yaml");
        let tables = if skerry_api::QUORUM_TABLES { QUORUM_TABLES } else { "" };
        fs::write(&yaml, format!("{QUICKSTART}{tables}")).doing(format!("failed to write {}", yaml.display()))?;
        Ok(Self { path, yaml, temporary, keep })
    }

    /// All was well: removes what was made, unless it is to be kept.
    fn clean(mut self) -> Outcome<()> {
        if self.keep {
            self.leave();
            return Ok(());
        }
        match self.temporary.take() {
            Some(temporary) => Ok(temporary.close()?),
            None => {
                fs::remove_dir_all(self.path.join("quickstart"))?;
                fs::remove_file(&self.yaml)?;
                let events = fs::remove_file(self.path.join("events.log"));
                events.or_else(|e| if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(e) })?;
                Ok(())
            }
        }
    }

    fn leave(mut self) {
        if let Some(temporary) = self.temporary.take() {
            let _kept = temporary.keep();
        }
    }
}
