//! What any copy answers is answered while one copy is there, wherever the client is.

use std::time::Duration;

use rustix::process::Signal;
use skerry_client::{Client, ClientConfig, Key, ScanOptions, ScanRange};
use skerry_core::command::ReadConsistency::Local;

use crate::cluster::Cluster;

/// Longer than a silent node is waited for, and much shorter than the default deadline.
const SOON: Duration = Duration::from_secs(4);

async fn client_in(cluster: &Cluster, zone: &str) -> Client {
    let mut config = ClientConfig::new(cluster.nodes.iter().map(|node| node.grpc().to_string()));
    config.zone = Some(zone.to_owned());
    config.deadline = SOON;
    Client::connect(config).await.unwrap()
}

async fn reads_all(client: &Client) {
    for _ in 0..3 {
        let found = client.get("sales", Key::new("k"), Local).await.unwrap();
        assert_eq!(found.unwrap().value, "v");
        let options = ScanOptions { consistency: Local, ..ScanOptions::default() };
        let mut scan = client.scan("sales", ScanRange::All, options).await.unwrap();
        let page = scan.next_page().await.unwrap().unwrap();
        assert!(page.iter().any(|record| record.key == Key::new("k")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_zone_has_no_node_any_more_reads_elsewhere() {
    let mut cluster = Cluster::start(3);
    cluster.table("sales", 1).await;
    cluster.database().put("sales", b"k", b"v").await;
    cluster.await_equal("sales", b"k", &[b"v"]).await;
    let near = cluster.leader("sales").await;
    let zone = format!("zone-{near}");
    let (of_hung, of_dead) = (client_in(&cluster, &zone).await, client_in(&cluster, &zone).await);
    reads_all(&of_hung).await;
    reads_all(&of_dead).await;
    cluster.nodes[near].signal(Signal::STOP);
    reads_all(&of_hung).await;
    cluster.nodes[near].signal(Signal::CONT);
    cluster.nodes[near].kill();
    reads_all(&of_dead).await;
}
