//! Broken logs: a torn tail is cut, a flipped bit in the middle costs the replica, which is built anew from the others.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use skerry_proto::v1;

use crate::cluster::{Cluster, eventually};
use crate::load::Load;

/// What the record that is damaged is made of.
const MARK: u8 = 0x77;

/// The log's segments, oldest first, and where their last byte that is not zero lies.
fn segments(volume: &Path) -> Vec<(PathBuf, usize)> {
    let folder = fs::read_dir(volume.join("log")).unwrap();
    let mut paths: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let used = |path: &PathBuf| fs::read(path).unwrap().iter().rposition(|&byte| byte != 0).unwrap_or(0);
    paths.into_iter().map(|path| (path.clone(), used(&path))).collect()
}

fn replica_on(status: &v1::StatusResponse, shard: u64, node: u64) -> Option<u64> {
    let shards = &status.map.as_ref()?.shards;
    let record = shards.iter().filter_map(|s| s.descriptor.as_ref()).find(|d| d.shard_id == shard)?;
    let mut replicas = record.members.iter().filter_map(|m| m.replica.as_ref());
    replicas.find(|replica| replica.node_id == node).map(|replica| replica.id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_tail_is_cut_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::start(3);
    cluster.table("sales", 1).await;
    let load = Load::start(cluster.database(), "sales", 4, 20);
    load.run_for(100).await;
    let before = cluster.database().status().await;
    cluster.nodes[1].kill();
    let segments = segments(&cluster.nodes[1].data());
    let (path, used) = segments.iter().rev().find(|(_, used)| *used > 4_096).unwrap();
    // The beginning of a group that the crash cut short: no byte of it is the mark that ends a record.
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[0x11; 300], *used as u64 + 1).unwrap();
    cluster.restart(1);
    cluster.nodes[1].await_ready();
    load.run_for(100).await;
    let seen = load.finish().await;
    println!("{:?}", seen.counts);
    let after = cluster.database().status().await;
    let node = cluster.nodes[1].id();
    assert_eq!(replica_on(&before, 0, node), replica_on(&after, 0, node), "a torn tail costs no replica");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_in_the_middle_of_the_log_costs_the_replica_which_is_built_anew() {
    let mut cluster = Cluster::start(3);
    cluster.table("sales", 1).await;
    let database = cluster.database();
    database.put("sales", b"marked", &[MARK; 2_000]).await;
    let load = Load::start(cluster.database(), "sales", 4, 20);
    load.run_for(150).await;
    let status = database.status().await;
    let shard = status.map.as_ref().unwrap().shards.iter().map(|s| s.descriptor.as_ref().unwrap());
    let shard = shard.map(|d| d.shard_id).find(|id| *id != 0).unwrap();
    let node = cluster.nodes[2].id();
    let before = replica_on(&status, shard, node).unwrap();
    cluster.nodes[2].kill();
    // In what a client wrote: a bit of a record's frame would be mended.
    let segments = segments(&cluster.nodes[2].data());
    let content: Vec<_> = segments.iter().map(|(path, _)| (path, fs::read(path).unwrap())).collect();
    let marked = |content: &Vec<u8>| content.windows(1_000).position(|bytes| bytes.iter().all(|&byte| byte == MARK));
    let (path, at) = content.iter().find_map(|(path, content)| Some((path, marked(content)?))).unwrap();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[MARK ^ 4], at as u64 + 500).unwrap();
    cluster.restart(2);
    cluster.nodes[2].await_line("log is damaged");
    eventually("a copy with a new id is in sync there", async || {
        let status = database.status().await;
        let replica = replica_on(&status, shard, node);
        let reports = status.shards.iter().filter_map(|s| s.report.as_ref());
        let of_shard = reports.filter(|r| r.descriptor.as_ref().is_some_and(|d| d.shard_id == shard));
        let in_sync = of_shard.flat_map(|r| &r.in_sync).any(|id| Some(*id) == replica);
        replica.is_some_and(|id| id != before) && in_sync
    })
    .await;
    load.run_for(100).await;
    let seen = load.finish().await;
    println!("replica {before} was built anew; {:?}", seen.counts);
}
