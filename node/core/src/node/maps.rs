//! How the map reaches every node: copies of the system shard know it first and push it; whoever has none asks. And what
//! a node does when it learns of a newer one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::codec;
use crate::engine::{Engine, EngineError, EngineWrite, own, own_key};
use crate::ids::{Epoch, NodeId, ReplicaId, ShardId};
use crate::map::{Map, MapDelta, NodeRecord, NodeState, Replica as Copy, Role, ShardRecord};
use crate::message::PeerMessage;
use crate::node::Node;
use crate::node::admit::{self, MapRefused};
use crate::node::authority::{Subject, Witnesses};
use crate::planted::{Planted, is_planted};
use crate::replica::Replica;
use crate::replica::state::ReplicaState;
use crate::system::state::SystemState;

/// Ticks between two requests for the map, by a node without a copy of the system shard.
const ASK_TICKS: u64 = 6;
/// Records of the map in one message, about a mebibyte. What changed at one epoch is never parted, so a message has at
/// most as many more as one table has shards.
pub(super) const MAP_RECORDS_MAX: usize = 4_096;

impl Node {
    /// Takes over what this node's own copy of the system shard has applied.
    pub(super) fn learn_own_map(&mut self) {
        let Some(own) = own_map(&self.replicas) else { return };
        let is_behind = own.epoch > self.map.epoch;
        if !self.authority.must_replace(own.epoch, self.map.epoch, self.ticks) && !is_behind {
            return;
        }
        if self.authority.is_foreign() {
            self.map = Arc::new(own.clone());
            self.authority.replaced();
        } else {
            let delta = own.since(self.map.epoch);
            Arc::make_mut(&mut self.map).merge(delta);
        }
        if let Some(system) = self.map.shards.get(&ShardId::SYSTEM) {
            self.authority.trust(system);
        }
        (self.map_changed, self.is_map_whole) = (true, true);
    }

    /// What another node knows. It is ignored while this node's own copy of the system shard hears from a leader: that
    /// copy is told of every change.
    pub(super) fn learn(&mut self, from: NodeId, delta: MapDelta) {
        if delta.cluster != self.identity.cluster {
            return;
        }
        let witnesses = self.witnesses();
        let is_ahead = admit::map::admit(&self.begun_anew(), &delta).is_ok()
            && self.authority.is_ahead(from, &delta, self.map.epoch, &witnesses, self.ticks);
        if self.follows_own_map() {
            if let Some(own) = own_map(&self.replicas).filter(|_| is_ahead && self.authority.is_foreign()) {
                self.map = Arc::new(own.clone());
                self.authority.replaced();
                (self.map_changed, self.is_map_whole) = (true, true);
            }
            return;
        }
        if is_ahead {
            self.map = Arc::new(self.begun_anew());
        }
        if !witnesses.contains(from) && self.system_nodes().contains(&from) {
            return self.hear_named(from, &delta);
        }
        let admitted = match witnesses.contains(from) {
            true => admit::map::admit(&self.map, &delta),
            false => Err(MapRefused::Sender),
        };
        if let Err(refused) = admitted {
            self.refusals.note(from, &refused);
            return;
        }
        let span = (delta.since, delta.epoch);
        let agreed: BTreeSet<(Subject, Epoch)> = self.subjects(&delta).collect();
        let (is_last, is_of_matter) = (delta.replica_max != ReplicaId::default(), !agreed.is_empty());
        if Arc::make_mut(&mut self.map).merge(delta) {
            self.is_map_whole = is_last;
            self.map_changed = true;
            self.authority.is_told();
            if let Some(system) = self.map.shards.get(&ShardId::SYSTEM).filter(|_| witnesses.is_anybody()) {
                self.authority.trust(system);
            }
            // More of it may be there than fits into one message.
            self.ask_for_map(from);
        }
        self.authority.hear_all(from, span, &agreed);
        for (subject, epoch) in agreed {
            if self.epoch_of(subject) == Some(epoch) {
                self.authority.note(subject, epoch, from, self.ticks);
            }
        }
        if self.authority.is_denied(&witnesses) {
            self.authority.forget_said();
            self.map = Arc::new(self.begun_anew());
            self.ask_for_map(from);
        }
        self.map_changed |= is_of_matter || self.authority.asks_from().is_some();
    }

    /// A map of the known nodes alone. If this node's map is the wrong one, nothing is judged by it.
    fn begun_anew(&self) -> Map {
        Map::of_nodes(self.identity.cluster.clone(), self.map.nodes.values().cloned().collect())
    }

    /// A node that has a copy of the system shard, as an unconfirmed record says, may confirm that record. No more of it
    /// is taken.
    fn hear_named(&mut self, from: NodeId, delta: &MapDelta) {
        let here = self.map.shards.get(&ShardId::SYSTEM);
        let same = delta.shards.iter().find(|record| here == Some(*record)).map(|record| record.epoch);
        if let Some(epoch) = same {
            self.authority.note(Subject::Shard(ShardId::SYSTEM), epoch, from, self.ticks);
            self.map_changed |= self.authority.asks_from().is_some();
        }
    }

    /// The other nodes that vote in the system shard, as the map has it. One that is to have a new copy may be one that waits
    /// for the end of its last.
    fn system_nodes(&self) -> BTreeSet<NodeId> {
        let system = self.map.shards.get(&ShardId::SYSTEM);
        let members = system.into_iter().flat_map(|record| &record.descriptor.members);
        let voters = members.filter(|member| member.role != Role::Learner);
        voters.map(|member| member.replica.node).filter(|node| *node != self.identity.node).collect()
    }

    /// True while this node's copy of the system shard stands and hears from a leader.
    fn follows_own_map(&self) -> bool {
        self.replicas.get(&ShardId::SYSTEM).is_some_and(|system| !system.is_blank() && system.hears_leader())
    }

    /// True while this node's copy of the system shard leads, and has applied all that is committed: then nobody knows of
    /// more changes than it does.
    pub(super) fn leads_own_map(&self) -> bool {
        self.replicas.get(&ShardId::SYSTEM).is_some_and(|system| !system.is_blank() && system.leads_and_has_all())
    }

    fn witnesses(&self) -> Witnesses {
        self.authority.witnesses(self.identity.node, &self.map, &self.liveness, self.ticks)
    }

    /// The records of a delta that may end or make a copy here, and the one that tells where the system shard is; not those
    /// that the map has otherwise at the same epoch.
    fn subjects<'a>(&'a self, delta: &'a MapDelta) -> impl Iterator<Item = (Subject, Epoch)> + 'a {
        let here = |record: &&ShardRecord| {
            let shard = record.descriptor.shard;
            let known = self.map.shards.get(&shard).filter(|known| known.epoch == record.epoch);
            let matters = shard == ShardId::SYSTEM
                || self.replicas.contains_key(&shard)
                || record.names(self.identity.node)
                || self.authority.speaks_of(Subject::Shard(shard));
            matters && known.is_none_or(|known| known == *record)
        };
        let shards = delta.shards.iter().filter(here).map(|r| (Subject::Shard(r.descriptor.shard), r.epoch));
        let dropped = delta.tables.iter().filter(|t| t.dropped).map(|t| (Subject::Dropped(t.id), t.epoch));
        let matters = self.forgotten.is_open() || self.authority.speaks_of(Subject::Start);
        let is_start = |r: &&NodeRecord| matters && self.is_this_start(r);
        let start = delta.nodes.iter().find(is_start).map(|r| (Subject::Start, r.epoch));
        shards.chain(dropped).chain(start)
    }

    /// True for a record of this node that was made in its present start, or in a later one.
    fn is_this_start(&self, record: &NodeRecord) -> bool {
        record.id == self.identity.node && record.incarnation >= self.identity.incarnation
    }

    fn epoch_of(&self, subject: Subject) -> Option<Epoch> {
        match subject {
            Subject::Shard(shard) => self.map.shards.get(&shard).map(|record| record.epoch),
            Subject::Dropped(table) => self.map.tables.get(&table).filter(|t| t.dropped).map(|t| t.epoch),
            Subject::Start => {
                self.map.nodes.get(&self.identity.node).filter(|r| self.is_this_start(r)).map(|r| r.epoch)
            }
        }
    }

    /// True if a record of the map may have an effect that cannot be undone: this node's own copy of the system shard
    /// has it, or enough nodes say so. If not, the others are asked.
    pub(super) fn is_confirmed(&mut self, subject: Subject) -> bool {
        let here = self.identity.node;
        let is_own = own_map(&self.replicas).is_some_and(|own| match subject {
            Subject::Shard(shard) => own.shards.get(&shard) == self.map.shards.get(&shard),
            Subject::Dropped(table) => own.tables.get(&table) == self.map.tables.get(&table),
            Subject::Start => own.nodes.get(&here) == self.map.nodes.get(&here),
        });
        let Some(epoch) = self.epoch_of(subject) else { return false };
        let (witnesses, named) = (self.witnesses(), self.system_nodes());
        let is_confirmed = is_own || self.authority.is_confirmed(subject, epoch, &witnesses, &named, self.ticks);
        if !is_confirmed {
            self.authority.wait_for(epoch);
        }
        is_confirmed
    }

    /// Asks those whose word is missing, and looks again: who counts changes with time.
    pub(super) fn seek_confirmation(&mut self) {
        let Some(have) = self.authority.asks_from().filter(|_| self.authority.may_ask(self.ticks)) else { return };
        let (witnesses, named) = (self.witnesses(), self.system_nodes());
        self.asked += 1;
        for turn in [self.asked, self.asked + 1] {
            if let Some(node) = witnesses.pick(turn) {
                self.send.push((node, PeerMessage::MapWant { have }));
            }
        }
        // Whoever was not one of them before.
        let turn = usize::try_from(self.asked).unwrap_or(0).checked_rem(named.len());
        if let Some(node) = turn.and_then(|turn| named.into_iter().nth(turn)).filter(|node| !witnesses.contains(*node))
        {
            self.send.push((node, PeerMessage::MapWant { have }));
        }
    }

    /// Pushes what others lack, or asks for what this node lacks.
    pub(super) fn exchange_maps(&mut self) {
        self.authority.tick(self.follows_own_map(), self.leads_own_map(), self.ticks);
        if self.ticks % ASK_TICKS == 3 && self.authority.asks_from().is_some() {
            self.map_changed = true;
        }
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
                let piece = own_map(&self.replicas).unwrap_or(&self.map).piece_since(known, MAP_RECORDS_MAX);
                // Taken as arrived; a node that missed it asks.
                self.epochs.insert(node, piece.epoch);
                self.send.push((node, PeerMessage::Map(piece)));
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
        // Nobody knows more than there is.
        let known = have.min(self.map.epoch).max(self.epochs.get(&from).copied().unwrap_or_default());
        self.epochs.insert(from, known);
        // A copy of the system shard speaks for what it has applied, never for what others have said. Other nodes pass on
        // what is confirmed: what one node says would come from two otherwise.
        let own = own_map(&self.replicas);
        if own.is_none() && self.authority.asks_from().is_some() && !is_planted(Planted::MapUnconfirmed) {
            return;
        }
        let map = own.unwrap_or(&self.map);
        // Nobody knows of more changes than the steward does: see `reported_by`, which a wrong map may lead elsewhere.
        let have = if have > map.epoch && self.stewardship.term != 0 { Epoch(0) } else { have };
        if have < map.epoch && map.epoch > Epoch(0) {
            self.send.push((from, PeerMessage::Map(map.piece_since(have, MAP_RECORDS_MAX))));
        }
    }

    /// Makes the copies that a new shard starts with here, and ends those that belong here no more.
    pub(super) fn follow_map(&mut self, engine: &dyn Engine) -> Result<(), EngineError> {
        engine.write(vec![nodes_write(self.map.nodes.values().cloned().collect())])?;
        self.unsynced = true;
        let map = Arc::clone(&self.map);
        self.authority.begin_look();
        // A piece does not tell which ids were given by then.
        if self.is_map_whole && self.forgotten.is_open() && self.may_bound() {
            self.forgotten.bound(&self.identity, &map, engine)?;
        }
        let here = self.identity.node;
        let live = map.shards.values().filter(|record| map.is_live(record));
        self.lost = live.filter_map(|record| self.lost_copy(record)).collect();
        if self.is_confirmed(Subject::Shard(ShardId::SYSTEM))
            && let Some(system) = map.shards.get(&ShardId::SYSTEM)
        {
            self.authority.trust(system);
        }
        for record in map.shards.values() {
            let shard = record.descriptor.shard;
            let is_dropped = map.tables.get(&record.descriptor.table).is_some_and(|t| t.dropped);
            match self.replicas.get(&shard) {
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
                    let first =
                        record.descriptor.members.iter().find(|m| m.replica.node == here && m.role == Role::Voter);
                    if let Some(member) = first {
                        self.create_first(record, member.replica.id, engine)?;
                    }
                }
                None => {}
            }
        }
        self.seek_confirmation();
        Ok(())
    }

    /// True once it is certain that this start is registered, and so that the map has all ids that were given before.
    fn may_bound(&mut self) -> bool {
        is_planted(Planted::ForgottenOnOneWord) || self.is_confirmed(Subject::Start)
    }

    /// A copy that the map has here and that this node must never speak for again.
    pub(super) fn lost_copy(&self, record: &ShardRecord) -> Option<(ShardId, ReplicaId)> {
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
        let shard = record.descriptor.shard;
        let is_new = !self.is_entombed(shard, replica);
        if !is_new || self.has_garbage(shard) || !self.is_confirmed(Subject::Shard(shard)) {
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
        state.check().map_err(EngineError::unreadable)?;
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

/// The map that this node's own copy of the system shard has applied.
fn own_map(replicas: &BTreeMap<ShardId, Replica>) -> Option<&Map> {
    let system = replicas.get(&ShardId::SYSTEM).filter(|system| !system.is_blank());
    system.and_then(Replica::system).map(SystemState::map)
}

pub(super) fn names(record: &ShardRecord, replica: ReplicaId) -> bool {
    let is_member = record.descriptor.members.iter().any(|m| m.replica.id == replica);
    is_member || record.assigned.iter().any(|r| r.id == replica)
}

/// The store's record of the nodes that this one knows, for its next start.
pub(super) fn nodes_write(nodes: Vec<NodeRecord>) -> EngineWrite {
    EngineWrite::Put(own_key(own::NODES), codec::encode(&nodes))
}
