//! Seeds that must be good, runs that must repeat, and bugs that must be caught. Bugs that take more seeds than a test
//! should are caught by `make sim`.
#![expect(clippy::unwrap_used, reason = "a test's own tools may fail loudly too")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use skerry_core::planted::Planted;
use skerry_sim::{Outcome, run};

/// Runs seeds on two threads and gives what failed.
fn failures(first: u64, count: u64) -> Vec<Outcome> {
    let next = Arc::new(AtomicU64::new(first));
    let failed = Arc::new(Mutex::new(Vec::new()));
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let (next, failed) = (Arc::clone(&next), Arc::clone(&failed));
            std::thread::spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let outcome = run(seed, None);
                    if !outcome.violations.is_empty() {
                        failed.lock().unwrap().push(outcome);
                    }
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|w| w.join().unwrap());
    Arc::try_unwrap(failed).unwrap().into_inner().unwrap()
}

#[test]
fn five_hundred_seeds_are_good() {
    let failed = failures(0, 500);
    for outcome in &failed {
        println!("seed {}: {}", outcome.seed, outcome.violations.join("; "));
        println!("  run it again: cargo run -p skerry-sim -- --seed {}", outcome.seed);
    }
    assert!(failed.is_empty(), "{} seeds failed", failed.len());
}

/// Each of these has shown a bug once: members in the map that nobody was sure of, a copy that was never ended, a voter
/// that nobody could help, a loss that was told before it was certain.
const ONCE_BAD: [u64; 9] = [1341, 1889, 2041, 2270, 4741, 5407, 8843, 11763, 13806];

#[test]
fn seeds_that_once_failed_are_good() {
    for seed in ONCE_BAD {
        let outcome = run(seed, None);
        assert!(outcome.violations.is_empty(), "seed {seed}: {:?}", outcome.violations);
    }
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

/// Each bug that these clusters can show, and the seeds within which it must be caught.
const BUGS: [(Planted, u64); 10] = [
    (Planted::AckBeforeFsync, 60),
    (Planted::VoteNotPersisted, 30),
    (Planted::StaleReadWithoutLease, 20),
    (Planted::RequestAppliedTwice, 30),
    (Planted::RequestsMissingInSnapshot, 200),
    (Planted::SnapshotWithoutPreimage, 20),
    (Planted::LogCutBeforeSync, 20),
    (Planted::RemoveBeforeCaughtUp, 20),
    (Planted::TombstoneIgnored, 60),
    (Planted::FenceIgnored, 60),
];

#[test]
fn planted_bugs_are_caught() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    for (bug, bound) in BUGS {
        match (0..bound).map(|seed| run(seed, Some(bug))).find(|o| !o.violations.is_empty()) {
            Some(caught) => println!(
                "{bug:?}: {} seeds, {}",
                caught.seed + 1,
                caught.violations[0].chars().take(90).collect::<String>()
            ),
            None => {
                println!("{bug:?}: not in {bound} seeds");
                missed.push(bug);
            }
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
