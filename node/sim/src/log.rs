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
