//! What the inbox takes, refuses and drops.

use skerry_core::command::Mutation;
use skerry_core::ids::{ReplicaId, ShardId};
use skerry_core::log::{EntryKind, LogEntry};
use skerry_core::map::MapDelta;
use skerry_core::message::{RaftEnvelope, RaftKind};
use skerry_core::node::Input;

use super::*;

fn read() -> Request {
    let ask = Ask::Admin { request: Box::new(AdminRequest::Status), bytes: 0 };
    Request { ask, reply: Reply::Once(oneshot::channel().0) }
}

#[test]
fn a_node_with_too_much_in_hand_refuses_and_takes_again_after_answering() {
    let (inbox, _receiver) = inbox();
    for _ in 0..REQUESTS_MAX {
        inbox.submit(vec![read()]).unwrap();
    }
    let (refused, back) = inbox.submit(vec![read()]).unwrap_err();
    assert_eq!(refused, Refused::Overloaded { requests: REQUESTS_MAX });
    assert_eq!(back.len(), 1);
    inbox.signals().answered(1);
    inbox.submit(vec![read()]).unwrap();
}

fn write(mutation: Mutation) -> Request {
    let command = Command { request: None, conditions: vec![], mutations: vec![mutation] };
    let ask = Ask::Write { table: TableId(1), command, options: Box::default() };
    Request { ask, reply: Reply::Once(oneshot::channel().0) }
}

fn put(bytes: usize) -> Request {
    let (key, value) = (Bytes::from_static(b"k"), Bytes::from(vec![0; bytes]));
    write(Mutation::Put { key, value, expires_ms: None })
}

fn delete() -> Request {
    write(Mutation::Delete { key: Bytes::from_static(b"k") })
}

#[test]
fn a_put_without_memory_for_it_is_refused_and_deletes_of_the_same_frame_are_taken() {
    let (inbox, receiver) = inbox_within(Budget::new(10_000));
    inbox.submit(vec![put(7_000)]).unwrap();
    let (refused, back) = inbox.submit(vec![put(1_000), delete(), read()]).unwrap_err();
    assert!(matches!(refused, Refused::NoMemory { limit: 10_000, .. }), "{refused}");
    assert_eq!((back.len(), inbox.signals().requests()), (1, 3));
    assert!(matches!(back[0].ask.share(), Share::Most));
    drop(receiver.try_iter().collect::<Vec<_>>());
    inbox.submit(vec![put(7_000)]).unwrap();
}

fn order(bytes: usize) -> Request {
    let ask = Ask::Admin { request: Box::new(AdminRequest::Status), bytes };
    Request { ask, reply: Reply::Once(oneshot::channel().0) }
}

#[test]
fn what_an_order_brings_takes_memory_and_only_a_small_one_is_taken_without_room_for_it() {
    let (inbox, _receiver) = inbox_within(Budget::new(4 << 20));
    inbox.submit(vec![order(3 << 20)]).unwrap();
    assert!(inbox.budget().used_by(Kind::Requests) >= 3 << 20);
    let (refused, _) = inbox.submit(vec![order(3 << 20)]).unwrap_err();
    assert!(matches!(refused, Refused::NoMemory { .. }), "{refused}");
    let _all = inbox.budget().charge(Kind::Answers, 16 << 20);
    inbox.submit(vec![order(ORDER_BYTES_MAX)]).unwrap();
    assert!(inbox.submit(vec![order(ORDER_BYTES_MAX + 1)]).is_err());
}

#[test]
fn what_is_in_hand_takes_memory_until_its_permit_is_dropped() {
    let (inbox, receiver) = inbox_within(Budget::new(10_000));
    inbox.submit(vec![put(5_000)]).unwrap();
    let Ok(Work::Requests(requests, permit)) = receiver.try_recv() else { panic!("no request") };
    drop(requests);
    assert!(inbox.submit(vec![put(5_000)]).is_err());
    drop(permit);
    inbox.submit(vec![put(5_000)]).unwrap();
}

fn entries() -> Vec<PeerMessage> {
    let copies = (ReplicaId(2), ReplicaId(1));
    let mut append = RaftEnvelope::empty(ShardId(1), copies, RaftKind::Append, 1);
    append.entries = vec![LogEntry {
        index: 1,
        term: 1,
        kind: EntryKind::Normal,
        data: Bytes::from_static(b"entry"),
        context: Bytes::new(),
    }];
    vec![PeerMessage::Raft(append)]
}

#[tokio::test]
async fn a_peers_frame_waits_for_memory_and_is_lost_in_the_end_but_what_has_no_size_never_waits() {
    let (inbox, receiver) = inbox_within(Budget::new(400));
    let held = inbox.budget().charge(Kind::Peers, 101);
    let (from, incarnation) = (NodeId(2), Incarnation(1));
    let map = || vec![PeerMessage::Map(MapDelta { nodes: vec![], ..MapDelta::default() })];
    assert!(inbox.deliver(from, incarnation, map()).await);
    assert!(matches!(receiver.try_recv(), Ok(Work::Peer { .. })));
    assert!(inbox.deliver(from, incarnation, entries()).await);
    assert!(receiver.try_recv().is_err(), "it is lost");
    drop(held);
    assert!(inbox.deliver(from, incarnation, entries()).await);
    assert!(matches!(receiver.try_recv(), Ok(Work::Peer { .. })));
}

#[tokio::test]
async fn frames_that_wait_for_a_slow_peer_do_not_keep_those_of_others_out() {
    let (inbox, receiver) = inbox_within(Budget::new(400));
    let _for_a_slow_peer = inbox.budget().charge(Kind::Outgoing, 300);
    assert!(inbox.deliver(NodeId(2), Incarnation(1), entries()).await);
    assert!(matches!(receiver.try_recv(), Ok(Work::Peer { .. })));
}

#[test]
fn an_order_of_the_operator_is_taken_when_memory_is_used_up() {
    let (inbox, _receiver) = inbox_within(Budget::new(400));
    let _logs = inbox.budget().charge(Kind::Log, 1_000);
    inbox.submit(vec![read()]).unwrap();
}

#[test]
fn signals_survive_a_full_queue_and_wake_once() {
    let (inbox, receiver) = inbox();
    inbox.log_durable(0);
    inbox.log_durable(7);
    inbox.disk(true, 9);
    assert!(matches!(receiver.try_recv(), Ok(Work::Wake)));
    assert!(receiver.try_recv().is_err());
    let seen = inbox.signals().look();
    assert_eq!((seen.log_durable, seen.engine_durable, seen.disk), (Some(7), None, Some((true, 9))));
    assert_eq!(inbox.signals().look().disk, None);
}

#[test]
fn a_poisoned_node_takes_nothing_and_keeps_the_first_reason() {
    let (inbox, _receiver) = inbox();
    inbox.fail("first".into());
    inbox.fail("second".into());
    assert_eq!(inbox.signals().failure(), Some("first"));
    assert_eq!(inbox.submit(vec![read()]).unwrap_err().0, Refused::Closed);
}

#[test]
fn what_is_moved_for_each_request_is_small() {
    assert!(size_of::<Request>() <= 136, "a request has {} bytes", size_of::<Request>());
    assert!(size_of::<Input>() <= 128, "an input has {} bytes", size_of::<Input>());
}
