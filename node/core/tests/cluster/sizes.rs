//! The size that a shard is said to have comes down with what it holds.

use std::ops::ControlFlow;

use bytes::Bytes;
use skerry_core::command::{Command, Condition, Expected, Mutation};
use skerry_core::engine::{Engine, data_end, data_key};
use skerry_core::ids::TableId;

use crate::harness::{Cluster, three_nodes};

const RECORDS: usize = 100;

fn key(number: usize) -> String {
    format!("a{number:03}")
}

/// Bytes of the table's records, as the leaders of its shards say, and as their stores have them.
fn sizes(cluster: &mut Cluster, table: TableId) -> (u64, u64) {
    let status = cluster.status();
    let told = status.shards.iter().filter(|(shard, _)| shard.descriptor.table == table).map(|(s, _)| s.bytes).sum();
    let mut stored = 0;
    let engine = &cluster.hosts.values().next().unwrap().engine;
    let count = &mut |key: &[u8], value: &[u8]| {
        stored += (key.len() + value.len()) as u64;
        ControlFlow::Continue(())
    };
    engine.scan(&data_key(table, &[]), &data_end(table, None), count).unwrap();
    (told, stored)
}

fn delete(key: &str, conditions: Vec<Condition>) -> Command {
    let mutations = vec![Mutation::Delete { key: Bytes::copy_from_slice(key.as_bytes()) }];
    Command { request: None, conditions, mutations }
}

/// Records are written, each overwritten several times by a shorter one, and half of them are deleted: what is said, and
/// what is stored, before and after.
fn overwrite_and_delete() -> [(u64, u64); 2] {
    let (mut cluster, _, table) = three_nodes();
    for number in 0..RECORDS {
        cluster.put(table, &key(number), &"v".repeat(2_000));
    }
    cluster.run(60);
    let before = sizes(&mut cluster, table);
    for length in [1_500, 1_000, 200] {
        for number in 0..RECORDS {
            cluster.put(table, &key(number), &"v".repeat(length));
        }
    }
    for number in (0..RECORDS).step_by(2) {
        cluster.write(table, &delete(&key(number), Vec::new()));
    }
    cluster.run(60);
    [before, sizes(&mut cluster, table)]
}

/// What is said is about what is stored.
fn is_true((told, stored): (u64, u64)) -> bool {
    told >= stored && told - stored <= (64 << 10) + stored / 8
}

#[test]
fn the_size_of_a_shard_comes_down_with_what_is_overwritten_and_deleted() {
    let [before, after] = overwrite_and_delete();
    assert!(is_true(before) && before.1 > 200_000, "{before:?}");
    assert!(is_true(after) && after.1 < 20_000, "{after:?}");
}

#[test]
fn what_a_condition_has_looked_at_is_taken_off_at_once() {
    let (mut cluster, _, table) = three_nodes();
    for number in 0..10 {
        cluster.put(table, &key(number), &"v".repeat(2_000));
    }
    for number in 0..10 {
        let value = Expected::Value("v".repeat(2_000).into());
        let condition = Condition { key: Bytes::from(key(number)), expected: value };
        cluster.write(table, &delete(&key(number), vec![condition]));
    }
    cluster.run(60);
    assert_eq!(sizes(&mut cluster, table), (0, 0));
}

#[cfg(feature = "planted")]
#[test]
fn a_size_that_only_rises_is_caught() {
    skerry_core::planted::plant(Some(skerry_core::planted::Planted::SizeOnlyRises));
    let [_, after] = overwrite_and_delete();
    skerry_core::planted::plant(None);
    assert!(!is_true(after), "{after:?}");
}
