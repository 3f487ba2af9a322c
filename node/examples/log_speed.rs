//! How fast the log of a node is on this machine's disk: `cargo run --release -p skerry-node --example log_speed`.
//!
//! Keeps so many batches of one entry in flight, over 64 shards that are cut as they go, and prints what came out.

use std::io::{self, Write};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use skerry_core::ids::{ReplicaId, ShardId};
use skerry_core::log::{EntryKind, HardState, LogCut, LogEntry, LogWrite};
use skerry_core::node::LogBatch;
use skerry_node::log::{Completion, Log, LogConfig};

const SHARDS: u64 = 64;
const VALUE_BYTES: usize = 256;
const DURATION: Duration = Duration::from_secs(5);
/// Entries of a shard that stay.
const KEPT: u64 = 1_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for in_flight in [1, 16, 256, 4096] {
        let folder = tempfile::tempdir_in(".")?;
        let (durable, completions) = channel();
        let complete = Box::new(move |completion| {
            let _ended = durable.send(completion);
        });
        let log = Log::open(LogConfig::new(folder.path()), complete)?.handle;
        let value = Bytes::from(vec![7; VALUE_BYTES]);
        let (mut sent, mut acknowledged, mut groups) = (0, 0, 0u64);
        let began = Instant::now();
        while began.elapsed() < DURATION {
            while sent < acknowledged + in_flight {
                sent += 1;
                log.append(LogBatch { sequence: sent, writes: vec![write(sent - 1, &value)] })?;
                if sent % (SHARDS * KEPT) == 0 {
                    let start = (sent / SHARDS - KEPT / 2, 1);
                    let cut = |shard| LogCut { shard: ShardId(shard), replica: ReplicaId(1), start };
                    log.cut((0..SHARDS).map(cut).collect())?;
                }
            }
            match completions.recv()? {
                Completion::Durable { sequence } => acknowledged = sequence,
                Completion::Failed { error } => return Err(error.into()),
            }
            groups += 1;
        }
        let seconds = began.elapsed().as_secs_f64();
        let (rate, group_rate) = (acknowledged as f64 / seconds, groups as f64 / seconds);
        writeln!(io::stdout(), "{in_flight:>5} in flight: {rate:>9.0} batches/s in {group_rate:>6.0} groups/s")?;
        log.close()?;
    }
    Ok(())
}

fn write(nth: u64, value: &Bytes) -> LogWrite {
    let index = nth / SHARDS + 1;
    let entry = LogEntry { index, term: 1, kind: EntryKind::Normal, data: value.clone(), context: Bytes::new() };
    LogWrite {
        shard: ShardId(nth % SHARDS),
        replica: ReplicaId(1),
        reset: None,
        entries: vec![entry],
        hard_state: Some(HardState { term: 1, vote: 1, commit: index - 1 }),
        destroyed: false,
    }
}
