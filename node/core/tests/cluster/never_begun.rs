//! A table is made while the volume of a node is gone, and nobody knows it yet: its shards become usable by themselves.

use bytes::Bytes;
use skerry_core::ids::{Incarnation, NodeId, ShardId, TableId};
use skerry_core::map::{Fragmentation, NodeRecord};
use skerry_core::node::{Answer, Recovered};
use skerry_core::system::{AdminChange, NewShard, SystemReply};

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

fn start_on_new_volume(cluster: &mut Cluster, lost: NodeId, seeds: Vec<NodeRecord>) {
    let recovered = Recovered { is_store_new: true, ..Recovered::default() };
    cluster.open_start((lost, Incarnation(2)), Memory::default(), recovered, seeds);
}

/// A table that is made after a node has lost its volume, and before its new process has started.
fn made_without_a_volume() -> (Cluster, TableId) {
    let mut cluster = five_nodes();
    let seeds = lose_volume(&mut cluster);
    let table = table_on(&mut cluster, &NODES);
    start_on_new_volume(&mut cluster, LOST, seeds);
    cluster.run(BEGUN_TICKS);
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
    start_on_new_volume(&mut cluster, LOST, seeds);
    cluster.run(BEGUN_TICKS);
    assert!(!is_served(&cluster, table) && cluster.status().map.recoveries.is_empty());
}

/// A shard that begins only once the steward has heard of both its copies that they are as they were made, and what it hears
/// last of the one that does not lead.
struct BegunLate {
    cluster: Cluster,
    table: TableId,
    shard: ShardId,
    leader: NodeId,
    other: NodeId,
}

impl BegunLate {
    fn new() -> Self {
        let mut cluster = five_nodes();
        let shard = ShardId(cluster.status().map.shards.keys().map(|shard| shard.0).max().unwrap() + 1);
        cluster.silenced = Some(shard);
        let change = AdminChange::CreateTable {
            name: "t".into(),
            fragmentation: Fragmentation::Range,
            replication_factor: 2,
            shards: vec![NewShard { start: Bytes::new(), nodes: NODES.to_vec() }],
        };
        let SystemReply::Table(table) = cluster.change(change) else { panic!("no table") };
        cluster.run(BEGUN_TICKS);
        cluster.silenced = None;
        let leader = (0..100).find_map(|_| {
            cluster.run(1);
            cluster.leader_of(table, KEYS[0].as_bytes())
        });
        let leader = leader.unwrap();
        let other = if leader == NODES[0] { NODES[1] } else { NODES[0] };
        cluster.unreported = [other].into();
        Self { cluster, table, shard, leader, other }
    }

    /// Within fewer ticks than the steward goes by what it has heard.
    fn until(&mut self, is_so: impl Fn(&Self) -> bool) -> bool {
        (0..20).any(|_| {
            self.cluster.run(1);
            is_so(self)
        })
    }

    fn put(&mut self, at: NodeId, value: &str) -> bool {
        self.cluster.put_at(at, self.table, KEYS[0], value);
        let is_done = |answer: &Answer| matches!(answer, Answer::Write(Ok(_)));
        let is_written = self.until(|late| late.cluster.answers.values().any(is_done));
        self.cluster.answers.retain(|_, answer| !is_done(answer));
        is_written
    }

    /// Another process of the leader's node starts, on a new volume, and the steward hears it.
    fn lose_leaders_volume(&mut self) {
        self.cluster.hosts.remove(&self.leader).unwrap();
        let seeds = self.cluster.hosts[&NodeId(1)].node.map().nodes.values().cloned().collect();
        self.cluster.unreported.remove(&self.leader);
        start_on_new_volume(&mut self.cluster, self.leader, seeds);
    }

    fn goes_on(&mut self) -> bool {
        // It keeps what it has promised its leader, and stands after a time-out.
        (0..100).any(|_| {
            self.cluster.run(1);
            self.cluster.leader_of(self.table, KEYS[0].as_bytes()) == Some(self.other)
        })
    }
}

/// True if the shard goes on from a copy that it had left behind: all that was acknowledged since is gone.
fn goes_on_from_a_copy_that_was_removed() -> bool {
    let mut late = BegunLate::new();
    let (shard, leader) = (late.shard, late.leader);
    late.cluster.target_next(shard, vec![leader]);
    assert!(late.until(|late| late.cluster.hosts[&leader].node.map().shards[&shard].assigned.len() == 1));
    late.cluster.unreported.insert(leader);
    assert!(late.until(|late| {
        let copy = late.cluster.hosts[&leader].node.replica(shard).unwrap().view();
        copy.descriptor.members.len() == 1
    }));
    assert!(late.put(leader, "1"));
    late.lose_leaders_volume();
    late.goes_on()
}

#[test]
fn no_shard_goes_on_by_what_its_copy_said_before_the_other_one_was_lost() {
    assert!(!goes_on_from_a_copy_that_was_removed());
}

#[cfg(feature = "planted")]
#[test]
fn a_shard_that_goes_on_by_what_its_copy_said_before_is_noticed() {
    use skerry_core::planted::{Planted, plant};

    plant(Some(Planted::EarlierWordTaken));
    let goes_on = goes_on_from_a_copy_that_was_removed();
    plant(None);
    assert!(goes_on);
}
