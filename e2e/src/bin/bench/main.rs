//! The benchmark: three Skerry nodes beside a three-node etcd and a Redis, on one machine, in one run.
//!
//! The systems take turns, so that what else happens on the machine hits all of them, and medians are compared. What counts is
//! ratios. The exit code says whether it ran, never whether a goal was met: a slow machine is no failure.

mod etcd;
mod peers;
mod process;
mod redis;
mod sample;
mod table;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;

use peers::Peer;
use sample::System;
use table::Measurements;

/// Measure Skerry beside etcd and Redis.
#[derive(Debug, Clone, Parser)]
struct Args {
    /// How often each system is measured.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long one measurement takes.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Distinct keys.
    #[arg(long, default_value_t = 10_000)]
    keys: usize,
    /// Length of a value.
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// Where data and built peers go; a disk, not memory. Default: beside the program.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Measure these only.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<System>,
}

/// What every measurement needs.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) length: Duration,
    pub(crate) keys: usize,
    pub(crate) value_bytes: usize,
    pub(crate) folder: PathBuf,
}

/// Requests in flight where many clients are meant.
pub(crate) const IN_FLIGHT: usize = 256;

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    tokio::select! {
        result = bench(args) => result,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
    }
}

async fn bench(args: Args) -> Result<()> {
    let folder = match args.folder {
        Some(folder) => folder,
        None => std::env::current_exe()?.parent().context("the program is in no folder")?.join("bench-data"),
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let settings =
        Settings { length: Duration::from_secs(args.seconds), keys: args.keys, value_bytes: args.value_bytes, folder };
    let mut systems = Vec::new();
    for system in System::ALL.into_iter().filter(|s| args.only.is_empty() || args.only.contains(s)) {
        if let Some(peer) = Peer::prepare(system, &settings).await? {
            systems.push((system, peer));
        }
    }
    let mut measured = Measurements::default();
    for round in 1..=args.rounds {
        for (system, peer) in &systems {
            let sample =
                peer.measure(&settings).await.with_context(|| format!("failed to measure {}", system.name()))?;
            writeln!(
                io::stdout(),
                "round {round}: {:<18} {:>8.0} writes/s {:>8.0} reads/s, alone {:.2} ms",
                system.name(),
                sample.writes,
                sample.reads,
                sample.alone_p50.as_secs_f64() * 1e3
            )?;
            measured.rounds.push((*system, sample));
        }
    }
    writeln!(io::stdout(), "\n{}", measured.table())?;
    Ok(())
}
