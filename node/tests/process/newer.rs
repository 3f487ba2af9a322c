//! An image that is put back meets a volume that a newer one has written: it says so, changes nothing, and the newer image
//! goes on where it was.

use std::fs;
use std::path::Path;

use skerry_core::engine::{EngineWrite, own, own_key, shard_key, state};
use skerry_core::ids::ShardId;
use skerry_node::engine::{self, EngineKind, SharedEngine};

use crate::cluster::Cluster;

/// Changes a value of the store, and gives back what it was.
fn change_store(volume: &Path, key: &[u8], change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let engine: SharedEngine = engine::open(EngineKind::Sled, &volume.join("store"), 16 << 20).unwrap();
    let before = engine.get(key).unwrap().unwrap().to_vec();
    let after = change(before.clone());
    engine.write(vec![EngineWrite::Put(key.to_vec().into(), after.into())]).unwrap();
    engine.sync().unwrap();
    before
}

/// A file with other bytes, as a newer release would have written it, and how to put it back.
fn change_file(path: &Path, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Box<dyn FnOnce()> {
    let before = fs::read(path).unwrap();
    fs::write(path, change(before.clone())).unwrap();
    let path = path.to_owned();
    Box::new(move || fs::write(path, before).unwrap())
}

/// Ends with a checksum, as every mark does from the second on.
fn later_mark(said: &str) -> Vec<u8> {
    format!("{said} {:08x}\n", crc32c::crc32c(said.as_bytes())).into_bytes()
}

fn names(volume: &Path) -> Vec<String> {
    let entries = fs::read_dir(volume).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn is_refused_as_newer(cluster: &mut Cluster, what: &str) {
    let volume = cluster.nodes[0].data();
    let before = names(&volume);
    let identity = fs::read(volume.join("identity.json")).unwrap();
    for _ in 0..2 {
        cluster.nodes[0].spawn(&[]);
        assert!(!cluster.nodes[0].await_exit().success());
        let log = cluster.nodes[0].log();
        assert!(log.contains("newer version of this program"), "{what}: {log}");
        assert_eq!(names(&volume), before, "{what}: nothing is put aside, and no damage is noted");
        assert_eq!(fs::read(volume.join("identity.json")).unwrap(), identity, "{what}: no start is counted");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_a_newer_release_has_written_is_refused_and_nothing_of_it_is_lost() {
    let mut cluster = Cluster::start(1);
    cluster.table("sales", 1).await;
    cluster.database().put("sales", b"kept", b"1").await;
    assert!(cluster.nodes[0].stop().success());
    let volume = cluster.nodes[0].data();
    let text = |from: &'static str, to: &'static str| {
        move |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replacen(from, to, 1).into_bytes()
    };

    let put_back = change_file(&volume.join("identity.json"), text("\"format\": 2", "\"format\": 3, \"more\": 0"));
    is_refused_as_newer(&mut cluster, "the identity");
    put_back();

    let put_back = change_file(&volume.join("store/skerry-store"), |_| later_mark("skerry store 2 sled"));
    is_refused_as_newer(&mut cluster, "the store's folder");
    put_back();

    let put_back = change_file(&volume.join("store/skerry-store"), |_| later_mark("skerry store 1 another"));
    is_refused_as_newer(&mut cluster, "the kind of store");
    put_back();

    let mut segments: Vec<_> = fs::read_dir(volume.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    segments.sort();
    let put_back = change_file(segments.last().unwrap(), |mut bytes| {
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..36]);
        bytes[36..40].copy_from_slice(&crc.to_le_bytes());
        bytes
    });
    is_refused_as_newer(&mut cluster, "the log");
    put_back();

    for (what, key, change) in [
        ("the store", own_key(own::STORE), text("\"format\":1", "\"format\":2")),
        (
            "the store, with a mark of another shape",
            own_key(own::STORE),
            text("\"format\":1", "\"format\":2,\"id\":[]"),
        ),
    ] {
        let before = change_store(&volume, &key, change);
        is_refused_as_newer(&mut cluster, what);
        change_store(&volume, &key, |_| before);
    }
    let replica = shard_key(ShardId::SYSTEM, state::REPLICA, &[]);
    let before = change_store(&volume, &replica, |mut bytes| {
        bytes[0] = 9;
        bytes
    });
    is_refused_as_newer(&mut cluster, "a copy's state");
    change_store(&volume, &replica, |_| before);

    cluster.restart(0);
    cluster.nodes[0].await_ready();
    assert_eq!(cluster.database().get("sales", b"kept").await.unwrap().value, &b"1"[..]);
}
