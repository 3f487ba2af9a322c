//! Copies that apply the same log are the same, however it comes in batches, whatever crashes cut off, and whichever of
//! them began from a snapshot.

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::engine::{shard_key, state};
use crate::ids::{NodeId, ReplicaId, ShardId, TableId};
use crate::map::{Descriptor, Replica as Copy};
use crate::message::{PeerMessage, SnapshotChunk, SnapshotOffer, SnapshotState};
use crate::replica::transfer::Pace;
use crate::replica::transfer::receive::SnapshotReceive;
use crate::replica::transfer::send::SnapshotSend;
use crate::testing::MemoryEngine;

const SHARD: ShardId = ShardId(3);
/// Small enough to be full most of the time.
const CAPACITY: usize = 5;

struct NoSnapshots;

impl Overwritten for NoSnapshots {
    fn note(&mut self, _: &Bytes, _: &dyn Engine) -> Result<(), EngineError> {
        Ok(())
    }
}

fn descriptor() -> Descriptor {
    Descriptor { shard: SHARD, table: TableId(2), ..Descriptor::default() }
}

/// One copy: its store, and its state machine.
struct Machine {
    store: MemoryEngine,
    machine: StateMachine,
}

impl Machine {
    fn new(state: ReplicaState) -> Self {
        let store = MemoryEngine::default();
        store.write(vec![state.write()]).unwrap();
        store.sync().unwrap();
        Self::open(store)
    }

    fn first() -> Self {
        Self::new(ReplicaState::first(ReplicaId(1), descriptor()))
    }

    fn open(store: MemoryEngine) -> Self {
        let stored = store.get(&shard_key(SHARD, state::REPLICA, &[])).unwrap().unwrap();
        let state = ReplicaState::decode(&stored).unwrap();
        let requests = Requests::load(CAPACITY, state.request_floor, SHARD, &store).unwrap();
        Self { machine: StateMachine::new(state, requests, None, FormatLevel::NEWEST), store }
    }

    /// The process dies, with what was applied since the last flush and the last batches of the store.
    fn crash(self, batches: usize) -> Self {
        self.store.crash(self.store.unsynced().saturating_sub(batches));
        Self::open(self.store)
    }

    /// Applies the entry after the last one.
    fn step(&mut self, log: &[Payload]) -> bool {
        let index = self.machine.state.applied.0 + 1;
        let Some(payload) = usize::try_from(index).ok().and_then(|i| log.get(i - 2)) else { return false };
        self.machine.state.applied = (index, 1);
        self.machine.apply_payload(payload, &self.store).unwrap();
        true
    }

    fn flush(&mut self) {
        self.machine.flush(&self.store, &mut NoSnapshots).unwrap();
    }

    /// Applies all that is left, with a flush after each entry.
    fn finish(mut self, log: &[Payload]) -> u64 {
        self.flush();
        while self.step(log) {
            self.flush();
        }
        let reopened = Self::open(MemoryEngine::holding(self.store.records()));
        let hash = self.machine.state_hash(&self.store).unwrap();
        assert_eq!(reopened.machine.state_hash(&reopened.store).unwrap(), hash, "a restart finds what there was");
        hash
    }

    fn send(&self) -> (SnapshotOffer, SnapshotChunk) {
        let to = Copy { node: NodeId(2), id: ReplicaId(2) };
        let mut send = SnapshotSend::start(&self.machine.state, to, 7, 1, &self.store, 0).unwrap();
        let mut pace = Pace { budget: i64::MAX, piece_bytes: 256 << 10, piece_records: 2_000 };
        let offer = send.pump(&self.store, 1_000, &mut pace).unwrap().pop();
        send.acknowledged(SnapshotState::Want(0), 1_000);
        let chunk = send.pump(&self.store, 1_000, &mut pace).unwrap().pop();
        match (offer, chunk) {
            (Some((_, PeerMessage::SnapshotOffer(offer))), Some((_, PeerMessage::SnapshotChunk(chunk)))) => {
                assert!(chunk.last, "all in one piece");
                (offer, chunk)
            }
            other => panic!("{other:?}"),
        }
    }

    fn receive(&mut self, offer: SnapshotOffer, chunk: SnapshotChunk) {
        let mut receive = SnapshotReceive::start(offer, (NodeId(1), 0), &mut self.machine, &self.store).unwrap();
        receive.store(chunk, 0, &mut self.machine, &self.store).unwrap();
    }
}

fn command() -> impl Strategy<Value = Command> {
    let key = || (0..4_u8).prop_map(|n| Bytes::copy_from_slice(&[b'k', n]));
    let put = (key(), 0..3_u8, proptest::option::weighted(0.2, 0..30_u64)).prop_map(|(key, value, expires_ms)| {
        Mutation::Put { key, value: Bytes::copy_from_slice(&[value]), expires_ms }
    });
    let mutation = prop_oneof![3 => put, 1 => key().prop_map(|key| Mutation::Delete { key })];
    let expected = prop_oneof![
        Just(Expected::Absent),
        (0..3_u8).prop_map(|value| Expected::Value(Bytes::copy_from_slice(&[value]))),
    ];
    let condition = (key(), expected).prop_map(|(key, expected)| Condition { key, expected });
    // Few of each, so that requests are repeated, late, and issued together.
    let request = (0..12_u64, 0..3_u64, 0..2_u64);
    let request =
        request.prop_map(|(issued, client, sequence)| RequestId { issued: Version(issued), client, sequence });
    (proptest::option::weighted(0.9, request), vec(condition, 0..2), vec(mutation, 1..3))
        .prop_map(|(request, conditions, mutations)| Command { request, conditions, mutations })
}

fn log() -> impl Strategy<Value = Vec<Payload>> {
    let data = (0..20_u64, vec(command(), 1..4)).prop_map(|(wall_ms, commands)| Payload::Data { wall_ms, commands });
    let entry = prop_oneof![9 => data, 1 => Just(Payload::Level(FormatLevel(2)))];
    vec(entry, 1..30)
}

/// What happens after an entry was applied.
#[derive(Debug, Clone)]
enum After {
    Nothing,
    Flush,
    Crash(usize),
}

fn after() -> impl Strategy<Value = After> {
    prop_oneof![
        4 => Just(After::Nothing),
        3 => Just(After::Flush),
        1 => (0..4_usize).prop_map(After::Crash),
    ]
}

fn run(log: &[Payload], course: &[After]) -> u64 {
    let mut machine = Machine::first();
    for after in course {
        machine.step(log);
        match after {
            After::Nothing => {}
            After::Flush => machine.flush(),
            After::Crash(batches) => machine = machine.crash(*batches),
        }
    }
    machine.finish(log)
}

/// Applies up to `index` with batches of three entries.
fn up_to(index: usize, log: &[Payload]) -> Machine {
    let mut machine = Machine::first();
    for at in 0..index {
        machine.step(log);
        if at % 3 == 2 {
            machine.flush();
        }
    }
    machine.flush();
    machine
}

#[test]
fn a_batch_is_full_at_so_many_writes_and_empty_once_it_is_written() {
    let mut machine = Machine::first();
    let put = |n: usize| Mutation::Put { key: format!("k{n}").into(), value: Bytes::new(), expires_ms: None };
    let mut is_full_after = |keys: std::ops::Range<usize>| {
        let command = Command { request: None, conditions: vec![], mutations: keys.map(put).collect() };
        let payload = Payload::Data { wall_ms: 1, commands: vec![command] };
        machine.machine.apply_payload(&payload, &machine.store).unwrap();
        let is_full = machine.machine.is_batch_full();
        if is_full {
            machine.flush();
            assert!(!machine.machine.is_batch_full());
        }
        is_full
    };
    assert!(!is_full_after(1..BATCH_WRITES_MAX));
    assert!(is_full_after(0..1));
}

fn entry(index: u64, data: Bytes) -> LogEntry {
    LogEntry { index, term: 1, kind: EntryKind::Normal, data, context: Bytes::new() }
}

#[test]
fn entries_are_applied_in_order_and_say_what_they_come_to() {
    let mut machine = Machine::first();
    let put = Mutation::Put { key: Bytes::from_static(b"k"), value: Bytes::new(), expires_ms: None };
    let command = Command { request: None, conditions: vec![], mutations: vec![put] };
    let payload = Payload::Data { wall_ms: 1, commands: vec![command] };
    let applied = machine.machine.apply(&entry(2, codec::encode(&payload)), &machine.store).unwrap();
    assert!(matches!(applied, Step::Commands(Applied::Data(outcomes)) if outcomes.len() == 1));
    let nothing = machine.machine.apply(&entry(3, Bytes::new()), &machine.store).unwrap();
    assert_eq!((nothing, machine.machine.applied()), (Step::Nothing, (3, 1)));
}

#[test]
fn a_state_machine_stands_before_an_entry_that_it_cannot_read() {
    let mut machine = Machine::first();
    let step = machine.machine.apply(&entry(2, Bytes::from_static(&[200])), &machine.store).unwrap();
    assert_eq!((step, machine.machine.unreadable(), machine.machine.applied()), (Step::Unreadable, Some(2), (1, 1)));
    machine.machine.give_up();
    assert_eq!(machine.machine.unreadable(), None, "the snapshot has it");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_same_log_gives_the_same_state_in_any_batches_and_over_any_crashes(
        log in log(),
        course in vec(after(), 0..60),
    ) {
        prop_assert_eq!(run(&log, &course), Machine::first().finish(&log));
    }

    #[test]
    fn a_copy_from_a_snapshot_is_the_same_also_if_another_was_broken_off(
        log in log(),
        first in any::<prop::sample::Index>(),
        second in any::<prop::sample::Index>(),
    ) {
        let mut copy = Machine::new(ReplicaState::blank(ReplicaId(2), SHARD));
        let (offer, chunk) = up_to(first.index(log.len() + 1), &log).send();
        copy.receive(offer, SnapshotChunk { last: false, ..chunk });
        // The records of the broken-off one are wiped by the node before it takes another.
        let (start, end) = (data_key(TableId(2), &[]), data_end(TableId(2), None));
        let remains: Vec<_> = copy.store.records().range::<Bytes, _>(start..end).map(|(key, _)| key.clone()).collect();
        copy.store.write(remains.into_iter().map(EngineWrite::Delete).collect()).unwrap();
        let (offer, chunk) = up_to(second.index(log.len() + 1), &log).send();
        copy.receive(offer, chunk);
        prop_assert_eq!(copy.finish(&log), Machine::first().finish(&log));
    }
}

/// Two copies, the same commands, other batches, a full table: one said "too old" where the other applied.
#[test]
fn what_a_full_table_forgets_does_not_depend_on_batches() {
    let put = |issued: u64, client| Command {
        request: Some(RequestId { issued: Version(issued), client, sequence: issued }),
        conditions: Vec::new(),
        mutations: vec![Mutation::Delete { key: Bytes::from_static(b"k") }],
    };
    // The table is full after five; the seventh is later than what the sixth makes it forget only in small batches.
    let issued = [10, 20, 30, 40, 50, 60, 5, 15];
    let log: Vec<_> =
        issued.iter().map(|&issued| Payload::Data { wall_ms: 1, commands: vec![put(issued, 1)] }).collect();
    let outcomes = |flush: bool| {
        let mut machine = Machine::first();
        let mut outcomes = VecDeque::new();
        for (index, payload) in (2..).zip(&log) {
            machine.machine.state.applied = (index, 1);
            outcomes.push_back(machine.machine.apply_payload(payload, &machine.store).unwrap());
            if flush {
                machine.flush();
            }
        }
        outcomes
    };
    assert_eq!(outcomes(true), outcomes(false));
}

/// The planted bugs of request ids, that the properties above are there for.
#[cfg(feature = "planted")]
mod planted {
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

    use super::*;
    use crate::planted::plant;

    fn runner() -> TestRunner {
        let config = Config { cases: 512, failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
    }

    /// Copies that forget otherwise, or lose or keep what they should not.
    fn is_caught(bug: Planted) -> bool {
        let batches = runner().run(&(log(), vec(after(), 0..60)), |(log, course)| {
            let hash = Machine::first().finish(&log);
            plant(Some(bug));
            let found = std::panic::catch_unwind(|| run(&log, &course));
            plant(None);
            prop_assert_eq!(found.ok(), Some(hash));
            Ok(())
        });
        batches.is_err()
    }

    #[test]
    fn bugs_of_batches_and_restarts_are_caught() {
        for bug in [
            Planted::EvictionByBatch,
            Planted::ForgottenOneByOne,
            Planted::AppliedIndexFirst,
            Planted::RequestAppliedTwice,
        ] {
            assert!(is_caught(bug), "{bug:?}");
        }
    }

    #[test]
    fn request_ids_that_a_broken_off_snapshot_left_are_caught() {
        let put = |key: u8| Command {
            request: Some(RequestId { issued: Version(u64::from(key) + 10), client: 1, sequence: 1 }),
            conditions: Vec::new(),
            mutations: vec![Mutation::Put {
                key: Bytes::copy_from_slice(&[key]),
                value: Bytes::new(),
                expires_ms: None,
            }],
        };
        let log: Vec<_> = (0..4).map(|key| Payload::Data { wall_ms: 1, commands: vec![put(key)] }).collect();
        let after = |bug| {
            plant(bug);
            let mut copy = Machine::new(ReplicaState::blank(ReplicaId(2), SHARD));
            let (offer, chunk) = up_to(3, &log).send();
            copy.receive(offer, SnapshotChunk { last: false, ..chunk });
            let (offer, chunk) = up_to(1, &log).send();
            copy.receive(offer, chunk);
            let hash = copy.finish(&log);
            plant(None);
            hash
        };
        let whole = Machine::first().finish(&log);
        assert_eq!(after(None), whole);
        assert_ne!(after(Some(Planted::RemainsOfRequests)), whole);
    }
}
