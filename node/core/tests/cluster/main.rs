//! A cluster of node cores with a perfect network and disk, as the smallest proof that the parts fit. Faults are the
//! simulator's business.
#![expect(clippy::unwrap_used, reason = "a test harness")]

mod adversary;
mod behind;
mod bounds;
mod catch_up;
mod given_up;
mod harness;
mod keys;
mod levels;
mod liar;
mod lost_volume;
mod members;
mod memory;
mod never_begun;
mod newer;
mod quorum_given_up;
mod quorum_recovery;
mod quorum_restart;
mod recovery;
mod sizes;
mod stalled_disk;
mod system_recovery;
mod transfers;

use std::collections::BTreeSet;

use bytes::Bytes;
use harness::{Cluster, table_on, three_nodes};
use skerry_core::command::{Command, Condition, Expected, Mutation, Outcome, RequestId};
use skerry_core::ids::{Incarnation, NodeId, ShardId};
use skerry_core::map::{Descriptor, MoveLimits};
use skerry_core::node::{AdminReply, AdminRequest, Removal};
use skerry_core::replica::ReplicaView;
use skerry_core::system::{AdminChange, Fence, SystemCommand, SystemRefusal};
use skerry_core::time::Version;

/// Copies of other shards than the system's: all, and those that are quiescent.
fn quiescent(cluster: &Cluster) -> (usize, usize) {
    let views = || cluster.hosts.values().flat_map(|h| h.node.replicas()).filter(|v| v.shard != ShardId::SYSTEM);
    (views().count(), views().filter(|v| v.is_quiescent).count())
}

#[test]
fn three_nodes_serve_a_table_and_conditions_hold() {
    let (mut cluster, _, table) = three_nodes();
    for number in 0..50 {
        let key = format!("{}{number}", if number % 2 == 0 { "a" } else { "s" });
        assert!(matches!(cluster.put(table, &key, "x"), Outcome::Applied(_)));
    }
    assert_eq!(cluster.get(table, "a0"), Some(Bytes::from_static(b"x")));
    assert_eq!(cluster.get(table, "nothing"), None);
    let key = Bytes::from_static(b"a0");
    let command = Command {
        request: None,
        conditions: vec![Condition { key: key.clone(), expected: Expected::Absent }],
        mutations: vec![Mutation::Delete { key }],
    };
    assert!(matches!(cluster.write(table, &command), Outcome::ConditionFailed { condition: 0, actual: Some(_) }));
    let status = cluster.status();
    assert_eq!(status.shards.iter().filter(|(s, _)| s.descriptor.table == table && s.in_sync.len() == 3).count(), 3);
}

#[test]
fn copies_of_a_database_at_rest_are_in_sync_at_every_look() {
    let (mut cluster, _, _) = three_nodes();
    cluster.settle();
    cluster.run(100);
    for look in 0..100 {
        cluster.run(look % 3);
        let status = cluster.status();
        for (shard, _) in &status.shards {
            assert_eq!(shard.in_sync.len(), 3, "look {look}, shard {}", shard.descriptor.shard);
        }
    }
}

#[test]
fn shards_with_nothing_to_do_go_quiescent_and_answer_at_once() {
    let (mut cluster, _, table) = three_nodes();
    cluster.settle();
    cluster.run(200);
    assert_eq!(quiescent(&cluster), (9, 9));
    let terms = |cluster: &Cluster| cluster.hosts[&NodeId(1)].node.replicas().map(|v| v.term).collect::<Vec<_>>();
    let before = terms(&cluster);
    assert!(matches!(cluster.put(table, "a", "x"), Outcome::Applied(_)));
    // Its first act: the shard is awake, and its followers as soon as they hear of it.
    assert_eq!(quiescent(&cluster), (9, 6));
    assert_eq!(cluster.get(table, "z"), None);
    cluster.run(200);
    assert_eq!(quiescent(&cluster), (9, 9));
    assert_eq!(terms(&cluster), before);
}

/// Ticks after which every shard of a node that dies is led by another. All have been quiescent for so many ticks more than
/// they might: it must not matter when in the rounds of the nodes it dies.
fn ticks_until_led_anew(later: u64) -> u64 {
    let (mut cluster, nodes, _) = three_nodes();
    cluster.settle();
    cluster.run(200 + later);
    assert_eq!(quiescent(&cluster), (9, 9));
    let leading = |cluster: &Cluster, node: &NodeId| {
        let led = |v: &ReplicaView| v.is_leader && v.shard != ShardId::SYSTEM;
        cluster.hosts[node].node.replicas().filter(led).count()
    };
    let dead = *nodes.iter().max_by_key(|node| leading(&cluster, node)).unwrap();
    assert!(leading(&cluster, &dead) > 0);
    cluster.hosts.remove(&dead);
    for ticks in 1..200 {
        cluster.run(1);
        let others = nodes.iter().filter(|node| **node != dead);
        if others.map(|node| leading(&cluster, node)).sum::<usize>() == 3 {
            return ticks;
        }
    }
    panic!("some are not led, {later} ticks later");
}

/// Silence is noticed after 14 ticks, and who stands first is drawn from nine. Two that draw the same may both lose, once in
/// nine times: then they draw anew, and stand after 23 ticks at most. Each of three shards has two that may.
#[test]
fn quiescent_shards_of_a_dead_node_are_led_anew_as_soon_as_busy_ones() {
    let ticks: Vec<u64> = (0..64).map(ticks_until_led_anew).collect();
    let within = |most: u64| ticks.iter().filter(|ticks| **ticks <= most).count();
    assert_eq!(within(24 + 2 * 23), 64, "{ticks:?}");
    assert!(2 * within(24) > 64, "{ticks:?}");
}

/// The leader of a shard died while another voter was getting a snapshot: the third could never be elected.
#[test]
fn a_voter_that_waits_for_its_records_votes_all_the_same() {
    let (mut cluster, nodes, table) = three_nodes();
    cluster.settle();
    let shard = cluster.hosts[&NodeId(1)].node.map().route(table, b"a").unwrap().descriptor.shard;
    let view = |cluster: &Cluster, node: &NodeId| cluster.hosts[node].node.replica(shard).unwrap().view();
    let leader = *nodes.iter().find(|node| view(&cluster, node).is_leader).unwrap();
    let mut followers = nodes.iter().copied().filter(|node| *node != leader);
    let (late, third) = (followers.next().unwrap(), followers.next().unwrap());
    let away = cluster.hosts.remove(&late).unwrap();
    for number in 0..200 {
        cluster.put(table, &format!("a{number}"), &"x".repeat(1_000));
    }
    cluster.run(60);
    cluster.loses_chunks = true;
    cluster.hosts.insert(late, away);
    for _ in 0..200 {
        cluster.run(1);
        if view(&cluster, &late).is_blank {
            break;
        }
    }
    assert!(view(&cluster, &late).is_blank);
    cluster.hosts.remove(&leader);
    cluster.run(100);
    assert!(view(&cluster, &third).is_leader && view(&cluster, &late).is_blank);
}

/// It refused the next offer, for it had records; where nothing was written, its leader never heard that it had them all.
#[test]
fn a_copy_whose_word_that_its_snapshot_stands_was_lost_says_so_again() {
    let (mut cluster, nodes, table) = three_nodes();
    let four = cluster.join(4);
    let shard = cluster.hosts[&NodeId(1)].node.map().route(table, b"a").unwrap().descriptor.shard;
    cluster.hushed = Some(four);
    cluster.change(AdminChange::SetTargets(vec![(shard, vec![nodes[0], nodes[1], four])]));
    let has_records =
        |cluster: &Cluster| cluster.hosts[&four].node.replica(shard).is_some_and(|replica| !replica.view().is_blank);
    for _ in 0..200 {
        cluster.run(1);
        if has_records(&cluster) {
            break;
        }
    }
    assert!(has_records(&cluster));
    cluster.run(10);
    assert!(!cluster.hosts[&NodeId(1)].node.map().shards[&shard].is_settled());
    cluster.hushed = None;
    cluster.settle();
}

/// It counted as in sync for half a second after every time that it asked for votes.
#[test]
fn a_copy_that_does_not_hear_its_leader_is_not_in_sync() {
    let (mut cluster, nodes, _) = three_nodes();
    cluster.settle();
    cluster.run(200);
    let leads = |v: &ReplicaView| v.is_leader && v.shard != ShardId::SYSTEM;
    let led = |cluster: &Cluster, node: NodeId| cluster.hosts[&node].node.replicas().filter(leads).count();
    let deaf = *nodes.iter().min_by_key(|node| led(&cluster, **node)).unwrap();
    cluster.deaf = Some(deaf);
    cluster.run(60);
    for _ in 0..200 {
        cluster.run(1);
        let others = cluster.hosts.iter().filter(|(node, _)| **node != deaf);
        for view in others.flat_map(|(_, host)| host.node.replicas()).filter(leads) {
            let of = view.descriptor.members.iter().find(|m| m.replica.node == deaf).unwrap();
            assert!(!view.in_sync.contains(&of.replica.id), "shard {}", view.shard);
        }
    }
}

#[test]
fn what_the_steward_did_not_hear_is_told_again_and_nothing_else_is() {
    let (mut cluster, _, table) = three_nodes();
    cluster.settle();
    cluster.run(200);
    (cluster.shards_told, cluster.loses_reports) = (0, true);
    cluster.run(100);
    assert_eq!(cluster.shards_told, 0, "at rest");
    assert!(matches!(cluster.put(table, "a", "x"), Outcome::Applied(_)));
    cluster.run(20);
    let bytes = |cluster: &mut Cluster| {
        let shards = cluster.status().shards;
        shards.iter().filter(|(s, age)| s.descriptor.table == table && *age < 1_000).map(|(s, _)| s.bytes).sum::<u64>()
    };
    assert!(cluster.shards_told > 0);
    cluster.loses_reports = false;
    cluster.run(20);
    assert!(bytes(&mut cluster) > 0);
    cluster.shards_told = 0;
    cluster.run(100);
    assert_eq!(cluster.shards_told, 0, "at rest again");
}

#[test]
fn map_has_new_members_only_once_a_majority_of_them_knows() {
    let (mut cluster, nodes, _) = three_nodes();
    let four = cluster.join(4);
    let shard = ShardId(1);
    cluster.change(AdminChange::SetTargets(vec![(shard, vec![nodes[1], nodes[2], four])]));
    let is_moved = |d: &Descriptor| {
        !d.is_joint()
            && d.members.iter().map(|m| m.replica.node).collect::<BTreeSet<_>>()
                == BTreeSet::from([nodes[1], nodes[2], four])
    };
    let moved = |cluster: &Cluster| {
        let replicas = cluster.hosts.values().filter_map(|h| h.node.replica(shard));
        replicas.map(|r| r.view()).any(|v| v.is_leader && is_moved(&v.descriptor))
    };
    for _ in 0..1_000 {
        if moved(&cluster) {
            break;
        }
        cluster.run(1);
    }
    assert!(moved(&cluster));
    cluster.silenced = Some(shard);
    cluster.run(40);
    assert!(!is_moved(&cluster.hosts[&NodeId(1)].node.map().shards[&shard].descriptor));
    cluster.silenced = None;
    cluster.settle();
    assert!(is_moved(&cluster.hosts[&NodeId(1)].node.map().shards[&shard].descriptor));
}

#[test]
fn a_retried_request_takes_effect_once() {
    let mut cluster = Cluster::start();
    let table = table_on(&mut cluster, &[NodeId(1)]);
    let request = Some(RequestId { issued: Version::at_ms(cluster.now.wall_ms), client: 9, sequence: 1 });
    let put = Mutation::Put { key: Bytes::from_static(b"k"), value: Bytes::from_static(b"once"), expires_ms: None };
    let command = Command { request, conditions: vec![], mutations: vec![put] };
    let first = cluster.write(table, &command);
    cluster.put(table, "k", "later");
    assert_eq!(cluster.write(table, &command), first);
    assert_eq!(cluster.get(table, "k"), Some(Bytes::from_static(b"later")));
}

#[test]
fn shards_move_to_new_nodes_and_the_old_ones_are_certified() {
    let (mut cluster, nodes, table) = three_nodes();
    for number in 0..40 {
        cluster.put(table, &format!("{}{number}", ['a', 'j', 's'][number % 3]), "x");
    }
    let (four, five) = (cluster.join(4), cluster.join(5));
    let shards: Vec<ShardId> = cluster.hosts[&NodeId(1)]
        .node
        .map()
        .live_shards()
        .filter(|s| s.descriptor.table == table)
        .map(|s| s.descriptor.shard)
        .collect();
    let targets = shards.iter().map(|s| (*s, vec![nodes[0], four, five])).collect();
    cluster.change(AdminChange::SetTargets(targets));
    cluster.settle();
    assert_eq!(cluster.get(table, "j1"), Some(Bytes::from_static(b"x")));
    cluster.change(AdminChange::Drain(nodes[2]));
    cluster.run(200);
    let request = AdminRequest::CertifyRemoval { node: nodes[2], incarnation: Incarnation(1) };
    let removal = cluster.admin(request);
    let AdminReply::Removal(Removal::Safe(certificate)) = removal else { panic!("{removal:?}") };
    cluster.admin(AdminRequest::Command(certificate.removal(1)));
    cluster.run(20);
    for number in 0..40 {
        let key = format!("{}{number}", ['a', 'j', 's'][number % 3]);
        assert_eq!(cluster.get(table, &key), Some(Bytes::from_static(b"x")), "{key}");
    }
}

#[test]
fn limits_of_moves_as_high_as_can_be_overflow_nothing() {
    let (mut cluster, nodes, table) = three_nodes();
    cluster.put(table, "a", "x");
    cluster.change(AdminChange::SetLimits(MoveLimits { moves_per_node: u32::MAX, bytes_per_second: u64::MAX }));
    let four = cluster.join(4);
    let shards = cluster.hosts[&NodeId(1)].node.map().live_shards().filter(|s| s.descriptor.table == table);
    let targets = shards.map(|s| (s.descriptor.shard, vec![nodes[0], nodes[1], four])).collect();
    cluster.change(AdminChange::SetTargets(targets));
    cluster.settle();
    assert_eq!(cluster.get(table, "a"), Some(Bytes::from_static(b"x")));
}

#[test]
fn a_fencing_token_out_of_reach_is_refused_by_the_leader_and_a_later_operator_is_heard() {
    let (mut cluster, ..) = three_nodes();
    let order = |token| {
        let change = AdminChange::SetLimits(MoveLimits { moves_per_node: 5, ..MoveLimits::default() });
        AdminRequest::Command(SystemCommand::Admin { fence: Fence { token, based_on: None }, change })
    };
    let refusal = cluster.refused(order(u64::MAX));
    assert!(matches!(refusal, SystemRefusal::TokenTooHigh { token: u64::MAX, .. }), "{refusal}");
    assert!(matches!(cluster.admin(order(2)), AdminReply::Command(_)));
}
