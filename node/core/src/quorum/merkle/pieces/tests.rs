//! Claims about the parts into which leaves are cut.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::view::Visit;
use super::*;
use crate::record::{Context, Stamp, Stored, Value};
use crate::time::Version;

const LEAF: u16 = 7;

/// Records of one leaf, and how it is cut.
#[derive(Default)]
struct Copy {
    records: BTreeMap<Bytes, Stored>,
    sum: u128,
    pieces: Pieces,
    read: std::cell::Cell<usize>,
}

impl View for Copy {
    fn walk(&self, span: &Span, visit: &mut Visit<'_>) {
        for (key, record) in self.records.range(span.start.clone()..).take_while(|(key, _)| span.contains(key)) {
            self.read.set(self.read.get() + 1);
            if visit(key, record, record.newest.value.len()).is_break() {
                break;
            }
        }
    }

    fn get(&self, key: &[u8]) -> Option<Stored> {
        self.records.get(key).cloned()
    }

    fn absence(&self) -> Version {
        Version(0)
    }
}

fn record(version: u64, bytes: usize) -> Stored {
    let value = Value { stamp: Stamp::lowest(Version(version)), value: vec![0; bytes].into(), ..Value::default() };
    Stored::new(value, Context::default())
}

fn key(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

fn whole() -> Span {
    Span { start: Bytes::new(), end: None }
}

fn span(start: u64, end: u64) -> Span {
    Span { start: key(start), end: Some(key(end)) }
}

impl Copy {
    fn of(records: u64, bytes: usize) -> Self {
        let mut copy = Self::default();
        (0..records).for_each(|number| copy.put(number, Some(record(1, bytes))));
        copy
    }

    fn put(&mut self, number: u64, new: Option<Stored>) {
        let key = key(number);
        let old = match new.clone() {
            Some(new) => self.records.insert(key.clone(), new),
            None => self.records.remove(&key),
        };
        let count = |record: Option<&Stored>| record.map_or(0, |record| digest(&key, record));
        let more = count(new.as_ref()).wrapping_sub(count(old.as_ref()));
        self.pieces.changed(LEAF, &key, more, (old.is_some(), new.is_some()));
        self.sum = self.sum.wrapping_add(more);
    }

    fn leaf(&self) -> Whole {
        Whole { leaf: LEAF, span: whole(), sum: self.sum }
    }

    fn sum(&self, span: &Span, budget: &mut Budget) -> Option<Sum> {
        self.pieces.sum(&self.leaf(), span, self, budget)
    }

    fn split(&self, span: &Span) -> Split {
        let before = self.read.get();
        let split = self.pieces.split(&self.leaf(), span, self, &mut Budget::new());
        assert!(self.read.get() - before <= READ_RECORDS_MAX + 3, "a look is short");
        split
    }

    /// The sum, however many looks that takes.
    fn summed(&self, span: &Span) -> Sum {
        let found = (0..1_000).find_map(|_| self.sum(span, &mut Budget::new()));
        found.expect("each look gets on")
    }

    fn counted(&self, span: &Span) -> (u128, usize) {
        let of = self.records.iter().filter(|(key, _)| span.contains(key));
        of.fold((0, 0), |(sum, records), (key, record)| (digest(key, record).wrapping_add(sum), records + 1))
    }

    fn check(&self, span: &Span) {
        let (found, (sum, records)) = (self.summed(span), self.counted(span));
        assert_eq!(found.sum, sum, "{span:?}");
        assert!(found.records.is_none_or(|found| found as usize == records), "{span:?}: {found:?}, not {records}");
    }
}

/// All parts that a span ends in, and the most records that one of them has.
fn parted(copy: &Copy, of: Span) -> (usize, usize) {
    let (mut open, mut parts, mut most) = (vec![of], 0, 0);
    while let Some(span) = open.pop() {
        match copy.split(&span) {
            Split::Parts(parts) => {
                assert!(parts.len() > 1 && parts.len() <= WAYS, "{} parts", parts.len());
                assert_eq!((&parts[0].start, &parts[parts.len() - 1].end), (&span.start, &span.end));
                assert!(parts.windows(2).all(|two| two[0].end.as_ref() == Some(&two[1].start)), "nothing is between");
                open.extend(parts);
            }
            Split::Few(records) => {
                assert_eq!(records, copy.counted(&span).1);
                (parts, most) = (parts + 1, records.max(most));
            }
            Split::Empty => assert_eq!(copy.counted(&span).1, 0),
            Split::Later => open.push(span),
        }
    }
    (parts, most)
}

#[test]
fn a_leaf_is_parted_until_few_records_are_left_and_each_look_is_short() {
    for (records, bytes) in [(0, 0), (1, 0), (FEW as u64, 9), (FEW as u64 + 1, 9), (20_000, 9), (60, READ_BYTES_MAX)] {
        let copy = Copy::of(records, bytes);
        let (parts, most) = parted(&copy, whole());
        assert!(most <= FEW && parts as u64 >= records.div_ceil(FEW as u64), "{parts} parts of {records} records");
        copy.check(&whole());
    }
}

#[test]
fn what_was_cut_is_not_read_again() {
    let copy = Copy::of(20_000, 9);
    let part = span(5_000, 15_000);
    copy.check(&part);
    copy.read.set(0);
    copy.check(&part);
    assert_eq!(copy.read.get(), 0);
    copy.check(&span(5_000, 5_100));
    assert!(copy.read.get() <= READ_RECORDS_MAX + 1);
}

#[test]
fn more_than_may_be_read_is_read_by_and_by() {
    let copy = Copy::of(20_000, 9);
    let looks = (1..100).find(|_| copy.sum(&span(15_000, 15_001), &mut Budget::new()).is_some());
    assert_eq!(looks, Some(15_000 / READ_RECORDS_MAX + 1));
    let copy = Copy::of(9, READ_BYTES_MAX);
    let looks = (1..100).find(|_| copy.sum(&span(8, 9), &mut Budget::new()).is_some());
    assert_eq!(looks, Some(9));
}

#[test]
fn pieces_take_little_memory() {
    let copy = Copy::of(100_000, 0);
    for start in 0..30_000 {
        if copy.sum(&span(start * 3, start * 3 + 3), &mut Budget::new()).is_none() {
            copy.check(&span(start * 3, start * 3 + 3));
        }
        if start % 100 == 0 {
            copy.pieces.trim();
            assert!(copy.pieces.len() < MEMORY_MAX / AROUND + 1);
        }
    }
    assert!(copy.pieces.len() > 1_000, "they are not forgotten without need");
    copy.check(&span(30_000, 60_000));
    copy.check(&whole());
}

#[test]
fn pieces_are_forgotten_where_they_may_take_no_memory_and_become_fewer_where_less() {
    let mut copy = Copy::of(20_000, 0);
    (0..600).for_each(|part| copy.check(&span(part * 30, part * 30 + 30)));
    assert!(copy.pieces.len() > 600);
    copy.pieces.limit(100 * AROUND);
    assert!(copy.pieces.len() < 100, "{} pieces", copy.pieces.len());
    copy.check(&whole());
    copy.pieces.limit(0);
    assert_eq!(copy.pieces.len(), 0);
    copy.pieces.limit(usize::MAX);
    copy.check(&span(5_000, 5_100));
    assert!(copy.pieces.len() > 0);
}

proptest! {
    #[test]
    fn sums_are_those_of_the_records_whatever_is_cut_and_changed(
        steps in proptest::collection::vec((0..3_000_u64, 0..3_000_u64, 0..6_u8), 1..60),
    ) {
        let mut copy = Copy::of(3_000, 9);
        for (version, (one, other, what)) in (2..).zip(steps) {
            let part = span(one.min(other), one.max(other) + 1);
            match what {
                0 => copy.put(one, None),
                1 | 2 => copy.put(one, Some(record(version, 9))),
                3 => drop(copy.split(&whole())),
                4 => drop(copy.split(&part)),
                _ => copy.check(&part),
            }
        }
        copy.check(&whole());
        copy.check(&span(1_000, 2_000));
        parted(&copy, span(500, 2_500));
    }
}
