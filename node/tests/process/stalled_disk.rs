//! A disk that hangs, in the log or in the store: writes go on within seconds under another leader, the node says so and
//! lives on, and comes back when the disk answers. A store that is stuck by itself is another matter.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, eventually};
use crate::database::Database;
use crate::process::Process;

/// Until the disk counts as stalled, two seconds; then a hand-over; on a busy machine.
const MOVED_MAX: Duration = Duration::from_secs(12);

/// True if a page of the node has this status, and these words on it.
fn shows(node: &Process, path: &str, status: u16, text: &str) -> bool {
    node.page(path).is_some_and(|(found, shown)| found == status && shown.contains(text))
}

/// True if the steward has heard from the node that its disk has stalled.
async fn is_known_to_be_stalled(database: &Database, node: u64) -> bool {
    let nodes = database.status().await.nodes;
    nodes.iter().any(|told| told.report.as_ref().is_some_and(|r| r.node_id == node && r.disk_stalled))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_beside_a_disk_that_hangs_and_its_node_comes_back_when_it_answers() {
    let cluster = Cluster::start(3);
    cluster.table("sales", 1).await;
    let database = cluster.database();
    database.put("sales", b"before", b"1").await;
    let leader = cluster.leader("sales").await;
    let node = &cluster.nodes[leader];
    node.fail("log-sync-hangs");
    let began = Instant::now();
    // The first of them is under way where the disk hangs: whether it happened is unknown, and it is made again.
    for number in 0..10_u8 {
        database.put("sales", &[b'k', number], b"1").await;
    }
    assert!(began.elapsed() < MOVED_MAX, "{:?}", began.elapsed());
    assert_ne!(cluster.leader("sales").await, leader);
    let page = |path: &str, status: u16, text: &str| shows(node, path, status, text);
    eventually("the node says so", async || page("/readyz", 503, "[-] disk: has stalled: a write of the log")).await;
    assert!(page("/livez", 200, "ok"), "a restart helps no disk");
    let stalled = async || is_known_to_be_stalled(&database, node.id()).await;
    eventually("the steward knows", stalled).await;

    node.mend("log-sync-hangs");
    eventually("the node is ready", async || page("/readyz", 200, "ok")).await;
    eventually("the steward knows", async || !stalled().await).await;
    for number in 0..10_u8 {
        assert_eq!(database.get("sales", &[b'k', number]).await.unwrap().value, &b"1"[..]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_of_the_store_that_hangs_is_a_stall_until_it_ends() {
    let mut cluster = Cluster::empty("shop");
    for _ in 0..3 {
        cluster.add(&["--disk-stall-ms", "1000"]);
    }
    cluster.nodes.iter().for_each(Process::await_ready);
    cluster.table("sales", 1).await;
    let database = cluster.database();
    let leader = cluster.leader("sales").await;
    let node = &cluster.nodes[leader];
    node.fail("store-sync-hangs");
    // Something to sync.
    database.put("sales", b"before", b"1").await;
    let page = |path: &str, status: u16, text: &str| shows(node, path, status, text);
    eventually("the node says so", async || page("/readyz", 503, "[-] disk: has stalled")).await;
    assert_ne!(cluster.leader("sales").await, leader);
    assert!(page("/livez", 200, "ok"));
    let stalled = async || is_known_to_be_stalled(&database, node.id()).await;
    eventually("the steward knows", stalled).await;
    node.mend("store-sync-hangs");
    eventually("the node is ready", async || page("/readyz", 200, "ok")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_waits_for_its_store_is_live_while_the_disk_answers_nobody_and_not_when_it_does() {
    let cluster = Cluster::start(3);
    cluster.table("sales", 1).await;
    let database = cluster.database();
    database.put("sales", b"before", b"1").await;
    let leader = cluster.leader("sales").await;
    let node = &cluster.nodes[leader];
    node.fail("disk-probe-hangs");
    node.fail("store-write-hangs");
    let began = Instant::now();
    for number in 0..10_u8 {
        database.put("sales", &[b'k', number], b"1").await;
    }
    eprintln!("10 writes in {:?}", began.elapsed());
    assert_ne!(cluster.leader("sales").await, leader);
    let page = |path: &str, status: u16, text: &str| shows(node, path, status, text);
    eventually("the node says so", async || page("/readyz", 503, "[-] disk: has stalled: the store has not")).await;
    let words = "it waits for the disk, which answers nobody";
    eventually("a restart helps no disk", async || page("/livez?verbose", 200, words)).await;
    assert!(began.elapsed() >= Duration::from_secs(15), "until then it may be anything");

    node.mend("disk-probe-hangs");
    eventually("the store itself is stuck", async || page("/livez", 503, "[-] worker: has not answered for")).await;
    node.mend("store-write-hangs");
    eventually("the node is live", async || page("/livez", 200, "ok")).await;
    eventually("the node is ready", async || page("/readyz", 200, "ok")).await;
    for number in 0..10_u8 {
        assert_eq!(database.get("sales", &[b'k', number]).await.unwrap().value, &b"1"[..]);
    }
}
