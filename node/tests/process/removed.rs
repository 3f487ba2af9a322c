//! A node that was removed from its database stays up, serves nothing, and never comes back under another id.

use skerry_client::identity::{found, identify};
use skerry_client::{FoundingRefusal, IdentityError};
use skerry_core::ids::ClusterId;
use skerry_proto::v1::admin_command::Change;
use skerry_proto::v1::{DrainNode, RemoveNode};

use crate::cluster::{Cluster, eventually};
use crate::database::{get, reason};
use crate::process::{PATIENCE, Process, secrets};

async fn assert_out(node: &Process, nodes: usize, cluster: &Cluster) {
    eventually("the node says that it was removed", async || {
        node.page("/readyz").is_some_and(|(status, text)| status == 503 && text.contains("was removed"))
    })
    .await;
    assert_eq!(node.page("/livez").unwrap().0, 200);
    let address = node.grpc().to_string();
    let database = cluster.database();
    let refused = database.kv(&address).get(get("sales", b"k")).await.unwrap_err();
    assert_eq!(reason(&refused), "REMOVED");
    assert_eq!(identify(&address, PATIENCE).await.unwrap().node.map(|node| node.0), Some(4));
    let refused = found(&address, &ClusterId("shop".to_owned()), &secrets(), PATIENCE).await.unwrap_err();
    assert!(matches!(refused, IdentityError::Refused(FoundingRefusal::HasIdentity { .. })), "{refused}");
    assert_eq!(database.status().await.map.unwrap().nodes.len(), nodes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_node_stays_up_and_out_running_and_restarted_and_with_its_store_lost() {
    let mut cluster = Cluster::start(3);
    cluster.table("sales", 1).await;
    let last = cluster.add(&[]);
    cluster.nodes[last].await_ready();
    let id = cluster.nodes[last].id();
    let database = cluster.database();
    database.admin(Change::Drain(DrainNode { node_id: id })).await.unwrap();
    let refused = database.admin(Change::Remove(RemoveNode { node_id: id })).await.unwrap_err();
    assert!(refused.contains("Uncertified"), "{refused}");
    eventually("the node is removed", async || database.remove(id, 1).await).await;
    database.forget_connections();
    assert_out(&cluster.nodes[last], 4, &cluster).await;
    for lost in [None, None, Some("store")] {
        assert!(cluster.nodes[last].stop().success());
        if let Some(part) = lost {
            std::fs::remove_dir_all(cluster.nodes[last].data().join(part)).unwrap();
        }
        cluster.restart(last);
        assert_out(&cluster.nodes[last], 4, &cluster).await;
    }
    cluster.database().put("sales", b"k", b"v").await;
}
