//! A load generator that believes nothing: every worker owns its keys, so that it knows what each read must give.
//!
//! ```text
//! cargo run --release -p skerry-client --example load -- --seed 127.0.0.1:7001 --create --mode write --in-flight 256
//! ```

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;
use skerry_client::{Client, ClientConfig, Key, Secrets, WriteError};
use skerry_core::command::ReadConsistency;
use skerry_core::key::hash_starts;
use skerry_core::map::{Fragmentation, NodeState};
use skerry_core::system::{AdminChange, Fence, NewShard, SystemCommand};
use skerry_core::time::Version;

/// A table that was made appears in the map much sooner.
const PATIENCE: Duration = Duration::from_secs(10);

/// Measures a database, and checks every answer.
#[derive(Debug, Clone, Parser)]
struct Args {
    /// host:port of a node; may be repeated.
    #[arg(long, required = true)]
    seed: Vec<String>,
    /// File with the database's secret, which is needed to make the table.
    #[arg(long)]
    secret_file: Option<PathBuf>,
    /// The table; a hash table if it is made here.
    #[arg(long, default_value = "load")]
    table: String,
    /// Make the table if there is none.
    #[arg(long)]
    create: bool,
    /// Shards of a table that is made here.
    #[arg(long, default_value_t = 12)]
    shards: usize,
    /// Copies of each shard of a table that is made here.
    #[arg(long, default_value_t = 3)]
    replication_factor: usize,
    /// What to do.
    #[arg(long, value_enum, default_value_t = Mode::Write)]
    mode: Mode,
    /// Operations under way at any time.
    #[arg(long, default_value_t = 256)]
    in_flight: usize,
    /// Keys of each worker.
    #[arg(long, default_value_t = 64)]
    keys: usize,
    /// Bytes of each value; at least 16.
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// Seconds to measure.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Seconds before, that do not count.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Threads of the client.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Puts only.
    Write,
    /// Linearizable gets only, of keys that are put first.
    Read,
    /// A put and a get in turn.
    Mixed,
}

/// What one worker did.
struct Tally {
    writes: Histogram<u64>,
    reads: Histogram<u64>,
    /// Writes that ended with an error that leaves their outcome open.
    unknown: u64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    ensure!(args.value_bytes >= 16, "--value-bytes must be at least 16");
    let mut runtime = match args.threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        threads => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(threads);
            builder
        }
    };
    runtime.enable_all().build()?.block_on(run(args))
}

async fn run(args: Args) -> anyhow::Result<()> {
    let mut config = ClientConfig::new(args.seed.clone());
    if let Some(file) = &args.secret_file {
        config.secrets = Secrets::parse(&std::fs::read(file)?).context("failed to use the secret")?;
    }
    let client = Client::connect(config).await?;
    if args.create {
        create(&client, &args).await?;
    }
    let started = Instant::now();
    let counted = started + Duration::from_secs_f64(args.warm_up);
    let until = counted + Duration::from_secs_f64(args.seconds);
    let workers: Vec<_> = (0..args.in_flight)
        .map(|number| tokio::spawn(Worker::new(client.clone(), args.clone(), number).run(counted, until)))
        .collect();
    let mut total = Tally::new()?;
    for worker in workers {
        total.add(worker.await??)?;
    }
    total.print(&args)
}

/// Makes the table, its shards spread over the nodes in turn.
async fn create(client: &Client, args: &Args) -> anyhow::Result<()> {
    let map = client.map();
    if map.table_named(&args.table).is_some() {
        return Ok(());
    }
    let nodes: Vec<_> = map.nodes.values().filter(|n| n.state == NodeState::Active).map(|n| n.id).collect();
    ensure!(nodes.len() >= args.replication_factor, "{} nodes are too few", nodes.len());
    let shard = |(turn, start): (usize, Bytes)| NewShard {
        start,
        nodes: (0..args.replication_factor).map(|copy| nodes[(turn + copy) % nodes.len()]).collect(),
    };
    let change = AdminChange::CreateTable {
        name: args.table.clone(),
        fragmentation: Fragmentation::Hash,
        replication_factor: u32::try_from(args.replication_factor)?,
        shards: hash_starts(args.shards).into_iter().enumerate().map(shard).collect(),
    };
    let fence = Fence { token: 0, based_on: None };
    client.admin().execute(SystemCommand::Admin { fence, change }).await.context("failed to make the table")?;
    let mut watch = client.watch_map();
    let mut map = watch.current();
    while map.table_named(&args.table).is_none() {
        let changed = tokio::time::timeout(PATIENCE, watch.changed()).await;
        map = changed.context("the table has not appeared in the map")?.context("the client has ended")?;
    }
    Ok(())
}

struct Worker {
    client: Client,
    args: Args,
    number: usize,
    /// For each key, what it holds: the version, and the count in its value. `None` = nothing or unknown.
    held: Vec<Option<(Version, u64)>>,
    count: u64,
}

impl Worker {
    fn new(client: Client, args: Args, number: usize) -> Self {
        let held = vec![None; args.keys.max(1)];
        Self { client, args, number, held, count: 0 }
    }

    async fn run(mut self, counted: Instant, until: Instant) -> anyhow::Result<Tally> {
        let mut tally = Tally::new()?;
        if self.args.mode == Mode::Read {
            for slot in 0..self.held.len() {
                self.put(slot, &mut tally).await?;
            }
        }
        let mut turn = self.number;
        let mut last = Instant::now();
        while last < until {
            let slot = turn % self.held.len();
            let put = match self.args.mode {
                Mode::Write => true,
                Mode::Read => false,
                Mode::Mixed => turn.is_multiple_of(2),
            };
            let slot = if self.args.mode == Mode::Mixed { turn / 2 % self.held.len() } else { slot };
            match put {
                true => self.put(slot, &mut tally).await?,
                false => self.get(slot).await?,
            }
            let now = Instant::now();
            if now >= counted && last >= counted {
                let micros = u64::try_from((now - last).as_micros())?;
                if put { &mut tally.writes } else { &mut tally.reads }.record(micros)?;
            }
            (last, turn) = (now, turn + 1);
        }
        Ok(tally)
    }

    fn key(&self, slot: usize) -> Key {
        Key::new(format!("worker-{:05}-key-{slot:07}", self.number))
    }

    async fn put(&mut self, slot: usize, tally: &mut Tally) -> anyhow::Result<()> {
        self.count += 1;
        let value = value(self.number, self.count, self.args.value_bytes);
        match self.client.put(&self.args.table, self.key(slot), value).await {
            Ok(version) => {
                if let Some((before, _)) = self.held[slot] {
                    ensure!(version > before, "version {version} is not above {before} of the same key");
                }
                self.held[slot] = Some((version, self.count));
            }
            Err(error) if error.may_have_happened() => {
                tally.unknown += 1;
                self.held[slot] = None;
            }
            Err(error @ WriteError::Deadline { .. }) => bail!("no write within the deadline: {error}"),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn get(&mut self, slot: usize) -> anyhow::Result<()> {
        let key = self.key(slot);
        let record = self.client.get(&self.args.table, key.clone(), ReadConsistency::Linearizable).await?;
        let Some((version, count)) = self.held[slot] else { return Ok(()) };
        let record = record.with_context(|| format!("lost: {key:?} was acknowledged at version {version}"))?;
        let expected = value(self.number, count, self.args.value_bytes);
        ensure!(record.version == version && record.value == expected, "stale or wrong: {key:?} at {}", record.version);
        Ok(())
    }
}

/// A value that names its writer and its turn.
fn value(worker: usize, count: u64, bytes: usize) -> Bytes {
    let mut value = vec![0; bytes];
    value[..8].copy_from_slice(&count.to_be_bytes());
    value[8..16].copy_from_slice(&(worker as u64).to_be_bytes());
    for (position, byte) in value.iter_mut().enumerate().skip(16) {
        *byte = (position as u64).wrapping_mul(count).to_le_bytes()[0];
    }
    value.into()
}

impl Tally {
    fn new() -> anyhow::Result<Self> {
        let histogram = Histogram::new_with_max(60_000_000, 2)?;
        Ok(Self { writes: histogram.clone(), reads: histogram, unknown: 0 })
    }

    fn add(&mut self, other: Self) -> anyhow::Result<()> {
        self.writes.add(other.writes)?;
        self.reads.add(other.reads)?;
        self.unknown += other.unknown;
        Ok(())
    }

    fn print(&self, args: &Args) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        for (name, histogram) in [("writes", &self.writes), ("reads", &self.reads)] {
            if histogram.is_empty() {
                continue;
            }
            let rate = histogram.len() as f64 / args.seconds;
            let at = |quantile| histogram.value_at_quantile(quantile);
            let (p50, p99, max) = (at(0.5), at(0.99), histogram.max());
            let unknown = self.unknown;
            if args.json {
                writeln!(
                    out,
                    r#"{{"what":"{name}","per_second":{rate:.0},"p50_us":{p50},"p99_us":{p99},"max_us":{max},"unknown":{unknown}}}"#
                )?;
            } else {
                writeln!(
                    out,
                    "{name}: {rate:.0}/s, p50 {p50} us, p99 {p99} us, max {max} us, {unknown} unknown, all checked"
                )?;
            }
        }
        Ok(())
    }
}
