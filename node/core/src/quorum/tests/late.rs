//! Runs in which rounds follow one another closely and messages are on their way for longer than that: writes, repairs and
//! answers that come to copies whose bar and floor have risen since.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::convergence::Pace;
use super::super::copies::Copies;
use super::super::shown::Resolve;
use super::changes::{loose, moving, writes_of_one};
use super::world::World;
use super::{Step, run_in, step};

/// Rounds each second, with bars a fifth of one behind.
const PACE: Pace = Pace { round_ticks: 20, behind_ms: 200, compare_ticks: 100 };

fn late_step(keys: u8) -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => step(keys, 2),
        4 => any::<usize>().prop_map(|message| Step::Keep { message }),
        1 => Just(Step::GiveBack),
        2 => (5..25_u64).prop_map(|ticks| Step::Tick { ticks }),
        2 => Just(Step::Arrive { but: None }),
    ]
}

fn run_late(resolve: Resolve, (from, next): (Copies, Copies), keys: u8, steps: Vec<Step>) {
    let mut world = World::changing(resolve, from, next);
    world.pace = PACE;
    run_in(world, keys, steps);
}

/// In which of so many runs a breach of a rule is found.
#[cfg(feature = "planted")]
fn is_found(sets: &(Copies, Copies), keys: u8, runs: usize) -> Option<usize> {
    let run = |steps| run_late(Resolve::Siblings, sets.clone(), keys, steps);
    super::rest::broken_in(runs, &vec(late_step(keys), 150..300), run)
}

#[cfg(feature = "planted")]
#[test]
fn a_floor_without_a_member_is_noticed_by_what_comes_late() {
    use crate::planted::{Planted, plant};
    for sets in [moving(), loose(), writes_of_one()] {
        assert_eq!(is_found(&sets, 1, 60), None, "nothing is found without a bug");
    }
    plant(Some(Planted::FloorWithoutMember));
    let found = is_found(&writes_of_one(), 1, 300);
    plant(None);
    assert!(found.is_some(), "a floor that a member does not know of harms nobody");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_comes_late_neither_loses_nor_brings_back_anything(
        steps in vec(late_step(3), 0..300),
        by_last_writer in any::<bool>(),
        which in 0..3_usize,
    ) {
        let resolve = if by_last_writer { Resolve::LastWriterWins } else { Resolve::Siblings };
        run_late(resolve, [moving(), loose(), writes_of_one()][which].clone(), 3, steps);
    }
}
