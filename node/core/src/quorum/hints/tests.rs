//! Claims about hints.

use proptest::collection::vec;
use proptest::prelude::*;

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
        let writes = self.hints.keep(to, [(key, record.clone())], GENERATION, &self.engine).unwrap();
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
fn a_copy_is_due_what_is_kept_for_it_and_what_could_not_be() {
    let mut store = Store::new();
    assert!(!store.hints.are_due(TO));
    store.keep(TO, b"a", &record(5, 10));
    assert!(store.hints.are_due(TO) && !store.hints.are_due(OTHER));
    let sent = Hint { key: Bytes::from_static(b"a"), record: record(5, 10).encode() };
    store.hints.confirmed(TO, &sent, &store.engine).unwrap();
    assert!(!store.hints.are_due(TO));
    let _ = store.hints.lose(TO);
    assert!(store.hints.are_due(TO), "all is to be compared");
    let mark = store.hints.must_compare(TO).unwrap();
    store.hints.compared(TO, mark);
    assert!(!store.hints.are_due(TO));
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
fn a_hint_is_confirmed_without_bytes_that_have_ended_and_a_newer_one_stays() {
    let mut store = Store::new();
    let mut ending = record(1, 5);
    ending.newest.expires_ms = Some(70);
    let mut sent = ending.clone();
    (sent.newest.is_tombstone, sent.newest.value) = (true, Bytes::new());
    let sent = Hint { key: Bytes::from_static(b"k"), record: sent.encode() };
    store.keep(TO, b"k", &record(2, 5));
    store.confirm(&sent);
    assert_eq!(store.hints.waiting().0, 1);
    store.keep(OTHER, b"k", &ending);
    let writes = store.hints.confirmed(OTHER, &sent, &store.engine).unwrap();
    store.engine.write(writes).unwrap();
    assert_eq!((store.hints.waiting().0, store.hints.targets().collect::<Vec<_>>()), (1, vec![TO]));
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

#[test]
fn a_hint_that_cannot_be_read_is_not_sent_nor_kept_and_all_must_be_compared() {
    for is_kept_over in [false, true] {
        let mut store = Store::new();
        // Of this generation, in a record that a newer release wrote.
        let value = [&GENERATION.0.to_be_bytes()[..], &[3, 128, 7]].concat();
        store.engine.write(vec![EngineWrite::Put(store.hints.key(TO, b"k"), value.into())]).unwrap();
        store.hints = Hints::open(SHARD, &store.engine).unwrap();
        if is_kept_over {
            store.keep(TO, b"k", &record(1, 5));
        } else {
            assert!(store.turn(b"", GENERATION, 0).send.is_empty());
        }
        assert!(store.hints.must_compare(TO).is_some(), "nobody knows what was in it");
        assert_eq!(store.hints.waiting().0, u64::from(is_kept_over));
    }
}

#[test]
fn a_hint_that_a_write_under_an_earlier_layout_adds_to_stays_of_the_later_one() {
    let mut store = Store::new();
    store.keep(TO, b"k", &record(2, 5));
    let earlier = Generation(GENERATION.0 - 1);
    let writes = store.hints.keep(TO, [(&b"k"[..], record(1, 5))], earlier, &store.engine).unwrap();
    store.engine.write(writes).unwrap();
    assert_eq!((store.turn(b"", GENERATION, 0).send.len(), store.hints.must_compare(TO)), (1, None));
}

#[test]
fn a_hint_that_would_be_too_much_to_be_read_is_not_kept() {
    let mut store = Store::new();
    let with_parts = |from: u64| {
        let mut context = Context::default();
        let actor = |replica| crate::record::Actor { replica: ReplicaId(replica), ..Default::default() };
        let most = crate::limits::CONTEXT_PARTS_HELD_MAX as u64;
        (from..from + most).for_each(|i| context.add(Stamp { version: Version(1), actor: actor(i) }));
        Stored { context, ..record(2, 5) }
    };
    store.keep(TO, b"k", &with_parts(1));
    store.keep(TO, b"k", &with_parts(1_000_000));
    assert!(store.hints.must_compare(TO).is_some());
    assert_eq!(store.turn(b"", GENERATION, 0).send.len(), 1, "what was there is there");
}

/// What happens to the hints for one copy, in one batch or several.
#[derive(Debug, Clone)]
enum Step {
    Keep {
        key: u8,
        version: u64,
        is_late: bool,
    },
    /// All that waits is sent, under this or a later generation.
    Turn {
        is_later: bool,
    },
    /// The first, or the last, of what was sent is confirmed, or refused; perhaps once more later.
    Told {
        is_first: bool,
        is_taken: bool,
        is_double: bool,
    },
    Retain,
    /// All was compared.
    Compared,
    /// What was given is written.
    Write,
    /// What was not is gone.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_u8, 1..9_u64, prop::bool::weighted(0.2))
            .prop_map(|(key, version, is_late)| Step::Keep { key, version, is_late }),
        3 => prop::bool::weighted(0.2).prop_map(|is_later| Step::Turn { is_later }),
        4 => (any::<bool>(), prop::bool::weighted(0.8), prop::bool::weighted(0.2))
            .prop_map(|(is_first, is_taken, is_double)| Step::Told { is_first, is_taken, is_double }),
        1 => Just(Step::Retain),
        1 => Just(Step::Compared),
        4 => Just(Step::Write),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    #[test]
    fn nothing_goes_without_a_mark_and_all_is_counted_whenever_changes_are_written(steps in vec(step(), 0..60)) {
        let (mut store, mut batch, mut sent) = (Store::new(), Vec::new(), Vec::<Hint>::new());
        // The highest version that was kept of each key, and neither confirmed nor lost with a mark.
        let mut due: BTreeMap<Bytes, u64> = BTreeMap::new();
        for step in steps {
            let engine = &store.engine;
            match step {
                Step::Keep { key, version, is_late } => {
                    let (key, generation) = (Bytes::from(vec![key]), Generation(GENERATION.0 - u64::from(is_late)));
                    batch.extend(store.hints.keep(TO, [(&key[..], record(version, 5))], generation, engine).unwrap());
                    let highest = due.entry(key).or_default();
                    *highest = version.max(*highest);
                }
                Step::Turn { is_later } => {
                    let generation = Generation(GENERATION.0 + u64::from(is_later));
                    let turn = store.hints.turn(TO, b"", generation, Version(0), engine).unwrap();
                    batch.extend(turn.writes);
                    sent.extend(turn.send);
                }
                Step::Told { is_first, is_taken, is_double } if !sent.is_empty() => {
                    let hint = if is_first { sent.remove(0) } else { sent.pop().expect("there is one") };
                    let told = if is_taken { Hints::confirmed } else { Hints::refused };
                    batch.extend(told(&mut store.hints, TO, &hint, engine).unwrap());
                    let version = Stored::decode(&hint.record).unwrap().newest.stamp.version.0;
                    if due.get(&hint.key).is_some_and(|due| *due <= version) {
                        due.remove(&hint.key);
                    }
                    sent.extend(is_double.then_some(hint));
                }
                Step::Told { .. } => {}
                Step::Retain => {
                    batch.extend(store.hints.retain(&[], engine).unwrap());
                    due.clear();
                }
                Step::Compared => {
                    let mark = store.hints.must_compare(TO);
                    batch.extend(mark.into_iter().flat_map(|mark| store.hints.compared(TO, mark)));
                }
                Step::Write => {
                    engine.write(std::mem::take(&mut batch)).unwrap();
                    store.check();
                }
                Step::Crash => {
                    batch.clear();
                    store.hints = Hints::open(SHARD, engine).unwrap();
                    let turn = Hints::open(SHARD, engine).unwrap().turn(TO, b"", GENERATION, Version(0), engine).unwrap();
                    let version = |hint: &Hint| Stored::decode(&hint.record).unwrap().newest.stamp.version.0;
                    due = turn.send.iter().map(|hint| (hint.key.clone(), version(hint))).collect();
                }
            }
            if store.hints.must_compare(TO).is_some() {
                due.clear();
            }
        }
        store.engine.write(batch).unwrap();
        store.check();
        let left = store.turn(b"", GENERATION, 0);
        for (key, version) in due {
            let newest = |hint: &Hint| Stored::decode(&hint.record).unwrap().newest.stamp.version.0;
            let is_left = |hint: &Hint| hint.key == key && newest(hint) >= version;
            prop_assert!(left.send.iter().any(is_left) || store.hints.must_compare(TO).is_some(), "{:?}", key);
        }
    }
}
