//! The benchmark: three Skerry nodes beside a three-node etcd and a Redis, on one machine, in one run; quorum tables beside a
//! three-node Cassandra.
//!
//! The systems take turns, so that what else happens on the machine hits all of them, and medians are compared. What counts is
//! ratios. The exit code says whether it ran, never whether a goal was met: a slow machine is no failure.

mod cassandra;
mod cluster;
mod etcd;
mod failover;
mod footprint;
mod idle;
mod load;
mod peers;
mod process;
mod quorum;
mod redis;
mod sample;
mod scans;
mod skerry;
mod table;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;

use cluster::Engine;
use peers::Peer;
use sample::System;
use skerry_api::QUORUM_TABLES;
use table::{Measurements, OfQuorums};

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
    /// Kill no leader.
    #[arg(long)]
    no_failover: bool,
    /// Leave out the idle shards.
    #[arg(long)]
    no_idle: bool,
    /// Leave out the writes beside a scan.
    #[arg(long)]
    no_scans: bool,
    /// Leave out quorum tables, where a release has them.
    #[arg(long)]
    no_quorum: bool,
    /// Mebibytes of the two copies of a quorum table that are compared. 0 = leave it out.
    #[arg(long, default_value_t = 1_024)]
    compared_mebibytes: usize,
    /// Records for the measurement of memory, disk and start after a crash. 0 = leave it out.
    #[arg(long, default_value_t = 5_000_000)]
    records: usize,
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

// One thread: the client shares two cores with three nodes, and one is what a client would use.
#[tokio::main(flavor = "current_thread")]
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
    let has_fjall = args.only.is_empty() || args.only.contains(&System::SkerryFjall);
    let of_quorum = match QUORUM_TABLES && !args.no_quorum && has_fjall {
        true => Some(cassandra(&settings).await?),
        false => None,
    };
    for round in 1..=args.rounds {
        for (system, peer) in &systems {
            let sample =
                peer.measure(&settings).await.with_context(|| format!("failed to measure {}", system.name()))?;
            say(&format!("round {round}: {:<17} {sample}", system.name()))?;
            measured.rounds.push((*system, sample));
        }
        if let Some(cassandra) = &of_quorum {
            quorum_round(round, cassandra.as_ref(), &settings, &mut measured.quorum).await?;
        }
        if !args.no_failover {
            let taken = failover::measure(&settings).await.context("failed to measure a failover")?;
            say(&format!("round {round}: leader killed     writes again after {:.2} s", taken.as_secs_f64()))?;
            measured.failover.push(taken);
        }
    }
    if !args.no_idle {
        let idle = idle::measure(&settings).await.context("failed to measure idle shards")?;
        say(&format!("idle shards: {idle}"))?;
        measured.idle.push(idle);
    }
    let engines = [(System::SkerrySled, Engine::Sled), (System::SkerryFjall, Engine::Fjall)];
    let engines = engines.into_iter().filter(|(system, _)| args.only.is_empty() || args.only.contains(system));
    if !args.no_scans {
        for (system, engine) in engines.clone() {
            let found = scans::measure(engine, &settings).await;
            let found = found.with_context(|| format!("failed to measure the scans of {}", system.name()))?;
            say(&format!("{:<17} {found}", system.name()))?;
            measured.scans.push((system, found));
        }
    }
    if of_quorum.is_some() && args.compared_mebibytes > 0 {
        let compared = quorum::compared(Engine::Fjall, args.compared_mebibytes, &settings).await;
        let compared = compared.context("failed to measure how two copies become equal")?;
        say(&format!("{compared}"))?;
        measured.quorum.compared.push(compared);
    }
    if args.records > 0 {
        for (system, engine) in engines {
            let found = footprint::measure(engine, args.records, &settings).await;
            let found = found.with_context(|| format!("failed to measure the records of {}", system.name()))?;
            say(&format!("{:<17} {found}", system.name()))?;
            measured.footprints.push((system, found));
        }
    }
    say(&format!("\n{}", measured.table()))
}

/// `None`, and a line that says why, where it cannot be had.
async fn cassandra(settings: &Settings) -> Result<Option<cassandra::Programs>> {
    match cassandra::Programs::fetch(&settings.folder).await {
        Ok(programs) => Ok(Some(programs)),
        Err(error) => {
            say(&format!("Cassandra is left out: {error:#}"))?;
            Ok(None)
        }
    }
}

/// One round of quorum tables, and of Cassandra if it is there.
async fn quorum_round(
    round: usize,
    cassandra: Option<&cassandra::Programs>,
    settings: &Settings,
    measured: &mut OfQuorums,
) -> Result<()> {
    let writes = quorum::writes(Engine::Fjall, settings).await.context("failed to measure quorum writes")?;
    say(&format!("round {round}: quorum (fjall)    {writes:>7.0} writes/s at W=2 of 3"))?;
    measured.writes.push(writes);
    let killed = quorum::killed(Engine::Fjall, settings).await.context("failed to measure a killed copy")?;
    say(&format!("round {round}: quorum copy killed {killed}"))?;
    measured.killed.push(killed);
    if let Some(cassandra) = cassandra {
        match cassandra.writes(settings).await {
            Ok(writes) => {
                say(&format!("round {round}: Cassandra         {writes:>7.0} writes/s at QUORUM of 3"))?;
                measured.cassandra.push(writes);
            }
            // Another program's whims are no reason to measure nothing else.
            Err(error) => say(&format!("round {round}: Cassandra is left out: {error:#}"))?,
        }
    }
    Ok(())
}

fn say(line: &str) -> Result<()> {
    writeln!(io::stdout(), "{line}").context("failed to print")
}
