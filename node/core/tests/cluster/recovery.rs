//! Shards that have lost their majority go on from one copy, if a person says so and nothing speaks against it; and all
//! else stays as it is.

use skerry_core::command::Outcome;
use skerry_core::ids::{Epoch, NodeId, ReplicaId, ShardId, TableId};
use skerry_core::node::{AdminRefusal, AdminReply, AdminRequest, WantedRecovery};
use skerry_core::replica::ReplicaView;
use skerry_core::steward::{RecoveryPlan, RecoveryRefusal};
use skerry_core::system::{AdminChange, SystemRefusal, SystemReply};

use crate::harness::{Cluster, Host, table_on};

/// Ticks after which a copy says that it has no leader, and a silent node may be named as lost.
pub(crate) const LONG: u64 = 320;

/// Five nodes or more, so that the system shard outlives two, and a table of three shards on these nodes.
fn with_table(count: u64, nodes: &[NodeId]) -> (Cluster, TableId) {
    let mut cluster = Cluster::start();
    for number in 2..=count {
        cluster.join(number);
    }
    cluster.settle();
    cluster.run(400);
    let table = table_on(&mut cluster, nodes);
    cluster.settle();
    (cluster, table)
}

const NODES: [NodeId; 3] = [NodeId(3), NodeId(4), NodeId(5)];
/// The nodes that are lost for ever: all but one of [`NODES`].
const LOST: [NodeId; 2] = [NodeId(4), NodeId(5)];

/// Of the steward, whoever that is.
fn ask_steward(cluster: &mut Cluster, request: &AdminRequest) -> Result<AdminReply, AdminRefusal> {
    let nodes: Vec<NodeId> = cluster.hosts.keys().copied().collect();
    let answers = nodes.into_iter().map(|node| cluster.ask(node, request.clone()));
    let answered: Vec<_> = answers.filter(|a| !matches!(a, Err(AdminRefusal::NotLeader { .. }))).collect();
    answered.into_iter().next().expect("a steward")
}

type Plans = Vec<(ShardId, Result<RecoveryPlan, RecoveryRefusal>)>;

fn plans(cluster: &mut Cluster, lost: &[NodeId]) -> Plans {
    plans_of(cluster, lost, None)
}

fn plans_of(cluster: &mut Cluster, lost: &[NodeId], only: Option<ShardId>) -> Plans {
    match ask_steward(cluster, &AdminRequest::PlanRecoveries { lost: lost.to_vec(), only }) {
        Ok(AdminReply::Recoveries(plans)) => plans,
        other => panic!("{other:?}"),
    }
}

fn wanted_of(plan: &RecoveryPlan, lost: &[NodeId]) -> WantedRecovery {
    let (shard, survivor, based_on) = (plan.shard, plan.survivor.id, plan.based_on);
    WantedRecovery { shard, survivor, based_on, lost: lost.to_vec() }
}

pub(crate) fn recover_all(cluster: &mut Cluster, lost: &[NodeId]) -> Vec<WantedRecovery> {
    let plans = plans(cluster, lost);
    assert_eq!(plans.len(), 3, "{plans:?}");
    let wanted: Vec<_> = plans.into_iter().map(|(_, plan)| wanted_of(&plan.expect("a plan"), lost)).collect();
    for recovery in &wanted {
        let done = ask_steward(cluster, &AdminRequest::Recover(recovery.clone()));
        assert!(matches!(done, Ok(AdminReply::Command(SystemReply::Done(_)))), "{done:?}");
    }
    wanted
}

fn views(cluster: &Cluster, shard: ShardId) -> Vec<ReplicaView> {
    cluster.hosts.values().filter_map(|h| h.node.replica(shard)).map(|r| r.view()).collect()
}

pub(crate) fn fill(cluster: &mut Cluster, table: TableId) {
    for number in 0..60 {
        let key = format!("{}{number}", ['a', 'j', 's'][number % 3]);
        assert!(matches!(cluster.put(table, &key, "x"), Outcome::Applied(_)));
    }
}

pub(crate) fn check(cluster: &mut Cluster, table: TableId) {
    for number in 0..60 {
        let key = format!("{}{number}", ['a', 'j', 's'][number % 3]);
        assert_eq!(cluster.get(table, &key).as_deref(), Some(&b"x"[..]), "{key}");
    }
}

pub(crate) fn lose(cluster: &mut Cluster, nodes: &[NodeId]) -> Vec<Host> {
    let hosts = nodes.iter().map(|node| cluster.hosts.remove(node).expect("a host")).collect();
    cluster.run(LONG);
    hosts
}

#[test]
fn a_shard_goes_on_from_the_copy_that_is_left_and_is_rebuilt() {
    let (mut cluster, table) = with_table(5, &NODES);
    fill(&mut cluster, table);
    lose(&mut cluster, &LOST);
    let wanted = recover_all(&mut cluster, &LOST);
    cluster.run(60);
    check(&mut cluster, table);
    for recovery in &wanted {
        let alive = views(&cluster, recovery.shard);
        assert!(alive.iter().all(|v| v.replica > recovery.survivor && v.is_leader), "{alive:#?}");
        let record = cluster.status().map.recoveries[&recovery.shard].clone();
        assert_eq!((record.from.id, record.from.node, record.given_up.len()), (recovery.survivor, NODES[0], 2));
        assert!(record.at_ms > 1_000_000 && record.last.0 > 20);
    }
    let targets = wanted.iter().map(|w| (w.shard, vec![NodeId(1), NodeId(2), NODES[0]])).collect();
    cluster.change(AdminChange::SetTargets(targets));
    cluster.settle();
    assert!(wanted.iter().all(|w| views(&cluster, w.shard).len() == 3));
    fill(&mut cluster, table);
    check(&mut cluster, table);
}

#[test]
fn a_shard_is_told_of_by_its_id_whether_it_has_a_leader_or_not() {
    let (mut cluster, table) = with_table(5, &NODES);
    fill(&mut cluster, table);
    let shard = cluster.hosts[&NodeId(1)].node.map().route(table, b"a").unwrap().descriptor.shard;
    let told = plans_of(&mut cluster, &LOST, Some(shard));
    assert!(matches!(told[..], [(of, Err(RecoveryRefusal::Led { .. }))] if of == shard), "{told:?}");
    lose(&mut cluster, &LOST);
    let all = plans(&mut cluster, &LOST);
    let expected: Plans = all.into_iter().filter(|(of, _)| *of == shard).collect();
    assert!(expected.len() == 1 && expected[0].1.is_ok());
    assert_eq!(plans_of(&mut cluster, &LOST, Some(shard)), expected);
    let unknown = ShardId(900);
    assert_eq!(plans_of(&mut cluster, &LOST, Some(unknown)), [(unknown, Err(RecoveryRefusal::Unknown(unknown)))]);
}

/// The entry had reached the copy, and the commit of it had not: it may have been acknowledged all the same.
#[test]
fn what_the_log_has_is_kept_also_where_nobody_knows_it_to_be_committed() {
    let (mut cluster, table) = with_table(5, &NODES);
    fill(&mut cluster, table);
    cluster.run(LONG);
    let shard = cluster.hosts[&NodeId(1)].node.map().route(table, b"a").unwrap().descriptor.shard;
    let leader = views(&cluster, shard).into_iter().find(|v| v.is_leader).unwrap().node;
    let kept = NODES.into_iter().find(|n| *n != leader).unwrap();
    let third = NODES.into_iter().find(|n| *n != leader && *n != kept).unwrap();
    cluster.hosts.remove(&third);
    cluster.hushed = Some(kept);
    cluster.put_at(leader, table, "a-late", "late");
    cluster.run(3);
    let away = cluster.hosts.remove(&leader);
    assert!(away.is_some());
    cluster.hushed = None;
    cluster.run(LONG);
    let view = cluster.hosts[&kept].node.replica(shard).unwrap().view();
    assert!(view.committed < view.last, "{view:#?}");
    recover_all(&mut cluster, &[leader, third]);
    cluster.run(60);
    assert_eq!(cluster.get(table, "a-late").as_deref(), Some(&b"late"[..]));
    check(&mut cluster, table);
}

#[test]
fn a_shard_that_lives_or_may_live_is_not_recovered() {
    let (mut cluster, _) = with_table(5, &NODES);
    assert_eq!(plans(&mut cluster, &LOST), []);
    let shard = ShardId(1);
    let recovery = WantedRecovery { shard, survivor: ReplicaId(9), based_on: Epoch(1_000), lost: LOST.to_vec() };
    let refused = ask_steward(&mut cluster, &AdminRequest::Recover(recovery));
    assert!(matches!(refused, Err(AdminRefusal::Recovery(RecoveryRefusal::Led { .. }))), "{refused:?}");
    // Two of three copies are gone, and nobody said so of the second.
    lose(&mut cluster, &LOST);
    let unnamed = plans(&mut cluster, &LOST[..1]);
    let is_unheard = |refusal: &RecoveryRefusal| matches!(refusal, RecoveryRefusal::Unheard { .. });
    assert!(unnamed.len() == 3 && unnamed.iter().all(|(_, plan)| plan.as_ref().is_err_and(is_unheard)), "{unnamed:?}");
    // A node that speaks is not lost.
    let alive = plans(&mut cluster, &NODES);
    let is_alive = |refusal: &RecoveryRefusal| matches!(refusal, RecoveryRefusal::Alive { node } if *node == NODES[0]);
    assert!(alive.iter().all(|(_, plan)| plan.as_ref().is_err_and(is_alive)), "{alive:?}");
}

#[test]
fn a_node_that_was_heard_of_lately_is_not_lost() {
    let (mut cluster, _) = with_table(5, &NODES);
    LOST.iter().for_each(|node| drop(cluster.hosts.remove(node)));
    for _ in 0..12 {
        cluster.run(10);
        let plans = plans(&mut cluster, &LOST);
        assert!(plans.iter().all(|(_, plan)| plan.is_err()), "{plans:?}");
    }
}

#[test]
fn a_recovery_that_is_asked_for_twice_happens_once() {
    let (mut cluster, table) = with_table(5, &NODES);
    fill(&mut cluster, table);
    lose(&mut cluster, &LOST);
    let wanted = recover_all(&mut cluster, &LOST);
    for recovery in &wanted {
        let again = ask_steward(&mut cluster, &AdminRequest::Recover(recovery.clone()));
        let stale = matches!(&again, Err(AdminRefusal::Refused(SystemRefusal::Stale { .. })));
        assert!(stale || matches!(&again, Err(AdminRefusal::Recovery(_))), "{again:?}");
    }
    cluster.run(60);
    check(&mut cluster, table);
}

/// Two of three, so a majority of what was: they must not elect a leader among themselves.
#[test]
fn copies_that_were_given_up_are_ended_when_their_nodes_come_back() {
    let (mut cluster, table) = with_table(5, &NODES);
    fill(&mut cluster, table);
    let away = lose(&mut cluster, &LOST);
    let wanted = recover_all(&mut cluster, &LOST);
    cluster.run(60);
    cluster.put(table, "a-new", "new");
    away.into_iter().for_each(|host| cluster.restart(host));
    for _ in 0..400 {
        cluster.run(1);
        for recovery in &wanted {
            let leaders = views(&cluster, recovery.shard).into_iter().filter(|v| v.is_leader);
            let old: Vec<_> = leaders.filter(|v| v.descriptor.generation.recoveries() == 0).collect();
            assert!(old.is_empty(), "{old:#?}");
        }
    }
    cluster.settle();
    check(&mut cluster, table);
    assert_eq!(cluster.get(table, "a-new").as_deref(), Some(&b"new"[..]));
    for recovery in &wanted {
        let rebuilt = views(&cluster, recovery.shard);
        assert!(
            rebuilt.len() == 3 && rebuilt.iter().all(|v| v.descriptor.generation.recoveries() == 1),
            "{rebuilt:#?}"
        );
    }
}

/// Of five copies two are left. While one goes on alone the other is silent and keeps its records: should the first be
/// lost before there is another, the second is what is left.
#[test]
fn a_silenced_copy_can_be_gone_on_from_if_the_first_is_lost_too() {
    let nodes: Vec<NodeId> = (3..=7).map(NodeId).collect();
    let (mut cluster, table) = with_table(7, &nodes);
    fill(&mut cluster, table);
    cluster.run(60);
    let mut lost = nodes[2..].to_vec();
    lose(&mut cluster, &lost);
    let wanted = recover_all(&mut cluster, &lost);
    cluster.run(60);
    for (shard, of) in wanted.iter().flat_map(|w| views(&cluster, w.shard).into_iter().map(|v| (w.shard, v))) {
        assert_eq!(of.is_leader, of.descriptor.generation.recoveries() == 1, "{shard}: {of:#?}");
        assert_eq!(of.is_blank, !of.is_leader, "{shard}: {of:#?}");
    }
    let plan = cluster.status().map.shards[&wanted[0].shard].assigned[0].node;
    let other = if plan == nodes[0] { nodes[1] } else { nodes[0] };
    lose(&mut cluster, &[plan]);
    lost.push(plan);
    for (_, again) in plans(&mut cluster, &lost) {
        let again = again.expect("a plan");
        assert_eq!(again.survivor.node, other);
        let done = ask_steward(&mut cluster, &AdminRequest::Recover(wanted_of(&again, &lost)));
        assert!(matches!(done, Ok(AdminReply::Command(SystemReply::Done(_)))), "{done:?}");
    }
    cluster.run(60);
    check(&mut cluster, table);
}

/// It votes and acknowledges nothing before the map comes, nor ever after.
#[test]
fn a_silenced_copy_is_silent_after_a_restart_too() {
    let nodes: Vec<NodeId> = (3..=7).map(NodeId).collect();
    let (mut cluster, table) = with_table(7, &nodes);
    fill(&mut cluster, table);
    cluster.run(60);
    lose(&mut cluster, &nodes[2..]);
    let wanted = recover_all(&mut cluster, &nodes[2..]);
    cluster.run(60);
    for node in &nodes[..2] {
        let host = cluster.hosts.remove(node).unwrap();
        cluster.restart(host);
    }
    for of in wanted.iter().flat_map(|w| views(&cluster, w.shard)) {
        assert!(of.is_blank || of.descriptor.generation.recoveries() == 1, "{of:#?}");
    }
    cluster.run(60);
    check(&mut cluster, table);
}

/// A crash at any time of the remaking finds the old copy or the new one, with all that there was.
#[test]
fn a_crash_while_a_copy_is_remade_loses_nothing() {
    for (ticks, is_synced) in [(0, true), (1, true), (2, true), (3, true), (5, true), (1, false), (9, false)] {
        let (mut cluster, table) = with_table(5, &NODES);
        fill(&mut cluster, table);
        lose(&mut cluster, &LOST);
        cluster.unsynced = (!is_synced).then_some(NODES[0]);
        recover_all(&mut cluster, &LOST);
        cluster.run(ticks);
        let host = cluster.hosts.remove(&NODES[0]).unwrap();
        cluster.unsynced = None;
        cluster.restart(host);
        cluster.run(100);
        check(&mut cluster, table);
        cluster.put(table, "a-new", "new");
    }
}

#[cfg(feature = "planted")]
#[test]
fn the_tests_of_recoveries_catch_their_planted_bugs() {
    use skerry_core::planted::{Planted, plant};

    let tests: [(Planted, fn()); 4] = [
        (Planted::SilenceForgotten, a_silenced_copy_is_silent_after_a_restart_too),
        (Planted::UnheardIsLost, a_shard_that_lives_or_may_live_is_not_recovered),
        (Planted::UncommittedTailDropped, what_the_log_has_is_kept_also_where_nobody_knows_it_to_be_committed),
        (Planted::GivenUpCopySpeaks, a_silenced_copy_can_be_gone_on_from_if_the_first_is_lost_too),
    ];
    for (bug, test) in tests {
        plant(Some(bug));
        let caught = std::panic::catch_unwind(test).is_err();
        plant(None);
        assert!(caught, "{bug:?}");
    }
}
