//! What earlier versions of this program wrote is read for ever.
//!
//! Each fixture is a folder as a closed log or store left it. A later version of a format gets fixtures beside these;
//! nobody changes or removes one. To make those of the current version, where there are none yet:
//! `cargo test -p skerry-node --test storage generate -- --ignored`.

use std::fs;
use std::path::{Path, PathBuf};

use skerry_core::log::LogWrite;
use skerry_node::engine::EngineKind;

use super::engine::{open, put, scan};
use super::support::{
    Model, TestLog, apply, apply_cut, copy_folder, cut, entries, segments, small, write, write_entries, write_state,
};

fn fixture(name: &str) -> PathBuf {
    Path::new("tests/fixtures").join(name)
}

/// fjall's journal and its length. The zeros at its end are not kept in the fixture.
const JOURNAL: &str = "fjall/0.jnl";
const JOURNAL_BYTES: u64 = 64 << 20;

/// A copy that may be written to.
fn copy_of(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&fixture(name), folder.path()).unwrap();
    set_journal_length(folder.path(), |_| JOURNAL_BYTES);
    folder
}

fn set_journal_length(folder: &Path, length: impl FnOnce(&[u8]) -> u64) {
    let path = folder.join(JOURNAL);
    if let Ok(content) = fs::read(&path) {
        fs::File::options().write(true).open(&path).unwrap().set_len(length(&content)).unwrap();
    }
}

/// What the log of the fixtures was told. Long enough that its first segment is gone.
fn fill_log(log: &mut TestLog) -> Model {
    let mut model = Model::new();
    let append = |log: &mut TestLog, model: &mut Model, writes: Vec<LogWrite>| {
        writes.iter().for_each(|write| apply(model, write));
        log.append(writes);
    };
    let ended = write_entries(5, 50, 1, 2, 10);
    append(log, &mut model, vec![write_state(1, 10, 4), write_entries(2, 20, 1, 9, 100), ended]);
    append(log, &mut model, vec![LogWrite { reset: Some((30, 3)), ..write_entries(3, 30, 31, 33, 50) }]);
    append(log, &mut model, vec![LogWrite { entries: entries(6, 7, 2, 60), ..write(2, 20) }]);
    append(log, &mut model, vec![LogWrite { destroyed: true, ..write(5, 50) }, write_entries(3, 31, 1, 2, 20)]);
    for index in 1..=40 {
        append(log, &mut model, vec![write_entries(4, 40, index, index, 1000)]);
        let forget = cut(4, 40, index - 1, 1);
        apply_cut(&mut model, &forget);
        log.handle.cut(vec![forget]).unwrap();
    }
    model
}

fn expected_log() -> Model {
    let folder = tempfile::tempdir().unwrap();
    fill_log(&mut TestLog::open(small(folder.path())).unwrap())
}

fn records() -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    (0..500u32).map(|n| (n.to_be_bytes().to_vec(), n.to_le_bytes().repeat(1 + n as usize % 30)))
}

#[test]
#[ignore = "writes the fixtures of the current version, once"]
fn generate() {
    let folder = fixture("log-1");
    if !folder.try_exists().unwrap() {
        let mut log = TestLog::open(small(&folder)).unwrap();
        fill_log(&mut log);
        log.handle.close().unwrap();
        fs::remove_file(folder.join("spare")).unwrap();
    }
    for kind in [EngineKind::Sled, EngineKind::Fjall] {
        let folder = fixture(&format!("store-{kind}-1"));
        if !folder.try_exists().unwrap() {
            let engine = open(kind, &folder);
            for (key, value) in records() {
                engine.write(vec![put(key, value)]).unwrap();
            }
            engine.sync().unwrap();
            drop(engine);
            set_journal_length(&folder, |content| content.iter().rposition(|&byte| byte != 0).unwrap() as u64 + 1);
        }
    }
}

#[test]
fn a_log_of_version_1_is_read_and_goes_on() {
    let folder = copy_of("log-1");
    assert!(!segments(folder.path())[0].ends_with("00000000000000000001.log"), "the fixture begins with a checkpoint");
    let mut log = TestLog::open(small(folder.path())).unwrap();
    let mut model = expected_log();
    assert_eq!(log.recovered.logs, model);
    assert!(log.recovered.lost.is_empty() && log.damage.is_empty());
    let more = write_entries(2, 20, 8, 9, 10);
    apply(&mut model, &more);
    log.append(vec![more]);
    log.handle.close().unwrap();
    assert_eq!(TestLog::open(small(folder.path())).unwrap().recovered.logs, model);
}

fn is_read_and_goes_on(kind: EngineKind) {
    let folder = copy_of(&format!("store-{kind}-1"));
    let engine = open(kind, folder.path());
    assert!(scan(&engine, &[0], &[1]).unwrap().into_iter().eq(records()));
    engine.write(vec![put("more", "of it")]).unwrap();
    engine.sync().unwrap();
    assert_eq!(engine.get(b"more").unwrap().unwrap(), "of it");
}

#[test]
fn a_sled_store_of_version_1_is_read_and_goes_on() {
    is_read_and_goes_on(EngineKind::Sled);
}

#[test]
fn a_fjall_store_of_version_1_is_read_and_goes_on() {
    is_read_and_goes_on(EngineKind::Fjall);
}

#[test]
fn a_later_log_version_is_refused_by_its_number() {
    let folder = copy_of("log-1");
    let path = segments(folder.path()).pop().unwrap();
    let mut content = fs::read(&path).unwrap();
    for at in [0, 2048] {
        content[at + 8] = 2;
        let crc = crc32c::crc32c(&content[at..at + 36]);
        content[at + 36..at + 40].copy_from_slice(&crc.to_le_bytes());
    }
    fs::write(&path, content).unwrap();
    let error = TestLog::open(small(folder.path())).err().unwrap().to_string();
    assert!(error.contains("newer version") && error.contains("format is 2, up to 1"), "{error}");
}
