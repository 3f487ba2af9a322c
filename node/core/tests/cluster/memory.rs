//! What a node keeps in memory for copies that lag, for running snapshots and for answers is bounded, and nothing that
//! was accepted is lost by it.

use bytes::Bytes;
use skerry_core::command::{Command, Mutation, Outcome, Read, ReadConsistency, ReadResult};
use skerry_core::ids::{NodeId, TableId};
use skerry_core::node::{Answer, Input, Refusal};
use skerry_core::planted::{Planted, plant};

use crate::harness::{Cluster, three_nodes_within};

const LOG_BYTES_MAX: usize = 60_000;
const PREIMAGE_BYTES_MAX: usize = 20_000;

fn put(key: &str, bytes: usize) -> Command {
    let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::from(vec![b'v'; bytes]));
    Command { request: None, conditions: vec![], mutations: vec![Mutation::Put { key, value, expires_ms: None }] }
}

fn written(cluster: &mut Cluster, table: TableId, key: &str, bytes: usize) {
    let outcome = cluster.try_write(table, &put(key, bytes));
    assert!(matches!(outcome, Ok(Outcome::Applied(_))), "{key}: {outcome:?}");
}

fn get(cluster: &mut Cluster, table: TableId, key: &str) -> Result<Option<usize>, Refusal> {
    let leader = cluster.leader_of(table, key.as_bytes()).unwrap();
    let token = cluster.token();
    let read = Read::Get { key: Bytes::copy_from_slice(key.as_bytes()) };
    cluster.input(leader, Input::Read { token, table, read, consistency: ReadConsistency::Linearizable });
    cluster.run(4);
    match cluster.answers.remove(&token) {
        Some(Answer::Read(Ok(ReadResult::Value(record)))) => Ok(record.map(|record| record.value.len())),
        Some(Answer::Read(Err(refusal))) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

fn a_follower(cluster: &Cluster, table: TableId, nodes: &[NodeId]) -> NodeId {
    let leader = cluster.leader_of(table, b"a").unwrap();
    *nodes.iter().find(|node| **node != leader && **node != NodeId(1)).unwrap()
}

/// A copy is away while the others take much more than may be kept for it. The most that the others kept after they had
/// time to forget, and whether the copy has all of it once it is back.
fn kept_for_a_copy_that_is_away() -> (usize, bool) {
    let (mut cluster, nodes, table) = three_nodes_within(LOG_BYTES_MAX, usize::MAX);
    cluster.settle();
    let late = a_follower(&cluster, table, &nodes);
    let away = cluster.hosts.remove(&late).unwrap();
    let mut most = 0;
    for round in 0..10 {
        for key in 0..20 {
            // The keys lie in three shards.
            written(&mut cluster, table, &format!("{}{round}{key}", ["a", "k", "t"][key % 3]), 1_000);
        }
        cluster.run(60);
        most = most.max(cluster.hosts.values().map(|host| host.node.held().log).max().unwrap());
    }
    cluster.hosts.insert(late, away);
    cluster.run(400);
    let views = |node: NodeId| {
        let host = &cluster.hosts[&node];
        let views = host.node.replicas().filter(|view| view.shard.0 != 0);
        views.map(|view| (view.shard, view.applied)).collect::<Vec<_>>()
    };
    let others = nodes.into_iter().filter(|node| *node != late);
    let has_all = others.into_iter().all(|node| views(node) == views(late));
    (most, has_all)
}

/// The most that was kept of what was overwritten while a snapshot ran.
fn kept_of_what_is_overwritten() -> usize {
    let (mut cluster, nodes, table) = three_nodes_within(LOG_BYTES_MAX, PREIMAGE_BYTES_MAX);
    cluster.settle();
    for key in 0..300 {
        written(&mut cluster, table, &format!("a{key:04}"), 1_000);
    }
    let late = a_follower(&cluster, table, &nodes);
    let away = cluster.hosts.remove(&late).unwrap();
    for key in 0..300 {
        written(&mut cluster, table, &format!("a{key:04}"), 1_001);
    }
    cluster.run(60);
    // The transfer begins and gets no further.
    cluster.loses_chunks = true;
    cluster.hosts.insert(late, away);
    let mut most = 0;
    for turn in 0..300 {
        written(&mut cluster, table, &format!("a{:04}", 299 - turn), 1_002);
        most = most.max(cluster.hosts.values().map(|host| host.node.held().preimages).max().unwrap());
    }
    most
}

/// The store of a follower syncs nothing, so its log may forget nothing, while others write. The most that the follower
/// kept, and whether it has all that was accepted once its store syncs again.
fn kept_by_a_follower_that_cannot_forget() -> (usize, bool) {
    let (mut cluster, nodes, table) = three_nodes_within(LOG_BYTES_MAX, usize::MAX);
    cluster.settle();
    let late = a_follower(&cluster, table, &nodes);
    cluster.unsynced = Some(late);
    let mut most = 0;
    for key in 0..200 {
        written(&mut cluster, table, &format!("a{key}"), 1_000);
        most = most.max(cluster.hosts[&late].node.held().log);
    }
    cluster.unsynced = None;
    // The one that is under way ends.
    (1..1_000).for_each(|mark| cluster.input(late, Input::EngineDurable { mark }));
    cluster.run(400);
    let views = |node: &NodeId| {
        let views = cluster.hosts[node].node.replicas().filter(|view| view.shard.0 != 0);
        views.map(|view| (view.shard, view.applied)).collect::<Vec<_>>()
    };
    (most, nodes.iter().all(|node| views(node) == views(&late)))
}

/// A follower's acknowledgements are lost until it has no room for more entries, and its leader needs it. How many of the
/// writes are answered once it is heard again.
fn answered_once_a_full_follower_is_heard() -> usize {
    let (mut cluster, nodes, table) = three_nodes_within(LOG_BYTES_MAX, usize::MAX);
    cluster.settle();
    let leader = cluster.leader_of(table, b"a").unwrap();
    let mut others: Vec<_> = nodes.into_iter().filter(|node| *node != leader).collect();
    others.sort();
    cluster.hosts.remove(&others[1]);
    cluster.hushed = Some(others[0]);
    let tokens: Vec<_> = (0..40).map(|_| cluster.token()).collect();
    for (number, token) in tokens.iter().enumerate() {
        let (token, command) = (*token, put(&format!("a{number}"), 1_000));
        cluster.input(leader, Input::Write { token, table, command });
    }
    cluster.run(2);
    cluster.hushed = None;
    cluster.run(200);
    let is_done = |token: &&_| matches!(cluster.answers.get(*token), Some(Answer::Write(Ok(Outcome::Applied(_)))));
    tokens.iter().filter(is_done).count()
}

/// What three reads come to, one after the other, with room for one and a half of them.
fn reads_with_little_room() -> Vec<Result<Option<usize>, Refusal>> {
    let (mut cluster, _, table) = three_nodes_within(usize::MAX, usize::MAX);
    cluster.settle();
    written(&mut cluster, table, "a", 1_000);
    let leader = cluster.leader_of(table, b"a").unwrap();
    cluster.input(leader, Input::AnswerRoom { bytes: 1_500 });
    (0..3).map(|_| get(&mut cluster, table, "a")).collect()
}

#[test]
fn a_copy_that_is_away_costs_bounded_memory_and_gets_a_snapshot_instead() {
    let (most, has_all) = kept_for_a_copy_that_is_away();
    assert!(most <= LOG_BYTES_MAX, "{most} bytes were kept");
    assert!(has_all, "the copy that came back has all that was accepted");
}

/// Whether a copy that was away catches up by the log alone where the logs of shards in which nobody lags are over the
/// budget with it.
fn catches_up_without_a_snapshot(later: u64) -> bool {
    let (mut cluster, nodes, table) = three_nodes_within(LOG_BYTES_MAX, usize::MAX);
    cluster.settle();
    // It must not matter when in the rounds of the nodes this begins.
    cluster.run(later);
    for key in 0..20 {
        written(&mut cluster, table, &format!("k{key}"), 1_000);
        written(&mut cluster, table, &format!("t{key}"), 1_000);
    }
    cluster.run(60);
    let late = a_follower(&cluster, table, &nodes);
    let away = cluster.hosts.remove(&late).unwrap();
    for key in 0..18 {
        written(&mut cluster, table, &format!("a{key:02}"), 1_000);
    }
    cluster.run(60);
    cluster.hosts.insert(late, away);
    cluster.loses_chunks = true;
    cluster.run(200);
    let views = |node: &NodeId| {
        let views = cluster.hosts[node].node.replicas().filter(|view| view.shard.0 != 0);
        views.map(|view| (view.shard, view.applied)).collect::<Vec<_>>()
    };
    nodes.iter().all(|node| views(node) == views(&late))
}

#[test]
fn logs_that_no_copy_needs_are_forgotten_before_those_of_copies_that_lag() {
    let failed: Vec<u64> = (0..16).filter(|later| !catches_up_without_a_snapshot(*later)).collect();
    assert!(failed.is_empty(), "{failed:?} ticks later");
}

#[test]
fn a_follower_that_cannot_forget_takes_bounded_memory_and_catches_up_when_it_can() {
    let (most, has_all) = kept_by_a_follower_that_cannot_forget();
    assert!(most <= LOG_BYTES_MAX, "{most} bytes were kept");
    assert!(has_all);
}

#[test]
fn a_follower_without_room_acknowledges_what_it_has_and_its_shard_goes_on() {
    assert_eq!(answered_once_a_full_follower_is_heard(), 40);
}

#[test]
fn a_snapshot_that_writes_outrun_is_given_up() {
    let most = kept_of_what_is_overwritten();
    // One tick's writes may come on top.
    assert!((1..=PREIMAGE_BYTES_MAX + 2_000).contains(&most), "{most} bytes were kept");
}

#[test]
fn reads_beyond_the_room_for_answers_are_refused_and_taken_again_when_there_is_some() {
    let answers = reads_with_little_room();
    assert_eq!(answers[..2], [Ok(Some(1_000)), Ok(Some(1_000))]);
    assert!(matches!(answers[2], Err(Refusal::NoMemory { .. })), "{answers:?}");
    assert!(!answers[2].as_ref().unwrap_err().may_have_happened());
}

#[test]
fn memory_that_is_not_bounded_is_caught() {
    plant(Some(Planted::LogMemoryUnbounded));
    assert!(kept_for_a_copy_that_is_away().0 > LOG_BYTES_MAX);
    plant(Some(Planted::PreimagesUnbounded));
    assert!(kept_of_what_is_overwritten() > PREIMAGE_BYTES_MAX + 2_000);
    plant(Some(Planted::FollowerLogUnbounded));
    assert!(kept_by_a_follower_that_cannot_forget().0 > LOG_BYTES_MAX);
    plant(Some(Planted::KnownEntriesRefused));
    assert_eq!(answered_once_a_full_follower_is_heard(), 0);
    plant(Some(Planted::NeededLogsCutFirst));
    assert!(!catches_up_without_a_snapshot(0));
    plant(Some(Planted::NeededLogsCutWhole));
    assert!((0..16).any(|later| !catches_up_without_a_snapshot(later)));
    plant(Some(Planted::AnswersUnbounded));
    assert!(reads_with_little_room().iter().all(Result::is_ok));
    plant(None);
}
