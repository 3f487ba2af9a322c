//! Claims about a copy whose node's disk is nearly full.

use super::*;
use crate::command::{Read, ReadConsistency};

pub(super) fn entry(record: &Stored) -> Vec<Entry> {
    vec![("b".into(), record.encode())]
}

fn delete(version: u64) -> Stored {
    let stamp = stamp(version, SECOND);
    let mut delete = Stored::new(Value { stamp, is_tombstone: true, ..Value::default() }, Context::default());
    delete.context.add(super::stamp(version - 1, SECOND));
    delete
}

/// All that may bring a record to a copy.
pub(super) fn all_ways(record: &Stored) -> Vec<Body> {
    vec![
        Body::Write(7, vec![("b".into(), record.encode(), record.newest.stamp)]),
        Body::Repair(7, entry(record)),
        Body::Push(7, entry(record)),
        Body::Hints(entry(record)),
    ]
}

/// What the copy says of a record that comes to it in each way, where it holds this.
fn said(held: Option<&Stored>, record: &Stored, is_full: bool) -> Vec<Option<Body>> {
    let ways = all_ways(record).into_iter().map(|body| {
        let mut solo = Solo::new();
        if let Some(held) = held {
            solo.hear(THIRD, Body::Repair(1, entry(held)));
            solo.durable();
            solo.out.send.clear();
        }
        solo.full.extend(is_full.then_some(OWN));
        solo.hear(SECOND, body);
        solo.durable();
        let mut answers = solo.out.send.extract_if(.., |envelope| envelope.to == SECOND);
        answers.find(|envelope| !is_of_convergence(&envelope.body)).map(|envelope| envelope.body)
    });
    ways.collect()
}

fn taken(record: &Stored) -> Vec<Option<Body>> {
    let hinted = Body::Hinted(vec![("b".into(), record.encode(), true)]);
    [Body::Said(7, Said::Durable), Body::Repaired(7), Body::Pushed(7), hinted].map(Some).to_vec()
}

fn values_are_not_taken_by_a_full_disk() {
    let put = record(5);
    assert_eq!(said(None, &put, true), [Some(Body::Said(7, Said::Full)), None, None, None]);
    assert_eq!(said(None, &put, false), taken(&put), "there is room again");
}

#[test]
fn a_full_disk_takes_no_value_in_whatever_way_it_comes() {
    values_are_not_taken_by_a_full_disk();
}

#[cfg(feature = "planted")]
#[test]
fn records_that_fill_a_disk_to_its_end_are_noticed() {
    crate::planted::plant(Some(Planted::RecordsToFullDisk));
    let is_broken = std::panic::catch_unwind(values_are_not_taken_by_a_full_disk).is_err();
    crate::planted::plant(None);
    assert!(is_broken);
}

#[test]
fn a_full_disk_takes_deletes_and_confirms_what_it_has() {
    let (put, delete) = (record(5), delete(6));
    assert_eq!(said(Some(&put), &delete, true), taken(&delete));
    assert_eq!(said(None, &delete, true), taken(&delete));
    assert_eq!(said(Some(&put), &put, true), taken(&put));
}

/// The same once all clocks have passed the second at which the record ends.
fn said_of_what_has_ended(record: &Stored) -> Vec<Option<Body>> {
    let ways = all_ways(record).into_iter().map(|body| {
        let mut solo = Solo::new();
        solo.hear(SECOND, Body::Elapsed(Version::at_ms(WALL_MS - 100_000)));
        solo.durable();
        solo.full.push(OWN);
        solo.hear(SECOND, body);
        solo.durable();
        solo.sent(SECOND).into_iter().map(|(_, body)| body).next()
    });
    ways.collect()
}

#[test]
fn a_full_disk_takes_what_has_ended_without_its_bytes() {
    let ending = |before_ms: u64| {
        let value = Value { expires_ms: Some(WALL_MS - before_ms), value: "value".into(), ..record(5).newest };
        Stored::new(value, Context::default())
    };
    let let_go = Value { is_tombstone: true, value: Bytes::new(), ..ending(100_000).newest };
    assert_eq!(said_of_what_has_ended(&ending(100_000)), taken(&Stored::new(let_go, Context::default())));
    assert_eq!(said_of_what_has_ended(&ending(99_000))[1..], [None, None, None], "not all clocks have passed it");
}

#[test]
fn a_full_disk_takes_a_bounded_part_of_what_readers_wait_for_and_beyond_that_deletes_alone() {
    let mut solo = Solo::new();
    solo.full.push(OWN);
    let value = |key: &'static str| (Bytes::from(key), record(5).encode());
    solo.repair_room = 2 * (1 + value("b").1.len());
    for (number, key) in [(1, "b"), (2, "c"), (3, "b")] {
        solo.hear(SECOND, Body::Repair(number, vec![value(key)]));
        solo.durable();
        assert_eq!(solo.sent(SECOND), [(FIRST, Body::Repaired(number))], "{key}");
    }
    solo.hear(SECOND, Body::Repair(4, vec![value("d"), ("e".into(), delete(7).encode())]));
    solo.durable();
    assert_eq!(solo.sent(SECOND), [], "it does not have all of it");
    assert_eq!((solo.held("d"), solo.held("e")), (vec![], vec![7]));
}

/// Whom a read repairs with a value that this copy has, where the second one has answered without it, and is full.
fn repaired(silent: &[ReplicaId]) -> Vec<ReplicaId> {
    let mut solo = Solo::new();
    solo.full.push(SECOND);
    solo.silent.extend(silent);
    solo.hear(SECOND, Body::Repair(1, entry(&record(5))));
    solo.durable();
    solo.out.send.clear();
    let read = (Read::Get { key: Bytes::from_static(b"b") }, ReadConsistency::Linearizable);
    solo.call(|replica, here, out| replica.read(Token(1), read, None, here, out));
    solo.tick(3);
    let asked = solo.sent(SECOND);
    let Some((_, Body::Read(number, ..))) = asked.first() else { panic!("it is asked: {asked:?}") };
    solo.hear(SECOND, Body::Page(*number, Vec::new(), None, Version(0)));
    let is_repair = |envelope: &&Envelope| matches!(envelope.body, Body::Repair(..));
    solo.out.send.iter().filter(is_repair).map(|envelope| envelope.to).collect()
}

#[test]
fn a_full_disk_is_repaired_only_where_the_others_are_too_few() {
    assert_eq!(repaired(&[]), [THIRD]);
    assert_eq!(repaired(&[THIRD]), [SECOND, THIRD]);
}

#[test]
fn of_hints_a_full_disk_is_sent_the_deletes() {
    let mut solo = Solo::by_last_writer();
    for (token, mutation) in [(1, put("b", "1")), (2, Mutation::Delete { key: "c".into() })] {
        solo.write(token, vec![mutation]);
        let sent = solo.sent(SECOND);
        let Some((_, Body::Write(number, _))) = sent.last() else { panic!("{sent:?}") };
        solo.hear(SECOND, Body::Said(*number, Said::Durable));
        solo.durable();
    }
    solo.full.push(THIRD);
    solo.tick(40);
    let hints = |(_, body)| if let Body::Hints(hints) = body { hints } else { Vec::new() };
    let keys: Vec<Bytes> = solo.sent(THIRD).into_iter().flat_map(hints).map(|(key, _)| key).collect();
    assert_eq!(keys, ["c"]);
    assert_eq!(solo.replica.report().hints, 2, "the other one waits");
}
