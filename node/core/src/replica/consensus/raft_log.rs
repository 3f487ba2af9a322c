//! A replica's Raft log in memory, as raft's storage. What is here was handed to the node's shared log; how much of it
//! may be forgotten is decided by [`super::Consensus::cut`].

use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, Snapshot, SnapshotMetadata};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};

use crate::log::HardState;
use crate::map::{Descriptor, Role};
use crate::planted::{Planted, is_planted};

/// Entries after `start`, and the state that goes with them.
#[derive(Debug, Default)]
pub(in crate::replica) struct RaftLog {
    start: (u64, u64),
    entries: VecDeque<Entry>,
    /// Of each entry, the bytes of all that were here up to it, those that were forgotten included.
    ends: VecDeque<u64>,
    /// The same of the entry before the first.
    begin: u64,
    hard_state: HardState,
    conf_state: ConfState,
    /// What a snapshot taken now would be at.
    applied: (u64, u64),
    /// The node's shared log does not know `start`: the next write to it must say so.
    is_start_untold: bool,
}

impl RaftLog {
    pub(super) fn new(start: (u64, u64), entries: Vec<Entry>, hard_state: HardState) -> Self {
        let mut log = Self { start, hard_state, ..Self::default() };
        entries.into_iter().for_each(|entry| log.push(entry));
        log
    }

    /// What is applied, and the members as of there. `None` = no records are applied that count.
    pub(super) fn stand_at(&mut self, applied: (u64, u64), descriptor: Option<&Descriptor>) {
        self.applied = applied;
        if let Some(descriptor) = descriptor {
            self.conf_state = conf_state(descriptor);
        }
    }

    /// The node's shared log does not know where this one begins.
    pub(super) fn start_is_untold(&mut self) {
        self.is_start_untold = true;
    }

    /// Where the log begins, if the node's shared log is still to be told.
    pub(super) fn take_untold_start(&mut self) -> Option<(u64, u64)> {
        let is_untold = std::mem::take(&mut self.is_start_untold);
        (is_untold && !is_planted(Planted::LogStartUntold)).then_some(self.start)
    }

    /// What was last handed to the node's shared log of term, vote and commit.
    pub(super) fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// Term, vote and commit are others.
    pub(super) fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    /// Index and term before the first entry.
    pub(in crate::replica) fn start(&self) -> (u64, u64) {
        self.start
    }

    /// Memory that the entries take, about.
    pub(in crate::replica) fn bytes(&self) -> usize {
        bytes_between(self.begin, self.end())
    }

    /// Memory that the entries after an index take, about; that of all if the index is before the first.
    pub(super) fn bytes_after(&self, index: u64) -> usize {
        let before = index.checked_sub(self.start.0 + 1).and_then(|offset| usize::try_from(offset).ok());
        let begin = before.map_or(self.begin, |offset| self.ends.get(offset).copied().unwrap_or(self.end()));
        bytes_between(begin, self.end())
    }

    fn end(&self) -> u64 {
        self.ends.back().copied().unwrap_or(self.begin)
    }

    fn push(&mut self, entry: Entry) {
        self.ends.push_back(self.end() + weight(&entry) as u64);
        self.entries.push_back(entry);
    }

    /// Index of the last entry; that before the first entry if there is none.
    pub(in crate::replica) fn last(&self) -> u64 {
        self.start.0 + self.entries.len() as u64
    }

    /// Index of the last entry of an earlier term than this one.
    pub(super) fn before_term(&self, term: u64) -> u64 {
        self.start.0 + self.entries.partition_point(|entry| entry.term < term) as u64
    }

    /// Adds entries; one whose index exists replaces it and everything after it.
    pub(super) fn append(&mut self, entries: &[Entry]) {
        for entry in entries {
            while self.last() >= entry.index {
                if self.entries.pop_back().is_none() {
                    break;
                }
                self.ends.pop_back();
            }
            assert_eq!(self.last() + 1, entry.index, "a log has no gaps");
            self.push(entry.clone());
        }
    }

    /// Empties the log: it goes on after `start`, the (index, term) of an installed snapshot.
    fn reset(&mut self, start: (u64, u64)) {
        *self = Self {
            start,
            applied: start,
            hard_state: self.hard_state,
            conf_state: self.conf_state.clone(),
            ..Self::default()
        };
    }

    /// Starts anew after a snapshot. Gives its index and term.
    pub(super) fn install(&mut self, snapshot: &SnapshotMetadata) -> (u64, u64) {
        let start = (snapshot.index, snapshot.term);
        self.reset(start);
        self.conf_state = snapshot.get_conf_state().clone();
        start
    }

    /// Forgets entries at or below `limit` until at most `keep` bytes are left. True if any went.
    pub(super) fn forget(&mut self, limit: u64, keep: usize) -> bool {
        let before = self.start;
        while self.start.0 < limit && self.bytes() > keep {
            let Some(entry) = self.entries.pop_front() else { break };
            self.begin = self.ends.pop_front().unwrap_or(self.begin);
            self.start = (entry.index, entry.term);
        }
        self.start != before
    }

    fn at(&self, index: u64) -> Option<&Entry> {
        let offset = index.checked_sub(self.start.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }
}

/// Memory that an entry takes beside what it holds, about.
pub(crate) const ENTRY_BYTES: usize = 96;

/// Memory that an entry takes, about.
pub(super) fn weight(entry: &Entry) -> usize {
    entry.data.len() + entry.context.len() + ENTRY_BYTES
}

fn bytes_between(begin: u64, end: u64) -> usize {
    usize::try_from(end.saturating_sub(begin)).unwrap_or(usize::MAX)
}

/// The Raft configuration of a descriptor.
pub(super) fn conf_state(descriptor: &Descriptor) -> ConfState {
    let mut conf = ConfState::default();
    let joint = descriptor.is_joint();
    for member in &descriptor.members {
        let id = member.replica.id.0;
        match member.role {
            Role::Learner => conf.learners.push(id),
            Role::Incoming => conf.voters.push(id),
            Role::Outgoing => conf.voters_outgoing.push(id),
            Role::Voter => {
                conf.voters.push(id);
                if joint {
                    conf.voters_outgoing.push(id);
                }
            }
        }
    }
    conf
}

impl Storage for RaftLog {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let mut hard_state = raft::eraftpb::HardState::default();
        hard_state.term = self.hard_state.term.max(self.applied.1);
        hard_state.vote = if hard_state.term == self.hard_state.term { self.hard_state.vote } else { 0 };
        hard_state.commit = self.hard_state.commit.max(self.applied.0).min(self.last());
        Ok(RaftState { hard_state, conf_state: self.conf_state.clone() })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.start.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        let limit = max_size.into().unwrap_or(u64::MAX);
        let mut bytes = 0;
        let mut wanted = Vec::new();
        for index in low..high {
            let entry = self.at(index).ok_or(Error::Store(StorageError::Unavailable))?;
            bytes += weight(entry) as u64;
            if !wanted.is_empty() && bytes > limit {
                break;
            }
            wanted.push(entry.clone());
        }
        Ok(wanted)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.start.0 {
            return Ok(self.start.1);
        }
        if index < self.start.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        self.at(index).map(|e| e.term).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.start.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        if self.applied.0 < request_index || self.applied.0 == 0 {
            return Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        (metadata.index, metadata.term) = self.applied;
        metadata.set_conf_state(self.conf_state.clone());
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests;
