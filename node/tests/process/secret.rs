//! The secret is replaced while all goes on, and a node with another one stays out.

use std::fs;

use skerry_proto::v1;
use skerry_proto::v1::admin_command::Change;

use crate::cluster::{Cluster, eventually, free_addresses};
use crate::load::Load;
use crate::process::{Process, SECRET};

const NEW: &str = "the-next-secret-of-tests-987654321";

/// As Kubernetes puts a file in the place of another.
fn put(node: &Process, text: &str) {
    let (file, new) = (node.secret_file(), node.secret_file().with_extension("new"));
    fs::write(&new, text).unwrap();
    fs::rename(new, file).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_replaced_on_one_node_after_the_other_under_load() {
    let mut cluster = Cluster::start(3);
    cluster.table("sales", 1).await;
    let load = Load::start(cluster.database(), "sales", 4, 16);
    load.run_for(50).await;
    for node in [0, 1] {
        put(&cluster.nodes[node], &format!("{NEW}\n"));
        cluster.nodes[node].await_line("secrets have changed");
    }
    // It knows the old one alone, and all its streams begin anew.
    cluster.nodes[2].kill();
    cluster.restart(2);
    cluster.nodes[2].await_ready();
    load.run_for(50).await;
    // A file that says nothing changes nothing.
    put(&cluster.nodes[2], "short");
    cluster.nodes[2].await_line("secrets cannot be read again: those from before hold");
    put(&cluster.nodes[2], &format!("{NEW}\n"));
    cluster.nodes[2].await_line("secrets have changed");
    load.run_for(50).await;
    // Whoever starts from here on knows the new one alone.
    for node in 0..3 {
        cluster.nodes[node].kill();
        cluster.restart(node);
        cluster.nodes[node].await_ready();
    }
    load.run_for(50).await;
    let database = cluster.database();
    let limits = Change::SetLimits(v1::MoveLimits { moves_per_node: 3, bytes_per_second: 1 << 20 });
    let refused = database.admin(limits).await.unwrap_err();
    assert!(refused.contains("Unauthenticated"), "{refused}");
    let seen = load.finish().await;
    assert!(seen.counts.acknowledged > 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_secret_is_not_let_in_until_it_has_the_right_one() {
    let mut cluster = Cluster::start(1);
    let seed = cluster.nodes[0].grpc().to_string();
    let folder = cluster.folder().path().join("node-1");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("secret"), NEW).unwrap();
    let stranger = cluster.add_waiting(free_addresses(1)[0], &["--join", &seed]);
    let line = cluster.nodes[stranger].await_line("no seed takes this node in yet");
    assert!(line["whys"].as_str().unwrap().contains("demands the database's secret"), "{line}");
    assert_eq!(cluster.database().status().await.map.unwrap().nodes.len(), 1);
    put(&cluster.nodes[stranger], &format!("{SECRET}\n{NEW}"));
    cluster.nodes[stranger].await_serving();
    let database = cluster.database();
    eventually("the node has joined", async || database.status().await.map.unwrap().nodes.len() == 2).await;
}
