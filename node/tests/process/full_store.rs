//! A small volume that fills up under fjall: its merges go on while the volume counts as full. Where they find no space the
//! node ends, and what is kept back for a start lets it come back by itself. Deletes are taken until there is room.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::cluster::{Cluster, eventually};
use crate::database::reason;
use crate::no_space::{fill, volume_of};

const VOLUME_BYTES: u64 = 384 << 20;
const VALUE_BYTES: usize = 100_000;
/// A node that can write answers within this, also on a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(10);
const FILL_MAX: Duration = Duration::from_secs(120);
const FULL_FOR: Duration = Duration::from_secs(4);
/// How often the node may have to be started until there is room again.
const STARTS_MAX: u32 = 4;

/// In no order, so that every merge is of all that there is.
fn key(number: u32) -> [u8; 4] {
    number.wrapping_mul(2_654_435_761).to_be_bytes()
}

/// Bytes that do not compress.
fn value(number: u32) -> Vec<u8> {
    let mut state = u64::from(number) | 1 << 40;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..VALUE_BYTES / 8).flat_map(|_| next().to_le_bytes()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_fjall_volume_that_is_full_takes_deletes_and_its_node_comes_back_by_itself() {
    let mut cluster = Cluster::empty("shop");
    let Some(_mounted) = volume_of(&cluster, VOLUME_BYTES) else { return };
    cluster.add(&["--engine", "fjall", "--capacity-bytes", &VOLUME_BYTES.to_string()]);
    cluster.table("sales", 1).await;
    let database = cluster.database();
    let (mut written, mut starts, began) = (0_u32, 0_u32, Instant::now());
    // A merge takes space for a while: the volume is full once puts are refused for longer.
    let mut refused: Option<Instant> = None;
    while refused.is_none_or(|since| since.elapsed() < FULL_FOR) {
        assert!(began.elapsed() < FILL_MAX, "the volume never fills");
        match timeout(ANSWER_MAX, database.try_put("sales", &key(written), &value(written))).await {
            Ok(Ok(_)) => (written, refused) = (written + 1, None),
            Ok(Err(status)) if reason(&status) == "DISK_FULL" => {
                refused = refused.or_else(|| Some(Instant::now()));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            // What the last write came to is not known.
            _ => {
                come_back(&mut cluster, &mut starts).await;
                break;
            }
        }
    }
    println!("{written} records in {:?}", began.elapsed());
    assert!(written > 1_000, "only {written} records were taken");
    let kept = written - 200;
    for number in 0..kept {
        while !matches!(timeout(ANSWER_MAX, cluster.database().delete("sales", &key(number))).await, Ok(Ok(_))) {
            come_back(&mut cluster, &mut starts).await;
        }
    }
    let database = cluster.database();
    cluster.nodes[0].kill();
    cluster.restart(0);
    cluster.nodes[0].await_ready();
    assert!(cluster.nodes[0].line("volume is full: the node waits for space before it opens it").is_none());
    for number in kept..written {
        assert!(database.get("sales", &key(number)).await.unwrap().value == value(number), "record {number}");
    }
    println!("all in {:?}, {starts} more starts", began.elapsed());
}

/// The node has ended, since the volume is full. Whoever looks after it starts it until it stays, and does nothing else.
async fn come_back(cluster: &mut Cluster, starts: &mut u32) {
    loop {
        assert!(!cluster.nodes[0].await_exit().success());
        *starts += 1;
        assert!(*starts <= STARTS_MAX, "it does not come back: {}", cluster.nodes[0].log());
        cluster.restart(0);
        if cluster.nodes[0].becomes_ready() {
            break;
        }
    }
}

/// Something else has taken every byte, and goes on to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_without_a_byte_has_kept_back_enough_for_one_start() {
    for engine in ["sled", "fjall"] {
        let mut cluster = Cluster::empty("shop");
        let Some(mounted) = volume_of(&cluster, VOLUME_BYTES) else { return };
        cluster.add(&["--engine", engine, "--reserve-bytes", "8388608"]);
        cluster.table("sales", 1).await;
        let database = cluster.database();
        database.put("sales", b"kept", b"1").await;
        let spare = cluster.nodes[0].data().join("space.spare");
        eventually("space is kept back", async || spare.try_exists().unwrap()).await;
        cluster.nodes[0].kill();
        let unfinished = cluster.nodes[0].data().join("store/sled/snap.0123.generating");
        if engine == "sled" {
            std::fs::write(&unfinished, [7; 4096]).unwrap();
        }
        let taken = cluster.folder().path().join("node-0/volume/taken");
        fill(&taken);
        cluster.restart(0);
        cluster.nodes[0].await_line("volume is full: what was kept back for this start is given up");
        cluster.nodes[0].await_ready();
        assert!(!spare.try_exists().unwrap() && !unfinished.try_exists().unwrap());
        database.delete("sales", b"kept").await.unwrap();
        std::fs::remove_file(&taken).unwrap();
        eventually("space is kept back again", async || spare.try_exists().unwrap()).await;
        cluster.nodes[0].kill();
        drop(mounted);
    }
}
