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
mod bits;
mod changes;
mod copying;
mod faults;
mod model;
#[cfg(feature = "planted")]
mod planted;
mod reads;
mod relaxed;
mod rest;
mod rounds;
mod rules;
mod scenario;
mod search;
mod state;
mod story;
mod tried;
mod visited;
mod writes;

use relaxed::Relaxed;
use scenario::{Scenario, set};
use search::{Found, search};
use tried::{a_move, floors, floors_and_a_move, is_large, larger, relaxed, smaller, turning};

fn holds(scenario: Scenario, progress: bool) {
    let name = scenario.name;
    let Found { states, broken } = search(scenario, progress);
    println!("{name}: {states} states");
    if let Some(broken) = broken {
        broken.steps.iter().for_each(|line| println!("    {line}"));
        panic!("{name}: {}", broken.rule);
    }
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
    if is_large() {
        holds(turning(smaller()), false);
    }
}

#[test]
fn every_w_and_r_is_sound() {
    for (write, read) in (1..=3).flat_map(|write| (1..=3).map(move |read| (write, read))) {
        let (from, to) = (set("abc", write, read), set("bcd", write, read));
        holds(Scenario { losses: 1, flushes: false, ..turning(Scenario::change("every w and r", from, to)) }, false);
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
    holds(Scenario { losses: 1, flushes: false, ..turning(a_move()) }, true);
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
