//! What other nodes say: each message to the replica or the duty it is meant for, or nowhere.

use crate::duty::Duty;
use crate::engine::{Engine, EngineError};
use crate::ids::{Incarnation, NodeId, ShardId};
use crate::liveness::Speaker;
use crate::map::{NodeState, ShardRecord, home_of};
use crate::message::{PeerMessage, RaftEnvelope, RaftKind, SnapshotAck, SnapshotChunk, SnapshotOffer};
use crate::node::Node;
use crate::node::admit::message;
use crate::node::authority::Subject;
use crate::node::maps::names;
use crate::node::replicas::Room;
use crate::planted::{Planted, is_planted};
use crate::replica::admit::Refused;
use crate::replica::state::ReplicaState;
use crate::replica::{Collected, Offered, Replica};
use crate::steward::copy_answer;
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
        if let Err(refused) = message::admit_sender(self.map.known(), (self.identity.node, from), incarnation) {
            self.others.refuse(from, &refused);
            return Ok(());
        }
        if !self.is_current(from, incarnation) {
            return Ok(());
        }
        for message in messages {
            match message::admit(self.map.known(), (self.identity.node, from), incarnation, &message) {
                Ok(()) => self.message(from, message, engine, now)?,
                Err(refused) => {
                    self.others.refuse(from, &refused);
                    if matches!(refused, message::Refused::Copy { .. }) {
                        self.map.ask(from, &mut self.outbox);
                    }
                }
            }
        }
        Ok(())
    }

    /// A process that was replaced but still runs somewhere must do no harm, nor one that was removed.
    pub(super) fn is_current(&mut self, from: NodeId, incarnation: Incarnation) -> bool {
        let recorded = self.map.known().nodes.get(&from);
        let is_old = recorded.is_some_and(|r| incarnation < r.incarnation);
        if is_old || recorded.is_some_and(|r| r.state == NodeState::Removed) {
            return false;
        }
        let speaker = self.others.hear(from, incarnation);
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
            PeerMessage::Quorum(envelope) => return self.quorum_message(from, envelope, engine, now),
            PeerMessage::SnapshotOffer(offer) => return self.snapshot_offer(from, offer, engine),
            PeerMessage::SnapshotChunk(chunk) => return self.snapshot_chunk(from, chunk, engine),
            PeerMessage::SnapshotAck(ack) => self.snapshot_ack(from, &ack, now),
            PeerMessage::MapWant { have } => {
                let is_steward = self.stewardship.is_held();
                let (map, here, outbox) = self.map_here();
                map.wanted((from, have), is_steward, here, outbox);
            }
            PeerMessage::Map(delta) => self.learn(from, delta),
            PeerMessage::Report(report) => self.reported_by(from, report, now),
            PeerMessage::ReportWant => self.told.tell_all(),
            PeerMessage::CertifyAsk { nonce, node, shards } => self.certify_asked((from, nonce), node, &shards, now),
            PeerMessage::CertifyAnswer { nonce, shard, answer } => {
                self.stewardship.certify_answered(from, nonce, shard, answer)
            }
            PeerMessage::Beat(beat) => self.others.beat_heard(from, beat, now),
            PeerMessage::TransferLeader { shard, to } => {
                if let Some(replica) = self.replicas.awake(shard, self.others.liveness()) {
                    replica.transfer(to);
                    self.replicas.touch(shard);
                }
            }
        }
        Ok(())
    }

    fn raft(&mut self, from: NodeId, mut envelope: RaftEnvelope, engine: &dyn Engine) -> Result<(), EngineError> {
        let (shard, to) = (envelope.shard, envelope.to);
        self.make_way(from, &envelope, engine)?;
        if let Some(replica) = self.replicas.get(shard).filter(|r| r.id() == to)
            && let Err(refused) = replica.admit(from, || self.map.home_of(shard, envelope.from), &envelope)
        {
            self.others.refuse(from, &refused);
            if matches!(refused, Refused::UnknownSender { .. }) {
                self.map.ask(from, &mut self.outbox);
            }
            return Ok(());
        }
        if (self.disk.log().is_overfull() && !envelope.entries.is_empty()) || !self.takes_entries(&mut envelope) {
            return Ok(());
        }
        let liveness = self.others.liveness();
        if let Some(replica) = self.replicas.get_mut(shard).filter(|r| r.id() == to) {
            if envelope.kind == RaftKind::TimeoutNow && replica.gives_way(liveness) {
                return Ok(());
            }
            if !replica.is_routine(&envelope) {
                replica.wake(liveness);
            }
            replica.step(from, envelope);
            // Most answers to a heartbeat leave nothing to do.
            if replica.has_work() {
                self.replicas.touch(shard);
            }
        }
        Ok(())
    }

    /// True if any of a leader's message is to be taken.
    fn takes_entries(&mut self, envelope: &mut RaftEnvelope) -> bool {
        let room = self.replicas.room_for(envelope, self.config.log_memory_bytes_max);
        if room != Room::All {
            self.disk.syncs().want_if_written();
        }
        room != Room::Nothing
    }

    /// A leader speaks to a copy that is not here: it is a new one, unless it is entombed. An older copy of the same
    /// shard has left the group by then, or the leader would not have added a new one on its node.
    fn make_way(&mut self, from: NodeId, envelope: &RaftEnvelope, engine: &dyn Engine) -> Result<(), EngineError> {
        let (shard, to) = (envelope.shard, envelope.to);
        let is_from_leader = matches!(envelope.kind, RaftKind::Append | RaftKind::Heartbeat);
        let here = self.replicas.get(shard).map(Replica::id);
        if !is_from_leader || here >= Some(to) || self.tombstones.is_entombed(shard, to) {
            return Ok(());
        }
        let map = std::sync::Arc::clone(self.map.known());
        let is_possible = |record: &ShardRecord| {
            let is_from = home_of(record, envelope.from) == Some(from);
            let is_here = home_of(record, to) == Some(self.identity.node);
            // No leader speaks to a copy of a quorum shard.
            record.quorum.is_none() && is_from && is_here && here.is_none_or(|here| !names(record, here))
        };
        let Some(record) = map.shards.get(&shard).filter(|record| is_possible(record)) else {
            // The leader may know a newer map than this node; it will repeat itself.
            self.map.ask(from, &mut self.outbox);
            return Ok(());
        };
        let is_first = record.descriptor.generation.0 == 1 && record.descriptor.node_of(to).is_some();
        if (here.is_some() || is_first) && !self.is_confirmed(Subject::Shard(shard)) {
            return Ok(());
        }
        if here.is_some() {
            self.destroy(shard, engine)?;
        }
        if self.garbage.is_of(shard) {
            return Ok(());
        }
        if is_first {
            return self.create_first(to, &record.descriptor, engine);
        }
        self.create(ReplicaState::blank(to, shard), engine)
    }

    fn snapshot_offer(&mut self, from: NodeId, offer: SnapshotOffer, engine: &dyn Engine) -> Result<(), EngineError> {
        let (shard, to) = (offer.descriptor.shard, offer.to);
        if self.garbage.is_of(shard) || !self.disk.takes_snapshots() {
            return Ok(());
        }
        let Some(replica) = self.replicas.get(shard).filter(|replica| replica.id() == to) else { return Ok(()) };
        let map = self.map.known();
        let record = map.shards.get(&shard).map(|record| (record, map.replica_max()));
        if let Err(refused) = replica.admit_offer(from, record, &offer) {
            self.others.refuse(from, &refused);
            self.map.ask(from, &mut self.outbox);
            return Ok(());
        }
        // One with records takes nothing yet: it gives them up, and what is to be wiped there may wait for just that.
        let takes_it = replica.state().blank || is_planted(Planted::RecordsKeptForWipe);
        if takes_it && !self.is_free(&offer.descriptor, to) {
            return Ok(());
        }
        let Some(replica) = self.replicas.awake(shard, self.others.liveness()) else { return Ok(()) };
        let offered = replica.snapshot_offered(from, offer, engine)?;
        self.replicas.note_range(shard);
        match offered {
            Offered::Answer(node, message) => self.outbox.send(node, message),
            Offered::MustWipe => self.wipe_remains(shard, engine)?,
            Offered::Ignored => {}
        }
        Ok(())
    }

    fn snapshot_chunk(&mut self, from: NodeId, chunk: SnapshotChunk, engine: &dyn Engine) -> Result<(), EngineError> {
        if !self.disk.takes_snapshots() {
            return Ok(());
        }
        let Some(replica) = self.replicas.get_mut(chunk.shard).filter(|r| r.id() == chunk.to) else { return Ok(()) };
        if let Err(refused) = replica.admit_chunk(from, &chunk, engine)? {
            self.others.refuse(from, &refused);
            return Ok(());
        }
        let mut out = Collected::default();
        let shard = chunk.shard;
        replica.snapshot_chunk(chunk, engine, &mut out)?;
        self.replicas.note_range(shard);
        self.disk.syncs().written();
        if out.wants_sync {
            self.disk.syncs().want();
        }
        self.outbox.take(&mut out);
        Ok(())
    }

    fn snapshot_ack(&mut self, from: NodeId, ack: &SnapshotAck, now: Now) {
        let replica = self.replicas.get(ack.shard).filter(|r| r.id() == ack.from);
        if let Some(Err(refused)) = replica.map(|replica| replica.admit_ack(from, ack)) {
            self.others.refuse(from, &refused);
            return;
        }
        if let Some(replica) = self.replicas.get_mut(ack.shard).filter(|r| r.id() == ack.from) {
            replica.snapshot_acknowledged(ack, now);
            self.replicas.touch(ack.shard);
        }
    }

    pub(super) fn certify_asked(&mut self, (asker, nonce): (NodeId, u64), node: NodeId, shards: &[ShardId], now: Now) {
        let is_quorum = |shard: &ShardId| self.map.known().shards.get(shard).is_some_and(|r| r.quorum.is_some());
        let (of_copies, of_leaders): (Vec<ShardId>, Vec<ShardId>) = shards.iter().copied().partition(is_quorum);
        self.certify_copies((asker, nonce), node, &of_copies);
        for shard in &of_leaders {
            let confirmed = match self.replicas.awake(*shard, self.others.liveness()) {
                Some(replica) => replica.confirm(Duty::Certify { nonce, asker, node }, now),
                None => false,
            };
            self.replicas.touch(*shard);
            if !confirmed {
                let answer = crate::message::CertifyAnswer::NotLeader;
                self.tell(asker, PeerMessage::CertifyAnswer { nonce, shard: *shard, answer });
            }
        }
    }

    /// Each copy of a quorum shard answers for itself. What it holds is durable, so there is nothing to confirm.
    fn certify_copies(&mut self, (asker, nonce): (NodeId, u64), node: NodeId, shards: &[ShardId]) {
        let copies = if shards.is_empty() { Vec::new() } else { self.quorum_copies() };
        for &shard in shards {
            let own = copies.binary_search_by_key(&shard, |copy| copy.shard).ok().and_then(|at| copies.get(at));
            let record = self.map.known().shards.get(&shard);
            let answer = copy_answer(record, own, node);
            self.tell(asker, PeerMessage::CertifyAnswer { nonce, shard, answer });
        }
    }

    /// Sends to another node, or takes it up at once if it is this one.
    pub(super) fn tell(&mut self, to: NodeId, message: PeerMessage) {
        if to != self.identity.node {
            self.outbox.send(to, message);
        } else if let PeerMessage::CertifyAnswer { nonce, shard, answer } = message {
            self.stewardship.certify_answered(to, nonce, shard, answer);
        }
    }
}

#[cfg(test)]
mod tests;
