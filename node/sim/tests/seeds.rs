//! Seeds that must be good, runs that must repeat, and bugs that must be caught. Bugs that take more seeds than a test
//! should are caught by `make sim`.

use skerry_core::planted::Planted;
use skerry_sim::{run, run_seeds};

#[test]
fn five_hundred_seeds_are_good() {
    let all = run_seeds(0..500, 2, |seed| run(seed, None));
    let failed: Vec<_> = all.filter(|outcome| !outcome.violations.is_empty()).collect();
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
const BUGS: [(Planted, u64); 14] = [
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
    (Planted::SilenceUnnoticed, 60),
    (Planted::LeaseWithoutMargin, 20),
    (Planted::LeaseKeptOverTransfer, 20),
    (Planted::PatienceForgotten, 200),
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
