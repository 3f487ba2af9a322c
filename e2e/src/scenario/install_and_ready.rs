//! What a new user does: applies the quickstart, waits, and looks.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::kube::DATABASE;
use super::stage::{LONG, Stage};

/// Time within which the database is to be ready, as the documentation promises.
const READY_GOAL: Duration = Duration::from_secs(60);
/// Name of the quickstart's database.
pub(super) const QUICKSTART: &str = "quickstart";
/// Its tables, by hash and by range.
pub(super) const TABLES: [&str; 2] = ["flights-by-aircraft", "flights-by-carrier"];

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    let took = apply(stage)?;
    stage.note(format!("the quickstart was ready after {:.0} s", took.as_secs_f64()));
    stage.expect_time("the quickstart's start", took, READY_GOAL)?;
    expect_columns(stage)?;
    stage.start_checker(QUICKSTART, &TABLES)?;
    stage.phase("reads and writes", |stage| stage.await_writes(500))?;
    stage.finish()
}

/// Applies the quickstart, and gives the time until it was ready.
pub(super) fn apply(stage: &Stage<'_>) -> Result<Duration> {
    let file = stage.setup.repository.join("examples/quickstart.yaml");
    let text = fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
    let begun = Instant::now();
    stage.kube.apply_text(&text)?;
    let (database, limit) = (format!("{DATABASE}/{QUICKSTART}"), format!("--timeout={}s", LONG.as_secs()));
    stage.kube.run_within(LONG * 2, &["wait", "--for=condition=Ready", &database, &limit])?;
    Ok(begun.elapsed())
}

/// Checks the columns that `kubectl get ddb` shows.
fn expect_columns(stage: &Stage<'_>) -> Result<()> {
    let text = stage.kube.run(&["get", "ddb", QUICKSTART])?;
    stage.say(&format!("kubectl get ddb:\n{}", text.trim_end()));
    let (header, row) = text.lines().next().zip(text.lines().nth(1)).context("there is no row")?;
    // Columns are two spaces apart at least; values hold single ones.
    let cells =
        |line: &str| line.split("  ").map(str::trim).filter(|c| !c.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let header = cells(header);
    ensure!(
        header == ["NAME", "READY", "NODES", "COPIES", "SHARDS", "SURVIVES", "STATUS", "AGE"],
        "the columns are {header:?}"
    );
    let row = cells(row);
    ensure!(row.len() == header.len(), "a column is empty: {row:?}");
    ensure!(row[..5] == [QUICKSTART, "True", "3/3", "3", "17"], "the row is {row:?}");
    ensure!(row[5].starts_with('1') && row[6] == "Settled", "the row is {row:?}");
    Ok(())
}
