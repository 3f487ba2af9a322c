//! Logs with bytes changed, cut and moved: recovered as far as they can be, or refused.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use skerry_core::ids::{ReplicaId, ShardId};
use skerry_core::log::{EntryKind, HardState, LogEntry, LogWrite};
use skerry_core::node::LogBatch;
use skerry_node::log::{Log, LogConfig, Opened, SEGMENT_BYTES_MIN};
use tempfile::TempDir;

use super::random::{Random, for_each_seed};

fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn open(folder: &Path) -> Option<Opened> {
    let config = LogConfig { segment_bytes: SEGMENT_BYTES_MIN, sync: Arc::new(|_| Ok(())), ..LogConfig::new(folder) };
    Log::open(config, Box::new(|_| {})).ok()
}

/// The files of a log of some shards.
fn files() -> Vec<(String, Vec<u8>)> {
    let folder = scratch();
    let log = open(folder.path()).unwrap();
    for sequence in 1..=30 {
        let entry = LogEntry {
            index: sequence,
            term: 1,
            kind: EntryKind::Normal,
            data: vec![sequence as u8; 900].into(),
            context: bytes::Bytes::new(),
        };
        let write = LogWrite {
            shard: ShardId(sequence % 3),
            replica: ReplicaId(1 + sequence % 3),
            reset: (sequence <= 3 || sequence % 10 == 0).then_some((sequence - 1, 1)),
            entries: if sequence <= 3 || sequence % 10 == 0 { vec![entry] } else { Vec::new() },
            hard_state: Some(HardState { term: sequence, vote: 1, commit: 0 }),
            destroyed: sequence == 25,
        };
        log.handle.append(LogBatch { sequence, writes: vec![write] }).unwrap();
    }
    log.handle.close().unwrap();
    let paths = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    paths.filter(|path| path.is_file()).map(|path| (name(&path), fs::read(&path).unwrap())).collect()
}

fn change(random: &mut Random, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    // Most of a segment is not written yet.
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    let at = random.below(used);
    match random.below(6) {
        0 => bytes.truncate(at),
        1 => bytes[at..used].fill(0),
        2 => bytes[at] = random.next() as u8,
        3 => bytes[at] ^= 1 << random.below(8),
        4 => {
            let number = random.number(u64::from(bytes[at])).to_le_bytes();
            let upto = bytes.len().min(at + 8);
            bytes[at..upto].copy_from_slice(&number[..upto - at]);
        }
        _ => {
            let upto = bytes.len().min(at + random.below(200));
            let piece = bytes[at..upto].to_vec();
            let to = random.below(used);
            let end = bytes.len().min(to + piece.len());
            bytes[to..end].copy_from_slice(&piece[..end - to]);
        }
    }
}

#[test]
fn any_files_of_a_log_are_recovered_or_refused() {
    let valid = files();
    let mut recovered = 0;
    for_each_seed("logs", |seed| {
        let mut random = Random::new(seed);
        let folder = scratch();
        for (name, bytes) in &valid {
            let mut bytes = bytes.clone();
            for _ in 0..random.below(3) {
                change(&mut random, &mut bytes);
            }
            if !random.is_one_in(30) {
                fs::write(folder.path().join(name), bytes).unwrap();
            }
        }
        if let Some(log) = open(folder.path()) {
            for log in log.recovered.logs.values() {
                let indexes = log.entries.iter().map(|entry| entry.index);
                assert!(indexes.eq(log.start.0 + 1..=log.start.0 + log.entries.len() as u64), "gaps: {log:?}");
            }
            let _damaged = log.handle.close();
            recovered += 1;
        }
    });
    assert!(recovered > 0);
}
