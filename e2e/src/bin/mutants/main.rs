//! `mutants`: measures the tests. It plants bugs mechanically in the core, one at a time, and says which of them no test
//! notices. The bugs come from cargo-mutants; a sample of them is drawn by a seed.
//!
//! Each is held against the core's own tests first, then against 500 simulated clusters. Results are kept, so that a run
//! that was broken off goes on where it stopped.

mod results;
mod sample;
mod trial;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;

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
    #[arg(long, default_value_t = 300)]
    minutes: u64,
    /// Simulated clusters for each bug that the core's own tests do not notice.
    #[arg(long, default_value_t = 500)]
    simulations: u64,
    /// Try the survivors of an earlier run again, as after a new test.
    #[arg(long)]
    again: bool,
    /// Where the copy of the code, its build and the results are kept.
    #[arg(long, default_value = "target/mutants")]
    folder: PathBuf,
}

/// Of those that count, at least this many in a hundred are to be noticed.
const NOTICED_MIN_PERCENT: usize = 95;

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let mut out = io::stdout().lock();
    let mutants = sample::drawn(args.seed)?;
    let mut results = Results::open(&args.folder.join("results.jsonl"))?;
    let bench = Bench::set_up(&args.folder, args.simulations)?;
    let end = Instant::now() + Duration::from_secs(60 * args.minutes);
    let mut counted = Vec::new();
    for mutant in &mutants {
        if counted.len() >= args.sample {
            break;
        }
        let known = results.of(mutant).filter(|verdict| !(args.again && *verdict == Verdict::Survived));
        let verdict = match known {
            Some(verdict) => verdict,
            None if Instant::now() >= end => break,
            None => {
                let verdict = bench.try_one(mutant)?;
                writeln!(out, "{:>3} {:<10} {}", counted.len() + 1, verdict.text(), mutant.name)?;
                results.add(mutant, verdict)?;
                verdict
            }
        };
        if verdict != Verdict::DoesNotCompile {
            counted.push((mutant, verdict));
        }
    }
    let is_good = report(&args, &counted, &mut out)?;
    let is_whole = counted.len() >= args.sample.min(mutants.len());
    if !is_whole {
        writeln!(out, "the time is over: run it again to go on")?;
    }
    Ok(if is_whole && is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says who noticed how many, and which bugs nobody noticed. True = enough were noticed.
fn report(args: &Args, counted: &[(&Mutant, Verdict)], out: &mut impl Write) -> Result<bool> {
    let redundant = sample::redundant()?;
    let count = |verdict| counted.iter().filter(|(_, v)| *v == verdict).count();
    let survived = counted.iter().filter(|(_, verdict)| *verdict == Verdict::Survived).map(|(mutant, _)| *mutant);
    let (named, open): (Vec<_>, Vec<_>) = survived.partition(|mutant| redundant.contains(&mutant.key()));
    let noticed = counted.len() - named.len() - open.len();
    writeln!(out, "\nseed {}: {} bugs planted, {noticed} noticed", args.seed, counted.len())?;
    for verdict in [Verdict::Tests, Verdict::Simulation, Verdict::TimedOut] {
        writeln!(out, "  {:<10} {}", verdict.text(), count(verdict))?;
    }
    writeln!(out, "  {} change nothing that matters, as redundant.txt says", named.len())?;
    for mutant in &open {
        writeln!(out, "  survived: {}", mutant.name)?;
    }
    Ok(100 * (counted.len() - open.len()) >= NOTICED_MIN_PERCENT * counted.len())
}
