//! A journal of fjall that was sealed, and made durable as a whole, is never cut short unnoticed. The one at work is: a crash
//! leaves it torn.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use skerry_core::engine::EngineWrite;
use skerry_node::engine::{self, EngineKind, OpenError};

use super::engine::{CACHE_BYTES, open, put, scan};

const BATCHES: u32 = 60;
/// What ends a batch in a journal.
const BATCH_END: &[u8] = b"FJL\x03";

fn batch(number: u32) -> Vec<EngineWrite> {
    vec![put(number.to_be_bytes(), vec![7; 500]), put("applied", number.to_be_bytes())]
}

/// A store whose only journal has batches 1 to 60, and for each where it ends.
fn store(folder: &Path) -> Vec<usize> {
    let engine = open(EngineKind::Fjall, folder);
    (1..=BATCHES).for_each(|number| engine.write(batch(number)).unwrap());
    engine.sync().unwrap();
    drop(engine);
    let content = fs::read(folder.join("fjall/0.jnl")).unwrap();
    let ends = content.windows(4).enumerate().filter(|(_, bytes)| *bytes == BATCH_END).map(|(at, _)| at + 4);
    let ends: Vec<_> = ends.collect();
    assert_eq!(ends.len(), BATCHES as usize);
    ends
}

/// As a node leaves it that dies once it has begun another journal.
fn seal(folder: &Path) {
    fs::write(folder.join("fjall/1.jnl"), vec![0; 1 << 20]).unwrap();
}

fn write_at(folder: &Path, at: usize, bytes: &[u8]) {
    let journal = File::options().write(true).open(folder.join("fjall/0.jnl")).unwrap();
    journal.write_all_at(bytes, at as u64).unwrap();
}

fn batches_in(folder: &Path) -> usize {
    scan(&open(EngineKind::Fjall, folder), &[0], &[1]).unwrap().len()
}

#[test]
fn a_sealed_journal_that_can_be_read_only_in_part_is_damage() {
    for what in ["the next batch's tag", "the end of a batch"] {
        let folder = tempfile::tempdir().unwrap();
        let ends = store(folder.path());
        seal(folder.path());
        match what {
            "the end of a batch" => write_at(folder.path(), ends[20] - 1, &[BATCH_END[3] ^ 4]),
            _ => write_at(folder.path(), ends[20], &[1 ^ 8]),
        }
        match engine::open(EngineKind::Fjall, folder.path(), CACHE_BYTES) {
            Err(OpenError::Damaged { message, .. }) => assert!(message.contains("0.jnl"), "{what}: {message}"),
            Err(other) => panic!("{what}: {other}"),
            Ok(_) => panic!("{what} is damaged, and the store opens with a gap"),
        }
    }
}

/// The first opening finds it and cannot tell damage from a disk that does not answer: the next one must not take what is
/// left for the whole.
#[test]
fn damage_of_a_sealed_journal_is_found_again_after_an_opening_that_told_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let ends = store(folder.path());
    seal(folder.path());
    write_at(folder.path(), ends[20], &[1 ^ 8]);
    // Whoever looks for what hinders the reading makes a file of this name.
    let hindrance = folder.path().join("space.probe");
    fs::create_dir(&hindrance).unwrap();
    let open = || engine::open(EngineKind::Fjall, folder.path(), CACHE_BYTES);
    assert!(matches!(open(), Err(OpenError::Unusable { .. } | OpenError::Folder { .. })));
    fs::remove_dir(&hindrance).unwrap();
    assert!(matches!(open(), Err(OpenError::Damaged { .. })));
    assert!(matches!(open(), Err(OpenError::Damaged { .. })));
}

/// An opening is broken off, here by another process that has the store, and the folder is restored: its files have each
/// other's numbers now.
#[test]
fn a_store_that_was_restored_after_an_opening_was_broken_off_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let ends = store(folder.path());
    let at = |name: &str| folder.path().join("fjall").join(name);
    let content = fs::read(at("0.jnl")).unwrap();
    let (first, second) = (&content[..ends[39]], &content[ends[39]..ends[59]]);
    fs::write(at("0.jnl"), first).unwrap();
    fs::write(at("1.jnl"), second).unwrap();
    fs::write(at("2.jnl"), vec![0; 1 << 20]).unwrap();
    let lock = File::options().read(true).write(true).create(true).truncate(false).open(at("lock")).unwrap();
    lock.lock().unwrap();
    let broken_off = engine::open(EngineKind::Fjall, folder.path(), CACHE_BYTES);
    assert!(matches!(broken_off, Err(OpenError::Unusable { .. })));
    lock.unlock().unwrap();
    assert!(folder.path().join("fjall.sealed").try_exists().unwrap());
    fs::rename(at("0.jnl"), at("x")).unwrap();
    fs::rename(at("1.jnl"), at("0.jnl")).unwrap();
    fs::rename(at("x"), at("1.jnl")).unwrap();
    fs::write(at("0.jnl"), first).unwrap();
    fs::write(at("1.jnl"), second).unwrap();
    assert_eq!(batches_in(folder.path()), BATCHES as usize);
}

#[test]
fn a_note_of_sealed_journals_that_nobody_understands_keeps_no_store_from_opening() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path());
    fs::write(folder.path().join("fjall.sealed"), b"\xff 1\n0 1\n").unwrap();
    assert_eq!(batches_in(folder.path()), BATCHES as usize);
}

#[test]
fn a_whole_sealed_journal_is_read_with_or_without_the_zeros_that_were_made_ahead() {
    for zeros in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let ends = store(folder.path());
        if !zeros {
            let journal = File::options().write(true).open(folder.path().join("fjall/0.jnl")).unwrap();
            journal.set_len(*ends.last().unwrap() as u64).unwrap();
        }
        seal(folder.path());
        assert_eq!(batches_in(folder.path()), BATCHES as usize);
        assert_eq!(batches_in(folder.path()), BATCHES as usize, "again");
    }
}

/// A write that found no space leaves a part of a batch, and fjall may begin another journal all the same.
#[test]
fn a_batch_that_was_never_whole_is_no_damage_of_a_sealed_journal() {
    for torn in [300, 600, 70_000] {
        let folder = tempfile::tempdir().unwrap();
        let ends = store(folder.path());
        let content = fs::read(folder.path().join("fjall/0.jnl")).unwrap();
        let mut part = content[ends[57]..ends[58]].to_vec();
        part.truncate(part.len() - 14);
        part.resize(torn, 7);
        write_at(folder.path(), ends[59], &part);
        seal(folder.path());
        assert_eq!(batches_in(folder.path()), BATCHES as usize, "{torn}");
    }
}

#[test]
fn the_journal_at_work_may_be_torn() {
    let folder = tempfile::tempdir().unwrap();
    let ends = store(folder.path());
    write_at(folder.path(), ends[40], &vec![0; ends[59] - ends[40]]);
    write_at(folder.path(), ends[40], &[1, 9, 0, 0]);
    assert_eq!(batches_in(folder.path()), 41);
}
