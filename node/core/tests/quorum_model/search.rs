//! Visits every state that can be reached, nearest first, and tells the shortest way to one that breaks a rule.

use crate::alike::Names;
use crate::model::{Event, Model, Next};
use crate::scenario::Scenario;
use crate::state::State;
use crate::visited::Visited;

/// What a search has found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) broken: Option<Broken>,
}

/// A rule that is broken, and how it came to that.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) rule: String,
    pub(crate) steps: Vec<String>,
}

/// Visits all. `progress` = also shows that from every state all can come to rest.
pub(crate) fn search(scenario: Scenario, progress: bool) -> Found {
    let model = Model::new(scenario, progress);
    let mut visited = Visited::new();
    for first in model.scenario.first() {
        visited.insert(model.in_order(&first).0.pack(), visited.len());
    }
    let mut next: Vec<Next> = Vec::new();
    let mut at = 0;
    while at < visited.len() {
        let state = State::unpack(visited.state(at));
        model.next(&state, &mut next);
        for (event, after, broken) in next.drain(..) {
            let after = model.in_order(&after).0;
            if let Some(rule) = broken {
                return found(&visited, rule, story(&model, &visited, at, Some(event)));
            }
            if model.is_idle(&after) || !visited.insert(after.pack(), at) {
                continue;
            }
            if let Some(rule) = model.broken(&after) {
                return found(&visited, rule, story(&model, &visited, visited.len() - 1, None));
            }
        }
        at += 1;
    }
    match if progress { stuck(&model, &visited) } else { None } {
        Some(at) => found(&visited, "never comes to rest".to_owned(), story(&model, &visited, at, None)),
        None => Found { states: visited.len(), broken: None },
    }
}

fn found(visited: &Visited, rule: String, steps: Vec<String>) -> Found {
    Found { states: visited.len(), broken: Some(Broken { rule, steps }) }
}

/// The first state from which those who act never come to rest, each doing what it can as soon as it can.
fn stuck(model: &Model, visited: &Visited) -> Option<usize> {
    let mut rests = vec![false; visited.len()];
    let mut next: Vec<Next> = Vec::new();
    for from in 0..visited.len() {
        let mut way = Vec::new();
        let mut at = from;
        while !rests[at] {
            let state = State::unpack(visited.state(at));
            way.push(at);
            if model.is_at_rest(&state) {
                break;
            }
            model.next(&state, &mut next);
            let best = next.drain(..).filter_map(|(event, after, _)| Some((model.urgency(&state, event)?, after)));
            let Some((_, after)) = best.min_by_key(|(urgency, _)| *urgency) else { return Some(from) };
            at = visited.find(&model.in_order(&after).0.pack()).unwrap();
            if way.contains(&at) {
                return Some(from);
            }
        }
        way.into_iter().for_each(|at| rests[at] = true);
    }
    None
}

/// The way to a state, and what happened there at last, with the copies' names as they were at the beginning.
fn story(model: &Model, visited: &Visited, to: usize, last: Option<Event>) -> Vec<String> {
    let mut way = vec![to];
    while visited.parent(way[way.len() - 1]) != way[way.len() - 1] {
        way.push(visited.parent(way[way.len() - 1]));
    }
    way.reverse();
    let mut names: Names = [0, 1, 2, 3, 4];
    let mut told = Vec::new();
    let mut next: Vec<Next> = Vec::new();
    for pair in way.windows(2) {
        let state = State::unpack(visited.state(pair[0]));
        model.next(&state, &mut next);
        let leads_there = |after: &State| model.in_order(after).0.pack() == *visited.state(pair[1]);
        let (event, after, _) = next.drain(..).find(|(_, after, _)| leads_there(after)).unwrap();
        told.push(model.tell(&state, event, &names));
        names = model.in_order(&after).1.map(|i| names[i]);
    }
    told.extend(last.map(|event| model.tell(&State::unpack(visited.state(to)), event, &names)));
    told
}
