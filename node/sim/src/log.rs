//! A shared log in memory: what is durable, and what was handed in since. A crash keeps some of the latter, in order: the
//! real log writes group after group, and cuts a group that is torn. As a margin the last one may be torn between its
//! shards here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use skerry_core::ids::{ReplicaId, ShardId};
use skerry_core::log::{LogCut, LogWrite, RecoveredLog};
use skerry_core::node::{LogBatch, Recovered};
use skerry_core::replica::state::FIRST;

/// The log of one host, in memory.
#[derive(Default)]
pub(crate) struct MemoryLog {
    durable: BTreeMap<ShardId, RecoveredLog>,
    /// Batches that are not durable yet, each with the time at which it was handed in.
    pending: VecDeque<(u64, LogBatch)>,
    /// The latest copy of each shard whose end was noted.
    destroyed: BTreeMap<ShardId, ReplicaId>,
    /// The latest copy of each shard of which a fault took something.
    lost: BTreeMap<ShardId, ReplicaId>,
    /// Shards of which a write is missing that its process took for durable: nothing behind it can be read.
    torn: BTreeSet<ShardId>,
}

impl MemoryLog {
    pub(crate) fn append(&mut self, batch: LogBatch, time: u64) {
        self.pending.push_back((time, batch));
    }

    /// Since when the oldest write has waited to be durable.
    pub(crate) fn waits_since(&self) -> Option<u64> {
        self.pending.front().map(|(time, _)| *time)
    }

    pub(crate) fn make_durable(&mut self, sequence: u64) {
        while self.pending.front().is_some_and(|(_, b)| b.sequence <= sequence) {
            let Some((_, batch)) = self.pending.pop_front() else { break };
            batch.writes.into_iter().for_each(|write| self.fold(write));
        }
    }

    /// A torn tail: a prefix of the groups that were under way may have reached the disk, and of the next some shards'
    /// part.
    pub(crate) fn crash(&mut self, rng: &mut ChaCha8Rng) {
        let survives = rng.random_range(0..=self.pending.len());
        let mut batches: Vec<_> = self.pending.drain(..).map(|(_, batch)| batch).take(survives + 1).collect();
        if batches.len() > survives
            && let Some(torn) = batches.last_mut()
        {
            torn.writes.retain(|_| rng.random_bool(0.3));
        }
        batches.into_iter().flat_map(|b| b.writes).for_each(|write| self.fold(write));
    }

    /// A sync has failed: of what was under way any part may be on the disk. What is behind a missing part of the same shard
    /// cannot be read.
    pub(crate) fn fail_sync(&mut self, rng: &mut ChaCha8Rng) {
        let kept = [0.0, 0.5, 0.9, 1.0][rng.random_range(0..4)];
        let mut missing = BTreeSet::new();
        let writes: Vec<_> = self.pending.drain(..).flat_map(|(_, batch)| batch.writes).collect();
        for write in writes {
            if missing.contains(&write.shard) || !rng.random_bool(kept) {
                missing.insert(write.shard);
            } else {
                self.fold(write);
            }
        }
    }

    /// What is under way up to this sequence never reaches the disk, and nobody is told.
    pub(crate) fn lose(&mut self, sequence: u64) {
        while let Some((_, batch)) = self.pending.pop_front_if(|(_, batch)| batch.sequence <= sequence) {
            self.torn.extend(batch.writes.iter().map(|write| write.shard));
        }
    }

    /// True if the copy's entry at this index and term is on disk, or is covered by what the copy has before its first
    /// entry. What a destroyed copy had on disk is not known any more, and counts.
    pub(crate) fn holds(&self, shard: ShardId, replica: ReplicaId, (index, term): (u64, u64)) -> bool {
        if reaches(&self.lost, shard, replica) || reaches(&self.destroyed, shard, replica) {
            return true;
        }
        let Some(log) = self.durable.get(&shard).filter(|log| log.replica == replica) else { return index <= FIRST.0 };
        let at = index.checked_sub(log.start.0 + 1).and_then(|offset| usize::try_from(offset).ok());
        at.is_none_or(|offset| log.entries.get(offset).is_some_and(|entry| entry.term == term))
    }

    /// Whether the copy's log on disk reaches up to this index. `None` = a fault took what it had. A copy that was ended
    /// reached there: nobody may end one that is needed.
    pub(crate) fn has(&self, shard: ShardId, replica: ReplicaId, index: u64) -> Option<bool> {
        let log = self.durable.get(&shard).filter(|log| log.replica == replica);
        let last = log.map_or(FIRST.0, |log| log.start.0 + log.entries.len() as u64);
        let is_ended = reaches(&self.destroyed, shard, replica);
        (!reaches(&self.lost, shard, replica)).then_some(is_ended || last >= index)
    }

    pub(crate) fn cut(&mut self, cut: &LogCut) {
        if let Some(log) =
            self.durable.get_mut(&cut.shard).filter(|l| l.replica == cut.replica && l.start.0 < cut.start.0)
        {
            log.entries.retain(|e| e.index > cut.start.0);
            log.start = cut.start;
        }
    }

    /// The folder is emptied. What its copies had on disk is not known any more.
    pub(crate) fn empty(&mut self) {
        self.pending.clear();
        for (shard, log) in std::mem::take(&mut self.durable) {
            note(&mut self.lost, shard, log.replica);
        }
    }

    /// The end of a copy's log is missing: what is left ends below `applied`, or it is gone as a whole.
    pub(crate) fn lose_end(&mut self, shard: ShardId, replica: ReplicaId, applied: u64) {
        match self.durable.get_mut(&shard).filter(|log| log.replica == replica && log.start.0 < applied) {
            Some(log) => log.entries.retain(|entry| entry.index < applied),
            None => drop(self.durable.remove(&shard)),
        }
        note(&mut self.lost, shard, replica);
    }

    /// What a new process finds; `damaged` = the shards that a flipped bit may have hit.
    pub(crate) fn recover(&self, damaged: BTreeSet<ShardId>) -> Recovered {
        Recovered { logs: self.durable.clone(), lost: damaged, ..Recovered::default() }
    }

    pub(crate) fn shards(&self) -> Vec<ShardId> {
        self.durable.keys().copied().collect()
    }

    fn fold(&mut self, write: LogWrite) {
        if self.torn.contains(&write.shard) {
            return;
        }
        if write.destroyed {
            note(&mut self.destroyed, write.shard, write.replica);
        }
        fold(&mut self.durable, write);
    }
}

/// Notes that something befell this copy of a shard.
fn note(latest: &mut BTreeMap<ShardId, ReplicaId>, shard: ShardId, replica: ReplicaId) {
    let latest = latest.entry(shard).or_default();
    *latest = replica.max(*latest);
}

/// Whether it befell this copy, or a later one of the shard.
fn reaches(latest: &BTreeMap<ShardId, ReplicaId>, shard: ShardId, replica: ReplicaId) -> bool {
    latest.get(&shard).is_some_and(|latest| *latest >= replica)
}

fn fold(logs: &mut BTreeMap<ShardId, RecoveredLog>, write: LogWrite) {
    let log =
        logs.entry(write.shard).or_insert_with(|| RecoveredLog { replica: write.replica, ..RecoveredLog::default() });
    if write.replica < log.replica {
        return;
    }
    if write.destroyed {
        logs.remove(&write.shard);
        return;
    }
    if write.replica > log.replica {
        *log = RecoveredLog { replica: write.replica, ..RecoveredLog::default() };
    }
    if let Some(start) = write.reset {
        log.start = start;
        log.entries.clear();
    }
    for entry in write.entries {
        // Later ones go; entries are in order.
        let upto = usize::try_from(entry.index.saturating_sub(log.start.0 + 1)).unwrap_or(usize::MAX);
        log.entries.truncate(upto);
        if entry.index > log.start.0 {
            assert_eq!(entry.index, log.start.0 + log.entries.len() as u64 + 1, "a log has no gaps");
            log.entries.push(entry);
        }
    }
    if let Some(state) = write.hard_state {
        log.hard_state = state;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rand::SeedableRng;
    use skerry_core::log::{EntryKind, LogEntry};

    use super::*;

    fn batch(sequence: u64, shards: &[u64]) -> LogBatch {
        let entry =
            LogEntry { index: sequence, term: 1, kind: EntryKind::Normal, data: Bytes::new(), context: Bytes::new() };
        let write = |shard: &u64| LogWrite {
            shard: ShardId(*shard),
            replica: ReplicaId(1),
            reset: None,
            entries: vec![entry.clone()],
            hard_state: None,
            destroyed: false,
        };
        LogBatch { sequence, writes: shards.iter().map(write).collect() }
    }

    fn last(log: &MemoryLog, shard: u64) -> usize {
        log.durable.get(&ShardId(shard)).map_or(0, |log| log.entries.len())
    }

    /// Three batches of two shards, of which the first is durable.
    fn log() -> MemoryLog {
        let mut log = MemoryLog::default();
        (1..=3).for_each(|sequence| log.append(batch(sequence, &[7, 8]), sequence));
        log.make_durable(1);
        log
    }

    #[test]
    fn a_failed_sync_leaves_what_was_durable_and_any_first_part_of_each_shard() {
        let mut left = BTreeSet::new();
        for seed in 0..300 {
            let mut log = log();
            log.fail_sync(&mut ChaCha8Rng::seed_from_u64(seed));
            assert_eq!(log.waits_since(), None);
            left.insert((last(&log, 7), last(&log, 8)));
        }
        let all = (1..=3).flat_map(|first| (1..=3).map(move |second| (first, second)));
        assert_eq!(left, all.collect());
    }

    #[test]
    fn behind_a_write_that_was_lost_silently_nothing_of_its_shards_is_there() {
        let mut log = log();
        log.lose(2);
        log.append(batch(4, &[7, 8]), 4);
        log.make_durable(4);
        assert_eq!((last(&log, 7), last(&log, 8)), (1, 1));
        assert!(!log.holds(ShardId(7), ReplicaId(1), (2, 1)) && log.holds(ShardId(7), ReplicaId(1), (1, 1)));
    }
}
