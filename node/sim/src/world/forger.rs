//! Somebody who has the secret of the database, hears what nodes say, and says it once more with a field changed, so that
//! no node would say it. All of that is refused, and nothing comes of it.

use bytes::Bytes;
use rand::Rng;
use rand::seq::IndexedRandom;
use skerry_core::engine::data_key;
use skerry_core::ids::{Generation, Incarnation, NodeId, ShardId};
use skerry_core::log::EntryKind;
use skerry_core::map::{Descriptor, Map};
use skerry_core::message::{CertifyAnswer, PeerMessage, RaftEnvelope, RaftKind, SnapshotChunk, SnapshotOffer};

use crate::hardship::Hardship;
use crate::world::{Event, World};

/// Further than any log, and any number of starts.
const FAR: u64 = 1 << 40;

/// Entries that somebody has overheard who forges messages.
#[derive(Default)]
pub(crate) struct Forger {
    /// What an entry of the system shard holds.
    of_system: Option<Bytes>,
    /// What an entry of another shard holds.
    of_data: Option<Bytes>,
}

/// A message, and whose it is said to be.
struct Forged {
    to: NodeId,
    from: NodeId,
    incarnation: Incarnation,
    message: PeerMessage,
}

/// Of a thousand messages of a kind, how many are said once more.
fn rate(message: &PeerMessage) -> u32 {
    match message {
        PeerMessage::Raft(m) => match m.kind {
            RaftKind::Heartbeat | RaftKind::HeartbeatResponse => 3,
            RaftKind::RequestVote | RaftKind::RequestPreVote => 300,
            _ => 20,
        },
        PeerMessage::SnapshotOffer(_) | PeerMessage::SnapshotChunk(_) | PeerMessage::CertifyAsk { .. } => 300,
        PeerMessage::Beat(_) => 3,
        PeerMessage::MapWant { .. } => 300,
        _ => 0,
    }
}

impl World {
    /// Now and then a message is said once more, changed.
    pub(crate) fn forge(&mut self, sender: (NodeId, Incarnation), to: NodeId, message: &PeerMessage) {
        if !self.is_troubled || !self.setting.has(Hardship::ForgedMessages) {
            return;
        }
        self.forger.overhear(message);
        if self.rng.random_range(0..1_000) >= rate(message) {
            return;
        }
        let Some(Forged { to, from, incarnation, message }) = self.forged(sender, to, message) else { return };
        // A node that knows nothing yet believes what it is told.
        let is_ready = |host: &crate::host::Host| {
            let knows = |node: &skerry_core::node::Node| node.map().shards.contains_key(&ShardId::SYSTEM);
            host.paused_until <= self.time && host.node.as_ref().is_some_and(knows)
        };
        if self.hosts.get(&to).is_some_and(is_ready) {
            self.after(0, Event::Deliver { to, from, incarnation, messages: vec![message] });
        }
    }

    fn forged(&mut self, sender: (NodeId, Incarnation), to: NodeId, message: &PeerMessage) -> Option<Forged> {
        let (from, incarnation) = sender;
        let as_sender = |message| Some(Forged { to, from, incarnation, message });
        match message {
            PeerMessage::Raft(m) => match m.kind {
                RaftKind::RequestVote | RaftKind::RequestPreVote => self.as_another(from, to, vote(m)),
                RaftKind::Append if self.rng.random_bool(0.5) => self.as_another(from, to, acknowledgement(m)?),
                _ => as_sender(PeerMessage::Raft(self.changed(m)?)),
            },
            PeerMessage::SnapshotOffer(offer) => as_sender(PeerMessage::SnapshotOffer(of_all(offer)?)),
            PeerMessage::SnapshotChunk(chunk) => as_sender(PeerMessage::SnapshotChunk(self.piece(to, chunk)?)),
            PeerMessage::CertifyAsk { nonce, shards, .. } => {
                let (nonce, shard) = (*nonce, *shards.first()?);
                let answer = CertifyAnswer::Clear { in_sync: 9, generation: Generation(FAR) };
                self.as_another(from, to, PeerMessage::CertifyAnswer { nonce, shard, answer })
            }
            PeerMessage::Beat(_) => {
                Some(Forged { to, from, incarnation: Incarnation(incarnation.0 + FAR), message: message.clone() })
            }
            PeerMessage::MapWant { .. } => self.map(from, to),
            _ => None,
        }
    }

    /// To whom the overheard message was from, from a third node.
    fn as_another(&mut self, to: NodeId, not: NodeId, message: PeerMessage) -> Option<Forged> {
        let cut = &self.network.cut;
        let may = |id: &NodeId| *id != to && *id != not && !cut.contains(&(*id, to));
        let (up, time) = (self.up(), self.time);
        let awake = |id: &NodeId| self.hosts.get(id).is_some_and(|host| host.paused_until <= time);
        let others: Vec<_> = up.into_iter().filter(|id| may(id) && awake(id)).collect();
        let from = *others.choose(&mut self.rng)?;
        let incarnation = Incarnation(self.hosts.get(&from)?.incarnation);
        Some(Forged { to, from, incarnation, message })
    }

    /// What raft would take for more than it can be.
    fn changed(&mut self, message: &RaftEnvelope) -> Option<RaftEnvelope> {
        let mut changed = message.clone();
        match message.kind {
            RaftKind::Heartbeat => changed.commit = FAR,
            RaftKind::AppendResponse if !message.reject => changed.index = FAR,
            RaftKind::Append => {
                let last = changed.entries.last_mut()?;
                match self.rng.random_range(0..3) {
                    0 => last.index += self.rng.random_range(1..5),
                    1 => last.term = 0,
                    _ => {
                        let foreign = if message.shard == ShardId::SYSTEM {
                            &self.forger.of_data
                        } else {
                            &self.forger.of_system
                        };
                        (last.kind, last.data, last.context) = (EntryKind::Normal, foreign.clone()?, Bytes::new());
                    }
                }
            }
            _ => return None,
        }
        Some(changed)
    }

    /// A damaged piece of a snapshot, or one that has a record of another shard.
    fn piece(&mut self, to: NodeId, chunk: &SnapshotChunk) -> Option<SnapshotChunk> {
        let mut chunk = chunk.clone();
        if self.rng.random_bool(0.5) {
            let (_, value) = chunk.records.iter_mut().find(|(_, value)| !value.is_empty())?;
            let mut bytes = value.to_vec();
            *bytes.last_mut()? ^= 1;
            *value = bytes.into();
            return Some(chunk);
        }
        let node = self.hosts.get(&to)?.node.as_ref()?;
        let others = node.each_replica().map(|replica| replica.descriptor());
        let key = others.filter(|other| other.shard != chunk.shard).find_map(key_within)?;
        chunk.records.push((key, Bytes::from_static(b"forged")));
        let sum = |sum, (key, value): &(Bytes, Bytes)| crc32c::crc32c_append(crc32c::crc32c_append(sum, key), value);
        chunk.checksum = chunk.records.iter().fold(0, sum);
        Some(chunk)
    }

    /// A later map without tables, from a node that has no copy of the system shard.
    fn map(&mut self, to: NodeId, not: NodeId) -> Option<Forged> {
        let map = self.hosts.get(&to)?.node.as_ref()?.map().clone();
        let forged = self.as_another(to, not, PeerMessage::Map(dropped(&map)))?;
        let system = map.shards.get(&ShardId::SYSTEM)?;
        let maps = self.hosts.values().filter_map(|host| host.node.as_ref()).map(|node| node.map());
        let mut records = maps.filter_map(|map| map.shards.get(&ShardId::SYSTEM)).chain([system]);
        (!records.any(|record| record.names(forged.from))).then_some(forged)
    }
}

impl Forger {
    fn overhear(&mut self, message: &PeerMessage) {
        let PeerMessage::Raft(m) = message else { return };
        let entries = m.entries.iter().filter(|entry| entry.kind == EntryKind::Normal && !entry.data.is_empty());
        if let Some(entry) = entries.last() {
            let known = if m.shard == ShardId::SYSTEM { &mut self.of_system } else { &mut self.of_data };
            *known = Some(entry.data.clone());
        }
    }
}

/// The vote that the receiver of a request may not give.
fn vote(request: &RaftEnvelope) -> PeerMessage {
    let kind = match request.kind {
        RaftKind::RequestVote => RaftKind::RequestVoteResponse,
        _ => RaftKind::RequestPreVoteResponse,
    };
    PeerMessage::Raft(answer(request, kind))
}

/// That the receiver has what it may not have. `None` = nothing was sent.
fn acknowledgement(append: &RaftEnvelope) -> Option<PeerMessage> {
    let index = append.entries.last()?.index;
    Some(PeerMessage::Raft(RaftEnvelope { index, ..answer(append, RaftKind::AppendResponse) }))
}

fn answer(asked: &RaftEnvelope, kind: RaftKind) -> RaftEnvelope {
    RaftEnvelope::empty(asked.shard, (asked.to, asked.from), kind, asked.term)
}

/// An offer of all records of all tables. `None` = it is one already.
fn of_all(offer: &SnapshotOffer) -> Option<SnapshotOffer> {
    let bounds = (Bytes::new(), None);
    let mut offer = offer.clone();
    offer.id += FAR;
    let shard = &mut offer.descriptor;
    if (&shard.start, &shard.end) == (&bounds.0, &bounds.1) {
        return None;
    }
    (shard.start, shard.end) = bounds;
    Some(offer)
}

/// A store's key of a record that may be in a shard.
fn key_within(shard: &Descriptor) -> Option<Bytes> {
    let key = [&shard.start[..], b"~"].concat();
    shard.contains(&key).then(|| data_key(shard.table, &key))
}

fn dropped(map: &Map) -> skerry_core::map::MapDelta {
    let mut delta = map.since(skerry_core::ids::Epoch(0));
    delta.epoch.0 += 1;
    for table in &mut delta.tables {
        (table.dropped, table.epoch) = (true, delta.epoch);
    }
    delta
}
