//! raft's wire types to ours and back, field by field: raft's own encoding never leaves a process.

use raft::eraftpb::{
    ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, Entry, EntryType, Message, MessageType,
};

use crate::ids::{ReplicaId, ShardId};
use crate::log::{EntryKind, HardState, LogEntry};
use crate::message::{RaftEnvelope, RaftKind};
use crate::replica::members::MemberChange;

pub(super) fn entry_out(entry: &Entry) -> LogEntry {
    let kind = match entry.get_entry_type() {
        EntryType::EntryNormal => EntryKind::Normal,
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => EntryKind::Members,
    };
    // raft's encoding of a change of members stays behind: the context says the same in ours.
    let data = if kind == EntryKind::Members { bytes::Bytes::new() } else { entry.data.clone() };
    LogEntry { index: entry.index, term: entry.term, kind, data, context: entry.context.clone() }
}

pub(super) fn entry_in(entry: &LogEntry) -> Entry {
    let mut out = Entry {
        index: entry.index,
        term: entry.term,
        data: entry.data.clone(),
        context: entry.context.clone(),
        ..Entry::default()
    };
    out.set_entry_type(match entry.kind {
        EntryKind::Normal => EntryType::EntryNormal,
        EntryKind::Members => EntryType::EntryConfChangeV2,
    });
    out
}

pub(super) fn hard_state_out(state: &raft::eraftpb::HardState) -> HardState {
    HardState { term: state.term, vote: state.vote, commit: state.commit }
}

/// `None` for what must not cross the network.
fn kind_out(kind: MessageType) -> Option<RaftKind> {
    Some(match kind {
        MessageType::MsgAppend => RaftKind::Append,
        MessageType::MsgAppendResponse => RaftKind::AppendResponse,
        MessageType::MsgRequestVote => RaftKind::RequestVote,
        MessageType::MsgRequestVoteResponse => RaftKind::RequestVoteResponse,
        MessageType::MsgRequestPreVote => RaftKind::RequestPreVote,
        MessageType::MsgRequestPreVoteResponse => RaftKind::RequestPreVoteResponse,
        MessageType::MsgHeartbeat => RaftKind::Heartbeat,
        MessageType::MsgHeartbeatResponse => RaftKind::HeartbeatResponse,
        MessageType::MsgTimeoutNow => RaftKind::TimeoutNow,
        MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgPropose
        | MessageType::MsgSnapshot
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgCheckQuorum
        | MessageType::MsgTransferLeader
        | MessageType::MsgReadIndex
        | MessageType::MsgReadIndexResp => return None,
    })
}

fn kind_in(kind: RaftKind) -> MessageType {
    match kind {
        RaftKind::Append => MessageType::MsgAppend,
        RaftKind::AppendResponse => MessageType::MsgAppendResponse,
        RaftKind::RequestVote => MessageType::MsgRequestVote,
        RaftKind::RequestVoteResponse => MessageType::MsgRequestVoteResponse,
        RaftKind::RequestPreVote => MessageType::MsgRequestPreVote,
        RaftKind::RequestPreVoteResponse => MessageType::MsgRequestPreVoteResponse,
        RaftKind::Heartbeat => MessageType::MsgHeartbeat,
        RaftKind::HeartbeatResponse => MessageType::MsgHeartbeatResponse,
        RaftKind::TimeoutNow => MessageType::MsgTimeoutNow,
    }
}

/// `None` for what must not cross the network.
pub(super) fn message_out(shard: ShardId, message: &Message) -> Option<RaftEnvelope> {
    Some(RaftEnvelope {
        shard,
        from: ReplicaId(message.from),
        to: ReplicaId(message.to),
        kind: kind_out(message.get_msg_type())?,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        entries: message.entries.iter().map(entry_out).collect(),
        commit: message.commit,
        commit_term: message.commit_term,
        reject: message.reject,
        reject_hint: message.reject_hint,
        request_snapshot: message.request_snapshot,
        context: message.context.clone(),
    })
}

pub(super) fn message_in(envelope: RaftEnvelope) -> Message {
    let mut message = Message {
        from: envelope.from.0,
        to: envelope.to.0,
        term: envelope.term,
        log_term: envelope.log_term,
        index: envelope.index,
        commit: envelope.commit,
        commit_term: envelope.commit_term,
        reject: envelope.reject,
        reject_hint: envelope.reject_hint,
        request_snapshot: envelope.request_snapshot,
        context: envelope.context,
        ..Message::default()
    };
    message.set_msg_type(kind_in(envelope.kind));
    message.set_entries(envelope.entries.iter().map(entry_in).collect::<Vec<_>>().into());
    message
}

/// raft's form of a change. The log and the network carry ours.
pub(super) fn conf_change(change: &MemberChange) -> ConfChangeV2 {
    let single = |kind: ConfChangeType, id: ReplicaId| {
        let mut single = ConfChangeSingle { node_id: id.0, ..ConfChangeSingle::default() };
        single.set_change_type(kind);
        single
    };
    let mut out = ConfChangeV2::default();
    let changes = match change {
        MemberChange::AddLearner(copy) => vec![single(ConfChangeType::AddLearnerNode, copy.id)],
        MemberChange::Remove(id) => vec![single(ConfChangeType::RemoveNode, *id)],
        MemberChange::Joint { promote, remove } => {
            out.set_transition(ConfChangeTransition::Explicit);
            let promoted = promote.iter().map(|id| single(ConfChangeType::AddNode, *id));
            promoted.chain(remove.iter().map(|id| single(ConfChangeType::RemoveNode, *id))).collect()
        }
        MemberChange::Leave => Vec::new(),
    };
    out.set_changes(changes.into());
    out
}

#[cfg(test)]
mod tests;
