//! A node whose log or store is missing, emptied, of an earlier time or of another node, never speaks under its old
//! replica ids: it gets new ones. What was there is put aside and stays.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use skerry_proto::v1;

use crate::cluster::{Cluster, eventually};
use crate::load::Load;

/// Of each shard, the copy on a node, and whether it is in sync.
fn copies_on(status: &v1::StatusResponse, node: u64) -> BTreeMap<u64, (u64, bool)> {
    let in_sync: Vec<u64> =
        status.shards.iter().filter_map(|s| s.report.as_ref()).flat_map(|r| r.in_sync.clone()).collect();
    let shards = status.map.iter().flat_map(|map| &map.shards).filter_map(|s| s.descriptor.as_ref());
    let copy = |d: &v1::Descriptor| {
        let replica = d.members.iter().filter_map(|m| m.replica.as_ref()).find(|replica| replica.node_id == node)?;
        Some((d.shard_id, (replica.id, in_sync.contains(&replica.id))))
    };
    shards.filter_map(copy).collect()
}

fn empty(folder: &Path) {
    fs::remove_dir_all(folder).unwrap();
    fs::create_dir(folder).unwrap();
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap().success());
}

fn last_segment(volume: &Path) -> PathBuf {
    let mut segments: Vec<_> = fs::read_dir(volume.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    segments.sort();
    segments.pop().unwrap()
}

/// Takes something from the last node's volume, and waits until it has new copies of all shards, in sync.
async fn comes_back_with_new_copies(cluster: &mut Cluster, what: &str, take: impl FnOnce(&Path)) {
    let database = cluster.database();
    let last = cluster.nodes.len() - 1;
    let node = cluster.nodes[last].id();
    let before = copies_on(&database.status().await, node);
    assert!(!before.is_empty());
    cluster.nodes[last].kill();
    take(&cluster.nodes[last].data());
    cluster.restart(last);
    cluster.nodes[last].await_serving();
    eventually(&format!("new copies in sync after: {what}"), async || {
        let after = copies_on(&database.status().await, node);
        before.iter().all(|(shard, (id, _))| after.get(shard).is_some_and(|(new, in_sync)| new > id && *in_sync))
    })
    .await;
    cluster.nodes[last].await_ready();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_its_log_its_store_or_both_gets_new_copies_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::start(3);
    cluster.table("sales", 1).await;
    let load = Load::start(cluster.database(), "sales", 4, 20);
    load.run_for(50).await;
    comes_back_with_new_copies(&mut cluster, "the log was emptied", |volume| empty(&volume.join("log"))).await;
    load.run_for(50).await;
    comes_back_with_new_copies(&mut cluster, "the newest segment is gone", |volume| {
        fs::remove_file(last_segment(volume)).unwrap();
    })
    .await;
    load.run_for(50).await;
    comes_back_with_new_copies(&mut cluster, "the store was emptied", |volume| empty(&volume.join("store"))).await;
    load.run_for(50).await;
    comes_back_with_new_copies(&mut cluster, "both were emptied", |volume| {
        empty(&volume.join("log"));
        empty(&volume.join("store"));
    })
    .await;
    load.run_for(50).await;
    comes_back_with_new_copies(&mut cluster, "both are gone", |volume| {
        fs::remove_dir_all(volume.join("log")).unwrap();
        fs::remove_dir_all(volume.join("store")).unwrap();
    })
    .await;
    load.run_for(50).await;
    println!("{:?}", load.finish().await.counts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_or_log_of_an_earlier_time_or_of_another_node_is_put_aside_and_stays() {
    let mut cluster = Cluster::start(3);
    cluster.table("sales", 1).await;
    let kept = tempfile::tempdir().unwrap();
    assert!(cluster.nodes[2].stop().success());
    copy(&cluster.nodes[2].data().join("store"), kept.path());
    cluster.restart(2);
    cluster.nodes[2].await_ready();
    cluster.database().put("sales", b"k", b"v").await;
    comes_back_with_new_copies(&mut cluster, "the store is of an earlier start", |volume| {
        fs::remove_dir_all(volume.join("store")).unwrap();
        copy(&kept.path().join("store"), volume);
    })
    .await;
    let volume = cluster.nodes[2].data();
    assert!(volume.join("store.lost.1").is_dir());
    cluster.nodes[1].stop();
    let other = cluster.nodes[1].data();
    copy(&other.join("log"), kept.path());
    cluster.restart(1);
    cluster.nodes[1].await_ready();
    comes_back_with_new_copies(&mut cluster, "the log is of another node", |volume| {
        fs::remove_dir_all(volume.join("log")).unwrap();
        copy(&kept.path().join("log"), volume);
    })
    .await;
    assert!(volume.join("log.lost.1").is_dir());
    // What a node leaves that finds damage while it runs.
    comes_back_with_new_copies(&mut cluster, "the store was found damaged", |volume| {
        fs::write(volume.join("store.damaged"), "a page has another checksum").unwrap();
    })
    .await;
    assert!(volume.join("store.lost.1").is_dir() && volume.join("store.lost.2").is_dir(), "none is written over");
    assert!(!volume.join("store.damaged").try_exists().unwrap());
    let (_, ready) = cluster.nodes[2].page("/readyz?verbose").unwrap();
    assert!(ready.contains("put aside as damaged"), "{ready}");
    assert_eq!(cluster.database().get("sales", b"k").await.unwrap().value, &b"v"[..]);
}

/// All files of a folder, by their paths.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            files.extend(self::files(&path));
        } else {
            files.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    files
}

/// A store that does not open with a cache so small counted as lost once, and the second start put an empty one over it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_no_node_starts_with_are_refused_before_the_volume_is_touched() {
    let mut cluster = Cluster::start(1);
    cluster.table("sales", 1).await;
    let database = cluster.database();
    database.put("sales", b"kept", b"1").await;
    assert!(cluster.nodes[0].stop().success());
    let volume = cluster.nodes[0].data();
    let before = files(&volume);
    let refused: [(&[&str], &str); 10] = [
        (&["--cache-bytes", "0"], "--cache-bytes 0 must be between"),
        (&["--cache-bytes", "1"], "--cache-bytes 1 must be between"),
        (&["--cache-bytes", "1048575"], "--cache-bytes 1048575 must be between"),
        (&["--cache-bytes", "1.5Gi"], "invalid value '1.5Gi' for '--cache-bytes"),
        (&["--segment-bytes", "1"], "--segment-bytes 1 must be between"),
        (&["--memory-budget-bytes", "1"], "--memory-budget-bytes 1 must be between"),
        (&["--capacity-bytes", "9", "--reserve-bytes", "9"], "--reserve-bytes 9 must be less than"),
        (&["--disk-stall-ms", "0"], "--disk-stall-ms 0 must be between"),
        (&["--connections-max", "0"], "--connections-max 0 must be between"),
        (&["--sessions-max", "0"], "--sessions-max 0 must be between"),
    ];
    for (settings, why) in refused {
        cluster.nodes[0].spawn(settings);
        assert!(!cluster.nodes[0].await_exit().success(), "{settings:?}");
        let log = cluster.nodes[0].log();
        assert!(log.contains(why), "{settings:?}: {log}");
        assert!(files(&volume) == before, "{settings:?}: the volume was touched");
    }
    cluster.nodes[0].start(&["--cache-bytes", "1048576"]);
    cluster.nodes[0].await_ready();
    assert_eq!(database.get("sales", b"kept").await.unwrap().value, &b"1"[..]);
    let names: Vec<_> = files(&volume).into_keys().filter(|path| path.to_string_lossy().contains("lost")).collect();
    assert!(names.is_empty(), "{names:?}");
}

#[test]
fn stores_that_may_be_whole_are_refused_and_nothing_is_put_aside() {
    let mut cluster = Cluster::start(1);
    cluster.nodes[0].stop();
    let volume = cluster.nodes[0].data();
    let refuse = |cluster: &mut Cluster, more: &[&str]| {
        cluster.nodes[0].spawn(more);
        assert!(!cluster.nodes[0].await_exit().success());
        let names: Vec<_> = fs::read_dir(&volume).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!names.iter().any(|name| name.to_string_lossy().contains("lost")), "{names:?}");
        cluster.nodes[0].log()
    };
    let version = volume.join("store/skerry-store");
    let mark = fs::read(&version).unwrap();
    let later = "skerry store 2 sled";
    fs::write(&version, format!("{later} {:08x}\n", crc32c::crc32c(later.as_bytes()))).unwrap();
    assert!(refuse(&mut cluster, &[]).contains("newer version"));
    fs::write(&version, mark).unwrap();
    let conf = volume.join("store/sled/conf");
    let content = fs::read(&conf).unwrap();
    let version = content.windows(4).position(|bytes| bytes == b"0.34").unwrap();
    let mut later = content.clone();
    later[version + 2..version + 4].copy_from_slice(b"99");
    fs::write(&conf, &later).unwrap();
    assert!(refuse(&mut cluster, &[]).contains("cannot be opened"), "a later version of the engine");
    fs::write(&conf, content).unwrap();
    let held = fs::File::open(volume.join("store/sled/db")).unwrap();
    held.lock().unwrap();
    assert!(refuse(&mut cluster, &[]).contains("could not acquire lock"), "another process has it");
    drop(held);
    cluster.nodes[0].start(&[]);
    cluster.nodes[0].await_ready();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_note_of_damage_from_before_the_volume_had_an_owner_costs_no_later_store() {
    let mut cluster = Cluster::empty("shop");
    let volume = cluster.folder().path().join("node-0/volume");
    fs::create_dir_all(&volume).unwrap();
    drop(skerry_node::identity::Volume::open(&volume).unwrap());
    fs::write(volume.join("store.damaged"), "a page has another checksum").unwrap();
    cluster.add(&[]);
    cluster.table("sales", 1).await;
    let database = cluster.database();
    database.put("sales", b"kept", b"1").await;
    assert!(cluster.nodes[0].stop().success());
    cluster.restart(0);
    cluster.nodes[0].await_ready();
    assert!(database.get("sales", b"kept").await.is_some());
}

/// It went on without its first copy of the system shard, and nobody could ever join.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_founder_whose_store_was_lost_before_its_first_start_was_counted_makes_the_database_again() {
    for is_noted in [true, false] {
        let mut cluster = Cluster::empty("shop");
        let volume = cluster.folder().path().join("node-0/volume");
        fs::create_dir_all(&volume).unwrap();
        let identity = skerry_node::identity::Volume::open(&volume).unwrap();
        let (shop, node) = (skerry_core::ids::ClusterId("shop".into()), skerry_node::bootstrap::FOUNDER);
        identity.own(skerry_node::identity::Owner { cluster: shop, node }).unwrap();
        drop(identity);
        if is_noted {
            let store = skerry_node::engine::EngineKind::Sled;
            drop(skerry_node::engine::open(store, &volume.join("store"), 16 << 20).unwrap());
            fs::write(volume.join("store.damaged"), "a page has another checksum").unwrap();
        }
        cluster.add(&[]);
        cluster.add(&[]);
        cluster.table("sales", 1).await;
        let database = cluster.database();
        database.put("sales", b"kept", b"1").await;
        cluster.nodes[0].kill();
        cluster.restart(0);
        cluster.nodes[0].await_ready();
        assert_eq!(database.get("sales", b"kept").await.unwrap().value, &b"1"[..]);
    }
}

#[test]
fn a_node_that_has_put_aside_all_it_may_says_what_they_are_and_when_they_may_go() {
    let mut cluster = Cluster::start(1);
    cluster.nodes[0].stop();
    let volume = cluster.nodes[0].data();
    for number in 1..=4 {
        fs::create_dir(volume.join(format!("store.lost.{number}"))).unwrap();
    }
    fs::write(volume.join("store.damaged"), "a page has another checksum").unwrap();
    cluster.nodes[0].spawn(&[]);
    assert!(!cluster.nodes[0].await_exit().success());
    let said = cluster.nodes[0].line("node failed").unwrap()["error"].as_str().unwrap().to_owned();
    let all = "store.lost.1, store.lost.2, store.lost.3, store.lost.4";
    assert!(said.contains(all) && said.contains("skerry shards") && said.contains("remove them"), "{said}");
    assert!(volume.join("store/sled").is_dir(), "the damaged store stays where it is");
}
