//! A leader is killed with -9 under load, and later every node at once: nothing acknowledged is lost, no read is stale.

use std::time::Instant;

use crate::cluster::Cluster;
use crate::load::Load;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_costs_a_pause_and_nothing_else() {
    let mut cluster = Cluster::start(3);
    cluster.table("sales", 1).await;
    let load = Load::start(cluster.database(), "sales", 8, 40);
    load.run_for(200).await;

    let leader = cluster.leader("sales").await;
    let killed = Instant::now();
    cluster.nodes[leader].kill();
    load.run_for(200).await;
    cluster.restart(leader);
    cluster.nodes[leader].await_ready();
    load.run_for(200).await;

    let seen = load.finish().await;
    let pause = seen.longest_pause_after(killed);
    println!("leader killed: writes paused for {pause:?}; {:?}", seen.counts);
    assert!(seen.counts.acknowledged >= 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_killed_at_once_come_back_with_everything_acknowledged() {
    kill_all_and_return(Cluster::start(3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_on_the_second_engine_killed_at_once_come_back_too() {
    kill_all_and_return(Cluster::start_small(3, &["--engine", "fjall"])).await;
}

async fn kill_all_and_return(mut cluster: Cluster) {
    cluster.table("sales", 2).await;
    let load = Load::start(cluster.database(), "sales", 8, 40);
    load.run_for(300).await;
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in 0..3 {
        cluster.restart(node);
    }
    for node in &cluster.nodes {
        node.await_ready();
    }
    load.run_for(100).await;
    let seen = load.finish().await;
    assert!(seen.counts.acknowledged >= 300, "{:?}", seen.counts);
}
