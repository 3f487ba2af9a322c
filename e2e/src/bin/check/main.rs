//! `skerry-check`: readers and writers on a database, every answer checked. Runs as a pod beside a scenario.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use skerry_e2e::check::{Config, run};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Read and write a database, check every answer, and measure.
#[derive(Debug, Parser)]
#[command(name = "skerry-check", version)]
struct Args {
    /// `host:port` of some nodes.
    #[arg(long, env = "SKERRY_SEEDS", value_delimiter = ',', required = true)]
    seeds: Vec<String>,
    /// Tables to use: at best one of each kind.
    #[arg(long, env = "SKERRY_TABLES", value_delimiter = ',', required = true)]
    tables: Vec<String>,
    /// How many write.
    #[arg(long, env = "SKERRY_WRITERS", default_value_t = 4)]
    writers: usize,
    /// How many read.
    #[arg(long, env = "SKERRY_READERS", default_value_t = 4)]
    readers: usize,
    /// Milliseconds between two operations of one of them.
    #[arg(long, env = "SKERRY_PACE_MS", default_value_t = 10)]
    pace_ms: u64,
    /// Milliseconds that one operation may take with all its retries.
    #[arg(long, env = "SKERRY_DEADLINE_MS", default_value_t = 10_000)]
    deadline_ms: u64,
    /// Where scenarios reach it.
    #[arg(long, env = "SKERRY_HTTP", default_value = "0.0.0.0:8080")]
    http: SocketAddr,
}

// One thread: the load shares few cores with the database.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let config = Config {
        seeds: args.seeds,
        tables: args.tables,
        writers: args.writers,
        readers: args.readers,
        pace: Duration::from_millis(args.pace_ms.max(1)),
        deadline: Duration::from_millis(args.deadline_ms),
        http: args.http,
    };
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let stopping = stop.clone();
    tokio::spawn(async move {
        terminate.recv().await;
        stopping.cancel();
    });
    run(config, stop).await
}
