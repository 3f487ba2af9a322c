//! Hardships that are there strike, and those that are not leave every seed as it is.

use skerry_sim::{Hardship, Hardships, run, run_with};

/// Hardships that count how often they strike.
const COUNTED: [Hardship; 5] = [
    Hardship::FailedSyncs,
    Hardship::ClientsCutOff,
    Hardship::LateAnswers,
    Hardship::LateRepeats,
    Hardship::RolledBack,
];

#[test]
fn each_hardship_that_is_there_strikes_and_nothing_breaks() {
    for hardship in COUNTED {
        let outcomes: Vec<_> = (0..6).map(|seed| run_with(seed, None, &Hardships::only(hardship))).collect();
        for outcome in &outcomes {
            assert!(
                outcome.violations.is_empty(),
                "seed {} with {hardship} alone: {:?}",
                outcome.seed,
                outcome.violations
            );
        }
        let struck = outcomes.iter().filter(|outcome| outcome.struck.contains_key(&hardship)).count();
        assert!(struck >= 4, "{hardship} struck in {struck} of 6 seeds");
    }
}

#[test]
fn a_seed_without_a_hardship_is_the_same_whether_or_not_it_might_have_it() {
    for hardship in COUNTED {
        let all = Hardships::default();
        let without = all.clone().without(hardship);
        let mut spared = (0..).filter(|seed| !all.are_with(hardship, *seed));
        let seed = spared.next().expect("most seeds are spared");
        assert_eq!(run(seed, None).trace_hash, run_with(seed, None, &without).trace_hash);
    }
}

#[test]
fn some_seeds_have_each_hardship_and_some_of_the_whole_system() {
    for hardship in COUNTED {
        let of = |with: &dyn Fn(u64) -> bool| (0..2_000).filter(|seed| with(*seed)).count();
        let (all, whole) = (
            of(&|seed| Hardships::default().are_with(hardship, seed)),
            of(&|seed| Hardships::of_whole(seed).are_with(hardship, seed)),
        );
        assert!(all > 200 && whole > 40, "{hardship}: {all} seeds, {whole} of the whole system");
    }
}
