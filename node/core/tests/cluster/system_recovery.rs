//! The system shard goes on from one copy, decided by the node that has it: there is no steward to ask.

use skerry_core::ids::{Epoch, NodeId, ReplicaId, ShardId, TableId};
use skerry_core::message::CopyReport;
use skerry_core::node::{AdminRefusal, AdminReply, AdminRequest, WantedRecovery};
use skerry_core::replica::ReplicaView;
use skerry_core::steward::RecoveryRefusal;
use skerry_core::system::{AdminChange, SystemReply};

use crate::harness::{Cluster, Host, table_on};
use crate::recovery::{LONG, check, fill, lose, recover_all};

const FIRST: NodeId = NodeId(1);
const LOST: [NodeId; 2] = [NodeId(2), NodeId(3)];

/// Three nodes with a copy of everything each.
fn with_table() -> (Cluster, TableId) {
    let mut cluster = Cluster::start();
    for number in 2..=3 {
        cluster.join(number);
    }
    cluster.run(400);
    let table = table_on(&mut cluster, &[FIRST, LOST[0], LOST[1]]);
    cluster.settle();
    assert_eq!(views(&cluster).len(), 3);
    fill(&mut cluster, table);
    cluster.run(60);
    (cluster, table)
}

fn views(cluster: &Cluster) -> Vec<ReplicaView> {
    cluster.hosts.values().filter_map(|h| h.node.replica(ShardId::SYSTEM)).map(|r| r.view()).collect()
}

fn copy(cluster: &mut Cluster, node: NodeId) -> Option<CopyReport> {
    match cluster.ask(node, AdminRequest::SystemCopy) {
        Ok(AdminReply::SystemCopy { node: answered, copy }) if answered == node => copy,
        other => panic!("{other:?}"),
    }
}

fn recover(cluster: &mut Cluster, node: NodeId, lost: &[NodeId]) -> Result<AdminReply, AdminRefusal> {
    let survivor = cluster.hosts[&node].node.replica(ShardId::SYSTEM).map_or(ReplicaId(9), |r| r.view().replica);
    let wanted = WantedRecovery { shard: ShardId::SYSTEM, survivor, based_on: Epoch(0), lost: lost.to_vec() };
    cluster.ask(node, AdminRequest::RecoverSystem(wanted))
}

fn is_done(answer: &Result<AdminReply, AdminRefusal>) -> bool {
    matches!(answer, Ok(AdminReply::Command(SystemReply::Done(_))))
}

fn refusal(answer: Result<AdminReply, AdminRefusal>) -> RecoveryRefusal {
    match answer {
        Err(AdminRefusal::Recovery(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

/// Recovers the system shard, then the tables.
fn recover_everything(cluster: &mut Cluster) {
    let answer = recover(cluster, FIRST, &LOST);
    assert!(is_done(&answer), "{answer:?}");
    cluster.run(LONG);
    assert!(views(cluster).iter().any(|v| v.is_leader));
    recover_all(cluster, &LOST);
    cluster.run(60);
}

#[test]
fn everything_goes_on_from_one_node_of_three_and_is_rebuilt_on_new_ones() {
    let (mut cluster, table) = with_table();
    lose(&mut cluster, &LOST);
    let own = copy(&mut cluster, FIRST).expect("no leader");
    assert!(own.members.len() == 3 && !own.is_blank);
    recover_everything(&mut cluster);
    check(&mut cluster, table);
    let record = cluster.status().map.recoveries[&ShardId::SYSTEM].clone();
    assert_eq!((record.from.id, record.from.node, record.given_up.len()), (own.replica, FIRST, 2));
    assert!(record.to > own.replica && record.at_ms > 1_000_000);
    // Their ids are above any that the lost majority may have given.
    let (four, five) = (cluster.join(4), cluster.join(5));
    assert!(four > NodeId(1_000) && five > four);
    let shards: Vec<ShardId> = cluster.status().map.live_shards().map(|s| s.descriptor.shard).collect();
    cluster.change(AdminChange::SetTargets(shards.into_iter().map(|s| (s, vec![FIRST, four, five])).collect()));
    cluster.settle();
    cluster.run(400);
    fill(&mut cluster, table);
    check(&mut cluster, table);
    let copies = views(&cluster);
    assert!(copies.len() == 3 && copies.iter().all(|v| v.descriptor.generation.recoveries() == 1), "{copies:#?}");
}

#[test]
fn a_system_shard_that_lives_or_may_live_is_not_recovered() {
    let (mut cluster, _) = with_table();
    assert!(matches!(refusal(recover(&mut cluster, FIRST, &LOST)), RecoveryRefusal::Led { .. }));
    assert_eq!(copy(&mut cluster, FIRST), None);
    // Two of three are there, and a moment without a leader is not one for ever.
    cluster.hosts.remove(&LOST[1]);
    for _ in 0..LONG {
        cluster.run(1);
        let answer = recover(&mut cluster, FIRST, &LOST);
        assert!(!is_done(&answer), "{answer:?}");
    }
    lose(&mut cluster, &LOST[..1]);
    assert!(matches!(refusal(recover(&mut cluster, FIRST, &LOST[..1])), RecoveryRefusal::Unheard { .. }));
    assert!(is_done(&recover(&mut cluster, FIRST, &LOST)));
    cluster.run(60);
    assert!(matches!(refusal(recover(&mut cluster, FIRST, &LOST)), RecoveryRefusal::Led { .. }), "a second time");
}

#[test]
fn a_process_that_has_just_started_takes_nobody_for_lost() {
    let (mut cluster, _) = with_table();
    lose(&mut cluster, &LOST);
    let host = cluster.hosts.remove(&FIRST).unwrap();
    cluster.restart(host);
    for _ in 0..12 {
        cluster.run(10);
        let answer = recover(&mut cluster, FIRST, &LOST);
        assert!(!is_done(&answer), "{answer:?}");
    }
}

/// A majority of what was, with all their volumes.
#[test]
fn given_up_copies_of_the_system_shard_are_ended_when_they_come_back() {
    let (mut cluster, table) = with_table();
    let away: Vec<Host> = lose(&mut cluster, &LOST);
    recover_everything(&mut cluster);
    cluster.put(table, "a-new", "new");
    away.into_iter().for_each(|host| cluster.restart(host));
    cluster.run(LONG);
    cluster.settle();
    cluster.run(400);
    let copies = views(&cluster);
    assert!(copies.iter().all(|v| v.descriptor.generation.recoveries() == 1), "{copies:#?}");
    check(&mut cluster, table);
    assert_eq!(cluster.get(table, "a-new").as_deref(), Some(&b"new"[..]));
    let epochs: Vec<Epoch> = cluster.hosts.values().map(|h| h.node.map().epoch).collect();
    assert!(epochs.iter().all(|e| e.recoveries() == 1 && *e == epochs[0]), "{epochs:?}");
}

#[test]
fn a_crash_while_the_system_shard_is_remade_loses_nothing() {
    for (ticks, is_synced) in [(0, true), (1, true), (2, true), (4, true), (0, false), (6, false)] {
        let (mut cluster, table) = with_table();
        lose(&mut cluster, &LOST);
        cluster.unsynced = (!is_synced).then_some(FIRST);
        assert!(is_done(&recover(&mut cluster, FIRST, &LOST)));
        cluster.run(ticks);
        let host = cluster.hosts.remove(&FIRST).unwrap();
        cluster.unsynced = None;
        cluster.restart(host);
        cluster.run(LONG);
        // What no disk had is as if it had not been asked for.
        if !is_synced {
            assert!(is_done(&recover(&mut cluster, FIRST, &LOST)));
            cluster.run(LONG);
        }
        recover_all(&mut cluster, &LOST);
        cluster.run(60);
        check(&mut cluster, table);
    }
}

/// The system shard goes on from a copy that was away while a shard moved on, and its nodes are lost but for one that has
/// the shard as it came to be. What that one tells of its copy.
fn told_of_a_copy_that_the_map_does_not_know() -> Vec<CopyReport> {
    let mut cluster = Cluster::start();
    let [two, three, four] = [2, 3, 4].map(|number| cluster.join(number));
    cluster.run(400);
    let table = table_on(&mut cluster, &[FIRST, two, four]);
    cluster.settle();
    let shard = cluster.status().map.live_shards().find(|s| s.descriptor.table == table).unwrap().descriptor.shard;
    let away = lose(&mut cluster, &[FIRST]);
    cluster.change(AdminChange::AlterTable { table, replication_factor: 2 });
    cluster.target_next(shard, vec![two, four]);
    cluster.run(LONG);
    lose(&mut cluster, &[two, three]);
    away.into_iter().for_each(|host| cluster.restart(host));
    cluster.run(LONG);
    let answer = recover(&mut cluster, FIRST, &[two, three]);
    assert!(is_done(&answer), "{answer:?}");
    cluster.run(LONG);
    let nodes = cluster.status().nodes;
    nodes.into_iter().find(|(report, _)| report.node == four).map(|(report, _)| report.ahead).unwrap_or_default()
}

#[test]
fn a_node_tells_of_copies_that_a_recovered_system_shard_does_not_know() {
    let told = told_of_a_copy_that_the_map_does_not_know();
    let members: Vec<usize> = told.iter().map(|copy| copy.members.len()).collect();
    assert_eq!(members, [2], "{told:?}");
}

#[test]
fn a_copy_that_nobody_tells_of_is_noticed() {
    skerry_core::planted::plant(Some(skerry_core::planted::Planted::CopiesAheadUntold));
    let told = told_of_a_copy_that_the_map_does_not_know();
    skerry_core::planted::plant(None);
    assert_eq!(told, []);
}
