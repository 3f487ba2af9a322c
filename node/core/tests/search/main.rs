//! A search for schedules that break the core: small clusters, a hostile scheduler, and rules that are looked at after
//! every step. Beside it stand the schedules that once broke it, written down step by step.
//!
//! A longer search: `SEARCH=20000 cargo test -p skerry-core --features planted --test search -- --nocapture`. It stops at
//! nothing and prints what broke, with the story of what went otherwise.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test harness that tells what it found")]

mod choices;
mod clients;
mod cluster;
mod disks;
mod flights;
mod leases;
mod restarts;
mod rules;
mod search;

use search::{Found, Scenario, run, run_each};
use skerry_core::planted::Planted;

/// Schedules of each scenario that a test run draws.
const SCHEDULES: u64 = 600;
/// Schedules whose story is printed in full.
const STORIES_MAX: usize = 5;

/// How many schedules to draw: what `SEARCH` says, or so many.
#[expect(clippy::disallowed_methods, reason = "how long to search is for whoever runs it to say")]
fn schedules(usual: u64) -> u64 {
    std::env::var("SEARCH").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

fn show(found: &[Found]) {
    for Found { scenario, seed, broken, story } in found.iter().take(STORIES_MAX) {
        println!("{scenario:?} {seed}: {broken}");
        story.iter().for_each(|line| println!("    {line}"));
    }
}

#[test]
fn no_drawn_schedule_breaks_a_rule() {
    let drawn = |scenario| (0..schedules(SCHEDULES)).filter_map(move |seed| run(scenario, seed, None));
    let found: Vec<_> = Scenario::ALL.into_iter().flat_map(drawn).collect();
    show(&found);
    assert!(found.is_empty(), "{} schedules broke a rule", found.len());
}

#[test]
fn no_schedule_with_one_late_message_breaks_a_rule() {
    let (mut tried, mut found) = (0, Vec::new());
    for (schedules, broken) in Scenario::ALL.map(run_each) {
        tried += schedules;
        found.extend(broken);
    }
    show(&found);
    assert!(found.is_empty() && tried > 100, "{} of {tried} schedules broke a rule", found.len());
}

/// Bugs that the search finds, in which scenario, and within how many schedules.
const BUGS: [(Planted, Scenario, u64); 13] = [
    (Planted::AckBeforeFsync, Scenario::Election, 200),
    (Planted::LogCutBeforeSync, Scenario::Snapshot, 100),
    (Planted::LogStartUntold, Scenario::Election, 1),
    (Planted::NewCopySpeaksEarly, Scenario::Members, 200),
    (Planted::LeaseWithoutMargin, Scenario::Election, 20),
    (Planted::LeaseKeptOverTransfer, Scenario::HandOver, 40),
    (Planted::StaleReadWithoutLease, Scenario::Election, 60),
    (Planted::PromiseForgotten, Scenario::Restart, 1_000),
    (Planted::PromiseLostWithLeader, Scenario::Election, 3_000),
    (Planted::UnknownTakenForNo, Scenario::HandOver, 400),
    (Planted::SnapshotWithoutPreimage, Scenario::Snapshot, 40),
    (Planted::BlankFromFirstTick, Scenario::Snapshot, 2_000),
    (Planted::TimeoutsAlike, Scenario::Election, 1_000),
];

#[test]
fn planted_bugs_are_found() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    for (bug, scenario, bound) in BUGS {
        match (0..schedules(bound)).find_map(|seed| run(scenario, seed, Some(bug))) {
            Some(found) => println!("{bug:?}: {} schedules, {}", found.seed + 1, found.broken),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
