//! Damage that only the store's own threads meet: they end and do not say why. The next start reads the store through, and
//! its copies are built anew. So is a store in whose node panics come back at every start.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skerry_node::panics::EXIT_PANICKED;
use skerry_node::run::EXIT_POISONED;
use skerry_proto::v1;
use tokio::time::timeout;

use crate::cluster::{Cluster, eventually};

const VALUE_BYTES: usize = 20_000;
/// So many records are more than two of the pieces that a store with this cache writes out.
const RECORDS: u32 = 300;

/// The copy of shard 1 on a node, and whether it is in sync.
fn copy_on(status: &v1::StatusResponse, node: u64) -> Option<(u64, bool)> {
    let in_sync: Vec<u64> =
        status.shards.iter().filter_map(|s| s.report.as_ref()).flat_map(|r| r.in_sync.clone()).collect();
    let shards = status.map.iter().flat_map(|map| &map.shards).filter_map(|s| s.descriptor.as_ref());
    let mut members = shards.filter(|d| d.shard_id != 0).flat_map(|d| &d.members).filter_map(|m| m.replica.as_ref());
    members.find(|replica| replica.node_id == node).map(|replica| (replica.id, in_sync.contains(&replica.id)))
}

fn largest_table(store: &Path) -> PathBuf {
    let tables = fs::read_dir(store.join("fjall/keyspaces/1/tables")).unwrap().map(|entry| entry.unwrap().path());
    tables.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

fn flip_a_bit(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

async fn write_all(cluster: &Cluster, round: u8) {
    let database = cluster.database();
    for number in 0..RECORDS {
        // From one end to the other many times, so that the pieces overlap.
        let key = (number * 7 + u32::from(round) * 13) % RECORDS;
        database.put("sales", &key.to_be_bytes(), &[round; VALUE_BYTES]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_that_only_a_merge_meets_costs_the_copies_which_are_built_anew() {
    let mut cluster = Cluster::empty("shop");
    for _ in 0..3 {
        cluster.add(&["--engine", "fjall"]);
    }
    cluster.nodes.iter().for_each(crate::process::Process::await_ready);
    cluster.table("sales", 1).await;
    write_all(&cluster, 1).await;
    let last = (cluster.leader("sales").await + 1) % 3;
    let (node, database) = (cluster.nodes[last].id(), cluster.database());
    let (before, _) = copy_on(&database.status().await, node).unwrap();
    cluster.nodes[last].kill();
    let store = cluster.nodes[last].data().join("store");
    let table = largest_table(&store);
    // Records of tables come first in it.
    flip_a_bit(&table, fs::metadata(&table).unwrap().len() / 3);
    cluster.restart(last);
    cluster.nodes[last].await_serving();
    let mut round = 2;
    while cluster.nodes[last].line("node is poisoned: it serves nothing, and its process ends").is_none() {
        assert!(round < 10, "no merge meets it");
        write_all(&cluster, round).await;
        round += 1;
    }
    assert_eq!(cluster.nodes[last].await_exit().code(), Some(EXIT_POISONED.into()));
    let said = cluster.nodes[last].line("node failed").unwrap()["error"].as_str().unwrap().to_owned();
    assert!(said.contains("the store may be damaged, and the next start reads it through"), "{said}");
    assert!(!store.with_extension("damaged").try_exists().unwrap(), "this is about damage that nobody tells");
    cluster.restart(last);
    cluster.nodes[last].await_line("store is read through: something may be damaged in it");
    assert!(!cluster.nodes[last].await_exit().success());
    cluster.restart(last);
    eventually("a copy with a new id is in sync there", async || {
        copy_on(&database.status().await, node).is_some_and(|(id, in_sync)| id != before && in_sync)
    })
    .await;
    assert!(store.with_extension("lost.1").is_dir());
    let answer = timeout(Duration::from_secs(10), database.get("sales", &7_u32.to_be_bytes())).await;
    assert_eq!(answer.unwrap().unwrap().value.len(), VALUE_BYTES);
}

/// A panic that comes back at every start may come of the store: the third one in a row has it read through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_whose_node_panics_at_every_start_is_read_through_and_stays_if_it_is_whole() {
    for engine in ["sled", "fjall"] {
        let mut cluster = Cluster::empty("shop");
        cluster.add(&["--engine", engine]);
        cluster.table("sales", 1).await;
        let database = cluster.database();
        database.put("sales", b"kept", b"1").await;
        let read = "store is read through: something may be damaged in it";
        for _ in 0..3 {
            cluster.nodes[0].fail("worker-panics");
            assert_eq!(cluster.nodes[0].await_exit().code(), Some(EXIT_PANICKED));
            assert!(cluster.nodes[0].line(read).is_none());
            cluster.nodes[0].mend("worker-panics");
            cluster.restart(0);
            cluster.nodes[0].await_serving();
        }
        assert!(cluster.nodes[0].line(read).unwrap()["reason"].as_str().unwrap().contains("worker panicked"));
        assert!(cluster.nodes[0].line("store can be read from end to end").is_some());
        let names = fs::read_dir(cluster.nodes[0].data()).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with("store.")).collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(database.get("sales", b"kept").await.unwrap().value, &b"1"[..]);
    }
}
