//! What a majority of the system shard has decided that was given up since: tables and nodes that the recovered system
//! shard has never heard of.

use bytes::Bytes;
use skerry_core::ids::{Epoch, NodeId, ShardId, TableId};
use skerry_core::map::{Fragmentation, MapDelta};
use skerry_core::node::{AdminReply, AdminRequest, WantedRecovery};
use skerry_core::system::{AdminChange, NewShard, SystemReply};

use crate::adversary::{map_from, nodes};
use crate::harness::{Cluster, table_on};
use crate::recovery::LONG;

fn later_table(cluster: &mut Cluster, node: NodeId) -> TableId {
    let shards = vec![NewShard { start: Bytes::new(), nodes: vec![node] }];
    let (name, fragmentation) = ("later".to_owned(), Fragmentation::Range);
    let made = cluster.change(AdminChange::CreateTable { name, fragmentation, replication_factor: 1, shards });
    cluster.run(60);
    let SystemReply::Table(table) = made else { panic!("{made:?}") };
    table
}

/// Four nodes, and a table on the one without a copy of the system shard. Then the system shard goes on from a copy that
/// has not heard of the last changes. Gives its node, the one without a copy, and what the changes gave.
fn gone_back<T>(changes: impl FnOnce(&mut Cluster, NodeId) -> T) -> (Cluster, NodeId, NodeId, T) {
    let mut cluster = nodes(4);
    let holders = cluster.hosts[&NodeId(1)].node.map().shards[&ShardId::SYSTEM].descriptor.members.clone();
    let holders: Vec<NodeId> = holders.iter().map(|member| member.replica.node).collect();
    let four = *[1, 2, 3, 4].map(NodeId).iter().find(|node| !holders.contains(node)).expect("a node without a copy");
    let (first, lost) = (holders[0], holders[1..].to_vec());
    table_on(&mut cluster, &[four]);
    cluster.settle();
    cluster.deaf = Some(first);
    cluster.run(100);
    let changed = changes(&mut cluster, four);
    cluster.deaf = None;
    lost.iter().for_each(|node| drop(cluster.hosts.remove(node)));
    cluster.inbox.clear();
    cluster.run(LONG);
    let survivor = cluster.hosts[&first].node.replica(ShardId::SYSTEM).unwrap().view().replica;
    let wanted = WantedRecovery { shard: ShardId::SYSTEM, survivor, based_on: Epoch(0), lost };
    let answer = cluster.ask(first, AdminRequest::RecoverSystem(wanted));
    assert!(matches!(answer, Ok(AdminReply::Command(SystemReply::Done(_)))), "{answer:?}");
    cluster.run(LONG);
    (cluster, first, four, changed)
}

/// A write to it would be acknowledged, and be in no table of the database.
#[test]
fn a_table_that_was_given_up_is_not_found_under_the_name_of_the_one_that_was_made_since() {
    let (mut cluster, first, four, before) = gone_back(later_table);
    let since = later_table(&mut cluster, four);
    cluster.run(200);
    assert_ne!(before, since);
    let found = |node: NodeId| cluster.hosts[&node].node.map().table_named("later").map(|table| table.id);
    assert_eq!((found(first), found(four)), (Some(since), Some(since)));
    let (here, there) = (cluster.hosts[&four].node.map(), cluster.hosts[&first].node.map());
    assert_eq!((&here.tables, &here.shards), (&there.tables, &there.shards));
    assert!(here.route(before, b"a").is_none() && here.route(since, b"a").is_some());
}

/// It says that the system shard went on from another copy, and leaves everything out.
#[test]
fn a_recovery_that_one_node_has_made_up_leaves_no_node_without_its_map_for_long() {
    let mut cluster = nodes(4);
    let own = [NodeId(2), NodeId(3), NodeId(4)];
    table_on(&mut cluster, &own);
    cluster.settle();
    let told = NodeId(4);
    let map = cluster.hosts[&told].node.map().clone();
    let made_up = MapDelta { epoch: map.epoch.recovered(), ..MapDelta::default() };
    let made_up = MapDelta { cluster: map.cluster.clone(), ..made_up };
    let members = map.shards[&ShardId::SYSTEM].descriptor.members.clone();
    for member in members.iter().filter(|member| member.replica.node != told) {
        map_from(&mut cluster, member.replica.node, told, made_up.clone());
    }
    cluster.run(600);
    assert_eq!(*cluster.hosts[&told].node.map(), map, "{:?}", cluster.hosts[&told].node.refusals());
    assert_eq!(crate::adversary::shards_on(&cluster, told).len(), 3);
}

#[test]
fn a_node_that_joined_by_the_word_of_those_who_were_given_up_is_told_from_one_that_has_just_joined() {
    let (mut cluster, first, _, five) = gone_back(|cluster, _| cluster.join(5));
    let has_given_up = |cluster: &Cluster, node| cluster.hosts[&first].node.map().has_given_up(node);
    assert!(!has_given_up(&cluster, five), "it may have joined since, for all that this node knows");
    let six = cluster.join(6);
    assert!(has_given_up(&cluster, five));
    let seven = NodeId(six.0 + 1);
    assert!(!has_given_up(&cluster, six) && !has_given_up(&cluster, seven));
    let unrecovered = nodes(2);
    assert!(!unrecovered.hosts[&NodeId(1)].node.map().has_given_up(NodeId(0)));
}

#[cfg(feature = "planted")]
#[test]
fn a_table_that_stays_though_it_was_given_up_is_caught() {
    use skerry_core::planted::{Planted, plant};

    plant(Some(Planted::GivenUpStaysInMap));
    let test = a_table_that_was_given_up_is_not_found_under_the_name_of_the_one_that_was_made_since;
    let caught = std::panic::catch_unwind(test);
    plant(None);
    assert!(caught.is_err());
}
