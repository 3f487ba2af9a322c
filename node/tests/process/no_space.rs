//! A volume without a byte left: nothing is lost or counts as damaged, a start waits for space, and with space all goes on.
//! The volume is a small file system of its own, which takes the right to mount one; without it the test says so.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::cluster::{Cluster, eventually};

const VOLUME_BYTES: u64 = 288 << 20;
/// Highest number of files that the volume takes.
const VOLUME_FILES: u64 = 4096;
const VALUE_BYTES: usize = 20_000;
const RECORDS: u32 = 300;
/// A node that can write answers within this.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// A small file system in memory, mounted on a folder.
pub struct Mounted(PathBuf);

impl Mounted {
    fn at(path: PathBuf, bytes: u64) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let size = format!("size={bytes},nr_inodes={VOLUME_FILES}");
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(Self(path))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// The first node's volume, as a file system of its own.
pub fn volume_of(cluster: &Cluster, bytes: u64) -> Option<Mounted> {
    let mounted = Mounted::at(cluster.folder().path().join("node-0/volume"), bytes);
    if mounted.is_none() {
        eprintln!("left out: no file system can be mounted here");
    }
    mounted
}

/// Takes every byte that is left.
pub fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for bytes in [1 << 20, 4096] {
        let block = vec![7; bytes];
        while file.write_all(&block).is_ok() {}
    }
}

async fn is_full_and_recovers(engine: &str) {
    let mut cluster = Cluster::empty("shop");
    let Some(mounted) = volume_of(&cluster, VOLUME_BYTES) else { return };
    cluster.add(&["--engine", engine, "--reserve-bytes", "8388608"]);
    cluster.table("sales", 1).await;
    let database = cluster.database();
    let value = |number: u32| vec![u8::try_from(number % 251).unwrap(); VALUE_BYTES];
    for number in 0..RECORDS {
        database.put("sales", &number.to_be_bytes(), &value(number)).await;
    }
    let ballast = mounted.0.join("ballast");
    fill(&ballast);
    let mut deleted = 0_u32;
    // Until the node can do nothing more. What is not answered may have happened.
    while deleted < 100 {
        let key = deleted.to_be_bytes();
        match timeout(ANSWER_MAX, database.delete("sales", &key)).await {
            Ok(Ok(_)) => deleted += 1,
            Ok(Err(_)) | Err(_) => break,
        }
    }
    // What was kept back for such a start is gone, too.
    fs::remove_file(mounted.0.join("space.spare")).unwrap();
    for _ in 0..2 {
        cluster.nodes[0].kill();
        fill(&mounted.0.join("ballast-too"));
        cluster.restart(0);
        eventually("the node waits for space", async || {
            let page = cluster.nodes[0].page("/readyz?verbose");
            page.is_some_and(|(status, text)| status != 200 && text.contains("waits for space"))
        })
        .await;
        assert_eq!(cluster.nodes[0].page("/livez").unwrap().0, 200, "there is no reason to restart it");
    }
    fs::remove_file(&ballast).unwrap();
    cluster.nodes[0].await_ready();
    for number in deleted + 1..RECORDS {
        let record = database.get("sales", &number.to_be_bytes()).await;
        assert!(record.is_some_and(|record| record.value == value(number)), "record {number} is lost or corrupt");
    }
    database.put("sales", b"after", b"1").await;
    let names = fs::read_dir(&mounted.0).unwrap().map(|entry| entry.unwrap().file_name());
    let aside: Vec<_> = names.filter(|name| name.to_string_lossy().contains("lost")).collect();
    assert!(aside.is_empty(), "want of space is no damage: {aside:?}");
    cluster.nodes[0].kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_byte_left_waits_for_space_and_has_lost_nothing() {
    for engine in ["sled", "fjall"] {
        is_full_and_recovers(engine).await;
    }
}

async fn waits_for_space(cluster: &Cluster) {
    eventually("the node waits for space", async || {
        let page = cluster.nodes[0].page("/readyz?verbose");
        page.is_some_and(|(status, text)| status != 200 && text.contains("waits for space"))
    })
    .await;
    assert_eq!(cluster.nodes[0].page("/livez").unwrap().0, 200, "there is no reason to restart it");
    assert_eq!(cluster.nodes[0].metric("skerry_node_disk_full"), Some(1.0));
}

/// The volume has bytes left, but no room for another file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_volume_takes_no_more_files_waits_says_so_and_can_be_stopped_meanwhile() {
    let mut cluster = Cluster::empty("shop");
    let Some(mounted) = volume_of(&cluster, VOLUME_BYTES) else { return };
    cluster.add(&["--reserve-bytes", "8388608"]);
    cluster.table("sales", 1).await;
    let database = cluster.database();
    database.put("sales", b"kept", b"1").await;
    assert!(cluster.nodes[0].stop().success());
    let ballast = mounted.0.join("ballast");
    fs::create_dir(&ballast).unwrap();
    let mut files = 0;
    while File::create(ballast.join(files.to_string())).is_ok() {
        files += 1;
    }
    cluster.restart(0);
    waits_for_space(&cluster).await;
    let line = cluster.nodes[0].await_line("volume is full: the node waits for space before it opens it");
    assert!(line["shortage"].as_str().unwrap().contains("more files can be made there"), "{line}");
    let told = Instant::now();
    assert!(cluster.nodes[0].stop().success());
    assert!(told.elapsed() < ANSWER_MAX);
    cluster.restart(0);
    waits_for_space(&cluster).await;
    fs::remove_dir_all(&ballast).unwrap();
    cluster.nodes[0].await_ready();
    eventually("the metric is right again", async || cluster.nodes[0].metric("skerry_node_disk_full") == Some(0.0))
        .await;
    assert_eq!(database.get("sales", b"kept").await.unwrap().value, &b"1"[..]);
    cluster.nodes[0].kill();
}

/// Otherwise the next start waits for space that the last one took.
#[test]
fn a_log_for_which_there_is_no_space_gives_back_what_it_took() {
    let mut cluster = Cluster::empty("shop");
    let Some(mounted) = volume_of(&cluster, 12 << 20) else { return };
    let node = cluster.add_waiting("127.0.0.1:0".parse().unwrap(), &["--bootstrap"]);
    for _ in 0..2 {
        assert!(!cluster.nodes[node].await_exit().success());
        let said = cluster.nodes[node].line("node failed").unwrap()["error"].as_str().unwrap().to_owned();
        assert!(said.contains("No space left"), "{said}");
        let left: Vec<_> =
            fs::read_dir(mounted.0.join("log")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.is_empty(), "{left:?}");
        cluster.nodes[node].spawn(&[]);
    }
    cluster.nodes[node].kill();
}
