//! A disk that refuses a write: the node's process ends by itself, with the reason as its last word, while the others go on;
//! and its next start goes by what the disk has, not by what the operating system still shows of what the disk refused. The
//! disk is one in memory that gives real I/O errors on demand, which takes the right to make one; without it the tests say so.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use skerry_node::page_cache;
use skerry_node::run::EXIT_POISONED;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::cluster::{Cluster, eventually};
use crate::process::Process;

/// From the failure to the end of the process, also on a busy machine. It takes a second or two.
const END_MAX: Duration = Duration::from_secs(10);
/// A node that can write answers within this.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// A disk whose node has ended can be given back within this.
const RELEASE_MAX: Duration = Duration::from_secs(5);
const DISK_BYTES: &str = "512M";
const CONTROL: &str = "/sys/class/zram-control";

/// A disk in compressed memory with a file system on it. Beyond its limit of memory it refuses writes with an I/O error.
/// To be made before the cluster that uses it, so that it goes after it.
struct Disk {
    number: String,
    folder: TempDir,
}

impl Disk {
    /// `None` where none can be made.
    fn new(options: &[&str]) -> Option<Self> {
        let disk = fs::read_to_string(format!("{CONTROL}/hot_add"))
            .ok()
            .map(|number| Self { number: number.trim().to_owned(), folder: tempfile::tempdir().unwrap() });
        let made = disk.filter(|disk| {
            let device = disk.device();
            let runs = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
            let format = ["-q", "-F", "-t", "ext4", "-E", "nodiscard"];
            disk.set("disksize", DISK_BYTES).is_ok()
                && runs(Command::new("mke2fs").args(format).args(options).arg(&device))
                && disk.mount()
        });
        if made.is_none() {
            eprintln!("left out: no disk can be made here");
        }
        made
    }

    fn device(&self) -> PathBuf {
        format!("/dev/zram{}", self.number).into()
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn set(&self, what: &str, value: &str) -> std::io::Result<()> {
        fs::write(format!("/sys/block/zram{}/{what}", self.number), value)
    }

    fn mount(&self) -> bool {
        Command::new("mount").arg(self.device()).arg(self.path()).output().is_ok_and(|output| output.status.success())
    }

    fn unmount(&self) {
        let _unmounted = Command::new("umount").arg(self.path()).output();
    }

    /// From now on what is written is refused.
    fn breaks(&self) {
        self.set("mem_limit", "4096").unwrap();
    }

    /// What was refused is lost; what comes from now on is taken.
    fn mends(&self) {
        self.set("mem_limit", "0").unwrap();
    }

    /// Makes it the volume of a node that is to be added to the cluster.
    fn becomes_volume_of(&self, cluster: &Cluster, node: usize) {
        let folder = cluster.folder().path().join(format!("node-{node}"));
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(self.path(), folder.join("volume")).unwrap();
    }

    /// As a power cut does: only what the disk has is left.
    fn loses_power(&self) {
        self.unmount();
        assert!(self.mount());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(self.path()).output();
        let deadline = Instant::now() + RELEASE_MAX;
        while self.set("reset", "1").is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        if let Err(error) = fs::write(format!("{CONTROL}/hot_remove"), &self.number) {
            eprintln!("{} is left: {error}", self.device().display());
        }
    }
}

/// The process ends soon, with the exit code of a failed log or store, and the last line of its log says why and what to do.
fn ends_by_itself(node: &mut Process, words: &str) {
    let began = Instant::now();
    let status = node.await_exit();
    assert!(began.elapsed() < END_MAX, "it took {:?}", began.elapsed());
    assert_eq!(status.code(), Some(EXIT_POISONED.into()), "{}", node.log());
    let last: Value = serde_json::from_str(node.log().lines().next_back().unwrap()).unwrap();
    assert_eq!((&last["message"], &last["exit_code"]), (&"node failed".into(), &EXIT_POISONED.into()), "{last}");
    let said = last["error"].as_str().unwrap();
    assert!(said.contains("data is damaged") || said.contains("the store may be damaged"), "{said}");
    assert!(said.contains(words) && said.contains("Start the node again"), "{said}");
}

/// What a file on a disk that refused its newest content shows, in a process that knows nothing of it.
#[test]
fn what_the_disk_refused_is_not_read_after_a_settling() {
    let Some(disk) = Disk::new(&["-O", "^has_journal"]) else { return };
    let folder = disk.path().join("log");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("1.log");
    // Random, so that it takes memory.
    fs::write(&path, (0..64 << 10).map(|_| rand::random::<u8>()).collect::<Vec<_>>()).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"old", 0).unwrap();
    File::open(disk.path()).unwrap().sync_all().unwrap();
    page_cache::settle(&folder).unwrap();
    disk.breaks();
    file.write_all_at(b"new", 0).unwrap();
    file.sync_data().unwrap_err();
    disk.mends();
    // Whatever of the failure nobody was told yet, the first who syncs is. A start ends by that, and the next one goes on.
    if let Err(refused) = page_cache::settle(&folder) {
        assert!(refused.to_string().contains("before it is read"), "{refused}");
        page_cache::settle(&folder).unwrap();
    }
    assert!(fs::read(&path).unwrap().starts_with(b"old"), "it would be gone with the next power cut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_log_or_store_cannot_be_synced_ends_by_itself_and_the_others_go_on() {
    let mut cluster = Cluster::start(3);
    cluster.table("sales", 1).await;
    let database = cluster.database();
    for failpoint in ["log-sync-fails", "store-sync-fails"] {
        database.put("sales", failpoint.as_bytes(), b"1").await;
        let leader = cluster.leader("sales").await;
        cluster.nodes[leader].fail(failpoint);
        // Something to sync. Whoever leads then answers.
        database.put("sales", b"after", b"1").await;
        ends_by_itself(&mut cluster.nodes[leader], "Input/output error (os error 5)");
        database.put("sales", b"later", b"1").await;
        cluster.nodes[leader].mend(failpoint);
        cluster.restart(leader);
        cluster.nodes[leader].await_ready();
        assert_eq!(database.get("sales", failpoint.as_bytes()).await.unwrap().value, &b"1"[..]);
    }
}

/// Writes until the node takes no more. Returns how many writes were acknowledged, and breaks the disk after some.
async fn write_until_it_breaks(cluster: &Cluster, disk: &Disk, first: u32) -> u32 {
    let database = cluster.database();
    let mut number = first;
    loop {
        if number == first + 50 {
            disk.breaks();
        }
        assert!(number < first + 10_000, "it takes writes on a broken disk");
        let value: Vec<u8> = (0..2_000).map(|_| rand::random()).collect();
        match timeout(ANSWER_MAX, database.try_put("sales", &number.to_be_bytes(), &value)).await {
            Ok(Ok(_)) => number += 1,
            Ok(Err(_)) | Err(_) => return number,
        }
    }
}

async fn has_all(cluster: &Cluster, count: u32) -> bool {
    let database = cluster.database();
    for number in 0..count {
        if database.get("sales", &number.to_be_bytes()).await.is_none() {
            return false;
        }
    }
    true
}

/// Whoever looks after the node starts it again and again. It may end, but says why.
async fn is_started_until_it_serves(cluster: &mut Cluster, node: usize) {
    for _ in 0..3 {
        cluster.nodes[node].spawn(&[]);
        let served = timeout(Duration::from_secs(20), async {
            loop {
                if cluster.nodes[node].line("node serves").is_some() {
                    return true;
                }
                if cluster.nodes[node].line("node failed").is_some() {
                    return false;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        if served.await.unwrap() {
            return cluster.nodes[node].await_ready();
        }
        let said = cluster.nodes[node].line("node failed").unwrap()["error"].as_str().unwrap().to_owned();
        println!("a start ends: {said}");
        assert!(said.contains("before it is read") && said.contains("os error 5"), "{said}");
        assert!(!cluster.nodes[node].await_exit().success());
    }
    panic!("it does not start\n{}", cluster.nodes[node].log());
}

/// Nobody else has a copy: what the node says after its start is what it must have for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_node_on_a_disk_that_refused_writes_keeps_all_that_it_acknowledged_and_all_that_it_shows_later() {
    for engine in ["sled", "fjall"] {
        let Some(disk) = Disk::new(&["-O", "^has_journal"]) else { return };
        let mut cluster = Cluster::empty("shop");
        disk.becomes_volume_of(&cluster, 0);
        cluster.add(&["--engine", engine]);
        cluster.table("sales", 1).await;
        let mut acknowledged = 0;
        for round in 0..3 {
            acknowledged = write_until_it_breaks(&cluster, &disk, acknowledged).await;
            ends_by_itself(&mut cluster.nodes[0], "Input/output error (os error 5)");
            // The disk is still broken: a start says so, and changes nothing.
            cluster.nodes[0].spawn(&[]);
            assert!(!cluster.nodes[0].await_exit().success());
            let said = cluster.nodes[0].line("node failed").unwrap()["error"].as_str().unwrap().to_owned();
            assert!(said.contains("os error 5"), "{said}");
            disk.mends();
            is_started_until_it_serves(&mut cluster, 0).await;
            assert!(has_all(&cluster, acknowledged).await, "{engine}, round {round}: something acknowledged is lost");
            let database = cluster.database();
            let one_more = database.get("sales", &acknowledged.to_be_bytes()).await.is_some();
            acknowledged += u32::from(one_more);
            println!("{engine}, round {round}: {acknowledged} records, the last of them unacknowledged: {one_more}");
            cluster.nodes[0].kill();
            disk.loses_power();
            cluster.restart(0);
            cluster.nodes[0].await_ready();
            assert!(has_all(&cluster, acknowledged).await, "{engine}, round {round}: something shown is lost");
        }
        let names = fs::read_dir(disk.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let aside: Vec<_> = names.filter(|name| name.to_string_lossy().contains("lost.")).collect();
        assert!(aside.is_empty(), "{aside:?}");
    }
}

/// A file system with a journal gives up as a whole: it can only be read from then on, until somebody mounts it anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_nodes_whose_file_system_gives_up_ends_says_so_at_each_start_and_is_in_step_again_later() {
    let Some(disk) = Disk::new(&[]) else { return };
    let mut cluster = Cluster::empty("shop");
    disk.becomes_volume_of(&cluster, 0);
    for _ in 0..3 {
        cluster.add(&[]);
    }
    cluster.nodes.iter().for_each(Process::await_ready);
    cluster.table("sales", 3).await;
    let database = cluster.database();
    let mut number = 0_u32;
    let mut broken: Option<Instant> = None;
    while broken.is_none_or(|since| since.elapsed() < Duration::from_secs(4)) {
        if number == 50 {
            disk.breaks();
            broken = Some(Instant::now());
        }
        // Whoever leads then answers: none of them fails for good.
        database.put("sales", &number.to_be_bytes(), &[7; 2_000]).await;
        number += 1;
    }
    println!("{number} writes were taken");
    ends_by_itself(&mut cluster.nodes[0], "(os error ");
    // Only new files are refused where what was written is still to come.
    let _given_up =
        File::create(disk.path().join("probe")).and_then(|mut file| file.write_all(b"x").and(file.sync_all()));
    disk.mends();
    cluster.nodes[0].spawn(&[]);
    assert!(!cluster.nodes[0].await_exit().success());
    let said = cluster.nodes[0].line("node failed").unwrap()["error"].as_str().unwrap().to_owned();
    println!("a start ends: {said}");
    assert!(said.contains("Read-only file system") || said.contains("os error 5"), "{said}");
    disk.loses_power();
    cluster.restart(0);
    cluster.nodes[0].await_ready();
    eventually("nothing acknowledged is lost", async || has_all(&cluster, number).await).await;
}
