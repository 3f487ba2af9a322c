//! Claims about the sums of what a copy holds.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::engine::{Engine, EngineWrite};
use crate::key::{encode, hash_starts};
use crate::map::{Fragmentation, in_bounds};
use crate::record::{Context, Stamp, Value};
use crate::replica::tests::Memory;
use crate::time::Version;

const SHARD: ShardId = ShardId(3);

fn record(version: u64, is_tombstone: bool) -> Stored {
    let stamp = Stamp::lowest(Version(version));
    Stored::new(Value { stamp, is_tombstone, ..Value::default() }, Context::of_last_writer(stamp))
}

fn grid() -> Grid {
    Grid::even(&[], None)
}

/// The sums of records, from nothing.
fn tree_of(records: &BTreeMap<Vec<u8>, Stored>) -> Tree {
    let mut tree = Tree::new(SHARD, grid());
    records.iter().for_each(|(key, record)| tree.changed(key, None, Some(record)));
    tree
}

fn sums(tree: &Tree) -> Vec<u128> {
    (0..=u16::MAX).take(LEAVES).map(|leaf| tree.leaf(leaf)).collect()
}

#[test]
fn a_digest_tells_keys_stamps_and_deletes_apart_and_not_what_was_seen() {
    let of = |record: &Stored| digest(b"key", record);
    let one = record(1, false);
    assert_ne!(of(&one), of(&record(2, false)));
    assert_ne!(of(&one), of(&record(1, true)));
    assert_ne!(of(&one), digest(b"kez", &one));
    let mut sibling = record(2, false);
    assert_ne!(of(&sibling), of(&Stored { siblings: vec![one.newest.clone()], ..sibling.clone() }));
    let before = of(&sibling);
    sibling.context.raise(Version(1));
    assert_eq!(of(&sibling), before);
}

#[test]
fn the_sums_of_slices_and_of_all_are_those_of_the_leaves() {
    let records = (0..200_u64)
        .map(|i| (xxhash_rust::xxh3::xxh3_64(&i.to_be_bytes()).to_be_bytes().to_vec(), record(i + 1, false)));
    let tree = tree_of(&records.collect());
    let slices = (0..=u8::MAX).take(SLICES).fold(0_u128, |sum, slice| sum.wrapping_add(tree.slice(slice)));
    assert_eq!((slices, tree.slice(u8::MAX)), (tree.root(), 0));
    assert!(sums(&tree).iter().filter(|sum| **sum != 0).count() > 150, "hashes spread over all leaves");
}

#[test]
fn a_grid_gives_each_leaf_the_range_of_its_keys() {
    let keys: Vec<Bytes> =
        (0..5_000_u64).map(|i| encode(Fragmentation::Hash, &i.to_be_bytes(), b"").unwrap()).collect();
    let mut sorted = keys.clone();
    sorted.sort();
    let starts = hash_starts(3);
    let small = [b"ab".as_slice(), b"b\0", b"b", b"", b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"].map(Bytes::from_static);
    for grid in [
        grid(),
        Grid::even(&starts[1], Some(&starts[2])),
        Grid::even(b"b", Some(b"c")),
        Grid::even(b"b", Some(b"b\0\0\0\0\0\0\x07")),
        Grid::even(&[0xFF; 8], None),
        Grid::At(sorted.iter().step_by(5).skip(1).cloned().collect()),
        Grid::At(Vec::new()),
    ] {
        for key in keys.iter().chain(&small) {
            let leaf = grid.leaf(key);
            let (start, end) = grid.range(leaf).expect("there is such a leaf");
            let is_beyond = matches!(grid, Grid::Even { start, end } if !(u128::from(start)..end).contains(&u128::from(number(key))));
            assert!(is_beyond || in_bounds(key, &start, end.as_deref()), "{key:?} in {leaf} of {grid:?}");
        }
    }
}

fn number(key: &[u8]) -> u64 {
    let mut bytes = key.to_vec();
    bytes.resize(8, 0);
    bytes.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[test]
fn grids_are_told_apart() {
    let key = Bytes::from_static;
    let one = Grid::At(vec![key(b"a"), key(b"b")]);
    assert_ne!(one.id(), Grid::At(vec![key(b"ab")]).id());
    assert_eq!(one.id(), one.clone().id());
    let end = 1_u128 << 64;
    let alike = Grid::At(vec![Bytes::copy_from_slice(&end.to_be_bytes())]);
    assert_ne!(Grid::Even { start: 16, end }.id(), alike.id(), "of another kind, and written alike");
}

#[test]
fn a_tree_of_another_grid_is_void_from_the_first_change_on() {
    for has_passed in [false, true] {
        let engine = Memory::default();
        let write = |writes: Vec<EngineWrite>| engine.write(writes).expect("it is in memory");
        let open = |grid| Tree::open(SHARD, grid, &engine).expect("it is in memory");
        let mut tree = Tree::new(SHARD, grid());
        tree.changed(b"a", None, Some(&record(1, false)));
        write(tree.save());
        let mut other = open(Grid::At(Vec::new()));
        assert_eq!(open(grid()).passed(), None, "nothing has changed");
        if has_passed {
            other.pass([(&b"a"[..], &record(1, false))].into_iter(), None);
        }
        // A record changes, and the node ends before the tree of the other grid is saved.
        other.changed(b"a", Some(&record(1, false)), Some(&record(2, false)));
        write(other.batch(7).into_iter().collect());
        assert!(open(grid()).passed().is_some(), "its sums are of other records");
        other.changed(b"a", Some(&record(2, false)), Some(&record(3, false)));
        assert_eq!(other.batch(8), None, "once is enough");
    }
}

#[test]
fn batches_of_one_number_are_all_added_at_the_next_start() {
    let engine = Memory::default();
    let write = |writes: Vec<EngineWrite>| engine.write(writes).expect("it is in memory");
    let mut tree = Tree::new(SHARD, grid());
    write(tree.save());
    // One that is applied, and two passes over what may be forgotten; then the next one, after a start.
    for (key, number) in [(b"a", 7), (b"b", 7), (b"c", 7), (b"d", 8)] {
        tree.changed(key, None, Some(&record(1, false)));
        write(tree.batch(number).into_iter().collect());
        let opened = Tree::open(SHARD, grid(), &engine).expect("it is in memory");
        assert_eq!(sums(&opened), sums(&tree));
        tree = opened;
    }
}

#[test]
fn a_pass_finds_all_records_though_they_change_meanwhile() {
    let mut records: BTreeMap<Vec<u8>, Stored> = (0..=99_u8).map(|k| (vec![k], record(1, false))).collect();
    let mut tree = Tree::new(SHARD, Grid::At(Vec::new()));
    drop(tree.begin_pass(grid()));
    let mut turn = 0;
    while let Some(from) = tree.passed().cloned() {
        let page: Vec<_> = records.range(from.to_vec()..).take(30).collect();
        let next = records.range(from.to_vec()..).nth(30).map(|(key, _)| Bytes::from(key.clone()));
        tree.pass(page.iter().map(|(key, record)| (key.as_slice(), *record)), next);
        for key in [3_u8, 50, 98] {
            turn += 1;
            let new = (turn % 3 != 0).then(|| record(10 + turn, turn % 2 == 0));
            let old = records.get(&vec![key]).cloned();
            tree.changed(&[key], old.as_ref(), new.as_ref());
            match new {
                Some(new) => drop(records.insert(vec![key], new)),
                None => drop(records.remove(&vec![key])),
            }
        }
    }
    assert_eq!(sums(&tree), sums(&tree_of(&records)));
}

#[cfg(feature = "planted")]
#[test]
fn a_digest_without_deletes_is_noticed() {
    let (one, other) = (BTreeMap::from([(vec![1], record(5, true))]), BTreeMap::new());
    assert_ne!(tree_of(&one).root(), tree_of(&other).root());
    crate::planted::plant(Some(Planted::DigestWithoutTombstones));
    let roots = (tree_of(&one).root(), tree_of(&other).root());
    crate::planted::plant(None);
    assert_eq!(roots.0, roots.1);
}

/// What a copy does between crashes.
#[derive(Debug, Clone)]
enum Step {
    /// A batch of changes: keys, and whether each is deleted for good.
    Batch(Vec<(u8, bool)>),
    /// The leaves are saved, and that batch is the last that is certainly durable.
    Save,
    /// The node ends; the store has a prefix of the batches, so many after the last sync.
    Crash(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => vec((any::<u8>(), prop::bool::weighted(0.2)), 1..5).prop_map(Step::Batch),
        2 => Just(Step::Save),
        2 => (0..6_usize).prop_map(Step::Crash),
    ]
}

fn engine_of(batches: &[Vec<EngineWrite>]) -> Memory {
    let engine = Memory::default();
    batches.iter().for_each(|batch| engine.write(batch.clone()).expect("it is in memory"));
    engine
}

fn records_in(engine: &Memory) -> BTreeMap<Vec<u8>, Stored> {
    let mut records = BTreeMap::new();
    let read = |key: &[u8], value: &[u8]| {
        records.insert(key[1..].to_vec(), Stored::decode(&Bytes::copy_from_slice(value)).expect("it was written"));
        std::ops::ControlFlow::Continue(())
    };
    let mut read = read;
    engine.scan(b"d", b"e", &mut read).expect("it is in memory");
    records
}

proptest! {
    #[test]
    fn after_a_crash_at_any_batch_the_sums_are_those_of_the_records_without_reading_them(steps in vec(step(), 1..40)) {
        let mut batches: Vec<Vec<EngineWrite>> = Vec::new();
        let (mut synced, mut number) = (0, 0);
        let mut tree = Tree::new(SHARD, grid());
        batches.push(tree.save());
        synced += batches.len();
        for step in steps {
            match step {
                Step::Batch(changes) => {
                    number += 1;
                    let mut records = records_in(&engine_of(&batches));
                    let mut batch = Vec::new();
                    for (key, is_end) in changes {
                        let old = records.get(&vec![key]).cloned();
                        let new = (!is_end).then(|| record(number, key.is_multiple_of(2)));
                        tree.changed(&[key], old.as_ref(), new.as_ref());
                        let at = Bytes::from(vec![b'd', key]);
                        batch.push(match new {
                            Some(new) => {
                                let bytes = new.encode();
                                records.insert(vec![key], new);
                                EngineWrite::Put(at, bytes)
                            }
                            None => {
                                records.remove(&vec![key]);
                                EngineWrite::Delete(at)
                            }
                        });
                    }
                    batch.extend(tree.batch(number));
                    batches.push(batch);
                }
                Step::Save => {
                    batches.push(tree.save());
                    synced = batches.len();
                }
                Step::Crash(kept) => {
                    batches.truncate(synced + kept);
                    synced = batches.len();
                    tree = Tree::open(SHARD, grid(), &engine_of(&batches)).expect("it is in memory");
                    prop_assert_eq!(tree.passed(), None);
                }
            }
            let records = records_in(&engine_of(&batches));
            prop_assert_eq!(sums(&tree), sums(&tree_of(&records)));
        }
        let other = Tree::open(SHARD, Grid::At(Vec::new()), &engine_of(&batches)).expect("it is in memory");
        prop_assert!(other.passed().is_some(), "of another grid nothing is known");
    }
}
