//! Claims about hints.

use super::*;
use crate::record::{Context, Stamp, Value};
use crate::replica::tests::Memory;
use crate::time::Version;

const SHARD: ShardId = ShardId(3);
const TO: ReplicaId = ReplicaId(7);
const OTHER: ReplicaId = ReplicaId(8);
const GENERATION: Generation = Generation(4);

fn record(version: u64, bytes: usize) -> Stored {
    let stamp = Stamp::lowest(Version(version));
    let value = Value { stamp, by_last_writer: true, value: vec![0; bytes].into(), ..Value::default() };
    Stored::new(value, Context::of_last_writer(stamp))
}

struct Store {
    engine: Memory,
    hints: Hints,
}

impl Store {
    fn new() -> Self {
        let engine = Memory::default();
        let hints = Hints::open(SHARD, &engine).unwrap();
        Self { engine, hints }
    }

    fn keep(&mut self, to: ReplicaId, key: &[u8], record: &Stored) {
        let writes = self.hints.keep(to, key, record, GENERATION, &self.engine).unwrap();
        self.engine.write(writes).unwrap();
        self.check();
    }

    /// What is known is what the store has.
    fn check(&self) {
        let opened = Hints::open(SHARD, &self.engine).unwrap();
        let known = |hints: &Hints| {
            let targets = hints.targets.iter().filter(|(_, target)| **target != Target::default());
            targets.map(|(to, target)| (*to, *target)).collect::<Vec<_>>()
        };
        assert_eq!(known(&opened), known(&self.hints));
    }

    fn turn(&mut self, from: &[u8], generation: Generation, floor: u64) -> Turn {
        let mut turn = self.hints.turn(TO, from, generation, Version(floor), &self.engine).unwrap();
        self.engine.write(std::mem::take(&mut turn.writes)).unwrap();
        self.check();
        turn
    }

    fn confirm(&mut self, hint: &Hint) {
        let writes = self.hints.confirmed(TO, hint, &self.engine).unwrap();
        self.engine.write(writes).unwrap();
        self.check();
    }
}

#[test]
fn of_each_copy_and_key_the_newest_is_kept_over_a_restart() {
    let mut store = Store::new();
    for (to, version) in [(TO, 2), (TO, 1), (OTHER, 9)] {
        store.keep(to, b"k", &record(version, 5));
    }
    store.hints = Hints::open(SHARD, &store.engine).unwrap();
    let turn = store.turn(b"", GENERATION, 0);
    assert_eq!(turn.send, [Hint { key: Bytes::from_static(b"k"), record: record(2, 5).encode() }]);
    assert_eq!((store.hints.waiting().0, turn.next), (2, None));
    assert_eq!(store.hints.targets().collect::<Vec<_>>(), [TO, OTHER]);
}

#[test]
fn a_confirmed_hint_goes_and_a_newer_one_of_its_key_stays() {
    let mut store = Store::new();
    store.keep(TO, b"k", &record(1, 5));
    let sent = store.turn(b"", GENERATION, 0).send.remove(0);
    store.keep(TO, b"k", &record(2, 5));
    store.confirm(&sent);
    assert_eq!(store.hints.waiting().0, 1);
    let sent = store.turn(b"", GENERATION, 0).send.remove(0);
    store.confirm(&sent);
    store.confirm(&sent);
    assert_eq!(store.hints.waiting(), (0, 0));
}

#[test]
fn what_does_not_fit_is_not_kept_and_all_must_be_compared() {
    let mut store = Store::new();
    let most = u32::try_from(HINT_BYTES_MAX >> 20).unwrap();
    for number in 0..=most {
        store.keep(TO, &number.to_be_bytes(), &record(1, 1 << 20));
    }
    assert!(store.hints.waiting().1 <= HINT_BYTES_MAX);
    let mark = store.hints.must_compare(TO).expect("one was lost");
    assert_eq!(store.hints.must_compare(OTHER), None, "each copy has room of its own");
    // Another is lost while all is compared: that may have missed it.
    store.keep(TO, b"late", &record(1, 1 << 20));
    assert!(store.hints.compared(TO, mark).is_empty());
    let mark = store.hints.must_compare(TO).expect("the mark stays");
    let writes = store.hints.compared(TO, mark);
    store.engine.write(writes).unwrap();
    assert_eq!(store.hints.must_compare(TO), None);
    store.check();
}

#[test]
fn turns_are_bounded_and_come_to_an_end() {
    let mut store = Store::new();
    let count = TURN_HINTS_MAX + 3;
    (0..count).for_each(|number| store.keep(TO, format!("{number:04}").as_bytes(), &record(1, 1)));
    let first = store.turn(b"", GENERATION, 0);
    assert_eq!(first.send.len(), TURN_HINTS_MAX);
    let second = store.turn(&first.next.expect("there is more"), GENERATION, 0);
    assert_eq!((second.send.len(), second.next), (3, None));

    let mut store = Store::new();
    (0..3).for_each(|number: u8| store.keep(TO, &[number], &record(1, TURN_BYTES_MAX)));
    assert_eq!(store.turn(b"", GENERATION, 0).send.len(), 1, "at least one");
}

#[test]
fn hints_of_another_generation_go_and_all_must_be_compared() {
    let mut store = Store::new();
    store.keep(TO, b"k", &record(1, 5));
    assert!(store.turn(b"", Generation(5), 0).send.is_empty());
    assert_eq!(store.hints.waiting(), (0, 0));
    assert!(store.hints.must_compare(TO).is_some());
}

#[test]
fn hints_at_or_below_the_floor_go() {
    let mut store = Store::new();
    store.keep(TO, b"a", &record(5, 1));
    store.keep(TO, b"b", &record(6, 1));
    let turn = store.turn(b"", GENERATION, 5);
    assert_eq!(turn.send.iter().map(|hint| &hint.key[..]).collect::<Vec<_>>(), [b"b"]);
    assert_eq!((store.hints.waiting().0, store.hints.must_compare(TO)), (1, None));
}

#[test]
fn hints_for_a_copy_that_is_over_end() {
    let mut store = Store::new();
    (0..TURN_HINTS_MAX + 3).for_each(|number| store.keep(TO, format!("{number:04}").as_bytes(), &record(1, 1)));
    store.keep(OTHER, b"k", &record(1, 1));
    for _ in 0..3 {
        let writes = store.hints.retain(&[OTHER], &store.engine).unwrap();
        store.engine.write(writes).unwrap();
    }
    assert_eq!((store.hints.waiting().0, Hints::open(SHARD, &store.engine).unwrap().waiting().0), (1, 1));
    assert!(store.hints.retain(&[OTHER], &store.engine).unwrap().is_empty());
}

#[test]
fn what_is_damaged_is_never_sent() {
    let mut store = Store::new();
    let key = store.hints.key(TO, b"k");
    store.engine.write(vec![EngineWrite::Put(key, Bytes::from_static(b"x"))]).unwrap();
    store.hints = Hints::open(SHARD, &store.engine).unwrap();
    assert!(store.turn(b"", GENERATION, 0).send.is_empty());
    assert_eq!(store.hints.waiting(), (0, 0));
}
