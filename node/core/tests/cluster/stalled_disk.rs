//! A disk that hangs fails nothing: its node leads nothing that others can lead until the disk answers, and nobody hands
//! leadership round in circles where all disks hang.

use std::collections::BTreeSet;

use skerry_core::ids::{NodeId, TableId};
use skerry_core::node::Input;
use skerry_core::planted::{Planted, plant};
use skerry_core::time::TICK_MS;

use crate::harness::{Cluster, three_nodes};

const KEYS: [&str; 3] = ["a", "k", "s"];
/// A write waits for 40 ticks before its disk counts as stalled; then there are a hand-over and an election.
const MOVED_TICKS: u64 = 60;

/// The nodes that lead the table's shards.
fn leaders(cluster: &Cluster, table: TableId) -> Vec<Option<NodeId>> {
    KEYS.iter().map(|key| cluster.leader_of(table, key.as_bytes())).collect()
}

fn leads(cluster: &Cluster, node: NodeId) -> usize {
    cluster.hosts[&node].node.replicas().filter(|view| view.is_leader).count()
}

/// Three nodes at rest, and one that leads the shard of "a".
fn with_leader() -> (Cluster, [NodeId; 3], TableId, NodeId) {
    let (mut cluster, nodes, table) = three_nodes();
    cluster.settle();
    cluster.put(table, "a", "before");
    let leader = cluster.leader_of(table, b"a").unwrap();
    (cluster, nodes, table, leader)
}

fn writes_go_on_beside_a_disk_that_hangs() {
    let (mut cluster, _, table, leader) = with_leader();
    cluster.hung.insert(leader);
    cluster.put_at(leader, table, "a", "under way");
    cluster.run(MOVED_TICKS);
    assert_eq!(leads(&cluster, leader), 0, "nothing is led where the disk hangs");
    for key in KEYS {
        cluster.put(table, key, "meanwhile");
    }
    // Also when nothing has happened for long, and when the others fall asleep.
    cluster.run(600);
    assert_eq!(leads(&cluster, leader), 0);
    let status = cluster.status();
    let stalled = |node: NodeId| status.nodes.iter().any(|(report, _)| report.node == node && report.disk_stalled);
    assert!(stalled(leader), "the steward knows");
    cluster.mend_disk(leader);
    cluster.run(60);
    assert_eq!(cluster.hosts[&leader].node.stalled_ms(), None);
    let status = cluster.status();
    assert!(status.nodes.iter().all(|(report, _)| !report.disk_stalled));
    assert_eq!(cluster.get(table, "a").as_deref(), Some(&b"meanwhile"[..]));
    cluster.settle();
}

/// The log takes every write, and cannot be cut.
fn a_store_whose_sync_hangs_is_a_disk_that_hangs() {
    let (mut cluster, _, table, leader) = with_leader();
    cluster.unsynced = Some(leader);
    cluster.put(table, "a", "to be synced");
    // The next sync begins within as many ticks as a stall of the log takes, and may run five times as long.
    cluster.run(40 + 5 * 40 + MOVED_TICKS);
    assert_eq!(leads(&cluster, leader), 0, "nothing is led where the store hangs");
    let stalled = |cluster: &mut Cluster| {
        let status = cluster.status();
        status.nodes.iter().any(|(report, _)| report.node == leader && report.disk_stalled)
    };
    assert!(stalled(&mut cluster), "the steward knows");
    cluster.put(table, "a", "meanwhile");
    cluster.unsynced = None;
    let mark = cluster.unsynced_mark.take().expect("a sync is under way");
    cluster.input(leader, Input::EngineDurable { mark });
    cluster.run(120);
    assert!(!stalled(&mut cluster));
    cluster.settle();
}

fn a_stalled_node_is_not_elected() {
    let (mut cluster, nodes, table, leader) = with_leader();
    let hung = *nodes.iter().find(|node| **node != leader).unwrap();
    cluster.hung.insert(hung);
    cluster.put(table, "a", "x");
    cluster.run(MOVED_TICKS);
    assert!(cluster.hosts[&hung].node.stalled_ms().is_some_and(|waited| waited > 40 * TICK_MS));
    // The leader is gone for the others.
    cluster.deaf = Some(leader);
    cluster.run(120);
    assert_eq!(leads(&cluster, hung), 0);
}

fn where_all_disks_hang_or_too_few_are_left_leaders_stay() {
    let (mut cluster, nodes, table, leader) = with_leader();
    let before = leaders(&cluster, table);
    let terms = |cluster: &Cluster| {
        cluster.hosts.values().flat_map(|host| host.node.replicas()).map(|view| view.term).collect::<BTreeSet<_>>()
    };
    let terms_before = terms(&cluster);
    let other = *nodes.iter().find(|node| **node != leader).unwrap();
    // The others alone are no majority whose disks answer.
    cluster.hung.extend([leader, other]);
    for key in KEYS {
        for node in nodes {
            cluster.put_at(node, table, key, "waits");
        }
    }
    cluster.run(400);
    cluster.hung.extend(nodes);
    cluster.run(2_000);
    assert_eq!(leaders(&cluster, table), before);
    assert_eq!(terms(&cluster), terms_before, "nobody stood for election");
    nodes.into_iter().for_each(|node| cluster.mend_disk(node));
    cluster.run(60);
    cluster.put(table, "a", "after");
}

/// A copy that is not heard can neither vote for an transfer_target nor keep what it writes, however well its node is.
fn a_leader_stays_where_the_others_are_not_in_sync() {
    let (mut cluster, nodes, table, leader) = with_leader();
    let hushed = *nodes.iter().find(|node| **node != leader).unwrap();
    cluster.hushed = Some(hushed);
    cluster.run(40);
    cluster.hung.insert(leader);
    cluster.put_at(leader, table, "a", "waits");
    cluster.run(400);
    assert_eq!(cluster.leader_of(table, b"a"), Some(leader));
    let read = cluster.get(table, "a");
    assert_eq!(read.as_deref(), Some(&b"before"[..]), "what needs no disk is answered");
}

/// The log's queue is bounded, and whoever waits for a place in it does nothing else.
fn what_clients_write_behind_a_disk_that_hangs_is_bounded() {
    let (mut cluster, nodes, table, leader) = with_leader();
    cluster.hung.extend(nodes);
    cluster.put_at(leader, table, "a", "first");
    cluster.run(MOVED_TICKS);
    for _ in 0..5_000 {
        cluster.put_at(leader, table, "a", "more");
    }
    let waiting = cluster.unlogged[&leader].len();
    assert!(waiting < 2_200, "the log's queue has 4096 places: {waiting}");
    nodes.into_iter().for_each(|node| cluster.mend_disk(node));
    cluster.run(60);
    cluster.put(table, "a", "after");
}

/// A node stops; of the two that could lead next, one has a disk that hangs.
#[test]
fn whoever_steps_aside_hands_over_to_those_whose_disks_answer() {
    let (mut cluster, nodes, table) = three_nodes();
    cluster.settle();
    cluster.put(table, "k", "before");
    let leader = cluster.leader_of(table, b"k").unwrap();
    let hung = *nodes.iter().find(|node| **node != leader).unwrap();
    cluster.hung.insert(hung);
    // Of another shard: what that disk owes to this one is durable.
    let busy = cluster.leader_of(table, b"a").unwrap();
    cluster.put_at(busy, table, "a", "under way");
    cluster.run(MOVED_TICKS);
    assert!(cluster.hosts[&hung].node.stalled_ms().is_some());
    cluster.input(leader, Input::StepAside);
    // The steward has it led there again before long.
    let next = (0..20).find_map(|_| {
        cluster.run(1);
        cluster.leader_of(table, b"k").filter(|now| *now != leader)
    });
    assert!(next.is_some_and(|next| next != hung), "{next:?}");
}

#[test]
fn nobody_gives_way_to_copies_that_are_not_in_sync() {
    a_leader_stays_where_the_others_are_not_in_sync();
}

#[test]
fn writes_are_refused_before_the_logs_queue_is_full() {
    what_clients_write_behind_a_disk_that_hangs_is_bounded();
}

#[test]
fn a_leader_whose_disk_hangs_is_followed_and_comes_back_when_it_answers() {
    writes_go_on_beside_a_disk_that_hangs();
}

#[test]
fn a_leader_whose_store_hangs_in_a_sync_is_followed_and_comes_back_when_it_ends() {
    a_store_whose_sync_hangs_is_a_disk_that_hangs();
}

#[test]
fn a_node_whose_disk_hangs_is_not_elected() {
    a_stalled_node_is_not_elected();
}

#[test]
fn nobody_gives_way_to_those_that_cannot_do_without() {
    where_all_disks_hang_or_too_few_are_left_leaders_stay();
}

#[test]
fn the_tests_of_stalled_disks_catch_their_planted_bugs() {
    let bugs: [(Planted, fn()); 5] = [
        (Planted::HungStoreUnnoticed, a_store_whose_sync_hangs_is_a_disk_that_hangs),
        (Planted::HungDiskKeepsLeading, writes_go_on_beside_a_disk_that_hangs),
        (Planted::GivesWayToFew, where_all_disks_hang_or_too_few_are_left_leaders_stay),
        (Planted::GivesWayToThoseBehind, a_leader_stays_where_the_others_are_not_in_sync),
        (Planted::WritesOutrunDisk, what_clients_write_behind_a_disk_that_hangs_is_bounded),
    ];
    for (bug, test) in bugs {
        plant(Some(bug));
        let caught = std::panic::catch_unwind(test).is_err();
        plant(None);
        assert!(caught, "{bug:?}");
    }
}
