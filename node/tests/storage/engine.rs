//! Both stores keep the engine's contract: the same tests on each.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use skerry_core::engine::{EngineError, EngineWrite};
use skerry_node::engine::{self, EngineKind, OpenError, SharedEngine};

/// Key and value of a record.
type Record = (Vec<u8>, Vec<u8>);

pub(super) const CACHE_BYTES: u64 = 16 << 20;

pub(super) fn open(kind: EngineKind, folder: &Path) -> SharedEngine {
    engine::open(kind, folder, CACHE_BYTES).unwrap()
}

pub(super) fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> EngineWrite {
    EngineWrite::Put(Bytes::from(key.into()), Bytes::from(value.into()))
}

fn delete(key: &'static str) -> EngineWrite {
    EngineWrite::Delete(Bytes::from_static(key.as_bytes()))
}

pub(super) fn scan(engine: &SharedEngine, start: &[u8], end: &[u8]) -> Result<Vec<Record>, EngineError> {
    let mut records = Vec::new();
    engine.scan(start, end, &mut |key, value| {
        records.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    Ok(records)
}

fn keys(engine: &SharedEngine, start: &str, end: &str) -> Vec<String> {
    let records = scan(engine, start.as_bytes(), end.as_bytes()).unwrap();
    records.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect()
}

fn gets_what_was_put_last(kind: EngineKind) {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(kind, folder.path());
    assert_eq!(engine.get(b"a").unwrap(), None);
    engine.write(vec![put("a", "1"), put("b", "2"), put("a", "3"), delete("b"), delete("never there")]).unwrap();
    assert_eq!(engine.get(b"a").unwrap().unwrap(), "3");
    assert_eq!(engine.get(b"b").unwrap(), None);
    engine.write(vec![delete("a"), put("a", "")]).unwrap();
    assert_eq!(engine.get(b"a").unwrap().unwrap(), "", "an empty value is not an absent one");
    engine.write(Vec::new()).unwrap();
}

fn scans_in_order_within_bounds(kind: EngineKind) {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(kind, folder.path());
    engine.write(["b", "a", "c", "ab", "\u{ff}", "b\0"].map(|key| put(key, key)).to_vec()).unwrap();
    assert_eq!(keys(&engine, "a", "c"), ["a", "ab", "b", "b\0"]);
    assert_eq!(keys(&engine, "aa", "b"), ["ab"]);
    assert_eq!(keys(&engine, "b", "b"), Vec::<String>::new());
    assert_eq!(keys(&engine, "c", "a"), Vec::<String>::new(), "a range that ends before it starts is empty");
    let mut visited = 0;
    let stop_at_two = &mut |_: &[u8], _: &[u8]| {
        visited += 1;
        if visited == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    engine.scan(b"", b"\xff\xff", stop_at_two).unwrap();
    assert_eq!(visited, 2);
}

fn takes_the_largest_record_and_batch(kind: EngineKind) {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(kind, folder.path());
    let key = vec![b'k'; 9 << 10];
    let value: Vec<u8> = (0..1u32 << 18).flat_map(u32::to_le_bytes).collect();
    engine.write(vec![put(key.clone(), value.clone()), put("b", value.clone()), put("c", value.clone())]).unwrap();
    engine.write((0..10_000u32).map(|n| put(n.to_be_bytes(), vec![1; 400])).collect()).unwrap();
    engine.sync().unwrap();
    drop(engine);
    let engine = open(kind, folder.path());
    assert_eq!(engine.get(&key).unwrap().unwrap(), value);
    assert_eq!(scan(&engine, &[0], &[1]).unwrap().len(), 10_000);
    assert!(engine.disk_bytes().unwrap() > 3 << 20);
}

fn reopened_it_has_everything(kind: EngineKind) {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..4u32 {
        let engine = open(kind, folder.path());
        for n in 0..200u32 {
            engine
                .write(vec![put((round * 200 + n).to_be_bytes(), n.to_le_bytes()), put("count", n.to_le_bytes())])
                .unwrap();
        }
        engine.sync().unwrap();
        assert_eq!(scan(&engine, &[0], &[1]).unwrap().len(), (round as usize + 1) * 200);
    }
}

fn syncs_while_it_is_written(kind: EngineKind) {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(kind, folder.path());
    std::thread::scope(|scope| {
        let syncing = scope.spawn(|| (0..20).for_each(|_| engine.sync().unwrap()));
        for n in 0..2_000u32 {
            engine.write(vec![put(n.to_be_bytes(), vec![7; 100])]).unwrap();
        }
        syncing.join().unwrap();
    });
    assert_eq!(scan(&engine, &[0], &[1]).unwrap().len(), 2_000);
}

fn refuses_the_other_kind_of_store(kind: EngineKind) {
    let folder = tempfile::tempdir().unwrap();
    drop(open(kind, folder.path()));
    let other = if kind == EngineKind::Sled { EngineKind::Fjall } else { EngineKind::Sled };
    let error = engine::open(other, folder.path(), CACHE_BYTES).err().unwrap();
    let text = error.to_string();
    assert!(matches!(error, OpenError::OtherKind { found, wanted, .. } if (found, wanted) == (kind, other)), "{text}");
    assert!(text.contains(&kind.to_string()) && text.contains(&other.to_string()), "{text}");
    let later = "skerry store 2 something";
    fs::write(folder.path().join("skerry-store"), format!("{later} {:08x}", crc32c::crc32c(later.as_bytes()))).unwrap();
    assert!(matches!(engine::open(kind, folder.path(), CACHE_BYTES), Err(OpenError::Newer(_))));
    fs::write(folder.path().join("skerry-store"), "something").unwrap();
    assert!(matches!(engine::open(kind, folder.path(), CACHE_BYTES), Err(OpenError::Mark { .. })));
}

fn a_folder_with_other_things_is_not_taken(kind: EngineKind) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("holiday.jpg"), "not ours").unwrap();
    assert!(matches!(engine::open(kind, folder.path(), CACHE_BYTES), Err(OpenError::Mark { .. })));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Every file of the store is turned to noise: it says so, and does not take the process down.
fn a_ruined_store_is_an_error(kind: EngineKind) {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(kind, folder.path());
    (0..3_000u32).for_each(|n| engine.write(vec![put(n.to_be_bytes(), vec![7; 300])]).unwrap());
    engine.sync().unwrap();
    drop(engine);
    ruin(&folder.path().join(kind.to_string()));
    match engine::open(kind, folder.path(), CACHE_BYTES) {
        Err(OpenError::Damaged { .. }) => {}
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a ruined store was opened"),
    }
}

/// Its trees say so beside the database as a whole: a release may change either.
#[test]
fn a_store_of_a_later_fjall_is_not_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(EngineKind::Fjall, folder.path());
    engine.write(vec![put("kept", "1")]).unwrap();
    engine.sync().unwrap();
    drop(engine);
    let version = folder.path().join("fjall/version");
    for later in [4, 200] {
        let mut bytes = fs::read(&version).unwrap();
        let before = std::mem::replace(&mut bytes[3], later);
        fs::write(&version, &bytes).unwrap();
        let refused = engine::open(EngineKind::Fjall, folder.path(), CACHE_BYTES).err().unwrap();
        assert!(matches!(refused, OpenError::Newer(_)), "{refused}");
        bytes[3] = before;
        fs::write(&version, &bytes).unwrap();
    }
    assert_eq!(open(EngineKind::Fjall, folder.path()).get(b"kept").unwrap().unwrap(), "1");
}

/// It would wait for ever for a release that does not exist.
#[test]
fn a_store_with_a_flipped_bit_in_what_tells_its_version_is_never_taken_for_one_of_a_later_release() {
    // In steps, where every bit is tried elsewhere.
    let files = [
        (EngineKind::Sled, "skerry-store", 11),
        (EngineKind::Sled, "sled/conf", 5),
        (EngineKind::Fjall, "skerry-store", 11),
        (EngineKind::Fjall, "fjall/version", 1),
    ];
    for (kind, name, step) in files {
        let folder = tempfile::tempdir().unwrap();
        let engine = open(kind, folder.path());
        engine.write(vec![put("kept", "1")]).unwrap();
        engine.sync().unwrap();
        drop(engine);
        let path = folder.path().join(name);
        let whole = fs::read(&path).unwrap();
        for bit in (0..whole.len() * 8).step_by(step) {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, flipped).unwrap();
            match engine::open(kind, folder.path(), CACHE_BYTES) {
                Ok(engine) => assert_eq!(engine.get(b"kept").unwrap().unwrap(), "1"),
                Err(refused) => assert!(matches!(refused, OpenError::Damaged { .. }), "{name}, bit {bit}: {refused}"),
            }
        }
    }
}

fn ruin(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            ruin(&entry.path());
        } else {
            let length = entry.metadata().unwrap().len().min(1 << 20);
            let noise: Vec<u8> = (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 7) as u8 | 1).collect();
            fs::write(entry.path(), noise).unwrap();
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<(u16, Option<Vec<u8>>)>),
    Sync,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let value = prop::option::weighted(0.7, vec(any::<u8>(), 0..60));
    prop_oneof![
        10 => vec((0u16..300, value), 1..30).prop_map(Step::Write),
        1 => Just(Step::Sync),
        1 => Just(Step::Reopen),
    ]
}

fn behaves_like_an_ordered_map(kind: EngineKind, steps: &[Step]) {
    let folder = tempfile::tempdir().unwrap();
    let mut engine = open(kind, folder.path());
    let mut model = BTreeMap::new();
    for step in steps {
        match step {
            Step::Write(writes) => {
                let mut batch = Vec::new();
                for (key, value) in writes {
                    let key = key.to_be_bytes().to_vec();
                    match value {
                        Some(value) => {
                            batch.push(put(key.clone(), value.clone()));
                            model.insert(key, value.clone());
                        }
                        None => {
                            model.remove(&key);
                            batch.push(EngineWrite::Delete(key.into()));
                        }
                    }
                }
                engine.write(batch).unwrap();
            }
            Step::Sync => engine.sync().unwrap(),
            Step::Reopen => {
                drop(engine);
                engine = open(kind, folder.path());
            }
        }
        let (start, end) = (40u16.to_be_bytes(), 200u16.to_be_bytes());
        let range: Vec<_> = model.range(start.to_vec()..end.to_vec()).map(|(k, v)| (k.clone(), v.clone())).collect();
        assert_eq!(scan(&engine, &start, &end).unwrap(), range);
        for key in (0..300u16).step_by(37).map(u16::to_be_bytes) {
            assert_eq!(engine.get(&key).unwrap().as_deref(), model.get(&key[..]).map(Vec::as_slice));
        }
    }
}

macro_rules! on_each_store {
    ($($test:ident),* $(,)?) => {
        on_each_store!(@kind sled, EngineKind::Sled, $($test),*);
        on_each_store!(@kind fjall, EngineKind::Fjall, $($test),*);
    };
    (@kind $name:ident, $kind:expr, $($test:ident),*) => {
        mod $name {
            use super::*;

            $(#[test]
            fn $test() {
                super::$test($kind);
            })*

            proptest! {
                #![proptest_config(ProptestConfig::with_cases(24))]
                #[test]
                fn behaves_like_an_ordered_map(steps in vec(step(), 1..40)) {
                    super::behaves_like_an_ordered_map($kind, &steps);
                }
            }
        }
    };
}

on_each_store!(
    gets_what_was_put_last,
    scans_in_order_within_bounds,
    takes_the_largest_record_and_batch,
    reopened_it_has_everything,
    syncs_while_it_is_written,
    refuses_the_other_kind_of_store,
    a_folder_with_other_things_is_not_taken,
    a_ruined_store_is_an_error,
);
