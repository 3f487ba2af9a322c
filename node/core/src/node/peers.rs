//! What other nodes say: each message to the replica or the duty it is meant for, or nowhere.

use crate::engine::{Engine, EngineError};
use crate::ids::{Incarnation, NodeId, ShardId};
use crate::liveness::Speaker;
use crate::map::{NodeState, ShardRecord, home_of};
use crate::message::{PeerMessage, RaftEnvelope, RaftKind, SnapshotAck, SnapshotChunk, SnapshotOffer};
use crate::node::Node;
use crate::node::admit::message;
use crate::node::authority::Subject;
use crate::node::maps::names;
use crate::planted::{Planted, is_planted};
use crate::replica::admit::Refused;
use crate::replica::state::ReplicaState;
use crate::replica::{Collected, Offered, Reader};
use crate::time::Now;

impl Node {
    pub(super) fn peer(
        &mut self,
        from: NodeId,
        incarnation: Incarnation,
        messages: Vec<PeerMessage>,
        engine: &dyn Engine,
        now: Now,
    ) -> Result<(), EngineError> {
        if let Err(refused) = message::admit_sender(&self.map, (self.identity.node, from), incarnation) {
            self.refusals.note(from, &refused);
            return Ok(());
        }
        if !self.is_current(from, incarnation) {
            return Ok(());
        }
        for message in messages {
            match message::admit(&self.map, from, incarnation, &message) {
                Ok(()) => self.message(from, message, engine, now)?,
                Err(refused) => self.refusals.note(from, &refused),
            }
        }
        Ok(())
    }

    /// A process that was replaced but still runs somewhere must do no harm, nor one that was removed.
    pub(super) fn is_current(&mut self, from: NodeId, incarnation: Incarnation) -> bool {
        let recorded = self.map.nodes.get(&from);
        let is_old = recorded.is_some_and(|r| incarnation < r.incarnation);
        if is_old || recorded.is_some_and(|r| r.state == NodeState::Removed) {
            return false;
        }
        let speaker = self.liveness.hear(from, incarnation);
        if speaker == Speaker::Restarted {
            self.lost_sight(from);
        }
        speaker != Speaker::Replaced
    }

    fn message(
        &mut self,
        from: NodeId,
        message: PeerMessage,
        engine: &dyn Engine,
        now: Now,
    ) -> Result<(), EngineError> {
        match message {
            PeerMessage::Raft(envelope) => return self.raft(from, envelope, engine),
            PeerMessage::SnapshotOffer(offer) => return self.snapshot_offer(from, offer, engine),
            PeerMessage::SnapshotChunk(chunk) => return self.snapshot_chunk(from, chunk, engine),
            PeerMessage::SnapshotAck(ack) => self.snapshot_ack(from, &ack, now),
            PeerMessage::MapWant { have } => self.map_wanted(from, have),
            PeerMessage::Map(delta) => self.learn(from, delta),
            PeerMessage::Report(report) => self.reported_by(from, report, now),
            PeerMessage::ReportWant => self.told.tell_all(),
            PeerMessage::CertifyAsk { nonce, node, shards } => self.certify_asked(from, nonce, node, &shards, now),
            PeerMessage::CertifyAnswer { nonce, shard, answer } => {
                self.stewardship.certify_answered(from, nonce, shard, answer)
            }
            PeerMessage::Beat(beat) => self.beat_heard(from, beat, now),
            PeerMessage::TransferLeader { shard, to } => {
                if let Some(replica) = self.awake(shard) {
                    replica.transfer(to);
                    self.dirty.insert(shard);
                }
            }
        }
        Ok(())
    }

    fn raft(&mut self, from: NodeId, mut envelope: RaftEnvelope, engine: &dyn Engine) -> Result<(), EngineError> {
        let (shard, to) = (envelope.shard, envelope.to);
        self.make_way(from, &envelope, engine)?;
        if let Some(replica) = self.replicas.get(&shard).filter(|r| r.id() == to)
            && let Err(refused) = replica.admit(from, || self.home_of(shard, envelope.from), &envelope)
        {
            self.refusals.note(from, &refused);
            if matches!(refused, Refused::UnknownSender { .. }) {
                self.ask_for_map(from);
            }
            return Ok(());
        }
        if (self.log.is_overfull() && !envelope.entries.is_empty()) || !self.takes_entries(&mut envelope) {
            return Ok(());
        }
        if let Some(replica) = self.replicas.get_mut(&shard).filter(|r| r.id() == to) {
            if envelope.kind == RaftKind::TimeoutNow && replica.gives_way(&self.liveness) {
                return Ok(());
            }
            if !replica.is_routine(&envelope) {
                replica.wake(&self.liveness);
            }
            replica.step(from, envelope);
            // Most answers to a heartbeat leave nothing to do.
            if replica.has_work() {
                self.dirty.insert(shard);
            }
        }
        Ok(())
    }

    /// A leader speaks to a copy that is not here: it is a new one, unless it is entombed. An older copy of the same
    /// shard has left the group by then, or the leader would not have added a new one on its node.
    fn make_way(&mut self, from: NodeId, envelope: &RaftEnvelope, engine: &dyn Engine) -> Result<(), EngineError> {
        let (shard, to) = (envelope.shard, envelope.to);
        let is_from_leader = matches!(envelope.kind, RaftKind::Append | RaftKind::Heartbeat);
        let here = self.replicas.get(&shard).map(super::Replica::id);
        if !is_from_leader || here >= Some(to) || self.is_entombed(shard, to) {
            return Ok(());
        }
        let map = std::sync::Arc::clone(&self.map);
        let is_possible = |record: &ShardRecord| {
            let is_from = home_of(record, envelope.from) == Some(from);
            let is_here = home_of(record, to) == Some(self.identity.node);
            is_from && is_here && here.is_none_or(|here| !names(record, here))
        };
        let Some(record) = map.shards.get(&shard).filter(|record| is_possible(record)) else {
            // The leader may know a newer map than this node; it will repeat itself.
            self.ask_for_map(from);
            return Ok(());
        };
        let is_first = record.descriptor.generation.0 == 1 && record.descriptor.node_of(to).is_some();
        if (here.is_some() || is_first) && !self.is_confirmed(Subject::Shard(shard)) {
            return Ok(());
        }
        if here.is_some() {
            self.destroy(shard, engine)?;
        }
        if self.has_garbage(shard) {
            return Ok(());
        }
        if is_first {
            return self.create(ReplicaState::first(to, record.descriptor.clone()), engine);
        }
        self.create(ReplicaState::blank(to, shard), engine)
    }

    fn snapshot_offer(&mut self, from: NodeId, offer: SnapshotOffer, engine: &dyn Engine) -> Result<(), EngineError> {
        let (shard, to) = (offer.descriptor.shard, offer.to);
        if self.has_garbage(shard) || self.has_no_room() {
            return Ok(());
        }
        let Some(replica) = self.replicas.get(&shard).filter(|replica| replica.id() == to) else { return Ok(()) };
        let record = self.map.shards.get(&shard).map(|record| (record, self.map.replica_max()));
        if let Err(refused) = replica.admit_offer(from, record, &offer) {
            self.refusals.note(from, &refused);
            self.ask_for_map(from);
            return Ok(());
        }
        let Some(mut replica) = self.replicas.remove(&shard) else { return Ok(()) };
        replica.wake(&self.liveness);
        let offered =
            if replica.id() == to { replica.snapshot_offered(from, offer, engine) } else { Ok(Offered::Ignored) };
        match offered? {
            Offered::Answer(node, message) => self.send.push((node, message)),
            Offered::MustWipe => self.wipe_remains(&replica, engine)?,
            Offered::Ignored => {}
        }
        self.replicas.insert(shard, replica);
        Ok(())
    }

    /// What is left of a full disk is for deletes, and one that hangs would hold the node up: no piece of a snapshot is
    /// taken. Its sender waits, and tries again.
    fn has_no_room(&self) -> bool {
        if self.log.is_behind() {
            return true;
        }
        self.disk_full == Some(true) && !is_planted(Planted::SnapshotToFullDisk)
    }

    fn snapshot_chunk(&mut self, from: NodeId, chunk: SnapshotChunk, engine: &dyn Engine) -> Result<(), EngineError> {
        if self.has_no_room() {
            return Ok(());
        }
        let Some(replica) = self.replicas.get_mut(&chunk.shard).filter(|r| r.id() == chunk.to) else { return Ok(()) };
        if let Err(refused) = replica.admit_chunk(from, &chunk, engine)? {
            self.refusals.note(from, &refused);
            return Ok(());
        }
        let mut out = Collected::default();
        replica.snapshot_chunk(chunk, engine, &mut out)?;
        self.unsynced = true;
        self.wants_sync |= out.wants_sync;
        self.send.append(&mut out.send);
        Ok(())
    }

    fn snapshot_ack(&mut self, from: NodeId, ack: &SnapshotAck, now: Now) {
        let replica = self.replicas.get(&ack.shard).filter(|r| r.id() == ack.from);
        if let Some(Err(refused)) = replica.map(|replica| replica.admit_ack(from, ack)) {
            self.refusals.note(from, &refused);
            return;
        }
        if let Some(replica) = self.replicas.get_mut(&ack.shard).filter(|r| r.id() == ack.from) {
            replica.snapshot_acknowledged(ack, now);
            self.dirty.insert(ack.shard);
        }
    }

    pub(super) fn certify_asked(&mut self, asker: NodeId, nonce: u64, node: NodeId, shards: &[ShardId], now: Now) {
        for shard in shards {
            let confirmed = match self.awake(*shard) {
                Some(replica) => replica.confirm(Reader::Certify { nonce, asker, node }, now).is_ok(),
                None => false,
            };
            self.dirty.insert(*shard);
            if !confirmed {
                let answer = crate::message::CertifyAnswer::NotLeader;
                self.tell(asker, PeerMessage::CertifyAnswer { nonce, shard: *shard, answer });
            }
        }
    }

    /// Sends to another node, or takes it up at once if it is this one.
    pub(super) fn tell(&mut self, to: NodeId, message: PeerMessage) {
        if to != self.identity.node {
            self.send.push((to, message));
        } else if let PeerMessage::CertifyAnswer { nonce, shard, answer } = message {
            self.stewardship.certify_answered(to, nonce, shard, answer);
        }
    }
}
