//! What was said to be durable is there after the process was killed at any time.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use skerry_core::ids::ShardId;
use skerry_core::log::LogWrite;
use skerry_node::log::{Completion, LogConfig, SEGMENT_BYTES_MIN};

use super::support::{PATIENCE, TestLog, cut, entries, write};

const FOLDER: &str = "SKERRY_TEST_LOG_FOLDER";
const SHARDS: u64 = 4;
/// Entries that a shard keeps when it is cut.
const KEPT: u64 = 20;

fn bytes_of(index: u64) -> usize {
    1 + usize::try_from(index * 97 % 900).unwrap()
}

pub(super) fn write_at(shard: u64, index: u64) -> LogWrite {
    LogWrite { entries: entries(index, index, shard, bytes_of(index)), ..write(shard, shard) }
}

/// Not a test of its own: the process that [`a_killed_log_has_all_that_was_acknowledged`] kills. Appends for ever, and
/// prints each shard and index that is durable.
#[test]
#[ignore = "runs in a process of its own, started by another test"]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let config = LogConfig { segment_bytes: SEGMENT_BYTES_MIN, ..LogConfig::new(folder) };
    let mut log = TestLog::open(config).unwrap();
    let mut next: BTreeMap<u64, u64> = (0..SHARDS).map(|shard| (shard, 1)).collect();
    for (shard, found) in &log.recovered.logs {
        next.insert(shard.0, found.start.0 + found.entries.len() as u64 + 1);
    }
    let mut out = std::io::stdout().lock();
    let mut waiting: Vec<(u64, Vec<(u64, u64)>)> = Vec::new();
    // Only what was told as durable is cut, however many writes wait: the other side knows of no more.
    let mut durable: BTreeMap<u64, u64> = BTreeMap::new();
    for round in 0.. {
        let mut batch = Vec::new();
        for shard in (0..SHARDS).filter(|shard| (round + shard) % 3 != 0) {
            let index = next[&shard];
            next.insert(shard, index + 1);
            batch.push((shard, index));
        }
        let sequence = log.send(batch.iter().map(|&(shard, index)| write_at(shard, index)).collect());
        waiting.push((sequence, batch));
        while let Ok(Completion::Durable { sequence }) = log.completions.try_recv() {
            for (_, batch) in waiting.extract_if(.., |(waiting, _)| *waiting <= sequence) {
                for (shard, index) in batch {
                    durable.insert(shard, index);
                    writeln!(out, "durable {shard} {index}").unwrap();
                }
            }
            out.flush().unwrap();
        }
        let shard = round % SHARDS;
        let last = durable.get(&shard).copied().unwrap_or(0);
        if last > KEPT && round % 5 == 0 {
            log.handle.cut(vec![cut(shard, shard, last - KEPT, shard)]).unwrap();
        }
    }
}

/// Lets the child work until it has said so many lines, and kills it. Returns what it said.
fn run_and_kill(folder: &Path, lines: usize) -> BTreeMap<u64, u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["storage::log_crash::child", "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let mut durable = BTreeMap::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    let mut killed = false;
    let mut seen = 0;
    while output.read_line(&mut line).unwrap() > 0 {
        let words: Vec<_> = line.trim_end().split(' ').collect();
        // The last line may be cut short by the kill.
        if let (["durable", shard, index], true) = (&words[..], line.ends_with('\n')) {
            durable.insert(shard.parse().unwrap(), index.parse().unwrap());
            seen += 1;
        }
        line.clear();
        assert!(began.elapsed() < PATIENCE, "the child is too slow");
        if seen >= lines && !killed {
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    assert!(killed, "the child ended by itself after {seen} lines");
    durable
}

#[test]
fn a_killed_log_has_all_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..8 {
        let durable = run_and_kill(folder.path(), 150 + round * 90);
        let config = LogConfig { segment_bytes: SEGMENT_BYTES_MIN, ..LogConfig::new(folder.path()) };
        let log = TestLog::open(config).unwrap();
        assert!(log.recovered.lost.is_empty() && log.damage.is_empty());
        assert_eq!(durable.len() as u64, SHARDS);
        for (shard, index) in durable {
            let found = &log.recovered.logs[&ShardId(shard)];
            let last = found.start.0 + found.entries.len() as u64;
            assert!(last >= index, "shard {shard} ends at {last}, but {index} was durable");
            assert!(found.start.0 <= index.saturating_sub(1), "shard {shard} was cut too far");
            for entry in &found.entries {
                assert_eq!(*entry, write_at(shard, entry.index).entries[0]);
            }
        }
        log.handle.close().unwrap();
    }
}
