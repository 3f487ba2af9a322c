//! Whose word is enough, and when.

use super::*;
use crate::ids::{ClusterId, Incarnation};
use crate::map::{Descriptor, Member, NodeRecord, Replica, Role};

const OWN: NodeId = NodeId(9);
const SHARD: Subject = Subject::Shard(ShardId(4));
const AT: Epoch = Epoch(7);

fn map(nodes: u64) -> Map {
    let record = |id| NodeRecord {
        id: NodeId(id),
        incarnation: Incarnation(1),
        volume: String::new(),
        address: String::new(),
        zone: String::new(),
        state: NodeState::Active,
        epoch: Epoch(0),
    };
    Map::of_nodes(ClusterId("c".into()), (1..=nodes).map(record).collect())
}

fn system(nodes: &[u64]) -> ShardRecord {
    let member =
        |&id: &u64| Member { replica: Replica { node: NodeId(id), id: crate::ids::ReplicaId(id) }, role: Role::Voter };
    let descriptor = Descriptor { members: nodes.iter().map(member).collect(), ..Descriptor::default() };
    ShardRecord { descriptor, ..ShardRecord::default() }
}

fn liveness(nodes: &[u64]) -> Liveness {
    let mut liveness = Liveness::new(OWN, Incarnation(1));
    for node in nodes {
        liveness.hear(NodeId(*node), Incarnation(1));
    }
    liveness
}

#[test]
fn one_node_alone_confirms_nothing_where_there_are_others() {
    let mut authority = Authority::default();
    authority.trust(&system(&[1, 2, 3]));
    let witnesses = authority.witnesses(OWN, &map(5), &liveness(&[1, 2, 3]), 500);
    for from in [1, 1, 4, 5] {
        authority.note(SHARD, AT, NodeId(from), 500);
        assert!(!authority.is_confirmed(SHARD, AT, &witnesses, &BTreeSet::new(), 600), "{from}");
    }
    authority.note(SHARD, AT, NodeId(3), 500);
    assert!(authority.is_confirmed(SHARD, AT, &witnesses, &BTreeSet::new(), 600));
    // Another record of the same thing begins anew.
    authority.note(SHARD, Epoch(8), NodeId(3), 500);
    assert!(!authority.is_confirmed(SHARD, Epoch(8), &witnesses, &BTreeSet::new(), 600));
    assert!(!authority.is_confirmed(SHARD, AT, &witnesses, &BTreeSet::new(), 600));
    // Nobody has spoken against it for long.
    assert!(!authority.is_confirmed(SHARD, Epoch(8), &witnesses, &BTreeSet::new(), 9_000));
    #[cfg(feature = "planted")]
    {
        crate::planted::plant(Some(Planted::PatienceConfirms));
        let is_confirmed = authority.is_confirmed(SHARD, Epoch(8), &witnesses, &BTreeSet::new(), 9_000);
        crate::planted::plant(None);
        assert!(is_confirmed);
    }
}

fn nodes(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

/// Who had a copy of the system shard before may have left it at once with this node, and wait as well.
#[test]
fn of_the_system_shard_one_witness_is_enough_together_with_a_node_that_the_record_names() {
    let subject = Subject::Shard(ShardId::SYSTEM);
    let mut authority = Authority::default();
    authority.trust(&system(&[1, 2, 3]));
    let witnesses = authority.witnesses(OWN, &map(5), &liveness(&[1, 2, 3]), 500);
    let is_confirmed = |authority: &Authority, subject, named: &[u64], ticks| {
        authority.is_confirmed(subject, AT, &witnesses, &nodes(named), ticks)
    };
    authority.note(subject, AT, NodeId(4), 500);
    assert!(!is_confirmed(&authority, subject, &[1, 4], 9_000), "none of the witnesses");
    authority.note(subject, AT, NodeId(1), 500);
    assert!(is_confirmed(&authority, subject, &[1, 4], 501));
    assert!(!is_confirmed(&authority, subject, &[1, 5], 9_000), "nobody else that it names says so");
    // It names no other.
    assert!(!is_confirmed(&authority, subject, &[1], 500 + PATIENCE_TICKS));
    assert!(is_confirmed(&authority, subject, &[1], 501 + PATIENCE_TICKS));
    authority.hear_all(NodeId(2), (Epoch(0), AT), &BTreeSet::new());
    assert!(!is_confirmed(&authority, subject, &[1], 501 + PATIENCE_TICKS), "one that does not know it");
    authority.note(SHARD, AT, NodeId(4), 500);
    authority.note(SHARD, AT, NodeId(1), 500);
    assert!(!is_confirmed(&authority, SHARD, &[1, 4], 9_000), "of another shard");
}

#[test]
fn what_two_witnesses_do_not_know_is_not_the_databases() {
    let mut authority = Authority::default();
    authority.trust(&system(&[1, 2, 3]));
    let witnesses = authority.witnesses(OWN, &map(5), &liveness(&[1, 2, 3]), 500);
    authority.note(SHARD, AT, NodeId(3), 500);
    let before = |epoch: u64| (Epoch(0), Epoch(epoch));
    for (from, span) in [(1, before(6)), (1, (AT, Epoch(9))), (1, before(9)), (1, before(9)), (4, before(9))] {
        authority.hear_all(NodeId(from), span, &BTreeSet::new());
        assert!(!authority.is_denied(&witnesses), "{from} {span:?}");
    }
    let mut knows = authority;
    knows.hear_all(NodeId(2), before(9), &BTreeSet::from([(SHARD, AT)]));
    assert!(!knows.is_denied(&witnesses));
    knows.hear_all(NodeId(2), before(9), &BTreeSet::new());
    assert!(knows.is_denied(&witnesses));
    knows.note(SHARD, Epoch(8), NodeId(1), 500);
    assert!(!knows.is_denied(&witnesses), "another record");
}

#[test]
fn one_node_is_enough_where_no_other_has_been_heard_of_for_long() {
    let mut authority = Authority::default();
    authority.trust(&system(&[1, 2, 3]));
    authority.note(SHARD, AT, NodeId(1), 500);
    let liveness = liveness(&[1]);
    let soon = authority.witnesses(OWN, &map(5), &liveness, PATIENCE_TICKS - 1);
    assert!(!authority.is_confirmed(SHARD, AT, &soon, &BTreeSet::new(), 600));
    let later = authority.witnesses(OWN, &map(5), &liveness, PATIENCE_TICKS);
    assert!(authority.is_confirmed(SHARD, AT, &later, &BTreeSet::new(), 600));
    authority.trust(&system(&[1]));
    let only = authority.witnesses(OWN, &map(5), &liveness, 1);
    assert!(authority.is_confirmed(SHARD, AT, &only, &BTreeSet::new(), 600));
}

#[test]
fn a_node_that_knows_no_system_shard_listens_to_the_nodes_that_it_knows() {
    let authority = Authority::default();
    let witnesses = authority.witnesses(OWN, &map(2), &liveness(&[]), 1);
    assert!(witnesses.contains(NodeId(2)) && !witnesses.contains(NodeId(3)) && !witnesses.contains(OWN));
    assert_eq!(witnesses.needed, 2);
    // And so does one whose system shard has gone elsewhere.
    let mut authority = authority;
    authority.trust(&system(&[7, 8]));
    assert!(!authority.witnesses(OWN, &map(2), &liveness(&[1]), 1).contains(NodeId(1)));
    let moved = authority.witnesses(OWN, &map(2), &liveness(&[1]), PATIENCE_TICKS);
    assert!(moved.contains(NodeId(1)));
}

#[test]
fn a_map_that_is_ahead_of_the_stewards_for_long_is_given_up() {
    let mut authority = Authority::default();
    authority.trust(&system(&[1, 2]));
    let witnesses = authority.witnesses(OWN, &map(2), &liveness(&[1, 2]), 500);
    let whole = |epoch| MapDelta { epoch: Epoch(epoch), ..MapDelta::default() };
    let mut says = |from, epoch, tick| authority.is_ahead(NodeId(from), &whole(epoch), Epoch(1_000), &witnesses, tick);
    assert!(!(500..500 + AHEAD_TICKS).step_by(20).any(|tick| says(1, 8, tick)));
    assert!(!says(5, 8, 505 + AHEAD_TICKS), "not a witness");
    // Somebody has that map as well.
    assert!(!says(2, 1_000, 506 + AHEAD_TICKS));
    assert!(!says(1, 8, 507 + AHEAD_TICKS));
    // It was not said for a while.
    assert!(!says(1, 9, 600 + AHEAD_TICKS));
    assert!(!(601..680).step_by(20).any(|tick| says(1, 9, tick + AHEAD_TICKS)));
    assert!(says(1, 9, 681 + AHEAD_TICKS));
}

#[test]
fn what_others_sent_gives_way_to_the_own_copy_of_the_system_shard() {
    let mut authority = Authority::default();
    authority.tick(true, false, 100);
    assert!(!authority.must_replace(Epoch(5), Epoch(9), 1_000) && !authority.is_foreign(), "nothing is of others");
    authority.is_told();
    assert!(authority.is_foreign());
    assert!(authority.must_replace(Epoch(9), Epoch(9), 101));
    // One that follows may lag for as long as its disk hangs.
    assert!(!authority.must_replace(Epoch(5), Epoch(9), 10_000));
    authority.tick(true, true, 101);
    assert!(!authority.must_replace(Epoch(5), Epoch(9), 101));
    assert!(authority.must_replace(Epoch(5), Epoch(9), 102 + AHEAD_TICKS));
    authority.tick(false, false, 200);
    assert!(!authority.must_replace(Epoch(9), Epoch(9), 201));
    authority.tick(true, true, 201);
    assert!(!authority.must_replace(Epoch(5), Epoch(9), 202));
    authority.replaced();
    assert!(!authority.must_replace(Epoch(9), Epoch(9), 900) && !authority.is_foreign());
}

#[cfg(feature = "planted")]
#[test]
fn without_confirmation_one_node_destroys_what_it_likes() {
    let mut authority = Authority::default();
    authority.trust(&system(&[1, 2, 3]));
    let witnesses = authority.witnesses(OWN, &map(5), &liveness(&[1, 2, 3]), 500);
    authority.note(SHARD, AT, NodeId(5), 500);
    assert!(!authority.is_confirmed(SHARD, AT, &witnesses, &BTreeSet::new(), 600) && !witnesses.contains(NodeId(5)));
    crate::planted::plant(Some(Planted::MapUnconfirmed));
    assert!(authority.is_confirmed(SHARD, AT, &witnesses, &BTreeSet::new(), 600) && witnesses.contains(NodeId(5)));
    crate::planted::plant(None);
}
