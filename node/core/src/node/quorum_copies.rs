//! What a node does with copies of quorum shards: makes them and ends them by the map, hands them what clients and other
//! copies say, and takes what they want done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::answer::Refusal;
use crate::command::{Command, Read, ReadConsistency, WriteOptions};
use crate::engine::{Engine, EngineError, EngineWrite, shard_key, state};
use crate::ids::{Generation, NodeId, ReplicaId, ShardId, Token};
use crate::log::LogWrite;
use crate::map::{Map, Replica, ShardRecord, TableRecord, home_of};
use crate::message::PeerMessage;
use crate::node::Node;
use crate::node::authority::Subject;
use crate::node::garbage::Wipe;
use crate::node::tombstones::tombstone_write;
use crate::planted::{Planted, is_planted};
use crate::quorum::layout::{Layout, Part};
use crate::quorum::message::Envelope;
use crate::quorum::replica::{Here, Out, QuorumReplica, QuorumState};
use crate::ranges::KeyRange;
use crate::time::Now;

/// The kinds of records that a copy has in the store beside the shard's own records and its hints, which may be many: those
/// are wiped in slices.
const KINDS: [u8; 4] = [state::QUORUM, state::RECORD, state::MERKLE, state::COMPARE];

/// Memory that what all copies' comparisons have learnt of their records may take, about.
const PIECES_BYTES_MAX: usize = 64 << 20;
/// Of each copy at least, however many there are: with less a comparison would forget what it has just read.
const PIECES_BYTES_MIN: usize = 32 << 10;

impl Node {
    /// The map's record of a quorum shard: makes a copy that is to be here, has one learn a newer layout, or ends it. All
    /// of it only on a record that is confirmed: under a layout that is none a copy would answer for others.
    pub(super) fn follow_quorum_record(
        &mut self,
        map: &Map,
        record: &ShardRecord,
        layout: Layout,
        engine: &dyn Engine,
    ) -> Result<(), EngineError> {
        let shard = record.descriptor.shard;
        let Some(table) = map.tables.get(&record.descriptor.table) else { return Ok(()) };
        if table.dropped {
            let is_here = self.replicas.quorums().get(shard).is_some();
            let is_over = is_here && self.is_confirmed(Subject::Dropped(record.descriptor.table));
            return if is_over { self.destroy_quorum(shard, engine) } else { Ok(()) };
        }
        let own = self.replicas.quorums().get(shard).map(QuorumReplica::id);
        if own.is_some_and(|own| self.is_given_up(map, shard, own)) {
            // Nobody listens to it any more, and another copy may be to come in its place. It is told to be lost.
            self.destroy_quorum(shard, engine)?;
            self.map.look_again();
        }
        // After a recovery of the system shard copies may hold later layouts than the record's, or another one of its number.
        // Until the steward has heard of all of them, they go on as they are.
        if record.is_unsure() && !is_planted(Planted::UnsureFollowed) {
            return Ok(());
        }
        let named = named_here(record, self.identity.node);
        let Some((id, held)) =
            self.replicas.quorums().get(shard).map(|copy| (copy.id(), copy.state().layout().generation))
        else {
            self.make_quorum(record, layout, named, engine)?;
            return self.keep_records(table, record, engine);
        };
        let is_newer = layout.generation > held;
        if id > map.replica_max() || is_newer && !self.is_confirmed(Subject::Shard(shard)) {
            return Ok(());
        }
        if is_newer && layout.part(id) == Part::Over {
            self.destroy_quorum(shard, engine)?;
            return self.make_quorum(record, layout, named, engine);
        }
        if let Some(copy) = self.replicas.quorums_mut().get_mut(shard) {
            copy.learn(layout);
        }
        self.replicas.quorums_mut().touch(shard);
        self.keep_records(table, record, engine)
    }

    /// Keeps the records of a shard for the next start, if its copy here goes by just what they say.
    fn keep_records(
        &mut self,
        table: &TableRecord,
        record: &ShardRecord,
        engine: &dyn Engine,
    ) -> Result<(), EngineError> {
        let shard = record.descriptor.shard;
        let quorums = self.replicas.quorums_mut();
        let held = quorums.get(shard).map(|copy| copy.state().layout());
        if quorums.kept().has(table, record) || held.is_none() || held != record.layout().as_ref() {
            return Ok(());
        }
        let Some(write) = quorums.kept_mut().keep(table, record) else { return Ok(()) };
        self.disk.syncs().written();
        engine.write(vec![write])
    }

    /// True if a person has given up the copy that is here: a write that it acknowledged would be acknowledged by nobody else.
    fn is_given_up(&mut self, map: &Map, shard: ShardId, id: ReplicaId) -> bool {
        let own = Replica { node: self.identity.node, id };
        let is_named = map.recoveries.get(&shard).is_some_and(|recovery| recovery.given_up.contains(&own));
        is_named && self.is_confirmed(Subject::Recovery(shard)) && !is_planted(Planted::GivenUpCopyAcknowledges)
    }

    /// A copy that the map names here and that is not here. First ones have all that there is, which is nothing; others
    /// come new and copy.
    fn make_quorum(
        &mut self,
        record: &ShardRecord,
        layout: Layout,
        named: Option<ReplicaId>,
        engine: &dyn Engine,
    ) -> Result<(), EngineError> {
        let shard = record.descriptor.shard;
        let Some(replica) = named.filter(|replica| !self.tombstones.is_entombed(shard, *replica)) else {
            return Ok(());
        };
        let is_first = layout.generation.0 == 1;
        let comes = layout.part(replica) == Part::Comes;
        if !self.is_confirmed(Subject::Shard(shard)) {
            return Ok(());
        }
        if !(is_first || comes) {
            // A first copy that was never made here before the shard went on: it has promised nothing, and can never be made
            // under this id, since the others have records by now. The steward replaces what is told to be lost.
            self.map.look_again();
            return self.entomb(shard, replica, engine);
        }
        if self.garbage.is_of(shard) {
            self.garbage.wait();
            return Ok(());
        }
        if !self.is_free(&record.descriptor, replica) {
            return Ok(());
        }
        let make = if is_first { QuorumState::first } else { QuorumState::coming };
        let state = make(replica, &record.descriptor, layout);
        state.check().map_err(EngineError::unreadable)?;
        engine.write(vec![state.write()])?;
        let mut copy = self.replicas.quorums().made_of(state, None, engine)?;
        copy.hold_until(self.disk.syncs().next_mark());
        self.replicas.quorums_mut().insert(copy);
        self.sync_soon();
        Ok(())
    }

    /// Ends a copy on this node: it is entombed, and its records go in slices.
    pub(super) fn destroy_quorum(&mut self, shard: ShardId, engine: &dyn Engine) -> Result<(), EngineError> {
        self.replicas.quorums_mut().kept_mut().forget(shard);
        let Some(mut copy) = self.replicas.quorums_mut().remove(shard) else { return Ok(()) };
        let mut out = Out::default();
        copy.end(&mut out);
        self.take_quorum(out);
        self.discard_quorum(copy.state(), engine)
    }

    /// Entombs a copy and gives its records up.
    pub(super) fn discard_quorum(&mut self, state: &QuorumState, engine: &dyn Engine) -> Result<(), EngineError> {
        let shard = state.shard();
        let mut writes = Vec::new();
        for kind in KINDS {
            let start = shard_key(shard, kind, &[]);
            let end = crate::key::prefix_end(&start).unwrap_or_default();
            engine.scan(&start, &end, &mut |key, _| {
                writes.push(EngineWrite::Delete(bytes::Bytes::copy_from_slice(key)));
                std::ops::ControlFlow::Continue(())
            })?;
        }
        writes.extend(self.garbage.add(Wipe::of_range(shard, state.replica(), range_of(state))));
        if !is_planted(Planted::TombstoneIgnored) {
            writes.push(tombstone_write(shard, state.replica()));
        }
        engine.write(writes)?;
        self.entomb(shard, state.replica(), engine)
    }

    /// Another copy says something.
    pub(super) fn quorum_message(
        &mut self,
        from: NodeId,
        envelope: Envelope,
        engine: &dyn Engine,
        now: Now,
    ) -> Result<(), EngineError> {
        let (shard, to) = (envelope.shard, envelope.to);
        let is_here = self.replicas.quorums().get(shard).is_some_and(|copy| copy.id() == to);
        if !is_here || self.home_of_copy(shard, envelope.from) != Some(from) {
            return Ok(());
        }
        // As entries of leaders: they would only fill memory behind a disk that hangs, and are sent again.
        if self.disk.log().is_overfull() && envelope.body.is_journaled() {
            return Ok(());
        }
        let wanted = self.with_quorum(shard, engine, now, |copy, here, out| copy.hear(envelope, here, out))?;
        // Whoever says so has it. The map here may be newer than what the copy holds: then that is on its way.
        let known = self.map.known().shards.get(&shard).map(|record| record.descriptor.generation);
        if wanted > known {
            self.map.ask(from, &mut self.outbox);
        }
        Ok(())
    }

    /// A node has fallen silent, or another process speaks for it: the copies here are told of theirs there.
    pub(super) fn lost_sight_of_copies(&mut self, node: NodeId) {
        let ticks = self.ticks;
        for shard in self.replicas.quorums().shards() {
            let Some(own) = self.replicas.quorums().get(shard) else { continue };
            let there = |copy: &ReplicaId| self.home_of_copy(shard, *copy) == Some(node);
            let copies: Vec<ReplicaId> = own.state().layout().members().into_iter().filter(there).collect();
            let own = self.replicas.quorums_mut().get_mut(shard);
            own.into_iter().for_each(|own| copies.iter().for_each(|copy| own.lost_sight(*copy, ticks)));
        }
    }

    /// A client's write, whose keys the shard holds.
    pub(super) fn quorum_write(
        &mut self,
        shard: ShardId,
        (token, command, options): (Token, Command, WriteOptions),
        engine: &dyn Engine,
        now: Now,
    ) -> Result<(), EngineError> {
        self.with_quorum(shard, engine, now, |copy, here, out| copy.write(token, command, &options, here, out))
            .map(drop)
    }

    /// A client's read, whose first key the shard holds.
    pub(super) fn quorum_read(
        &mut self,
        shard: ShardId,
        (token, read, consistency, copies): (Token, Read, ReadConsistency, Option<usize>),
        engine: &dyn Engine,
        now: Now,
    ) -> Result<(), EngineError> {
        let asked = (read, consistency);
        self.with_quorum(shard, engine, now, |copy, here, out| copy.read(token, asked, copies, here, out)).map(drop)
    }

    /// A period has passed for every copy.
    pub(super) fn tick_quorums(&mut self, engine: &dyn Engine, now: Now) -> Result<(), EngineError> {
        for shard in self.replicas.quorums().shards() {
            self.with_quorum(shard, engine, now, QuorumReplica::tick)?;
        }
        Ok(())
    }

    /// A batch of the log with writes of this copy is durable.
    pub(super) fn quorum_log_durable(
        &mut self,
        shard: ShardId,
        sequence: u64,
        engine: &dyn Engine,
        now: Now,
    ) -> Result<(), EngineError> {
        // Of most batches most shards follow leaders.
        if self.replicas.quorums().get(shard).is_none() {
            return Ok(());
        }
        self.with_quorum(shard, engine, now, |copy, here, out| copy.log_durable(sequence, here, out)).map(drop)
    }

    /// What waits of a copy becomes part of the log batch of this sequence.
    pub(super) fn collect_quorum(&mut self, shard: ShardId, sequence: u64) -> Option<LogWrite> {
        let mut out = Out::default();
        self.replicas.quorums_mut().get_mut(shard)?.collect(sequence, &mut out);
        let log = out.log.take();
        self.take_quorum(out);
        log
    }

    fn with_quorum(
        &mut self,
        shard: ShardId,
        engine: &dyn Engine,
        now: Now,
        act: impl FnOnce(&mut QuorumReplica, &Here<'_>, &mut Out) -> Result<(), EngineError>,
    ) -> Result<Option<Generation>, EngineError> {
        let (own, liveness) = (self.identity.node, self.others.liveness());
        let map = Arc::clone(self.map.known());
        let is_unsure = map.shards.get(&shard).is_some_and(ShardRecord::is_unsure);
        let own_copy = self.replicas.quorums().get(shard);
        let held = own_copy.filter(|_| is_unsure).map(|copy| copy.state().layout().homes.clone());
        let here = own_copy.map(|copy| Replica { node: own, id: copy.id() });
        let home = |copy: ReplicaId| home_of_copy(&map, shard, (here, held.as_ref()), copy);
        let is_heard = |copy: ReplicaId| home(copy).is_some_and(|node| node == own || liveness.is_heard(node));
        let (is_own_full, repair_room) = (self.disk.is_full() == Some(true), self.disk.repaired().room());
        let is_full = |copy: ReplicaId| {
            home(copy).is_some_and(|node| if node == own { is_own_full } else { liveness.is_full(node) })
        };
        let (ticks, pace) = (self.ticks, self.config.quorum_pace);
        let copies = self.replicas.quorums().len().max(1);
        let pieces_bytes = (PIECES_BYTES_MAX / copies).max(PIECES_BYTES_MIN);
        let recent_bytes = self.config.recent_bytes_max / copies;
        let (is_heard, is_full) = (&is_heard, &is_full);
        let here = Here { engine, now, ticks, pace, is_heard, is_full, repair_room, pieces_bytes, recent_bytes };
        let Some(copy) = self.replicas.quorums_mut().get_mut(shard) else { return Ok(None) };
        let (mut out, state) = (Out::default(), copy.state());
        let (applied, generation) = (state.applied(), state.layout().generation);
        act(copy, &here, &mut out)?;
        if copy.state().applied() != applied {
            self.disk.syncs().written();
        }
        if copy.state().layout().generation != generation {
            // It goes by the map's record by now, which is to be kept.
            self.map.look_again();
        }
        if copy.has_work() {
            self.replicas.quorums_mut().touch(shard);
        }
        let (wanted, has_repaired) = (out.wants_record, out.repaired_bytes > 0);
        self.take_quorum(out);
        if has_repaired {
            self.note_repaired(engine)?;
        }
        Ok(wanted)
    }

    /// The store is to know what was taken by repairs while the disk is nearly full, or that there is room again.
    pub(super) fn note_repaired(&mut self, engine: &dyn Engine) -> Result<(), EngineError> {
        let Some(write) = self.disk.repaired_mut().note() else { return Ok(()) };
        self.disk.syncs().written();
        engine.write(vec![write])
    }

    fn take_quorum(&mut self, out: Out) {
        let Out { log: _, send, answers, wants_sync, wants_record: _, repaired_bytes, returned_bytes } = out;
        self.disk.repaired_mut().take(repaired_bytes);
        self.disk.repaired_mut().give_back(returned_bytes);
        for envelope in send {
            let home = self.home_of_copy(envelope.shard, envelope.to);
            // One that the map does not name any more is not there to hear it.
            if let Some(node) = home.filter(|node| *node != self.identity.node) {
                self.outbox.send(node, PeerMessage::Quorum(envelope));
            }
        }
        for (token, answer) in answers {
            self.outbox.answer(token, answer);
        }
        if wants_sync {
            self.sync_soon();
        }
    }

    /// The node of a copy of a quorum shard: by the map, or while its record is unsure by what the copy here holds.
    fn home_of_copy(&self, shard: ShardId, copy: ReplicaId) -> Option<NodeId> {
        let own = self.replicas.quorums().get(shard);
        let here = own.map(|own| Replica { node: self.identity.node, id: own.id() });
        home_of_copy(self.map.known(), shard, (here, own.map(|own| &own.state().layout().homes)), copy)
    }

    /// The copy that serves a quorum shard here, or which node has one.
    pub(super) fn quorum_serves(&self, record: &ShardRecord) -> Result<ShardId, Refusal> {
        let shard = record.descriptor.shard;
        if self.replicas.quorums().get(shard).is_some() {
            return Ok(shard);
        }
        let others = record.descriptor.members.iter().map(|member| member.replica.node);
        let mut others = others.filter(|node| *node != self.identity.node);
        let heard = others.clone().find(|node| self.others.liveness().is_heard(*node));
        Err(Refusal::NotLeader { shard, leader: heard.or_else(|| others.next()) })
    }

    /// The nodes that have, or are to have, a copy of a quorum shard that is here.
    pub(super) fn quorum_peers(&self) -> BTreeSet<NodeId> {
        let map = self.map.known();
        let records = self.replicas.quorums().all().filter_map(|copy| map.shards.get(&copy.state().shard()));
        records.flat_map(|record| &record.descriptor.members).map(|member| member.replica.node).collect()
    }
}

/// Where the copy `here` is nobody needs to say: the map may not name it any more, or not be known yet.
fn home_of_copy(
    map: &Map,
    shard: ShardId,
    (here, held): (Option<Replica>, Option<&BTreeMap<ReplicaId, NodeId>>),
    copy: ReplicaId,
) -> Option<NodeId> {
    let record = map.shards.get(&shard);
    let own = here.filter(|here| here.id == copy).map(|here| here.node);
    let held = held.and_then(|homes| homes.get(&copy).copied()).filter(|_| record.is_some_and(ShardRecord::is_unsure));
    own.or(held).or_else(|| home_of(record?, copy))
}

/// The copy that a record has on a node: the newest, where a lost one is being replaced on the same node.
fn named_here(record: &ShardRecord, node: NodeId) -> Option<ReplicaId> {
    let members = record.descriptor.members.iter().map(|member| member.replica);
    members.filter(|copy| copy.node == node).map(|copy| copy.id).max()
}

/// The keys of a copy.
pub(super) fn range_of(state: &QuorumState) -> KeyRange {
    let (start, end) = state.range();
    KeyRange { table: state.table(), start: start.clone(), end: end.cloned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_where_it_is_whatever_the_map_knows() {
        let here = Replica { node: NodeId(4), id: ReplicaId(7) };
        let home = |copy| home_of_copy(&Map::default(), ShardId(3), (Some(here), None), copy);
        assert_eq!((home(here.id), home(ReplicaId(8))), (Some(here.node), None));
    }
}
