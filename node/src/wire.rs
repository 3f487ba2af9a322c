//! What nodes say to one another, between the core's types and the protocol's messages, field by field. What clients
//! and operators say is converted by [`skerry_client::wire`], which this builds on.

mod raft;
mod snapshot;

use skerry_client::wire::{Malformed, Wire, required};
use skerry_core::ids::{Epoch, Generation, NodeId, ReplicaId, ShardId};
use skerry_core::level::FormatLevel;
use skerry_core::map::MapDelta;
use skerry_core::message::{Beat, CertifyAnswer, CopiesReport, PeerMessage, Report};
use skerry_core::quorum::message::{Body, Envelope};
use skerry_proto::v1;
use skerry_proto::v1::certify_answer::Answer;
use skerry_proto::v1::peer_message::Message;

use crate::peers::Sender;

/// Messages to one node as one frame.
pub fn peer_frame(sender: &Sender, to: NodeId, messages: Vec<PeerMessage>) -> v1::PeerFrame {
    v1::PeerFrame {
        cluster_id: sender.cluster.0.clone(),
        from_node_id: sender.node.0,
        to_node_id: to.0,
        incarnation: sender.incarnation.0,
        messages: messages.into_iter().map(|m| v1::PeerMessage { message: Some(message_out(m)) }).collect(),
    }
}

/// What could be read of a received frame.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// What can be read, in order.
    pub messages: Vec<PeerMessage>,
    /// Messages that are of a kind that this release does not know, or that lack something: lost on the way, as any may
    /// be.
    pub skipped: u64,
    /// What was wrong with the last of those.
    pub why: Option<Malformed>,
}

/// The messages of a frame. What cannot be read takes nothing else with it: a newer release may say more than this one
/// understands.
pub fn peer_messages(messages: Vec<v1::PeerMessage>) -> Received {
    let mut received = Received::default();
    for message in messages {
        match message.message.ok_or(Malformed::Missing("message")).and_then(message_in) {
            Ok(message) => received.messages.push(message),
            Err(malformed) => {
                received.skipped += 1;
                received.why = Some(malformed);
            }
        }
    }
    received
}

fn message_out(message: PeerMessage) -> Message {
    match message {
        PeerMessage::Raft(envelope) => Message::Raft(raft::envelope_out(envelope)),
        PeerMessage::Quorum(Envelope { shard, from, to, generation, body }) => Message::Quorum(v1::QuorumEnvelope {
            shard_id: shard.0,
            from_replica_id: from.0,
            to_replica_id: to.0,
            generation: generation.0,
            body: body.encode(),
        }),
        PeerMessage::SnapshotOffer(offer) if offer.level == FormatLevel::FIRST => {
            Message::SnapshotOffer(snapshot::offer_out(offer))
        }
        // Whoever passes over a level that it does not know would apply what follows by other rules than all others.
        PeerMessage::SnapshotOffer(offer) => Message::SnapshotOfferAtLevel(snapshot::offer_out(offer)),
        PeerMessage::SnapshotChunk(chunk) => Message::SnapshotChunk(snapshot::chunk_out(chunk)),
        PeerMessage::SnapshotAck(ack) => Message::SnapshotAck(snapshot::ack_out(ack)),
        PeerMessage::Beat(Beat { disk_full, disk_stalled, wall_ms }) => {
            Message::Beat(v1::Beat { disk_full, disk_stalled, wall_ms })
        }
        PeerMessage::MapWant { have } => Message::MapWant(v1::MapWant { have_epoch: have.0 }),
        PeerMessage::Map(delta) => Message::Map(delta.into_wire()),
        PeerMessage::Report(Report { node, led, quorum }) => {
            let (node, led, quorum) = (Some(node.into_wire()), Some(led.into_wire()), Some(quorum.into_wire()));
            Message::Report(v1::Report { node, led, quorum })
        }
        PeerMessage::ReportWant => Message::ReportWant(v1::ReportWant {}),
        PeerMessage::CertifyAsk { nonce, node, shards } => {
            let shard_ids = shards.into_iter().map(|shard| shard.0).collect();
            Message::CertifyAsk(v1::CertifyAsk { nonce, node_id: node.0, shard_ids })
        }
        PeerMessage::CertifyAnswer { nonce, shard, answer } => {
            let answer = match answer {
                CertifyAnswer::Clear { in_sync, generation } => {
                    Answer::Clear(v1::CertifyClear { in_sync, generation: generation.0 })
                }
                CertifyAnswer::Held { replica } => Answer::Held(v1::CertifyHeld { replica_id: replica.0 }),
                CertifyAnswer::NotLeader => Answer::NotLeader(true),
            };
            Message::CertifyAnswer(v1::CertifyAnswer { nonce, shard_id: shard.0, answer: Some(answer) })
        }
        PeerMessage::TransferLeader { shard, to } => {
            Message::TransferLeader(v1::TransferLeader { shard_id: shard.0, to_replica_id: to.0 })
        }
    }
}

fn message_in(message: Message) -> Result<PeerMessage, Malformed> {
    Ok(match message {
        Message::Raft(m) => PeerMessage::Raft(raft::envelope_in(m)?),
        Message::Quorum(m) => PeerMessage::Quorum(Envelope {
            shard: ShardId(m.shard_id),
            from: ReplicaId(m.from_replica_id),
            to: ReplicaId(m.to_replica_id),
            generation: Generation(m.generation),
            body: Body::decode(&m.body).map_err(|_| Malformed::Undecodable("quorum.body"))?,
        }),
        Message::SnapshotOffer(m) | Message::SnapshotOfferAtLevel(m) => {
            PeerMessage::SnapshotOffer(snapshot::offer_in(m)?)
        }
        Message::SnapshotChunk(m) => PeerMessage::SnapshotChunk(snapshot::chunk_in(m)),
        Message::SnapshotAck(m) => PeerMessage::SnapshotAck(snapshot::ack_in(m)?),
        Message::Beat(v1::Beat { disk_full, disk_stalled, wall_ms }) => {
            PeerMessage::Beat(Beat { disk_full, disk_stalled, wall_ms })
        }
        Message::MapWant(m) => PeerMessage::MapWant { have: Epoch(m.have_epoch) },
        Message::Map(m) => PeerMessage::Map(MapDelta::from_wire(m)?),
        Message::Report(m) => PeerMessage::Report(Report {
            node: required(m.node, "report.node")?,
            led: required(m.led, "report.led")?,
            quorum: m.quorum.map(CopiesReport::from_wire).transpose()?.unwrap_or_default(),
        }),
        Message::ReportWant(_) => PeerMessage::ReportWant,
        Message::CertifyAsk(m) => PeerMessage::CertifyAsk {
            nonce: m.nonce,
            node: NodeId(m.node_id),
            shards: m.shard_ids.into_iter().map(ShardId).collect(),
        },
        Message::CertifyAnswer(m) => {
            let answer = match m.answer.ok_or(Malformed::Missing("certify_answer.answer"))? {
                Answer::Clear(m) => CertifyAnswer::Clear { in_sync: m.in_sync, generation: Generation(m.generation) },
                Answer::Held(m) => CertifyAnswer::Held { replica: ReplicaId(m.replica_id) },
                Answer::NotLeader(_) => CertifyAnswer::NotLeader,
            };
            PeerMessage::CertifyAnswer { nonce: m.nonce, shard: ShardId(m.shard_id), answer }
        }
        Message::TransferLeader(m) => {
            PeerMessage::TransferLeader { shard: ShardId(m.shard_id), to: ReplicaId(m.to_replica_id) }
        }
    })
}

#[cfg(test)]
mod tests;
