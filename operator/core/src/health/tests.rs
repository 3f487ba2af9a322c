//! How shards stand, of both kinds of tables.

use std::sync::Arc;

use skerry_core::ids::Epoch;
use skerry_core::map::{Consistency, NodeState, Quorums};
use skerry_core::message::QuorumReport;
use skerry_core::quorum::shown::Resolve;

use super::*;
use crate::planted::{Planted, plant};
use crate::testing::{at_rest, change, put_quorum_table};

#[test]
fn node_can_be_done_without_only_if_majorities_are_led_and_in_sync_elsewhere() {
    let mut status = at_rest(&["a", "b", "c"], 2);
    // Node 1 leads; node 4 holds nothing.
    let without = |status: &Status| [1, 2, 3, 4].map(|id| does_without(status, NodeId(id)));
    assert_eq!(without(&status), [false, true, true, true]);
    status.shards[1].0.in_sync.pop();
    assert_eq!(without(&status), [false, false, true, true]);
    status.shards[1].1 = 10_000;
    assert_eq!(without(&status), [false, false, false, true], "a leader that is silent says nothing");
}

#[test]
fn rest_needs_every_node_and_every_copy() {
    assert_eq!(unrest(&at_rest(&["a", "b", "c"], 1)), None);
    let mut behind = at_rest(&["a", "b", "c"], 1);
    behind.shards[0].0.in_sync.pop();
    assert_eq!(unrest(&behind).as_deref(), Some("1 shards short of copies"));
    let mut silent = at_rest(&["a", "b", "c"], 1);
    silent.nodes.pop();
    assert_eq!(unrest(&silent).as_deref(), Some("1 nodes silent (n3)"));
}

/// Four nodes, and a Quorum shard on the first three, with this W and R.
fn quorum(write: u32, read: u32) -> Status {
    let mut status = at_rest(&["a", "b", "c", "d"], 0);
    put_quorum_table(&mut status, "cart", &[&[1, 2, 3]]);
    let map = Arc::make_mut(&mut status.map);
    let mut record = map.shards.values().next().unwrap().clone();
    record.quorum.as_mut().unwrap().current = Quorums { write, read };
    map.put_shard(record);
    status
}

fn silence(status: &mut Status, node: u64) {
    status.nodes.iter_mut().filter(|(report, _)| report.node.0 == node).for_each(|(_, age)| *age = FRESH_MS + 1);
}

fn is_served(status: &Status) -> bool {
    shards_now(status).iter().all(ShardNow::is_served)
}

#[test]
fn quorum_shard_is_served_by_w_and_r_of_its_copies() {
    for (write, read, away_max) in [(2, 2, 1), (3, 1, 0), (1, 3, 0), (1, 1, 2), (1, 2, 1)] {
        let mut status = quorum(write, read);
        assert_eq!((is_served(&status), unrest(&status)), (true, None));
        for away in 1..=3 {
            silence(&mut status, away);
            assert_eq!(is_served(&status), away <= away_max, "W {write} R {read}: {away} away");
        }
    }
}

#[test]
fn what_is_not_known_of_a_quorum_copy_counts_for_nothing() {
    let spoil: [fn(&mut Status); 7] = [
        |status| status.copies.retain(|(node, _)| *node != NodeId(3)),
        |status| silence(status, 3),
        |status| status.nodes[2].0.disk_stalled = true,
        |status| status.nodes[2].0.map_epoch = Epoch(0),
        |status| Arc::make_mut(&mut status.map).nodes.get_mut(&NodeId(3)).unwrap().incarnation.0 = 2,
        |status| Arc::make_mut(&mut status.map).nodes.get_mut(&NodeId(3)).unwrap().state = NodeState::Removed,
        |status| status.lost.push((status.map.shards.values().next().unwrap().descriptor.shard, ReplicaId(3))),
    ];
    for (number, spoil) in spoil.into_iter().enumerate() {
        let mut status = quorum(3, 1);
        spoil(&mut status);
        let shards = shards_now(&status);
        assert_eq!(shards[0].in_sync(), [ReplicaId(1), ReplicaId(2)], "case {number}");
        assert!(!shards[0].is_served() && !all_speak(&status), "case {number}");
        let told = unrest(&status).unwrap();
        assert!(told.contains("1 shards with fewer copies than reads or writes need (s"), "case {number}: {told}");
        assert!(told.ends_with("1 shards short of copies") && !told.contains("leader"), "case {number}: {told}");
    }
}

#[test]
fn quorum_shard_goes_on_without_a_node_while_a_majority_and_all_that_it_needs_are_elsewhere() {
    let without = |status: &Status| [1, 2, 3, 4].map(|id| does_without(status, NodeId(id)));
    for (write, read) in [(2, 2), (1, 1), (3, 1), (1, 3)] {
        let mut status = quorum(write, read);
        assert_eq!(without(&status), [true; 4], "W {write} R {read}");
        silence(&mut status, 2);
        assert_eq!(without(&status), [false, true, false, true], "W {write} R {read}");
    }
}

fn copy(status: &mut Status, node: u64) -> &mut QuorumReport {
    let mut copies = status.copies.iter_mut().filter(|(of, _)| *of == NodeId(node));
    &mut copies.next().expect("a copy").1
}

/// Nodes 2 and 3 were away while node 1 took writes: what was acknowledged is on node 1 alone, until they have compared.
fn returned() -> Status {
    let mut status = quorum(1, 1);
    copy(&mut status, 1).handed_over.clear();
    for node in [2, 3] {
        copy(&mut status, node).handed_over.retain(|other| *other != ReplicaId(1));
    }
    status
}

#[test]
fn node_is_needed_until_the_others_have_compared_with_its_copy_of_a_quorum_shard() {
    let needed = |status: &Status| [1, 2, 3].map(|node| !needing(status, NodeId(node)).is_empty());
    let mut status = returned();
    assert!(is_served(&status) && unrest(&status).is_some());
    assert_eq!(needed(&status), [true; 3]);
    assert_eq!(stranded_on(&status, NodeId(1)), [], "another copy can be made from it");
    // The others have given it all that they have, and it keeps writes for one of them.
    for node in [2, 3] {
        copy(&mut status, node).handed_over.push(ReplicaId(1));
    }
    copy(&mut status, 1).handed_over = vec![ReplicaId(2)];
    assert_eq!(needed(&status), [true, true, false], "only what the third lacks is nowhere else");
    copy(&mut status, 1).handed_over = vec![ReplicaId(2), ReplicaId(3)];
    assert_eq!((needed(&status), unrest(&status)), ([false; 3], None));
    // One that is away is compared with by nobody, and is what is given up.
    let mut status = quorum(1, 1);
    silence(&mut status, 1);
    for node in [2, 3] {
        copy(&mut status, node).handed_over.retain(|other| *other != ReplicaId(1));
    }
    assert_eq!(needed(&status), [false, true, true]);
}

#[test]
fn copy_that_is_behind_or_incomplete_is_not_in_step() {
    for spoil in [(|copy| copy.held.0 = 0) as fn(&mut QuorumReport), |copy| copy.is_complete = false] {
        let mut status = quorum(1, 1);
        spoil(copy(&mut status, 3));
        assert_eq!(shards_now(&status)[0].in_sync(), [ReplicaId(1), ReplicaId(2)]);
        assert!(is_served(&status) && unrest(&status).is_some());
    }
}

#[test]
fn returned_copy_that_counts_is_noticed() {
    let status = returned();
    assert!(!does_without(&status, NodeId(1)));
    plant(Some(Planted::ReturnedCopyCounts));
    let counts = does_without(&status, NodeId(1));
    plant(None);
    assert!(counts);
}

#[test]
fn quorum_shard_moves_while_enough_of_it_is_there_to_copy_from_and_few_are_away_that_readers_ask() {
    for ((write, read), can_move) in [((2, 2), true), ((1, 1), false), ((3, 1), false), ((1, 3), false)] {
        let mut status = quorum(write, read);
        assert!(shards_now(&status)[0].can_move());
        silence(&mut status, 3);
        assert_eq!(shards_now(&status)[0].can_move(), can_move, "W {write} R {read}");
        let shard = status.map.shards.values().next().unwrap().descriptor.shard;
        status.lost.push((shard, ReplicaId(3)));
        assert!(shards_now(&status)[0].can_move(), "nothing is awaited of what is lost");
    }
}

/// The table was edited while a copy was silent, so no change begins to what could not be left again.
#[test]
fn quorum_shard_does_not_move_to_a_w_or_r_that_could_not_be_left_again() {
    for ((write, read), can_move) in [((2, 2), true), ((1, 2), false), ((3, 1), false)] {
        let mut status = quorum(2, 2);
        let map = Arc::make_mut(&mut status.map);
        let mut table = map.tables.values().find(|table| table.name == "cart").unwrap().clone();
        table.consistency = Consistency::Quorum { write, read, resolve: Resolve::LastWriterWins };
        map.put_table(table);
        // The first node drains, and the third is silent.
        let mut record = map.shards.values().next().unwrap().clone();
        record.target[0] = NodeId(4);
        map.put_shard(record.clone());
        assert!(shards_now(&status)[0].can_move());
        silence(&mut status, 3);
        assert_eq!(shards_now(&status)[0].can_move(), can_move, "W {write} R {read}");
        // Where the silent one is what is replaced, both are done in one change.
        record.target = [1, 2, 4].map(NodeId).into();
        Arc::make_mut(&mut status.map).put_shard(record);
        assert!(shards_now(&status)[0].can_move(), "W {write} R {read}");
    }
}

#[test]
fn writes_may_be_lost_with_w_of_the_copies_and_a_majority() {
    for ((write, read), most) in [((2, 2), 1), ((1, 1), 1), ((3, 1), 2)] {
        let status = quorum(write, read);
        for gone in 0..=3 {
            let lacking = lacking_on(&status, NodeId(1), |node| node.0 <= gone);
            assert_eq!(!lacking.is_empty(), gone > most, "W {write}: {gone} are gone");
        }
        assert_eq!(lacking_on(&status, NodeId(4), |_| true), [], "it has no copy");
    }
}

#[test]
fn only_copy_of_a_quorum_shard_is_needed() {
    let mut status = at_rest(&["a", "b"], 0);
    put_quorum_table(&mut status, "cart", &[&[1]]);
    let map = Arc::make_mut(&mut status.map);
    let mut record = map.shards.values().next().unwrap().clone();
    record.quorum.as_mut().unwrap().current = Quorums { write: 1, read: 1 };
    map.put_shard(record);
    assert_eq!([1, 2].map(|id| does_without(&status, NodeId(id))), [false, true]);
    assert_eq!(stranded_on(&status, NodeId(1)), []);
    silence(&mut status, 1);
    assert_eq!(stranded_on(&status, NodeId(1)).len(), 1);
}

#[test]
fn copy_that_comes_takes_writes_and_is_not_in_step_before_reads_have_turned() {
    let mut status = quorum(2, 2);
    for (stage, in_step) in [(Stage::WriteBoth, vec![1, 2, 3]), (Stage::ReadNew, vec![1, 2, 3, 4])] {
        change(&mut status, stage, (3, 4));
        let shards = shards_now(&status);
        let expected: Vec<ReplicaId> = in_step.into_iter().map(ReplicaId).collect();
        assert_eq!((shards[0].in_sync(), shards[0].stage()), (&expected[..], Some(stage)));
        assert_eq!(shards[0].present().len(), 4);
        assert!(shards[0].is_served() && !shards[0].is_at_rest());
    }
    // In the new set there are two but the one that copies: neither can be spared. The one that leaves can.
    change(&mut status, Stage::WriteBoth, (3, 4));
    assert_eq!([1, 2, 3].map(|id| does_without(&status, NodeId(id))), [false, false, true]);
}

#[test]
fn silent_copy_that_counts_is_noticed() {
    let mut status = quorum(3, 1);
    silence(&mut status, 3);
    assert!(!is_served(&status));
    plant(Some(Planted::SilentCopyCounts));
    let counts = is_served(&status);
    plant(None);
    assert!(counts);
}
