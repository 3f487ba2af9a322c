//! What the log holds of every replica: its small state, and where its entries lie.
//!
//! Written by the same code while appending and while reading an old log, so that both mean the same.

use std::collections::BTreeMap;

use skerry_core::ids::{ReplicaId, ShardId};
use skerry_core::log::{HardState, LogCut, LogEntry, LogWrite};

use super::body::Head;
use super::checkpoint::Counted;
use super::extents::{Extent, Extents, Live, Location};
use super::format::{FRESH, Kind, RecordHeader};

/// Why a write makes no sense after those before it. A fault of the caller, not of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Entries of one write must follow each other.
    #[error("the entries' indexes are not consecutive")]
    NotConsecutive,
    /// There would be a hole in the log.
    #[error("the entries begin at {first}, the log ends at {last}")]
    Gap {
        /// Index of the first entry of the write.
        first: u64,
        /// Index of the last entry in the log.
        last: u64,
    },
    /// What was cut cannot be overwritten.
    #[error("the entries begin at {first}, the log begins after {start}")]
    BelowStart {
        /// Index of the first entry of the write.
        first: u64,
        /// Index before the log's first entry.
        start: u64,
    },
    /// Its log was damaged: it must never write again.
    #[error("the replica is lost")]
    Lost,
}

/// What is to be done with a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Nothing: it is of a replica that is void or unknown.
    Void,
    /// The write becomes a record.
    Record {
        /// True for the first record of the replica.
        fresh: bool,
        /// Sequence number of the record within its shard.
        sequence: u64,
    },
}

/// What the log holds of one replica, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ReplicaIndex {
    /// Which copy. 0 = unknown, because its first record cannot be read.
    pub(super) replica: ReplicaId,
    /// Sequence number of the replica's last record.
    pub(super) sequence: u64,
    /// (index, term) before its first entry.
    pub(super) start: (u64, u64),
    /// Index of its last entry; that of the start if it has none.
    pub(super) last: u64,
    /// Latest hard state of the replica.
    pub(super) hard_state: HardState,
    /// Where the replica's entries lie.
    pub(super) extents: Extents,
    /// True if records of the replica are missing.
    pub(super) lost: bool,
    /// Records of it may be missing: its next record will tell.
    suspect: bool,
}

/// What the log holds of all replicas, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Index {
    /// At most one replica a shard.
    pub(super) replicas: BTreeMap<ShardId, ReplicaIndex>,
    /// How many bytes of each segment are live, of all replicas together.
    pub(super) live: Live,
}

/// The head of a write's record.
pub(super) fn head_of(write: &LogWrite) -> Head {
    let entries = write.entries.first().zip(write.entries.last()).map(|(first, last)| (first.index, last.index));
    Head {
        replica: write.replica,
        start: write.reset,
        hard_state: write.hard_state,
        entries,
        destroyed: write.destroyed,
    }
}

impl Index {
    /// Checks a write against what is there.
    pub(super) fn admit(&self, write: &LogWrite) -> Result<Admission, Refusal> {
        let known = self.replicas.get(&write.shard);
        if write.destroyed && known.is_none_or(|known| write.replica < known.replica) {
            return Ok(Admission::Void);
        }
        let (fresh, sequence, start, last) = match known {
            Some(known) if write.replica < known.replica => return Ok(Admission::Void),
            Some(known) if write.replica == known.replica => {
                if known.lost && !write.destroyed {
                    return Err(Refusal::Lost);
                }
                (false, known.sequence + 1, known.start.0, known.last)
            }
            _ => (true, 1, 0, 0),
        };
        let (start, last) = write.reset.map_or((start, last), |(index, _)| (index, index));
        check_entries(&write.entries, start, last)?;
        Ok(Admission::Record { fresh, sequence })
    }

    /// Checks a cut. `None` = nothing to do.
    pub(super) fn admit_cut(&self, cut: &LogCut) -> Option<u64> {
        let known = self.replicas.get(&cut.shard)?;
        let cuts = known.replica == cut.replica && !known.lost && cut.start.0 > known.start.0;
        cuts.then_some(known.sequence + 1)
    }

    /// Takes in a record that was admitted and lies at `location`.
    pub(super) fn record(&mut self, header: &RecordHeader, head: &Head, location: Location) {
        let shard = ShardId(header.shard);
        if header.is(FRESH) {
            self.forget(shard);
        }
        if head.destroyed {
            self.forget(shard);
            return;
        }
        let replica = self.replicas.entry(shard).or_default();
        replica.replica = head.replica;
        replica.sequence = header.sequence;
        replica.suspect = false;
        replica.apply(header.kind, head, location, &mut self.live);
    }

    /// Takes in a record of an old log, after which its replica may turn out to be lost. `None` = only the frame of the
    /// record can be read.
    pub(super) fn replay(&mut self, header: &RecordHeader, head: Option<&Head>, location: Location) {
        let shard = ShardId(header.shard);
        let Some(head) = head else { return self.lose(shard, header.sequence) };
        let known = self.replicas.get(&shard);
        let ends_lost = known.is_some_and(|known| known.lost && head.destroyed && head.replica >= known.replica);
        let follows = known.is_some_and(|known| !known.lost && known.follows(header, head));
        if header.is(FRESH) || follows || ends_lost {
            self.record(header, head, location);
        } else {
            self.lose(shard, header.sequence);
        }
    }

    /// Takes in the state of a replica at the start of a segment. If nothing was seen of it before, that is all there is
    /// to know but for its entries, and those are missed at the end if they lay where nothing can be read.
    pub(super) fn replay_census(&mut self, counted: &Counted) {
        match self.replicas.get_mut(&counted.shard) {
            Some(known) if !counted.lost && !known.lost && known.sequence == counted.sequence => known.suspect = false,
            Some(known) => {
                known.replica = known.replica.max(counted.replica);
                self.lose(counted.shard, counted.sequence);
            }
            None => {
                let replica = ReplicaIndex {
                    replica: counted.replica,
                    sequence: counted.sequence,
                    start: counted.start,
                    last: counted.last,
                    hard_state: counted.hard_state,
                    lost: counted.lost,
                    ..ReplicaIndex::default()
                };
                self.replicas.insert(counted.shard, replica);
            }
        }
    }

    /// Records may be missing here, and nobody knows whose.
    pub(super) fn suspect_all(&mut self) {
        self.replicas.values_mut().for_each(|replica| replica.suspect = true);
    }

    /// The old log is read to its end: what was not proven whole by now is lost.
    pub(super) fn finish_replay(&mut self) {
        let broken = |replica: &ReplicaIndex| {
            let whole = replica.extents.covers_exactly(replica.start.0 + 1, replica.last);
            !replica.lost && (replica.suspect || !whole)
        };
        let lost: Vec<_> = self.replicas.iter().filter(|(_, replica)| broken(replica)).collect();
        let lost: Vec<_> = lost.into_iter().map(|(&shard, replica)| (shard, replica.sequence)).collect();
        lost.into_iter().for_each(|(shard, sequence)| self.lose(shard, sequence));
    }

    /// For the checkpoint of a new segment.
    pub(super) fn checkpoint(&self) -> Vec<Counted> {
        let counted = |(&shard, replica): (&ShardId, &ReplicaIndex)| Counted {
            shard,
            replica: replica.replica,
            sequence: replica.sequence,
            start: replica.start,
            last: replica.last,
            hard_state: replica.hard_state,
            lost: replica.lost,
        };
        self.replicas.iter().map(counted).collect()
    }

    /// Shards that have live entries in a segment.
    pub(super) fn shards_in(&self, segment: u64) -> Vec<ShardId> {
        let here = |replica: &ReplicaIndex| replica.extents.iter().any(|extent| extent.location.segment == segment);
        self.replicas.iter().filter(|(_, replica)| here(replica)).map(|(shard, _)| *shard).collect()
    }

    fn lose(&mut self, shard: ShardId, sequence: u64) {
        let replica = self.replicas.entry(shard).or_default();
        replica.lost = true;
        replica.sequence = sequence;
        replica.extents.clear(&mut self.live);
    }

    fn forget(&mut self, shard: ShardId) {
        if let Some(mut replica) = self.replicas.remove(&shard) {
            replica.extents.clear(&mut self.live);
        }
    }
}

impl ReplicaIndex {
    fn follows(&self, header: &RecordHeader, head: &Head) -> bool {
        let entries_fit = match (header.kind, head.entries) {
            (Kind::Write, Some((first, _))) => {
                let (start, last) = head.start.map_or((self.start.0, self.last), |(index, _)| (index, index));
                start < first && first <= last + 1
            }
            _ => true,
        };
        header.sequence == self.sequence + 1 && head.replica == self.replica && entries_fit
    }

    fn apply(&mut self, kind: Kind, head: &Head, location: Location, live: &mut Live) {
        if let Some(start) = head.start {
            if kind == Kind::Cut {
                self.extents.forget_to(start.0, live);
                self.last = self.last.max(start.0);
            } else {
                self.extents.clear(live);
                self.last = start.0;
            }
            self.start = start;
        }
        if let Some((first, last)) = head.entries {
            if kind != Kind::Move {
                self.extents.forget_from(first, live);
                self.last = last;
            }
            self.extents.place(Extent { first, last, location }, live);
        }
        if let Some(state) = head.hard_state {
            self.hard_state = state;
        }
    }
}

fn check_entries(entries: &[LogEntry], start: u64, last: u64) -> Result<(), Refusal> {
    let Some(first) = entries.first().map(|entry| entry.index) else { return Ok(()) };
    if (first..).zip(entries).any(|(index, entry)| entry.index != index) {
        return Err(Refusal::NotConsecutive);
    }
    if first > last + 1 {
        return Err(Refusal::Gap { first, last });
    }
    if first <= start {
        return Err(Refusal::BelowStart { first, start });
    }
    Ok(())
}
