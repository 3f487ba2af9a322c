//! Which node an operation goes to, with nodes that are down or silent.

use std::sync::Arc;

use skerry_core::command::ReadConsistency;
use skerry_core::ids::{Incarnation, ReplicaId, ShardId};
use skerry_core::map::{Consistency, Fragmentation, Map, Member, NodeRecord, NodeState, Replica, Role, TableRecord};
use tokio::net::TcpListener;

use super::*;
use crate::config::ClientConfig;
use crate::key::Key;
use crate::read::ReadError;
use crate::wire::Leader;

const SHARD: ShardId = ShardId(7);
const SHORT: Duration = Duration::from_millis(500);

/// A map of one table of one shard, with a copy on each of these nodes. Node 1 is in zone-1, and so on.
fn map_of(addresses: &[String]) -> Map {
    let mut map = Map::default();
    map.epoch = Epoch(1);
    let mut members = Vec::new();
    for (n, address) in (1..).zip(addresses) {
        let record = NodeRecord {
            id: NodeId(n),
            incarnation: Incarnation(1),
            volume: format!("volume-{n}"),
            address: address.clone(),
            zone: format!("zone-{n}"),
            state: NodeState::Active,
            epoch: Epoch(1),
        };
        map.nodes.insert(NodeId(n), record);
        members.push(Member { replica: Replica { node: NodeId(n), id: ReplicaId(n) }, role: Role::Voter });
    }
    let table = TableRecord {
        id: TableId(1),
        name: "t".to_owned(),
        fragmentation: Fragmentation::Range,
        consistency: Consistency::Leader,
        replication_factor: 1,
        dropped: false,
        epoch: Epoch(1),
    };
    map.tables.insert(table.id, table);
    let descriptor = Descriptor { shard: SHARD, table: TableId(1), members, ..Descriptor::default() };
    map.put_shard(ShardRecord { descriptor, epoch: Epoch(1), ..ShardRecord::default() });
    map
}

fn client_of(addresses: &[String], zone: Option<&str>) -> Client {
    let mut config = ClientConfig::new(addresses.to_vec());
    config.zone = zone.map(str::to_owned);
    config.deadline = SHORT;
    Client::of_map(config, map_of(addresses)).0
}

/// A node that takes connections and says nothing.
async fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Nobody is there.
fn down() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

async fn get(client: &Client, consistency: ReadConsistency) -> ReadError {
    client.get("t", Key::new("k"), consistency).await.unwrap_err()
}

async fn is_asked(node: &TcpListener) -> bool {
    tokio::time::timeout(Duration::from_millis(50), node.accept()).await.is_ok()
}

#[tokio::test]
async fn what_any_copy_answers_goes_elsewhere_if_the_one_in_the_zone_is_down() {
    for consistency in [ReadConsistency::Local, ReadConsistency::BoundedStaleness(5_000)] {
        let (far, address) = silent().await;
        let client = client_of(&[address, down()], Some("zone-2"));
        get(&client, consistency).await;
        assert!(is_asked(&far).await, "{consistency:?}");
    }
}

#[tokio::test]
async fn local_reads_go_to_all_copies_and_others_to_the_first() {
    for (consistency, is_spread) in [
        (ReadConsistency::Local, true),
        (ReadConsistency::BoundedStaleness(1), false),
        (ReadConsistency::Linearizable, false),
    ] {
        let ((first, first_at), (second, second_at)) = (silent().await, silent().await);
        let client = client_of(&[first_at, second_at], None);
        let asks = || get(&client, consistency);
        tokio::join!(asks(), asks());
        assert_eq!((is_asked(&first).await, is_asked(&second).await), (true, is_spread), "{consistency:?}");
    }
}

/// Each of its operations ends before the leader is given up: the next ones go elsewhere all the same.
#[tokio::test]
async fn operations_with_a_short_deadline_learn_that_a_leader_is_silent() {
    let ((leader, leader_at), (other, other_at)) = (silent().await, silent().await);
    let client = client_of(&[leader_at, other_at], None);
    client.inner.leaders.learn(SHARD, NodeId(1));
    assert_eq!(get(&client, ReadConsistency::Linearizable).await, ReadError::Deadline { last: None });
    assert_eq!((is_asked(&leader).await, client.inner.leaders.get(SHARD)), (true, None));
    assert!(!is_asked(&other).await);
    get(&client, ReadConsistency::Linearizable).await;
    assert!(is_asked(&other).await, "it is the first voter that was silent");
}

#[tokio::test]
async fn a_copy_without_records_is_asked_last_and_names_no_leader() {
    let client = client_of(&[down(), down(), down()], None);
    let (inner, routes) = (Arc::clone(&client.inner), client.inner.routes());
    let shard = routes.map.shards.get(&SHARD).unwrap();
    inner.leaders.learn(SHARD, NodeId(2));
    let leader = Some(Leader { node: NodeId(1), address: String::new() });
    let elsewhere: Fault = Denial::NotLeader { shard: SHARD, leader }.into();
    let told = |from, fault: &Fault, mut progress: Progress| {
        inner.learn_of_replica((&routes, shard), (NodeId(3), from), fault, &mut progress);
        let next = inner.target(&routes, &shard.descriptor, from, &progress);
        (next.unwrap().0, inner.leaders.get(SHARD).map(|node| node.0))
    };
    let third = || Progress::beginning_at(2, Issuing::default());
    assert_eq!(told(From::AnyReplica, &elsewhere, third()), (1, Some(2)));
    let next = inner.target(&routes, &shard.descriptor, From::AnyReplica, &third());
    assert_eq!(next, Some(NodeId(1)), "the next operation does not begin with it either");
    assert_eq!(told(From::FreshReplica, &elsewhere, third()), (1, Some(1)), "a leader is named");
    inner.leaders.learn(SHARD, NodeId(3));
    let stale: Fault = Denial::TooStale { behind_ms: u64::MAX }.into();
    let mut of_leader = third();
    of_leader.leader_only = true;
    assert_eq!(told(From::FreshReplica, &stale, of_leader), (1, None), "it is no leader with a lease");
}

#[test]
fn a_node_is_taken_for_silent_by_how_long_it_was_waited_for() {
    for (waited, whole, expected) in [
        (300, 10_000, true),
        (299, 10_000, false),
        (300, 500, true),
        (249, 500, false),
        (50, 100, true),
        (49, 100, false),
    ] {
        let is_silent = is_silent(Duration::from_millis(waited), Duration::from_millis(whole));
        assert_eq!(is_silent, expected, "{waited} of {whole} ms");
    }
}
