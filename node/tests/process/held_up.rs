//! A node whose log or store has failed ends also where something holds it up that has to do with the same disk: a worker that
//! waits for its store, or a log that nobody takes from its pipe.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use skerry_node::run::EXIT_POISONED;
use skerry_proto::v1;
use skerry_proto::v1::admin_command::Change;
use tokio::time::timeout;

use crate::cluster::{Cluster, eventually};
use crate::database::Database;
use crate::process::SECRET;

/// From the failure to the end of the process, also on a busy machine.
const END_MAX: Duration = Duration::from_secs(12);
/// Some call that is never answered.
const CALL: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_fails_in_one_place_and_is_silent_in_another_ends_by_itself() {
    let mut cluster = Cluster::empty("shop");
    cluster.add(&["--disk-stall-ms", "1000"]);
    cluster.table("sales", 1).await;
    let database = cluster.database();
    let node = &mut cluster.nodes[0];
    node.fail("store-sync-hangs");
    // Something to sync.
    database.put("sales", b"key", b"1").await;
    eventually("a sync is under way", async || node.metric("skerry_node_disk_stalled") == Some(1.0)).await;
    // The disk answers nobody: a node that only waits for it lives on.
    node.fail("disk-probe-hangs");
    node.fail("store-write-hangs");
    let _unknown = timeout(CALL, database.try_put("sales", b"other", b"1")).await;
    node.fail("store-sync-fails");
    node.mend("store-sync-hangs");
    let began = Instant::now();
    let status = node.await_exit();
    assert!(began.elapsed() < END_MAX, "it took {:?}", began.elapsed());
    assert_eq!(status.code(), Some(EXIT_POISONED.into()), "{}", node.log());
    assert!(node.line("node failed").is_some(), "{}", node.log());
}

/// Fills a pipe, of which this is the end that is read.
fn fill(pipe: &impl AsRawFd) {
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
    let mut end = File::options().write(true).custom_flags(nonblocking).open(path).unwrap();
    for bytes in [4_096, 1] {
        let full = loop {
            if let Err(error) = end.write(&vec![b'\n'; bytes]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
    }
}

async fn exit_code(child: &mut Child) -> Option<i32> {
    let mut status = None;
    eventually("the process ends", async || {
        status = child.try_wait().unwrap();
        status.is_some()
    })
    .await;
    status.unwrap().code()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_log_goes_to_a_full_pipe_ends_by_itself() {
    let cluster = Cluster::empty("shop");
    let folder = cluster.folder().path();
    let (secret, failpoints) = (folder.join("secret"), folder.join("failpoints"));
    fs::write(&secret, SECRET).unwrap();
    fs::create_dir(&failpoints).unwrap();
    let ports = ["--listen", "--peer-listen", "--admin-listen", "--http"].map(|port| [port, "127.0.0.1:0"]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_skerry-node"))
        .args(ports.as_flattened())
        .args(["--cluster-id", "shop", "--zone", "a", "--bootstrap", "--segment-bytes", "1048576"])
        .arg("--secret-file")
        .arg(secret)
        .arg("--data")
        .arg(folder.join("volume"))
        .env("SKERRY_FAILPOINTS", &failpoints)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = |message: &str| -> Value {
        loop {
            let mut line = String::new();
            assert!(said.read_line(&mut line).unwrap() > 0, "it ended before it said {message}");
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["message"] == message {
                return line;
            }
        }
    };
    let address = line("node listens")["grpc"].as_str().unwrap().to_owned();
    line("node serves");
    fill(said.get_ref());
    fs::write(failpoints.join("log-sync-fails"), b"").unwrap();
    let began = Instant::now();
    let database = Database::new("shop", vec![address]);
    // Something to sync.
    let _unknown = timeout(CALL, database.admin(Change::SetLimits(v1::MoveLimits::default()))).await;
    let code = exit_code(&mut child).await;
    assert!(began.elapsed() < END_MAX, "it took {:?}", began.elapsed());
    assert_eq!(code, Some(EXIT_POISONED.into()));
}
