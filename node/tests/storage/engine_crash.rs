//! A store whose process was killed holds a prefix of the batches, and in it every batch before the last finished sync.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use bytes::Bytes;
use skerry_core::engine::EngineWrite;
use skerry_node::engine::{EngineKind, SharedEngine};

use super::engine::{open, put, scan};
use super::support::PATIENCE;

const FOLDER: &str = "SKERRY_TEST_STORE_FOLDER";
const KIND: &str = "SKERRY_TEST_STORE_KIND";
/// Keys that are overwritten round and round.
const SLOTS: u64 = 97;
const PUTS_PER_BATCH: u64 = 9;
const COUNT: &[u8] = b"zcount";

/// Batch `number`: some slots get its number, one is deleted, and the count says how many batches there are.
pub(super) fn batch(number: u64) -> Vec<EngineWrite> {
    let slot = |nth: u64| Bytes::copy_from_slice(&((number * PUTS_PER_BATCH + nth) % SLOTS).to_be_bytes());
    let value = number.to_le_bytes().repeat(1 + (number % 40) as usize);
    let mut writes: Vec<_> = (0..PUTS_PER_BATCH).map(|nth| put(slot(nth), value.clone())).collect();
    writes.push(EngineWrite::Delete(slot(PUTS_PER_BATCH)));
    writes.push(put(COUNT, number.to_le_bytes()));
    writes
}

pub(super) fn count(engine: &SharedEngine) -> u64 {
    let value = engine.get(COUNT).unwrap();
    value.map_or(0, |value| u64::from_le_bytes(*value.first_chunk::<8>().unwrap()))
}

/// Not a test of its own: the process that the tests below kill.
#[test]
#[ignore = "runs in a process of its own, started by other tests"]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let engine = open(std::env::var(KIND).unwrap().parse().unwrap(), Path::new(&folder));
    let mut out = std::io::stdout().lock();
    for number in count(&engine) + 1.. {
        engine.write(batch(number)).unwrap();
        if number % 7 == 0 {
            engine.sync().unwrap();
            writeln!(out, "synced {number}").unwrap();
        }
    }
}

fn run_and_kill(kind: EngineKind, folder: &Path, lines: usize) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["storage::engine_crash::child", "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(KIND, kind.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let (mut line, mut synced, mut seen) = (String::new(), 0, 0);
    while output.read_line(&mut line).unwrap() > 0 {
        if let (Some(number), true) = (line.trim_end().strip_prefix("synced "), line.ends_with('\n')) {
            synced = number.parse().unwrap();
            seen += 1;
        }
        line.clear();
        assert!(began.elapsed() < PATIENCE, "the child is too slow");
        if seen == lines {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(seen >= lines, "the child ended by itself after {seen} lines");
    synced
}

fn holds_a_prefix_with_all_that_was_synced(kind: EngineKind) {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let synced = run_and_kill(kind, folder.path(), 8 + 11 * round);
        let engine = open(kind, folder.path());
        let count = count(&engine);
        assert!(count >= synced, "{synced} batches were synced, {count} are there");
        let mut expected = std::collections::BTreeMap::new();
        for write in (1..=count).flat_map(batch) {
            match write {
                EngineWrite::Put(key, value) => drop(expected.insert(key, value)),
                EngineWrite::Delete(key) => drop(expected.remove(&key)),
            }
        }
        let found = scan(&engine, &[], &[0xff]).unwrap();
        assert!(found.into_iter().map(|(k, v)| (Bytes::from(k), Bytes::from(v))).eq(expected));
    }
}

#[test]
fn sled_holds_a_prefix_with_all_that_was_synced() {
    holds_a_prefix_with_all_that_was_synced(EngineKind::Sled);
}

#[test]
fn fjall_holds_a_prefix_with_all_that_was_synced() {
    holds_a_prefix_with_all_that_was_synced(EngineKind::Fjall);
}
