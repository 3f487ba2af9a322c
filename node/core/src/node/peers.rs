//! What other nodes say: each message to the replica or the duty it is meant for, or nowhere.

use crate::engine::{Engine, EngineError};
use crate::heard::Speaker;
use crate::ids::{Incarnation, NodeId, ReplicaId, ShardId};
use crate::map::NodeState;
use crate::message::{PeerMessage, RaftEnvelope, RaftKind, SnapshotAck, SnapshotChunk, SnapshotOffer};
use crate::node::Node;
use crate::node::maps::names;
use crate::planted::{Planted, is_planted};
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
        if !self.is_current(from, incarnation) {
            return Ok(());
        }
        for message in messages {
            self.message(from, message, engine, now)?;
        }
        Ok(())
    }

    /// A process that was replaced but still runs somewhere must do no harm, nor one that was removed.
    fn is_current(&mut self, from: NodeId, incarnation: Incarnation) -> bool {
        let recorded = self.map.nodes.get(&from);
        let is_old = recorded.is_some_and(|r| incarnation < r.incarnation);
        if is_old || recorded.is_some_and(|r| r.state == NodeState::Removed) {
            return false;
        }
        let speaker = self.heard.hear(from, incarnation);
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
            PeerMessage::SnapshotChunk(chunk) => return self.snapshot_chunk(chunk, engine),
            PeerMessage::SnapshotAck(ack) => self.snapshot_ack(&ack, now),
            PeerMessage::MapWant { have } => self.map_wanted(from, have),
            PeerMessage::Map(delta) => self.learn(delta),
            PeerMessage::Report(report) => self.reported_by(from, report, now),
            PeerMessage::ReportWant => self.told.tell_all(),
            PeerMessage::CertifyAsk { nonce, node, shards } => self.certify_asked(from, nonce, node, &shards, now),
            PeerMessage::CertifyAnswer { nonce, shard, answer } => {
                self.stewardship.certify_answered(nonce, shard, answer)
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

    fn raft(&mut self, from: NodeId, envelope: RaftEnvelope, engine: &dyn Engine) -> Result<(), EngineError> {
        let (shard, to) = (envelope.shard, envelope.to);
        let is_from_leader = matches!(envelope.kind, RaftKind::Append | RaftKind::Heartbeat);
        self.make_way(from, shard, to, is_from_leader, engine)?;
        if let Some(replica) = self.replicas.get_mut(&shard).filter(|r| r.id() == to) {
            if !replica.is_routine(&envelope) {
                replica.wake(&self.heard);
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
    fn make_way(
        &mut self,
        from: NodeId,
        shard: ShardId,
        to: ReplicaId,
        is_from_leader: bool,
        engine: &dyn Engine,
    ) -> Result<(), EngineError> {
        let here = self.replicas.get(&shard).map(super::Replica::id);
        if !is_from_leader || here >= Some(to) || self.is_entombed(shard, to) {
            return Ok(());
        }
        let map = std::sync::Arc::clone(&self.map);
        let Some(record) = map.shards.get(&shard).filter(|record| names(record, to)) else {
            // The leader may know a newer map than this node; it will repeat itself.
            self.ask_for_map(from);
            return Ok(());
        };
        if here.is_some() {
            self.destroy(shard, engine)?;
        }
        if self.has_garbage(shard) {
            return Ok(());
        }
        if record.descriptor.generation.0 == 1 && record.descriptor.node_of(to).is_some() {
            return self.create(ReplicaState::first(to, record.descriptor.clone()), engine);
        }
        self.create(ReplicaState::blank(to, shard), engine)
    }

    fn snapshot_offer(&mut self, from: NodeId, offer: SnapshotOffer, engine: &dyn Engine) -> Result<(), EngineError> {
        let (shard, to) = (offer.descriptor.shard, offer.to);
        if self.has_garbage(shard) || self.has_no_room() {
            return Ok(());
        }
        let Some(mut replica) = self.replicas.remove(&shard) else { return Ok(()) };
        replica.wake(&self.heard);
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

    /// What is left of a full disk is for deletes: no piece of a snapshot is taken. Its sender waits, and tries again.
    fn has_no_room(&self) -> bool {
        self.disk_full == Some(true) && !is_planted(Planted::SnapshotToFullDisk)
    }

    fn snapshot_chunk(&mut self, chunk: SnapshotChunk, engine: &dyn Engine) -> Result<(), EngineError> {
        if self.has_no_room() {
            return Ok(());
        }
        let Some(replica) = self.replicas.get_mut(&chunk.shard).filter(|r| r.id() == chunk.to) else { return Ok(()) };
        let mut out = Collected::default();
        replica.snapshot_chunk(chunk, engine, &mut out)?;
        self.unsynced = true;
        self.wants_sync |= out.wants_sync;
        self.send.append(&mut out.send);
        Ok(())
    }

    fn snapshot_ack(&mut self, ack: &SnapshotAck, now: Now) {
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
            self.stewardship.certify_answered(nonce, shard, answer);
        }
    }
}
