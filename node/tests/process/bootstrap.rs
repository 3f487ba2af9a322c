//! A database is made by a call on one node with an empty volume, once; no node makes one by itself, and the others join.

use std::net::SocketAddr;

use skerry_client::identity::{found, identify};
use skerry_client::{Founded, FoundingRefusal, IdentityError};
use skerry_core::ids::{ClusterId, NodeId};
use skerry_proto::v1;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::cluster::{Cluster, eventually, free_addresses};
use crate::process::{PATIENCE, secrets};

fn shop() -> ClusterId {
    ClusterId("shop".to_owned())
}

/// So many nodes with empty volumes, all with all as their seeds, as the pods of one template are.
fn blank(nodes: usize) -> Cluster {
    let mut cluster = Cluster::empty("shop");
    let addresses = free_addresses(nodes);
    let seeds = addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",");
    for address in addresses {
        cluster.add_waiting(address, &["--join", &seeds]);
    }
    cluster
}

async fn found_on(cluster: &Cluster, node: usize) -> Result<Founded, IdentityError> {
    found(&cluster.nodes[node].grpc().to_string(), &shop(), &secrets(), PATIENCE).await
}

/// Repeats the call for as long as it may be repeated: the node may be opening its volume, or be between two servers.
async fn found_at_last(address: &str) -> Founded {
    let mut last = None;
    eventually("the call is answered", async || {
        last = Some(found(address, &shop(), &secrets(), PATIENCE).await);
        !last.as_ref().is_some_and(|answer| answer.as_ref().is_err_and(IdentityError::retryable))
    })
    .await;
    last.unwrap().unwrap()
}

fn refusal(answer: Result<Founded, IdentityError>) -> FoundingRefusal {
    match answer.unwrap_err() {
        IdentityError::Refused(refusal) => refusal,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_identity_waits_says_so_and_founds_nothing_by_itself() {
    let mut cluster = Cluster::empty("shop");
    let seed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = free_addresses(1)[0];
    let seeds = format!("{},{own},no-such-name.invalid:7400,127.0.0.1:1", seed.local_addr().unwrap());
    let node = cluster.add_waiting(own, &["--join", &seeds]);
    // Not even after it was asked for many times in vain.
    for _ in 0..6 {
        drop(tokio::time::timeout(PATIENCE, seed.accept()).await.unwrap().unwrap());
    }
    let (status, text) = cluster.nodes[node].page("/readyz").unwrap();
    assert_eq!(status, 503);
    assert!(text.contains("has no identity yet: waits for the founding call or for a seed"), "{text}");
    assert_eq!(cluster.nodes[node].page("/livez").unwrap().0, 200);
    let identity = identify(&own.to_string(), PATIENCE).await.unwrap();
    assert_eq!((identity.cluster, identity.node, identity.incarnation), (shop(), None, None));
    assert_eq!((identity.zone.as_str(), identity.address), ("zone-0", own.to_string()));
    let channel = Endpoint::from_shared(format!("http://{own}")).unwrap().connect().await.unwrap();
    let health = HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(health.into_inner().status(), ServingStatus::NotServing);
    assert!(!cluster.nodes[node].data().join("store").try_exists().unwrap());
    // A seed that was asked and has not said what it did stands against it.
    let refusal = refusal(found_on(&cluster, node).await);
    assert!(matches!(refusal, FoundingRefusal::NotNow { .. }), "{refusal}");
    drop(seed);
    eventually("the seed that is gone stands against it no longer", async || found_on(&cluster, node).await.is_ok())
        .await;
    assert!(cluster.nodes[node].stop().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_call_makes_the_database_and_every_other_node_joins_it() {
    let mut cluster = blank(3);
    let other = found(&cluster.nodes[0].grpc().to_string(), &ClusterId("other".to_owned()), &secrets(), PATIENCE).await;
    let words = refusal(other).to_string();
    assert!(words.contains("is of database shop, not of other"), "{words}");

    let made = found_at_last(&cluster.nodes[0].grpc().to_string()).await;
    assert_eq!(made, Founded { node: NodeId(1), repeated: false });
    // In the middle of its joining, a second node is told the same by mistake.
    let words = refusal(found_on(&cluster, 1).await);
    assert!(!matches!(words, FoundingRefusal::OtherDatabase { .. }), "{words}");
    for node in &mut cluster.nodes {
        node.await_serving();
        node.await_ready();
    }
    assert_eq!(cluster.nodes[0].id(), 1);
    assert_eq!(found_on(&cluster, 0).await.unwrap(), Founded { node: NodeId(1), repeated: true });
    let refused = refusal(found_on(&cluster, 1).await);
    assert_eq!(refused, FoundingRefusal::HasIdentity { node: NodeId(cluster.nodes[1].id()) });
    cluster.table("sales", 2).await;
    cluster.database().put("sales", b"k", b"v").await;

    let database = cluster.database();
    eventually("every shard, the system shard too, is on all nodes", async || {
        let status = database.status().await;
        let reports: Vec<_> = status.shards.into_iter().filter_map(|shard| shard.report).collect();
        let votes = |report: &v1::ShardReport| {
            let members = report.descriptor.iter().flat_map(|descriptor| &descriptor.members);
            members.filter(|member| member.role() == v1::Role::Voter).count()
        };
        reports.len() == 3 && reports.iter().all(|report| report.in_sync.len() == 3 && votes(report) == 3)
    })
    .await;

    // A first node whose volume is lost joins as another, and founds no second database, asked or not.
    cluster.nodes[0].kill();
    std::fs::remove_dir_all(cluster.nodes[0].data()).unwrap();
    let seeds = cluster.nodes.iter().map(|node| node.grpc().to_string()).collect::<Vec<_>>().join(",");
    cluster.nodes[0].start(&["--join", &seeds]);
    let refused = refusal(found_on(&cluster, 0).await);
    assert!(!matches!(refused, FoundingRefusal::OtherDatabase { .. }), "{refused}");
    cluster.nodes[0].await_serving();
    assert_eq!(cluster.nodes[0].id(), 4);
    assert_eq!(&cluster.database().get("sales", b"k").await.unwrap().value[..], b"v");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_made_is_there_after_a_crash_and_calls_at_once_make_one() {
    let mut cluster = blank(1);
    let address = cluster.nodes[0].grpc().to_string();
    let (one, two) = tokio::join!(found_at_last(&address), found_at_last(&address));
    // A call whose answer was broken off finds its own work done when it is repeated: then both say so.
    assert!(one.repeated || two.repeated, "{one:?} {two:?}");
    cluster.nodes[0].kill();
    cluster.nodes[0].start(&["--join", &address]);
    cluster.nodes[0].await_serving();
    let identity = identify(&address, PATIENCE).await.unwrap();
    assert_eq!(identity.node, Some(NodeId(1)));
    assert!(identity.incarnation.is_some_and(|start| start.0 >= 1));
    assert!(found(&address, &shop(), &secrets(), PATIENCE).await.unwrap().repeated);
}
