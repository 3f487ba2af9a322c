//! Every message between nodes comes back as it went.

mod messages;

use bytes::Bytes;
use prost::Message as _;
use skerry_core::ids::{ClusterId, Incarnation, TableId};
use skerry_core::level::FormatLevel;
use skerry_core::map::{Descriptor, Map, Member, Replica, Role, ShardRecord};
use skerry_core::message::SnapshotOffer;
use skerry_core::quorum::merkle::compare::Answer;

use super::*;
use crate::peers::size::message_bytes;
use messages::{messages, quorum};

#[test]
fn every_message_comes_back_as_it_went() {
    let sender = Sender { cluster: ClusterId("c".into()), node: NodeId(1), incarnation: Incarnation(2) };
    let frame = peer_frame(&sender, NodeId(3), messages());
    assert_eq!((frame.from_node_id, frame.to_node_id, frame.incarnation), (1, 3, 2));
    let received = Received { messages: messages(), ..Received::default() };
    assert_eq!(peer_messages(frame.messages), received);
}

/// A release without levels passes over the field that it does not know: it would take the records of a shard, and apply
/// what follows by the rules of the first level.
#[test]
fn a_snapshot_of_a_level_above_the_first_is_offered_in_a_message_that_older_releases_do_not_know() {
    let sender = Sender { cluster: ClusterId("c".into()), node: NodeId(1), incarnation: Incarnation(2) };
    let known_before = |level| {
        let offers = messages().into_iter().filter_map(|message| match message {
            PeerMessage::SnapshotOffer(offer) => Some(PeerMessage::SnapshotOffer(SnapshotOffer { level, ..offer })),
            _ => None,
        });
        let offers: Vec<_> = offers.collect();
        let frame = peer_frame(&sender, NodeId(3), offers.clone());
        let is_known = frame.messages.iter().all(|m| matches!(m.message, Some(Message::SnapshotOffer(_))));
        assert_eq!(peer_messages(frame.messages).messages, offers);
        is_known
    };
    assert!(known_before(FormatLevel::FIRST));
    assert!(!known_before(FormatLevel(2)));
}

#[test]
fn a_message_of_an_unknown_kind_is_skipped_and_what_is_beside_it_is_not() {
    let kind_77 = v1::RaftEnvelope { kind: 77, ..v1::RaftEnvelope::default() };
    let newer = v1::QuorumEnvelope { body: Bytes::from_static(&[1, 200]), ..v1::QuorumEnvelope::default() };
    let unknown = [
        (v1::PeerMessage { message: None }, Malformed::Missing("message")),
        (
            v1::PeerMessage { message: Some(Message::Raft(kind_77)) },
            Malformed::Unknown { field: "raft.kind", value: 77 },
        ),
        (v1::PeerMessage { message: Some(Message::Quorum(newer)) }, Malformed::Undecodable("quorum.body")),
    ];
    for (message, why) in unknown {
        let beat = || v1::PeerMessage { message: Some(Message::Beat(v1::Beat::default())) };
        let received = peer_messages(vec![beat(), message, beat()]);
        let expected = Received {
            messages: vec![PeerMessage::Beat(Beat::default()), PeerMessage::Beat(Beat::default())],
            skipped: 1,
            why: Some(why),
        };
        assert_eq!(received, expected);
    }
}

#[test]
fn what_quorum_copies_exchange_to_become_equal_is_bulk_if_it_is_large() {
    let entries = |bytes: usize| vec![(Bytes::from("key"), Bytes::from(vec![0; bytes]))];
    let is_bulk = |body| quorum(body).is_bulk();
    assert!(is_bulk(Body::Push(1, entries(70 << 10))) && is_bulk(Body::Hints(entries(70 << 10))));
    assert!(is_bulk(Body::Compared(1, 2, Answer::Records(entries(70 << 10), 1, None))));
    assert!(!is_bulk(Body::Push(1, entries(60 << 10))));
    assert!(!is_bulk(Body::Repair(1, entries(70 << 10))), "a reader waits for it");
    assert!(message_bytes(&quorum(Body::Push(1, entries(70 << 10)))) >= 70 << 10);
}

/// A database of 100,000 shards, as many of one table as one table can have.
fn large_map() -> Map {
    let mut map = Map::default();
    for shard in 0..100_000_u64 {
        let copy =
            |number: u64| Replica { node: NodeId(1 + (shard + number) % 9), id: ReplicaId(1 + 3 * shard + number) };
        let descriptor = Descriptor {
            shard: ShardId(1 + shard),
            table: TableId(u32::try_from(1 + shard / 4_096).unwrap()),
            start: Bytes::from(format!("orders/{:032}", shard % 4_096)),
            end: Some(Bytes::from(format!("orders/{:032}", shard % 4_096 + 1))),
            generation: Generation(1),
            members: (0..3).map(|number| Member { replica: copy(number), role: Role::Voter }).collect(),
        };
        let (target, assigned) = ((0..3).map(|n| copy(n).node).collect(), (0..3).map(copy).collect());
        let epoch = Epoch(1 + shard / 4_096);
        map.put_shard(ShardRecord { descriptor, target, assigned, epoch, quorum: None });
    }
    map
}

#[test]
fn a_map_of_100_000_shards_reaches_a_node_in_frames_of_a_few_mebibytes() {
    let whole = large_map();
    assert!(whole.since(Epoch(0)).into_wire().encoded_len() > 4 << 20, "one message takes it all");
    let (mut there, mut pieces) = (Map::default(), 0);
    while there.epoch < whole.epoch {
        let piece = whole.piece_since(there.epoch, 4_096);
        let bytes = PeerMessage::Map(piece.clone());
        let sender = Sender { cluster: ClusterId::default(), node: NodeId(1), incarnation: Incarnation(1) };
        assert!(peer_frame(&sender, NodeId(2), vec![bytes]).encoded_len() < 4 << 20);
        assert!(there.merge(piece), "no progress at {}", there.epoch);
        pieces += 1;
    }
    assert_eq!(there, whole);
    assert!(pieces <= 26, "{pieces}");
}
