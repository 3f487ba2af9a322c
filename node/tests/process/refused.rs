//! What a node refuses to start with, and in what words.

use std::net::TcpListener;

use crate::cluster::Cluster;
use crate::process::{Process, Settings};

fn settings(cluster: &Cluster, id: &str, name: &str) -> Settings {
    let folder = cluster.folder().path().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    Settings {
        cluster: id.to_owned(),
        folder,
        zone: String::new(),
        listen: None,
        segment_bytes: 16 << 20,
        more: Vec::new(),
        older: None,
    }
}

fn failure(node: &mut Process) -> String {
    assert!(!node.await_exit().success());
    node.line("node failed").unwrap()["error"].as_str().unwrap().to_owned()
}

#[test]
fn a_volume_of_another_database_is_refused_with_both_ids() {
    let mut cluster = Cluster::start(1);
    cluster.nodes[0].stop();
    cluster.nodes[0].settings().cluster = "other".to_owned();
    cluster.nodes[0].spawn(&["--bootstrap"]);
    let error = failure(&mut cluster.nodes[0]);
    assert!(error.contains("belongs to database shop, not to other"), "{error}");
}

#[test]
fn a_node_that_joins_the_wrong_database_is_refused_with_both_ids() {
    let cluster = Cluster::start(1);
    let mut node = Process::new(settings(&cluster, "other", "stranger"));
    node.spawn(&["--join", &cluster.nodes[0].grpc().to_string()]);
    let error = failure(&mut node);
    assert!(error.contains("is of database shop, not of other"), "{error}");
}

#[test]
fn a_port_in_use_is_named() {
    let cluster = Cluster::empty("shop");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut node = Process::new(Settings { listen: Some(address), ..settings(&cluster, "shop", "late") });
    node.spawn(&["--bootstrap"]);
    let error = failure(&mut node);
    assert!(error.contains(&format!("failed to listen on {address}")) && error.contains("in use"), "{error}");
    assert!(!node.data().try_exists().unwrap(), "the volume was not touched");
}

#[test]
fn a_volume_in_use_and_an_empty_one_without_origin_are_refused() {
    let cluster = Cluster::start(1);
    let mut second = Process::new(settings(&cluster, "shop", "node-0"));
    second.spawn(&[]);
    let error = failure(&mut second);
    assert!(error.contains("in use by another process"), "{error}");
    let mut empty = Process::new(settings(&cluster, "shop", "empty"));
    empty.spawn(&[]);
    let error = failure(&mut empty);
    assert!(error.contains("--join") && error.contains("--bootstrap"), "{error}");
}

#[test]
fn a_volume_that_lost_its_log_and_store_is_refused() {
    let mut cluster = Cluster::start(1);
    cluster.nodes[0].stop();
    for part in ["log", "store"] {
        std::fs::remove_dir_all(cluster.nodes[0].data().join(part)).unwrap();
    }
    cluster.nodes[0].spawn(&[]);
    let error = failure(&mut cluster.nodes[0]);
    assert!(error.contains("lost its log and its store"), "{error}");
}
