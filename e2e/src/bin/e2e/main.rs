//! `e2e`: runs the scenarios on a lab of its own, and takes it down whatever happens.

mod results;
mod run;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, Result, bail};
use clap::Parser;
use skerry_e2e::scenario::{ALL, Scenario, interrupt};
use tokio::signal::unix::{SignalKind, signal};

/// Run scenarios on a real Kubernetes, every answer of the database checked.
#[derive(Debug, Parser)]
#[command(name = "e2e", version)]
struct Args {
    /// Scenarios to run. By default all.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Only show which there are.
    #[arg(long)]
    list: bool,
    /// Leave the lab up, and the namespaces of scenarios that failed.
    #[arg(long)]
    keep: bool,
    /// Use the lab that is up, and leave it up.
    #[arg(long)]
    attach: bool,
    /// Tell a line for each scenario, and its steps only if it fails.
    #[arg(long)]
    brief: bool,
    /// How many scenarios run at once, of those that keep to their own namespace. Pauses are measured best one by one.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4))]
    jobs: u8,
    /// Folder with skerry-node.tar, skerry-operator.tar, skerry-check.tar, and the program skerry.
    #[arg(long, default_value = "target/images-e2e")]
    images: PathBuf,
    /// Tag of the images.
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    tag: String,
    /// Where to put what a failed scenario leaves for people to read.
    #[arg(long, default_value = "target/e2e")]
    out: PathBuf,
    /// Also write the table as Markdown.
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Rows of the flights that are imported into each table.
    #[arg(long, default_value_t = 336_776)]
    rows: usize,
    /// The repository, for its chart and examples.
    #[arg(long, default_value = ".")]
    repository: PathBuf,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if args.list {
        let mut out = io::stdout().lock();
        for scenario in ALL {
            writeln!(out, "{:<24}{}", scenario.name, scenario.claim)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let scenarios = chosen(&args.names)?;
    watch_for_interrupts()?;
    let passed = run::run(&args, &scenarios)?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// In the order of the list, whatever the order of the names.
fn chosen(names: &[String]) -> Result<Vec<Scenario>> {
    if let Some(unknown) = names.iter().find(|name| !ALL.iter().any(|s| s.name == **name)) {
        bail!("there is no scenario {unknown}: see --list");
    }
    Ok(ALL.iter().filter(|s| names.is_empty() || names.iter().any(|name| name == s.name)).copied().collect())
}

/// The first interrupt ends the waits, so that the lab is taken down. So does what `timeout` sends.
fn watch_for_interrupts() -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("failed to start a runtime")?;
    let mut terminated = {
        let _inside = runtime.enter();
        signal(SignalKind::terminate()).context("failed to watch for signals")?
    };
    let wait = async move {
        let is_asked = tokio::select! {
            pressed = tokio::signal::ctrl_c() => pressed.is_ok(),
            sent = terminated.recv() => sent.is_some(),
        };
        if is_asked {
            let _ = writeln!(io::stderr(), "e2e: interrupted; taking the lab down");
            interrupt();
        }
        // From here on the handler stays in place: the lab must be taken down to its end.
        std::future::pending::<()>().await;
    };
    thread::spawn(move || runtime.block_on(wait));
    Ok(())
}

/// Tells whoever watches. That nobody reads it is no failure of the run.
fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "e2e: {line}");
}
