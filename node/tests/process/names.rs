//! Nodes are reached by names, which may resolve to nothing, or to another address than before.

use serde_json::Value;
use skerry_client::{Client, ClientConfig};
use skerry_core::ids::NodeId;

use crate::cluster::{Cluster, eventually, free_addresses};
use crate::process::secrets;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_advertise_names_find_each_other_also_after_a_restart() {
    let mut cluster = Cluster::empty("shop");
    for address in free_addresses(3) {
        let name = format!("localhost:{}", address.port());
        let seed = cluster.nodes.first().map(|node| format!("localhost:{}", node.grpc().port()));
        let origin = seed.as_ref().map_or(vec!["--bootstrap"], |seed| vec!["--join", seed]);
        let arguments = [&origin[..], &["--advertise", &name]].concat();
        let node = cluster.add_waiting(address, &arguments);
        cluster.nodes[node].await_serving();
    }
    cluster.table("sales", 1).await;
    let names = cluster.nodes.iter().map(|node| format!("localhost:{}", node.grpc().port())).collect::<Vec<_>>();
    let map = cluster.database().status().await.map.unwrap();
    assert!(map.nodes.iter().all(|node| names.contains(&node.address)), "{map:?}");
    cluster.nodes[2].kill();
    cluster.nodes[2].start(&["--advertise", &names[2]]);
    cluster.nodes[2].await_ready();
    cluster.nodes[1].kill();
    cluster.database().put("sales", b"k", b"v").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_does_not_resolve_is_tried_again_and_logged_once() {
    let mut cluster = Cluster::start(1);
    let seed = cluster.nodes[0].grpc().to_string();
    let lost =
        cluster.add_waiting(free_addresses(1)[0], &["--join", &seed, "--advertise", "no-such-name.invalid:7400"]);
    cluster.nodes[lost].await_serving();
    let line = cluster.nodes[0].await_line("peer is not reached");
    assert_eq!(line["peer"].as_u64(), Some(cluster.nodes[lost].id()));
    let dropped = || cluster.nodes[0].metric("skerry_node_peer_dropped_messages_total").unwrap();
    let before = dropped();
    eventually("it is tried again", async || dropped() >= before + 6.0).await;
    let log = cluster.nodes[0].log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let said = lines.filter(|line| line["message"] == "peer is not reached").count();
    // One for each of its two streams at most.
    assert!(said <= 2, "{log}");
}

/// A person who had forwarded the ports of the last node that was left was told that no copy of the system shard is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_name_nobody_knows_here_tells_of_its_copy_where_it_was_named() {
    let mut cluster = Cluster::empty("shop");
    let arguments = ["--bootstrap", "--advertise", "no-such-name.invalid:7400"];
    let node = cluster.add_waiting(free_addresses(1)[0], &arguments);
    cluster.nodes[node].await_serving();
    let seed = cluster.nodes[node].grpc().to_string();
    // Named twice, it counts once.
    let again = format!("localhost:{}", cluster.nodes[node].grpc().port());
    let mut config = ClientConfig::new([seed.clone(), again]);
    config.secrets = secrets();
    let copies = Client::connect(config).await.unwrap().admin().system_copies().await;
    let told: Vec<_> = copies.iter().map(|told| (told.node, told.address.as_str())).collect();
    assert_eq!(told, [(NodeId(cluster.nodes[node].id()), seed.as_str())]);
}
