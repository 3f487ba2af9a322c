//! What waits for the node's log. All that changes what a copy holds goes through it, in one order, and is applied when it
//! is durable there; what is told then waits with it.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::codec;
use crate::ids::{Generation, ReplicaId, ShardId};
use crate::log::{EntryKind, LogEntry, LogWrite};
use crate::quorum::convergence::Then;
use crate::quorum::journal::Journaled;
use crate::quorum::message::Entry;
use crate::record::Stamp;

/// Entries that may wait when another copy's message comes; then it counts as lost, and is sent again. A disk makes some
/// hundred batches of them durable in the second in which a message is sent again.
pub(super) const ENTRIES_MAX: usize = 4_096;
/// Bytes of entries that may wait when another copy's message comes: about what a disk writes in a tenth of a second.
pub(super) const BYTES_MAX: usize = 32 << 20;
/// The term of all entries: nobody is elected.
pub(super) const TERM: u64 = 1;
/// Memory of an entry, and of a key in it, besides its bytes: about.
const AROUND: usize = 96;

/// Who waits for an entry.
#[derive(Debug)]
pub(super) enum After {
    /// A write's coordinator, which may be this copy itself.
    Write {
        to: ReplicaId,
        number: u64,
        generation: Generation,
    },
    /// A read's coordinator, which may be this copy itself. What it lacked is in the entry, and in earlier ones that wait.
    Repair {
        to: ReplicaId,
        number: u64,
        generation: Generation,
        earlier: Vec<Entry>,
    },
    /// A copy that has kept hints.
    Hints {
        to: ReplicaId,
        generation: Generation,
    },
    Converge(Then, Generation),
    Layout,
}

#[derive(Debug)]
struct Waiting {
    index: u64,
    /// Of the log batch that it is part of. `None` = it was not handed to the log yet.
    sequence: Option<u64>,
    bytes: usize,
    entry: Journaled,
    after: After,
}

/// Owner of the entries that wait.
#[derive(Debug)]
pub(super) struct Journal {
    /// Index of the last entry that there is.
    last: u64,
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// The highest layout among those that wait, or that waited.
    layout: Generation,
    /// The log does not know the copy, though it has applied up to here: it has to be told where entries begin.
    untold_start: Option<u64>,
}

/// An entry that is durable.
#[derive(Debug)]
pub(super) struct Durable {
    pub(super) index: u64,
    pub(super) entry: Journaled,
    pub(super) after: After,
}

impl Journal {
    /// Of a copy that has applied all that its log has, up to here. `is_known` = the log has something of the copy.
    pub(super) fn new(applied: u64, layout: Generation, is_known: bool) -> Self {
        let untold_start = (!is_known && applied > 0).then_some(applied);
        Self { last: applied, waiting: VecDeque::new(), bytes: 0, layout, untold_start }
    }

    /// An entry is to be written. Gives its index.
    pub(super) fn push(&mut self, entry: Journaled, after: After) -> u64 {
        self.last += 1;
        if let Journaled::Layout(layout) = &entry {
            self.layout = self.layout.max(layout.generation);
        }
        let bytes = weight(&entry);
        self.bytes += bytes;
        self.waiting.push_back(Waiting { index: self.last, sequence: None, bytes, entry, after });
        self.last
    }

    /// Index of the last entry that there is.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// True if another copy's message may add an entry.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < ENTRIES_MAX && self.bytes < BYTES_MAX
    }

    /// True if some entries were not handed to the log yet.
    pub(super) fn has_work(&self) -> bool {
        self.waiting.back().is_some_and(|waiting| waiting.sequence.is_none())
    }

    /// Number of entries that wait, and memory that they take, about.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.waiting.len(), self.bytes)
    }

    /// The highest generation that is held, or will be once what waits is applied.
    pub(super) fn layout(&self) -> Generation {
        self.layout
    }

    /// What is handed to the log with the batch of this sequence.
    pub(super) fn collect(&mut self, shard: ShardId, replica: ReplicaId, sequence: u64) -> Option<LogWrite> {
        let handed = self.waiting.partition_point(|waiting| waiting.sequence.is_some());
        let mut entries = Vec::new();
        for waiting in self.waiting.iter_mut().skip(handed) {
            waiting.sequence = Some(sequence);
            let data = codec::encode(&waiting.entry);
            let (index, kind) = (waiting.index, EntryKind::Normal);
            entries.push(LogEntry { index, term: TERM, kind, data, context: Bytes::new() });
        }
        let mut reset = || self.untold_start.take().map(|start| (start, TERM));
        (!entries.is_empty()).then(|| LogWrite {
            shard,
            replica,
            reset: reset(),
            entries,
            hard_state: None,
            destroyed: false,
        })
    }

    /// The next entry that is durable, once the batch of this sequence is.
    pub(super) fn pop_durable(&mut self, sequence: u64) -> Option<Durable> {
        let is_durable = |waiting: &mut Waiting| waiting.sequence.is_some_and(|of| of <= sequence);
        let Waiting { index, bytes, entry, after, .. } = self.waiting.pop_front_if(is_durable)?;
        self.bytes = self.bytes.saturating_sub(bytes);
        Some(Durable { index, entry, after })
    }
}

/// Keys and records of an entry.
pub(super) fn entries(entry: &Journaled) -> impl Iterator<Item = (&Bytes, &Bytes, Option<Stamp>)> {
    let (writes, copies) = match entry {
        Journaled::Writes(writes) => (&writes[..], &[][..]),
        Journaled::Copies(copies) => (&[][..], &copies[..]),
        Journaled::Layout(_)
        | Journaled::Bar(_)
        | Journaled::Floor(_)
        | Journaled::Elapsed(_)
        | Journaled::Bounds(_)
        | Journaled::Copied { .. } => (&[][..], &[][..]),
    };
    let writes = writes.iter().map(|(key, record, stamp)| (key, record, Some(*stamp)));
    writes.chain(copies.iter().map(|(key, record)| (key, record, None)))
}

fn weight(entry: &Journaled) -> usize {
    entries(entry).map(|(key, record, _)| AROUND + key.len() + record.len()).sum::<usize>() + AROUND
}

/// What an entry of the log holds.
///
/// # Errors
///
/// Of what this release cannot read.
pub(super) fn read(entry: &LogEntry) -> Result<Journaled, codec::Undecodable> {
    const NAME: &str = "log entry of a quorum copy";
    /// Number of kinds that this release knows.
    const KINDS: u8 = 8;
    if codec::is_newer(&entry.data, KINDS) {
        return Err(codec::Undecodable::newer(NAME, "it is of a kind that is not known".to_owned()));
    }
    codec::decode(NAME, &entry.data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Version;

    const SHARD: ShardId = ShardId(3);
    const OWN: ReplicaId = ReplicaId(7);

    fn bar(version: u64) -> Journaled {
        Journaled::Bar(Version(version))
    }

    fn indexes(write: &LogWrite) -> Vec<u64> {
        write.entries.iter().map(|entry| entry.index).collect()
    }

    #[test]
    fn entries_are_handed_out_once_and_come_back_when_their_batch_is_durable() {
        let mut journal = Journal::new(4, Generation(1), true);
        assert_eq!((journal.push(bar(1), After::Layout), journal.push(bar(2), After::Layout)), (5, 6));
        let write = journal.collect(SHARD, OWN, 10).expect("two wait");
        assert_eq!((indexes(&write), write.reset, write.shard, write.replica), (vec![5, 6], None, SHARD, OWN));
        assert_eq!(journal.collect(SHARD, OWN, 11), None);
        assert!(!journal.has_work());
        journal.push(bar(3), After::Layout);
        assert_eq!(journal.collect(SHARD, OWN, 12).map(|write| indexes(&write)), Some(vec![7]));
        assert!(journal.pop_durable(9).is_none());
        let durable: Vec<u64> = std::iter::from_fn(|| journal.pop_durable(11)).map(|durable| durable.index).collect();
        assert_eq!((durable, journal.waiting().0), (vec![5, 6], 1));
        assert_eq!(journal.pop_durable(12).map(|durable| durable.entry), Some(bar(3)));
        assert_eq!(journal.waiting(), (0, 0));
    }

    #[test]
    fn a_log_that_does_not_know_the_copy_is_told_once_where_its_entries_begin() {
        let reset = |applied, is_known| {
            let mut journal = Journal::new(applied, Generation(1), is_known);
            let mut written = |version| {
                journal.push(bar(version), After::Layout);
                journal.collect(SHARD, OWN, version).and_then(|write| write.reset)
            };
            (written(1), written(2))
        };
        assert_eq!(reset(9, false), (Some((9, TERM)), None));
        assert_eq!(reset(9, true), (None, None));
        assert_eq!(reset(0, false), (None, None));
    }

    #[test]
    fn what_is_written_is_read_and_a_kind_that_is_not_known_is_newer() {
        let mut journal = Journal::new(0, Generation(1), false);
        let copied = Journaled::Copied { from: ReplicaId(2), since: Generation(3) };
        journal.push(copied.clone(), After::Layout);
        let write = journal.collect(SHARD, OWN, 1).expect("one waits");
        assert_eq!(read(&write.entries[0]), Ok(copied));
        let of = |data: &'static [u8]| LogEntry { data: Bytes::from_static(data), ..write.entries[0].clone() };
        assert!(read(&of(&[1, 8, 0])).is_err_and(|error| error.is_newer));
        assert!(read(&of(&[1, 2])).is_err_and(|error| !error.is_newer));
    }

    #[test]
    fn there_is_no_room_for_others_once_much_waits() {
        let mut journal = Journal::new(0, Generation(1), true);
        journal.push(Journaled::Copies(vec![(Bytes::new(), vec![0; BYTES_MAX].into())]), After::Layout);
        assert!(!journal.has_room());
        journal.collect(SHARD, OWN, 1);
        assert!(!journal.has_room(), "what the log has not durably yet waits");
        assert!(journal.pop_durable(1).is_some() && journal.has_room());
        for _ in 0..ENTRIES_MAX {
            journal.push(bar(1), After::Layout);
        }
        assert!(!journal.has_room());
    }
}
