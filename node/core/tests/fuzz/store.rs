//! Stores whose records were changed: a node opens on one, or says what it cannot read; it never ends the process.

use std::ops::ControlFlow;

use bytes::Bytes;
use skerry_core::engine::{Engine, EngineWrite};
use skerry_core::ids::{ClusterId, Incarnation, NodeId};
use skerry_core::level::FormatLevel;
use skerry_core::node::{Identity, Input, Node, NodeConfig, Recovered};

use crate::Arena;
use crate::harness::Memory;
use crate::random::{Random, for_each_seed};

fn records(engine: &Memory) -> Vec<(Bytes, Bytes)> {
    let mut records = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        records.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        ControlFlow::Continue(())
    };
    engine.scan(&[], &[255; 16], &mut visit).unwrap();
    records
}

fn changed(random: &mut Random, bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    match random.below(5) {
        0 => bytes.truncate(random.below(bytes.len() + 1)),
        1 => bytes.extend(random.bytes(9)),
        _ if bytes.is_empty() => {}
        // As if it were a record of the third format.
        2 if bytes.len() > 1 => (bytes[0], bytes[1]) = (3, random.next().to_le_bytes()[0]),
        3 => {
            let at = random.below(bytes.len());
            bytes[at] = random.next().to_le_bytes()[0];
        }
        _ => {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        }
    }
    bytes.into()
}

#[test]
fn a_node_opens_on_any_store_or_says_what_it_cannot_read() {
    let arena = Arena::new();
    let stores: Vec<_> = arena.cluster.hosts.values().map(|host| records(&host.engine)).collect();
    let mut opened = 0;
    for_each_seed("store", |seed| {
        let mut random = Random::new(seed);
        let engine = Memory::default();
        let mut writes: Vec<_> = random.pick(&stores).clone();
        for _ in 0..=random.below(3) {
            let at = random.below(writes.len());
            let (key, value) = &writes[at];
            writes[at] = if random.is_one_in(4) {
                (changed(&mut random, key), value.clone())
            } else {
                (key.clone(), changed(&mut random, value))
            };
        }
        engine.write(writes.into_iter().map(|(key, value)| EngineWrite::Put(key, value)).collect()).unwrap();
        let identity = Identity {
            cluster: ClusterId("c".into()),
            node: NodeId(1),
            incarnation: Incarnation(2),
            address: String::new(),
            zone: String::new(),
        };
        let now = arena.cluster.now;
        let config = NodeConfig { highest_level: FormatLevel::QUORUM, ..NodeConfig::default() };
        let node = Node::open(identity, config, Recovered::default(), &engine, now);
        let Ok(mut node) = node else { return };
        opened += 1;
        // An error of the store ends the worker, not the process.
        for _ in 0..40 {
            let is_well = node.handle(Input::Tick, &engine, now).is_ok() && node.ready(&engine, now).is_ok();
            if !is_well {
                return;
            }
        }
    });
    assert!(opened > 0);
}
