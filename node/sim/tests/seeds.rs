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
const BUGS: [(Planted, u64); 20] = [
    (Planted::AckBeforeFsync, 60),
    (Planted::VoteNotPersisted, 100),
    (Planted::StaleReadWithoutLease, 100),
    (Planted::RequestAppliedTwice, 60),
    (Planted::RequestsMissingInSnapshot, 300),
    (Planted::SnapshotWithoutPreimage, 60),
    (Planted::LogCutBeforeSync, 60),
    (Planted::RemoveBeforeCaughtUp, 60),
    (Planted::TombstoneIgnored, 200),
    (Planted::FenceIgnored, 100),
    (Planted::SilenceUnnoticed, 100),
    (Planted::LeaseWithoutMargin, 100),
    (Planted::LeaseKeptOverTransfer, 100),
    (Planted::RequestsForgottenAtOpen, 60),
    (Planted::FailedConditionForgotten, 100),
    (Planted::PreimageOfAbsentForgotten, 100),
    (Planted::PieceOutOfOrder, 500),
    (Planted::RemainsNotWiped, 300),
    (Planted::LogDroppedAtOpen, 60),
    (Planted::MapGapTaken, 300),
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
