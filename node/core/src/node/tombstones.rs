//! Copies that this node must never speak for again, and what others may know of their ends by now.
//!
//! An end is told, to the log and to the steward, only once the store has made its tombstone durable: a copy whose end
//! was told must not be back after a crash.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::engine::{Engine, EngineError, EngineWrite, shard_key, state};
use crate::ids::{NodeId, ReplicaId, ShardId};
use crate::log::LogWrite;
use crate::map::{Map, Replica as Copy, ShardRecord};
use crate::node::Identity;
use crate::node::forgotten::Forgotten;
use crate::planted::{Planted, is_planted};

/// The tombstones of this node: which copies it must never speak for again.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    /// The highest copy of each shard.
    highest: BTreeMap<ShardId, ReplicaId>,
    /// Copies that an earlier store of this node may have held.
    forgotten: Forgotten,
    /// Copies that the map wants here and that are entombed: to be built anew.
    lost: Vec<(ShardId, ReplicaId)>,
    /// Tombstones that no sync of the store has covered yet, each with the mark of the sync that does.
    unsynced: Vec<(u64, ShardId, ReplicaId)>,
    /// Copies that the log may note the end of.
    ends: Vec<(ShardId, ReplicaId)>,
}

impl Tombstones {
    /// The tombstones as the store holds them.
    pub(super) fn open(highest: BTreeMap<ShardId, ReplicaId>, forgotten: Forgotten) -> Self {
        Self { highest, forgotten, ..Self::default() }
    }

    /// This node never speaks for this copy, or an earlier one of the shard, again. The write is to be covered by the sync
    /// with this mark.
    pub(super) fn entomb(&mut self, shard: ShardId, replica: ReplicaId, mark: u64) -> EngineWrite {
        let highest = self.highest.entry(shard).or_default();
        *highest = replica.max(*highest);
        let replica = *highest;
        if is_planted(Planted::EndNotedBeforeSync) {
            self.ends.push((shard, replica));
        } else {
            self.unsynced.push((mark, shard, replica));
        }
        tombstone_write(shard, replica)
    }

    /// Syncs of the store up to this mark have finished.
    pub(super) fn synced(&mut self, mark: u64) {
        let durable = self.unsynced.extract_if(.., |(covering, ..)| *covering <= mark);
        self.ends.extend(durable.map(|(_, shard, replica)| (shard, replica)));
    }

    /// Ends that the store has made durable and the log does not know yet.
    pub(super) fn take_ends(&mut self) -> Vec<LogWrite> {
        let ends = std::mem::take(&mut self.ends);
        let end = |(shard, replica)| LogWrite {
            shard,
            replica,
            reset: None,
            entries: Vec::new(),
            hard_state: None,
            destroyed: true,
        };
        ends.into_iter().map(end).collect()
    }

    /// True if no such copy may be made here.
    pub(super) fn is_entombed(&self, shard: ShardId, replica: ReplicaId) -> bool {
        self.is_given_up(shard, replica) && !is_planted(Planted::TombstoneIgnored)
    }

    fn is_given_up(&self, shard: ShardId, replica: ReplicaId) -> bool {
        self.highest.get(&shard).is_some_and(|highest| *highest >= replica) || self.forgotten.may_be(replica)
    }

    /// Looks which copies the map wants on this node though it must never speak for them again.
    pub(super) fn look_for_lost(&mut self, here: NodeId, map: &Map) {
        let live = map.shards.values().filter(|record| map.is_live(record));
        self.lost = live.flat_map(|record| self.lost_copies(here, record)).collect();
    }

    /// All of a shard's: where a lost copy is being replaced on this node, its successor may be lost as well, and who waits
    /// for the end of the first one must hear of it still.
    fn lost_copies(&self, here: NodeId, record: &ShardRecord) -> BTreeSet<(ShardId, ReplicaId)> {
        let shard = record.descriptor.shard;
        let is_lost = |r: &Copy| r.node == here && self.is_given_up(shard, r.id);
        let members = record.descriptor.members.iter().map(|m| m.replica);
        record.assigned.iter().copied().chain(members).filter(is_lost).map(|r| (shard, r.id)).collect()
    }

    /// Lost copies that the steward may be told of.
    pub(super) fn lost(&self) -> Vec<(ShardId, ReplicaId)> {
        self.lost.iter().copied().filter(|copy| self.is_durable(*copy)).collect()
    }

    /// What is told must stay so: without its tombstone a copy could be back after a crash.
    fn is_durable(&self, (shard, replica): (ShardId, ReplicaId)) -> bool {
        is_planted(Planted::LossToldBeforeSync)
            || !self.unsynced.iter().any(|&(_, pending, id)| pending == shard && id >= replica)
    }

    /// True while it is not known which copies of an earlier store there were.
    pub(super) fn are_any_forgotten(&self) -> bool {
        self.forgotten.is_open()
    }

    /// It is certain that the map has this start: see [`Forgotten::bound`].
    pub(super) fn bound(&mut self, own: &Identity, map: &Map, engine: &dyn Engine) -> Result<(), EngineError> {
        self.forgotten.bound(own, map, engine)
    }
}

/// The store's record of a copy that is gone for good: its id is never used again.
pub(super) fn tombstone_write(shard: ShardId, replica: ReplicaId) -> EngineWrite {
    EngineWrite::Put(shard_key(shard, state::TOMBSTONE, &[]), Bytes::copy_from_slice(&replica.0.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::{Descriptor, Member, Role};

    const HERE: NodeId = NodeId(1);
    const SHARD: ShardId = ShardId(7);

    fn entombed(replica: u64, mark: u64) -> Tombstones {
        let mut tombstones = Tombstones::default();
        tombstones.entomb(SHARD, ReplicaId(replica), mark);
        tombstones
    }

    #[test]
    fn a_tombstone_stands_for_all_earlier_copies_of_its_shard_and_never_falls() {
        let mut tombstones = entombed(5, 1);
        assert_eq!(tombstones.entomb(SHARD, ReplicaId(3), 1), tombstone_write(SHARD, ReplicaId(5)));
        assert!(tombstones.is_entombed(SHARD, ReplicaId(4)) && tombstones.is_entombed(SHARD, ReplicaId(5)));
        assert!(!tombstones.is_entombed(SHARD, ReplicaId(6)) && !tombstones.is_entombed(ShardId(8), ReplicaId(4)));
    }

    #[test]
    fn an_end_is_noted_once_and_only_when_the_store_has_it() {
        let mut tombstones = entombed(5, 2);
        tombstones.synced(1);
        assert_eq!(tombstones.take_ends(), []);
        tombstones.synced(2);
        let ends: Vec<_> = tombstones.take_ends().iter().map(|end| (end.shard, end.replica, end.destroyed)).collect();
        assert_eq!(ends, [(SHARD, ReplicaId(5), true)]);
        assert_eq!(tombstones.take_ends(), []);
    }

    #[test]
    fn a_copy_is_lost_only_if_it_is_here_and_given_up() {
        let tombstones = entombed(5, 1);
        let copy = |node, id| Copy { node: NodeId(node), id: ReplicaId(id) };
        let lost = |assigned: Vec<Copy>, members: Vec<Copy>| {
            let members = members.into_iter().map(|replica| Member { replica, role: Role::Voter }).collect();
            let descriptor = Descriptor { shard: SHARD, members, ..Descriptor::default() };
            let record = ShardRecord { descriptor, assigned, ..ShardRecord::default() };
            tombstones.lost_copies(HERE, &record).iter().map(|(shard, id)| (shard.0, id.0)).collect::<Vec<_>>()
        };
        assert_eq!(lost(vec![copy(1, 5)], vec![]), [(7, 5)]);
        assert_eq!(lost(vec![], vec![copy(2, 4), copy(1, 4)]), [(7, 4)]);
        assert_eq!(lost(vec![copy(1, 6)], vec![copy(1, 6)]), []);
        assert_eq!(lost(vec![copy(2, 5)], vec![copy(3, 4)]), []);
        assert_eq!(lost(vec![copy(1, 5)], vec![copy(1, 3), copy(1, 5)]), [(7, 3), (7, 5)], "and what it replaces");
    }

    #[test]
    fn a_loss_is_told_only_when_the_store_has_its_tombstone() {
        let mut tombstones = Tombstones { lost: vec![(SHARD, ReplicaId(5))], ..entombed(5, 2) };
        assert_eq!(tombstones.lost(), []);
        tombstones.synced(2);
        assert_eq!(tombstones.lost(), [(SHARD, ReplicaId(5))]);
    }
}
