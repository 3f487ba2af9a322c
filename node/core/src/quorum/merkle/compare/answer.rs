//! The copy that only answers, from what it holds at that moment.

use std::ops::ControlFlow;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::{Answer, Ask, PULL_MAX};
use crate::quorum::merkle::pieces::Budget;
use crate::quorum::merkle::span::{Spans, separator};
use crate::quorum::merkle::view::View;
use crate::quorum::merkle::{SLICES, Tree, digest, leaves_of};
use crate::record::Stored;

/// The answer to what another copy asks. `None` = no copy asks so.
pub fn answer(ask: &Ask, tree: &Tree, view: &impl View) -> Option<Answer> {
    if tree.passed().is_some() || ask.grid() != tree.grid().id() {
        return Some(Answer::OtherGrid);
    }
    let mut budget = Budget::new();
    match ask {
        Ask::Slices(..) => {
            let sums = (0..=u8::MAX).take(SLICES).map(|slice| tree.slice(slice)).collect();
            Some(Answer::Slices(sums, view.absence()))
        }
        Ask::Leaves(_, slices) => {
            let is_sound = is_in_order(slices, SLICES) && slices.iter().all(|slice| usize::from(*slice) < SLICES);
            let sums = || slices.iter().flat_map(|slice| leaves_of(*slice)).map(|leaf| tree.leaf(leaf)).collect();
            is_sound.then(|| Answer::Leaves(sums()))
        }
        Ask::Spans(_, spans) => {
            tree.trim();
            let mut sums = || spans.0.iter().map_while(|span| tree.sum(span, view, &mut budget)).collect();
            spans.are_sound(tree.grid()).then(|| Answer::Spans(sums()))
        }
        Ask::Entries(_, spans) => {
            let mut told: Vec<Vec<(u64, u128)>> = Vec::new();
            if !spans.are_sound(tree.grid()) {
                return None;
            }
            let (done, next) = walk(spans, view, &mut budget, |at, key, record| {
                told.resize(at + 1, Vec::new());
                if let Some(told) = told.last_mut() {
                    told.push((xxh3_64(key), digest(key, record)));
                }
            });
            told.resize(done, Vec::new());
            Some(Answer::Entries(told, next))
        }
        Ask::Records(_, spans, hashes) => {
            let is_sound = spans.are_sound(tree.grid())
                && hashes.len() == spans.0.len()
                && hashes.iter().all(|hashes| is_in_order(hashes, PULL_MAX));
            is_sound.then(|| records(spans, hashes, view, &mut budget))
        }
    }
}

fn records(spans: &Spans, hashes: &[Vec<u64>], view: &impl View, budget: &mut Budget) -> Answer {
    let mut found: Vec<(Bytes, Bytes)> = Vec::new();
    let (done, next) = walk(spans, view, budget, |at, key, record| {
        let is_asked = |hashes: &Vec<u64>| hashes.is_empty() || hashes.binary_search(&xxh3_64(key)).is_ok();
        if hashes.get(at).is_some_and(is_asked) {
            found.push((key.clone(), record.encode()));
        }
    });
    Answer::Records(found, u32::try_from(done).unwrap_or(u32::MAX), next)
}

/// Walks through spans as far as the budget allows. Gives through how many, and where it stopped in the last of them, if it
/// has not come to its end.
fn walk(
    spans: &Spans,
    view: &impl View,
    budget: &mut Budget,
    mut visit: impl FnMut(usize, &Bytes, &Stored),
) -> (usize, Option<Bytes>) {
    for (at, span) in spans.0.iter().enumerate() {
        let (mut last, mut stopped): (Option<Bytes>, _) = (None, None);
        view.walk(span, &mut |key, record, bytes| {
            if budget.is_spent() {
                stopped = Some(last.as_ref().map(|last| separator(last, key)));
                return ControlFlow::Break(());
            }
            last = Some(key.clone());
            budget.read(bytes);
            visit(at, key, record);
            ControlFlow::Continue(())
        });
        match stopped {
            Some(Some(next)) => return (at + 1, Some(next)),
            Some(None) => return (at, None),
            None => {}
        }
    }
    (spans.0.len(), None)
}

/// True if so much may be asked for at once, and nothing twice.
fn is_in_order<T: Ord>(asked: &[T], most: usize) -> bool {
    asked.len() <= most && asked.is_sorted_by(|one, next| one < next)
}
