//! Claims about a leader that brings copies up by snapshots: what its log keeps, and when clients' writes wait.

use bytes::Bytes;

use super::*;
use crate::command::{Command, Mutation};
use crate::engine::EngineWrite;
use crate::ids::{NodeId, Token};
use crate::message::{RaftEnvelope, RaftKind, SnapshotAck, SnapshotState};
use crate::replica::tests::{Memory, NOW, SHARD, copy, durable_up_to, lead, message, sent};
use crate::replica::transfer::window::{ACCEPTS_MS, GETS_ON_MS, SYNCS_MS};
use crate::replica::{Collected, Pace, Replica};
use crate::time::Now;

const RECEIVER: ReplicaId = ReplicaId(2);
const ROOM: TransferRoom = TransferRoom { log: 4_000, preimages: usize::MAX };

fn at(ms: u64) -> Now {
    Now { monotonic_ms: NOW.monotonic_ms + ms, ..NOW }
}

/// One tick has passed for the replica.
fn follow(replica: &mut Replica, now: Now) {
    replica.follow_catch_ups(now);
}

/// A leader that sends a snapshot to one of two others, and the snapshot's index.
fn sending(engine: &Memory) -> (Replica, u64) {
    let mut replica = copy(&[(2, 1), (3, 1), (4, 1)], 4, engine);
    lead(&mut replica, engine);
    replica.start_snapshot(RECEIVER, engine, NOW).expect("a store in memory never fails");
    follow(&mut replica, NOW);
    replica.give_room(ROOM);
    let index = replica.transfers.sends[&RECEIVER].index();
    acknowledged(&mut replica, SnapshotState::Want(0), 0);
    (replica, index)
}

fn acknowledged(replica: &mut Replica, state: SnapshotState, ms: u64) {
    let id = replica.transfers.sends[&RECEIVER].id();
    let ack = SnapshotAck { shard: SHARD, id, from: ReplicaId(1), state };
    replica.snapshot_acknowledged(&ack, at(ms));
    follow(replica, at(ms));
}

/// One more write of half a kilobyte. True if it was proposed at once.
fn is_proposed(replica: &mut Replica, engine: &Memory) -> bool {
    let (key, value) = (Bytes::from_static(b"k"), Bytes::from(vec![b'v'; 500]));
    let mutations = vec![Mutation::Put { key, value, expires_ms: None }];
    replica.write(Token(1), Command { request: None, conditions: vec![], mutations }, &mut Vec::new());
    sent(replica, engine);
    !replica.consensus.proposals().has_writes()
}

/// Writes that are proposed until one waits.
fn proposed(replica: &mut Replica, engine: &Memory) -> usize {
    (0..100).take_while(|_| is_proposed(replica, engine)).count()
}

/// Where the log begins once it may forget all.
fn cut(replica: &mut Replica) -> u64 {
    let last = replica.consensus.last_index();
    durable_up_to(replica, last);
    replica.cut(0, usize::MAX);
    replica.consensus.log_start().0
}

fn is_log_kept_under_a_snapshot() -> bool {
    let engine = Memory::default();
    let (mut replica, index) = sending(&engine);
    assert!(proposed(&mut replica, &engine) > 0);
    cut(&mut replica) == index
}

#[test]
fn the_log_is_kept_from_a_snapshot_on_while_its_receiver_gets_on() {
    assert!(is_log_kept_under_a_snapshot());
    let engine = Memory::default();
    let (mut replica, index) = sending(&engine);
    assert!(proposed(&mut replica, &engine) > 0);
    follow(&mut replica, at(GETS_ON_MS));
    assert_eq!(cut(&mut replica), index);
    follow(&mut replica, at(GETS_ON_MS + 1));
    assert_eq!(cut(&mut replica), replica.consensus.last_index());
}

#[test]
fn the_log_is_kept_until_a_copy_that_stands_at_its_snapshot_has_caught_up() {
    let engine = Memory::default();
    let (mut replica, index) = sending(&engine);
    assert!(proposed(&mut replica, &engine) > 1);
    acknowledged(&mut replica, SnapshotState::Installed, 0);
    assert!(!replica.is_sending() && replica.is_transferring());
    assert_eq!(cut(&mut replica), index);
    let has = |replica: &mut Replica, index, ms| {
        replica.step(NodeId(2), RaftEnvelope { index, ..message(2, RaftKind::AppendResponse, 2) });
        sent(replica, &engine);
        follow(replica, at(ms));
    };
    has(&mut replica, index + 1, 100);
    assert_eq!(cut(&mut replica), index + 1);
    let last = replica.consensus.last_index();
    has(&mut replica, last, 150);
    assert_eq!((cut(&mut replica), replica.is_transferring()), (last, false));
}

#[test]
fn writes_wait_while_they_fill_the_log_faster_than_the_snapshot_gets_on() {
    let engine = Memory::default();
    let (mut replica, _) = sending(&engine);
    let first = proposed(&mut replica, &engine);
    // Half of the room holds three of these.
    assert!((2..=4).contains(&first), "{first}");
    assert!(!is_proposed(&mut replica, &engine));
    acknowledged(&mut replica, SnapshotState::Installed, 100);
    sent(&mut replica, &engine);
    assert!(!replica.consensus.proposals().has_writes(), "all of the room is theirs once the snapshot is there");
    assert!(proposed(&mut replica, &engine) < 8, "until the copy follows");
}

#[test]
fn writes_wait_for_no_receiver_that_does_not_get_on() {
    let engine = Memory::default();
    let (mut replica, _) = sending(&engine);
    proposed(&mut replica, &engine);
    follow(&mut replica, at(GETS_ON_MS + 1));
    assert_eq!(proposed(&mut replica, &engine), 100);
}

#[test]
fn writes_wait_for_no_receiver_that_does_not_accept() {
    let engine = Memory::default();
    let mut replica = copy(&[(2, 1), (3, 1), (4, 1)], 4, &engine);
    lead(&mut replica, &engine);
    replica.start_snapshot(RECEIVER, &engine, NOW).expect("a store in memory never fails");
    replica.give_room(ROOM);
    follow(&mut replica, at(ACCEPTS_MS));
    assert!(proposed(&mut replica, &engine) < 8);
    follow(&mut replica, at(ACCEPTS_MS + 1));
    assert_eq!(proposed(&mut replica, &engine), 100);
}

#[test]
fn a_receiver_that_makes_everything_durable_is_asked_again_and_waited_for() {
    let engine = Memory::default();
    let (mut replica, _) = sending(&engine);
    let pump = |replica: &mut Replica, ms| {
        let mut pace = Pace { budget: 1_000, piece_bytes: 1_000, piece_records: 10 };
        let mut out = Collected::default();
        replica.pump_snapshots(&engine, at(ms), &mut pace, &|_| false, &mut out).expect("it is in memory");
        out.send.len()
    };
    assert_eq!(pump(&mut replica, 0), 1);
    // Writes wait for it for a while, the transfer for much longer.
    for ms in (5_000..=100_000).step_by(5_000) {
        acknowledged(&mut replica, SnapshotState::Want(1), ms);
        replica.give_up_futile_snapshots(at(ms));
        assert_eq!(
            (pump(&mut replica, ms), replica.transfers.log_needed_after().is_some()),
            (1, ms <= 5_000 + SYNCS_MS),
            "{ms}"
        );
    }
    // It has started anew, and wants pieces that are not there any more.
    for ms in [105_000, 110_001] {
        assert!(replica.is_sending());
        acknowledged(&mut replica, SnapshotState::Want(0), ms);
        replica.give_up_futile_snapshots(at(ms));
    }
    assert!(!replica.is_sending());
}

#[test]
fn writes_wait_while_what_is_kept_of_overwritten_records_fills_its_room() {
    let engine = Memory::default();
    let (mut replica, _) = sending(&engine);
    replica.give_room(TransferRoom { log: usize::MAX, preimages: 2_000 });
    // Half of the room holds one such record.
    let key = data_key(replica.descriptor().table, b"k");
    engine.write(vec![EngineWrite::Put(key, vec![b'v'; 500].into())]).expect("it is in memory");
    assert_eq!(proposed(&mut replica, &engine), 1);
    replica.give_room(TransferRoom { log: usize::MAX, preimages: usize::MAX });
    assert_eq!(proposed(&mut replica, &engine), 100);
}

#[test]
fn a_transfer_whose_snapshot_the_log_does_not_reach_back_to_is_given_up() {
    let engine = Memory::default();
    let (mut replica, _) = sending(&engine);
    proposed(&mut replica, &engine);
    follow(&mut replica, at(GETS_ON_MS + 1));
    replica.give_up_futile_snapshots(at(GETS_ON_MS + 1));
    assert!(replica.is_sending());
    cut(&mut replica);
    replica.give_up_futile_snapshots(at(GETS_ON_MS + 1));
    assert!(!replica.is_sending());
}

#[cfg(feature = "planted")]
#[test]
fn a_log_that_is_cut_under_a_snapshot_is_noticed() {
    crate::planted::plant(Some(Planted::LogCutUnderSnapshot));
    let is_kept = is_log_kept_under_a_snapshot();
    crate::planted::plant(None);
    assert!(!is_kept);
}

/// Transfers of forty bytes each, alone.
fn transfers(engine: &Memory) -> Transfers {
    let descriptor = crate::map::Descriptor { shard: SHARD, ..crate::map::Descriptor::default() };
    let state = ReplicaState { applied: (7, 3), bytes: 40, ..ReplicaState::first(ReplicaId(1), descriptor) };
    let mut transfers = Transfers::new();
    for id in [2, 3] {
        transfers.start(Copy { node: NodeId(id), id: ReplicaId(id) }, &state, 3, engine, 0).expect("it is in memory");
    }
    transfers
}

#[test]
fn a_transfer_that_was_installed_is_followed_and_one_that_was_refused_is_not() {
    let engine = Memory::default();
    let mut transfers = transfers(&engine);
    let ids = transfers.ids();
    let ack = |to, state| SnapshotAck { shard: SHARD, id: ids[&ReplicaId(to)], from: ReplicaId(1), state };
    assert_eq!(transfers.moving(), (0, 80));
    assert_eq!(transfers.acknowledged(&ack(2, SnapshotState::Want(0)), 10), None);
    let refused = transfers.acknowledged(&ack(2, SnapshotState::Refused), 10);
    assert_eq!(refused, Some((ReplicaId(2), Ended::Failed)));
    let installed = transfers.acknowledged(&ack(3, SnapshotState::Installed), 10);
    assert_eq!(installed, Some((ReplicaId(3), Ended::Installed)));
    assert!(!transfers.is_sending() && transfers.is_active());
    assert_eq!(transfers.log_needed_after(), Some(7));
}

#[test]
fn a_transfer_goes_on_only_to_a_member_and_while_the_log_reaches_back_to_it() {
    let engine = Memory::default();
    let mut transfers = transfers(&engine);
    transfers.retain(|id| *id == ReplicaId(3));
    assert_eq!(transfers.ids().into_keys().collect::<Vec<_>>(), [ReplicaId(3)]);
    assert_eq!(transfers.give_up_futile(0, 7), []);
    assert_eq!(transfers.give_up_futile(0, 8), [ReplicaId(3)]);
    assert!(!transfers.is_active());
}
