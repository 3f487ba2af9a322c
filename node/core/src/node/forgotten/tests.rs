//! Claims about copies that a node may have held and knows nothing of.

use bytes::Bytes;

use super::*;
use crate::ids::{ClusterId, Epoch, Incarnation, NodeId};
use crate::map::{NodeRecord, NodeState};
use crate::replica::tests::Memory;

fn identity() -> Identity {
    let (address, zone) = (String::new(), String::new());
    Identity { cluster: ClusterId("c".into()), node: NodeId(1), incarnation: Incarnation(4), address, zone }
}

/// A map in which this start of node 1 is registered, and in which copies up to this one were given.
fn map(incarnation: u64, replica_max: u64) -> Map {
    let mut map = Map::default();
    map.put_node(NodeRecord {
        id: NodeId(1),
        incarnation: Incarnation(incarnation),
        volume: String::new(),
        address: String::new(),
        zone: String::new(),
        state: NodeState::Active,
        epoch: Epoch(1),
    });
    map.given(ReplicaId(replica_max));
    map
}

#[test]
fn a_new_store_may_have_held_any_copy_and_says_so_at_the_next_start_too() {
    let engine = Memory::default();
    assert_eq!(Forgotten::open(false, &engine).unwrap(), Forgotten::Nothing);
    assert_eq!(Forgotten::open(true, &engine).unwrap(), Forgotten::Any);
    assert_eq!(Forgotten::open(false, &engine).unwrap(), Forgotten::Any, "it is not new any more");
}

#[test]
fn copies_up_to_the_bound_may_be_forgotten_and_no_later_one() {
    let may_be = |forgotten: Forgotten| [1, 5, 6].map(|id| forgotten.may_be(ReplicaId(id)));
    assert_eq!(may_be(Forgotten::Nothing), [false; 3]);
    assert_eq!(may_be(Forgotten::Any), [true; 3]);
    assert_eq!(may_be(Forgotten::UpTo(ReplicaId(5))), [true, true, false]);
    assert!(Forgotten::Any.is_open() && !Forgotten::Nothing.is_open() && !Forgotten::UpTo(ReplicaId(5)).is_open());
}

#[test]
fn the_bound_is_what_was_given_when_this_start_was_registered_and_stays() {
    let engine = Memory::default();
    let mut forgotten = Forgotten::open(true, &engine).unwrap();
    for not_yet in [Map::default(), map(3, 9)] {
        forgotten.bound(&identity(), &not_yet, &engine).unwrap();
        assert_eq!(forgotten, Forgotten::Any);
    }
    forgotten.bound(&identity(), &map(4, 9), &engine).unwrap();
    assert_eq!(forgotten, Forgotten::UpTo(ReplicaId(9)));
    // Later ones were given to others, or to this start.
    forgotten.bound(&identity(), &map(5, 20), &engine).unwrap();
    assert_eq!(forgotten, Forgotten::UpTo(ReplicaId(9)));
    assert_eq!(Forgotten::open(false, &engine).unwrap(), forgotten);
    let mut nothing = Forgotten::Nothing;
    nothing.bound(&identity(), &map(4, 9), &engine).unwrap();
    assert_eq!(nothing, Forgotten::Nothing, "a store as old as its node has forgotten none");
}

#[test]
fn what_cannot_be_read_is_damage_unless_a_newer_release_may_have_written_it() {
    let engine = Memory::default();
    for (bytes, is_damage) in [(&[1, 2][..], true), (&[1, Forgotten::KINDS], false), (&[9, 0], false)] {
        engine.write(vec![EngineWrite::Put(own_key(own::FORGOTTEN), Bytes::copy_from_slice(bytes))]).unwrap();
        let error = Forgotten::open(false, &engine).unwrap_err();
        assert_eq!(error.is_damage, is_damage, "{bytes:?}");
    }
}
