//! Planted bugs of the core's quorum rooms are noticed.

use skerry_core::planted::{Planted, plant};

use crate::relaxed::Relaxed;
use crate::scenario::Scenario;
use crate::search::{Found, search};
use crate::tried::{a_move, floors, floors_and_a_move, smaller, turning};

/// The bugs, where the model looks, and how long the shortest way to a breach is.
fn in_core() -> Vec<(Planted, Scenario, usize)> {
    let settled = || Scenario { has_reader: false, ..floors() };
    let moving = || floors_and_a_move(2, 1);
    vec![
        (Planted::BarrierShort, a_move(), 16),
        (Planted::RevertWithoutBarrier, turning(a_move()), 18),
        (Planted::WipedAtTheTurn, Scenario { generations: 7, ..turning(a_move()) }, 14),
        (Planted::SourceShort, a_move(), 9),
        (Planted::StayersNotCopied, smaller(), 5),
        (Planted::FloorWithoutMember, settled(), 10),
        (Planted::BarIgnored, settled(), 13),
        (Planted::FloorIgnored, settled(), 18),
        (Planted::BarNotTakenOver, moving(), 15),
    ]
}

#[test]
fn bugs_of_the_core_are_noticed() {
    let mut wrong = Vec::new();
    for (bug, scenario, length) in in_core() {
        plant(Some(bug));
        let Found { states, broken } = search(Scenario { relaxed: Some(Relaxed::InCore(bug)), ..scenario }, false);
        plant(None);
        let found = broken.as_ref().map(|broken| broken.steps.len());
        println!("{bug:?}: {:?} after {found:?} steps, {states} states", broken.map(|broken| broken.rule));
        if found != Some(length) {
            wrong.push(format!("{bug:?} was noticed after {found:?} steps, not {length}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
