//! A node told to stop finishes what it has in hand, gives leadership away and exits with success; nothing is lost.

use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::load::Load;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_stop_of_each_node_in_turn_loses_nothing_and_is_quick() {
    let mut cluster = Cluster::start(3);
    cluster.table("sales", 2).await;
    let load = Load::start(cluster.database(), "sales", 8, 40);
    for node in 0..3 {
        load.run_for(100).await;
        let told = Instant::now();
        let status = cluster.nodes[node].stop();
        assert!(status.success(), "{status}\n{}", cluster.nodes[node].log());
        assert!(told.elapsed() < Duration::from_secs(20), "{:?}", told.elapsed());
        println!("node {node} stopped in {:?}", told.elapsed());
        load.run_for(100).await;
        cluster.restart(node);
        cluster.nodes[node].await_ready();
    }
    let seen = load.finish().await;
    println!(
        "{:?}, longest pause {:?}",
        seen.counts,
        seen.longest_pause_after(Instant::now() - Duration::from_secs(60))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_database_comes_back_whole() {
    let mut cluster = Cluster::start(3);
    cluster.table("sales", 2).await;
    let database = cluster.database();
    for number in 0..100_u32 {
        database.put("sales", &number.to_be_bytes(), &number.to_le_bytes()).await;
    }
    for node in &mut cluster.nodes {
        assert!(node.stop().success());
    }
    for node in 0..3 {
        cluster.restart(node);
    }
    for number in 0..100_u32 {
        let record = database.get("sales", &number.to_be_bytes()).await.unwrap();
        assert_eq!(record.value, &number.to_le_bytes()[..]);
    }
}
