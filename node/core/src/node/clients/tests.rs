//! Claims about which requests are served here, and where the others are sent.

use bytes::Bytes;

use super::*;
use crate::command::{Condition, Expected, Outcome, ReadResult};
use crate::ids::ReplicaId;
use crate::node::Input;
use crate::node::tests::{NOW, SHARD, TABLE, settled, table, with_copy, worked};
use crate::replica::state::ReplicaState;
use crate::replica::tests::Memory;

const TOKEN: Token = Token(7);

/// The node's answer to the request with the token. `None` = it waits for something.
fn answer(node: &mut Node, engine: &Memory, input: Input) -> Option<Answer> {
    node.handle(input, engine, NOW).expect("it is in memory");
    let answers = settled(node, engine).into_iter().flat_map(|effects| effects.answers);
    answers.into_iter().find(|(token, _)| *token == TOKEN).map(|(_, answer)| answer)
}

fn delete(key: &'static str) -> Mutation {
    Mutation::Delete { key: key.into() }
}

fn command(mutations: Vec<Mutation>) -> Command {
    Command { request: None, conditions: Vec::new(), mutations }
}

fn write(table: TableId, command: Command) -> Input {
    Input::Write { token: TOKEN, table, command }
}

fn get(consistency: ReadConsistency) -> Input {
    Input::Read { token: TOKEN, table: TABLE, read: Read::Get { key: "a".into() }, consistency }
}

/// Another node that has a copy, as nobody here leads.
fn elsewhere_at(leader: Option<u64>) -> Refusal {
    Refusal::NotLeader { shard: SHARD, leader: leader.map(NodeId) }
}

#[test]
fn a_write_is_of_keys_of_one_shard_in_a_table_that_there_is() {
    let engine = Memory::default();
    let mut node = with_copy(&engine, &[1, 2, 3]);
    let wrong_shard = || Refusal::WrongShard { epoch: node.map().epoch };
    let condition = Condition { key: "x".into(), expected: Expected::Absent };
    let conditional = Command { conditions: vec![condition], ..command(vec![delete("a")]) };
    let cases = [
        (TableId(9), command(vec![delete("a")]), Refusal::UnknownTable(TableId(9))),
        (TableId::SYSTEM, command(vec![delete("a")]), Refusal::UnknownTable(TableId::SYSTEM)),
        (TABLE, command(vec![delete("")]), KeyError::Empty.into()),
        (TABLE, command(vec![delete("x")]), wrong_shard()),
        (TABLE, command(vec![delete("a"), delete("x")]), wrong_shard()),
        (TABLE, conditional, wrong_shard()),
        (TABLE, command(vec![delete("a"), delete("b")]), elsewhere_at(None)),
    ];
    for (table, command, refusal) in cases {
        let refused = answer(&mut node, &engine, write(table, command.clone()));
        assert_eq!(refused, Some(Answer::Write(Err(refusal))), "{table} {command:?}");
    }
    node.map.edit().0.put_table(table(true));
    let refused = answer(&mut node, &engine, write(TABLE, command(vec![delete("a")])));
    assert_eq!(refused, Some(Answer::Write(Err(Refusal::UnknownTable(TABLE)))), "it is dropped");
}

#[test]
fn what_only_quorum_tables_have_is_refused_where_a_leader_is_followed() {
    let engine = Memory::default();
    let mut node = with_copy(&engine, &[1]);
    worked(&mut node, &engine, 2);
    let mut written = |options: WriteOptions| {
        let (token, table, command, options) = (TOKEN, TABLE, command(vec![delete("a")]), Box::new(options));
        answer(&mut node, &engine, Input::WriteWith { token, table, command, options })
    };
    let refused = || Some(Answer::Write(Err(Refusal::NoQuorumTable(TABLE))));
    let seen = vec![("a".into(), Bytes::from_static(b"context"))];
    assert_eq!(written(WriteOptions { copies: Some(1), ..WriteOptions::default() }), refused());
    assert_eq!(written(WriteOptions { seen, ..WriteOptions::default() }), refused());
    assert!(matches!(written(WriteOptions::default()), Some(Answer::Write(Ok(Outcome::Applied(_))))));
    let (token, table, read, consistency) = (TOKEN, TABLE, Read::Get { key: "a".into() }, ReadConsistency::Local);
    let read = Input::ReadWith { token, table, read, consistency, copies: Some(1) };
    assert_eq!(answer(&mut node, &engine, read), Some(Answer::Read(Err(Refusal::NoQuorumTable(TABLE)))));
}

#[test]
fn a_node_without_a_copy_names_another_that_has_one_and_never_itself() {
    let engine = Memory::default();
    let mut node = with_copy(&engine, &[1, 2, 3]);
    node.replicas.remove(SHARD);
    for (members, leader) in [(&[1, 2, 3][..], Some(2)), (&[1, 3], Some(3)), (&[1], None)] {
        let mut record = node.map().shards[&SHARD].clone();
        record.descriptor.members.retain(|member| members.contains(&member.replica.id.0));
        node.map.edit().0.put_shard(record);
        let written = answer(&mut node, &engine, write(TABLE, command(vec![delete("a")])));
        assert_eq!(written, Some(Answer::Write(Err(elsewhere_at(leader)))));
        let read = answer(&mut node, &engine, get(ReadConsistency::Local));
        assert_eq!(read, Some(Answer::Read(Err(elsewhere_at(leader)))));
    }
}

/// How a read is answered by a copy that follows nobody: of a copy without records, or of one that the shard has gone on
/// without since a recovery.
fn read_at(is_blank: bool, is_given_up: bool, consistency: ReadConsistency) -> Option<Answer> {
    let engine = Memory::default();
    let mut node = with_copy(&engine, &[1, 2, 3]);
    let mut record = node.map().shards[&SHARD].clone();
    if is_blank {
        let first = ReplicaState::first(ReplicaId(1), record.descriptor.clone());
        let blank = node.replicas.made_of(ReplicaState { blank: true, ..first }, None, &engine);
        node.replicas.insert(blank.expect("it is in memory"));
    }
    if is_given_up {
        record.descriptor.generation = record.descriptor.generation.recovered();
        node.map.edit().0.put_shard(record);
    }
    answer(&mut node, &engine, get(consistency))
}

#[test]
fn a_copy_shows_its_records_if_it_has_any_and_the_shard_did_not_go_on_without_it() {
    use ReadConsistency::{BoundedStaleness, Linearizable, Local};
    let elsewhere = || Err(elsewhere_at(Some(2)));
    let stale = Err(Refusal::TooStale { behind_ms: u64::MAX });
    for (is_blank, is_given_up, consistency, expected) in [
        (false, false, Local, Ok(ReadResult::Value(None))),
        (false, false, Linearizable, Err(elsewhere_at(None))),
        (false, false, BoundedStaleness(1_000), stale),
        (false, true, Local, elsewhere()),
        (false, true, Linearizable, elsewhere()),
        (false, true, BoundedStaleness(1_000), elsewhere()),
        (true, false, Local, elsewhere()),
        (true, false, BoundedStaleness(1_000), elsewhere()),
        (true, false, Linearizable, Err(elsewhere_at(None))),
        (true, true, Linearizable, Err(elsewhere_at(None))),
    ] {
        let answer = read_at(is_blank, is_given_up, consistency);
        assert_eq!(answer, Some(Answer::Read(expected)), "{is_blank} {is_given_up} {consistency:?}");
    }
}

#[test]
fn a_copy_that_the_shard_went_on_without_takes_no_write_though_it_leads() {
    let engine = Memory::default();
    let mut node = with_copy(&engine, &[1]);
    worked(&mut node, &engine, 2);
    assert!(node.replica(SHARD).is_some_and(Replica::is_leader));
    let mut record = node.map().shards[&SHARD].clone();
    record.descriptor.generation = record.descriptor.generation.recovered();
    node.map.edit().0.put_shard(record);
    let refused = answer(&mut node, &engine, write(TABLE, command(vec![delete("a")])));
    assert_eq!(refused, Some(Answer::Write(Err(elsewhere_at(None)))));
}

#[test]
fn a_leader_whose_disk_is_nearly_full_takes_deletes_alone() {
    let engine = Memory::default();
    let mut node = with_copy(&engine, &[1]);
    worked(&mut node, &engine, 2);
    let put = || Mutation::Put { key: "a".into(), value: "v".into(), expires_ms: None };
    for full in [false, true, false] {
        node.handle(Input::Disk { full, bytes: 9 }, &engine, NOW).expect("it is in memory");
        let is_applied = |answer| matches!(answer, Some(Answer::Write(Ok(Outcome::Applied(_)))));
        assert!(is_applied(answer(&mut node, &engine, write(TABLE, command(vec![delete("a")])))), "{full}");
        let mixed = answer(&mut node, &engine, write(TABLE, command(vec![delete("b"), put()])));
        match full {
            true => assert_eq!(mixed, Some(Answer::Write(Err(Refusal::DiskFull { node: NodeId(1) })))),
            false => assert!(is_applied(mixed)),
        }
    }
}

#[test]
fn what_was_seen_counts_to_a_batch_and_a_batch_that_has_seen_nothing_is_counted_elsewhere() {
    let put = |bytes: usize| Mutation::Put { key: "a".into(), value: vec![0; bytes - 1].into(), expires_ms: None };
    let check = |bytes: usize, seen: usize| {
        let seen = vec![("a".into(), Bytes::from(vec![0; seen]))];
        check_options(&command(vec![put(bytes)]), &WriteOptions { seen, ..WriteOptions::default() })
    };
    assert_eq!(check(BATCH_BYTES_MAX - 9, 9), Ok(()));
    assert_eq!(check(BATCH_BYTES_MAX - 9, 10), Err(LimitExceeded::Batch { bytes: BATCH_BYTES_MAX + 1 }));
    assert_eq!(check(BATCH_BYTES_MAX + 1, 0), Ok(()));
}

#[test]
fn a_scan_begins_and_ends_at_any_place_and_a_read_is_of_a_key() {
    let long = || Bytes::from(vec![7; crate::limits::ENCODED_KEY_BYTES_MAX + 1]);
    let scan = |start: Bytes, end: Option<Bytes>| Read::Scan { start, end, limit: 1 };
    let check = |read: Read| check_read(Fragmentation::Range, &read);
    assert_eq!(check(scan(Bytes::new(), None)), Ok(()));
    assert!(check(scan(long(), None)).is_err() && check(scan(Bytes::new(), Some(long()))).is_err());
    assert_eq!(check(Read::Get { key: Bytes::new() }), Err(KeyError::Empty));
}
