//! Claims about a leader that brings copies up by snapshots: what its log keeps, and when clients' writes wait.

use bytes::Bytes;

use super::*;
use crate::command::{Command, Mutation};
use crate::engine::EngineWrite;
use crate::ids::{NodeId, Token};
use crate::message::{RaftEnvelope, RaftKind, SnapshotAck, SnapshotState};
use crate::record;
use crate::replica::tests::{Memory, NOW, SHARD, copy, durable_up_to, lead, message, sent};
use crate::replica::transfer::window::{ACCEPTS_MS, GETS_ON_MS, SYNCS_MS};
use crate::replica::{Collected, Pace, Replica};
use crate::time::{Now, Version};

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

/// One more write of half a kilobyte waits for its turn.
fn write(replica: &mut Replica) {
    let (key, value) = (Bytes::from_static(b"k"), Bytes::from(vec![b'v'; 500]));
    let mutations = vec![Mutation::Put { key, value, expires_ms: None }];
    replica.write(Token(1), Command { request: None, conditions: vec![], mutations }, &mut Vec::new());
}

/// One more write of half a kilobyte. True if it was proposed at once.
fn is_proposed(replica: &mut Replica, engine: &Memory) -> bool {
    write(replica);
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

/// Bytes of the log that a hundred writes fill which come all at once, and how many half of the room has.
fn filled_by_writes_that_come_together() -> (usize, usize) {
    let engine = Memory::default();
    let (mut replica, index) = sending(&engine);
    (0..100).for_each(|_| write(&mut replica));
    sent(&mut replica, &engine);
    (replica.consensus.log_bytes_after(index), ROOM.log / 2)
}

/// Each entry of them was measured by what was in the log before all of them.
#[test]
fn writes_that_come_together_fill_no_more_of_the_log_than_there_is_room_for() {
    let (filled, room) = filled_by_writes_that_come_together();
    // What an entry takes beside its commands may come on top.
    assert!((500..=room + 500).contains(&filled), "{filled} bytes of {room}");
}

#[cfg(feature = "planted")]
#[test]
fn writes_that_are_measured_by_the_log_before_all_of_them_are_noticed() {
    crate::planted::plant(Some(Planted::ProposedLogNotCounted));
    let (filled, room) = filled_by_writes_that_come_together();
    crate::planted::plant(None);
    assert!(filled > 10 * room);
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

/// Twenty records of half a kilobyte have ended while a snapshot is under way that may keep so many bytes. Whether they are
/// deleted now.
fn is_swept(preimages: usize) -> bool {
    let engine = Memory::default();
    let (mut replica, _) = sending(&engine);
    let table = replica.descriptor().table;
    let ended = |number: u8| {
        let value = record::encode(Version(1), Some(1), &[b'v'; 500]);
        EngineWrite::Put(data_key(table, &[b'k', number]), value)
    };
    engine.write((0..20).map(ended).collect()).expect("it is in memory");
    replica.give_room(TransferRoom { log: usize::MAX, preimages });
    replica.sweep(&engine, NOW).expect("it is in memory")
}

#[test]
fn what_has_ended_is_deleted_only_as_far_as_a_snapshot_has_room_for_it() {
    assert!(is_swept(100_000) && !is_swept(2_000));
}

#[cfg(feature = "planted")]
#[test]
fn a_sweep_that_is_not_weighed_is_noticed() {
    crate::planted::plant(Some(Planted::SweepsOutrunSnapshot));
    let is_swept = is_swept(2_000);
    crate::planted::plant(None);
    assert!(is_swept);
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

/// Two receivers, one of which takes a piece every other second, and the other all that it is sent, while writes wait for
/// room. Which of them holds up no write any more after more than half a minute.
fn paused_beside_a_slow_receiver() -> [bool; 2] {
    let engine = Memory::default();
    let descriptor = crate::map::Descriptor { shard: SHARD, ..crate::map::Descriptor::default() };
    let records = (0..4_000)
        .map(|number| (data_key(descriptor.table, format!("{number:04}").as_bytes()), Bytes::from(vec![0; 100])));
    engine.write(records.map(|(key, value)| EngineWrite::Put(key, value)).collect()).expect("it is in memory");
    let state = ReplicaState { applied: (7, 3), bytes: 500_000, ..ReplicaState::first(ReplicaId(1), descriptor) };
    let mut transfers = Transfers::new();
    let [slow, fast] = [2, 3].map(ReplicaId);
    for id in [slow, fast] {
        transfers.start(Copy { node: NodeId(id.0), id }, &state, 3, &engine, 0).expect("it is in memory");
    }
    transfers.room_wanted(true);
    let ids = transfers.ids();
    let mut taken = 0;
    for ms in (0..35_000).step_by(100) {
        let mut want = |to: ReplicaId, sequence| {
            let ack =
                SnapshotAck { shard: SHARD, id: ids[&to], from: ReplicaId(1), state: SnapshotState::Want(sequence) };
            assert_eq!(transfers.acknowledged(&ack, ms), None);
        };
        want(slow, ms / 2_000);
        want(fast, taken);
        let mut pace = Pace { budget: 1_000_000, piece_bytes: 1_000, piece_records: 1 };
        transfers.pump(&engine, ms, 0, &mut pace, &|_| false).expect("it is in memory");
        taken = transfers.sends[&fast].next_sequence();
        transfers.follow_catch_ups(ms, 7, |_| Some(0), true);
    }
    assert!((1_000..4_000).contains(&taken), "{taken} pieces: it is under way");
    [slow, fast].map(|copy| transfers.is_paused(copy))
}

#[test]
fn writes_that_wait_for_a_slow_receiver_spend_the_patience_with_it_alone() {
    assert_eq!(paused_beside_a_slow_receiver(), [true, false]);
}

#[cfg(feature = "planted")]
#[test]
fn patience_that_one_spends_for_all_is_noticed() {
    crate::planted::plant(Some(Planted::PatienceSpentForAll));
    let paused = paused_beside_a_slow_receiver();
    crate::planted::plant(None);
    assert_eq!(paused, [true, true]);
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
