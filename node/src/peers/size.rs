//! What a message between nodes takes of the node's budget of bytes, before it is sent and after it has come.

use skerry_core::message::PeerMessage;

/// Bytes of what makes a message large.
pub(crate) fn message_bytes(message: &PeerMessage) -> usize {
    match message {
        PeerMessage::Raft(envelope) => envelope.entries.iter().map(|e| e.data.len() + e.context.len()).sum(),
        PeerMessage::SnapshotChunk(chunk) => chunk.records.iter().map(|(key, value)| key.len() + value.len()).sum(),
        // A record of the map is about this large.
        PeerMessage::Map(delta) => 256 * (delta.nodes.len() + delta.tables.len() + delta.shards.len()),
        PeerMessage::Report(report) => 256 * report.led.changed.len() + 64 * report.quorum.changed.len(),
        PeerMessage::Quorum(envelope) => envelope.body.bytes(),
        PeerMessage::SnapshotOffer(_)
        | PeerMessage::SnapshotAck(_)
        | PeerMessage::Beat(_)
        | PeerMessage::MapWant { .. }
        | PeerMessage::ReportWant
        | PeerMessage::CertifyAsk { .. }
        | PeerMessage::CertifyAnswer { .. }
        | PeerMessage::TransferLeader { .. } => 0,
    }
}
