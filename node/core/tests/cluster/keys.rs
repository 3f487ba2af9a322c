//! Keys that a client has encoded itself, and wrongly: none gets in, and one that is there can be deleted.

use bytes::Bytes;
use skerry_core::command::{Command, Condition, Expected, Mutation, Outcome, Read, ReadConsistency, ReadResult};
use skerry_core::ids::{NodeId, TableId};
use skerry_core::key::{self, KeyError};
use skerry_core::limits::{ENCODED_KEY_BYTES_MAX, KEY_BYTES_MAX};
use skerry_core::map::Fragmentation;
use skerry_core::node::{Answer, Input, Refusal};

use crate::harness::{Cluster, table_as};

const STRANGER: &[u8] = b"no key of a hash table";

fn a_table(fragmentation: Fragmentation) -> (Cluster, TableId) {
    let mut cluster = Cluster::start();
    let table = table_as(&mut cluster, fragmentation, &[NodeId(1)]);
    (cluster, table)
}

fn command(mutations: Vec<Mutation>, conditions: Vec<Condition>) -> Command {
    Command { request: None, conditions, mutations }
}

fn put(key: &[u8]) -> Mutation {
    Mutation::Put { key: Bytes::copy_from_slice(key), value: Bytes::from_static(b"v"), expires_ms: None }
}

fn delete(key: &[u8]) -> Mutation {
    Mutation::Delete { key: Bytes::copy_from_slice(key) }
}

fn absent(key: &[u8]) -> Condition {
    Condition { key: Bytes::copy_from_slice(key), expected: Expected::Absent }
}

fn read(cluster: &mut Cluster, table: TableId, read: Read) -> Result<ReadResult, Refusal> {
    let token = cluster.token();
    cluster.input(NodeId(1), Input::Read { token, table, read, consistency: ReadConsistency::Linearizable });
    cluster.run(2);
    match cluster.answers.remove(&token) {
        Some(Answer::Read(answer)) => answer,
        other => panic!("{other:?}"),
    }
}

fn scanned(cluster: &mut Cluster, table: TableId) -> Vec<Bytes> {
    let all = Read::Scan { start: Bytes::new(), end: None, limit: 10 };
    let Ok(ReadResult::Page { records, .. }) = read(cluster, table, all) else { panic!("no page") };
    records.into_iter().map(|record| record.key).collect()
}

/// True if every key that is none is refused, wherever it stands in a write.
fn keys_are_checked() -> bool {
    let (mut cluster, table) = a_table(Fragmentation::Hash);
    let good = key::encode(Fragmentation::Hash, b"p", b"s").unwrap();
    let writes = [
        command(vec![put(STRANGER)], vec![]),
        command(vec![put(&good), put(STRANGER)], vec![]),
        command(vec![put(&good)], vec![absent(STRANGER)]),
        command(vec![delete(&good)], vec![absent(STRANGER)]),
    ];
    let malformed = Err(Refusal::Key(KeyError::Malformed));
    let refused = writes.into_iter().all(|write| cluster.try_write(table, &write) == malformed);
    refused && scanned(&mut cluster, table).is_empty()
}

#[test]
fn a_key_that_is_none_is_refused_wherever_it_stands_in_a_write() {
    assert!(keys_are_checked());
}

#[test]
fn a_key_that_is_not_looked_at_is_caught() {
    skerry_core::planted::plant(Some(skerry_core::planted::Planted::KeyUncheckedInSession));
    assert!(!keys_are_checked());
    skerry_core::planted::plant(None);
}

#[test]
fn a_record_under_a_key_that_is_none_is_shown_and_can_be_deleted() {
    let (mut cluster, table) = a_table(Fragmentation::Hash);
    skerry_core::planted::plant(Some(skerry_core::planted::Planted::KeyUncheckedInSession));
    let taken = cluster.try_write(table, &command(vec![put(STRANGER)], vec![]));
    skerry_core::planted::plant(None);
    assert!(matches!(taken, Ok(Outcome::Applied(_))), "{taken:?}");
    assert_eq!(scanned(&mut cluster, table), [Bytes::from_static(STRANGER)]);
    let deleted = cluster.try_write(table, &command(vec![delete(STRANGER)], vec![]));
    assert!(matches!(deleted, Ok(Outcome::Applied(_))), "{deleted:?}");
    assert!(scanned(&mut cluster, table).is_empty());
}

#[test]
fn keys_of_a_range_table_have_the_lengths_of_keys_and_places_those_of_encodings() {
    let (mut cluster, table) = a_table(Fragmentation::Range);
    let long = vec![b'k'; KEY_BYTES_MAX + 1];
    let too_long = Refusal::Key(KeyError::TooLong { bytes: long.len() });
    assert_eq!(cluster.try_write(table, &command(vec![put(&long)], vec![])), Err(too_long.clone()));
    assert_eq!(cluster.try_write(table, &command(vec![put(b"")], vec![])), Err(Refusal::Key(KeyError::Empty)));
    assert_eq!(cluster.try_write(table, &command(vec![delete(b"")], vec![])), Err(Refusal::Key(KeyError::Empty)));
    let longest = vec![b'k'; KEY_BYTES_MAX];
    assert!(matches!(cluster.try_write(table, &command(vec![put(&longest)], vec![])), Ok(Outcome::Applied(_))));
    assert_eq!(read(&mut cluster, table, Read::Get { key: long.into() }), Err(too_long));

    let scan = |start: usize, end: Option<usize>| Read::Scan {
        start: vec![b'k'; start].into(),
        end: end.map(|bytes| vec![b'k'; bytes].into()),
        limit: 10,
    };
    let beyond = ENCODED_KEY_BYTES_MAX + 1;
    for (start, end) in [(beyond, None), (0, Some(beyond))] {
        let refused = read(&mut cluster, table, scan(start, end));
        assert_eq!(refused, Err(Refusal::Key(KeyError::TooLong { bytes: beyond })));
    }
    let page = read(&mut cluster, table, scan(ENCODED_KEY_BYTES_MAX, None));
    assert!(matches!(page, Ok(ReadResult::Page { .. })), "{page:?}");
}

#[test]
fn a_scan_whose_end_lies_before_its_start_is_an_empty_page() {
    let (mut cluster, table) = a_table(Fragmentation::Range);
    let backwards = Read::Scan { start: Bytes::from_static(b"b"), end: Some(Bytes::from_static(b"a")), limit: 10 };
    let page = read(&mut cluster, table, backwards);
    assert_eq!(page, Ok(ReadResult::Page { records: vec![], next: None }));
}
