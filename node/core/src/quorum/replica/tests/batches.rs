//! What a batch of many keys costs its coordinator while a copy is away.

use std::cell::Cell;
use std::ops::ControlFlow;

use super::*;
use crate::engine::EngineWrite;

/// A store that counts what is asked of it.
struct Counting<'a> {
    inner: &'a Memory,
    gets: &'a Cell<u64>,
}

impl Engine for Counting<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.gets.set(self.gets.get() + 1);
        self.inner.get(key)
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        self.inner.scan(start, end, visit)
    }

    fn write(&self, batch: Vec<EngineWrite>) -> Result<(), EngineError> {
        self.inner.write(batch)
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.inner.sync()
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        self.inner.disk_bytes()
    }
}

/// Ticks, and how many single keys the store was asked for by them.
fn asked_by_ticks(solo: &mut Solo, ticks: u64) -> u64 {
    let gets = Cell::new(0);
    for _ in 0..ticks {
        solo.ticks += 1;
        solo.wall_ms += 50;
        let Solo { engine, replica, out, ticks, wall_ms, silent, .. } = solo;
        let counting = Counting { inner: engine, gets: &gets };
        let here = Here {
            engine: &counting,
            now: Now { monotonic_ms: *ticks * 50, wall_ms: *wall_ms },
            ticks: *ticks,
            pace: Pace::default(),
            is_heard: &|copy| !silent.contains(&copy),
            is_full: &|_| false,
            repair_room: 0,
            pieces_bytes: 1 << 20,
            recent_bytes: 32 << 20,
        };
        replica.tick(&here, out).unwrap();
    }
    gets.get()
}

fn number_of_write(solo: &mut Solo, to: ReplicaId) -> u64 {
    let sent = solo.sent(to);
    sent.iter().find_map(|(_, body)| if let Body::Write(number, _) = body { Some(*number) } else { None }).expect("one")
}

fn key_of(n: usize) -> Bytes {
    Bytes::from(format!("b{n:07}"))
}

/// What the store is asked for once a batch of so many keys was acknowledged, and the third copy is down.
fn asked_after_a_batch(keys: usize) -> u64 {
    let mut solo = Solo::by_last_writer();
    solo.silent = vec![THIRD];
    let mutations = (0..keys).map(|n| Mutation::Put { key: key_of(n), value: "v".into(), expires_ms: None });
    solo.write(1, mutations.collect());
    solo.durable();
    let number = number_of_write(&mut solo, SECOND);
    solo.hear(SECOND, Body::Said(number, Said::Durable));
    assert_eq!(solo.answers().len(), 1, "it has succeeded");
    let gets = asked_by_ticks(&mut solo, 30);
    assert_eq!(solo.replica.report().hints, keys as u64);
    gets
}

/// It cost as many for each key as there are keys, on the node's only worker.
#[test]
fn a_batch_costs_as_many_look_ups_as_it_has_keys_while_a_copy_is_down() {
    for keys in [100, 1_000] {
        let gets = asked_after_a_batch(keys);
        assert!(gets <= 4 * keys as u64 + 100, "{gets} look-ups for a batch of {keys} keys");
    }
}
