//! The system shard goes on from a copy that has not heard of the last steps of a quorum shard: nothing becomes of the shard
//! before all its copies have told what they hold, and then it goes on with that.

use std::collections::BTreeSet;

use bytes::Bytes;
use skerry_core::command::{Outcome, Read, ReadConsistency, ReadResult};
use skerry_core::ids::{Epoch, Generation, NodeId, ShardId, TableId};
use skerry_core::map::{Fragmentation, Map, MapDelta, QuorumRecord, Quorums, ShardRecord};
use skerry_core::node::{AdminReply, AdminRequest, Answer, Input, WantedRecovery};
use skerry_core::quorum::layout::Layout;
use skerry_core::quorum::shown::Resolve;
use skerry_core::system::{AdminChange, NewShard, SystemReply};

use crate::adversary::map_from;
use crate::harness::{Cluster, Host, four_nodes_for_quorum_tables};
use crate::recovery::LONG;

/// Four nodes that have quorum tables, and such a table of one shard.
struct Carts {
    cluster: Cluster,
    table: TableId,
    shard: ShardId,
    /// The nodes with a copy of the system shard; the first two copies of the table are on the latter two.
    holders: [NodeId; 3],
    /// The node without one.
    fourth: NodeId,
}

fn carts() -> Carts {
    let (mut cluster, holders, fourth) = four_nodes_for_quorum_tables();
    let made = cluster.change(AdminChange::CreateQuorumTable {
        name: "carts".into(),
        fragmentation: Fragmentation::Range,
        replication_factor: 2,
        quorums: Quorums { write: 1, read: 2 },
        resolve: Resolve::Siblings,
        shards: vec![NewShard { start: Bytes::new(), nodes: holders[1..].to_vec() }],
    });
    let SystemReply::Table(table) = made else { panic!("{made:?}") };
    cluster.run(60);
    let shard = cluster.hosts[&NodeId(1)].node.map().shards_of(table).next().unwrap().descriptor.shard;
    Carts { cluster, table, shard, holders, fourth }
}

impl Carts {
    fn map(&self, node: NodeId) -> &Map {
        self.cluster.hosts[&node].node.map()
    }

    fn record(&self, node: NodeId) -> &ShardRecord {
        &self.map(node).shards[&self.shard]
    }

    /// What the copy on a node holds.
    fn held(&self, node: NodeId) -> Option<Layout> {
        let copy = self.cluster.hosts[&node].node.quorum_replicas().find(|copy| copy.view().shard == self.shard)?;
        Some(copy.view().layout)
    }

    fn homes(&self, node: NodeId) -> BTreeSet<NodeId> {
        self.record(node).descriptor.members.iter().map(|member| member.replica.node).collect()
    }

    fn get(&mut self, key: &str) -> Vec<Bytes> {
        for _ in 0..100 {
            for node in self.cluster.hosts.keys().copied().collect::<Vec<_>>() {
                let token = self.cluster.token();
                let read = Read::Get { key: Bytes::copy_from_slice(key.as_bytes()) };
                let consistency = ReadConsistency::Linearizable;
                self.cluster.input(node, Input::Read { token, table: self.table, read, consistency });
                self.cluster.run(4);
                if let Some(Answer::Read(Ok(ReadResult::Values { records, .. }))) = self.cluster.answers.remove(&token)
                {
                    return records.into_iter().map(|record| record.value).collect();
                }
            }
        }
        panic!("no answer to get {key}");
    }

    /// The shard moves from the third holder to the fourth node, and then the system shard goes on from the first holder's
    /// copy, which has not heard of that. Gives the hosts of the others.
    fn go_back(&mut self) -> Vec<Host> {
        let [first, stays, _] = self.holders;
        self.cluster.deaf = Some(first);
        self.cluster.run(100);
        self.cluster.change(AdminChange::SetTargets(vec![(self.shard, vec![stays, self.fourth])]));
        for _ in 0..100 {
            self.cluster.run(10);
            if self.homes(self.fourth) == BTreeSet::from([stays, self.fourth]) && self.record(stays).is_settled() {
                break;
            }
        }
        assert_eq!(self.homes(self.fourth), BTreeSet::from([stays, self.fourth]));
        self.cluster.put(self.table, "apple", "1");
        self.cluster.run(20);
        self.cluster.deaf = None;
        let lost = self.holders[1..].to_vec();
        let away = lost.iter().filter_map(|node| self.cluster.hosts.remove(node)).collect();
        self.cluster.inbox.clear();
        self.cluster.run(LONG);
        let survivor = self.cluster.hosts[&first].node.replica(ShardId::SYSTEM).unwrap().view().replica;
        let wanted = WantedRecovery { shard: ShardId::SYSTEM, survivor, based_on: Epoch(0), lost };
        let answer = self.cluster.ask(first, AdminRequest::RecoverSystem(wanted));
        assert!(matches!(answer, Ok(AdminReply::Command(SystemReply::Done(_)))), "{answer:?}");
        self.cluster.run(LONG);
        away
    }
}

#[test]
fn a_shard_goes_on_with_what_its_copies_hold_once_all_nodes_are_back() {
    let mut carts = carts();
    let [first, stays, left] = carts.holders;
    carts.cluster.put(carts.table, "pear", "1");
    let away = carts.go_back();
    let held = carts.held(carts.fourth).expect("it has come");
    assert!(carts.record(first).is_unsure() && held.generation > carts.record(first).descriptor.generation);
    assert_eq!(carts.homes(carts.fourth), BTreeSet::from([stays, left]), "so the system shard believes");
    let mut is_back = false;
    for host in away {
        assert!(!is_back || carts.record(first).is_unsure(), "one may still be ahead");
        carts.cluster.restart(host);
        carts.cluster.run(LONG);
        is_back = true;
    }
    assert!(!carts.record(first).is_unsure());
    assert!(carts.record(first).descriptor.generation >= Generation(1 << 32));
    for key in ["pear", "apple"] {
        assert_eq!(carts.get(key), [Bytes::from_static(b"1")], "{key}");
    }
    // The target is the one of before.
    carts.cluster.settle();
    assert_eq!(carts.homes(first), BTreeSet::from([stays, left]));
    assert_eq!(carts.get("apple"), [Bytes::from_static(b"1")]);
}

#[test]
fn a_person_has_it_go_on_without_nodes_that_are_gone_for_good() {
    let mut carts = carts();
    let [first, stays, left] = carts.holders;
    drop(carts.go_back());
    let lost = vec![stays, left];
    let plans = match carts.cluster.ask(first, AdminRequest::PlanRecoveries { lost: lost.clone(), only: None }) {
        Ok(AdminReply::Recoveries(plans)) => plans,
        other => panic!("{other:?}"),
    };
    let (shard, plan) = plans.into_iter().next().unwrap();
    let plan = plan.unwrap();
    assert_eq!((shard, plan.survivor.node), (carts.shard, carts.fourth));
    let (survivor, based_on) = (plan.survivor.id, plan.based_on);
    let wanted = WantedRecovery { shard, survivor, based_on, lost };
    let answer = carts.cluster.ask(first, AdminRequest::Recover(wanted));
    assert!(matches!(answer, Ok(AdminReply::Command(SystemReply::Done(_)))), "{answer:?}");
    carts.cluster.change(AdminChange::SetTargets(vec![(carts.shard, vec![first, carts.fourth])]));
    carts.cluster.settle();
    assert_eq!(carts.homes(first), BTreeSet::from([first, carts.fourth]));
    assert_eq!(carts.get("apple"), [Bytes::from_static(b"1")]);
}

#[test]
fn a_node_that_starts_anew_serves_its_copies_while_nobody_can_tell_it_the_map() {
    let mut carts = carts();
    let (stays, fourth) = (carts.holders[1], carts.fourth);
    carts.cluster.change(AdminChange::SetTargets(vec![(carts.shard, vec![stays, fourth])]));
    carts.cluster.settle();
    carts.cluster.put(carts.table, "pear", "1");
    carts.cluster.run(LONG);
    let mut away: Vec<Host> = std::mem::take(&mut carts.cluster.hosts).into_values().collect();
    let mut take = |id: NodeId| {
        let at = away.iter().position(|host| host.node.identity().node == id).unwrap();
        away.swap_remove(at)
    };
    carts.cluster.inbox.clear();
    carts.cluster.restart(take(fourth));
    carts.cluster.run(LONG);
    assert_eq!((carts.map(fourth).epoch, carts.record(fourth).is_settled()), (Epoch(0), true));
    carts.cluster.put_at(fourth, carts.table, "apple", "2");
    carts.cluster.run(4);
    let answers = std::mem::take(&mut carts.cluster.answers);
    let is_applied = |answer: &Answer| matches!(answer, Answer::Write(Ok(Outcome::Applied { .. })));
    assert!(answers.values().any(is_applied), "one confirmation is enough here: {answers:?}");
    // A read wants both, and the system shard has one copy of three still.
    carts.cluster.restart(take(stays));
    for (key, value) in [("pear", "1"), ("apple", "2")] {
        assert_eq!(carts.get(key), [Bytes::copy_from_slice(value.as_bytes())], "{key}");
    }
    away.into_iter().for_each(|host| carts.cluster.restart(host));
    carts.cluster.settle();
    assert!(carts.map(fourth).epoch > Epoch(0));
    assert_eq!(carts.map(fourth).shards, carts.map(stays).shards, "what was kept gave way to what is told");
}

/// What a copy holds after two nodes with a copy of the system shard have told of a later record, as unsure or not.
fn told(is_unsure: bool) -> (Generation, Generation) {
    let mut carts = carts();
    let [_, stays, left] = carts.holders;
    carts.cluster.change(AdminChange::SetTargets(vec![(carts.shard, vec![stays, carts.fourth])]));
    carts.cluster.settle();
    let before = carts.held(carts.fourth).unwrap().generation;
    let map = carts.map(carts.fourth).clone();
    let mut record = map.shards[&carts.shard].clone();
    record.epoch = Epoch(map.epoch.0 + 1);
    record.descriptor.generation = Generation(before.0 + 1);
    record.quorum = record.quorum.map(|quorum| QuorumRecord { is_unsure, ..quorum });
    let delta = MapDelta {
        cluster: map.cluster.clone(),
        since: map.epoch,
        epoch: record.epoch,
        replica_max: map.replica_max(),
        shards: vec![record],
        ..MapDelta::default()
    };
    for from in [stays, left] {
        map_from(&mut carts.cluster, from, carts.fourth, delta.clone());
    }
    (before, carts.held(carts.fourth).unwrap().generation)
}

#[test]
fn a_copy_goes_on_as_it_is_while_its_record_is_unsure() {
    let (before, after) = told(false);
    assert_eq!(after.0, before.0 + 1);
    let (before, after) = told(true);
    assert_eq!(after, before);
}

#[cfg(feature = "planted")]
#[test]
fn bugs_of_unsure_records_are_noticed() {
    skerry_core::planted::plant(Some(skerry_core::planted::Planted::UnsureFollowed));
    let (before, after) = told(true);
    skerry_core::planted::plant(None);
    assert!(after > before);
}
