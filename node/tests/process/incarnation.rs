//! A volume that was put back to an earlier state starts as an incarnation that is over: it notices itself, or nobody
//! listens to it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cluster::Cluster;

/// Three nodes of which the last has started three times; at its first stop `keep` was called with its volume.
fn cluster_with_a_thrice_started_node(keep: impl Fn(&Path)) -> Cluster {
    let mut cluster = Cluster::start(3);
    for start in 0..2 {
        assert!(cluster.nodes[2].stop().success());
        if start == 0 {
            keep(&cluster.nodes[2].data());
        }
        cluster.restart(2);
        cluster.nodes[2].await_ready();
    }
    assert!(cluster.nodes[2].stop().success());
    cluster
}

#[test]
fn an_identity_that_was_put_back_is_refused_by_the_node_itself_however_often_it_tries() {
    let old = tempfile::tempdir().unwrap();
    let kept = old.path().join("identity.json");
    let mut cluster = cluster_with_a_thrice_started_node(|volume| {
        fs::copy(volume.join("identity.json"), &kept).unwrap();
    });
    fs::copy(&kept, cluster.nodes[2].data().join("identity.json")).unwrap();
    let seed = cluster.nodes[0].grpc().to_string();
    for _ in 0..3 {
        cluster.nodes[2].spawn(&["--join", &seed]);
        assert!(!cluster.nodes[2].await_exit().success());
        let error = cluster.nodes[2].line("node failed").unwrap()["error"].as_str().unwrap().to_owned();
        assert!(error.contains("would start as i2, but"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_was_put_back_is_refused_by_the_other_nodes() {
    let old = tempfile::tempdir().unwrap();
    let copy = |from: &Path, to: &Path| {
        assert!(Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap().success());
    };
    let kept = old.path().join("volume");
    let mut cluster = cluster_with_a_thrice_started_node(|volume| copy(volume, &kept));
    fs::remove_dir_all(cluster.nodes[2].data()).unwrap();
    copy(&kept, &cluster.nodes[2].data());
    cluster.restart(2);
    let line = cluster.nodes[2].await_line("peer refuses this node");
    assert!(line["why"].as_str().unwrap().contains("has started as i3; i2 is over"), "{line}");
    let (status, text) = cluster.nodes[2].page("/readyz").unwrap();
    assert!(status == 503 && text.contains("database"), "{text}");
    // The others go on without it.
    cluster.table("sales", 1).await;
    cluster.database().put("sales", b"k", b"v").await;
}
