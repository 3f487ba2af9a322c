//! The writes that a copy coordinates. A write of several keys is one round: one message to each copy, which acknowledges
//! only if it has taken all of it.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::ids::{Generation, ReplicaId, Token};
use crate::planted::{Planted, is_planted};
use crate::quorum::layout::Layout;
use crate::quorum::write::{Said, WriteRound, WriteStep};
use crate::record::Stamp;
use crate::time::Version;

/// Writes that one copy coordinates at a time. Each lives for five seconds at most, and for one once it is answered: half as
/// many again as a disk makes durable in that time one by one.
pub(super) const WRITES_MAX: usize = 8_192;
/// Bytes of these together: of the largest batches a dozen.
pub(super) const WRITES_BYTES_MAX: usize = 64 << 20;
/// Bytes of one write of several keys, with what the keys hold besides: a quarter of what a frame between nodes may hold.
/// One key alone may have more.
pub(super) const WRITE_BYTES_MAX: usize = 16 << 20;

/// Key, record and stamp of each write: what goes to each copy.
pub(super) type Entries = Vec<(Bytes, Bytes, Stamp)>;

/// A write that is under way.
#[derive(Debug)]
pub(super) struct Writing {
    round: WriteRound,
    entries: Entries,
    bytes: usize,
    /// `None` = the client has its answer.
    token: Option<Token>,
    /// Under which generation the copy's own entry waits for its log. `None` = it waits no more.
    own: Option<Generation>,
}

/// What a round wants done.
pub(super) type Steps = Vec<(u64, Vec<WriteStep>)>;

/// Owner of the writes that are under way, by number.
#[derive(Debug, Default)]
pub(super) struct Writes {
    under_way: BTreeMap<u64, Writing>,
    bytes: usize,
}

impl Writes {
    /// True if so many bytes more may be under way.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.under_way.len() < WRITES_MAX && (self.bytes + bytes <= WRITES_BYTES_MAX || self.under_way.is_empty())
    }

    /// Number of clients that wait for an answer.
    pub(super) fn waiting(&self) -> usize {
        self.under_way.values().filter(|writing| writing.token.is_some()).count()
    }

    /// Number of writes that are under way.
    pub(super) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Number of writes that another copy than this one has not confirmed yet, however many have succeeded.
    pub(super) fn unconfirmed(&self, own: ReplicaId) -> u64 {
        let is_it = |writing: &&Writing| writing.round.lacks_another(own) && !is_planted(Planted::WritesUnderWayUntold);
        self.under_way.values().filter(is_it).count() as u64
    }

    pub(super) fn begin(&mut self, number: u64, token: Token, round: WriteRound, entries: Entries) {
        let bytes = bytes_of(&entries);
        self.bytes += bytes;
        self.under_way.insert(number, Writing { round, entries, bytes, token: Some(token), own: None });
    }

    /// A copy has said something of a write.
    pub(super) fn hear(
        &mut self,
        number: u64,
        (from, generation): (ReplicaId, Generation),
        said: Said,
        ticks: u64,
    ) -> Vec<WriteStep> {
        let writing = self.under_way.get_mut(&number);
        writing.map(|writing| writing.round.hear(from, generation, said, ticks)).unwrap_or_default()
    }

    pub(super) fn tick(&mut self, ticks: u64) -> Steps {
        self.each(|round| round.tick(ticks))
    }

    /// The copy holds another layout.
    pub(super) fn renew(&mut self, layout: &Layout, ticks: u64) -> Steps {
        self.each(|round| round.renew(layout, ticks))
    }

    fn each(&mut self, step: impl Fn(&mut WriteRound) -> Vec<WriteStep>) -> Steps {
        let steps = self.under_way.iter_mut().map(|(number, writing)| (*number, step(&mut writing.round)));
        steps.filter(|(_, steps)| !steps.is_empty()).collect()
    }

    /// What is sent to each copy.
    pub(super) fn entries(&self, number: u64) -> Option<&Entries> {
        self.under_way.get(&number).map(|writing| &writing.entries)
    }

    /// The copy's own entry is about to wait for its log. False = it waits already.
    pub(super) fn write_own(&mut self, number: u64, generation: Generation) -> bool {
        let writing = self.under_way.get_mut(&number);
        writing.is_some_and(|writing| writing.own.replace(generation) != Some(generation))
    }

    /// The copy's own entry is applied.
    pub(super) fn wrote_own(&mut self, number: u64, generation: Generation) {
        if let Some(writing) = self.under_way.get_mut(&number) {
            writing.own.take_if(|waits| *waits == generation);
        }
    }

    /// Whom to answer, once, and the highest version of the write.
    pub(super) fn answer(&mut self, number: u64) -> Option<(Token, Version)> {
        let writing = self.under_way.get_mut(&number)?;
        let version = writing.entries.iter().map(|(.., stamp)| stamp.version).max().unwrap_or_default();
        writing.token.take().map(|token| (token, version))
    }

    /// Forgets a write for which nothing is left to be done.
    pub(super) fn forget_if_over(&mut self, number: u64) {
        let is_over = |writing: &Writing| writing.round.is_over();
        if self.under_way.get(&number).is_some_and(is_over)
            && let Some(writing) = self.under_way.remove(&number)
        {
            self.bytes = self.bytes.saturating_sub(writing.bytes);
        }
    }

    /// Ends all; those who wait for an answer.
    pub(super) fn end(&mut self) -> Vec<Token> {
        self.bytes = 0;
        std::mem::take(&mut self.under_way).into_values().filter_map(|writing| writing.token).collect()
    }
}

pub(super) fn bytes_of(entries: &Entries) -> usize {
    entries.iter().map(|(key, record, _)| key.len() + record.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::copies::Copies;

    const GENERATION: Generation = Generation(3);

    fn layout(generation: Generation) -> Layout {
        let members = [1, 2, 3].map(ReplicaId).to_vec();
        Layout::settled(generation, Copies { members, write: 2, read: 2 })
    }

    fn begun(writes: &mut Writes, number: u64, bytes: usize) {
        let (round, _) = WriteRound::begin(&layout(GENERATION), None, |_| false, 0, 100).expect("it is possible");
        let stamp = |version| Stamp::lowest(Version(version));
        let entries = vec![(Bytes::new(), vec![0; bytes].into(), stamp(7)), (Bytes::new(), Bytes::new(), stamp(5))];
        writes.begin(number, Token(number), round, entries);
    }

    #[test]
    fn a_write_is_answered_once_with_its_highest_version_and_forgotten_when_all_have_it() {
        let mut writes = Writes::default();
        begun(&mut writes, 1, 10);
        let mut hear = |from| writes.hear(1, (ReplicaId(from), GENERATION), Said::Durable, 0).len();
        assert_eq!((hear(1), hear(2), hear(3)), (0, 1, 0));
        assert_eq!((writes.answer(1), writes.answer(1)), (Some((Token(1), Version(7))), None));
        writes.forget_if_over(1);
        assert_eq!((writes.len(), writes.bytes), (0, 0));
        assert!(writes.hear(1, (ReplicaId(1), GENERATION), Said::Durable, 0).is_empty(), "late");
    }

    #[test]
    fn writes_are_bounded_by_number_and_bytes_but_for_a_single_one() {
        let mut writes = Writes::default();
        assert!(writes.has_room(2 * WRITES_BYTES_MAX));
        begun(&mut writes, 1, WRITES_BYTES_MAX);
        assert!(writes.has_room(0) && !writes.has_room(1));
        assert_eq!(writes.end(), [Token(1)]);
        (0..WRITES_MAX as u64).for_each(|number| begun(&mut writes, number, 0));
        assert!(!writes.has_room(0));
    }

    #[test]
    fn the_own_entry_waits_once_for_each_layout() {
        let mut writes = Writes::default();
        begun(&mut writes, 1, 0);
        assert!(writes.write_own(1, GENERATION) && !writes.write_own(1, GENERATION));
        assert!(writes.write_own(1, Generation(4)));
        writes.wrote_own(1, GENERATION);
        assert!(!writes.write_own(1, Generation(4)), "the second one waits yet");
        writes.wrote_own(1, Generation(4));
        assert!(writes.write_own(1, Generation(4)));
        assert!(!writes.write_own(2, GENERATION), "there is no such write");
    }
}
