//! How the map reaches every node: copies of the system shard know it first and push it; whoever has none asks. And what
//! a node does when it learns of a newer one.

use std::sync::Arc;

use crate::engine::{Engine, EngineError};
use crate::ids::{Epoch, NodeId, ReplicaId, ShardId};
use crate::map::{MapDelta, NodeState, Replica as Copy, Role, ShardRecord};
use crate::message::PeerMessage;
use crate::node::{Node, open};
use crate::planted::{Planted, is_planted};
use crate::replica::Replica;
use crate::replica::state::ReplicaState;

/// Ticks between two requests for the map, by a node without a copy of the system shard.
const ASK_TICKS: u64 = 6;

impl Node {
    /// Takes over what this node's own copy of the system shard has applied.
    pub(super) fn learn_own_map(&mut self) {
        let delta = match self.replicas.get(&ShardId::SYSTEM).and_then(|r| r.applier.system.as_ref()) {
            Some(system) if system.map().epoch > self.map.epoch => system.map().since(self.map.epoch),
            _ => return,
        };
        self.learn(delta);
    }

    pub(super) fn learn(&mut self, delta: MapDelta) {
        if delta.cluster == self.identity.cluster && Arc::make_mut(&mut self.map).merge(delta) {
            self.map_changed = true;
        }
    }

    /// Pushes what others lack, or asks for what this node lacks.
    pub(super) fn exchange_maps(&mut self) {
        let knows_first = self.replicas.get(&ShardId::SYSTEM).is_some_and(|r| !r.is_blank());
        if knows_first {
            self.push_maps();
        } else if self.ticks % ASK_TICKS == 1
            && let Some(node) = self.next_to_ask()
        {
            self.send.push((node, PeerMessage::MapWant { have: self.map.epoch }));
        }
    }

    /// Only the leader pushes, to nodes that it knows to be behind; all copies answer when asked.
    fn push_maps(&mut self) {
        if !self.replicas.get(&ShardId::SYSTEM).is_some_and(Replica::is_leader) {
            if self.ticks % (4 * ASK_TICKS) == 1
                && let Some(node) = self.next_to_ask()
            {
                self.send.push((node, PeerMessage::MapWant { have: self.map.epoch }));
            }
            return;
        }
        let epoch = self.map.epoch;
        let others: Vec<_> = self
            .map
            .nodes
            .values()
            .filter(|n| n.state != NodeState::Removed && n.id != self.identity.node)
            .map(|n| n.id)
            .collect();
        for node in others {
            if let Some(known) = self.epochs.get(&node).copied().filter(|known| *known < epoch) {
                self.send.push((node, PeerMessage::Map(self.map.since(known))));
                // Taken as arrived; a node that missed it asks.
                self.epochs.insert(node, epoch);
            }
        }
    }

    /// The system shard's members in turn; every known node in turn while none is known.
    fn next_to_ask(&mut self) -> Option<NodeId> {
        self.asked += 1;
        let members = self
            .map
            .shards
            .get(&ShardId::SYSTEM)
            .map(|s| s.descriptor.members.iter().map(|m| m.replica.node).collect::<Vec<_>>());
        let all = || self.map.nodes.keys().copied().collect::<Vec<_>>();
        // Now and then anyone, in case every member that is known here is gone.
        let mut pool = match members {
            Some(members) if !members.is_empty() && !self.asked.is_multiple_of(4) => members,
            _ => all(),
        };
        pool.retain(|n| *n != self.identity.node);
        let pick = usize::try_from(self.asked).unwrap_or(0).checked_rem(pool.len())?;
        pool.get(pick).copied()
    }

    /// Asks at most once a tick.
    pub(super) fn ask_for_map(&mut self, node: NodeId) {
        let want = (node, PeerMessage::MapWant { have: self.map.epoch });
        if !self.send.contains(&want) {
            self.send.push(want);
        }
    }

    pub(super) fn map_wanted(&mut self, from: NodeId, have: Epoch) {
        self.epochs.insert(from, have.max(self.epochs.get(&from).copied().unwrap_or_default()));
        if have < self.map.epoch && self.map.epoch > Epoch(0) {
            self.send.push((from, PeerMessage::Map(self.map.since(have))));
        }
    }

    /// Makes the copies that a new shard starts with here, and ends those that belong here no more.
    pub(super) fn follow_map(&mut self, engine: &dyn Engine) -> Result<(), EngineError> {
        engine.write(vec![open::nodes_write(self.map.nodes.values().cloned().collect())])?;
        self.unsynced = true;
        let map = Arc::clone(&self.map);
        self.forgotten.bound(&self.identity, &map, engine)?;
        let here = self.identity.node;
        self.lost = map.shards.values().filter_map(|record| self.lost_copy(record)).collect();
        for record in map.shards.values() {
            let shard = record.descriptor.shard;
            let is_dropped = map.tables.get(&record.descriptor.table).is_some_and(|t| t.dropped);
            match self.replicas.get(&shard) {
                Some(replica) => {
                    let behind = record.descriptor.generation >= replica.descriptor().generation;
                    let gone = behind && replica.id() <= map.replica_max() && !names(record, replica.id());
                    if is_dropped {
                        self.destroy(shard, engine)?;
                    } else if gone {
                        self.leave_or_go_on(record, map.fresh_recovery(record), engine)?;
                    }
                }
                None if !is_dropped && record.descriptor.generation.0 == 1 => {
                    let first =
                        record.descriptor.members.iter().find(|m| m.replica.node == here && m.role == Role::Voter);
                    if let Some(member) = first {
                        self.create_first(record, member.replica.id, engine)?;
                    }
                }
                None => {}
            }
        }
        Ok(())
    }

    /// A copy that the map has here and that this node must never speak for again.
    fn lost_copy(&self, record: &ShardRecord) -> Option<(ShardId, ReplicaId)> {
        let shard = record.descriptor.shard;
        let here = |r: &Copy| r.node == self.identity.node && self.is_given_up(shard, r.id);
        let members = record.descriptor.members.iter().map(|m| m.replica);
        record.assigned.iter().copied().chain(members).find(here).map(|r| (shard, r.id))
    }

    fn create_first(
        &mut self,
        record: &ShardRecord,
        replica: ReplicaId,
        engine: &dyn Engine,
    ) -> Result<(), EngineError> {
        let is_new = !self.is_entombed(record.descriptor.shard, replica);
        if !is_new || self.has_garbage(record.descriptor.shard) {
            return Ok(());
        }
        self.create(ReplicaState::first(replica, record.descriptor.clone()), engine)
    }

    pub(super) fn is_entombed(&self, shard: ShardId, replica: ReplicaId) -> bool {
        self.is_given_up(shard, replica) && !is_planted(Planted::TombstoneIgnored)
    }

    fn is_given_up(&self, shard: ShardId, replica: ReplicaId) -> bool {
        self.tombstones.get(&shard).is_some_and(|t| *t >= replica) || self.forgotten.may_be(replica)
    }

    /// A new copy. It says nothing before the store has made it durable: what it promises then is not forgotten.
    pub(super) fn create(&mut self, state: ReplicaState, engine: &dyn Engine) -> Result<(), EngineError> {
        let shard = state.descriptor.shard;
        engine.write(vec![state.write()])?;
        let mut replica = Replica::open(self.replica_setup(), state, None, engine)?;
        replica.hold_until(self.marks + 1);
        self.replicas.insert(shard, replica);
        self.dirty.insert(shard);
        self.unsynced = true;
        self.wants_sync = true;
        Ok(())
    }
}

pub(super) fn names(record: &ShardRecord, replica: ReplicaId) -> bool {
    let is_member = record.descriptor.members.iter().any(|m| m.replica.id == replica);
    is_member || record.assigned.iter().any(|r| r.id == replica)
}
