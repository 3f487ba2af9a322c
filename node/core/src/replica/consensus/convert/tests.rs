//! Claims about the conversion: nothing of a message or an entry is lost on its way, and what is raft's own stays here.

use bytes::Bytes;

use super::*;

const KINDS: [MessageType; 9] = [
    MessageType::MsgAppend,
    MessageType::MsgAppendResponse,
    MessageType::MsgRequestVote,
    MessageType::MsgRequestVoteResponse,
    MessageType::MsgRequestPreVote,
    MessageType::MsgRequestPreVoteResponse,
    MessageType::MsgHeartbeat,
    MessageType::MsgHeartbeatResponse,
    MessageType::MsgTimeoutNow,
];

fn entry(kind: EntryType) -> Entry {
    let mut entry = Entry { index: 1, term: 2, context: Bytes::from_static(b"context"), ..Entry::default() };
    entry.data = Bytes::from_static(b"data");
    entry.set_entry_type(kind);
    entry
}

/// No two of its numbers are equal, and none is what it would be if it were left out.
fn message(kind: MessageType) -> Message {
    let mut message = Message {
        from: 3,
        to: 4,
        term: 5,
        log_term: 6,
        index: 7,
        commit: 8,
        commit_term: 9,
        reject: true,
        reject_hint: 10,
        request_snapshot: 11,
        context: Bytes::from_static(b"round"),
        ..Message::default()
    };
    message.set_msg_type(kind);
    message.set_entries(vec![entry(EntryType::EntryNormal)].into());
    message
}

#[test]
fn every_kind_of_message_arrives_as_it_was_sent() {
    for kind in KINDS {
        let sent = message(kind);
        let envelope = message_out(ShardId(1), &sent).expect("it may cross the network");
        assert_eq!(envelope.shard, ShardId(1));
        assert_eq!(message_in(envelope), sent);
    }
}

#[test]
fn what_is_for_this_process_alone_does_not_leave_it() {
    for kind in [
        MessageType::MsgHup,
        MessageType::MsgBeat,
        MessageType::MsgPropose,
        MessageType::MsgSnapshot,
        MessageType::MsgTransferLeader,
        MessageType::MsgReadIndex,
    ] {
        assert_eq!(message_out(ShardId(1), &message(kind)), None);
    }
}

#[test]
fn an_entry_comes_back_as_it_was() {
    let data = entry(EntryType::EntryNormal);
    assert_eq!(entry_in(&entry_out(&data)), data);
}

#[test]
fn a_change_of_members_leaves_rafts_encoding_behind() {
    let change = entry_out(&entry(EntryType::EntryConfChangeV2));
    assert_eq!((change.kind, change.data.len(), change.context.as_ref()), (EntryKind::Members, 0, &b"context"[..]));
    assert_eq!(entry_in(&change).get_entry_type(), EntryType::EntryConfChangeV2);
}

#[test]
fn term_vote_and_commit_keep_their_places() {
    let state = raft::eraftpb::HardState { term: 1, vote: 2, commit: 3, ..Default::default() };
    assert_eq!(hard_state_out(&state), HardState { term: 1, vote: 2, commit: 3 });
}
