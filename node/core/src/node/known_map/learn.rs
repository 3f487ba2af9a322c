//! What becomes of the map when another node, or this node's own copy of the system shard, tells of changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ids::{Epoch, NodeId, ReplicaId, ShardId};
use crate::map::{Map, MapDelta, NodeRecord, RecoveryRecord, Role, ShardRecord};
use crate::node::admit::{self, MapRefused};
use crate::node::authority::{Subject, Witnesses};
use crate::node::known_map::{Here, KnownMap};
use crate::node::outbox::Outbox;

impl KnownMap {
    /// Takes over what this node's own copy of the system shard has applied.
    pub(in crate::node) fn learn_own(&mut self, here: Here<'_>) {
        let Some(own) = here.replicas.own_map() else { return };
        let is_behind = own.epoch > self.map.epoch;
        if !self.authority.must_replace(own.epoch, self.map.epoch, here.ticks) && !is_behind {
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
        self.has_changed = true;
        self.is_now_whole(here);
    }

    /// What another node knows. It is ignored while this node's own copy of the system shard hears from a leader: that
    /// copy is told of every change.
    ///
    /// # Errors
    ///
    /// Of what is not taken.
    pub(in crate::node) fn learn(
        &mut self,
        from: NodeId,
        delta: MapDelta,
        here: Here<'_>,
        outbox: &mut Outbox,
    ) -> Result<(), MapRefused> {
        if delta.cluster != here.identity.cluster {
            return Ok(());
        }
        let witnesses = self.witnesses(here);
        let is_ahead = admit::map::admit(&self.begun_anew(here), &delta).is_ok()
            && self.authority.is_ahead(from, &delta, self.map.epoch, &witnesses, here.ticks);
        if here.replicas.follows_own_map() {
            if let Some(own) = here.replicas.own_map().filter(|_| is_ahead && self.authority.is_foreign()) {
                self.map = Arc::new(own.clone());
                self.authority.replaced();
                self.has_changed = true;
                self.is_now_whole(here);
            }
            return Ok(());
        }
        if is_ahead {
            self.map = Arc::new(self.begun_anew(here));
        }
        if !witnesses.contains(from) && self.system_nodes(here).contains(&from) {
            self.hear_named(from, &delta, here);
            return Ok(());
        }
        match witnesses.contains(from) {
            true => admit::map::admit(&self.map, &delta)?,
            false => return Err(MapRefused::Sender),
        }
        self.merge(from, delta, &witnesses, here, outbox);
        Ok(())
    }

    fn merge(&mut self, from: NodeId, delta: MapDelta, witnesses: &Witnesses, here: Here<'_>, outbox: &mut Outbox) {
        let span = (delta.since, delta.epoch);
        let agreed: BTreeSet<(Subject, Epoch)> = self.subjects(&delta, here).collect();
        let (is_last, is_of_matter) = (delta.replica_max != ReplicaId::default(), !agreed.is_empty());
        if Arc::make_mut(&mut self.map).merge(delta) {
            self.is_whole = is_last;
            self.has_changed = true;
            if is_last {
                self.is_now_whole(here);
            }
            self.authority.is_told();
            if let Some(system) = self.map.shards.get(&ShardId::SYSTEM).filter(|_| witnesses.is_anybody()) {
                self.authority.trust(system);
            }
            // More of it may be there than fits into one message.
            self.ask(from, outbox);
        }
        self.authority.hear_all(from, span, &agreed);
        for (subject, epoch) in agreed {
            if self.epoch_of(subject, here) == Some(epoch) {
                self.authority.note(subject, epoch, from, here.ticks);
            }
        }
        if self.authority.is_denied(witnesses) {
            self.authority.forget_said();
            self.map = Arc::new(self.begun_anew(here));
            self.ask(from, outbox);
        }
        self.has_changed |= is_of_matter || self.authority.asks_from().is_some();
    }

    /// A map of the known nodes alone. If this node's map is the wrong one, nothing is judged by it.
    fn begun_anew(&self, here: Here<'_>) -> Map {
        Map::of_nodes(here.identity.cluster.clone(), self.map.nodes.values().cloned().collect())
    }

    /// The map has all there is. What was kept and is not among it is there no more.
    fn is_now_whole(&mut self, here: Here<'_>) {
        self.is_whole = true;
        if std::mem::take(&mut self.has_kept) {
            let told = self.map.since(Epoch(0));
            let mut map = self.begun_anew(here);
            map.merge(told);
            self.map = Arc::new(map);
        }
    }

    /// A node that has a copy of the system shard, as an unconfirmed record says, may confirm that record. No more of it
    /// is taken.
    fn hear_named(&mut self, from: NodeId, delta: &MapDelta, here: Here<'_>) {
        let known = self.map.shards.get(&ShardId::SYSTEM);
        let same = delta.shards.iter().find(|record| known == Some(*record)).map(|record| record.epoch);
        if let Some(epoch) = same {
            self.authority.note(Subject::Shard(ShardId::SYSTEM), epoch, from, here.ticks);
            self.has_changed |= self.authority.asks_from().is_some();
        }
    }

    /// The other nodes that vote in the system shard, as the map has it. One that is to have a new copy may be one that waits
    /// for the end of its last.
    fn system_nodes(&self, here: Here<'_>) -> BTreeSet<NodeId> {
        let members = self.system().into_iter().flat_map(|record| &record.descriptor.members);
        let voters = members.filter(|member| member.role != Role::Learner);
        voters.map(|member| member.replica.node).filter(|node| *node != here.identity.node).collect()
    }

    fn witnesses(&self, here: Here<'_>) -> Witnesses {
        self.authority.witnesses(here.identity.node, &self.map, here.liveness, here.ticks)
    }

    /// The records of a delta that may end or make a copy here, and the one that tells where the system shard is; not those
    /// that the map has otherwise at the same epoch.
    fn subjects<'a>(&'a self, delta: &'a MapDelta, here: Here<'a>) -> impl Iterator<Item = (Subject, Epoch)> + 'a {
        let is_here = move |record: &&ShardRecord| {
            let shard = record.descriptor.shard;
            let known = self.map.shards.get(&shard).filter(|known| known.epoch == record.epoch);
            let matters = shard == ShardId::SYSTEM
                || here.replicas.get(shard).is_some()
                || here.replicas.quorums().get(shard).is_some()
                || record.names(here.identity.node)
                || self.authority.speaks_of(Subject::Shard(shard));
            matters && known.is_none_or(|known| known == *record)
        };
        let shards = delta.shards.iter().filter(is_here).map(|r| (Subject::Shard(r.descriptor.shard), r.epoch));
        let gives_up = move |recovery: &&RecoveryRecord| {
            let shard = recovery.shard;
            let known = self.map.recoveries.get(&shard).filter(|known| known.epoch == recovery.epoch);
            let matters =
                here.replicas.quorums().get(shard).is_some() || self.authority.speaks_of(Subject::Recovery(shard));
            matters && known.is_none_or(|known| known == *recovery)
        };
        let recoveries = delta.recoveries.iter().filter(gives_up).map(|r| (Subject::Recovery(r.shard), r.epoch));
        let dropped = delta.tables.iter().filter(|t| t.dropped).map(|t| (Subject::Dropped(t.id), t.epoch));
        let matters = here.are_any_forgotten || self.authority.speaks_of(Subject::Start);
        let is_start = move |r: &&NodeRecord| matters && is_this_start(r, here);
        let start = delta.nodes.iter().find(is_start).map(|r| (Subject::Start, r.epoch));
        let level = delta.level.filter(|level| *level == self.map.level || level.1 > self.map.level.1);
        shards.chain(recoveries).chain(dropped).chain(start).chain(level.map(|(_, epoch)| (Subject::Level, epoch)))
    }

    fn epoch_of(&self, subject: Subject, here: Here<'_>) -> Option<Epoch> {
        match subject {
            Subject::Shard(shard) => self.map.shards.get(&shard).map(|record| record.epoch),
            Subject::Recovery(shard) => self.map.recoveries.get(&shard).map(|record| record.epoch),
            Subject::Dropped(table) => self.map.tables.get(&table).filter(|t| t.dropped).map(|t| t.epoch),
            Subject::Level => Some(self.map.level.1),
            Subject::Start => {
                let own = self.map.nodes.get(&here.identity.node);
                own.filter(|record| is_this_start(record, here)).map(|record| record.epoch)
            }
        }
    }

    /// This node looks at the whole map: what waits to be confirmed is found anew.
    pub(in crate::node) fn begin_look(&mut self) {
        self.authority.begin_look();
    }

    /// Takes over who has a copy of the system shard, if that is confirmed.
    pub(in crate::node) fn trust_system(&mut self, here: Here<'_>) {
        if self.is_confirmed(Subject::Shard(ShardId::SYSTEM), here)
            && let Some(system) = self.map.shards.get(&ShardId::SYSTEM)
        {
            self.authority.trust(system);
        }
    }

    /// True if a record of the map may have an effect that cannot be undone: this node's own copy of the system shard
    /// has it, or enough nodes say so. If not, the others are asked.
    pub(in crate::node) fn is_confirmed(&mut self, subject: Subject, here: Here<'_>) -> bool {
        let node = here.identity.node;
        let is_own = here.replicas.own_map().is_some_and(|own| match subject {
            Subject::Shard(shard) => own.shards.get(&shard) == self.map.shards.get(&shard),
            Subject::Recovery(shard) => own.recoveries.get(&shard) == self.map.recoveries.get(&shard),
            Subject::Dropped(table) => own.tables.get(&table) == self.map.tables.get(&table),
            Subject::Level => own.level == self.map.level,
            Subject::Start => own.nodes.get(&node) == self.map.nodes.get(&node),
        });
        let Some(epoch) = self.epoch_of(subject, here) else { return false };
        let (witnesses, named) = (self.witnesses(here), self.system_nodes(here));
        let is_confirmed = is_own || self.authority.is_confirmed(subject, epoch, &witnesses, &named, here.ticks);
        if !is_confirmed {
            self.authority.wait_for(epoch);
        }
        is_confirmed
    }

    /// Whose word counts, and who has a copy of the system shard by a record that is not confirmed.
    pub(super) fn confirmers(&self, here: Here<'_>) -> (Witnesses, BTreeSet<NodeId>) {
        (self.witnesses(here), self.system_nodes(here))
    }
}

/// True for a record of this node that was made in its present start, or in a later one.
fn is_this_start(record: &NodeRecord, here: Here<'_>) -> bool {
    record.id == here.identity.node && record.incarnation >= here.identity.incarnation
}
