//! The power is cut below the file system: of what no fsync covers any part may be gone, and any other part be there.
//! The log has all that it said was durable and takes nothing for whole that is not; identity and log still know each
//! other; a store holds a prefix of the batches with all that was synced, or says that it is damaged.
//!
//! A process runs log, store and identity under strace; every moment of its trace is one at which the power may be cut.

mod disk;
mod trace;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use skerry_core::engine::EngineWrite;
use skerry_core::ids::{Incarnation, ShardId};
use skerry_node::engine::{self, EngineKind, OpenError};
use skerry_node::identity::{Kept, Known, Volume};
use skerry_node::log::{self, LogConfig, SEGMENT_BYTES_MIN};

use self::disk::{Disk, FATES};
use self::trace::Event;
use super::engine::{CACHE_BYTES, open, scan};
use super::engine_crash::{batch, count};
use super::log_crash::write_at;
use super::support::{TestLog, cut, scratch, segments};

const FOLDER: &str = "SKERRY_TEST_POWER_FOLDER";
const KIND: &str = "SKERRY_TEST_POWER_KIND";
const ROUNDS: u64 = 130;
/// Rounds between two syncs of the store.
const UNSYNCED: u64 = 13;
const SHARDS: u64 = 3;
/// Entries that a shard keeps when it is cut.
const KEPT: u64 = 12;
/// Moments at which the power is cut, each with every fate of what was not synced.
const CUTS: usize = 60;

/// Not a test of its own: the process that is traced.
#[test]
#[ignore = "runs in a process of its own, started by other tests"]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = Path::new(&folder);
    let mut out = std::io::stdout().lock();
    let volume = Arc::new(Volume::open(folder).unwrap());
    let noting = volume.clone();
    let note: log::NoteMark = Arc::new(move |mark| noting.log_reaches(mark).map_err(std::io::Error::other));
    let config = LogConfig { segment_bytes: SEGMENT_BYTES_MIN, note, ..LogConfig::new(folder.join("log")) };
    let mut log = TestLog::open(config).unwrap();
    let engine = open(std::env::var(KIND).unwrap().parse().unwrap(), &folder.join("store"));
    volume.begin(Incarnation(1), Kept { log: log.mark, store: "one".to_owned() }).unwrap();
    writeln!(out, "begun").unwrap();
    for round in 1..=ROUNDS {
        log.append((1..=SHARDS).map(|shard| write_at(shard, round)).collect());
        writeln!(out, "logged {round}").unwrap();
        engine.write(heavy_batch(round)).unwrap();
        if round % UNSYNCED == 0 {
            engine.sync().unwrap();
            writeln!(out, "synced {round}").unwrap();
            let forget = (1..=SHARDS).map(|shard| cut(shard, shard, round.saturating_sub(KEPT), shard));
            log.handle.cut(forget.collect()).unwrap();
        }
    }
}

/// Values so large that a store frees space and uses it again between two syncs.
fn heavy_batch(number: u64) -> Vec<EngineWrite> {
    let heavy = |write| match write {
        EngineWrite::Put(key, value) if value.len() > 8 => EngineWrite::Put(key, value.repeat(20).into()),
        other => other,
    };
    batch(number).into_iter().map(heavy).collect()
}

/// `None` = there is nothing to trace with, and the test is left out.
fn record(kind: EngineKind, folder: &Path) -> Option<Vec<Event>> {
    if Command::new("strace").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        eprintln!("left out: there is no strace here");
        return None;
    }
    let scratch = scratch();
    let trace = scratch.path().join("trace");
    let status = Command::new("strace")
        .args(["-f", "-y", "-xx", "-s", "67108864", "-e", &format!("trace={}", trace::CALLS), "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["storage::power_cut::child", "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(KIND, kind.to_string())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    if !status.success() && fs::metadata(&trace).map_or(0, |trace| trace.len()) == 0 {
        eprintln!("left out: strace may trace nothing here");
        return None;
    }
    assert!(status.success(), "the traced process failed");
    Some(trace::read(&fs::read_to_string(&trace).unwrap(), folder))
}

/// The highest number that was said by then.
fn said(events: &[Event], what: &str) -> u64 {
    let number = |event: &Event| match event {
        Event::Said(line) => line.strip_prefix(what)?.strip_prefix(' ')?.parse().ok(),
        _ => None,
    };
    events.iter().filter_map(number).max().unwrap_or(0)
}

#[derive(Debug, Default)]
struct Seen {
    whole: usize,
    damaged: usize,
    older: usize,
    wrong: usize,
}

fn check_log(events: &[Event], folder: &Path, what: &str) {
    let volume = Volume::open(folder).unwrap();
    let Known::Data(kept) = volume.known() else {
        assert!(!events.iter().any(|event| matches!(event, Event::Said(line) if line == "begun")), "{what}");
        return;
    };
    let found = log::find(&folder.join("log")).unwrap();
    assert_eq!(found.differs_from(kept.log), None, "{what}: a log that is there counts as lost");
    let config = LogConfig {
        segment_bytes: SEGMENT_BYTES_MIN,
        salt: Some(kept.log.salt),
        ..super::support::small(&folder.join("log"))
    };
    let log = TestLog::open(config).unwrap();
    assert!(log.recovered.lost.is_empty() && log.damage.is_empty(), "{what}: {:?}", log.damage);
    let durable = said(events, "logged");
    for shard in (1..=SHARDS).filter(|_| durable > 0) {
        let found = &log.recovered.logs[&ShardId(shard)];
        let last = found.start.0 + found.entries.len() as u64;
        assert!(last >= durable, "{what}: shard {shard} ends at {last}, but {durable} was durable");
        assert!(found.start.0 <= said(events, "synced"), "{what}: cut beyond what the store had");
        assert!(found.entries.iter().all(|entry| *entry == write_at(shard, entry.index).entries[0]), "{what}");
    }
    assert!(!segments(&folder.join("log")).is_empty());
}

/// Batches that the store has, if it is a prefix of them.
fn prefix(engine: &engine::SharedEngine) -> Result<Option<u64>, String> {
    let found = scan(engine, &[], &[0xff]).map_err(|error| error.to_string())?;
    let count = count(engine);
    let mut expected = BTreeMap::new();
    for write in (1..=count).flat_map(heavy_batch) {
        match write {
            EngineWrite::Put(key, value) => drop(expected.insert(key, value)),
            EngineWrite::Delete(key) => drop(expected.remove(&key)),
        }
    }
    let is_prefix = found.into_iter().eq(expected.into_iter().map(|(k, v)| (k.to_vec(), v.to_vec())));
    Ok(is_prefix.then_some(count))
}

fn check_store(kind: EngineKind, events: &[Event], folder: &Path, what: &str, seen: &mut Seen) {
    let engine = match engine::open(kind, &folder.join("store"), CACHE_BYTES) {
        Ok(engine) => engine,
        Err(OpenError::Damaged { message, .. }) => {
            println!("{what}: {message}");
            seen.damaged += 1;
            return;
        }
        Err(error) => panic!("{what}: {error}"),
    };
    let synced = said(events, "synced");
    match prefix(&engine) {
        Ok(Some(count)) if count >= synced => seen.whole += 1,
        Ok(Some(count)) => {
            println!("{what}: {synced} were synced, {count} are there");
            seen.older += 1;
        }
        Ok(None) => {
            println!("{what}: no prefix");
            seen.wrong += 1;
        }
        Err(message) => {
            println!("{what}: {message}");
            seen.damaged += 1;
        }
    }
}

fn cut_at_many_moments(kind: EngineKind) -> Option<Seen> {
    let folder = scratch();
    let root = folder.path().canonicalize().unwrap();
    let events = record(kind, &root)?;
    assert_eq!(said(&events, "logged"), ROUNDS, "the trace is whole");
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut moments: BTreeSet<usize> = (0..CUTS).map(|_| rng.random_range(0..=events.len())).collect();
    moments.insert(events.len());
    let mut seen = Seen::default();
    for moment in moments {
        let disk = Disk::after(&events[..moment], &root);
        for fate in FATES {
            let target = scratch();
            disk.cut(fate, &mut rng, target.path());
            let what = format!("{kind} cut at {moment} of {}, {fate:?}", events.len());
            check_log(&events[..moment], target.path(), &what);
            check_store(kind, &events[..moment], target.path(), &what, &mut seen);
        }
    }
    println!("{kind}: {seen:?}");
    Some(seen)
}

#[test]
fn fjall_and_the_log_have_all_that_was_synced_after_a_power_cut() {
    let Some(seen) = cut_at_many_moments(EngineKind::Fjall) else { return };
    assert!((seen.damaged, seen.older, seen.wrong) == (0, 0, 0) && seen.whole > 0, "{seen:?}");
}

#[test]
fn sled_has_all_that_was_synced_after_a_power_cut_or_says_that_it_is_damaged() {
    let Some(seen) = cut_at_many_moments(EngineKind::Sled) else { return };
    assert!((seen.older, seen.wrong) == (0, 0) && seen.whole > seen.damaged, "{seen:?}");
}
