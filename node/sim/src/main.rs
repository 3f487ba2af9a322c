//! `skerry-sim`: runs seeds, says which failed and how to run them again.

use std::io::{IsTerminal, StdoutLock, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;

use clap::Parser;
use skerry_core::planted::Planted;
use skerry_sim::{Outcome, run};

/// Runs simulated clusters, one a seed.
#[derive(Parser)]
struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 500)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Just this seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Plants a known bug, by its name, or `all` in turn: each must be caught.
    #[arg(long)]
    planted: Option<String>,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut out = std::io::stdout().lock();
    if args.seed.is_none() {
        std::panic::set_hook(Box::new(|_| {}));
    }
    match args.planted.as_deref() {
        Some("all") => catch_all(&args, &mut out),
        Some(name) => try_seeds(&args, Some(bug_named(name)?), &mut out),
        None => try_seeds(&args, None, &mut out),
    }
}

/// All seeds must be good.
fn try_seeds(args: &Args, bug: Option<Planted>, out: &mut StdoutLock<'_>) -> anyhow::Result<()> {
    let (first, last) = match args.seed {
        Some(seed) => (seed, seed + 1),
        None => (args.start, args.start + args.seeds),
    };
    let mut failed = 0;
    let (mut acknowledged, mut reads) = (0, 0);
    for (done, outcome) in (1..).zip(run_all(first, last, args.jobs, bug)) {
        acknowledged += outcome.counts.acknowledged;
        reads += outcome.counts.reads;
        if !outcome.violations.is_empty() {
            failed += 1;
            writeln!(out, "seed {}: {}", outcome.seed, outcome.violations.join("; "))?;
            writeln!(out, "  run it again: cargo run -p skerry-sim -- --seed {}{}", outcome.seed, planted(bug))?;
        }
        if out.is_terminal() {
            write!(out, "\r{done}/{} seeds, {failed} failed ", last - first)?;
            out.flush()?;
        }
        if args.seed.is_some() {
            writeln!(out, "trace {:016x}", outcome.trace_hash)?;
        }
    }
    let seeds = last - first;
    writeln!(out, "{seeds} seeds, {failed} failed; {acknowledged} writes acknowledged, {reads} reads checked")?;
    anyhow::ensure!(failed == 0, "{failed} seeds failed");
    Ok(())
}

/// Each planted bug must be caught within the seeds.
fn catch_all(args: &Args, out: &mut StdoutLock<'_>) -> anyhow::Result<()> {
    let (first, last) = (args.start, args.start + args.seeds);
    let mut missed = 0;
    writeln!(out, "{:<26} {:>5}  what broke", "planted bug", "seeds")?;
    for bug in Planted::ALL {
        let caught = run_all(first, last, args.jobs, Some(bug)).zip(1..).find(|(o, _)| !o.violations.is_empty());
        match caught {
            Some((outcome, seeds)) => {
                let what: String = outcome.violations[0].chars().take(80).collect();
                writeln!(out, "{:<26} {seeds:>5}  {what}", format!("{bug:?}"))?;
            }
            None => {
                missed += 1;
                writeln!(out, "{:<26} {:>5}  NOT CAUGHT", format!("{bug:?}"), args.seeds)?;
            }
        }
    }
    anyhow::ensure!(missed == 0, "{missed} planted bugs were not caught");
    Ok(())
}

fn planted(bug: Option<Planted>) -> String {
    bug.map_or_else(String::new, |bug| format!(" --planted {bug:?}"))
}

fn bug_named(name: &str) -> anyhow::Result<Planted> {
    let known = || Planted::ALL.map(|bug| format!("{bug:?}")).join(", ");
    let found = Planted::ALL.into_iter().find(|bug| format!("{bug:?}") == name);
    found.ok_or_else(|| anyhow::anyhow!("no planted bug is named {name}; there are {}", known()))
}

/// Outcomes in the order in which they are ready.
fn run_all(first: u64, last: u64, jobs: usize, bug: Option<Planted>) -> impl Iterator<Item = Outcome> {
    let (sender, receiver) = sync_channel(64);
    let next = std::sync::Arc::new(AtomicU64::new(first));
    for _ in 0..jobs.max(1) {
        let (sender, next) = (sender.clone(), next.clone());
        std::thread::spawn(move || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= last || sender.send(run(seed, bug)).is_err() {
                    return;
                }
            }
        });
    }
    receiver.into_iter()
}
