//! A node that has a copy of the system shard, or any other that knows the secret, tells what is not so: no copy is ended
//! or made by that, nor made to give its records up.

use std::collections::BTreeSet;

use skerry_core::ids::{Epoch, Incarnation, NodeId, ReplicaId, ShardId};
use skerry_core::map::{MapDelta, Member, MoveLimits, NodeRecord, Replica, Role};
use skerry_core::message::{PeerMessage, SnapshotOffer};
use skerry_core::node::{Input, Recovered};
use skerry_core::replica::ReplicaView;
use skerry_core::system::AdminChange;
use skerry_core::time::Version;

use crate::adversary::{START, map_from, nodes, shards_on};
use crate::harness::{Cluster, Memory, table_on, three_nodes};

const OWN: [NodeId; 3] = [NodeId(6), NodeId(7), NodeId(8)];
const TOLD: NodeId = OWN[0];

/// Eight nodes, a table on the last three, and one with a copy of the system shard that does not lead it.
fn with_table() -> (Cluster, NodeId) {
    let mut cluster = nodes(8);
    table_on(&mut cluster, &OWN);
    cluster.settle();
    let steward = cluster.status().steward;
    let members = &cluster.hosts[&TOLD].node.map().shards[&ShardId::SYSTEM].descriptor.members;
    let liar = members.iter().map(|m| m.replica.node).find(|node| *node != steward && !OWN.contains(node));
    let liar = liar.expect("three nodes have a copy");
    (cluster, liar)
}

fn limits(cluster: &mut Cluster, moves_per_node: u32) {
    cluster.change(AdminChange::SetLimits(MoveLimits { moves_per_node, ..MoveLimits::default() }));
}

/// The next change of the map, which nobody has made: the copies here have gone.
fn next_change(cluster: &Cluster) -> MapDelta {
    let map = cluster.hosts[&TOLD].node.map();
    let mut next = map.since(map.epoch);
    next.epoch = Epoch(map.epoch.0 + 1);
    next.shards = map.live_shards().cloned().collect();
    for record in &mut next.shards {
        record.epoch = next.epoch;
        record.descriptor.generation.0 += 1;
        record.descriptor.members.retain(|member| member.replica.node != TOLD);
        record.assigned.retain(|copy| copy.node != TOLD);
    }
    next
}

/// The map goes on past the epoch of what was made up, so that it is not ahead of anybody's. Nobody speaks of records that
/// have not changed.
#[test]
fn a_change_that_one_node_has_made_up_ends_no_copy_and_does_not_stay() {
    let (mut cluster, liar) = with_table();
    let made_up = next_change(&cluster);
    map_from(&mut cluster, liar, TOLD, made_up.clone());
    assert_eq!(cluster.hosts[&TOLD].node.map().epoch, made_up.epoch);
    limits(&mut cluster, 3);
    limits(&mut cluster, 4);
    for _ in 0..30 {
        map_from(&mut cluster, liar, TOLD, made_up.clone());
        cluster.run(10);
        assert_eq!(shards_on(&cluster, TOLD).len(), 3, "it has ended its copies on the word of one node");
    }
    cluster.run(200);
    let (here, there) = (cluster.hosts[&TOLD].node.map(), cluster.hosts[&NodeId(1)].node.map());
    assert_eq!(here, there, "{:?}", cluster.hosts[&TOLD].node.refusals());
}

/// Its start is told as registered, and that few ids were given by then.
#[test]
fn a_node_that_lost_its_store_takes_no_single_word_for_which_ids_it_may_have_spoken_under() {
    let lost = NodeId(3);
    let (mut cluster, ..) = three_nodes();
    let copies = |cluster: &Cluster| -> BTreeSet<_> {
        cluster.hosts[&lost].node.replicas().map(|v| (v.shard, v.replica)).collect()
    };
    let before = copies(&cluster);
    assert!(before.iter().all(|(_, id)| id.0 > 1));
    let map = cluster.hosts[&NodeId(1)].node.map().clone();
    let seeds: Vec<NodeRecord> = map.nodes.values().cloned().collect();
    cluster.hosts.remove(&lost);
    let recovered = Recovered { is_store_new: true, ..Recovered::default() };
    cluster.open_start((lost, Incarnation(2)), Memory::default(), recovered, seeds);
    let start = NodeRecord { incarnation: Incarnation(2), epoch: map.epoch, ..map.nodes[&lost].clone() };
    let replica_max = ReplicaId(1);
    let made_up = MapDelta { nodes: vec![start], shards: Vec::new(), replica_max, ..map.since(Epoch(0)) };
    map_from(&mut cluster, NodeId(2), lost, made_up);
    // The copies are told of only then.
    let mut next = MapDelta { epoch: Epoch(map.epoch.0 + 1), replica_max: map.replica_max(), ..map.since(map.epoch) };
    next.shards = map.shards.values().cloned().collect();
    next.shards.iter_mut().for_each(|record| record.epoch = next.epoch);
    map_from(&mut cluster, NodeId(2), lost, next);
    for _ in 0..400 {
        cluster.run(1);
        let again: BTreeSet<_> = copies(&cluster).intersection(&before).copied().collect();
        assert_eq!(again, BTreeSet::new(), "it speaks under an id that it may have spoken under");
    }
}

#[test]
fn a_map_whose_numbers_cannot_be_is_not_taken() {
    let (mut cluster, liar) = with_table();
    let map = cluster.hosts[&TOLD].node.map().clone();
    map_from(&mut cluster, liar, TOLD, MapDelta { epoch: Epoch(u64::MAX), ..map.since(map.epoch) });
    assert_eq!(cluster.hosts[&TOLD].node.map().epoch, map.epoch);
}

/// In the term of its leader, and of an index that its log does not reach: what makes a copy give its records up. In the
/// name of a copy that it has itself, and of the one that leads.
#[test]
fn a_copy_keeps_its_records_whatever_a_node_offers_that_has_none() {
    let (mut cluster, liar) = with_table();
    let views: Vec<_> = cluster.hosts[&TOLD].node.replicas().filter(|view| view.shard != ShardId::SYSTEM).collect();
    let led = |view: &ReplicaView| {
        let copies = cluster.hosts.values().filter_map(|host| host.node.replica(view.shard));
        copies.map(|copy| copy.view()).find(|copy| copy.is_leader).expect("it is led").replica
    };
    let forged: Vec<_> = views.iter().flat_map(|view| [(view, ReplicaId(3)), (view, led(view))]).collect();
    for ((view, id), number) in forged.into_iter().filter(|(view, id)| *id != view.replica).zip(1..) {
        let mut descriptor = view.descriptor.clone();
        descriptor.members.retain(|member| member.replica.id != id);
        descriptor.members.push(Member { replica: Replica { node: liar, id }, role: Role::Voter });
        descriptor.members.sort_by_key(|member| member.replica.id);
        descriptor.generation.0 += 1;
        let offer = SnapshotOffer {
            id: number,
            from: id,
            to: view.replica,
            term: view.term,
            index: view.last + 1_000,
            index_term: view.term,
            descriptor,
            last_version: Version(9),
            request_floor: Version(0),
            bytes: 9,
            level: skerry_core::level::FormatLevel::FIRST,
        };
        let messages = vec![PeerMessage::SnapshotOffer(offer)];
        cluster.input(TOLD, Input::Peer { from: liar, incarnation: START, messages });
        assert!(!cluster.hosts[&TOLD].node.replica(view.shard).unwrap().view().is_blank, "{view:?}");
    }
}

#[cfg(feature = "planted")]
#[test]
fn the_tests_of_a_liar_catch_their_planted_bugs() {
    use skerry_core::planted::{Planted, plant};

    let lost_store = a_node_that_lost_its_store_takes_no_single_word_for_which_ids_it_may_have_spoken_under;
    let tests: [(Planted, fn()); 5] = [
        (Planted::PatienceConfirms, a_change_that_one_node_has_made_up_ends_no_copy_and_does_not_stay),
        (Planted::DenialIgnored, a_change_that_one_node_has_made_up_ends_no_copy_and_does_not_stay),
        (Planted::ForgottenOnOneWord, lost_store),
        (Planted::MapUnchecked, a_map_whose_numbers_cannot_be_is_not_taken),
        (Planted::SnapshotUnchecked, a_copy_keeps_its_records_whatever_a_node_offers_that_has_none),
    ];
    for (bug, test) in tests {
        plant(Some(bug));
        let caught = std::panic::catch_unwind(test).is_err();
        plant(None);
        assert!(caught, "{bug:?}");
    }
}
