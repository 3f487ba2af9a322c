//! A nearly full volume: puts are refused in clear words, reads and deletes go on, and nothing is corrupt afterwards.

use tonic::Status;
use tonic_types::StatusExt;

use crate::cluster::{Cluster, eventually};
use crate::database::reason;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_takes_deletes_and_refuses_puts_with_disk_full() {
    let small = ["--capacity-bytes", "50331648", "--reserve-bytes", "16777216"];
    let mut cluster = Cluster::start_small(3, &small);
    cluster.table("sales", 1).await;
    let database = cluster.database();
    let value = |number: u32| vec![u8::try_from(number % 251).unwrap(); 200_000];
    let mut written = Vec::new();
    let refused = loop {
        let number = u32::try_from(written.len()).unwrap();
        assert!(number < 2_000, "the disk never fills");
        match database.try_put("sales", &number.to_be_bytes(), &value(number)).await {
            Ok(_) => written.push(number),
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&refused), "DISK_FULL");
    println!("{} records of 200 kB were taken", written.len());
    assert!(written.len() > 20);
    // Any voter's disk may be the one.
    let full = cluster.nodes.iter().find(|node| full_node(&refused) == Some(node.id().to_string())).unwrap();
    eventually("the metric says so", async || full.metric("skerry_node_disk_full") == Some(1.0)).await;

    database.delete("sales", &0_u32.to_be_bytes()).await.unwrap();
    assert_eq!(database.get("sales", &0_u32.to_be_bytes()).await, None);
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in 0..3 {
        cluster.restart(node);
    }
    for &number in &written[1..] {
        let record = database.get("sales", &number.to_be_bytes()).await.unwrap();
        assert!(record.value == value(number), "record {number} is corrupt");
    }
}

/// The node whose disk is full, as a refusal names it.
fn full_node(status: &Status) -> Option<String> {
    status.get_details_error_info()?.metadata.get("node_id").cloned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_follower_has_puts_refused_in_its_name_until_it_has_room() {
    let small = ["--capacity-bytes", "134217728", "--reserve-bytes", "16777216"];
    let cluster = Cluster::start_small(3, &small);
    cluster.table("sales", 1).await;
    let database = cluster.database();
    database.put("sales", b"before", b"1").await;
    let leader = cluster.leader("sales").await;
    let follower = (leader + 1) % 3;
    let ballast = cluster.nodes[follower].data().join("ballast");
    std::fs::write(&ballast, vec![7; 120 << 20]).unwrap();
    let id = cluster.nodes[follower].id().to_string();
    eventually("a put is refused for the follower's disk", async || {
        match database.try_put("sales", b"more", b"1").await {
            Ok(_) => false,
            Err(status) => {
                assert_eq!((reason(&status).as_str(), full_node(&status)), ("DISK_FULL", Some(id.clone())));
                true
            }
        }
    })
    .await;
    database.delete("sales", b"before").await.unwrap();
    assert_eq!(database.get("sales", b"before").await, None);
    std::fs::remove_file(&ballast).unwrap();
    eventually("puts are taken again", async || database.try_put("sales", b"after", b"1").await.is_ok()).await;
}
