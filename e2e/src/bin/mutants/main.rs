//! `mutants`: measures the tests. It plants bugs mechanically in the core, one at a time, and says which of them no test
//! notices. The bugs come from cargo-mutants; a sample of them is drawn by a seed.
//!
//! All bugs of the sample are built into one copy of the code, each behind a switch that is read when a process starts. So
//! a bug costs no build: it is held against the core's own tests, then against 500 simulated clusters. Results are kept, so that
//! a run that was broken off goes on where it stopped.

mod copy;
mod results;
mod sample;
mod switches;
mod trial;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clap::Parser;

use copy::Copy;
use results::{Results, Verdict};
use sample::Mutant;
use trial::Bench;

/// Plants bugs mechanically in the core, and says which of them no test notices.
#[derive(Debug, Parser)]
#[command(name = "mutants")]
struct Args {
    /// How many bugs; those that do not compile are not counted.
    #[arg(long, default_value_t = 150)]
    sample: usize,
    /// Which sample: the same seed draws the same bugs from the same code.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// No bug is begun after this many minutes.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Simulated clusters for each bug that the core's own tests do not notice.
    #[arg(long, default_value_t = 500)]
    simulations: u64,
    /// How many bugs are tried at once.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Try the survivors of an earlier run again, as after a new test.
    #[arg(long)]
    again: bool,
    /// Where the copy of the code, its build and the results are kept.
    #[arg(long, default_value = "target/mutants")]
    folder: PathBuf,
}

/// Of those that count, at least this many in a hundred are to be noticed.
const NOTICED_MIN_PERCENT: usize = 95;

/// The bugs of the sample, by the numbers of their switches.
type Numbered<'a> = Vec<(u32, &'a Mutant)>;

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let end = Instant::now() + Duration::from_secs(60 * args.minutes);
    let drawn = sample::drawn(args.seed)?;
    let mut results = Results::open(&args.folder.join("results.jsonl"))?;
    let copy = Copy::new(&args.folder)?;
    let chosen = compiling(&args, &drawn, &copy, &mut results)?;
    let is_open = |mutant: &Mutant| match results.of(mutant) {
        Some(verdict) => args.again && *verdict == Verdict::Survived,
        None => true,
    };
    let open: Numbered<'_> = chosen.iter().copied().filter(|(_, mutant)| is_open(mutant)).collect();
    if !open.is_empty() {
        let bench = Bench::measured(&copy.build()?, &copy.tree, args.simulations)?;
        try_all(&args, open, &bench, &mut results, end)?;
    }
    let counted: Vec<_> = chosen.iter().filter_map(|(_, mutant)| Some((*mutant, results.of(mutant)?))).collect();
    let mut out = io::stdout().lock();
    let is_good = report(&args, &counted, &mut out)?;
    let is_whole = counted.len() == chosen.len();
    if !is_whole {
        writeln!(out, "the time is over: run it again to go on")?;
    }
    Ok(if is_whole && is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Takes bugs in the order drawn, and leaves out what does not compile, until there are enough that do, together.
fn compiling<'a>(args: &Args, drawn: &'a [Mutant], copy: &Copy, results: &mut Results) -> Result<Numbered<'a>> {
    let numbered: Numbered<'_> = (1..).zip(drawn).collect();
    // Each round leaves some out, so it ends.
    loop {
        let is_left = |mutant: &Mutant| results.of(mutant) != Some(&Verdict::DoesNotCompile);
        let left = numbered.iter().copied().filter(|(_, mutant)| is_left(mutant));
        let chosen: Numbered<'_> = left.take(args.sample).collect();
        let refused = copy.plant(&chosen)?;
        if refused.is_empty() {
            return Ok(chosen);
        }
        for (_, mutant) in chosen.into_iter().filter(|(number, _)| refused.contains(number)) {
            results.add(mutant, Verdict::DoesNotCompile)?;
        }
    }
}

/// Tries some bugs, a few at once, and notes what becomes of each at once.
fn try_all(args: &Args, open: Numbered<'_>, bench: &Bench, results: &mut Results, end: Instant) -> Result<()> {
    let count = open.len();
    let shared = Mutex::new((open.into_iter().enumerate(), results));
    let lock = || shared.lock().map_err(|_| anyhow!("another trial has failed"));
    let work = |job: usize| {
        let said = args.folder.join(format!("said-{job}.txt"));
        while Instant::now() < end {
            let Some((n, (number, mutant))) = lock()?.0.next() else { break };
            let verdict = bench.verdict(number, &said)?;
            writeln!(io::stdout(), "{:>3}/{count} {:<16} {}", n + 1, verdict.text(), mutant.name)?;
            lock()?.1.add(mutant, verdict)?;
        }
        anyhow::Ok(())
    };
    thread::scope(|scope| {
        let jobs: Vec<_> = (0..args.jobs).map(|job| scope.spawn(move || work(job))).collect();
        jobs.into_iter().try_for_each(|job| job.join().map_err(|_| anyhow!("a trial panicked"))?)
    })
    .context("failed to try a bug")
}

/// Says who noticed how many, and which bugs nobody noticed. True = enough were noticed.
fn report(args: &Args, counted: &[(&Mutant, &Verdict)], out: &mut impl Write) -> Result<bool> {
    let redundant = sample::redundant()?;
    let mut by = BTreeMap::<&str, usize>::new();
    let (mut named, mut open) = (0, Vec::new());
    for (mutant, verdict) in counted {
        match verdict {
            Verdict::Survived if redundant.contains(&mutant.key()) => named += 1,
            Verdict::Survived => open.push(mutant),
            _ => *by.entry(verdict.text()).or_default() += 1,
        }
    }
    let noticed = by.values().sum::<usize>();
    writeln!(out, "\nseed {}: {} bugs planted, {noticed} noticed", args.seed, counted.len())?;
    for (step, count) in by {
        writeln!(out, "  {step:<16} {count}")?;
    }
    writeln!(out, "  {named} change nothing that matters, as redundant.txt says")?;
    for mutant in &open {
        writeln!(out, "  survived: {}", mutant.name)?;
    }
    Ok(100 * (counted.len() - open.len()) >= NOTICED_MIN_PERCENT * counted.len())
}
