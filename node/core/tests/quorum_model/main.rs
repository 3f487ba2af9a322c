//! All that can happen to a small cluster that holds a quorum shard: every state is visited, in which crashes, lost, late
//! and doubled messages, coordinators that act on old layouts, changes and their turns have left it. The decisions are
//! the core's own. Then each rule is relaxed, and the model has to notice.
//!
//! Messages need no place in a state. A request may come whenever its receiver would take it, as late, as often or as
//! never as it likes, since coordinators of all layouts act on for ever; acknowledgements are facts that can be counted
//! later. What can be harmed by coming late has a place: one repair, and the answers of one read.
//!
//! A larger search: `QUORUM_MODEL=large cargo test -p skerry-core --test quorum_model -- --nocapture`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test harness that tells what it found")]

mod alike;
mod model;
mod relaxed;
mod rest;
mod rounds;
mod rules;
mod scenario;
mod search;
mod state;
mod story;
mod visited;

use relaxed::Relaxed;
use scenario::{Scenario, set};
use search::{Found, search};

/// How much is visited.
#[expect(clippy::disallowed_methods, reason = "how long to search is for whoever runs it to say")]
fn is_large() -> bool {
    std::env::var("QUORUM_MODEL").is_ok_and(|size| size == "large")
}

fn holds(scenario: Scenario, progress: bool) {
    let name = scenario.name;
    let Found { states, broken } = search(scenario, progress);
    println!("{name}: {states} states");
    if let Some(broken) = broken {
        broken.steps.iter().for_each(|line| println!("    {line}"));
        panic!("{name}: {}", broken.rule);
    }
}

/// The change may be turned round: from each stage, and in the large search forward again after.
fn turning(scenario: Scenario) -> Scenario {
    Scenario { turns_back: true, generations: if is_large() { 7 } else { 5 }, ..scenario }
}

fn a_move() -> Scenario {
    Scenario::change("a move", set("abc", 2, 2), set("bcd", 2, 2))
}

fn larger() -> Scenario {
    Scenario::change("three copies to five", set("abc", 2, 2), set("abcde", 3, 3))
}

fn smaller() -> Scenario {
    Scenario::change("five copies to three", set("abcde", 3, 3), set("abc", 2, 2))
}

/// One shard that does not change, with a put, a delete and a round.
fn floors() -> Scenario {
    Scenario {
        writes: 2,
        has_floors: true,
        has_reader: true,
        generations: 1,
        ..Scenario::change("a floor", set("abc", 2, 2), set("abc", 2, 2))
    }
}

/// The same while one of two copies moves.
fn floors_and_a_move(write: usize, read: usize) -> Scenario {
    let (from, to) = (set("ab", write, read), set("bc", write, read));
    Scenario { writes: 2, has_floors: true, flushes: false, ..Scenario::change("a floor and a move", from, to) }
}

#[test]
fn a_move_turned_round_at_any_time_loses_nothing() {
    holds(Scenario { generations: 7, ..turning(a_move()) }, false);
    holds(Scenario { losses: 1, ..turning(a_move()) }, false);
}

#[test]
fn more_copies_and_fewer_copies_lose_nothing() {
    holds(Scenario::change("three copies to four", set("abc", 2, 2), set("abcd", 3, 2)), false);
    holds(Scenario::change("four copies to two", set("abcd", 3, 2), set("ab", 2, 1)), false);
    holds(smaller(), false);
    holds(larger(), false);
}

#[test]
fn every_w_and_r_is_sound() {
    for (write, read) in (1..=3).flat_map(|write| (1..=3).map(move |read| (write, read))) {
        let (from, to) = (set("abc", write, read), set("bcd", write, read));
        let losses = u8::from(is_large());
        holds(Scenario { losses, ..turning(Scenario::change("every w and r", from, to)) }, false);
    }
}

#[test]
fn other_w_and_r_for_the_same_copies_are_sound() {
    let each = || (1..=3).flat_map(|write| (1..=3).map(move |read| (write, read)));
    for ((w, r), (write, read)) in each().flat_map(|from| each().map(move |to| (from, to))) {
        let (from, to) = (set("abc", w, r), set("abc", write, read));
        holds(turning(Scenario::change("other w and r", from, to)), false);
    }
}

#[test]
fn reads_that_take_their_time_see_what_succeeded() {
    holds(Scenario { has_reader: true, ..a_move() }, false);
}

#[test]
fn one_move_after_another_loses_nothing() {
    let sets = vec![set("ab", 2, 1), set("bc", 2, 1), set("cd", 2, 1)];
    holds(Scenario { sets, generations: 9, name: "two moves", ..a_move() }, false);
}

#[test]
fn nothing_returns_below_its_floor() {
    holds(floors(), false);
    holds(floors_and_a_move(2, 1), false);
    if is_large() {
        holds(Scenario { has_reader: true, ..floors_and_a_move(1, 2) }, false);
    }
}

#[test]
fn all_comes_to_rest_though_one_copy_is_silent_for_ever() {
    holds(Scenario { downs: 1, flushes: false, ..turning(a_move()) }, true);
    holds(Scenario { downs: 1, has_reader: false, ..floors() }, true);
}

/// Rules that are relaxed, where the model looks, and how long the shortest way to a breach is.
fn relaxed() -> Vec<(Relaxed, Scenario, usize)> {
    let reading = || Scenario { has_reader: true, ..a_move() };
    let settled = || Scenario { has_reader: false, ..floors() };
    let moving = || floors_and_a_move(2, 1);
    vec![
        (Relaxed::AcknowledgedEarly, a_move(), 2),
        (Relaxed::BarrierShort, a_move(), 16),
        (Relaxed::RevertWithoutBarrier, turning(a_move()), 18),
        (Relaxed::WipedAtTheTurn, Scenario { generations: 7, ..turning(a_move()) }, 15),
        (Relaxed::HeldBeforeApplied, a_move(), 12),
        (Relaxed::LayoutInMemory, a_move(), 14),
        (Relaxed::SourceShort, a_move(), 9),
        (Relaxed::SourceAtEarlierLayout, a_move(), 11),
        (Relaxed::StayersNotCopied, smaller(), 8),
        (Relaxed::ReaderMixesLayouts, reading(), 14),
        (Relaxed::RoundMemberMissing, settled(), 10),
        (Relaxed::RoundMixesLayouts, moving(), 15),
        (Relaxed::BarInMemory, settled(), 14),
        (Relaxed::BarBeforeApplied, settled(), 13),
        (Relaxed::BarIgnored, settled(), 13),
        (Relaxed::FloorIgnored, settled(), 18),
        (Relaxed::BoundsNotFirst, moving(), 13),
        (Relaxed::BarNotTakenOver, moving(), 15),
        (Relaxed::AbsenceWithoutFloor, floors(), 20),
        (Relaxed::BarRefusesRepairs, Scenario { downs: 1, ..settled() }, 4),
    ]
}

#[test]
fn every_relaxed_rule_is_noticed() {
    let mut wrong = Vec::new();
    for (relaxed, scenario, length) in relaxed() {
        let progress = relaxed == Relaxed::BarRefusesRepairs;
        let Found { states, broken } = search(Scenario { relaxed: Some(relaxed), ..scenario }, progress);
        let Some(broken) = broken else {
            wrong.push(format!("{relaxed:?} was not noticed in {states} states"));
            continue;
        };
        println!("{relaxed:?}: {} after {} steps, {states} states", broken.rule, broken.steps.len());
        broken.steps.iter().for_each(|line| println!("    {line}"));
        if broken.steps.len() != length {
            wrong.push(format!("{relaxed:?} was noticed after {} steps, not {length}", broken.steps.len()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
