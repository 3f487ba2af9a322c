//! Claims about a copy whose node's disk is nearly full.

use super::*;

fn entry(record: &Stored) -> Vec<Entry> {
    vec![("b".into(), record.encode())]
}

fn delete(version: u64) -> Stored {
    let stamp = stamp(version, SECOND);
    let mut delete = Stored::new(Value { stamp, is_tombstone: true, ..Value::default() }, Context::default());
    delete.context.add(super::stamp(version - 1, SECOND));
    delete
}

/// All that may bring a record to a copy.
fn all_ways(record: &Stored) -> Vec<Body> {
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
