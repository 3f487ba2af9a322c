//! What this node does when its map has changed: makes the copies that a new shard starts with here, and ends those that
//! belong here no more.

use crate::engine::{Engine, EngineError};
use crate::ids::{NodeId, ReplicaId, ShardId};
use crate::map::{Map, MapDelta, Role, ShardRecord};
use crate::node::Node;
use crate::node::authority::Subject;
use crate::node::known_map::{Here, KnownMap};
use crate::node::outbox::Outbox;
use crate::planted::{Planted, is_planted};

impl Node {
    /// The map, by what it is judged, and what it asks of others.
    pub(super) fn map_here(&mut self) -> (&mut KnownMap, Here<'_>, &mut Outbox) {
        let here = Here {
            identity: &self.identity,
            replicas: &self.replicas,
            liveness: self.others.liveness(),
            are_any_forgotten: self.tombstones.are_any_forgotten(),
            ticks: self.ticks,
        };
        (&mut self.map, here, &mut self.outbox)
    }

    /// Takes over what this node's own copy of the system shard has applied.
    pub(super) fn learn_own_map(&mut self) {
        let (map, here, _) = self.map_here();
        map.learn_own(here);
    }

    /// Takes in the part of the map that another node has sent.
    pub(super) fn learn(&mut self, from: NodeId, delta: MapDelta) {
        let (map, here, outbox) = self.map_here();
        if let Err(refused) = map.learn(from, delta, here, outbox) {
            self.others.refuse(from, &refused);
        }
    }

    /// True if a record of the map may have an effect that cannot be undone.
    pub(super) fn is_confirmed(&mut self, subject: Subject) -> bool {
        let (map, here, _) = self.map_here();
        map.is_confirmed(subject, here)
    }

    /// Makes the copies that a new shard starts with here, and ends those that belong here no more.
    pub(super) fn follow_map(&mut self, map: &Map, engine: &dyn Engine) -> Result<(), EngineError> {
        self.map.begin_look();
        let (known, here, _) = self.map_here();
        known.learn_level(here).map_err(EngineError::unreadable)?;
        engine.write(vec![self.map.nodes_write()])?;
        self.disk.syncs().written();
        // A piece does not tell which ids were given by then.
        if self.map.is_whole() && self.tombstones.are_any_forgotten() && self.may_bound() {
            self.tombstones.bound(&self.identity, map, engine)?;
        }
        self.tombstones.look_for_lost(self.identity.node, map);
        let (known, here, _) = self.map_here();
        known.trust_system(here);
        for record in map.shards.values() {
            self.follow_record(map, record, engine)?;
        }
        let (known, here, outbox) = self.map_here();
        known.seek_confirmation(here, outbox);
        Ok(())
    }

    fn follow_record(&mut self, map: &Map, record: &ShardRecord, engine: &dyn Engine) -> Result<(), EngineError> {
        if let Some(layout) = record.layout() {
            return self.follow_quorum_record(map, record, layout, engine);
        }
        let here = self.identity.node;
        let shard = record.descriptor.shard;
        let is_dropped = map.tables.get(&record.descriptor.table).is_some_and(|t| t.dropped);
        match self.replicas.get(shard) {
            Some(replica) => {
                let behind = record.descriptor.generation >= replica.descriptor().generation;
                let gone = behind && replica.id() <= map.replica_max() && !names(record, replica.id());
                let dropped = Subject::Dropped(record.descriptor.table);
                if is_dropped && self.is_confirmed(dropped) {
                    self.destroy(shard, engine)?;
                } else if gone && self.is_confirmed(Subject::Shard(shard)) {
                    self.leave_or_go_on(record, map.fresh_recovery(record), engine)?;
                }
            }
            None if !is_dropped && record.descriptor.generation.0 == 1 => {
                let first = record.descriptor.members.iter().find(|m| m.replica.node == here && m.role == Role::Voter);
                let first = first.map(|member| member.replica.id);
                if let Some(replica) = first.filter(|replica| self.may_create_first(shard, *replica)) {
                    self.create_first(replica, &record.descriptor, engine)?;
                }
            }
            None => {}
        }
        Ok(())
    }

    /// True once it is certain that this start is registered, and so that the map has all ids that were given before.
    fn may_bound(&mut self) -> bool {
        is_planted(Planted::ForgottenOnOneWord) || self.is_confirmed(Subject::Start)
    }

    fn may_create_first(&mut self, shard: ShardId, replica: ReplicaId) -> bool {
        let is_new = !self.tombstones.is_entombed(shard, replica);
        is_new && !self.garbage.is_of(shard) && self.is_confirmed(Subject::Shard(shard))
    }
}

/// True if a record has, or is to have, this copy.
pub(super) fn names(record: &ShardRecord, replica: ReplicaId) -> bool {
    let is_member = record.descriptor.members.iter().any(|m| m.replica.id == replica);
    is_member || record.assigned.iter().any(|r| r.id == replica)
}

#[cfg(test)]
mod tests;
