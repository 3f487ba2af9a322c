//! The scenarios that are tried, and in which of them a relaxed rule shows.

use crate::relaxed::Relaxed;
use crate::scenario::{Scenario, set};

/// How much is visited.
#[expect(clippy::disallowed_methods, reason = "how long to search is for whoever runs it to say")]
pub(crate) fn is_large() -> bool {
    std::env::var("QUORUM_MODEL").is_ok_and(|size| size == "large")
}

/// The change may be turned round: from each stage, and in the large search forward again after.
pub(crate) fn turning(scenario: Scenario) -> Scenario {
    Scenario { turns_back: true, generations: if is_large() { 7 } else { 5 }, ..scenario }
}

pub(crate) fn a_move() -> Scenario {
    Scenario::change("a move", set("abc", 2, 2), set("bcd", 2, 2))
}

pub(crate) fn larger() -> Scenario {
    let (from, to) = (set("abc", 2, 2), set("abcde", 3, 3));
    Scenario { flushes: false, ..Scenario::change("three copies to five", from, to) }
}

pub(crate) fn smaller() -> Scenario {
    let (from, to) = (set("abcde", 3, 3), set("abc", 2, 2));
    Scenario { flushes: false, ..Scenario::change("five copies to three", from, to) }
}

/// One shard that does not change, with a put, a delete and a round.
pub(crate) fn floors() -> Scenario {
    Scenario {
        writes: 2,
        has_floors: true,
        has_reader: true,
        generations: 1,
        ..Scenario::change("a floor", set("abc", 2, 2), set("abc", 2, 2))
    }
}

/// The same while one of two copies moves.
pub(crate) fn floors_and_a_move(write: usize, read: usize) -> Scenario {
    let (from, to) = (set("ab", write, read), set("bc", write, read));
    Scenario { writes: 2, has_floors: true, flushes: false, ..Scenario::change("a floor and a move", from, to) }
}

/// Rules that are relaxed, where the model looks, and how long the shortest way to a breach is.
pub(crate) fn relaxed() -> Vec<(Relaxed, Scenario, usize)> {
    let reading = || Scenario { has_reader: true, ..a_move() };
    let settled = || Scenario { has_reader: false, ..floors() };
    let moving = || floors_and_a_move(2, 1);
    vec![
        (Relaxed::AcknowledgedEarly, a_move(), 2),
        (Relaxed::HeldBeforeApplied, a_move(), 12),
        (Relaxed::LayoutInMemory, a_move(), 14),
        (Relaxed::CopiedInMemory, a_move(), 12),
        (Relaxed::SourceAtEarlierLayout, a_move(), 11),
        (Relaxed::ReaderMixesLayouts, reading(), 14),
        (Relaxed::RoundMixesLayouts, moving(), 15),
        (Relaxed::BarInMemory, settled(), 14),
        (Relaxed::BarBeforeApplied, settled(), 13),
        (Relaxed::BoundsNotFirst, moving(), 13),
        (Relaxed::AbsenceNotTold, floors(), 20),
        (Relaxed::BarRefusesRepairs, Scenario { downs: 1, ..settled() }, 4),
    ]
}
