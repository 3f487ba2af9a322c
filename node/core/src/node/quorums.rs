//! The copies of quorum shards on this node, which of them have something to say, and what they hold of the store.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::{Engine, EngineError};
use crate::ids::{Incarnation, ReplicaId, ShardId};
use crate::log::{LogCut, RecoveredLog};
use crate::message::QuorumReport;
use crate::node::kept_records::KeptRecords;
use crate::node::quorum_copies::range_of;
use crate::quorum::replica::{QuorumReplica, QuorumState};
use crate::ranges::{Content, Held, KeyRange, Ranges};

/// All copies of quorum shards of this node.
pub(super) struct Quorums {
    incarnation: Incarnation,
    by_shard: BTreeMap<ShardId, Box<QuorumReplica>>,
    ranges: Ranges,
    /// Shards whose copies have something to collect.
    dirty: BTreeSet<ShardId>,
    kept: KeptRecords,
}

impl Quorums {
    /// Makes the owner of a node's copies, which holds none yet.
    pub(super) fn new(incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            by_shard: BTreeMap::new(),
            ranges: Ranges::default(),
            dirty: BTreeSet::new(),
            kept: KeptRecords::default(),
        }
    }

    /// A copy of this node, which is not among them yet.
    pub(super) fn made_of(
        &self,
        state: QuorumState,
        log: Option<RecoveredLog>,
        engine: &dyn Engine,
    ) -> Result<QuorumReplica, EngineError> {
        QuorumReplica::open(state, log, self.incarnation, engine)
    }

    /// Takes a copy in, in place of the one of its shard if there was one.
    pub(super) fn insert(&mut self, copy: QuorumReplica) {
        let held = held_by(copy.state());
        let shard = held.shard;
        if let Some(before) = self.by_shard.insert(shard, Box::new(copy)) {
            self.ranges.remove((shard, before.id()));
        }
        self.ranges.put(held);
        self.dirty.insert(shard);
    }

    /// Takes a copy out: nothing is collected from it any more.
    pub(super) fn remove(&mut self, shard: ShardId) -> Option<QuorumReplica> {
        self.dirty.remove(&shard);
        let copy = self.by_shard.remove(&shard)?;
        self.ranges.remove((shard, copy.id()));
        Some(*copy)
    }

    /// The copy of a shard. `None` = this node has none.
    pub(super) fn get(&self, shard: ShardId) -> Option<&QuorumReplica> {
        self.by_shard.get(&shard).map(Box::as_ref)
    }

    /// One of them. Whoever gives it something to say [touches](Self::touch) it.
    pub(super) fn get_mut(&mut self, shard: ShardId) -> Option<&mut QuorumReplica> {
        self.by_shard.get_mut(&shard).map(Box::as_mut)
    }

    /// All copies, in order of shard id.
    pub(super) fn all(&self) -> impl Iterator<Item = &QuorumReplica> {
        self.by_shard.values().map(Box::as_ref)
    }

    /// Number of copies.
    pub(super) fn len(&self) -> usize {
        self.by_shard.len()
    }

    /// The shards of all copies, in order.
    pub(super) fn shards(&self) -> Vec<ShardId> {
        self.by_shard.keys().copied().collect()
    }

    /// The copy of this shard may have something to say.
    pub(super) fn touch(&mut self, shard: ShardId) {
        if self.by_shard.contains_key(&shard) {
            self.dirty.insert(shard);
        }
    }

    /// One that may have something to say, until it has something again.
    pub(super) fn next_touched(&mut self) -> Option<ShardId> {
        self.dirty.pop_first()
    }

    /// The records of their shards that the store keeps.
    pub(super) fn kept(&self) -> &KeptRecords {
        &self.kept
    }

    /// The records of their shards that the store keeps, to be changed.
    pub(super) fn kept_mut(&mut self) -> &mut KeptRecords {
        &mut self.kept
    }

    /// What they hold of the store.
    pub(super) fn held_ranges(&self) -> impl Iterator<Item = &Held> {
        self.ranges.iter()
    }

    /// True if no other copy than this one holds any of a range.
    pub(super) fn is_free(&self, range: &KeyRange, own: (ShardId, ReplicaId)) -> bool {
        self.ranges.find(range, |held| held.copy() != own).is_none()
    }

    /// A sync of the store begins that covers all that was applied so far.
    pub(super) fn sync_begins(&mut self, mark: u64, engine: &dyn Engine) -> Result<(), EngineError> {
        self.by_shard.values_mut().try_for_each(|copy| copy.sync_begins(mark, engine))
    }

    /// Syncs of the store up to this mark have finished.
    pub(super) fn synced(&mut self, mark: u64) {
        for (shard, copy) in &mut self.by_shard {
            copy.sync_finished(mark);
            self.dirty.insert(*shard);
        }
    }

    /// What the log may forget: all that the store has made durable.
    pub(super) fn cuts(&mut self) -> Vec<LogCut> {
        self.by_shard.values_mut().filter_map(|copy| copy.cut()).collect()
    }

    /// What the steward is to know of them: durable facts only. What they hold of the shards whose record is unsure.
    pub(super) fn reports(&self, is_unsure: impl Fn(ShardId) -> bool) -> Vec<QuorumReport> {
        let layout = |copy: &QuorumReplica| copy.certain_layout().filter(|_| is_unsure(copy.state().shard())).cloned();
        self.all().map(|copy| QuorumReport { layout: layout(copy), ..copy.report() }).collect()
    }

    /// Memory that entries of their logs take.
    pub(super) fn log_bytes(&self) -> usize {
        self.all().map(QuorumReplica::log_bytes).sum()
    }
}

fn held_by(state: &QuorumState) -> Held {
    Held { range: range_of(state), shard: state.shard(), replica: state.replica(), content: Content::Records }
}

#[cfg(test)]
mod tests;
