//! Seeds that must be good, runs that must repeat, and bugs that must be caught. Bugs that take more seeds than a test
//! should are caught by `make sim`.

use std::collections::BTreeMap;

use skerry_core::planted::{Catcher, Planted};
use skerry_sim::{Cell, Change, Hardships, Outcome, run, run_seeds};

#[path = "proof/least.rs"]
mod least;

use least::least_met;

/// Seeds that are run by themselves.
const SEEDS: u64 = 500;
/// Seeds after these that have a quorum table of ranges: too few of the first have one to meet everything.
const MORE_SEEDS: u64 = 100;

#[test]
fn the_first_seeds_are_good_and_meet_whatever_may_befall_each_kind_of_table() {
    let is_due = |seed: u64| seed < SEEDS || Hardships::default().have_quorum_ranges(seed);
    let last = (0..).filter(|seed| is_due(*seed)).nth(usize::try_from(SEEDS + MORE_SEEDS).unwrap()).unwrap();
    let all =
        run_seeds(0..last, 2, move |seed| if is_due(seed) { run(seed, None) } else { Outcome::passed_over(seed) });
    let mut met: BTreeMap<(Cell, Change), usize> = BTreeMap::new();
    let noted = all.inspect(|outcome| outcome.met.iter().for_each(|what| *met.entry(*what).or_default() += 1));
    let failed: Vec<_> = noted.filter(|outcome| !outcome.violations.is_empty()).collect();
    for outcome in &failed {
        println!("seed {}: {}", outcome.seed, outcome.violations.join("; "));
        println!("  run it again: cargo run -p skerry-sim -- --seed {}", outcome.seed);
    }
    assert!(failed.is_empty(), "{} seeds failed", failed.len());
    let all = Cell::ALL.into_iter().flat_map(|cell| Change::ALL.map(|change| (cell, change)));
    let seldom = all.filter(|what| {
        let (count, least) = (met.get(what).copied().unwrap_or(0), least_met(what.0, what.1));
        println!("{}: {} in {count} seeds, at least {least} are wanted", what.0, what.1);
        count < least
    });
    assert_eq!(seldom.collect::<Vec<_>>(), [], "too few seeds meet this: see docs/proof.md");
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
