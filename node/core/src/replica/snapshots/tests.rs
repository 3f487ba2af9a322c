//! Claims about a copy's part in snapshots: which offers it takes, what becomes of transfers, and whom it follows after.

use super::*;
use crate::message::{RaftEnvelope, RaftKind};
use crate::replica::tests::{
    Memory, NOW, blank, copy, follow, lead, leader_id, message, offer, offered, piece, received, sent,
};
use crate::replica::transfer::receive::RECEIVE_TICKS;

/// A leader with transfers to both followers, and the ids of these.
fn sending(engine: &Memory) -> (Replica, [u64; 2]) {
    let mut replica = copy(&[], 1, engine);
    lead(&mut replica, engine);
    replica.machine.state_mut().bytes = 40;
    let ids = [2, 3].map(|to| {
        replica.start_snapshot(ReplicaId(to), engine, NOW).expect("a store in memory never fails");
        replica.transfers.ids()[&ReplicaId(to)]
    });
    (replica, ids)
}

fn acknowledged(replica: &mut Replica, from: u64, id: u64, state: SnapshotState) {
    let ack = SnapshotAck { shard: replica.descriptor().shard, id, from: ReplicaId(from), state };
    replica.snapshot_acknowledged(&ack, NOW);
}

fn receivers(replica: &Replica) -> Vec<u64> {
    replica.transfers.ids().keys().map(|to| to.0).collect()
}

fn is_ignored(replica: &mut Replica, offer: SnapshotOffer, engine: &Memory) -> bool {
    matches!(replica.snapshot_offered(NodeId(2), offer, engine), Ok(Offered::Ignored))
}

fn must_wipe(replica: &mut Replica, offer: SnapshotOffer, engine: &Memory) -> bool {
    matches!(replica.snapshot_offered(NodeId(2), offer, engine), Ok(Offered::MustWipe))
}

#[test]
fn every_transfer_has_an_id_of_its_own_and_what_moves_is_their_sum() {
    let engine = Memory::default();
    let (mut replica, [first, second]) = sending(&engine);
    assert!(first != second && replica.is_sending());
    assert_eq!(replica.moving(), (0, 80));
    acknowledged(&mut replica, 1, first, SnapshotState::Installed);
    assert_eq!(replica.moving(), (0, 40));
}

#[test]
fn a_transfer_to_nobody_is_not_begun() {
    let engine = Memory::default();
    let (mut replica, _) = sending(&engine);
    replica.start_snapshot(ReplicaId(9), &engine, NOW).expect("a store in memory never fails");
    assert_eq!(receivers(&replica), [2, 3]);
}

#[test]
fn a_transfer_ends_with_its_receivers_word_and_no_other_does() {
    let engine = Memory::default();
    for end in [SnapshotState::Installed, SnapshotState::Refused] {
        let (mut replica, [first, second]) = sending(&engine);
        acknowledged(&mut replica, 1, first, SnapshotState::Want(0));
        acknowledged(&mut replica, 1, second + 7, end);
        assert_eq!(receivers(&replica), [2, 3]);
        acknowledged(&mut replica, 1, second, end);
        assert_eq!(receivers(&replica), [2]);
    }
}

#[test]
fn a_transfer_that_gets_no_further_ends_alone() {
    let engine = Memory::default();
    let (mut replica, [first, second]) = sending(&engine);
    acknowledged(&mut replica, 1, second, SnapshotState::Want(0));
    let later = Now { monotonic_ms: NOW.monotonic_ms + 6_000, ..NOW };
    let ack =
        SnapshotAck { shard: replica.descriptor().shard, id: first, from: ReplicaId(1), state: SnapshotState::Want(0) };
    replica.snapshot_acknowledged(&ack, later);
    replica.give_up_futile_snapshots(later);
    assert_eq!(receivers(&replica), [2, 3]);
    replica.give_up_futile_snapshots(Now { monotonic_ms: NOW.monotonic_ms + 10_001, ..NOW });
    assert_eq!(receivers(&replica), [2]);
}

#[test]
fn no_piece_goes_to_a_full_node() {
    let engine = Memory::default();
    let (mut replica, _) = sending(&engine);
    let mut pace = Pace { budget: 1_000, piece_bytes: 100, piece_records: 10 };
    let mut out = Collected::default();
    replica.pump_snapshots(&engine, NOW, &mut pace, &|node| node == NodeId(2), &mut out).expect("it is in memory");
    assert_eq!(out.send.iter().map(|(node, _)| node.0).collect::<Vec<_>>(), [3]);
}

#[test]
fn a_copy_with_data_tells_whether_it_has_what_is_offered() {
    let engine = Memory::default();
    let mut replica = copy(&[(2, 1), (3, 1), (4, 1)], 3, &engine);
    follow(&mut replica, &engine);
    assert_eq!(offered(&mut replica, offer(3, 1, 1), &engine), Some(SnapshotState::Installed));
    assert_eq!(offered(&mut replica, offer(4, 1, 2), &engine), Some(SnapshotState::Refused));
    assert!(!replica.is_blank());
}

#[test]
fn a_copy_gives_its_records_up_only_for_a_snapshot_of_its_leader_that_its_log_does_not_reach() {
    let engine = Memory::default();
    let follower = || {
        let mut replica = copy(&[(2, 1), (3, 1), (4, 1)], 3, &engine);
        follow(&mut replica, &engine);
        replica
    };
    // Of a term that is not the leader's, below what is committed, and of what the log has.
    for other in [offer(9, 2, 1), SnapshotOffer { index_term: 2, ..offer(2, 1, 1) }, offer(4, 1, 1)] {
        let mut replica = follower();
        assert!(!must_wipe(&mut replica, other, &engine) && !replica.is_blank());
    }
    // Beyond the log, and another log.
    for right in [offer(9, 1, 1), SnapshotOffer { index_term: 2, ..offer(4, 1, 1) }] {
        let mut replica = follower();
        assert!(must_wipe(&mut replica, right, &engine) && replica.is_blank());
    }
    let mut leader = copy(&[], 1, &engine);
    lead(&mut leader, &engine);
    assert!(!must_wipe(&mut leader, offer(9, 2, 1), &engine) && !leader.is_blank());
}

#[test]
fn an_offer_that_is_repeated_is_told_how_far_it_is() {
    let engine = Memory::default();
    let mut replica = blank(&engine);
    assert_eq!(offered(&mut replica, offer(9, 2, 2), &engine), Some(SnapshotState::Want(0)));
    received(&mut replica, piece(2, 0, false), &engine);
    assert_eq!(offered(&mut replica, offer(9, 2, 2), &engine), Some(SnapshotState::Want(1)));
}

#[test]
fn another_offer_takes_the_place_of_one_that_has_brought_nothing() {
    let engine = Memory::default();
    let mut replica = blank(&engine);
    offered(&mut replica, offer(9, 2, 2), &engine);
    assert_eq!(offered(&mut replica, offer(10, 2, 3), &engine), Some(SnapshotState::Want(0)));
    assert_eq!(replica.receive.as_ref().map(|r| r.offer().id), Some(3));
}

/// True if a copy that has pieces of one transfer must be wiped before it takes another, and at a restart midway.
fn are_remains_wiped() -> bool {
    let engine = Memory::default();
    let mut replica = blank(&engine);
    offered(&mut replica, offer(9, 2, 2), &engine);
    received(&mut replica, piece(2, 0, false), &engine);
    must_wipe(&mut replica, offer(10, 2, 3), &engine) && replica.receive.is_none() && replica.has_remains()
}

#[test]
fn pieces_of_one_transfer_are_wiped_before_another_begins() {
    assert!(are_remains_wiped());
    #[cfg(feature = "planted")]
    {
        crate::planted::plant(Some(Planted::RemainsNotWiped));
        let wiped = are_remains_wiped();
        crate::planted::plant(None);
        assert!(!wiped);
    }
}

#[test]
fn an_offer_of_an_earlier_leader_or_after_the_last_piece_is_ignored() {
    let engine = Memory::default();
    let mut replica = blank(&engine);
    offered(&mut replica, offer(9, 4, 2), &engine);
    assert!(is_ignored(&mut replica, offer(9, 3, 3), &engine));
    received(&mut replica, piece(2, 0, true), &engine);
    assert!(is_ignored(&mut replica, offer(10, 4, 4), &engine));
    assert_eq!(replica.receive.as_ref().map(|r| r.offer().id), Some(2));
}

#[test]
fn a_copy_that_is_not_durable_yet_takes_no_offer() {
    let engine = Memory::default();
    let mut replica = blank(&engine);
    replica.hold_until(3);
    assert!(is_ignored(&mut replica, offer(9, 2, 2), &engine));
}

/// Receives a snapshot of copy 2 in term 2, while this copy has come to term 2 or 3.
fn installed(is_term_over: bool, engine: &Memory) -> Replica {
    let mut replica = blank(engine);
    offered(&mut replica, offer(9, 2, 2), engine);
    if is_term_over {
        let refusal = RaftEnvelope { reject: true, ..message(3, RaftKind::RequestPreVoteResponse, 3) };
        replica.step(NodeId(3), refusal);
        assert_eq!((replica.term(), leader_id(&replica)), (3, 0));
    }
    received(&mut replica, piece(2, 0, true), engine);
    replica.sync_begins(1);
    replica.sync_finished(1);
    replica.install_received(&mut Collected::default());
    sent(&mut replica, engine);
    assert!(!replica.is_blank());
    replica
}

#[test]
fn whoever_offered_a_snapshot_is_followed_in_the_term_that_it_leads_and_in_no_later_one() {
    let engine = Memory::default();
    let replica = installed(false, &engine);
    assert_eq!((replica.term(), leader_id(&replica)), (2, 2));
    let replica = installed(true, &engine);
    assert_eq!((replica.term(), leader_id(&replica)), (3, 0));
    assert_eq!(replica.admit(NodeId(3), || None, &message(3, RaftKind::Heartbeat, 3)), Ok(()));
}

#[test]
fn a_leader_learns_of_commits_only_in_its_term_and_within_its_log() {
    let engine = Memory::default();
    let mut replica = copy(&[(2, 1), (3, 1), (4, 1)], 2, &engine);
    lead(&mut replica, &engine);
    let committed = |replica: &mut Replica, term, index| {
        replica
            .consensus
            .learn_committed(&RaftEnvelope { request_snapshot: index, ..message(3, RaftKind::AppendResponse, term) });
        replica.consensus.committed()
    };
    let last = replica.consensus.last_index();
    assert_eq!(committed(&mut replica, 1, 4), 2);
    assert_eq!(committed(&mut replica, 2, last + 1), 2);
    assert_eq!(committed(&mut replica, 2, 1), 2);
    assert_eq!(committed(&mut replica, 2, last), last);
    let mut follower = copy(&[(2, 1), (3, 1), (4, 1)], 2, &engine);
    follow(&mut follower, &engine);
    assert_eq!(committed(&mut follower, 1, 4), 2);
}

/// A process that has just started knows its term, and nobody who leads it.
fn keeps_records_without_a_leader() -> bool {
    let engine = Memory::default();
    let mut replica = copy(&[(2, 1), (3, 1), (4, 1)], 3, &engine);
    assert_eq!((replica.term(), replica.leader_node()), (1, None));
    let is_wiped = must_wipe(&mut replica, offer(9, 1, 1), &engine);
    let keeps = !is_wiped && !replica.is_blank();
    // Whoever leads says so with every heartbeat, and offers again.
    follow(&mut replica, &engine);
    assert!(!keeps || must_wipe(&mut replica, offer(9, 1, 1), &engine));
    keeps
}

#[test]
fn a_copy_that_knows_no_leader_gives_its_records_up_for_nobody() {
    assert!(keeps_records_without_a_leader());
}

/// Pieces of one transfer are here when an offer of an earlier one comes late.
fn goes_on_though_an_earlier_offer_comes_late() -> bool {
    let engine = Memory::default();
    let mut replica = blank(&engine);
    offered(&mut replica, offer(9, 2, 2), &engine);
    offered(&mut replica, offer(10, 2, 3), &engine);
    received(&mut replica, piece(3, 0, false), &engine);
    let is_ignored = is_ignored(&mut replica, offer(9, 2, 2), &engine);
    is_ignored && offered(&mut replica, offer(10, 2, 3), &engine) == Some(SnapshotState::Want(1))
}

#[test]
fn a_transfer_goes_on_though_an_offer_of_an_earlier_one_comes_late() {
    assert!(goes_on_though_an_earlier_offer_comes_late());
}

/// An offer of a term that nobody leads, after which no piece comes.
fn gives_way_when_it_brings_nothing() -> bool {
    let engine = Memory::default();
    let mut replica = blank(&engine);
    offered(&mut replica, offer(9, 1 << 20, u64::MAX), &engine);
    assert!(is_ignored(&mut replica, offer(9, 2, 2), &engine));
    replica.consensus.pass_ticks(RECEIVE_TICKS);
    assert!(is_ignored(&mut replica, offer(9, 2, 2), &engine));
    replica.consensus.pass_ticks(1);
    offered(&mut replica, offer(9, 2, 2), &engine) == Some(SnapshotState::Want(0))
}

#[test]
fn a_transfer_that_brings_nothing_keeps_no_other_away_for_ever() {
    assert!(gives_way_when_it_brings_nothing());
}

#[cfg(feature = "planted")]
#[test]
fn planted_bugs_of_offers_are_noticed() {
    let checks: [(Planted, fn() -> bool); 3] = [
        (Planted::RecordsGivenUpForAnybody, keeps_records_without_a_leader),
        (Planted::EarlierOfferTaken, goes_on_though_an_earlier_offer_comes_late),
        (Planted::IdleTransferKept, gives_way_when_it_brings_nothing),
    ];
    for (bug, check) in checks {
        crate::planted::plant(Some(bug));
        let holds = check();
        crate::planted::plant(None);
        assert!(!holds, "{bug:?}");
    }
}
