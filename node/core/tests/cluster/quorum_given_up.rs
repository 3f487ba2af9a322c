//! A copy of a quorum shard that a person has given up, and that comes back with all it had, is not a copy any more.

use bytes::Bytes;
use skerry_core::command::{Read, ReadConsistency, ReadResult};
use skerry_core::ids::{Epoch, NodeId, ReplicaId, ShardId, TableId};
use skerry_core::map::{Fragmentation, MapDelta, Quorums, RecoveryRecord, Replica, ShardRecord};
use skerry_core::node::{AdminReply, AdminRequest, Answer, Input, WantedRecovery};
use skerry_core::quorum::replica::QuorumView;
use skerry_core::quorum::shown::Resolve;
use skerry_core::system::{AdminChange, NewShard, SystemReply};

use crate::adversary::map_from;
use crate::harness::{Cluster, Host, four_nodes_for_quorum_tables};
use crate::recovery::LONG;

/// Four nodes, and a quorum table with W and R of one on the one without a copy of the system shard and two others.
struct Given {
    cluster: Cluster,
    table: TableId,
    shard: ShardId,
    /// The node whose copy is given up.
    lost: NodeId,
    holders: [NodeId; 3],
}

fn given() -> Given {
    let (mut cluster, holders, lost) = four_nodes_for_quorum_tables();
    let made = cluster.change(AdminChange::CreateQuorumTable {
        name: "carts".into(),
        fragmentation: Fragmentation::Range,
        replication_factor: 3,
        quorums: Quorums { write: 1, read: 1 },
        resolve: Resolve::LastWriterWins,
        shards: vec![NewShard { start: Bytes::new(), nodes: vec![holders[1], holders[2], lost] }],
    });
    let SystemReply::Table(table) = made else { panic!("{made:?}") };
    cluster.run(60);
    let shard = cluster.hosts[&NodeId(1)].node.map().shards_of(table).next().unwrap().descriptor.shard;
    Given { cluster, table, shard, lost, holders }
}

impl Given {
    fn record(&self, node: NodeId) -> &ShardRecord {
        &self.cluster.hosts[&node].node.map().shards[&self.shard]
    }

    fn copy(&self, node: NodeId) -> Option<QuorumView> {
        let copies = self.cluster.hosts[&node].node.quorum_replicas().map(|copy| copy.view());
        copies.into_iter().find(|copy| copy.shard == self.shard)
    }

    /// What the copy on a node shows of a key.
    fn get(&mut self, node: NodeId, key: &str) -> Vec<Bytes> {
        let token = self.cluster.token();
        let read = Read::Get { key: Bytes::copy_from_slice(key.as_bytes()) };
        let consistency = ReadConsistency::Linearizable;
        self.cluster.input(node, Input::Read { token, table: self.table, read, consistency });
        self.cluster.run(4);
        match self.cluster.answers.remove(&token) {
            Some(Answer::Read(Ok(ReadResult::Values { records, .. }))) => {
                records.into_iter().map(|r| r.value).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// The node is away, and a person gives its copy up. Gives its host, and the copy's id.
    fn give_up(&mut self) -> (Host, ReplicaId) {
        let before = self.copy(self.lost).expect("a copy").replica;
        let away = self.cluster.hosts.remove(&self.lost).unwrap();
        self.cluster.run(LONG);
        let lost = vec![self.lost];
        let plans = match self.cluster.admin(AdminRequest::PlanRecoveries { lost: lost.clone(), only: None }) {
            AdminReply::Recoveries(plans) => plans,
            other => panic!("{other:?}"),
        };
        let (shard, plan) = plans.into_iter().next().unwrap();
        let plan = plan.unwrap();
        assert_eq!((shard, plan.given_up.len()), (self.shard, 1));
        let wanted = WantedRecovery { shard, survivor: plan.survivor.id, based_on: plan.based_on, lost };
        self.cluster.admin(AdminRequest::Recover(wanted));
        self.cluster.run(60);
        (away, before)
    }
}

#[test]
fn a_copy_that_was_given_up_ends_when_its_node_comes_back_and_another_comes_in_its_place() {
    let mut given = given();
    given.cluster.put(given.table, "pear", "1");
    let (away, before) = given.give_up();
    given.cluster.put(given.table, "apple", "1");
    given.cluster.restart(away);
    given.cluster.run(60);
    assert!(given.copy(given.lost).is_none_or(|copy| copy.replica > before), "it would acknowledge for itself alone");
    given.cluster.settle();
    let copy = given.copy(given.lost).expect("another copy");
    assert!(copy.replica > before && copy.is_complete, "{copy:?}");
    let homes = given.record(given.lost).descriptor.members.iter().map(|member| member.replica.node);
    assert!(homes.clone().count() == 3 && homes.into_iter().any(|node| node == given.lost));
    for key in ["pear", "apple"] {
        assert_eq!(given.get(given.lost, key), [Bytes::from_static(b"1")], "{key}");
    }
}

/// What one node with a copy of the system shard says of a recovery ends no copy.
#[test]
fn a_copy_is_not_given_up_on_the_word_of_one_node() {
    let mut given = given();
    given.cluster.run(100);
    let map = given.cluster.hosts[&given.lost].node.map().clone();
    let id = given.copy(given.lost).expect("a copy").replica;
    let (own, other) = (Replica { node: given.lost, id }, given.record(given.lost).assigned[0]);
    let epoch = Epoch(map.epoch.0 + 1);
    let record = ShardRecord { epoch, ..map.shards[&given.shard].clone() };
    let recovery = RecoveryRecord {
        shard: given.shard,
        from: other,
        to: other.id,
        last: (0, 0),
        given_up: vec![own],
        at_ms: 0,
        generation: record.descriptor.generation,
        epoch,
    };
    let delta = MapDelta {
        cluster: map.cluster.clone(),
        since: map.epoch,
        epoch,
        replica_max: map.replica_max(),
        shards: vec![record],
        recoveries: vec![recovery],
        ..MapDelta::default()
    };
    let liar = given.holders[1];
    map_from(&mut given.cluster, liar, given.lost, delta.clone());
    given.cluster.input(given.lost, Input::Tick);
    assert_eq!(given.copy(given.lost).map(|copy| copy.replica), Some(id));
    // Two of them are believed.
    map_from(&mut given.cluster, given.holders[2], given.lost, delta);
    given.cluster.input(given.lost, Input::Tick);
    assert_eq!(given.copy(given.lost), None);
}

#[cfg(feature = "planted")]
#[test]
fn a_copy_that_goes_on_though_it_was_given_up_is_noticed() {
    use skerry_core::planted::{Planted, plant};

    plant(Some(Planted::GivenUpCopyAcknowledges));
    let test = a_copy_that_was_given_up_ends_when_its_node_comes_back_and_another_comes_in_its_place;
    let caught = std::panic::catch_unwind(test).is_err();
    plant(None);
    assert!(caught);
}
