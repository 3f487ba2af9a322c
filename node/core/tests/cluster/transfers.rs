//! Many transfers at once, of several shards, to several nodes; and leaders and receivers that die in the middle of one.

use skerry_core::planted::{Planted, plant};

use crate::behind::Behind;

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

#[test]
fn the_tests_of_many_transfers_catch_their_planted_bugs() {
    plant(Some(Planted::LogsCutOnlyWhenFull));
    let caught = std::panic::catch_unwind(|| (0..8).for_each(several_shards_catch_up)).is_err();
    plant(None);
    assert!(caught);
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
