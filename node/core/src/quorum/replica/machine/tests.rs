//! Claims about what a copy holds.

use super::*;
use crate::engine::{shard_key, state as kinds};
use crate::ids::{Generation, ReplicaId, ShardId, TableId};
use crate::map::Descriptor;
use crate::quorum::copies::Copies;
use crate::quorum::merkle::compare::View;
use crate::record::{Context, Value};
use crate::replica::tests::Memory;
use crate::time::Version;

const SHARD: ShardId = ShardId(5);

fn state() -> QuorumState {
    let descriptor = Descriptor { shard: SHARD, table: TableId(2), ..Descriptor::default() };
    let copies = Copies { members: [1, 2, 3].map(ReplicaId).to_vec(), write: 2, read: 2 };
    QuorumState::first(ReplicaId(1), &descriptor, Layout::settled(Generation(1), copies))
}

fn open(engine: &Memory) -> Machine {
    let stored = engine.get(&shard_key(SHARD, kinds::QUORUM, &[])).unwrap();
    let state = stored.map_or_else(state, |stored| QuorumState::decode_of(SHARD, &stored).unwrap());
    let mut machine = Machine::open(state, engine).unwrap();
    while machine.pass(engine).unwrap() {}
    machine
}

fn record(version: u64, is_tombstone: bool) -> Stored {
    let stamp = Stamp::lowest(Version(version));
    let value = Value { stamp, by_last_writer: true, is_tombstone, ..Value::default() };
    Stored::new(value, Context::of_last_writer(stamp))
}

fn writes(of: &[(&'static str, u64, bool)]) -> Journaled {
    let write = |(key, version, is_tombstone): &(&'static str, u64, bool)| {
        let record = record(*version, *is_tombstone);
        (Bytes::from(*key), record.encode(), record.newest.stamp)
    };
    Journaled::Writes(of.iter().map(write).collect())
}

fn apply(machine: &mut Machine, entries: &[Journaled], engine: &Memory) -> Vec<Taken> {
    let taken = entries.iter().map(|entry| machine.apply(machine.state().applied() + 1, entry, engine).unwrap());
    let taken = taken.collect();
    machine.flush(engine).unwrap();
    taken
}

/// The sums, counted anew.
fn counted(machine: &Machine, engine: &Memory) -> u128 {
    let mut tree = Tree::new(SHARD, machine.tree().grid().clone());
    let (records, _) = machine.records(engine).slice(b"", usize::MAX, usize::MAX).unwrap();
    records.iter().for_each(|(key, record)| tree.changed(key, None, Some(record)));
    tree.root()
}

#[test]
fn entries_that_are_applied_together_are_as_if_applied_one_by_one() {
    let entries = [
        writes(&[("a", 3, false), ("b", 4, false)]),
        writes(&[("a", 5, false), ("c", 6, true)]),
        Journaled::Bar(Version(7)),
        writes(&[("a", 7, false), ("b", 8, false), ("a", 5, false)]),
        Journaled::Copies(vec![(Bytes::from_static(b"d"), record(2, false).encode())]),
    ];
    let (one, other) = (Memory::default(), Memory::default());
    let (mut together, mut alone) = (open(&one), open(&other));
    let taken = apply(&mut together, &entries, &one);
    let single: Vec<Taken> =
        entries.iter().flat_map(|entry| apply(&mut alone, std::slice::from_ref(entry), &other)).collect();
    assert_eq!(taken, single);
    assert_eq!(taken[3], [Err(Refused::TooOld(Version(7))), Ok(true), Ok(false)], "what is held is acknowledged");
    assert_eq!(together.state(), alone.state());
    assert_eq!(together.tree().root(), alone.tree().root());
    assert_eq!(together.tree().root(), counted(&together, &one));
    assert_eq!(together.state().last_version(), Version(8));
}

#[test]
fn bytes_are_those_of_records_without_deletes() {
    let engine = Memory::default();
    let mut machine = open(&engine);
    apply(&mut machine, &[writes(&[("a", 3, false), ("bb", 4, false)])], &engine);
    let record = record(3, false).encode().len() as u64;
    assert_eq!(machine.state().bytes(), 2 * record + 3);
    apply(&mut machine, &[writes(&[("a", 5, true), ("bb", 6, false)])], &engine);
    assert_eq!(machine.state().bytes(), record + 2);
}

/// Writes, deletes, floors, sweeps and saves, none of them synced.
fn ran() -> (Memory, u128) {
    let engine = Memory::default();
    let mut machine = open(&engine);
    for version in 3..20_u64 {
        let key = ["a", "b", "c"][usize::try_from(version % 3).unwrap()];
        apply(&mut machine, &[writes(&[(key, version, version % 4 == 0)])], &engine);
        if version % 5 == 0 {
            apply(&mut machine, &[Journaled::Floor(Version(version - 1))], &engine);
            machine.sweep(&Bytes::new(), 0, &engine).unwrap();
            machine.sweep(&Bytes::new(), 0, &engine).unwrap();
        }
        if version % 7 == 0 {
            machine.save(&engine).unwrap();
        }
    }
    (engine, machine.tree().root())
}

#[test]
fn a_store_that_loses_its_end_has_state_records_and_sums_of_one_moment() {
    let batches = ran().0.unsynced();
    for kept in 0..=batches {
        let (engine, root) = ran();
        engine.crash(kept);
        let machine = open(&engine);
        assert_eq!(machine.tree().root(), counted(&machine, &engine), "after {kept} batches");
        assert!(kept < batches || machine.tree().root() == root);
    }
}

#[test]
fn a_sweep_lets_go_what_is_below_the_floor_a_slice_at_a_time() {
    let engine = Memory::default();
    let mut machine = open(&engine);
    let delete = |number: usize| (Bytes::from(format!("k{number:03}")), record(3, true));
    let deletes = (0..SLICE_RECORDS + 1).map(delete);
    let deletes = deletes.map(|(key, record)| (key, record.encode(), record.newest.stamp)).collect();
    apply(&mut machine, &[Journaled::Writes(deletes), writes(&[("l", 4, true)])], &engine);
    apply(&mut machine, &[Journaled::Floor(Version(3))], &engine);
    let next = machine.sweep(&Bytes::new(), 0, &engine).unwrap().expect("there is more");
    assert_eq!(next, Bytes::from(format!("k{SLICE_RECORDS:03}")));
    assert_eq!(machine.sweep(&next, 0, &engine).unwrap(), None);
    let records = machine.records(&engine);
    assert_eq!((records.get(b"k000"), records.get(&next)), (None, None));
    assert_eq!(records.get(b"l"), Some(record(4, true)));
    assert_eq!(machine.tree().root(), counted(&machine, &engine));
}

/// What a copy counts of a value that ends at a second, once all clocks have passed that.
fn bytes_once_ended() -> u64 {
    let engine = Memory::default();
    let mut machine = open(&engine);
    let mut value = record(3, false);
    (value.newest.expires_ms, value.newest.value) = (Some(1_000), Bytes::from_static(b"value"));
    let taken = Journaled::Copies(vec![(Bytes::from_static(b"a"), value.encode())]);
    apply(&mut machine, std::slice::from_ref(&taken), &engine);
    assert!(machine.has_ended(), "nothing is known yet");
    let (root, elapsed) = (machine.tree().root(), |ms| Journaled::Elapsed(Version::at_ms(ms)));
    apply(&mut machine, &[elapsed(999)], &engine);
    machine.sweep(&Bytes::new(), 2_000, &engine).unwrap();
    assert!(machine.state().bytes() > 0 && !machine.has_ended() && machine.ends_ms() == Some(1_000));
    // It comes again, late.
    apply(&mut machine, &[elapsed(1_000), taken], &engine);
    assert!(machine.has_ended());
    machine.sweep(&Bytes::new(), 0, &engine).unwrap();
    assert_eq!(machine.tree().root(), root, "copies that have let go of it and those that have not are equal");
    let bytes = machine.state().bytes();
    apply(&mut machine, &[Journaled::Floor(Version(3))], &engine);
    machine.sweep(&Bytes::new(), 2_000, &engine).unwrap();
    assert!(machine.records(&engine).get(b"a").is_some(), "the floor is not above its end");
    apply(&mut machine, &[Journaled::Floor(Version::at_ms(1_000))], &engine);
    machine.sweep(&Bytes::new(), 2_000, &engine).unwrap();
    assert_eq!((machine.records(&engine).get(b"a"), machine.ends_ms()), (None, None));
    bytes
}

#[test]
fn what_has_ended_by_all_clocks_lets_go_of_its_bytes_and_counts_as_before() {
    assert_eq!(bytes_once_ended(), 0);
}

#[test]
fn what_has_let_go_of_its_bytes_asks_for_no_further_pass_and_for_a_floor() {
    let engine = Memory::default();
    let mut machine = open(&engine);
    let mut value = record(3, false);
    (value.newest.expires_ms, value.newest.value) = (Some(1_000), Bytes::from_static(b"value"));
    let entries = [
        Journaled::Copies(vec![(Bytes::from_static(b"a"), value.encode())]),
        Journaled::Elapsed(Version::at_ms(1_000)),
    ];
    apply(&mut machine, &entries, &engine);
    for _ in 0..2 {
        machine.sweep(&Bytes::new(), 2_000, &engine).unwrap();
        assert!(!machine.has_ended(), "the floor stands still, and nothing is left to be done");
        assert_eq!((machine.ends_ms(), machine.lowest_above()), (Some(1_000), Some(Version(3))));
    }
}

#[cfg(feature = "planted")]
#[test]
fn bytes_of_what_has_ended_that_stay_are_noticed() {
    crate::planted::plant(Some(Planted::EndedKept));
    let bytes = bytes_once_ended();
    crate::planted::plant(None);
    assert!(bytes > 0);
}

#[test]
fn a_page_and_a_slice_end_at_so_many_records_or_bytes_and_keep_to_the_shard() {
    let engine = Memory::default();
    let mut machine = open(&engine);
    apply(&mut machine, &[writes(&[("a", 3, false), ("b", 4, false), ("c", 5, true)])], &engine);
    let page = |start: &str, end: Option<&str>, records, bytes| {
        let looked = machine.records(&engine);
        let page = looked.page(start.as_bytes(), end.map(str::as_bytes), records, bytes).unwrap();
        (page.entries.len(), page.next)
    };
    assert_eq!(page("", None, 9, 9_999), (3, None));
    assert_eq!(page("", None, 2, 9_999), (2, Some(Bytes::from_static(b"c"))));
    assert_eq!(page("a", None, 9, 1), (1, Some(Bytes::from_static(b"b"))));
    assert_eq!(page("a\0", Some("c"), 9, 9_999), (1, None));
}
