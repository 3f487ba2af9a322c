//! A nearly full volume: puts are refused in clear words, reads and deletes go on, and nothing is corrupt afterwards.

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
    let leader = cluster.leader("sales").await;
    eventually("the metric says so", async || cluster.nodes[leader].metric("skerry_node_disk_full") == Some(1.0)).await;
}
