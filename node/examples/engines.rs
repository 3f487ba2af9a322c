//! What a store takes by engine and setting: memory of the process, disk, and the time to open after a crash.
//!
//! ```text
//! cargo run --release -p skerry-node --example engines -- --engine fjall --records 4000000 --folder /some/disk
//! ```
//!
//! One process writes records in random order, as a node does: batches of 64 with a note of how far it is, and a sync every
//! two seconds. It overwrites some of them, deletes most, and dies without closing the store. Others open it then.
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clap::{Parser, ValueEnum};
use skerry_core::engine::EngineWrite;
use skerry_node::engine::{self, EngineKind};

const BATCH: u64 = 64;
const SYNC_EVERY: Duration = Duration::from_secs(2);
const MEBIBYTE: u64 = 1 << 20;
/// Bytes of a key: a family, a table, a hash and what a client names a record by.
const KEY_BYTES: usize = 24;

#[derive(Debug, Clone, Parser)]
struct Args {
    /// The engine that is measured.
    #[arg(long)]
    engine: EngineKind,
    /// How many records.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// How large their values are, which do not compress.
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// How often as many records as there are are overwritten, in hundredths.
    #[arg(long, default_value_t = 100)]
    overwritten_percent: u64,
    /// How many of a hundred are deleted in the end.
    #[arg(long, default_value_t = 0)]
    deleted_percent: u64,
    /// What the store is told that it may take.
    #[arg(long, default_value_t = 64 << 20)]
    cache_bytes: u64,
    /// An empty folder.
    #[arg(long)]
    folder: PathBuf,
    #[arg(long, value_enum, hide = true)]
    stage: Option<Stage>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Stage {
    Fill,
    Open,
}

fn main() -> Result<()> {
    let args = Args::parse();
    match args.stage {
        Some(Stage::Fill) => fill(&args),
        Some(Stage::Open) => open(&args),
        None => {
            fs::create_dir_all(&args.folder)?;
            ensure!(fs::read_dir(&args.folder)?.next().is_none(), "{} is not empty", args.folder.display());
            println!("{} · cache {} MiB", args.engine, args.cache_bytes / MEBIBYTE);
            let _dies = run(Stage::Fill)?;
            // After the crash, and once more after that.
            for _ in 0..2 {
                if !run(Stage::Open)? {
                    bail!("the store does not open");
                }
            }
            Ok(())
        }
    }
}

fn run(stage: Stage) -> Result<bool> {
    let stage = match stage {
        Stage::Fill => "fill",
        Stage::Open => "open",
    };
    let own = std::env::current_exe()?;
    Ok(Command::new(own).args(std::env::args_os().skip(1)).args(["--stage", stage]).status()?.success())
}

struct Store<'a> {
    args: &'a Args,
    engine: engine::SharedEngine,
    began: Instant,
    synced: Instant,
    written: u64,
    worst: Duration,
    random: u64,
}

impl Store<'_> {
    fn next_random(&mut self) -> u64 {
        self.random = mix(self.random.wrapping_add(1));
        self.random
    }

    /// So many batches, of records that `pick` names by number.
    fn write(&mut self, records: u64, mut make: impl FnMut(&mut Self, u64) -> EngineWrite) -> Result<()> {
        (self.began, self.written, self.worst) = (Instant::now(), 0, Duration::ZERO);
        let mut number = 0;
        while number < records {
            let mut batch = Vec::new();
            for _ in 0..BATCH.min(records - number) {
                batch.push(make(self, number));
                number += 1;
            }
            batch.push(EngineWrite::Put(
                Bytes::from_static(b"s-applied"),
                Bytes::copy_from_slice(&number.to_be_bytes()),
            ));
            let began = Instant::now();
            self.engine.write(batch)?;
            self.worst = self.worst.max(began.elapsed());
            self.written = number;
            if self.synced.elapsed() >= SYNC_EVERY {
                self.engine.sync()?;
                self.synced = Instant::now();
            }
        }
        self.engine.sync()?;
        Ok(())
    }

    fn put(&mut self, number: u64) -> EngineWrite {
        let mut value = Vec::with_capacity(self.args.value_bytes + 8);
        while value.len() < self.args.value_bytes {
            value.extend_from_slice(&self.next_random().to_ne_bytes());
        }
        value.truncate(self.args.value_bytes);
        EngineWrite::Put(key(number), value.into())
    }

    fn tell(&self, what: &str, live: u64) -> Result<()> {
        let live = live * (KEY_BYTES + self.args.value_bytes) as u64;
        let (disk, now, most) = (self.engine.disk_bytes()?, memory("VmRSS:")?, memory("VmHWM:")?);
        println!(
            "  {what:<12} live {:>5} MiB · disk {:>5} MiB ({:.1} ×) · memory {:>4} MiB, at most {:>4} · {:>7.0} writes/s · worst {:>4} ms",
            live / MEBIBYTE,
            disk / MEBIBYTE,
            disk as f64 / live.max(1) as f64,
            now / MEBIBYTE,
            most / MEBIBYTE,
            self.written as f64 / self.began.elapsed().as_secs_f64(),
            self.worst.as_millis(),
        );
        Ok(())
    }
}

fn fill(args: &Args) -> Result<()> {
    let engine = engine::open(args.engine, &args.folder, args.cache_bytes)?;
    let now = Instant::now();
    let mut store = Store { args, engine, began: now, synced: now, written: 0, worst: Duration::ZERO, random: 7 };
    store.write(args.records, |store, number| store.put(number))?;
    store.tell("written", args.records)?;
    let overwritten = args.records / 100 * args.overwritten_percent;
    store.write(overwritten, |store, _| {
        let number = store.next_random() % store.args.records;
        store.put(number)
    })?;
    store.tell("overwritten", args.records)?;
    let deleted = args.records / 100 * args.deleted_percent;
    if deleted > 0 {
        store.write(deleted, |_, number| EngineWrite::Delete(key(number)))?;
        store.tell("deleted", args.records - deleted)?;
    }
    // No store is closed by a crash.
    std::process::abort()
}

fn open(args: &Args) -> Result<()> {
    let began = Instant::now();
    let engine = engine::open(args.engine, &args.folder, args.cache_bytes)?;
    let opened = began.elapsed();
    let found = engine.get(&key(args.records - 1))?;
    ensure!(found.is_some(), "the last record is lost");
    let disk = engine.disk_bytes()?;
    println!(
        "  opened in {opened:.1?} · first read after {:.1?} · disk {} MiB · memory {} MiB",
        began.elapsed(),
        disk / MEBIBYTE,
        memory("VmRSS:")? / MEBIBYTE
    );
    // Not closed either.
    std::process::exit(0)
}

/// In random order, as hashes are.
fn key(number: u64) -> Bytes {
    let mut key = b"d\0\0\0\x01".to_vec();
    key.extend_from_slice(&mix(number).to_be_bytes());
    key.resize(KEY_BYTES, b'k');
    key.into()
}

/// Of splitmix64: no two numbers give the same.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn memory(field: &str) -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
    Ok(line.split_whitespace().next().context("no number")?.parse::<u64>()? * 1_024)
}
