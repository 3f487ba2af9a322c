//! What a restart means for a quorum table: how soon its copies are known to be even again, since the next node is restarted
//! only then; and that a node which starts while nobody can tell it the map serves by what was settled last.

use bytes::Bytes;
use skerry_core::ids::{NodeId, ReplicaId, ShardId};
use skerry_core::map::{Fragmentation, Quorums};
use skerry_core::message::QuorumReport;
use skerry_core::quorum::shown::Resolve;
use skerry_core::system::{AdminChange, NewShard, SystemReply};

use crate::harness::{Cluster, four_nodes_for_quorum_tables};

/// Four nodes, and a quorum table of so many shards on three of them.
fn carts(shards: u8) -> (Cluster, [NodeId; 3], NodeId) {
    let (mut cluster, holders, fourth) = four_nodes_for_quorum_tables();
    let nodes = [holders[1], holders[2], fourth];
    let start = |number: u8| if number == 0 { Bytes::new() } else { Bytes::copy_from_slice(&[b'a' + number]) };
    let shards = (0..shards).map(|number| NewShard { start: start(number), nodes: nodes.to_vec() }).collect();
    let made = cluster.change(AdminChange::CreateQuorumTable {
        name: "carts".into(),
        fragmentation: Fragmentation::Range,
        replication_factor: 3,
        quorums: Quorums { write: 2, read: 2 },
        resolve: Resolve::LastWriterWins,
        shards,
    });
    let SystemReply::Table(table) = made else { panic!("{made:?}") };
    cluster.run(60);
    for number in 0..20 {
        let _ = cluster.put(table, &format!("{}{number}", ['a', 'c', 'f'][number % 3]), "1");
    }
    (cluster, nodes, holders[0])
}

fn reports(cluster: &Cluster, node: NodeId) -> Vec<QuorumReport> {
    cluster.hosts[&node].node.quorum_replicas().map(|copy| copy.report()).collect()
}

/// True if every copy says of all others that they lack nothing of what it has.
fn are_even(cluster: &Cluster, nodes: &[NodeId], shards: usize) -> bool {
    let all: Vec<QuorumReport> = nodes.iter().flat_map(|node| reports(cluster, *node)).collect();
    let others = |of: &QuorumReport| -> Vec<ReplicaId> {
        let of_shard = all.iter().filter(|copy| copy.shard == of.shard && copy.replica != of.replica);
        let mut others: Vec<ReplicaId> = of_shard.map(|copy| copy.replica).collect();
        others.sort_unstable();
        others
    };
    all.len() == 3 * shards && all.iter().all(|copy| copy.handed_over == others(copy))
}

fn ticks_until_even(cluster: &mut Cluster, nodes: &[NodeId], shards: usize) -> u64 {
    for ticks in 0..1_000 {
        if are_even(cluster, nodes, shards) {
            return ticks;
        }
        cluster.run(1);
    }
    panic!("they are not even: {:#?}", nodes.iter().map(|node| reports(cluster, *node)).collect::<Vec<_>>());
}

#[test]
fn copies_are_known_to_be_even_within_three_seconds_of_a_restart() {
    const SHARDS: usize = 8;
    let (mut cluster, nodes, _) = carts(u8::try_from(SHARDS).unwrap());
    ticks_until_even(&mut cluster, &nodes, SHARDS);
    let mut took = Vec::new();
    // The shortest is not noticed by anybody; the longest is that of a pod that moves.
    for (node, away) in [(2, 5), (2, 40), (1, 40), (0, 40), (0, 600)] {
        let host = cluster.hosts.remove(&nodes[node]).unwrap();
        cluster.run(away);
        cluster.restart(host);
        took.push(ticks_until_even(&mut cluster, &nodes, SHARDS));
    }
    println!("{took:?} ticks");
    assert!(took.iter().all(|ticks| *ticks <= 60), "{took:?} ticks");
    // And the steward hears of it with the next reports.
    cluster.run(10);
    let told = cluster.status().copies;
    assert!(told.len() == 3 * SHARDS && told.iter().all(|(_, copy)| copy.handed_over.len() == 2), "{told:#?}");
}

/// Within less time than it takes to count as silent: what it kept for others in memory is gone all the same.
#[test]
fn others_compare_anew_where_a_node_starts_anew_at_once() {
    let (mut cluster, nodes, _) = carts(1);
    ticks_until_even(&mut cluster, &nodes, 1);
    let host = cluster.hosts.remove(&nodes[2]).unwrap();
    cluster.run(5);
    let handed_over = |cluster: &Cluster, node: usize| reports(cluster, nodes[node])[0].handed_over.len();
    assert_eq!([handed_over(&cluster, 0), handed_over(&cluster, 1)], [2, 2], "nobody has noticed that it was away");
    cluster.start_anew(host);
    let mut is_noticed = [false; 2];
    for _ in 0..40 {
        cluster.run(1);
        (0..2).for_each(|node| is_noticed[node] |= handed_over(&cluster, node) < 2);
    }
    assert_eq!(is_noticed, [true; 2]);
    ticks_until_even(&mut cluster, &nodes, 1);
}

/// Nobody has a higher id than the copy that was made last.
#[test]
fn every_copy_follows_another_w_and_r_also_the_one_that_was_made_last() {
    let (mut cluster, nodes, _) = carts(1);
    ticks_until_even(&mut cluster, &nodes, 1);
    let (shard, table) = {
        let record = cluster.hosts[&nodes[0]].node.map().live_shards().last().unwrap();
        (record.descriptor.shard, record.descriptor.table)
    };
    let quorums = Quorums { write: 3, read: 1 };
    let resolve = Resolve::LastWriterWins;
    cluster.change(AdminChange::AlterQuorumTable { table, replication_factor: 3, quorums, resolve });
    cluster.run(100);
    for node in nodes {
        let record = &cluster.hosts[&node].node.map().shards[&shard];
        assert_eq!(record.quorum.map(|quorum| quorum.current), Some(quorums));
        assert_eq!(reports(&cluster, node)[0].held, record.descriptor.generation, "{node}");
    }
}

/// A move was the last that happened, and all nodes start anew with nobody there to tell them the map.
#[test]
fn a_node_that_starts_alone_knows_what_its_shards_have_come_to_last() {
    let (mut cluster, nodes, fourth) = carts(1);
    cluster.run(100);
    let shard = *cluster.hosts[&nodes[0]].node.map().shards.keys().next_back().unwrap();
    assert_ne!(shard, ShardId::SYSTEM);
    cluster.change(AdminChange::SetTargets(vec![(shard, vec![nodes[0], nodes[1], fourth])]));
    cluster.settle();
    // Nothing happens any more that would have a node look at the map again.
    cluster.run(40);
    let settled = cluster.hosts[&nodes[0]].node.map().shards[&shard].descriptor.clone();
    for node in [nodes[0], nodes[1], fourth] {
        let host = cluster.hosts.remove(&node).unwrap();
        let mut alone =
            Cluster { highest_levels: cluster.highest_levels.clone(), now: cluster.now, ..Cluster::default() };
        alone.restart(host);
        alone.run(1);
        let known = alone.hosts[&node].node.map().shards.get(&shard).map(|record| record.descriptor.generation);
        assert_eq!(known, Some(settled.generation), "{node}");
        let members: Vec<NodeId> =
            alone.hosts[&node].node.map().shards[&shard].descriptor.members.iter().map(|m| m.replica.node).collect();
        assert!(members.contains(&fourth), "{members:?}");
    }
}
