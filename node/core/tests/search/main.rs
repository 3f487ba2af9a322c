//! A search for schedules that break the core: small clusters, a hostile scheduler, and rules that are looked at after
//! every step. Beside it stand the schedules that once broke it, written down step by step.
#![expect(clippy::unwrap_used, reason = "a test harness")]

mod choices;
mod clients;
mod cluster;
mod disks;
mod leases;
mod restarts;
mod rules;
mod search;

use search::{Scenario, run};
use skerry_core::planted::Planted;

/// Schedules of each scenario that a test run tries; `SEARCH=100000` tries more.
const SCHEDULES: u64 = 400;

fn schedules() -> u64 {
    std::env::var("SEARCH").ok().and_then(|n| n.parse().ok()).unwrap_or(SCHEDULES)
}

#[test]
fn one() {
    let Ok(which) = std::env::var("ONE") else { return };
    let (s, n) = which.split_once(' ').unwrap();
    let scenario = Scenario::ALL.into_iter().find(|x| format!("{x:?}") == s).unwrap();
    let bug = std::env::var("BUG").ok().and_then(|b| Planted::ALL.iter().copied().find(|x| format!("{x:?}") == b));
    if let Some(f) = run(scenario, n.parse().unwrap(), bug) {
        println!("{}", f.broken);
        f.story.iter().for_each(|l| println!("{l}"));
    }
}

#[test]
fn no_schedule_breaks_a_rule() {
    let mut found = 0;
    for scenario in Scenario::ALL {
        let started = std::time::Instant::now();
        for seed in 0..schedules() {
            let Some(broken) = run(scenario, seed, None) else { continue };
            found += 1;
            if found < 6 {
                println!("{:?} {}: {}", broken.scenario, broken.seed, broken.broken);
                broken.story.iter().for_each(|line| println!("    {line}"));
            }
        }
        println!("{scenario:?}: {:?}", started.elapsed());
    }
    assert_eq!(found, 0, "schedules broke a rule");
}

const BUGS: [(Planted, u64); 1] = [(Planted::PromiseLostWithLeader, 1_000)];

#[test]
fn planted_bugs_are_found() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    for (bug, bound) in BUGS {
        let found =
            (0..bound).find_map(|seed| Scenario::ALL.iter().find_map(|scenario| run(*scenario, seed, Some(bug))));
        match found {
            Some(found) => println!("{bug:?}: {:?} {}, {}", found.scenario, found.seed, found.broken),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
