//! The replicas of this node, which of them have something to say, and what they take of its memory and its network.

mod log_space;
mod memory;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::{Engine, EngineError};
use crate::ids::{Incarnation, NodeId, ReplicaId, ShardId};
use crate::liveness::Liveness;
use crate::log::RecoveredLog;
use crate::map::Map;
use crate::message::{CopyReport, LEADERLESS_MAX};
use crate::node::ReplicaCounts;
use crate::node::quorums::Quorums;
use crate::planted::{Planted, is_planted};
use crate::ranges::{Content, Held, KeyRange, Ranges};
use crate::replica::state::ReplicaState;
use crate::replica::{Replica, Setup, SnapshotStarts};
use crate::system::state::SystemState;
use crate::time::{Now, Version};

use memory::Memory;
pub(super) use memory::Room;

/// All replicas of this node, and what they share.
pub(super) struct Replicas {
    setup: Setup,
    /// Each by itself: nodes of the tree have room for many more than they hold, and a replica is large.
    by_shard: BTreeMap<ShardId, Box<Replica>>,
    /// Those of quorum shards.
    quorums: Quorums,
    /// What they hold of the store.
    ranges: Ranges,
    /// Shards whose replicas have something to collect.
    dirty: BTreeSet<ShardId>,
    /// The highest version given here, or seen in a copy.
    highest: Version,
    /// Of which shard records were looked at last that may have ended.
    swept: ShardId,
    memory: Memory,
    /// True if logs that nobody needs have waited for the store when logs were last cut.
    logs_wait_for_sync: bool,
    /// Snapshots that may yet be begun in this period.
    snapshot_starts: SnapshotStarts,
    /// Bytes of snapshots that may be sent now. Negative: so many more have been sent than might be.
    snapshot_budget: i64,
}

impl Replicas {
    /// Makes the owner of a node's replicas, which holds none yet.
    pub(super) fn new(setup: Setup, incarnation: Incarnation) -> Self {
        Self {
            setup,
            by_shard: BTreeMap::new(),
            quorums: Quorums::new(incarnation),
            ranges: Ranges::default(),
            dirty: BTreeSet::new(),
            highest: Version::default(),
            swept: ShardId::SYSTEM,
            memory: Memory::default(),
            logs_wait_for_sync: false,
            snapshot_starts: SnapshotStarts::IN_PERIOD,
            snapshot_budget: 0,
        }
    }

    /// The copies of quorum shards.
    pub(super) fn quorums(&self) -> &Quorums {
        &self.quorums
    }

    /// The copies of quorum shards, to be changed.
    pub(super) fn quorums_mut(&mut self) -> &mut Quorums {
        &mut self.quorums
    }

    /// A replica of this node, which is not among them yet.
    pub(super) fn made_of(
        &self,
        state: ReplicaState,
        log: Option<RecoveredLog>,
        engine: &dyn Engine,
    ) -> Result<Replica, EngineError> {
        Replica::open(self.setup, state, log, engine)
    }

    /// Takes a replica in, in place of the one of its shard if there was one.
    pub(super) fn insert(&mut self, replica: Replica) {
        let shard = replica.descriptor().shard;
        self.saw_version(replica.last_version());
        if let Some(before) = self.by_shard.insert(shard, Box::new(replica)) {
            self.ranges.remove((shard, before.id()));
        }
        self.dirty.insert(shard);
        self.note_range(shard);
    }

    /// Takes a replica out: nothing is collected from it any more.
    pub(super) fn remove(&mut self, shard: ShardId) -> Option<Replica> {
        self.dirty.remove(&shard);
        let replica = self.by_shard.remove(&shard)?;
        self.ranges.remove((shard, replica.id()));
        Some(*replica)
    }

    /// The replica of this shard may hold another range now, or something else in it.
    pub(super) fn note_range(&mut self, shard: ShardId) {
        let Some(replica) = self.by_shard.get(&shard) else { return };
        match held_by(replica) {
            Some(held) => self.ranges.put(held),
            None => self.ranges.remove((shard, replica.id())),
        }
    }

    /// What they hold of the store.
    pub(super) fn held_ranges(&self) -> impl Iterator<Item = Held> {
        let is_noted = |held: &Held| self.ranges.iter().any(|noted| noted == held);
        debug_assert!(self.all().filter_map(held_by).all(|held| is_noted(&held)), "a range was not noted");
        self.all().filter_map(held_by).chain(self.quorums.held_ranges().cloned())
    }

    /// True if no other copy than this one holds any of a range.
    pub(super) fn is_free(&self, range: &KeyRange, own: (ShardId, ReplicaId)) -> bool {
        let is_free = self.ranges.find(range, |held| held.copy() != own).is_none() && self.quorums.is_free(range, own);
        is_free || is_planted(Planted::OverlapIgnored)
    }

    /// True if no copy has anything in a range that is to be wiped, but for one of which just that is left.
    pub(super) fn may_wipe(&self, garbage: &Held) -> bool {
        let counts = |held: &Held| held.copy() != garbage.copy() || held.content != Content::Remains;
        let is_free = self.ranges.find(&garbage.range, counts).is_none();
        is_free && self.quorums.is_free(&garbage.range, garbage.copy()) || is_planted(Planted::OverlapIgnored)
    }

    /// The replica of a shard. `None` = this node has none.
    pub(super) fn get(&self, shard: ShardId) -> Option<&Replica> {
        self.by_shard.get(&shard).map(Box::as_ref)
    }

    /// One of them. Whoever gives it something to say [touches](Self::touch) it.
    pub(super) fn get_mut(&mut self, shard: ShardId) -> Option<&mut Replica> {
        self.by_shard.get_mut(&shard).map(Box::as_mut)
    }

    /// One that something happens to: it counts every tick from now on.
    pub(super) fn awake(&mut self, shard: ShardId, liveness: &Liveness) -> Option<&mut Replica> {
        let replica = self.by_shard.get_mut(&shard)?;
        replica.wake(liveness);
        Some(replica)
    }

    /// All replicas, in order of shard id.
    pub(super) fn all(&self) -> impl Iterator<Item = &Replica> {
        self.by_shard.values().map(Box::as_ref)
    }

    /// This node's copy of the system shard, unless it has no records.
    pub(super) fn system(&self) -> Option<&Replica> {
        self.get(ShardId::SYSTEM).filter(|system| !system.is_blank())
    }

    /// This node's copy of the system shard, if it leads.
    pub(super) fn system_leader(&mut self) -> Option<&mut Replica> {
        self.get_mut(ShardId::SYSTEM).filter(|system| system.is_leader())
    }

    /// The map that this node's own copy of the system shard has applied.
    pub(super) fn own_map(&self) -> Option<&Map> {
        self.system().and_then(Replica::system).map(SystemState::map)
    }

    /// True while this node's copy of the system shard stands and hears from a leader.
    pub(super) fn follows_own_map(&self) -> bool {
        self.system().is_some_and(Replica::hears_leader)
    }

    /// True while this node's copy of the system shard leads, and has applied all that is committed: then nobody knows of
    /// more changes than it does.
    pub(super) fn leads_own_map(&self) -> bool {
        self.system().is_some_and(Replica::leads_and_has_all)
    }

    /// The replica of this shard may have something to say.
    pub(super) fn touch(&mut self, shard: ShardId) {
        self.dirty.insert(shard);
    }

    /// One that may have something to say, until it has something again.
    pub(super) fn next_touched(&mut self) -> Option<ShardId> {
        self.dirty.pop_first()
    }

    /// Does something to each, and touches those that have something to say then.
    pub(super) fn for_each(&mut self, mut act: impl FnMut(ShardId, &mut Replica)) {
        for (shard, replica) in &mut self.by_shard {
            act(*shard, replica);
            if replica.has_work() {
                self.dirty.insert(*shard);
            }
        }
    }

    /// One tick has passed for every replica.
    pub(super) fn tick(&mut self, map: &Map, quiet_ticks: u64, liveness: &Liveness, now: Now) {
        self.for_each(|shard, replica| replica.tick(|| map.shards.get(&shard), quiet_ticks, liveness, now));
    }

    /// A node has fallen silent, or another process speaks for it: what it was known to have may be gone, and every shard
    /// that it has a copy of looks after itself.
    pub(super) fn lost_sight(&mut self, node: NodeId, liveness: &Liveness) {
        self.for_each(|_, replica| replica.lost_sight(node, liveness));
    }

    /// This node's disk has stalled: what others can lead goes to them.
    pub(super) fn give_way(&mut self, liveness: &Liveness) {
        self.for_each(|_, replica| replica.give_way(liveness));
    }

    /// Hands leadership of every shard to another copy that is in sync, where there is one.
    pub(super) fn step_aside(&mut self, liveness: &Liveness) {
        for (shard, replica) in &mut self.by_shard {
            // Better one whose disk has stalled than none.
            let fit = replica.transfer_targets(|node| !liveness.is_stalled(node)).into_iter();
            if let Some(transfer_target) = fit.chain(replica.transfer_targets(|_| true)).next() {
                replica.wake(liveness);
                replica.transfer(transfer_target);
                self.dirty.insert(*shard);
            }
        }
    }

    /// The nodes that have a copy of a shard that is here, this one among them.
    pub(super) fn peer_nodes(&self) -> BTreeSet<NodeId> {
        self.all().flat_map(Replica::peer_nodes).collect()
    }

    /// The copies here that have had no leader for a while.
    pub(super) fn leaderless(&self) -> Vec<CopyReport> {
        self.all().filter_map(Replica::leaderless).take(LEADERLESS_MAX).collect()
    }

    /// A version was given, or seen in a copy.
    pub(super) fn saw_version(&mut self, version: Version) {
        self.highest = self.highest.max(version);
    }

    /// The highest version given here, or seen in a copy.
    pub(super) fn highest(&self) -> Version {
        self.highest
    }

    /// How many there are, and in what state.
    pub(super) fn counts(&self) -> ReplicaCounts {
        let count = |is: fn(&Replica) -> bool| self.all().filter(|r| is(r)).count() as u64;
        ReplicaCounts {
            replicas: self.by_shard.len() as u64,
            leaders: count(Replica::is_leader),
            quiescent: count(Replica::is_quiescent),
            requests: self.all().map(Replica::requests_len).sum(),
        }
    }
}

/// What a copy holds of the store. A new one that waits for its first snapshot holds nothing.
fn held_by(replica: &Replica) -> Option<Held> {
    let state = replica.state();
    let content = if state.blank { Content::Remains } else { Content::Records };
    let (range, shard) = (KeyRange::of(&state.descriptor), state.descriptor.shard);
    let is_known = !state.descriptor.members.is_empty();
    is_known.then_some(Held { range, shard, replica: state.replica, content })
}

#[cfg(test)]
mod tests;
