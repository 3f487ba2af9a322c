//! One copy alone, told by the test what the others say: snapshots, pace, and what a leader learns.

use bytes::Bytes;

use super::*;
use crate::ids::Incarnation;
use crate::ids::ShardId;
use crate::liveness::Liveness;
use crate::log::{EntryKind, HardState, LogEntry};
use crate::map::Member;
use crate::map::Replica as Copy;
use crate::message::{PeerMessage, RaftEnvelope, RaftKind, SnapshotChunk, SnapshotOffer, SnapshotState};
use crate::replica::snapshots::Offered;
use crate::replica::transfer::send::checksum;
pub(crate) use crate::testing::MemoryEngine as Memory;
use crate::time::ELECTION_TICKS;

mod leading;

pub(super) const SHARD: ShardId = ShardId(1);
pub(super) const QUIET: u64 = 5;
pub(super) const NOW: Now = Now { monotonic_ms: 1_000, wall_ms: 1_000 };

pub(super) fn descriptor() -> Descriptor {
    let member = |id| Member { replica: Copy { node: NodeId(id), id: ReplicaId(id) }, role: Role::Voter };
    Descriptor {
        shard: SHARD,
        table: crate::ids::TableId(1),
        members: [1, 2, 3].map(member).to_vec(),
        ..Descriptor::default()
    }
}

/// The first of three copies, with this log after the first entry, of which `commit` is committed.
pub(super) fn copy(entries: &[(u64, u64)], commit: u64, engine: &Memory) -> Replica {
    let entry = |&(index, term): &(u64, u64)| LogEntry {
        index,
        term,
        kind: EntryKind::Normal,
        data: Bytes::new(),
        context: Bytes::new(),
    };
    let log = RecoveredLog {
        replica: ReplicaId(1),
        start: state::FIRST,
        entries: entries.iter().map(entry).collect(),
        hard_state: HardState { term: entries.last().map_or(1, |e| e.1), vote: 0, commit },
    };
    let mut replica = open(ReplicaState::first(ReplicaId(1), descriptor()), log, engine);
    // Past what the process before may have promised.
    replica.consensus.pass_ticks(ELECTION_TICKS as u64);
    replica
}

pub(super) fn open(state: ReplicaState, log: RecoveredLog, engine: &Memory) -> Replica {
    Replica::open(
        Setup { node: NodeId(1), seed: 7, requests_max: REQUESTS_MAX, highest_level: FormatLevel::NEWEST },
        state,
        Some(log),
        engine,
    )
    .expect("a store in memory never fails")
}

pub(super) fn message(from: u64, kind: RaftKind, term: u64) -> RaftEnvelope {
    RaftEnvelope::empty(SHARD, (ReplicaId(from), ReplicaId(1)), kind, term)
}

/// The leader that the copy knows; 0 = none.
pub(super) fn leader_id(replica: &Replica) -> u64 {
    replica.consensus.leader().map_or(0, |leader| leader.0)
}

/// The store has made durable what is applied up to here.
pub(super) fn durable_up_to(replica: &mut Replica, index: u64) {
    let term = replica.term();
    replica.consensus.syncs_mut().set_durable((index, term));
}

/// Both other copies are heard of.
pub(super) fn hear_copies(replica: &mut Replica) {
    let tick = replica.consensus.ticks();
    [2, 3].iter().for_each(|id| replica.consensus.peers().hear(ReplicaId(*id), tick));
}

/// What the copy sends once all that it wrote is durable.
pub(super) fn sent(replica: &mut Replica, engine: &Memory) -> Vec<RaftEnvelope> {
    let mut out = Collected::default();
    let sequence = replica.consensus.ticks() * 100;
    replica.collect(engine, NOW, sequence, &mut out).expect("a store in memory never fails");
    replica.log_durable(sequence, &mut out);
    replica.collect(engine, NOW, sequence + 1, &mut out).expect("a store in memory never fails");
    replica.log_durable(sequence + 1, &mut out);
    let envelopes = out
        .send
        .into_iter()
        .filter_map(|(_, message)| if let PeerMessage::Raft(envelope) = message { Some(envelope) } else { None });
    envelopes.collect()
}

fn kinds(messages: &[RaftEnvelope]) -> Vec<RaftKind> {
    messages.iter().map(|m| m.kind).collect()
}

/// The copy is elected by the second one.
pub(super) fn lead(replica: &mut Replica, engine: &Memory) {
    replica.consensus.raw().campaign().expect("it is a voter");
    sent(replica, engine);
    replica.step(NodeId(2), message(2, RaftKind::RequestPreVoteResponse, replica.term() + 1));
    sent(replica, engine);
    replica.step(NodeId(2), message(2, RaftKind::RequestVoteResponse, replica.term()));
    sent(replica, engine);
    assert!(replica.is_leader());
}

/// The copy follows the second one.
pub(super) fn follow(replica: &mut Replica, engine: &Memory) -> Liveness {
    let mut liveness = Liveness::new(NodeId(1), Incarnation(1));
    liveness.hear(NodeId(2), Incarnation(1));
    replica.step(NodeId(2), message(2, RaftKind::Heartbeat, replica.term()));
    sent(replica, engine);
    liveness
}

pub(super) fn tick(replica: &mut Replica, liveness: &mut Liveness) {
    liveness.tick();
    replica.tick(|| None, QUIET, liveness, NOW);
}

pub(super) fn hear_all(liveness: &mut Liveness) {
    for node in [2, 3] {
        liveness.hear(NodeId(node), Incarnation(1));
    }
}

/// A leader whose entries everybody has.
pub(super) fn leader(engine: &Memory) -> Replica {
    let mut replica = copy(&[], 1, engine);
    lead(&mut replica, engine);
    let last = replica.consensus.last_index();
    for id in [2, 3] {
        let has_all = RaftEnvelope { index: last, ..message(id, RaftKind::AppendResponse, 2) };
        replica.step(NodeId(id), has_all);
        sent(&mut replica, engine);
    }
    let mut liveness = Liveness::new(NodeId(1), Incarnation(1));
    hear_all(&mut liveness);
    // What is committed counts for being in sync two ticks later.
    for _ in 0..2 {
        tick(&mut replica, &mut liveness);
        sent(&mut replica, engine);
    }
    replica
}

pub(crate) fn offer(index: u64, term: u64, id: u64) -> SnapshotOffer {
    SnapshotOffer {
        id,
        from: ReplicaId(2),
        to: ReplicaId(1),
        term,
        index,
        index_term: term,
        descriptor: descriptor(),
        last_version: Version(5),
        request_floor: Version(0),
        bytes: 10,
        level: FormatLevel::FIRST,
    }
}

pub(super) fn piece(id: u64, sequence: u64, last: bool) -> SnapshotChunk {
    let key = crate::engine::data_key(crate::ids::TableId(1), format!("k{sequence}").as_bytes());
    let records = vec![(key, Bytes::from_static(b"v"))];
    SnapshotChunk { shard: SHARD, id, to: ReplicaId(1), sequence, checksum: checksum(&records), records, last }
}

pub(crate) fn empty_piece(id: u64, sequence: u64, last: bool) -> SnapshotChunk {
    SnapshotChunk { checksum: checksum(&[]), records: vec![], ..piece(id, sequence, last) }
}

/// How the sender's offer is answered.
pub(super) fn offered(replica: &mut Replica, offer: SnapshotOffer, engine: &Memory) -> Option<SnapshotState> {
    match replica.snapshot_offered(NodeId(2), offer, engine).expect("a store in memory never fails") {
        Offered::Answer(_, PeerMessage::SnapshotAck(ack)) => Some(ack.state),
        Offered::Answer(..) | Offered::MustWipe | Offered::Ignored => None,
    }
}

pub(super) fn received(replica: &mut Replica, piece: SnapshotChunk, engine: &Memory) {
    replica.snapshot_chunk(piece, engine, &mut Collected::default()).expect("a store in memory never fails");
}

/// A copy whose log ends at 4, in term 2, has given its records up for a snapshot at 9.
pub(super) fn blank(engine: &Memory) -> Replica {
    let mut replica = copy(&[(2, 1), (3, 2), (4, 2)], 3, engine);
    follow(&mut replica, engine);
    assert_eq!(offered(&mut replica, offer(9, 2, 1), engine), None);
    assert!(replica.is_blank());
    replica.wiped();
    replica
}

#[test]
fn a_copy_without_records_takes_no_entries_though_its_process_is_new() {
    let engine = Memory::default();
    let state = ReplicaState { blank: true, ..ReplicaState::first(ReplicaId(1), descriptor()) };
    let log = RecoveredLog {
        start: state::FIRST,
        hard_state: HardState { term: 1, vote: 0, commit: 1 },
        ..RecoveredLog::default()
    };
    let mut replica = open(state, log, &engine);
    replica.step(NodeId(2), RaftEnvelope { index: 1, log_term: 1, ..message(2, RaftKind::Append, 1) });
    let answers = sent(&mut replica, &engine);
    assert_eq!(kinds(&answers), [RaftKind::AppendResponse]);
    assert!(answers[0].reject && answers[0].request_snapshot == 1);
}

/// It asked for votes before it learnt, from a refusal, that the entry is committed which it cannot read.
#[test]
fn a_candidate_that_meets_what_it_cannot_read_does_not_lead() {
    let engine = Memory::default();
    let mut replica = copy(&[(2, 1), (3, 2), (4, 2)], 3, &engine);
    replica.consensus.campaign();
    sent(&mut replica, &engine);
    let granted = |kind, term| RaftEnvelope { commit: 3, ..message(2, kind, term) };
    replica.step(NodeId(2), granted(RaftKind::RequestPreVoteResponse, 3));
    sent(&mut replica, &engine);
    replica.machine.stop_at(4);
    replica.step(NodeId(2), granted(RaftKind::RequestVoteResponse, 3));
    sent(&mut replica, &engine);
    assert_eq!((replica.consensus.term(), replica.is_leader()), (3, false));
}

#[test]
fn a_copy_goes_on_from_a_snapshot_that_is_beyond_what_it_could_not_read() {
    let engine = Memory::default();
    let mut replica = copy(&[(2, 1), (3, 2), (4, 2)], 3, &engine);
    follow(&mut replica, &engine);
    replica.machine.stop_at(4);
    assert_eq!(offered(&mut replica, offer(9, 2, 1), &engine), None);
    replica.wiped();
    offered(&mut replica, offer(9, 2, 2), &engine);
    received(&mut replica, piece(2, 0, true), &engine);
    replica.sync_begins(1);
    replica.sync_finished(1);
    replica.install_received(&mut Collected::default());
    sent(&mut replica, &engine);
    let entry = LogEntry { index: 10, term: 2, kind: EntryKind::Normal, data: Bytes::new(), context: Bytes::new() };
    let append =
        RaftEnvelope { index: 9, log_term: 2, commit: 10, entries: vec![entry], ..message(2, RaftKind::Append, 2) };
    replica.step(NodeId(2), append);
    sent(&mut replica, &engine);
    assert_eq!((replica.unreadable(), replica.state().applied), (None, (10, 2)));
}

#[test]
fn a_copy_without_records_neither_stands_nor_takes_over() {
    let engine = Memory::default();
    let mut replica = blank(&engine);
    let mut liveness = Liveness::new(NodeId(1), Incarnation(1));
    for _ in 0..100 {
        tick(&mut replica, &mut liveness);
    }
    replica.step(NodeId(2), message(2, RaftKind::TimeoutNow, 2));
    let messages = sent(&mut replica, &engine);
    assert!(!kinds(&messages).iter().any(|k| matches!(k, RaftKind::RequestVote | RaftKind::RequestPreVote)));
}

#[test]
fn a_snapshot_below_what_is_committed_or_for_others_is_refused() {
    let engine = Memory::default();
    let mut replica = blank(&engine);
    assert_eq!(offered(&mut replica, offer(2, 2, 2), &engine), Some(SnapshotState::Refused));
    let mut elsewhere = offer(9, 2, 3);
    elsewhere.descriptor.members.retain(|m| m.replica.id != ReplicaId(1));
    assert_eq!(offered(&mut replica, elsewhere, &engine), Some(SnapshotState::Refused));
    assert_eq!(offered(&mut replica, offer(9, 2, 4), &engine), Some(SnapshotState::Want(0)));
}

#[test]
fn a_snapshot_stands_only_once_a_sync_that_began_after_its_end_has_finished() {
    let engine = Memory::default();
    let mut replica = blank(&engine);
    offered(&mut replica, offer(9, 2, 2), &engine);
    received(&mut replica, piece(2, 0, false), &engine);
    replica.sync_begins(1);
    received(&mut replica, piece(2, 1, true), &engine);
    let mut out = Collected::default();
    replica.sync_finished(1);
    replica.install_received(&mut out);
    assert!(replica.is_blank() && out.send.is_empty());
    replica.sync_begins(2);
    replica.sync_finished(2);
    replica.install_received(&mut out);
    assert!(!replica.is_blank());
    sent(&mut replica, &engine);
    assert_eq!((replica.consensus.committed(), replica.state().applied), (9, (9, 2)));
}

/// True if what these pieces bring counts as a whole snapshot.
fn is_whole(pieces: Vec<SnapshotChunk>) -> bool {
    let engine = Memory::default();
    let mut replica = blank(&engine);
    offered(&mut replica, offer(9, 2, 2), &engine);
    pieces.into_iter().for_each(|piece| received(&mut replica, piece, &engine));
    replica.receive.as_ref().is_some_and(|r| r.is_complete())
}

fn damaged() -> Vec<SnapshotChunk> {
    vec![piece(2, 0, false), SnapshotChunk { checksum: 0, ..piece(2, 1, true) }]
}

#[test]
fn pieces_count_in_their_order_undamaged_and_of_their_own_transfer() {
    assert!(is_whole(vec![piece(2, 0, false), piece(2, 1, true)]));
    assert!(is_whole(vec![piece(2, 0, false), piece(2, 0, false), piece(2, 1, true)]));
    assert!(!is_whole(vec![piece(2, 1, true)]));
    assert!(!is_whole(vec![piece(2, 0, false), piece(1, 1, true)]));
    assert!(!is_whole(damaged()));
}

#[test]
fn a_leader_learns_what_is_committed_from_a_copy_that_needs_a_snapshot() {
    let engine = Memory::default();
    let mut replica = copy(&[(2, 1), (3, 1), (4, 1)], 2, &engine);
    lead(&mut replica, &engine);
    let request =
        |index| RaftEnvelope { reject: true, request_snapshot: index, ..message(3, RaftKind::AppendResponse, 2) };
    replica.step(NodeId(3), request(4));
    assert_eq!(replica.consensus.committed(), 4);
    replica.step(NodeId(3), request(400));
    assert_eq!(replica.consensus.committed(), 4);
}

/// A quiescent follower that is woken seven ticks after it heard its leader's node last, and what it knows of nodes.
pub(super) fn woken(engine: &Memory) -> (Replica, Liveness) {
    let mut replica = copy(&[], 1, engine);
    let mut liveness = follow(&mut replica, engine);
    for _ in 0..QUIET + 1 {
        liveness.hear(NodeId(2), Incarnation(1));
        tick(&mut replica, &mut liveness);
    }
    liveness.hear(NodeId(2), Incarnation(1));
    for _ in 0..7 {
        tick(&mut replica, &mut liveness);
    }
    assert!(replica.consensus.raw().raft.election_elapsed < 7);
    replica.wake(&liveness);
    (replica, liveness)
}

/// A leader that nobody has acknowledged anything to.
fn just_elected(engine: &Memory) -> Replica {
    let mut replica = copy(&[(2, 1), (3, 1)], 3, engine);
    lead(&mut replica, engine);
    replica
}

#[test]
fn a_leader_tells_of_members_only_once_a_majority_knows_them() {
    let engine = Memory::default();
    let mut replica = just_elected(&engine);
    assert!(!replica.may_report());
    let last = replica.consensus.last_index();
    replica.step(NodeId(2), RaftEnvelope { index: last, ..message(2, RaftKind::AppendResponse, replica.term()) });
    assert!(replica.may_report());
}

/// True if a copy counts as heard of after it has asked for votes.
fn is_heard_by_its_vote_request() -> bool {
    let mut replica = just_elected(&Memory::default());
    assert!(replica.consensus.peers().heard_at(ReplicaId(2)).is_some());
    replica.step(NodeId(2), message(2, RaftKind::RequestPreVote, replica.term() + 1));
    replica.consensus.peers().heard_at(ReplicaId(2)).is_some()
}

#[test]
fn a_copy_that_asks_for_votes_does_not_hear_the_leader() {
    assert!(!is_heard_by_its_vote_request());
}

#[test]
fn nobody_has_the_vote_of_a_copy_that_has_just_heard_its_leader() {
    let engine = Memory::default();
    let mut replica = copy(&[], 1, &engine);
    let mut liveness = follow(&mut replica, &engine);
    // A refusal of a higher term makes raft forget the leader.
    replica.step(NodeId(3), RaftEnvelope { reject: true, ..message(3, RaftKind::RequestPreVoteResponse, 2) });
    assert_eq!((replica.term(), leader_id(&replica)), (2, 0));
    let ask = || RaftEnvelope { index: 1, log_term: 1, ..message(3, RaftKind::RequestVote, 2) };
    for _ in 0..ELECTION_TICKS {
        replica.step(NodeId(3), ask());
        assert_eq!(kinds(&sent(&mut replica, &engine)), []);
        tick(&mut replica, &mut liveness);
    }
    replica.step(NodeId(3), ask());
    assert_eq!(kinds(&sent(&mut replica, &engine)), [RaftKind::RequestVoteResponse]);
}

#[cfg(feature = "planted")]
#[test]
fn planted_bugs_of_snapshots_are_noticed() {
    use crate::planted::plant;
    plant(Some(Planted::PieceOutOfOrder));
    let skips = is_whole(vec![piece(2, 1, true)]);
    plant(Some(Planted::PieceUnchecked));
    let takes_damaged = is_whole(damaged());
    plant(Some(Planted::SnapshotStandsUnsynced));
    let engine = Memory::default();
    let mut replica = blank(&engine);
    offered(&mut replica, offer(9, 2, 2), &engine);
    received(&mut replica, piece(2, 0, true), &engine);
    replica.install_received(&mut Collected::default());
    let stands_early = !replica.is_blank();
    plant(Some(Planted::CommittedUnlearnt));
    let engine = Memory::default();
    let mut replica = copy(&[(2, 1), (3, 1), (4, 1)], 2, &engine);
    lead(&mut replica, &engine);
    let request = RaftEnvelope { reject: true, request_snapshot: 4, ..message(3, RaftKind::AppendResponse, 2) };
    replica.step(NodeId(3), request);
    let committed = replica.consensus.committed();
    plant(None);
    assert!(skips && takes_damaged && stands_early && committed == 2);
}

#[cfg(feature = "planted")]
#[test]
fn planted_bugs_of_members_and_pace_are_noticed() {
    use crate::planted::plant;
    let engine = Memory::default();
    plant(Some(Planted::MembersToldUnsure));
    let tells_early = just_elected(&engine).may_report();
    plant(Some(Planted::VoteRequestCountsAsHeard));
    let counts = is_heard_by_its_vote_request();
    plant(Some(Planted::PatienceForgotten));
    let waited = woken(&engine).0.consensus.raw().raft.election_elapsed as u64;
    plant(Some(Planted::UnreadableSkipped));
    let mut replica = copy(&[(2, 1), (3, 2), (4, 2)], 3, &engine);
    replica.machine.stop_at(4);
    plant(None);
    assert!(tells_early && counts && waited == crate::time::SILENT_TICKS && replica.unreadable().is_none());
}

/// The only voter, which goes on from another copy's records or is new: true if it stands as soon as it may speak.
fn stands_at_once(goes_on: bool) -> bool {
    let engine = Memory::default();
    let mut alone = descriptor();
    alone.members.truncate(1);
    let state = ReplicaState { from_snapshot: goes_on, ..ReplicaState::first(ReplicaId(1), alone) };
    let setup = Setup { node: NodeId(1), seed: 7, requests_max: REQUESTS_MAX, highest_level: FormatLevel::NEWEST };
    let mut replica = Replica::open(setup, state, None, &engine).unwrap();
    let before = replica.term();
    replica.hold_until(1);
    replica.sync_begins(1);
    replica.sync_finished(1);
    replica.term() > before
}

/// A copy had heard its leader just before it was told to go on without it: what it wrote then was not seen by those who
/// read from that leader, within its lease.
#[test]
fn a_copy_that_goes_on_from_anothers_records_keeps_what_that_has_promised_its_leader() {
    assert!(stands_at_once(false) && !stands_at_once(true));
}

#[cfg(feature = "planted")]
#[test]
fn a_copy_that_goes_on_and_stands_at_once_is_noticed() {
    crate::planted::plant(Some(Planted::PromiseGivenUp));
    let stands = stands_at_once(true);
    crate::planted::plant(None);
    assert!(stands);
}
