//! `skerry-sim`: runs seeds, says which failed and how to run them again.

use std::collections::BTreeMap;
use std::io::{IsTerminal, StdoutLock, Write};
use std::sync::Arc;

use clap::Parser;
use skerry_core::planted::{Catcher, Planted};
use skerry_sim::{
    Cell, Change, Hardship, Hardships, OperatorBug, Outcome, run_befallen, run_seeds, run_whole, run_with,
};

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
    /// The whole system: operators and a modelled Kubernetes too.
    #[arg(long)]
    whole: bool,
    /// Plants a known bug, by its name, or `all` in turn: each must be caught.
    #[arg(long)]
    planted: Option<String>,
    /// Stop at the first seed that fails.
    #[arg(long)]
    first: bool,
    /// Hardships that no run has by itself yet, by their names; `-NAME` takes one away.
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true)]
    hardships: Vec<String>,
    /// Only seeds that have this hardship.
    #[arg(long)]
    with: Option<Hardship>,
    /// Lets this befall every table on purpose once the faults are over: ScaleOut, ScaleIn, CopiesUp, CopiesDown, NodeLost,
    /// ZoneLost or Reversed.
    #[arg(long)]
    befall: Option<Change>,
    /// Tells at the end in how many seeds what befell which kind of table, and how often some hardships struck.
    #[arg(long)]
    met: bool,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

/// How a seed is run, and the bug that is planted in it.
#[derive(Clone)]
struct Way {
    bug: Option<String>,
    catcher: Option<Catcher>,
    run: Arc<dyn Fn(u64) -> Outcome + Send + Sync>,
}

impl Way {
    fn run_all(&self, first: u64, last: u64, jobs: usize) -> impl Iterator<Item = Outcome> + use<> {
        let run = self.run.clone();
        run_seeds(first..last, jobs, move |seed| run(seed))
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut out = std::io::stdout().lock();
    if args.seed.is_none() {
        std::panic::set_hook(Box::new(|_| {}));
    }
    let hardships = hardships(&args.hardships)?;
    match args.planted.as_deref() {
        Some("all") => catch_all(&args, &hardships, &mut out),
        Some(name) => try_seeds(&args, &way_named(name, &args, &hardships)?, &mut out),
        None => try_seeds(&args, &sound(&args, hardships), &mut out),
    }
}

fn hardships(changes: &[String]) -> anyhow::Result<Hardships> {
    let mut hardships = Hardships::default();
    for change in changes {
        hardships = match change.strip_prefix('-') {
            Some(name) => hardships.without(name.parse()?),
            None => hardships.and(change.parse()?),
        };
    }
    Ok(hardships)
}

/// Nothing is planted.
fn sound(args: &Args, hardships: Hardships) -> Way {
    let run = if args.whole { run_of_whole(args, None) } else { run_of(args, None, hardships) };
    Way { bug: None, catcher: None, run }
}

/// Runs a seed of the whole system, if it has the hardship that is asked for.
fn run_of_whole(args: &Args, bug: Option<OperatorBug>) -> Arc<dyn Fn(u64) -> Outcome + Send + Sync> {
    let with = args.with;
    Arc::new(move |seed| {
        let is_met = with.is_none_or(|hardship| Hardships::of_whole(seed).are_with(hardship, seed));
        if is_met { run_whole(seed, bug) } else { Outcome::passed_over(seed) }
    })
}

/// Runs a seed, if it has the hardship that is asked for.
fn run_of(args: &Args, bug: Option<Planted>, hardships: Hardships) -> Arc<dyn Fn(u64) -> Outcome + Send + Sync> {
    let (with, befall) = (args.with, args.befall);
    Arc::new(move |seed| {
        let is_met = with.is_none_or(|hardship| hardships.are_with(hardship, seed));
        match befall {
            _ if !is_met => Outcome::passed_over(seed),
            Some(change) => run_befallen(seed, bug, change),
            None => run_with(seed, bug, &hardships),
        }
    })
}

/// One for each bug.
fn ways(args: &Args, hardships: &Hardships) -> Vec<Way> {
    let whole_way =
        |bug: OperatorBug| Way { bug: Some(format!("{bug:?}")), catcher: None, run: run_of_whole(args, Some(bug)) };
    let way = |bug: Planted| {
        let run = run_of(args, Some(bug), hardships.clone());
        Way { bug: Some(format!("{bug:?}")), catcher: bug.catcher(), run }
    };
    if args.whole { OperatorBug::ALL.map(whole_way).into() } else { Planted::ALL.iter().copied().map(way).collect() }
}

fn way_named(name: &str, args: &Args, hardships: &Hardships) -> anyhow::Result<Way> {
    let all = ways(args, hardships);
    let known = all.iter().filter_map(|way| way.bug.clone()).collect::<Vec<_>>().join(", ");
    let found = all.into_iter().find(|way| way.bug.as_deref() == Some(name));
    found.ok_or_else(|| anyhow::anyhow!("no planted bug is named {name}; there are {known}"))
}

/// All seeds must be good.
fn try_seeds(args: &Args, way: &Way, out: &mut StdoutLock<'_>) -> anyhow::Result<()> {
    let (first, last) = match args.seed {
        Some(seed) => (seed, seed + 1),
        None => (args.start, args.start + args.seeds),
    };
    let mut failed = 0;
    let (mut acknowledged, mut reads) = (0, 0);
    let mut met: BTreeMap<(Cell, Change), usize> = BTreeMap::new();
    let mut struck: BTreeMap<Hardship, (u64, u64)> = BTreeMap::new();
    for (done, outcome) in (1..).zip(way.run_all(first, last, args.jobs)) {
        if args.seed.is_some() {
            outcome.story.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        }
        acknowledged += outcome.counts.acknowledged;
        reads += outcome.counts.reads;
        outcome.met.iter().for_each(|what| *met.entry(*what).or_default() += 1);
        for (hardship, times) in outcome.struck {
            let all = struck.entry(hardship).or_default();
            *all = (all.0 + 1, all.1 + times);
        }
        if !outcome.violations.is_empty() {
            failed += 1;
            writeln!(out, "seed {}: {}", outcome.seed, outcome.violations.join("; "))?;
            let whole = if args.whole { " --whole" } else { "" };
            let planted = way.bug.as_ref().map_or_else(String::new, |bug| format!(" --planted {bug}"));
            let befall = args.befall.map_or_else(String::new, |change| format!(" --befall {change:?}"));
            writeln!(
                out,
                "  run it again: cargo run -p skerry-sim --{whole} --seed {}{planted}{befall}",
                outcome.seed
            )?;
        }
        if out.is_terminal() {
            write!(out, "\r{done}/{} seeds, {failed} failed ", last - first)?;
            out.flush()?;
        }
        if args.seed.is_some() {
            writeln!(out, "trace {:016x}", outcome.trace_hash)?;
        }
        if args.first && failed > 0 {
            break;
        }
    }
    for ((cell, change), seeds) in met.into_iter().filter(|_| args.met) {
        writeln!(out, "{cell}: {change} in {seeds} seeds")?;
    }
    for (hardship, (seeds, times)) in struck.into_iter().filter(|_| args.met) {
        writeln!(out, "{hardship}: struck {times} times in {seeds} seeds")?;
    }
    let seeds = last - first;
    writeln!(out, "{seeds} seeds, {failed} failed; {acknowledged} writes acknowledged, {reads} reads checked")?;
    anyhow::ensure!(failed == 0, "{failed} seeds failed");
    Ok(())
}

/// Each planted bug that seeds show must be caught within the seeds; of the others the table says what catches them.
fn catch_all(args: &Args, hardships: &Hardships, out: &mut StdoutLock<'_>) -> anyhow::Result<()> {
    let (first, last) = (args.start, args.start + args.seeds);
    let mut missed = 0;
    writeln!(out, "{:<26} {:<18} {:>9}  what broke, or where it is caught", "planted bug", "caught by", "within")?;
    for way in ways(args, hardships) {
        let bug = way.bug.clone().unwrap_or_default();
        if let Some(elsewhere) = caught_elsewhere(way.catcher) {
            writeln!(out, "{bug:<26} {elsewhere}")?;
            continue;
        }
        let caught = way.run_all(first, last, args.jobs).zip(1_u64..).find(|(o, _)| !o.violations.is_empty());
        let within = |seeds: u64| format!("{seeds} seeds");
        match caught {
            Some((outcome, seeds)) => {
                let what = outcome.violations[0].lines().next().unwrap_or_default();
                let what: String = what.chars().take(80).collect();
                writeln!(out, "{bug:<26} {:<18} {:>9}  {what}", "simulator", within(seeds))?;
            }
            None => {
                missed += 1;
                writeln!(out, "{bug:<26} {:<18} {:>9}", "NOBODY", within(args.seeds))?;
            }
        }
    }
    anyhow::ensure!(missed == 0, "{missed} planted bugs were not caught");
    Ok(())
}

/// The rest of a line of the table, for a bug that no seeds show.
fn caught_elsewhere(catcher: Option<Catcher>) -> Option<String> {
    match catcher {
        Some(Catcher::Search { scenario, schedules }) => {
            let within = format!("{schedules}");
            Some(format!("{:<18} {within:>9}  schedules of the scenario {scenario}: make search", "search"))
        }
        Some(Catcher::Test { file, name }) => {
            Some(format!("{:<18} {:>9}  {name} in node/core/{file}", "directed test", ""))
        }
        Some(Catcher::Simulation { .. }) | None => None,
    }
}
