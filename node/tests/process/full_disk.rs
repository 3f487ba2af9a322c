//! A nearly full volume: puts are refused in clear words, reads and deletes go on, and nothing is corrupt afterwards.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use skerry_proto::v1;
use skerry_proto::v1::kv_service_client::KvServiceClient;
use tonic::Status;
use tonic_types::StatusExt;

use crate::cluster::{Cluster, eventually};
use crate::database::{Database, put, reason};

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

/// A volume for fjall, which merges in the background.
const FJALL: [&str; 4] = ["--engine", "fjall", "--capacity-bytes", "402653184"];
const RECORD_BYTES: usize = 200_000;

/// Puts records that do not compress, which end at this time, until a put is refused for want of space. Returns how many.
async fn fill(database: &Database, expires_ms: Option<u64>) -> u32 {
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for number in 0..4_000_u32 {
        let value: Vec<u8> = (0..RECORD_BYTES / 8).flat_map(|_| next().to_le_bytes()).collect();
        let request = v1::PutRequest { expires_ms, ..put("sales", &number.to_be_bytes(), &value) };
        let asked = database.call("sales", async |channel| KvServiceClient::new(channel).put(request.clone()).await);
        if let Err(status) = asked.await {
            assert_eq!(reason(&status), "DISK_FULL");
            return number;
        }
    }
    panic!("the disk never fills");
}

async fn has_room(database: &Database) -> bool {
    database.try_put("sales", b"more", &[7; RECORD_BYTES]).await.is_ok()
}

/// A delete takes few bytes, and what it has made free would otherwise wait for many more writes, which are refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_has_room_again_after_deletes_alone() {
    let cluster = Cluster::start_small(1, &FJALL);
    cluster.table("sales", 1).await;
    let database = cluster.database();
    let written = fill(&database, None).await;
    for number in 0..written / 2 {
        database.delete("sales", &number.to_be_bytes()).await.unwrap();
    }
    eventually("half of the records are gone, and puts are taken again", async || has_room(&database).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_has_room_again_once_its_records_have_ended() {
    let cluster = Cluster::start_small(1, &FJALL);
    cluster.table("sales", 1).await;
    let database = cluster.database();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let end = u64::try_from((now + Duration::from_secs(30)).as_millis()).unwrap();
    let written = fill(&database, Some(end)).await;
    println!("{written} records");
    eventually("all records have ended, and puts are taken again", async || has_room(&database).await).await;
}
