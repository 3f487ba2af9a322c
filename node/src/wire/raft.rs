//! Raft messages between the core's types and the protocol's, field by field.

use skerry_client::wire::Malformed;
use skerry_core::ids::{ReplicaId, ShardId};
use skerry_core::log::{EntryKind, LogEntry};
use skerry_core::message::{RaftEnvelope, RaftKind};
use skerry_proto::v1;

/// Converts an envelope into the message that is sent.
pub(super) fn envelope_out(envelope: RaftEnvelope) -> v1::RaftEnvelope {
    v1::RaftEnvelope {
        shard_id: envelope.shard.0,
        from_replica_id: envelope.from.0,
        to_replica_id: envelope.to.0,
        kind: kind_out(envelope.kind).into(),
        term: envelope.term,
        log_term: envelope.log_term,
        index: envelope.index,
        entries: envelope.entries.into_iter().map(entry_out).collect(),
        commit: envelope.commit,
        commit_term: envelope.commit_term,
        reject: envelope.reject,
        reject_hint: envelope.reject_hint,
        request_snapshot: envelope.request_snapshot,
        context: envelope.context,
    }
}

/// Converts a received message into an envelope.
pub(super) fn envelope_in(envelope: v1::RaftEnvelope) -> Result<RaftEnvelope, Malformed> {
    Ok(RaftEnvelope {
        shard: ShardId(envelope.shard_id),
        from: ReplicaId(envelope.from_replica_id),
        to: ReplicaId(envelope.to_replica_id),
        kind: kind_in(envelope.kind)?,
        term: envelope.term,
        log_term: envelope.log_term,
        index: envelope.index,
        entries: envelope.entries.into_iter().map(entry_in).collect::<Result<_, _>>()?,
        commit: envelope.commit,
        commit_term: envelope.commit_term,
        reject: envelope.reject,
        reject_hint: envelope.reject_hint,
        request_snapshot: envelope.request_snapshot,
        context: envelope.context,
    })
}

fn entry_out(entry: LogEntry) -> v1::LogEntry {
    let kind = match entry.kind {
        EntryKind::Normal => v1::EntryKind::Normal,
        EntryKind::Members => v1::EntryKind::Members,
    };
    v1::LogEntry { index: entry.index, term: entry.term, kind: kind.into(), data: entry.data, context: entry.context }
}

fn entry_in(entry: v1::LogEntry) -> Result<LogEntry, Malformed> {
    let unknown = Malformed::Unknown { field: "entry.kind", value: entry.kind };
    let kind = match v1::EntryKind::try_from(entry.kind).map_err(|_| unknown)? {
        v1::EntryKind::Normal => EntryKind::Normal,
        v1::EntryKind::Members => EntryKind::Members,
        v1::EntryKind::Unspecified => return Err(Malformed::Missing("entry.kind")),
    };
    Ok(LogEntry { index: entry.index, term: entry.term, kind, data: entry.data, context: entry.context })
}

fn kind_out(kind: RaftKind) -> v1::RaftKind {
    match kind {
        RaftKind::Append => v1::RaftKind::Append,
        RaftKind::AppendResponse => v1::RaftKind::AppendResponse,
        RaftKind::RequestVote => v1::RaftKind::RequestVote,
        RaftKind::RequestVoteResponse => v1::RaftKind::RequestVoteResponse,
        RaftKind::RequestPreVote => v1::RaftKind::RequestPreVote,
        RaftKind::RequestPreVoteResponse => v1::RaftKind::RequestPreVoteResponse,
        RaftKind::Heartbeat => v1::RaftKind::Heartbeat,
        RaftKind::HeartbeatResponse => v1::RaftKind::HeartbeatResponse,
        RaftKind::TimeoutNow => v1::RaftKind::TimeoutNow,
    }
}

fn kind_in(number: i32) -> Result<RaftKind, Malformed> {
    let unknown = Malformed::Unknown { field: "raft.kind", value: number };
    Ok(match v1::RaftKind::try_from(number).map_err(|_| unknown)? {
        v1::RaftKind::Append => RaftKind::Append,
        v1::RaftKind::AppendResponse => RaftKind::AppendResponse,
        v1::RaftKind::RequestVote => RaftKind::RequestVote,
        v1::RaftKind::RequestVoteResponse => RaftKind::RequestVoteResponse,
        v1::RaftKind::RequestPreVote => RaftKind::RequestPreVote,
        v1::RaftKind::RequestPreVoteResponse => RaftKind::RequestPreVoteResponse,
        v1::RaftKind::Heartbeat => RaftKind::Heartbeat,
        v1::RaftKind::HeartbeatResponse => RaftKind::HeartbeatResponse,
        v1::RaftKind::TimeoutNow => RaftKind::TimeoutNow,
        v1::RaftKind::Unspecified => return Err(Malformed::Missing("raft.kind")),
    })
}
