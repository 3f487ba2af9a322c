//! The reads that a copy coordinates. A read of one key is a page of it.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::command::{Read, ReadBasis, ReadResult};
use crate::ids::{Generation, ReplicaId, Token};
use crate::key::successor;
use crate::limits::SCAN_RECORDS_MAX;
use crate::quorum::copies::OutOfRange;
use crate::quorum::layout::Layout;
use crate::quorum::page::Page;
use crate::quorum::read::{ReadRound, ReadStep};
use crate::quorum::shown::{Resolve, Shown, shown};
use crate::time::Version;

/// Reads that one copy coordinates at a time. Each keeps pages of up to a mebibyte of up to seven copies, most keep far less.
pub(super) const READS_MAX: usize = 1_024;
/// Bytes of the pages that reads have been answered with and keep: beyond, none begins.
pub(super) const READS_BYTES_MAX: usize = 64 << 20;

/// What a client wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) start: Bytes,
    /// `None` = the shard's end.
    pub(super) end: Option<Bytes>,
    /// Records that each copy may look at, and that are shown.
    pub(super) limit: usize,
    is_one_key: bool,
}

/// A read that is under way.
#[derive(Debug)]
struct Reading {
    round: ReadRound,
    token: Token,
    wanted: Wanted,
    /// R for this read. `None` = the table's.
    asked: Option<usize>,
    deadline: u64,
    /// Bytes of the pages that it has.
    bytes: usize,
    /// Under which generation a repair of the copy itself waits for its log. `None` = none waits.
    own: Option<Generation>,
}

/// What rounds want done.
pub(super) type Steps = Vec<(u64, Vec<ReadStep>)>;

/// Whom to ask, and for how long.
pub(super) struct Asked<'a> {
    pub(super) layout: &'a Layout,
    /// Those that are asked first.
    pub(super) nearest: &'a [ReplicaId],
    pub(super) copies: Option<usize>,
    pub(super) ticks: u64,
    pub(super) deadline: u64,
}

/// Owner of the reads that are under way, by number.
#[derive(Debug, Default)]
pub(super) struct Reads {
    under_way: BTreeMap<u64, Reading>,
    bytes: usize,
}

impl Wanted {
    /// The part of a read that lies in a shard. `None` = its first key does not.
    pub(super) fn of(read: Read, end: Option<&Bytes>, contains: impl Fn(&Bytes) -> bool) -> Option<Self> {
        match read {
            Read::Get { key } => {
                contains(&key).then(|| Self { end: Some(successor(&key)), start: key, limit: 1, is_one_key: true })
            }
            Read::Scan { start, end: wanted, limit } => contains(&start).then(|| {
                let end = match (wanted, end) {
                    (Some(wanted), Some(end)) => Some(wanted.min(end.clone())),
                    (wanted, end) => wanted.or(end.cloned()),
                };
                Self { start, end, limit: limit.clamp(1, SCAN_RECORDS_MAX), is_one_key: false }
            }),
        }
    }

    /// True if no key can be in it.
    pub(super) fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// What a client is shown of a page. Of a key all or nothing: a page shows more than its limit only where one key has.
    pub(super) fn show(&self, (page, basis): (Page, ReadBasis), resolve: Resolve, wall_ms: u64) -> ReadResult {
        if self.is_one_key {
            let held = page.entries.first().map(|(_, record)| record);
            let Shown { records, context } = shown(&self.start, held, resolve, wall_ms);
            return ReadResult::Values { records, context: context.token(&self.start), basis };
        }
        let (mut records, mut next) = (Vec::new(), page.next);
        for (key, record) in page.entries {
            let more = shown(&key, Some(&record), resolve, wall_ms).records;
            if !records.is_empty() && records.len() + more.len() > self.limit {
                next = Some(key);
                break;
            }
            records.extend(more);
        }
        ReadResult::Page { records, next }
    }
}

impl Reads {
    pub(super) fn has_room(&self) -> bool {
        self.under_way.len() < READS_MAX && self.bytes < READS_BYTES_MAX
    }

    /// Number of reads that are under way.
    pub(super) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// # Errors
    ///
    /// Of an R that is not possible.
    pub(super) fn begin(
        &mut self,
        number: u64,
        token: Token,
        wanted: Wanted,
        asked: &Asked<'_>,
    ) -> Result<Vec<ReadStep>, OutOfRange> {
        let &Asked { layout, nearest, copies, ticks, deadline } = asked;
        let (round, steps) = ReadRound::begin(layout, nearest, copies, ticks, deadline)?;
        self.under_way.insert(number, Reading { round, token, wanted, asked: copies, deadline, bytes: 0, own: None });
        Ok(steps)
    }

    /// On what the answer of a read rests, with this absence of its page.
    pub(super) fn basis(&self, number: u64, absence: Version) -> ReadBasis {
        self.under_way.get(&number).map(|reading| reading.round.basis(absence)).unwrap_or_default()
    }

    /// What a read wants to see.
    pub(super) fn wanted(&self, number: u64) -> Option<&Wanted> {
        self.under_way.get(&number).map(|reading| &reading.wanted)
    }

    /// A copy has answered. What is no page of what was asked is ignored.
    pub(super) fn hear(
        &mut self,
        number: u64,
        (from, generation): (ReplicaId, Generation),
        page: Page,
        bytes: usize,
    ) -> Vec<ReadStep> {
        let Some(reading) = self.under_way.get_mut(&number) else { return Vec::new() };
        let wanted = &reading.wanted;
        if page.entries.len() > wanted.limit || !page.is_sound(&wanted.start, wanted.end.as_deref()) {
            return Vec::new();
        }
        reading.bytes += bytes;
        self.bytes += bytes;
        reading.round.hear(from, generation, page)
    }

    /// A copy holds a newer layout.
    pub(super) fn refused(&mut self, number: u64, from: ReplicaId, newer: Generation) -> Vec<ReadStep> {
        let reading = self.under_way.get_mut(&number);
        reading.map(|reading| reading.round.refused(from, newer)).unwrap_or_default()
    }

    /// A copy has what it lacked.
    pub(super) fn repaired(&mut self, number: u64, by: ReplicaId, generation: Generation) -> Vec<ReadStep> {
        let reading = self.under_way.get_mut(&number);
        reading.map(|reading| reading.round.repaired(by, generation)).unwrap_or_default()
    }

    pub(super) fn tick(&mut self, ticks: u64) -> Steps {
        let steps = self.under_way.iter_mut().map(|(number, reading)| (*number, reading.round.tick(ticks)));
        steps.filter(|(_, steps)| !steps.is_empty()).collect()
    }

    /// The copy holds another layout: all begin anew, and end when they were to end. Those whose R is not possible any more
    /// come with the reason.
    pub(super) fn renew(
        &mut self,
        layout: &Layout,
        nearest: &[ReplicaId],
        ticks: u64,
    ) -> (Steps, Vec<(Token, OutOfRange)>) {
        let (mut steps, mut ended) = (Vec::new(), Vec::new());
        for (number, reading) in std::mem::take(&mut self.under_way) {
            let Reading { token, wanted, asked: copies, deadline, .. } = reading;
            match self.begin(number, token, wanted, &Asked { layout, nearest, copies, ticks, deadline }) {
                Ok(first) => steps.push((number, first)),
                Err(error) => ended.push((token, error)),
            }
        }
        self.bytes = 0;
        (steps, ended)
    }

    /// What a copy is to be sent.
    pub(super) fn lacking(&self, number: u64, copy: ReplicaId) -> Vec<(Bytes, Bytes)> {
        let lacking = self.under_way.get(&number).map(|reading| reading.round.lacking(copy)).unwrap_or_default();
        lacking.into_iter().map(|(key, record)| (key, record.encode())).collect()
    }

    /// True if a repair of the copy itself waits for its log, or if there is no such read.
    pub(super) fn repairs_own(&self, number: u64, generation: Generation) -> bool {
        self.under_way.get(&number).is_none_or(|reading| reading.own == Some(generation))
    }

    /// A repair of the copy itself waits for its log.
    pub(super) fn repair_own(&mut self, number: u64, generation: Generation) {
        if let Some(reading) = self.under_way.get_mut(&number) {
            reading.own = Some(generation);
        }
    }

    /// The read is answered: whom, and what was wanted.
    pub(super) fn end(&mut self, number: u64) -> Option<(Token, Wanted)> {
        let reading = self.under_way.remove(&number)?;
        self.bytes = self.bytes.saturating_sub(reading.bytes);
        Some((reading.token, reading.wanted))
    }

    /// Ends all; those who wait for an answer.
    pub(super) fn end_all(&mut self) -> Vec<Token> {
        self.bytes = 0;
        std::mem::take(&mut self.under_way).into_values().map(|reading| reading.token).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::copies::Copies;
    use crate::record::{Context, Stamp, Stored, Value};

    const GENERATION: Generation = Generation(3);

    fn layout(generation: Generation, members: &[u64]) -> Layout {
        let members = members.iter().copied().map(ReplicaId).collect();
        Layout::settled(generation, Copies { members, write: 2, read: 2 })
    }

    fn scan(start: &'static str, end: Option<&'static str>, limit: usize) -> Read {
        Read::Scan { start: start.into(), end: end.map(Bytes::from), limit }
    }

    fn wanted(read: Read) -> Option<Wanted> {
        let (start, end) = (Bytes::from_static(b"b"), Bytes::from_static(b"m"));
        Wanted::of(read, Some(&end), |key| (start.clone()..end.clone()).contains(key))
    }

    #[test]
    fn a_read_is_of_the_shards_part_of_its_range() {
        let range = |read| wanted(read).map(|wanted| (wanted.start, wanted.end, wanted.limit));
        let text = Bytes::from_static;
        assert_eq!(range(Read::Get { key: text(b"c") }), Some((text(b"c"), Some(text(b"c\0")), 1)));
        assert_eq!(range(Read::Get { key: text(b"a") }), None);
        assert_eq!(range(scan("c", None, 0)), Some((text(b"c"), Some(text(b"m")), 1)));
        assert_eq!(range(scan("c", Some("d"), 7)), Some((text(b"c"), Some(text(b"d")), 7)));
        assert_eq!(range(scan("c", Some("z"), usize::MAX)), Some((text(b"c"), Some(text(b"m")), SCAN_RECORDS_MAX)));
        assert_eq!(range(scan("m", None, 7)), None);
        assert!(wanted(scan("d", Some("c"), 1)).is_some_and(|wanted| wanted.is_empty()));
    }

    fn record(values: u64) -> Stored {
        let value = |version| Value { stamp: Stamp::lowest(Version(version)), ..Value::default() };
        let siblings = (1..values).rev().map(value).collect();
        Stored { newest: value(values), siblings, context: Context::default() }
    }

    #[test]
    fn a_page_shows_all_of_a_key_or_nothing() {
        let page = |counts: &[u64]| Page {
            entries: (b'c'..).zip(counts).map(|(key, count)| (Bytes::from(vec![key]), record(*count))).collect(),
            next: Some(Bytes::from_static(b"k")),
            ..Page::default()
        };
        let shown = |counts: &[u64], limit| {
            let wanted = wanted(scan("c", None, limit)).expect("it is in bounds");
            let ReadResult::Page { records, next } =
                wanted.show((page(counts), ReadBasis::default()), Resolve::Siblings, 0)
            else {
                panic!()
            };
            (records.len(), next.expect("there is more"))
        };
        assert_eq!(shown(&[1, 1, 1], 3), (3, Bytes::from_static(b"k")));
        assert_eq!(shown(&[1, 2, 1], 2), (1, Bytes::from_static(b"d")));
        assert_eq!(shown(&[3, 1], 2), (3, Bytes::from_static(b"d")));
    }

    #[test]
    fn pages_that_nobody_was_asked_for_are_ignored_and_those_that_are_kept_count() {
        let mut reads = Reads::default();
        let layout = layout(GENERATION, &[1, 2, 3]);
        let asked = Asked { layout: &layout, nearest: &[], copies: None, ticks: 0, deadline: 100 };
        let of = wanted(scan("c", Some("e"), 2)).expect("it is in bounds");
        reads.begin(1, Token(1), of, &asked).expect("it is possible");
        let page = |key: &'static str| Page { entries: vec![(Bytes::from(key), record(1))], ..Page::default() };
        let mut hear = |from, page, bytes| reads.hear(1, (ReplicaId(from), GENERATION), page, bytes).len();
        assert_eq!((hear(1, page("z"), 9), hear(1, page("c"), 5), hear(2, page("c"), 5)), (0, 0, 1));
        assert_eq!(reads.bytes, 10);
        assert_eq!(reads.end(1).map(|(token, _)| token), Some(Token(1)));
        assert_eq!((reads.bytes, reads.len()), (0, 0));
    }

    #[test]
    fn another_layout_begins_all_anew_and_ends_those_that_ask_for_more_copies_than_there_are() {
        let mut reads = Reads::default();
        let three = layout(GENERATION, &[1, 2, 3]);
        for (number, copies) in [(1, None), (2, Some(3))] {
            let asked = Asked { layout: &three, nearest: &[], copies, ticks: 0, deadline: 100 };
            let of = wanted(scan("c", None, 2)).expect("it is in bounds");
            reads.begin(number, Token(number), of, &asked).expect("it is possible");
        }
        let (steps, ended) = reads.renew(&layout(Generation(4), &[2, 4]), &[ReplicaId(4)], 5);
        let asked = [4, 2].map(|copy| ReadStep::Ask(ReplicaId(copy), Generation(4))).to_vec();
        assert_eq!(steps, [(1, asked)]);
        assert_eq!(ended.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [Token(2)]);
        assert_eq!(reads.tick(100), [(1, vec![ReadStep::Unreachable])]);
    }
}
