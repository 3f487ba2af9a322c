//! Seeds that must be good, runs that must repeat, and bugs that must be caught. Bugs that take more seeds than a test
//! should are caught by `make sim`.

use std::collections::BTreeMap;

use skerry_core::planted::{Catcher, Planted};
use skerry_sim::{Cell, Change, Hardships, Outcome, run, run_befallen, run_seeds};

#[path = "proof/least.rs"]
mod least;

use least::{BEFALLEN, least_met};

/// Seeds that are run as they are.
const SEEDS: u64 = 500;

/// The seeds after these that have a table of each kind, once for each change that is to befall all of them.
fn befallen() -> impl Iterator<Item = (u64, Change)> {
    let has_all = |seed: &u64| Hardships::default().have_quorum_ranges(*seed);
    let seeds: Vec<u64> = (SEEDS..).filter(has_all).take(BEFALLEN).collect();
    Change::ALL.into_iter().flat_map(move |change| seeds.clone().into_iter().map(move |seed| (seed, change)))
}

#[test]
fn the_first_seeds_are_good_and_meet_whatever_may_befall_each_kind_of_table() {
    let runs: Vec<(u64, Option<Change>)> =
        (0..SEEDS).map(|seed| (seed, None)).chain(befallen().map(|(seed, change)| (seed, Some(change)))).collect();
    let (last, list) = (runs.len() as u64, runs.clone());
    let all = run_seeds(0..last, 2, move |at| {
        let (seed, change) = list[usize::try_from(at).unwrap_or(0)];
        let outcome = change.map_or_else(|| run(seed, None), |change| run_befallen(seed, None, change));
        // Told apart by their places: a seed is run several times.
        Outcome { seed: at, ..outcome }
    });
    let mut met: BTreeMap<(Cell, Change), usize> = BTreeMap::new();
    let noted = all.inspect(|outcome| outcome.met.iter().for_each(|what| *met.entry(*what).or_default() += 1));
    let failed: Vec<_> = noted.filter(|outcome| !outcome.violations.is_empty()).collect();
    for outcome in &failed {
        let (seed, change) = runs[usize::try_from(outcome.seed).unwrap_or(0)];
        let befall = change.map_or_else(String::new, |change| format!(" --befall {change:?}"));
        println!("seed {seed}: {}", outcome.violations.join("; "));
        println!("  run it again: cargo run -p skerry-sim -- --seed {seed}{befall}");
    }
    assert!(failed.is_empty(), "{} runs failed", failed.len());
    let all = Cell::ALL.into_iter().flat_map(|cell| Change::ALL.map(|change| (cell, change)));
    let seldom = all.filter(|what| {
        let (count, least) = (met.get(what).copied().unwrap_or(0), least_met(what.0, what.1));
        println!("{}: {} in {count} runs, at least {least} are wanted", what.0, what.1);
        count < least
    });
    assert_eq!(seldom.collect::<Vec<_>>(), [], "too few runs meet this: see docs/proof.md");
}

#[test]
fn a_seed_replays_to_the_same_trace() {
    for seed in [1, 2, 3] {
        let (first, again) = (run(seed, None), run(seed, None));
        assert_eq!(first.trace_hash, again.trace_hash);
        assert_eq!(first.counts, again.counts);
        assert!(first.counts.acknowledged > 20, "{:?}", first.counts);
    }
}

/// Bugs that take more seeds than this are left to `make sim`.
const SEEDS_MAX: u64 = 100;

#[test]
fn planted_bugs_are_caught() {
    std::panic::set_hook(Box::new(|_| {}));
    let within = |bug: &Planted| match bug.catcher() {
        Some(Catcher::Simulation { seeds }) if seeds <= SEEDS_MAX => Some((*bug, seeds)),
        _ => None,
    };
    let bugs: Vec<_> = Planted::ALL.iter().filter_map(within).collect();
    assert!(bugs.len() >= 30, "{} bugs", bugs.len());
    let mut missed = Vec::new();
    for (bug, bound) in bugs {
        let mut outcomes = run_seeds(0..bound, 2, move |seed| run(seed, Some(bug)));
        match outcomes.find(|o| !o.violations.is_empty()) {
            Some(caught) => {
                let what: String = caught.violations[0].chars().take(90).collect();
                println!("{bug:?}: {} seeds, {what}", caught.seed + 1);
            }
            None => {
                println!("{bug:?}: not in {bound} seeds");
                missed.push(bug);
            }
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
