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

use search::{Scenario, run, run_each};
use skerry_core::planted::Planted;

/// Schedules of each scenario that a test run tries; `SEARCH=100000` tries more.
const SCHEDULES: u64 = 400;

fn schedules() -> u64 {
    std::env::var("SEARCH").ok().and_then(|n| n.parse().ok()).unwrap_or(SCHEDULES)
}

#[test]
fn hunt() {
    let Some(bound) = std::env::var("HUNT").ok().and_then(|n| n.parse::<u64>().ok()) else { return };
    std::panic::set_hook(Box::new(|_| {}));
    let only = std::env::var("BUG").ok();
    for bug in Planted::ALL
        .iter()
        .copied()
        .filter(|b| only.as_ref().is_none_or(|o| o.split(',').any(|o| format!("{b:?}") == o)))
    {
        for scenario in Scenario::ALL {
            let found = (0..bound).find_map(|seed| run(scenario, seed, Some(bug)));
            match found {
                Some(f) => {
                    println!("{bug:?} {scenario:?} {} {}", f.seed, f.broken.chars().take(110).collect::<String>())
                }
                None => println!("{bug:?} {scenario:?} -"),
            }
        }
    }
}

#[test]
fn one_late_message_breaks_no_rule() {
    let mut schedules = 0;
    for scenario in Scenario::ALL {
        let (tried, found) = run_each(scenario);
        schedules += tried;
        for broken in &found {
            println!("{:?}: {} {:?}", broken.scenario, broken.broken, broken.story);
        }
        assert!(found.is_empty(), "{} schedules broke a rule", found.len());
    }
    println!("{schedules} schedules");
    assert!(schedules > 500);
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
