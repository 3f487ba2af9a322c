//! Claims about a transfer: what is sent when, how much at once, and that it is the state at one index whatever is
//! written meanwhile.

use super::*;
use crate::engine::{EngineWrite, data_key, shard_key, state};
use crate::ids::{ReplicaId, ShardId, TableId};
use crate::map::Descriptor;
use crate::replica::tests::Memory;
use crate::replica::transfer::window::{RESEND_MS, STALL_MS};

const TABLE: TableId = TableId(1);
const SHARD: ShardId = ShardId(1);
const NODE: NodeId = NodeId(2);
const START_MS: u64 = 100_000;

fn key(name: &str) -> Bytes {
    data_key(TABLE, name.as_bytes())
}

fn put(engine: &Memory, name: &str, value: &'static str) {
    engine.write(vec![EngineWrite::Put(key(name), Bytes::from_static(value.as_bytes()))]).expect("it is in memory");
}

/// Records a to e, and two request ids.
fn store() -> Memory {
    let engine = Memory::default();
    ["a", "b", "c", "d", "e"].iter().for_each(|name| put(&engine, name, "old"));
    let request = |n: u8| EngineWrite::Put(shard_key(SHARD, state::REQUESTS, &[n]), Bytes::from_static(b"id"));
    engine.write(vec![request(1), request(2)]).expect("it is in memory");
    engine
}

fn start(engine: &Memory) -> SnapshotSend {
    let descriptor = Descriptor { shard: SHARD, table: TABLE, ..Descriptor::default() };
    let state = ReplicaState { applied: (7, 3), bytes: 40, ..ReplicaState::first(ReplicaId(1), descriptor) };
    let to = Copy { node: NODE, id: ReplicaId(2) };
    SnapshotSend::start(&state, to, 5, 3, engine, START_MS).expect("it is in memory")
}

/// One that the receiver has accepted.
fn accepted(engine: &Memory) -> SnapshotSend {
    let mut send = start(engine);
    send.acknowledged(SnapshotState::Want(0), START_MS);
    send
}

/// Pieces of one record or one request id each.
fn pace(budget: i64) -> Pace {
    Pace { budget, piece_bytes: 1, piece_records: 1 }
}

fn pumped(send: &mut SnapshotSend, engine: &Memory, now_ms: u64, pace: &mut Pace) -> Vec<SnapshotChunk> {
    let sent = send.pump(engine, now_ms, pace).expect("it is in memory");
    assert!(sent.iter().all(|(node, _)| *node == NODE));
    let piece = |(_, message)| if let PeerMessage::SnapshotChunk(piece) = message { Some(piece) } else { None };
    sent.into_iter().filter_map(piece).collect()
}

fn sequences(pieces: &[SnapshotChunk]) -> Vec<u64> {
    pieces.iter().map(|piece| piece.sequence).collect()
}

/// All that is sent to a receiver that acknowledges everything, in order.
fn all(send: &mut SnapshotSend, engine: &Memory, pace: Pace) -> Vec<SnapshotChunk> {
    let mut pieces = Vec::new();
    loop {
        let some = pumped(send, engine, START_MS, &mut pace.clone());
        let Some(last) = some.last() else { return pieces };
        send.acknowledged(SnapshotState::Want(last.sequence + 1), START_MS);
        pieces.extend(some);
    }
}

fn values(pieces: &[SnapshotChunk]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let records = pieces.iter().flat_map(|piece| &piece.records).filter(|(k, _)| k.starts_with(&key("")));
    records.map(|(k, v)| (text(&k[key("").len()..]), text(v))).collect()
}

fn old(names: &[&str]) -> Vec<(String, String)> {
    names.iter().map(|name| ((*name).to_owned(), "old".to_owned())).collect()
}

#[test]
fn nothing_but_offers_goes_out_before_one_is_accepted() {
    let engine = store();
    let mut send = start(&engine);
    let mut is_offered = |now_ms| {
        let sent = send.pump(&engine, now_ms, &mut pace(1_000)).expect("it is in memory");
        match sent.as_slice() {
            [] => false,
            [(NODE, PeerMessage::SnapshotOffer(offer))] => {
                assert_eq!((offer.id, offer.index, offer.index_term, offer.bytes), (5, 7, 3, 40));
                true
            }
            _ => panic!("more than an offer: {sent:?}"),
        }
    };
    assert!(is_offered(START_MS));
    assert!(!is_offered(START_MS + RESEND_MS - 1));
    assert!(is_offered(START_MS + RESEND_MS));
}

#[test]
fn every_record_and_request_id_is_sent_once_and_the_last_piece_says_so() {
    let engine = store();
    let mut send = accepted(&engine);
    let pieces = all(&mut send, &engine, pace(1_000));
    assert_eq!(values(&pieces), old(&["a", "b", "c", "d", "e"]));
    let ids = pieces.iter().flat_map(|piece| &piece.records).filter(|(k, _)| !k.starts_with(&key("")));
    assert_eq!(ids.count(), 2);
    assert_eq!(sequences(&pieces), (0..pieces.len() as u64).collect::<Vec<_>>());
    assert!(pieces.iter().rev().skip(1).all(|piece| !piece.last) && pieces.last().is_some_and(|piece| piece.last));
    assert!(pieces.iter().all(|piece| piece.checksum == checksum(&piece.records)));
    assert_eq!(send.next_sequence(), pieces.len() as u64);
}

#[test]
fn an_empty_shard_is_one_piece_and_the_last() {
    let engine = Memory::default();
    let pieces = all(&mut accepted(&engine), &engine, pace(1_000));
    assert_eq!((sequences(&pieces), pieces[0].last, pieces[0].records.len()), (vec![0], true, 0));
}

#[test]
fn a_piece_is_full_by_its_records_or_by_its_bytes() {
    let engine = store();
    let of_two = Pace { budget: 1_000, piece_bytes: 1_000, piece_records: 2 };
    let pieces = all(&mut accepted(&engine), &engine, of_two);
    assert!(pieces.iter().take(2).all(|piece| piece.records.len() == 2));
    let one = key("a").len() + "old".len();
    let of_bytes = Pace { budget: 1_000, piece_bytes: 2 * one, piece_records: 100 };
    let pieces = all(&mut accepted(&engine), &engine, of_bytes);
    assert!(pieces.iter().take(2).all(|piece| piece.records.len() == 2));
    assert_eq!(values(&pieces), old(&["a", "b", "c", "d", "e"]));
}

#[test]
fn only_so_many_pieces_are_under_way_until_some_are_acknowledged() {
    let engine = store();
    let mut send = accepted(&engine);
    assert_eq!(sequences(&pumped(&mut send, &engine, START_MS, &mut pace(1_000))), [0, 1, 2, 3]);
    assert_eq!(sequences(&pumped(&mut send, &engine, START_MS, &mut pace(1_000))), []);
    send.acknowledged(SnapshotState::Want(2), START_MS);
    assert_eq!(sequences(&pumped(&mut send, &engine, START_MS, &mut pace(1_000))), [4, 5]);
}

#[test]
fn no_piece_is_cut_without_a_budget_and_each_takes_its_bytes_of_it() {
    let engine = store();
    let mut send = accepted(&engine);
    let one = one();
    assert_eq!(sequences(&pumped(&mut send, &engine, START_MS, &mut pace(0))), []);
    let mut some = pace(one + 1);
    assert_eq!(sequences(&pumped(&mut send, &engine, START_MS, &mut some)), [0, 1]);
    let progress = |pieces: i64| ((pieces * one).unsigned_abs(), 40.max((pieces * one).unsigned_abs()));
    assert_eq!((some.budget, send.progress()), (1 - one, progress(2)), "what it had in excess is owed");
    let mut more = pace(one);
    assert_eq!(sequences(&pumped(&mut send, &engine, START_MS, &mut more)), [2]);
    assert_eq!((more.budget, send.progress()), (0, progress(3)));
}

/// Bytes of a piece of one record.
fn one() -> i64 {
    i64::try_from(key("a").len() + "old".len()).expect("it is short")
}

/// Ticks in which all records are sent, where one byte may be in each.
fn ticks_with_a_small_budget() -> u64 {
    let engine = store();
    let (mut send, mut pace) = (accepted(&engine), pace(0));
    for tick in 1..1_000 {
        let now_ms = START_MS + 50 * tick;
        pace.budget += 1;
        let pieces = pumped(&mut send, &engine, now_ms, &mut pace);
        assert!(!send.is_stalled(now_ms) && send.gets_on(now_ms), "the receiver has taken all that it was sent");
        let Some(piece) = pieces.last() else { continue };
        send.acknowledged(SnapshotState::Want(piece.sequence + 1), now_ms);
        if piece.last {
            return tick;
        }
    }
    panic!("never")
}

#[test]
fn a_small_budget_is_kept_over_time_though_each_piece_is_larger() {
    let ticks = ticks_with_a_small_budget();
    // All but the last of seven pieces are paid for by then.
    assert!((5 * one().unsigned_abs()..=10 * one().unsigned_abs()).contains(&ticks), "{ticks}");
}

#[cfg(feature = "planted")]
#[test]
fn a_small_budget_that_is_exceeded_at_every_tick_is_noticed() {
    crate::planted::plant(Some(Planted::ExcessNotOwed));
    let ticks = ticks_with_a_small_budget();
    crate::planted::plant(None);
    assert!(ticks < 10, "{ticks}");
}

#[test]
fn what_is_not_acknowledged_for_a_while_is_sent_again_as_it_was() {
    let engine = store();
    let mut send = accepted(&engine);
    let pieces = pumped(&mut send, &engine, START_MS, &mut pace(1_000));
    send.acknowledged(SnapshotState::Want(2), START_MS);
    assert_eq!(pumped(&mut send, &engine, START_MS + RESEND_MS - 1, &mut pace(0)), []);
    assert_eq!(pumped(&mut send, &engine, START_MS + RESEND_MS, &mut pace(0)), pieces[2..]);
    assert_eq!(pumped(&mut send, &engine, START_MS + RESEND_MS + 1, &mut pace(0)), []);
}

#[test]
fn a_transfer_that_gets_no_further_is_given_up() {
    let engine = store();
    let mut send = accepted(&engine);
    pumped(&mut send, &engine, START_MS, &mut pace(1_000));
    assert!(!send.is_stalled(START_MS + STALL_MS) && send.is_stalled(START_MS + STALL_MS + 1));
    // The same word again is no progress, one more piece is.
    let later = START_MS + STALL_MS;
    send.acknowledged(SnapshotState::Want(1), later);
    send.acknowledged(SnapshotState::Want(1), later + STALL_MS);
    assert!(!send.is_stalled(later + STALL_MS) && send.is_stalled(later + STALL_MS + 1));
}

#[test]
fn what_is_written_meanwhile_does_not_change_what_is_sent() {
    let engine = store();
    let mut send = accepted(&engine);
    let mut pieces = pumped(&mut send, &engine, START_MS, &mut pace(1));
    send.acknowledged(SnapshotState::Want(1), START_MS);
    let mut write = |name: &str, value: Option<&'static str>| {
        send.note(&key(name), &engine).expect("it is in memory");
        match value {
            Some(value) => put(&engine, name, value),
            None => engine.write(vec![EngineWrite::Delete(key(name))]).expect("it is in memory"),
        }
    };
    // Behind the cursor, ahead of it, twice, gone, and new ones within and after.
    write("a", Some("new"));
    write("b", Some("new"));
    write("b", Some("newer"));
    write("c", None);
    write("cc", Some("new"));
    write("f", Some("new"));
    pieces.extend(all(&mut send, &engine, pace(1_000)));
    assert_eq!(values(&pieces), old(&["a", "b", "c", "d", "e"]));
}
