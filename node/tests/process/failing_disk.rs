//! A disk that refuses a write: the node's process ends by itself, with the reason as its last word, while the others go on;
//! and its next start goes by what the disk has, not by what the operating system still shows of what the disk refused. The
//! disk is one in memory that gives real I/O errors on demand, which takes the right to make one; without it the tests say so.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
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
/// A node keeps half a gigabyte free. The disk takes only what is written.
const DISK_BYTES: &str = "2G";
const JOURNAL_BYTES: &str = "32M";
/// What the disk says.
const REFUSED: &str = "Input/output error";
const CONTROL: &str = "/sys/class/zram-control";

/// Where the file system on a failing disk has its journal.
#[derive(Clone, Copy)]
enum Journal {
    /// On a disk of its own, which is whole: the file system goes on while files lose what was written to them.
    Elsewhere,
    /// On the failing disk: the file system gives up as a whole.
    Beside,
}

/// A disk in compressed memory. Beyond its limit of memory it refuses writes with an I/O error.
struct Device(String);

impl Device {
    fn new(bytes: &str) -> Option<Self> {
        let number = fs::read_to_string(format!("{CONTROL}/hot_add")).ok()?;
        let device = Self(number.trim().to_owned());
        device.set("disksize", bytes).ok()?;
        Some(device)
    }

    fn path(&self) -> String {
        format!("/dev/zram{}", self.0)
    }

    fn set(&self, what: &str, value: &str) -> std::io::Result<()> {
        fs::write(format!("/sys/block/zram{}/{what}", self.0), value)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let deadline = Instant::now() + RELEASE_MAX;
        while self.set("reset", "1").is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        if let Err(error) = fs::write(format!("{CONTROL}/hot_remove"), &self.0) {
            eprintln!("{} is left: {error}", self.path());
        }
    }
}

/// A file system on a disk that may fail. To be made before the cluster that uses it, so that it goes after it.
struct Disk {
    folder: Mounted,
    data: Device,
    _journal: Device,
}

impl Disk {
    /// `None` where none can be made.
    fn new(journal: Journal) -> Option<Self> {
        let disk = Self::try_new(journal);
        if disk.is_none() {
            eprintln!("left out: no disk that fails can be made here");
        }
        disk
    }

    fn try_new(journal: Journal) -> Option<Self> {
        let (data, other) = (Device::new(DISK_BYTES)?, Device::new(JOURNAL_BYTES)?);
        let format = |arguments: &[&str]| runs(Command::new("mke2fs").args(["-q", "-F", "-b", "4096"]).args(arguments));
        let is_made = match journal {
            Journal::Elsewhere => {
                let device = format!("device={}", other.path());
                format(&["-O", "journal_dev", &other.path()]) && format(&["-t", "ext4", "-J", &device, &data.path()])
            }
            Journal::Beside => format(&["-t", "ext4", &data.path()]),
        };
        let folder = Mounted(tempfile::tempdir().unwrap());
        let disk = Self { folder, data, _journal: other };
        (is_made && disk.mount()).then_some(disk)
    }

    fn path(&self) -> &Path {
        self.folder.0.path()
    }

    fn mount(&self) -> bool {
        runs(Command::new("mount").arg(self.data.path()).arg(self.path()))
    }

    /// From now on what is written is refused.
    fn breaks(&self) {
        self.data.set("mem_limit", "4096").unwrap();
    }

    /// What was refused is lost; what comes from now on is taken.
    fn mends(&self) {
        self.data.set("mem_limit", "0").unwrap();
    }

    /// Makes it the volume of a node that is to be added to the cluster.
    fn becomes_volume_of(&self, cluster: &Cluster, node: usize) {
        let folder = cluster.folder().path().join(format!("node-{node}"));
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(self.path(), folder.join("volume")).unwrap();
    }

    /// As a power cut does: only what the disk has is left. The node does not run.
    fn loses_power(&self) {
        assert!(runs(Command::new("umount").arg(self.path())) && self.mount());
    }
}

/// A folder on which something may be mounted. Goes before the disk does.
struct Mounted(TempDir);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

fn runs(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
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
    let Some(disk) = Disk::new(Journal::Elsewhere) else { return };
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
        ends_by_itself(&mut cluster.nodes[leader], REFUSED);
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
        eprintln!("a start ends: {said}");
        assert!(said.contains("before it is read") && said.contains(REFUSED), "{said}");
        assert!(!cluster.nodes[node].await_exit().success());
    }
    panic!("it does not start\n{}", cluster.nodes[node].log());
}

/// Nobody else has a copy: what the node says after its start is what it must have for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_node_on_a_disk_that_refused_writes_keeps_all_that_it_acknowledged_and_all_that_it_shows_later() {
    for engine in ["sled", "fjall"] {
        let Some(disk) = Disk::new(Journal::Elsewhere) else { return };
        let mut cluster = Cluster::empty("shop");
        disk.becomes_volume_of(&cluster, 0);
        cluster.add(&["--engine", engine]);
        cluster.table("sales", 1).await;
        let mut acknowledged = 0;
        for round in 0..3 {
            acknowledged = write_until_it_breaks(&cluster, &disk, acknowledged).await;
            ends_by_itself(&mut cluster.nodes[0], REFUSED);
            // The disk is still broken: a start says so, and changes nothing.
            cluster.nodes[0].spawn(&[]);
            assert!(!cluster.nodes[0].await_exit().success());
            let said = cluster.nodes[0].line("node failed").unwrap()["error"].as_str().unwrap().to_owned();
            assert!(said.contains(REFUSED), "{said}");
            disk.mends();
            is_started_until_it_serves(&mut cluster, 0).await;
            assert!(has_all(&cluster, acknowledged).await, "{engine}, round {round}: something acknowledged is lost");
            let database = cluster.database();
            let one_more = database.get("sales", &acknowledged.to_be_bytes()).await.is_some();
            acknowledged += u32::from(one_more);
            eprintln!("{engine}, round {round}: {acknowledged} records, the last of them unacknowledged: {one_more}");
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
    let Some(disk) = Disk::new(Journal::Beside) else { return };
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
        let value: Vec<u8> = (0..2_000).map(|_| rand::random()).collect();
        database.put("sales", &number.to_be_bytes(), &value).await;
        number += 1;
    }
    eprintln!("{number} writes were taken");
    ends_by_itself(&mut cluster.nodes[0], "rror");
    // The file system gives up with the first write of its journal that the disk refuses.
    let has_given_up = async || {
        let probe = File::create(disk.path().join(format!("probe-{}", rand::random::<u32>())));
        let written = probe.and_then(|mut file| file.write_all(b"x").and(file.sync_all()));
        written.is_err_and(|refused| refused.kind() == std::io::ErrorKind::ReadOnlyFilesystem)
    };
    eventually("the file system can only be read", has_given_up).await;
    disk.mends();
    cluster.nodes[0].spawn(&[]);
    assert!(!cluster.nodes[0].await_exit().success());
    let said = cluster.nodes[0].line("node failed").unwrap()["error"].as_str().unwrap().to_owned();
    eprintln!("a start ends: {said}");
    assert!(said.contains("Read-only file system"), "{said}");
    disk.loses_power();
    cluster.restart(0);
    cluster.nodes[0].await_ready();
    eventually("nothing acknowledged is lost", async || has_all(&cluster, number).await).await;
}

/// The store's sync was under way when the node was told to stop, and failed then: nobody looked, the store was synced once
/// more, which succeeds, and the node ended as if all were well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_fails_while_the_node_stops_is_not_tried_again() {
    let mut cluster = Cluster::empty("shop");
    cluster.add(&["--disk-stall-ms", "1000"]);
    cluster.table("sales", 1).await;
    cluster.nodes[0].fail("store-sync-hangs");
    // Something to sync.
    cluster.database().put("sales", b"key", b"1").await;
    let is_under_way = async || cluster.nodes[0].metric("skerry_node_disk_stalled") == Some(1.0);
    eventually("a sync of the store is under way", is_under_way).await;
    cluster.nodes[0].fail("store-sync-fails");
    cluster.nodes[0].signal(Signal::TERM);
    eventually("the worker has stopped", async || cluster.nodes[0].line("worker stopped").is_some()).await;
    cluster.nodes[0].mend("store-sync-hangs");
    ends_by_itself(&mut cluster.nodes[0], REFUSED);
}
