//! A database changes from the release before to this one, node by node, and partly back, while it serves: nothing that only
//! the newer release reads is written before all nodes have it.

use std::path::PathBuf;
use std::time::Instant;

use skerry_client::Key;
use skerry_core::level::FormatLevel;
use skerry_proto::v1;
use skerry_proto::v1::admin_command::Change;

use crate::cluster::{Cluster, eventually};
use crate::load::Load;
use crate::process::PATIENCE;
use crate::tables::Quorums;

/// Names the program of the release before: `make node-before` builds it.
const BEFORE: &str = "SKERRY_NODE_BEFORE";

/// The level that is enabled, as the steward says. 0 = it says nothing of levels, or the first is.
async fn enabled(cluster: &Cluster) -> u32 {
    cluster.database().status().await.map.unwrap().format_level
}

/// Ends a node and starts it with another program, on its volume.
fn replace(cluster: &mut Cluster, node: usize, program: Option<PathBuf>) {
    assert!(cluster.nodes[node].stop().success());
    cluster.nodes[node].settings().older = program;
    cluster.restart(node);
    cluster.nodes[node].await_ready();
}

async fn shards(cluster: &Cluster) -> Vec<v1::Descriptor> {
    let map = cluster.database().status().await.map.unwrap();
    map.shards.into_iter().filter_map(|shard| shard.descriptor).filter(|shard| shard.table_id != 0).collect()
}

/// Has every shard moved to these nodes, and waits for it.
async fn move_to(cluster: &Cluster, nodes: &[usize]) {
    let mut node_ids: Vec<u64> = nodes.iter().map(|node| cluster.nodes[*node].id()).collect();
    node_ids.sort_unstable();
    let target = |shard: v1::Descriptor| v1::ShardTarget { shard_id: shard.shard_id, node_ids: node_ids.clone() };
    let targets = shards(cluster).await.into_iter().map(target).collect();
    cluster.database().admin(Change::SetTargets(v1::SetTargets { targets })).await.unwrap();
    eventually("every shard is on its target", async || {
        let is_there = |shard: v1::Descriptor| {
            let is_voter = shard.members.iter().all(|member| member.role() == v1::Role::Voter);
            let mut on: Vec<u64> = shard.members.into_iter().map(|m| m.replica.unwrap().node_id).collect();
            on.sort_unstable();
            is_voter && on == node_ids
        };
        shards(cluster).await.into_iter().all(is_there)
    })
    .await;
}

/// The nodes change to the level of quorum tables one by one, as to a release that enables it, and then the database gets
/// its first such table.
async fn first_quorum_table(cluster: &mut Cluster, load: &Load) {
    for node in 0..cluster.nodes.len() {
        assert!(cluster.nodes[node].stop().success());
        cluster.nodes[node].fail("quorum-level");
        cluster.restart(node);
        cluster.nodes[node].await_ready();
        load.run_for(20).await;
    }
    eventually("the level is enabled", async || enabled(cluster).await == FormatLevel::QUORUM.0).await;
    cluster.quorum_table("positions", Quorums::last_writer(2, 2)).await;
    let client = cluster.client().await;
    for ship in ["argo", "beagle"] {
        client.put("positions", Key::new(ship), ship).await.unwrap();
        load.run_for(20).await;
        cluster.await_equal("positions", ship.as_bytes(), &[ship.as_bytes()]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the node of the release before: make test-releases"]
async fn nodes_of_two_releases_serve_together_and_the_level_rises_once_all_are_new() {
    let before = PathBuf::from(std::env::var_os(BEFORE).expect("it names the node of the release before"));
    let mut cluster = Cluster::empty("shop");
    cluster.older = Some(before.clone());
    for _ in 0..3 {
        cluster.add(&[]);
    }
    cluster.table("sales", 2).await;
    let began = Instant::now();
    let load = Load::start(cluster.database(), "sales", 4, 64);
    load.run_for(50).await;
    replace(&mut cluster, 0, None);
    load.run_for(50).await;
    let fourth = cluster.add(&[]);
    move_to(&cluster, &[0, 1, fourth]).await;
    replace(&mut cluster, 1, None);
    replace(&mut cluster, fourth, None);
    // To a node of the release before, from nodes of this one.
    move_to(&cluster, &[0, 1, 2]).await;
    load.run_for(50).await;
    replace(&mut cluster, 0, Some(before.clone()));
    load.run_for(50).await;
    replace(&mut cluster, 0, None);
    load.run_for(50).await;
    assert_eq!(enabled(&cluster).await, 0, "a node of the release before is there");
    replace(&mut cluster, 2, None);
    eventually("the level is enabled", async || enabled(&cluster).await == FormatLevel::NEWEST.0).await;
    eventually("every node knows", async || {
        let metric = "skerry_node_format_level_enabled";
        cluster.nodes.iter().all(|node| node.metric(metric) == Some(f64::from(FormatLevel::NEWEST.0)))
    })
    .await;
    load.run_for(50).await;
    assert!(cluster.nodes[0].stop().success());
    cluster.nodes[0].settings().older = Some(before);
    cluster.nodes[0].spawn(&[]);
    assert!(!cluster.nodes[0].await_exit().success(), "there is no way back any more");
    let log = cluster.nodes[0].log();
    assert!(log.contains("newer version of this program"), "{log}");
    cluster.nodes[0].settings().older = None;
    cluster.restart(0);
    cluster.nodes[0].await_ready();
    move_to(&cluster, &[0, 1, fourth]).await;
    first_quorum_table(&mut cluster, &load).await;
    let longest = load.finish().await.longest_pause_after(began);
    assert!(longest < PATIENCE / 4, "no write was acknowledged for {longest:?}");
}
