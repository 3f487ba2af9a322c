//! A store that a newer release has written is neither damaged nor changed: that release can open it again.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use skerry_core::engine::{Engine, EngineError, EngineWrite, data_key};
use skerry_core::ids::{Incarnation, NodeId, TableId};
use skerry_core::node::{Node, NodeConfig, Recovered};

use crate::harness::{Memory, three_nodes};

const NODE: NodeId = NodeId(1);
/// The version byte of the value in a record of the system table comes after the record's own head.
const RECORD_HEAD_BYTES: usize = 18;
/// A version byte above all that are known here.
const NEWER: u8 = 9;

fn content(engine: &Memory) -> BTreeMap<Bytes, Bytes> {
    let mut all = BTreeMap::new();
    let visit = &mut |key: &[u8], value: &[u8]| {
        all.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        ControlFlow::Continue(())
    };
    engine.scan(&[0], &[255], visit).unwrap();
    all
}

fn changed(value: &Bytes, at: usize, to: u8) -> Bytes {
    let mut bytes = value.to_vec();
    bytes[at] = to;
    bytes.into()
}

/// Opens a store in which one value is another, and gives back what that ends in. Panics if the store was changed.
fn refusal(store: &BTreeMap<Bytes, Bytes>, key: &Bytes, value: Bytes) -> Option<EngineError> {
    let (cluster, ..) = three_nodes();
    let identity = cluster.hosts[&NODE].node.identity().clone();
    let identity = skerry_core::node::Identity { incarnation: Incarnation(9), ..identity };
    let engine = Memory::default();
    let mut store = store.clone();
    store.insert(key.clone(), value);
    engine.write(store.iter().map(|(key, value)| EngineWrite::Put(key.clone(), value.clone())).collect()).unwrap();
    let logs = cluster.hosts[&NODE].logs.clone();
    let recovered = Recovered { logs, ..Recovered::default() };
    let error = Node::open(identity, NodeConfig::default(), recovered, &engine, cluster.now).err()?;
    assert_eq!(content(&engine), store, "a store that is not opened is not changed");
    Some(error)
}

/// A store with a record of every kind, and where the version bytes of those are that a start reads.
fn places() -> (BTreeMap<Bytes, Bytes>, Vec<(Bytes, usize)>) {
    let (mut cluster, _, table) = three_nodes();
    cluster.put(table, "a", "1");
    let store = content(&cluster.hosts[&NODE].engine);
    let system = data_key(TableId::SYSTEM, b"");
    let mut places = Vec::new();
    for key in store.keys() {
        let is_state = key[0] == b's' && matches!(key[9], b'a' | b'q' | b'g');
        if key.starts_with(&system) {
            places.extend([(key.clone(), 0), (key.clone(), RECORD_HEAD_BYTES)]);
        } else if is_state || key[..] == *b"nn" {
            places.push((key.clone(), 0));
        }
    }
    (store, places)
}

#[test]
fn what_a_newer_release_wrote_is_told_of_as_such_and_counts_as_no_damage() {
    let (store, places) = places();
    assert!(places.len() > 10, "{places:?}");
    for (key, at) in places {
        let error = refusal(&store, &key, changed(&store[&key], at, NEWER)).expect("it cannot be read");
        assert!(!error.is_damage && error.message.contains("newer version"), "{key:?} at {at}: {error}");
        let error = refusal(&store, &key, changed(&store[&key], at, 0)).expect("it cannot be read");
        assert!(error.is_damage, "a version that never was, {key:?} at {at}: {error}");
    }
    let head = store.iter().find(|(key, _)| key.starts_with(&data_key(TableId::SYSTEM, b"h"))).unwrap();
    let family = data_key(TableId::SYSTEM, b"x12345678");
    let error = refusal(&store, &family, head.1.clone()).expect("it cannot be read");
    assert!(!error.is_damage, "a kind of record that is not known here: {error}");
    let kind = Bytes::from_static(b"nf");
    let error = refusal(&store, &kind, Bytes::from_static(&[1, 3, 0])).expect("it cannot be read");
    assert!(!error.is_damage, "a kind of value that is not known here: {error}");
}

#[cfg(feature = "planted")]
#[test]
fn a_newer_store_that_is_taken_for_damaged_is_caught() {
    let (store, places) = places();
    let (key, at) = &places[0];
    skerry_core::planted::plant(Some(skerry_core::planted::Planted::NewerTakenForDamage));
    let error = refusal(&store, key, changed(&store[key], *at, NEWER));
    skerry_core::planted::plant(None);
    assert!(error.unwrap().is_damage);
}
