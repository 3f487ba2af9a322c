//! Frames with bytes changed: decoded, and turned into what the core takes.

use prost::Message;
use skerry_client::wire::{Wire, read_from_op};
use skerry_core::command::{Command, WriteOptions};
use skerry_core::ids::{ClusterId, Incarnation, NodeId};
use skerry_node::peers::Sender;
use skerry_node::wire::{peer_frame, peer_messages};
use skerry_proto::v1;
use skerry_proto::v1::session_item::Op;

use super::messages::messages;
use super::random::{Random, for_each_seed};

fn sender() -> Sender {
    Sender { cluster: ClusterId("c".into()), node: NodeId(1), incarnation: Incarnation(2) }
}

/// A frame with every message there is, and one with each of them alone.
fn peer() -> Vec<Vec<u8>> {
    let frame = |messages| peer_frame(&sender(), NodeId(3), messages).encode_to_vec();
    let each = messages().into_iter().map(|message| frame(vec![message]));
    std::iter::once(frame(messages())).chain(each).collect()
}

fn session() -> Vec<u8> {
    let write = v1::WriteOp {
        request_id: Some(v1::RequestId { issued: 1, client: 2, sequence: 3 }),
        mutations: vec![v1::EncodedMutation {
            key: vec![1].into(),
            value: Some(vec![2].into()),
            expires_ms: Some(4),
            context: vec![5].into(),
        }],
        conditions: vec![v1::EncodedCondition { key: vec![1].into(), expected: None }],
        copies: Some(2),
        again_ms: Some(6),
        attempt: 7,
    };
    let item = |id, op| v1::SessionItem { id, table_id: 1, op: Some(op) };
    let items = vec![
        item(1, Op::Write(write)),
        item(2, Op::Get(v1::GetOp::default())),
        item(3, Op::Scan(v1::ScanOp::default())),
    ];
    v1::SessionRequest { items, cluster_id: "c".into() }.encode_to_vec()
}

fn changed(random: &mut Random, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = if random.is_one_in(20) { random.bytes(200) } else { bytes.to_vec() };
    for _ in 0..random.below(6) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len());
        match random.below(3) {
            0 => bytes[at] = random.next() as u8,
            1 => drop(bytes.remove(at)),
            // Lengths and tags that are the longest, or begin a longer one.
            _ => bytes.insert(at, *random.pick(&[0, 1, 0x7f, 0x80, 0xff])),
        }
    }
    bytes
}

#[test]
fn frames_of_peers_are_read_as_far_as_they_can_be() {
    let valid = peer();
    let mut read = 0;
    for_each_seed("peer frames", |seed| {
        let mut random = Random::new(seed);
        for _ in 0..1_000 {
            let valid = random.pick(&valid);
            let bytes = changed(&mut random, valid);
            let Ok(frame) = v1::PeerFrame::decode(&bytes[..]) else { continue };
            let count = frame.messages.len() as u64;
            let received = peer_messages(frame.messages);
            assert_eq!(received.messages.len() as u64 + received.skipped, count);
            read += received.messages.len();
            // Whatever was read can be told on.
            let told = peer_frame(&sender(), NodeId(3), received.messages.clone());
            assert_eq!(peer_messages(told.messages).messages, received.messages);
        }
    });
    assert!(read > 0);
}

#[test]
fn frames_of_clients_are_read_or_refused() {
    let valid = session();
    let mut read = 0;
    for_each_seed("session frames", |seed| {
        let mut random = Random::new(seed);
        for _ in 0..1_000 {
            let Ok(frame) = v1::SessionRequest::decode(&changed(&mut random, &valid)[..]) else { continue };
            for op in frame.items.into_iter().filter_map(|item| item.op) {
                let is_read = match op {
                    Op::Write(write) => <(Command, WriteOptions)>::from_wire(write).is_ok(),
                    op => read_from_op(op).is_ok(),
                };
                read += usize::from(is_read);
            }
        }
    });
    assert!(read > 0);
}
