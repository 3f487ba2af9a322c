//! A table is made while the volume of a node is gone, and nobody knows it yet: its shards become usable by themselves.

use skerry_core::ids::{Incarnation, NodeId, TableId};
use skerry_core::map::NodeRecord;
use skerry_core::node::Recovered;

use crate::harness::{Cluster, Memory, table_on};

/// The nodes that a table of two copies is made on, and the one of them whose volume is gone.
const NODES: [NodeId; 2] = [NodeId(4), NodeId(5)];
const LOST: NodeId = NODES[1];
/// Within this the copy that is left says that it has no leader, and another one comes.
const BEGUN_TICKS: u64 = 400;
/// One in each of the table's shards.
const KEYS: [&str; 3] = ["a", "j", "s"];

fn five_nodes() -> Cluster {
    let mut cluster = Cluster::start();
    for number in 2..=5 {
        cluster.join(number);
    }
    cluster.settle();
    cluster.run(BEGUN_TICKS);
    cluster
}

fn lose_volume(cluster: &mut Cluster) -> Vec<NodeRecord> {
    cluster.hosts.remove(&LOST);
    cluster.hosts[&NodeId(1)].node.map().nodes.values().cloned().collect()
}

fn start_on_new_volume(cluster: &mut Cluster, seeds: Vec<NodeRecord>) {
    let recovered = Recovered { is_store_new: true, ..Recovered::default() };
    cluster.open_start((LOST, Incarnation(2)), Memory::default(), recovered, seeds);
    cluster.run(BEGUN_TICKS);
}

/// A table that is made after a node has lost its volume, and before its new process has started.
fn made_without_a_volume() -> (Cluster, TableId) {
    let mut cluster = five_nodes();
    let seeds = lose_volume(&mut cluster);
    let table = table_on(&mut cluster, &NODES);
    start_on_new_volume(&mut cluster, seeds);
    (cluster, table)
}

fn is_served(cluster: &Cluster, table: TableId) -> bool {
    KEYS.iter().all(|key| cluster.leader_of(table, key.as_bytes()).is_some())
}

#[test]
fn a_table_that_is_made_while_a_volume_is_gone_becomes_usable_by_itself() {
    let (mut cluster, table) = made_without_a_volume();
    assert!(is_served(&cluster, table));
    cluster.settle();
    for key in KEYS {
        cluster.put(table, key, "1");
        assert_eq!(cluster.get(table, key).as_deref(), Some(&b"1"[..]));
    }
    let map = cluster.status().map;
    for record in map.shards_of(table) {
        let shard = record.descriptor.shard;
        let copies = NODES.iter().filter(|node| cluster.hosts[node].node.replica(shard).is_some());
        assert!(copies.count() == 2 && map.recoveries[&shard].at_ms == 0, "{record:?}");
    }
}

#[cfg(feature = "planted")]
#[test]
fn a_new_table_that_waits_for_a_person_is_noticed() {
    use skerry_core::planted::{Planted, plant};

    plant(Some(Planted::NeverBegunWaits));
    let (cluster, table) = made_without_a_volume();
    plant(None);
    assert!(!is_served(&cluster, table));
}

/// What is left may be enough, and may not: only a person says so.
#[test]
fn a_table_of_two_copies_that_was_written_to_waits_for_a_person() {
    let mut cluster = five_nodes();
    let table = table_on(&mut cluster, &NODES);
    for key in KEYS {
        cluster.put(table, key, "1");
    }
    let seeds = lose_volume(&mut cluster);
    start_on_new_volume(&mut cluster, seeds);
    assert!(!is_served(&cluster, table) && cluster.status().map.recoveries.is_empty());
}
