//! Many transfers at once, of several shards, to several nodes; and leaders and receivers that die in the middle of one.

use skerry_core::ids::NodeId;
use skerry_core::map::Fragmentation;
use skerry_core::planted::{Planted, plant};
use skerry_core::system::{AdminChange, NewShard, SystemReply};

use crate::behind::Behind;
use crate::harness::Cluster;

const SHARDS: &[&str] = &["a", "k", "t"];
/// Ticks for snapshots of all records and what follows: five times as many as they take.
const CAUGHT_UP_TICKS: u64 = 400;

fn several_shards_catch_up(later: u64) {
    let mut behind = Behind::of(SHARDS, (3, 1), later);
    behind.catches_up(CAUGHT_UP_TICKS, &format!("{later}"));
    behind.all_is_written();
}

#[test]
fn snapshots_of_several_shards_to_one_node_end_under_steady_overwrites() {
    (0..8).for_each(several_shards_catch_up);
}

/// A node is away while twenty-four shards on two others forget what it lacks. The most snapshots that one of them begins in
/// one period once it is back, and whether it catches up.
fn begun_in_one_period() -> (usize, bool) {
    let mut cluster = Cluster { memory: Some((60_000, 20_000)), ..Cluster::default() }.begin();
    let nodes = [NodeId(1), cluster.join(2), cluster.join(3)];
    let start = |number: usize| if number == 0 { String::new() } else { format!("{number:02}") };
    let shards: Vec<NewShard> =
        (0..24).map(|number| NewShard { start: start(number).into(), nodes: nodes.to_vec() }).collect();
    let (name, fragmentation, replication_factor) = ("t".into(), Fragmentation::Range, 3);
    let change = AdminChange::CreateTable { name, fragmentation, replication_factor, shards };
    let SystemReply::Table(table) = cluster.change(change) else { panic!("no table") };
    cluster.settle();
    let late = cluster.hosts.remove(&NodeId(3)).unwrap();
    for number in 0..24 * 6 {
        cluster.put(table, &format!("{:02}x{number}", number % 24), &"v".repeat(1_000));
    }
    cluster.run(60);
    cluster.hosts.insert(NodeId(3), late);
    let mut most = 0;
    for _ in 0..200 {
        let before = cluster.offers.clone();
        cluster.run(1);
        let begun = |node| cluster.offers.difference(&before).filter(|offer| offer.0 == node).count();
        most = most.max(begun(NodeId(1))).max(begun(NodeId(2)));
    }
    let applied = |node| cluster.hosts[&NodeId(node)].node.replicas().map(|v| (v.shard, v.applied)).collect::<Vec<_>>();
    (most, cluster.offers.len() > 12 && applied(1) == applied(3))
}

#[test]
fn a_node_begins_a_few_snapshots_at_a_time_and_all_end() {
    let (most, has_all) = begun_in_one_period();
    assert!((1..=4).contains(&most) && has_all, "{most}");
}

#[test]
fn the_tests_of_many_transfers_catch_their_planted_bugs() {
    plant(Some(Planted::LogsCutOnlyWhenFull));
    let caught = std::panic::catch_unwind(|| (0..8).for_each(several_shards_catch_up)).is_err();
    plant(Some(Planted::SnapshotsBegunTogether));
    let (most, _) = begun_in_one_period();
    plant(None);
    assert!(caught && most > 4, "{most}");
}

#[test]
fn snapshots_of_several_shards_to_two_nodes_end_under_steady_overwrites() {
    for later in 0..4 {
        let mut behind = Behind::of(SHARDS, (5, 2), later);
        behind.catches_up(CAUGHT_UP_TICKS, &format!("{later}"));
        behind.all_is_written();
    }
}

#[test]
fn writes_that_wait_for_a_snapshot_whose_leader_dies_are_answered_and_the_next_leader_makes_another() {
    for later in 0..8 {
        let mut behind = Behind::of(&["a"], (3, 1), later);
        for _ in 0..10 + later {
            behind.overwrite();
        }
        let leader = behind.leader("a");
        let dead = behind.cluster.hosts.remove(&leader).unwrap();
        // Without it no majority has the records: all waits for the snapshot.
        behind.cluster.run(60);
        behind.catches_up(CAUGHT_UP_TICKS, &format!("of the next leader, {later}"));
        behind.cluster.hosts.insert(leader, dead);
        behind.late.push(leader);
        behind.catches_up(CAUGHT_UP_TICKS, &format!("to the former leader, {later}"));
        behind.all_is_written();
    }
}

#[test]
fn a_receiver_that_starts_anew_again_and_again_holds_up_no_write_for_long_and_catches_up_in_the_end() {
    for later in 0..4 {
        let mut behind = Behind::of(&["a"], (3, 1), later);
        let before = behind.committed();
        for _ in 0..6 {
            for _ in 0..15 {
                behind.overwrite();
            }
            let late = behind.cluster.hosts.remove(&behind.late[0]).unwrap();
            behind.cluster.restart(late);
        }
        assert!(behind.committed() > before, "{later}");
        behind.catches_up(CAUGHT_UP_TICKS, &format!("{later}"));
        behind.all_is_written();
    }
}
