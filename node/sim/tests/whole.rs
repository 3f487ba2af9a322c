//! Operators, a modelled Kubernetes and the database together: seeds that must be good, runs that must repeat, and bugs
//! of an operator that must be caught.

use skerry_sim::{OperatorBug, run_seeds, run_whole};

/// A copy of the system shard that was silent while others were replaced refused the snapshot that it lacked: it names
/// copies that only that snapshot tells of.
#[test]
fn a_copy_of_the_system_shard_catches_up_though_others_were_replaced_meanwhile() {
    for seed in [1_130, 2_311, 4_705] {
        assert_eq!(run_whole(seed, None).violations, Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn two_thousand_seeds_of_the_whole_system_are_good() {
    let all = run_seeds(0..2_000, 2, |seed| run_whole(seed, None));
    let failed: Vec<_> = all.filter(|outcome| !outcome.violations.is_empty()).collect();
    for outcome in &failed {
        println!("seed {}: {}", outcome.seed, outcome.violations.join("; "));
        println!("  run it again: cargo run -p skerry-sim -- --whole --seed {}", outcome.seed);
    }
    assert!(failed.is_empty(), "{} seeds failed", failed.len());
}

/// It showed a rule that was too strict once: a shard's first voter, on a node that was down when the shard was made, has
/// no data until it gets a snapshot.
#[test]
fn a_first_voter_that_comes_late_breaks_no_rule() {
    assert_eq!(run_whole(2803, None).violations, Vec::<String>::new());
}

/// A process whose volume was taken away, and that heard nothing, counted as in sync after each time that it asked for
/// votes (10432); a pause that was cut short left a process without ticks (15072).
#[test]
fn copies_that_are_not_there_do_not_count_as_in_sync() {
    for seed in [10_432, 15_072] {
        assert_eq!(run_whole(seed, None).violations, Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn a_seed_of_the_whole_system_replays_to_the_same_trace() {
    for seed in [1, 5, 7] {
        let (first, again) = (run_whole(seed, None), run_whole(seed, None));
        assert_eq!((first.trace_hash, &first.story), (again.trace_hash, &again.story));
        assert_eq!(first.counts, again.counts);
        assert!(first.counts.acknowledged > 20, "{:?}", first.counts);
    }
}

/// Each bug, the seeds within which it must be caught, and what must be said of it.
const BUGS: [(OperatorBug, u64, &str); 14] = [
    (OperatorBug::RestartsAllUnready, 400, "one node at a time is ended"),
    (OperatorBug::TakesAnothersClaim, 400, "nothing of another database is taken or changed"),
    (OperatorBug::DeletesWhileUnknown, 300, "no node that runs is ended while the steward is silent"),
    (OperatorBug::MissingAnswerIsDrained, 60, "no node is removed without a certificate"),
    (OperatorBug::VictimsRecomputed, 2_000, "did not come to rest"),
    (OperatorBug::CertificateNotReasked, 30, "no node is removed without a certificate"),
    (OperatorBug::DeletedByName, 200, "nothing of a node is deleted before it is removed"),
    (OperatorBug::OldGenerationAwaited, 150, "did not come to rest"),
    (OperatorBug::FenceIgnored, 600, "no former operator is obeyed"),
    (OperatorBug::RemovalDelayIgnored, 1_000, "no table goes before its delay is over"),
    (OperatorBug::WallClockCounts, 1_000, "no table goes before its delay is over"),
    (OperatorBug::ReplacesAllSilent, 100, "no node is given up that a majority needs"),
    (OperatorBug::DeletedBeforeKept, 60, "nothing of a node is deleted before it is removed"),
    (OperatorBug::SilenceIsLoss, 500, "nothing of a node is deleted before it is removed"),
];

#[test]
fn planted_bugs_of_an_operator_are_caught() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    for (bug, bound, said) in BUGS {
        let mut all = run_seeds(0..bound, 2, move |seed| run_whole(seed, Some(bug)));
        match all.find(|outcome| outcome.violations.iter().any(|broken| broken.contains(said))) {
            Some(caught) => println!("{bug:?}: seed {}, {}", caught.seed, caught.violations[0]),
            None => {
                println!("{bug:?}: not in {bound} seeds");
                missed.push(bug);
            }
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
