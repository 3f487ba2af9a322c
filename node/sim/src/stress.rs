//! Quorum tables under stress: most of what clients do is about them, their copies change all the time, rounds and
//! comparisons follow one another closely, and single kinds of messages are lost or late for a while.
//!
//! All of it is drawn by a generator of its own, so that seeds without it stay what they are.

mod acknowledged;
mod faults;
mod messages;
mod moves;

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use skerry_core::history::{Promise, Rule};
use skerry_core::map::Quorums;
use skerry_core::quorum::convergence::Pace;
use skerry_core::quorum::shown::Resolve;

pub(crate) use acknowledged::Asked;
pub(crate) use faults::Nemesis;
pub(crate) use messages::Fate;
pub(crate) use moves::Moves;

use messages::Kind;

/// What W and R are of a number of copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Both are a majority.
    Majorities,
    /// One copy is enough for a write, all are asked to read.
    WriteOne,
    /// All copies have each write, one is asked to read.
    WriteAll,
    /// Writes need a majority, reads all.
    ReadAll,
    /// One copy is enough for both: what was written is found at rest only.
    One,
    /// Writes need a majority, one copy is asked to read.
    ReadOne,
}

impl Style {
    const ALL: [Self; 8] = [
        Self::Majorities,
        Self::Majorities,
        Self::Majorities,
        Self::WriteOne,
        Self::WriteAll,
        Self::ReadAll,
        Self::One,
        Self::ReadOne,
    ];

    /// W and R of so many copies.
    pub(crate) fn of(self, copies: u32) -> Quorums {
        let majority = copies / 2 + 1;
        let (write, read) = match self {
            Self::Majorities => (majority, majority),
            Self::WriteOne => (1, copies),
            Self::WriteAll => (copies, 1),
            Self::ReadAll => (majority, copies),
            Self::One => (1, 1),
            Self::ReadOne => (majority, 1),
        };
        Quorums { write, read }
    }
}

/// What a table that is under stress is like.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// What W and R are at first, and what they may come to be.
    pub(crate) styles: Vec<Style>,
    /// By which rule it resolves at first, and by which it may come to.
    pub(crate) rules: Vec<Resolve>,
}

impl Table {
    fn draw(resolve: Resolve, rng: &mut ChaCha8Rng) -> Self {
        let count = if rng.random_bool(0.3) { 2 } else { 1 };
        let styles = (0..count).filter_map(|_| Style::ALL.choose(rng).copied()).collect();
        let other = match resolve {
            Resolve::LastWriterWins => Resolve::Siblings,
            Resolve::Siblings => Resolve::LastWriterWins,
        };
        let is_edited = rng.random_bool(0.08);
        Self { styles, rules: if is_edited { vec![resolve, other] } else { vec![resolve] } }
    }

    /// What it promises to readers, where copies are equal from a time on.
    pub(crate) fn promise(&self, rests_since: u64) -> Promise {
        let is_weak = |style: &Style| matches!(style, Style::One | Style::ReadOne);
        match &self.styles {
            styles if styles.iter().any(is_weak) => Promise::AtRest(rests_since),
            styles if styles.contains(&Style::WriteAll) => Promise::Acknowledged,
            _ => Promise::Monotonic,
        }
    }

    pub(crate) fn rule(&self) -> Rule {
        match self.rules[..] {
            [Resolve::LastWriterWins] => Rule::LastWriter,
            [Resolve::Siblings] => Rule::Siblings,
            _ => Rule::Edited,
        }
    }
}

/// What the stress of one seed is like.
#[derive(Debug, Clone)]
pub(crate) struct Stress {
    pub(crate) pace: Pace,
    /// The hash table.
    pub(crate) hashes: Table,
    /// The range table. `None` = there is none.
    pub(crate) ranges: Option<Table>,
    /// Keys of each table.
    pub(crate) keys: usize,
    /// Of 1,000 writes, how many are much larger than others.
    pub(crate) large_values: u32,
    /// Milliseconds that wall clocks are off, at most.
    pub(crate) wall_skew_ms: i64,
    /// Kinds of messages that are hit more often than others.
    kinds: Vec<Kind>,
    /// The longest that a message of such a kind is under way, in microseconds.
    late_max: u64,
}

impl Stress {
    pub(crate) fn draw(resolve: Resolve, rng: &mut ChaCha8Rng) -> Self {
        let mut pick = |some: [u64; 4]| some[rng.random_range(0..some.len())];
        let pace = Pace {
            round_ticks: pick([10, 20, 40, 100]),
            behind_ms: pick([200, 700, 2_000, 10_000]),
            compare_ticks: pick([40, 100, 400, 12_000]),
        };
        let late_max = pick([300, 1_000, 2_500, 6_000]) * crate::MILLISECOND;
        let skew = pick([20, 200, 200, 700]);
        let keys = pick([2, 3, 6, 40]);
        let second = if rng.random_bool(0.5) { Resolve::LastWriterWins } else { Resolve::Siblings };
        let count = rng.random_range(1..=3);
        Self {
            pace,
            hashes: Table::draw(resolve, rng),
            ranges: rng.random_bool(0.3).then(|| Table::draw(second, rng)),
            keys: usize::try_from(keys).unwrap_or(2),
            large_values: if rng.random_bool(0.2) { 30 } else { 0 },
            wall_skew_ms: i64::try_from(skew).unwrap_or(0),
            kinds: (0..count).map(|_| Kind::draw(rng)).collect(),
            late_max,
        }
    }

    /// From the start on W and R are majorities, so that every table can do without one copy.
    pub(crate) fn keep_to_majorities(&mut self) {
        let tables = [Some(&mut self.hashes), self.ranges.as_mut()];
        tables.into_iter().flatten().for_each(|table| table.styles = vec![Style::Majorities]);
    }

    /// The longest that any message may be under way, in milliseconds.
    pub(crate) fn late_ms(&self) -> u64 {
        self.late_max / crate::MILLISECOND
    }

    /// For the story of a run.
    pub(crate) fn text(&self) -> String {
        let Self { pace, hashes, ranges, keys, kinds, late_max, .. } = self;
        format!("{pace:?}, {keys} keys, hashes {hashes:?}, ranges {ranges:?}, {kinds:?} late by up to {late_max} µs")
    }
}
