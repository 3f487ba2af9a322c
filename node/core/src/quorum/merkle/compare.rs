//! Two copies compare what they hold. One of them asks, step by step: sums of slices, of leaves, of parts of leaves that it
//! chooses among its own keys, then single records; it sends what it has more of, and asks for what it lacks. The other one
//! only answers, from what it holds at that moment.
//!
//! Once it is done, the one that asked has been given all that the other one held when it began: wherever sums were equal
//! it held the same, and everywhere else it was told of each record and has asked for those that it did not hold so. This
//! is true of its disk once it has merged durably what [`Comparison::hear`] has given. Both tell each other their floors:
//! what one lacks at or below its own is deleted, and is not sent there.
//!
//! Each question makes both copies read a bounded number of records (`pieces.rs`); what that does not do is asked for
//! again. Of two copies of 1 GiB that differ in 100 records, sums and hashes take less than 1 MiB whatever their keys look
//! like. A copy that has nothing yet has each record read once.

mod answer;
mod message;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

pub use answer::answer;
pub use message::{Answer, Ask};

use super::pieces::{Budget, FEW, READ_BYTES_MAX, READ_RECORDS_MAX, Split};
use super::span::{SPANS_MAX, Span, Spans, Sum, separator};
pub use super::view::{View, Visit};
use super::{LEAVES, SLICE_LEAVES, SLICES, Tree, digest, leaves_of};
use crate::quorum::room::brings_no_value;
use crate::time::Version;

/// Records that an answer tells of one by one.
const TOLD_MAX: usize = READ_RECORDS_MAX;
/// Records that one message asks for.
pub const PULL_MAX: usize = READ_RECORDS_MAX;
/// Records that are told one by one although they are not few, since the other copy has none of them.
const HAND_OVER_MAX: usize = READ_RECORDS_MAX / 2;
/// Bytes of records in one answer, or sent at one time; at least one record is sent.
pub const RECORD_BYTES_MAX: usize = READ_BYTES_MAX;
/// Answers of one comparison that do not tell all that was asked for: each is a thousand records that the other copy has
/// looked through, or a lie.
const SHORT_MAX: u32 = 1 << 17;

/// What is to be done with an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Records that the other copy holds not, or not so: they are to be sent there.
    pub push: Vec<Push>,
    /// Keys and records that are to be merged here, all of which were asked for. Who takes them looks whether the keys are
    /// the shard's. If one cannot be taken, the comparison has not brought all.
    pub merge: Vec<(Bytes, Bytes)>,
    /// The other copy's [`View::absence`]; 0 = none, or not told with this answer. This copy may raise its floor to it
    /// ([`crate::quorum::floor::Floor::told`]).
    pub absence: Version,
    /// One of the copies has looked through records, and knows more parts of its leaves than before.
    pub is_work: bool,
}

/// A record that the other copy is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// Its encoded key.
    pub key: Bytes,
    /// True if it has a value, and not deletes alone: a disk that is nearly full does not take it.
    pub has_value: bool,
}

/// Why a comparison ends without having been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Leaves are cut otherwise there.
    #[error("the other copy has another grid")]
    OtherGrid,
    /// The answer is none to what was asked.
    #[error("the answer is none to what was asked")]
    Malformed,
}

/// A comparison that is under way, at the copy that asks.
#[derive(Debug)]
pub struct Comparison {
    /// The question that is not answered yet, and its number. `None` = all is done.
    asked: Option<Ask>,
    number: u64,
    /// Id of the grid that both trees must have until all is done.
    grid: u64,
    slices: Vec<u8>,
    /// Parts of leaves that differ, and are to be parted further.
    open: Vec<Span>,
    /// Parts of which the other copy is to tell the sums.
    parted: Vec<Span>,
    /// Parts to be told record by record, and how many records each has here at most.
    few: Vec<(Span, usize)>,
    /// Parts with records to be asked for, by hashes of their keys; none = all records.
    pull: Vec<(Span, Vec<u64>)>,
    /// Whatever the other copy lacks at or below this was deleted there, and it takes it no more.
    absence: Version,
    /// Answers that told less than was asked for.
    short: u32,
    /// Nothing is asked for that would be merged here.
    hands_over_only: bool,
}

impl Comparison {
    /// Begins to compare.
    pub fn begin(tree: &Tree, view: &impl View) -> Self {
        let grid = tree.grid().id();
        Self {
            asked: Some(Ask::Slices(grid, view.absence())),
            number: 1,
            grid,
            slices: Vec::new(),
            open: Vec::new(),
            parted: Vec::new(),
            few: Vec::new(),
            pull: Vec::new(),
            absence: Version::default(),
            short: 0,
            hands_over_only: false,
        }
    }

    /// From now on no record is asked for: there is no room for it here. What the other copy lacks is found all the same. So
    /// this copy is not given all that the other one holds.
    pub fn only_hand_over(&mut self, tree: &Tree, view: &impl View) {
        self.hands_over_only = true;
        self.pull.clear();
        if matches!(self.asked, Some(Ask::Records(..))) {
            self.next(tree, view, &mut Budget::new());
        }
    }

    /// What is to be sent now, with its number; also again, if no answer comes. `None` = all is done.
    pub fn ask(&self) -> Option<(u64, &Ask)> {
        self.asked.as_ref().map(|ask| (self.number, ask))
    }

    /// An answer has come. One to an earlier question is ignored.
    ///
    /// # Errors
    ///
    /// See [`Broken`]. The comparison is to be forgotten then.
    pub fn hear(&mut self, number: u64, answer: Answer, tree: &Tree, view: &impl View) -> Result<Found, Broken> {
        let Some(asked) = self.asked.take_if(|_| number == self.number) else { return Ok(Found::default()) };
        if tree.passed().is_some() || tree.grid().id() != self.grid {
            return Err(Broken::OtherGrid);
        }
        tree.trim();
        let (short, mut budget) = (self.short, Budget::new());
        let mut found = match (asked, answer) {
            (_, Answer::OtherGrid) => return Err(Broken::OtherGrid),
            (Ask::Slices(..), Answer::Slices(sums, absence)) if sums.len() == SLICES => {
                let slices = (0..=u8::MAX).zip(&sums).filter(|(slice, sum)| tree.slice(*slice) != **sum);
                self.slices = slices.map(|(slice, _)| slice).collect();
                self.absence = absence;
                Found { absence, ..Found::default() }
            }
            (Ask::Leaves(_, slices), Answer::Leaves(sums)) if sums.len() == slices.len() * SLICE_LEAVES => {
                let leaves = slices.iter().flat_map(|slice| leaves_of(*slice)).zip(&sums);
                let differ = leaves.filter(|(leaf, sum)| tree.leaf(*leaf) != **sum);
                self.open.extend(differ.filter_map(|(leaf, _)| Span::of_leaf(leaf, tree.grid())));
                Found::default()
            }
            (Ask::Spans(_, spans), Answer::Spans(theirs)) if theirs.len() <= spans.0.len() => {
                self.spans(spans.0, &theirs, tree, view, &mut budget);
                Found { is_work: self.short > short, ..Found::default() }
            }
            (Ask::Entries(_, spans), Answer::Entries(theirs, next)) => {
                Found { push: self.entries(spans.0, &theirs, next, (view, &mut budget))?, ..Found::default() }
            }
            (Ask::Records(_, spans, hashes), Answer::Records(merge, done, next)) => {
                self.records(spans.0, hashes, &merge, (done, next))?;
                Found { merge, ..Found::default() }
            }
            _ => return Err(Broken::Malformed),
        };
        if self.short > SHORT_MAX {
            return Err(Broken::Malformed);
        }
        self.next(tree, view, &mut budget);
        found.is_work |= budget.is_used();
        Ok(found)
    }

    /// Of the first of these parts the other copy has this.
    fn spans(&mut self, spans: Vec<Span>, theirs: &[Sum], tree: &Tree, view: &impl View, budget: &mut Budget) {
        let (mut spans, mut told) = (spans.into_iter().peekable(), theirs.iter());
        while let Some(own) = spans.peek().filter(|_| told.len() > 0).and_then(|span| tree.sum(span, view, budget)) {
            let (Some(span), Some(theirs)) = (spans.next(), told.next()) else { break };
            if own.sum == theirs.sum {
                continue;
            }
            // Where there is nothing to compare with, sums of smaller parts tell nothing.
            let records = own.records.and_then(|records| usize::try_from(records).ok());
            match records.filter(|records| theirs.sum == 0 && (1..=HAND_OVER_MAX).contains(records)) {
                Some(records) => self.few.push((span, records)),
                None => self.open.push(span),
            }
        }
        let before = self.parted.len();
        self.parted.extend(spans);
        self.short += u32::from(self.parted.len() > before);
    }

    /// What the other copy has of the first of these parts, of the last of them up to a key. What is to be sent there. What this
    /// copy cannot read of them now, it asks for again.
    fn entries(
        &mut self,
        spans: Vec<Span>,
        theirs: &[Vec<(u64, u128)>],
        next: Option<Bytes>,
        (view, budget): (&impl View, &mut Budget),
    ) -> Result<Vec<Push>, Broken> {
        let is_within =
            (1..=spans.len()).contains(&theirs.len()) && theirs.iter().map(Vec::len).sum::<usize>() <= TOLD_MAX;
        if !is_within {
            return Err(Broken::Malformed);
        }
        let (told, rest) = told(spans, theirs.len(), next)?;
        self.short += u32::from(!rest.is_empty());
        let mut push = Vec::new();
        for (mut span, theirs) in told.into_iter().zip(theirs) {
            if budget.is_spent() {
                // Not even one record more is looked at: it may be large.
                self.few.push((span, FEW));
                continue;
            }
            let theirs: BTreeSet<(u64, u128)> = theirs.iter().copied().collect();
            let (mut held, mut more): (BTreeSet<(u64, u128)>, Vec<Push>) = Default::default();
            let (mut last, mut stopped) = (Bytes::new(), None);
            view.walk(&span, &mut |key, record, bytes| {
                if budget.is_spent() {
                    stopped = Some(separator(&last, key));
                    return ControlFlow::Break(());
                }
                budget.read(bytes);
                last = key.clone();
                let entry = (xxh3_64(key), digest(key, record));
                if !theirs.contains(&entry) && record.newest.stamp.version > self.absence {
                    more.push(Push { key: key.clone(), has_value: !brings_no_value(None, record) });
                }
                held.insert(entry);
                ControlFlow::Continue(())
            });
            match stopped {
                None => {}
                // It has grown far beyond what was to be told.
                Some(_) if held.len() > HAND_OVER_MAX => {
                    self.open.push(span);
                    continue;
                }
                Some(next) => {
                    self.few.extend(span.from(&next).map(|rest| (rest, FEW)));
                    span.end = Some(next);
                }
            }
            push.extend(more);
            let lacking: BTreeSet<u64> = theirs.difference(&held).map(|(hash, _)| *hash).collect();
            if !lacking.is_empty() && !self.hands_over_only {
                self.pull.push((span, lacking.into_iter().collect()));
            }
        }
        // As many as there were before, at most: nobody knows better.
        self.few.extend(rest.into_iter().map(|span| (span, FEW)));
        Ok(push)
    }

    /// Records have come that were asked for.
    fn records(
        &mut self,
        spans: Vec<Span>,
        hashes: Vec<Vec<u64>>,
        records: &[(Bytes, Bytes)],
        (done, next): (u32, Option<Bytes>),
    ) -> Result<(), Broken> {
        let is_asked = |(key, _): &(Bytes, Bytes)| {
            let is_of = |hashes: &Vec<u64>| hashes.is_empty() || hashes.binary_search(&xxh3_64(key)).is_ok();
            spans.iter().zip(&hashes).any(|(span, hashes)| span.contains(key) && is_of(hashes))
        };
        let done = usize::try_from(done).unwrap_or(usize::MAX);
        if !(1..=spans.len()).contains(&done) || !records.iter().all(is_asked) {
            return Err(Broken::Malformed);
        }
        let is_partly = next.is_some();
        let (_, rest) = told(spans, done, next)?;
        self.short += u32::from(!rest.is_empty());
        let hashes = hashes.into_iter().skip(done - usize::from(is_partly));
        self.pull.extend(rest.into_iter().zip(hashes));
        Ok(())
    }

    /// The next question. What is nearest to its end comes first, so that little waits: at most the parts of as many spans
    /// as one message asks about.
    fn next(&mut self, tree: &Tree, view: &impl View, budget: &mut Budget) {
        let grid = self.grid;
        self.number += 1;
        self.part(tree, view, budget);
        self.asked = if !self.pull.is_empty() {
            let count = within(self.pull.iter().rev().map(|(_, hashes)| hashes.len()), PULL_MAX);
            let mut pull = last(&mut self.pull, count);
            pull.sort();
            let (spans, hashes) = pull.into_iter().unzip();
            Some(Ask::Records(grid, Spans(spans), hashes))
        } else if !self.few.is_empty() {
            let count = within(self.few.iter().rev().map(|(_, records)| *records), READ_RECORDS_MAX);
            let mut few: Vec<Span> = last(&mut self.few, count).into_iter().map(|(span, _)| span).collect();
            few.sort();
            Some(Ask::Entries(grid, Spans(few)))
        } else if !self.parted.is_empty() {
            let mut parted = last(&mut self.parted, SPANS_MAX);
            parted.sort();
            Some(Ask::Spans(grid, Spans(parted)))
        } else if !self.open.is_empty() {
            // There is more to be read here first.
            Some(Ask::Spans(grid, Spans::default()))
        } else if !self.slices.is_empty() {
            Some(Ask::Leaves(grid, std::mem::take(&mut self.slices)))
        } else {
            None
        };
    }

    /// Parts what differs, as far as one question can ask about it.
    fn part(&mut self, tree: &Tree, view: &impl View, budget: &mut Budget) {
        while self.parted.len() < SPANS_MAX / 2 && self.few.len() < SPANS_MAX {
            let Some(span) = self.open.pop() else { return };
            match tree.split(&span, view, budget) {
                Split::Empty if self.hands_over_only => {}
                Split::Empty => self.pull.push((span, Vec::new())),
                Split::Few(records) => self.few.push((span, records)),
                Split::Parts(parts) => self.parted.extend(parts),
                Split::Later => {
                    self.open.push(span);
                    return;
                }
            }
        }
    }
}

/// The parts of which something was told, of the last of them up to a key; and what is left of them.
fn told(mut spans: Vec<Span>, count: usize, next: Option<Bytes>) -> Result<(Vec<Span>, Vec<Span>), Broken> {
    let mut rest = spans.split_off(count.min(spans.len()));
    if let Some(next) = next {
        let last = spans.last_mut().ok_or(Broken::Malformed)?;
        rest.insert(0, last.from(&next).ok_or(Broken::Malformed)?);
        last.end = Some(next);
    }
    Ok((spans, rest))
}

fn last<T>(from: &mut Vec<T>, most: usize) -> Vec<T> {
    from.split_off(from.len().saturating_sub(most))
}

/// How many of the first ones have at most so many records together: at least one.
fn within(records: impl Iterator<Item = usize>, most: usize) -> usize {
    let mut all = 0_usize;
    let is_within = |(at, records): &(usize, usize)| {
        all = all.saturating_add(*records);
        *at == 0 || all <= most
    };
    records.take(SPANS_MAX).enumerate().take_while(is_within).count()
}

const _: () = assert!(LEAVES == SLICES * SLICE_LEAVES, "slices hold all leaves");

#[cfg(test)]
mod tests;
