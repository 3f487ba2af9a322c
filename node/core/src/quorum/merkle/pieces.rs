//! Sums of parts of leaves, so that what differs in a large leaf is found without reading all of it again: however keys lie
//! in leaves, each part has few records.
//!
//! A leaf is one piece at first, of which the sum is known. Whoever compares cuts it: the part that is read gets a sum of
//! its own, and the rest has what is left of it. So pieces always make up their leaf, and each change of a record goes into
//! one of them (as in Meyer's range-based set reconciliation, 2022). They are in memory only; after a start each leaf is read once more, if it differs at all. How much is read
//! at a time is bounded: what is not cut yet is cut further with the next question.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use super::digest;
use super::span::{Span, Sum, separator};
use super::view::View;

/// Records, and their bytes, that are read for one question: some milliseconds' work.
pub(super) const READ_RECORDS_MAX: usize = 2_048;
/// Bytes of these; the last record may be of any size.
pub(super) const READ_BYTES_MAX: usize = 1 << 20;
/// Records of a piece that was cut because nothing was known of it.
const PIECE_RECORDS: usize = 1_024;
/// Pieces into which one is cut, or grouped.
const WAYS: usize = 16;
/// Records of the smallest pieces, about.
const SMALL_RECORDS: u32 = 16;
/// Records that are told one by one rather than cut further.
pub(super) const FEW: usize = 32;
/// Memory of one tree's pieces, about, unless it is told to have less: enough for some 10,000 of them.
const MEMORY_MAX: usize = 1 << 20;
/// Memory of a piece besides its key: about.
const AROUND: usize = 72;

/// What may still be read for one question.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    records: usize,
    bytes: usize,
}

impl Budget {
    /// For one question.
    pub(super) fn new() -> Self {
        Self { records: READ_RECORDS_MAX, bytes: READ_BYTES_MAX }
    }

    /// True if nothing more is to be read.
    pub(super) fn is_spent(&self) -> bool {
        self.records == 0 || self.bytes == 0
    }

    /// True if something was read.
    pub(super) fn is_used(&self) -> bool {
        self.records < READ_RECORDS_MAX
    }

    /// A record of so many bytes is read.
    pub(super) fn read(&mut self, bytes: usize) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// How a span that differs is compared further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Split {
    /// There is no record in it.
    Empty,
    /// It has so few records that they are told one by one.
    Few(usize),
    /// It has so many records, each told by one of these.
    Parts(Vec<Span>),
    /// More was to be read than was allowed.
    Later,
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    sum: u128,
    /// `None` = they were not counted.
    records: Option<u32>,
}

/// A leaf's pieces, by where each begins.
type Leaf = BTreeMap<Bytes, Piece>;

/// A leaf, as its tree knows it.
pub(super) struct Whole {
    pub(super) leaf: u16,
    pub(super) span: Span,
    pub(super) sum: u128,
}

/// Owner of the pieces of a tree's leaves. Looking at them cuts them, and changes no sum of anything.
#[derive(Debug, Clone)]
pub(super) struct Pieces {
    leaves: RefCell<BTreeMap<u16, Leaf>>,
    memory_max: usize,
}

impl Default for Pieces {
    fn default() -> Self {
        Self { leaves: RefCell::default(), memory_max: MEMORY_MAX }
    }
}

impl Pieces {
    /// Forgets the pieces of all leaves: they are counted anew when a comparison asks for them.
    pub(super) fn clear(&mut self) {
        self.leaves.get_mut().clear();
    }

    /// They may take so much memory from now on, and no more than [`MEMORY_MAX`]; with 0 they are forgotten.
    pub(super) fn limit(&mut self, memory_max: usize) {
        let before = std::mem::replace(&mut self.memory_max, memory_max.min(MEMORY_MAX));
        if self.memory_max == 0 {
            self.clear();
        } else if self.memory_max < before {
            self.trim();
        }
    }

    /// A record has changed: what its piece has more by it, and whether it has come or gone.
    pub(super) fn changed(&mut self, leaf: u16, key: &[u8], more: u128, (was, is): (bool, bool)) {
        let pieces = self.leaves.get_mut().get_mut(&leaf);
        let below = (Bound::Unbounded, Bound::Included(key));
        let Some((_, piece)) = pieces.and_then(|pieces| pieces.range_mut::<[u8], _>(below).next_back()) else { return };
        piece.sum = piece.sum.wrapping_add(more);
        let count = |records: u32| (records + u32::from(is && !was)).saturating_sub(u32::from(was && !is));
        piece.records = piece.records.filter(|records| *records < u32::MAX).map(count);
    }

    /// What a span of a leaf has. `None` = more was to be read than is allowed.
    pub(super) fn sum(&self, of: &Whole, span: &Span, view: &impl View, budget: &mut Budget) -> Option<Sum> {
        let mut leaves = self.leaves.borrow_mut();
        if *span == of.span && !leaves.contains_key(&of.leaf) {
            return Some(Sum { sum: of.sum, records: None });
        }
        let pieces = leaves.entry(of.leaf).or_insert_with(|| uncut(of));
        let is_cut = cut_out(pieces, of, span, view, budget);
        is_cut.then(|| {
            within(pieces, span).fold(Sum { sum: 0, records: Some(0) }, |all, (_, piece)| Sum {
                sum: all.sum.wrapping_add(piece.sum),
                records: all.records.zip(piece.records).map(|(all, more)| all.saturating_add(more)),
            })
        })
    }

    /// Parts a span of a leaf.
    pub(super) fn split(&self, of: &Whole, span: &Span, view: &impl View, budget: &mut Budget) -> Split {
        let mut leaves = self.leaves.borrow_mut();
        let pieces = leaves.entry(of.leaf).or_insert_with(|| uncut(of));
        if !cut_out(pieces, of, span, view, budget) {
            return Split::Later;
        }
        let (mut count, mut records) = (0, Some(0));
        for (_, piece) in within(pieces, span) {
            count += 1;
            let more = piece.records.and_then(|records| usize::try_from(records).ok());
            records = records.zip(more).map(|(all, more): (usize, usize)| all.saturating_add(more));
        }
        match records {
            Some(0) => return Split::Empty,
            Some(records) if records <= FEW => return Split::Few(records),
            Some(_) | None if count > 1 => {}
            Some(_) | None if budget.is_spent() => return Split::Later,
            Some(_) | None => match refine(pieces, span, view, budget) {
                Some(0) => return Split::Empty,
                Some(few) if few <= FEW => return Split::Few(few),
                Some(_) | None => {}
            },
        }
        Split::Parts(parts(pieces, span))
    }

    /// Lets neighbours be one piece again where there are many small ones.
    pub(super) fn trim(&self) {
        let mut leaves = self.leaves.borrow_mut();
        let memory = |leaves: &BTreeMap<u16, Leaf>| -> usize {
            leaves.values().flat_map(BTreeMap::keys).map(|start| start.len() + AROUND).sum()
        };
        if memory(&leaves) <= self.memory_max {
            return;
        }
        let mut most = 2 * SMALL_RECORDS;
        while memory(&leaves) > self.memory_max / 2 && most < u32::MAX / 4 {
            leaves.values_mut().for_each(|pieces| *pieces = joined(std::mem::take(pieces), most));
            leaves.retain(|_, pieces| pieces.len() > 1);
            most *= 4;
        }
        if memory(&leaves) > self.memory_max {
            leaves.clear();
        }
    }

    /// Number of pieces.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.leaves.borrow().values().map(BTreeMap::len).sum()
    }
}

fn uncut(of: &Whole) -> Leaf {
    Leaf::from([(of.span.start.clone(), Piece { sum: of.sum, records: None })])
}

/// The pieces of a span that is cut out.
fn within<'a>(pieces: &'a Leaf, span: &'a Span) -> impl Iterator<Item = (&'a Bytes, &'a Piece)> {
    pieces.range(span.start.clone()..).take_while(|(start, _)| span.contains(start))
}

/// Cuts where a span begins and where it ends. False = more was to be read than is allowed.
fn cut_out(pieces: &mut Leaf, of: &Whole, span: &Span, view: &impl View, budget: &mut Budget) -> bool {
    let ends_with_leaf = span.end == of.span.end;
    cut(pieces, &span.start, view, budget)
        && (ends_with_leaf || span.end.as_ref().is_none_or(|end| cut(pieces, end, view, budget)))
}

/// Cuts at a key, or as far before it as may be read.
fn cut(pieces: &mut Leaf, at: &Bytes, view: &impl View, budget: &mut Budget) -> bool {
    let Some((start, _)) = pieces.range::<Bytes, _>(..=at).next_back() else { return false };
    if start == at {
        return true;
    }
    if budget.is_spent() {
        return false;
    }
    let (start, mut read, mut stopped) = (start.clone(), Piece { sum: 0, records: Some(0) }, None);
    let mut last = Bytes::new();
    view.walk(&Span { start: start.clone(), end: Some(at.clone()) }, &mut |key, record, bytes| {
        if budget.is_spent() {
            stopped = Some(separator(&last, key));
            return ControlFlow::Break(());
        }
        budget.read(bytes);
        last = key.clone();
        read = Piece {
            sum: read.sum.wrapping_add(digest(key, record)),
            records: read.records.map(|records| records.saturating_add(1)),
        };
        ControlFlow::Continue(())
    });
    let is_done = stopped.is_none();
    divide(pieces, &start, read, stopped.unwrap_or_else(|| at.clone()));
    is_done
}

/// What was read of a piece, from its beginning up to a key, becomes a piece of its own.
fn divide(pieces: &mut Leaf, start: &Bytes, read: Piece, at: Bytes) {
    let Some(piece) = pieces.get_mut(start) else { return };
    let records = piece.records.zip(read.records).map(|(all, read)| all.saturating_sub(read));
    let rest = Piece { sum: piece.sum.wrapping_sub(read.sum), records };
    *piece = read;
    pieces.insert(at, rest);
}

/// Reads a span that is one piece, and cuts it: evenly if that is all of it, else behind what was read. Gives the number of
/// its records, if all were read.
fn refine(pieces: &mut Leaf, span: &Span, view: &impl View, budget: &mut Budget) -> Option<usize> {
    let (mut read, mut next) = (Vec::new(), None);
    view.walk(span, &mut |key, record, bytes| {
        if read.len() == PIECE_RECORDS || budget.is_spent() {
            next = Some(key.clone());
            return ControlFlow::Break(());
        }
        budget.read(bytes);
        read.push((key.clone(), digest(key, record)));
        ControlFlow::Continue(())
    });
    let is_uncut = next.is_some() || read.len() <= FEW;
    let each = if is_uncut { read.len().max(1) } else { read.len().div_ceil(WAYS).max(FEW / 2) };
    // Where two keys are parted the least that tells them apart is enough: questions name these places.
    let parted = |at: usize| separator(&read[at - 1].0, &read[at].0);
    let starts: Vec<Bytes> = (each..read.len()).step_by(each).map(parted).collect();
    let next = next.map(|next| separator(read.last().map_or(&[][..], |(key, _)| &key[..]), &next));
    let (mut start, mut read_on) = (span.start.clone(), read.chunks(each));
    let piece_of = |chunk: &[(Bytes, u128)]| Piece {
        sum: chunk.iter().fold(0, |sum, (_, digest)| sum.wrapping_add(*digest)),
        records: u32::try_from(chunk.len()).ok(),
    };
    for at in starts.into_iter().chain(next.clone()) {
        let piece = piece_of(read_on.next().unwrap_or_default());
        divide(pieces, &start, piece, at.clone());
        start = at;
    }
    if next.is_some() {
        return None;
    }
    // Its last part was read to its end.
    if let Some(last) = pieces.get_mut(&start) {
        last.records = u32::try_from(read_on.next().map_or(0, <[_]>::len)).ok();
    }
    Some(read.len())
}

/// The pieces of a span, in so few groups as one message asks about.
fn parts(pieces: &Leaf, span: &Span) -> Vec<Span> {
    let starts: Vec<&Bytes> = within(pieces, span).map(|(start, _)| start).collect();
    let first: Vec<&Bytes> = starts.iter().step_by(starts.len().div_ceil(WAYS).max(1)).copied().collect();
    let ends = first.iter().skip(1).map(|end| Some((*end).clone())).chain([span.end.clone()]);
    first.iter().zip(ends).map(|(start, end)| Span { start: (*start).clone(), end }).collect()
}

/// Neighbours that have no more records together become one.
fn joined(pieces: Leaf, most: u32) -> Leaf {
    let mut joined: Vec<(Bytes, Piece)> = Vec::new();
    for (start, piece) in pieces {
        let records = joined.last().and_then(|(_, last)| last.records?.checked_add(piece.records?));
        match joined.last_mut() {
            Some((_, last)) if records.is_some_and(|records| records <= most) => {
                *last = Piece { sum: last.sum.wrapping_add(piece.sum), records };
            }
            Some(_) | None => joined.push((start, piece)),
        }
    }
    joined.into_iter().collect()
}

#[cfg(test)]
mod tests;
